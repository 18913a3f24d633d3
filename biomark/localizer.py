"""The localizer: a network says which voxels, arithmetic says how much."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from scipy import ndimage
from torch import Tensor, nn

from .backbones import build
from .cohort import Case, Cohort
from .losses import aggregate, indecision, outline, prior_logit, value_loss
from .tasks import TASKS, Task


@dataclass(frozen=True)
class Localization:
    """Values and the maps whose weighted sums they are.

    Attributes:
        value: The biomarker in the task's unit, ``(N,)``; a float for one case.
        map: Membership in [0, 1], ``(N, *S)``; ``S`` for one case.
    """

    value: Tensor | float
    map: Tensor | NDArray[np.float32]


class Localizer(nn.Module):
    """An encoder-decoder whose map, summed over the candidates, is the biomarker.

    Args:
        task: What is measured: a :class:`~biomark.tasks.Task` or a key of ``TASKS``.
        backbone: Name of a backbone, or a module ``(N, 1, *S) -> (N, 1, *S)``.
        width: Channels of a named backbone at full resolution.
    """

    def __init__(self, task: Task | str, backbone: str | nn.Module = "unet", width: int = 16) -> None:
        super().__init__()
        self.task = TASKS[task] if isinstance(task, str) else task
        self.backbone_name, self.width = (
            backbone if isinstance(backbone, str) else type(backbone).__name__,
            width,
        )
        self.backbone = build(backbone, self.task.ndim, width)
        # One number added to every logit: where training starts (see losses.prior_logit).
        self.bias = nn.Parameter(torch.zeros(()))
        # The typical value and voxel spacing of the training set travel with the weights.
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("trained_spacing_mm", torch.full((self.task.ndim,), torch.nan))

    def forward(self, images_hu: Tensor, weights: Tensor) -> Localization:
        """Locate and measure.

        Args:
            images_hu: Hounsfield units, ``(N, 1, *S)``.
            weights: From ``task.weigh``, ``(N, *S)``.

        Returns:
            Values ``(N,)`` and maps ``(N, *S)``, float32. A value is exactly the weighted sum of its map.
        """
        low, high = self.task.input_hu
        image = (images_hu.clamp(low, high) - low) * (2 / (high - low)) - 1
        logits = self.backbone(image)[:, 0].float() + self.bias
        map = torch.sigmoid(logits)
        return Localization(aggregate(map, weights), map)

    def prepare(self, cohort: Cohort, *, prior: bool = True) -> None:
        """Take from the training numbers what the network starts with: the prior, the typical value and the spacing."""
        values = torch.as_tensor(cohort.values)
        if prior:
            with torch.no_grad():
                self.bias.copy_(prior_logit(values, torch.as_tensor(cohort.weights)))
        self.scale.copy_(values.abs().mean().clamp_min(1e-6))
        self.trained_spacing_mm.copy_(torch.as_tensor(np.median(cohort.spacing_mm, axis=0)))

    def loss(
        self, images_hu: Tensor, weights: Tensor, values: Tensor, *, decide: float = 0.0, smooth: float = 0.0
    ) -> Tensor:
        """What training minimises: the distance between sum and number, plus ``decide`` times the map's indecision and
        ``smooth`` times the length of its outline through like tissue.

        No mask is an argument.
        """
        found = self(images_hu, weights)
        total = value_loss(found.value, values, self.scale)
        if decide:
            total = total + decide * indecision(found.map, weights, self.scale)
        if smooth:
            total = total + smooth * outline(found.map, weights, images_hu[:, 0], self.scale)
        return total

    @torch.no_grad()
    def locate(self, case: Case) -> Localization:
        """Locate in one case, at any voxel spacing.

        A network sees structures at the size in voxels at which it learned them. A case whose spacing differs by
        more than a quarter from the training set's is therefore looked at on a grid of the training spacing
        (block-averaged or linear), and the map is brought back to the case's own grid, where the case's own weights
        measure it.

        Args:
            case: The case; its value and mask are not read.

        Returns:
            Value and map as a float and a numpy array of the case's shape.
        """
        zoom = np.asarray(case.spacing_mm) / self.trained_spacing_mm.cpu().numpy()
        if np.isnan(zoom).any() or np.all((zoom > 0.8) & (zoom < 1.25)):
            zoom = np.ones_like(zoom)
        device = self.scale.device
        image = torch.as_tensor(resampled(case.image, zoom), device=device)[None, None]
        training = self.training
        self.eval()
        map = self(image, torch.zeros_like(image[:, 0])).map[0].cpu().numpy()
        self.train(training)
        map = onto(map, zoom, case.image.shape)
        weights = torch.as_tensor(case.weights)[None]
        return Localization(aggregate(torch.as_tensor(map)[None], weights).item(), map)

    def save(self, path: str | os.PathLike) -> None:
        """Write the weights as safetensors, whole or not at all.

        Args:
            path: File to write.
        """
        about = {
            "task": self.task.key,
            "backbone": self.backbone_name,
            "width": self.width,
            "kind": type(self).__name__,
        }
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
        save_file({k: v.contiguous() for k, v in self.state_dict().items()}, partial, {"biomark": json.dumps(about)})
        os.replace(partial, target)

    @classmethod
    def load(cls, path: str | os.PathLike, *, task: Task | None = None, backbone: nn.Module | None = None) -> Localizer:
        """Read what :meth:`save` wrote. Nothing in the file is executed.

        Args:
            path: The file.
            task: The task, where it is not one of ``TASKS``.
            backbone: A module of the saved shapes, where the backbone was not one of ``BACKBONES``.

        Raises:
            ValueError: The file is not a model of this class.
            FileNotFoundError: There is no such file.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(f"no model file at {path}: train one and save it there first.")
        try:
            with safe_open(path, framework="pt") as file:
                about = json.loads((file.metadata() or {}).get("biomark", "{}"))
                state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except (SafetensorError, json.JSONDecodeError) as error:
            raise ValueError(f"{path} is not a safetensors file that biomark can read ({error}).") from error
        if about.get("kind") != cls.__name__:
            kind = about.get("kind", "no biomark model")
            raise ValueError(f"{path} holds {kind}, not a {cls.__name__}: load it with its own class.")
        if task is None and about["task"] not in TASKS:
            raise ValueError(
                f"{path} was trained for task {about['task']!r}, which biomark does not know: pass it as task=."
            )
        model = cls(task or TASKS[about["task"]], backbone or about["backbone"], about["width"])
        model.load_state_dict(state)
        return model.eval()


def resampled(image: NDArray, zoom: NDArray) -> NDArray[np.float32]:
    """The image on a grid ``zoom`` times as fine over the same extent; coarser voxels take the mean there."""
    image, zoom = np.asarray(image, np.float32), np.asarray(zoom, float)
    if np.all(zoom == 1):
        return image
    shape = np.maximum(np.round(np.array(image.shape) * zoom), 1).astype(int)
    parts = np.maximum(np.ceil(1 / zoom), 1).astype(int)  # points on a side of a new voxel, as dense as the old ones
    fine = onto(image, 1 / (zoom * parts), shape * parts)
    sides = [n for pair in zip(shape, parts, strict=True) for n in pair]
    return fine.reshape(sides).mean(axis=tuple(range(1, 2 * image.ndim, 2)))


def onto(array: NDArray, zoom: NDArray, shape: tuple[int, ...] | NDArray) -> NDArray[np.float32]:
    """Linear interpolation onto a grid of ``shape`` whose voxels are ``zoom`` times as large; corners coincide."""
    if np.all(np.asarray(zoom) == 1):
        return np.asarray(array, np.float32)
    centres = [(np.arange(n) + 0.5) * z - 0.5 for n, z in zip(shape, zoom, strict=True)]
    grid = np.meshgrid(*centres, indexing="ij", sparse=False)
    return ndimage.map_coordinates(np.asarray(array, np.float32), grid, order=1, mode="nearest")
