"""The localizer: a network says which voxels, arithmetic says how much."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from biomark.backbones import BACKBONES, build
from biomark.cohort import Case, Cohort
from biomark.grids import Boxes
from biomark.losses import aggregate, prior_logit
from biomark.machine import devices, fingerprints, tensor_files
from biomark.machine.layers import channels_last
from biomark.machine.moves import AIR_HU
from biomark.machine.rows import refuse_broken
from biomark.machine.windows import blend
from biomark.tasks import TASKS, Task


@dataclass(frozen=True, eq=False)
class Localization:
    """Values and the maps that they were measured on.

    Attributes:
        value: The biomarker in the task's unit, ``(N,)``; a float for one case.
        map: Membership in [0, 1], ``(N, *S)``; ``S`` for one case; None of a model that has no map.
        mask: Of one case, the mask of the value (:meth:`biomark.Task.outline`), ``S``; else None.
    """

    value: Tensor | float
    map: Tensor | NDArray[np.float32] | None
    mask: NDArray[np.bool_] | None = None


class Model(nn.Module):
    """A network for a task, which carries with its weights what it needs to read Hounsfield units and millimetres.

    The localizer and its rivals are made alike, and differ in what they :meth:`assemble` and compute.
    """

    own_loss: Any = None
    own_optimizer: Any = None
    """What it is trained by where :func:`biomark.fit` is not told; None takes the task's settings."""

    needs_sizes = False
    """Whether it is called with the sizes of the boxes, ``(N,)`` in mm2 or mm3, as third argument."""

    kinds: dict[str, type[Model]] = {}

    scale: Tensor
    trained_spacing_mm: Tensor

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        known = Model.kinds.get(cls.__name__, cls).__module__
        if known != cls.__module__ and known.startswith(__package__ + "."):
            raise ValueError(f"a file of this {cls.__name__} would be read as biomark's own: give it another name.")
        Model.kinds[cls.__name__] = cls

    def __init__(
        self,
        task: Task | str,
        backbone: str | nn.Module | None = None,
        width: int | None = None,
        *,
        depth: int | None = None,
        fold: Sequence[int] | None = None,
        prior: bool = True,
    ) -> None:
        super().__init__()
        self.task = TASKS[task] if isinstance(task, str) else task
        backbone = backbone or self.task.settings.backbone
        self.backbone_name = backbone if isinstance(backbone, str) else type(backbone).__name__
        usual = self.task.settings
        self.width = usual.width if width is None else width
        self.depth = usual.depth if depth is None else depth
        self.fold = tuple(usual.fold if fold is None else fold)
        self.prior = prior
        # The typical value and voxel spacing of the training set travel with the weights.
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("trained_spacing_mm", torch.full((self.task.ndim,), torch.nan))
        self.assemble(build(backbone, self.task.ndim, self.width, self.depth, self.fold))

    def assemble(self, network: nn.Module) -> None:
        """Take what is needed of the backbone, and add what is missing."""
        raise TypeError(f"a {type(self).__name__} does not say what it is made of: give it assemble(network).")

    @property
    def trained(self) -> bool:
        """Whether it has seen a training set."""
        return not bool(self.trained_spacing_mm.isnan().any())

    def normalise(self, images_hu: Tensor) -> Tensor:
        """Images as the network sees them: the task's range of HU mapped to -1..1."""
        low, high = self.task.input_hu
        return (images_hu.clamp(low, high) - low) * (2 / (high - low)) - 1

    def prepare(self, cohort: Cohort) -> None:
        """Take the typical value and the spacing from the training set."""
        self.scale.copy_(torch.as_tensor(cohort.values).abs().mean().clamp_min(1e-6))
        self.trained_spacing_mm.copy_(torch.as_tensor(np.median(cohort.spacing_mm, axis=0)))
        channels_last(self)

    def save(self, path: str | os.PathLike) -> None:
        """Write the weights to a file, as safetensors, whole or not at all; :func:`biomark.load` reads them."""
        header = {
            "task": self.task.key,
            "backbone": self.backbone_name,
            "width": self.width,
            "depth": self.depth,
            "fold": self.fold,
            "kind": type(self).__name__,
            "rules": self.task.rules(),
            "settings": self.own_settings(),
        }
        # Copied, because the format does not know that two names may share their values.
        weights = {name: v.clone(memory_format=torch.contiguous_format) for name, v in self.state_dict().items()}
        tensor_files.write(path, weights, header)

    def own_settings(self) -> dict[str, str]:
        """Plain attributes of a class or backbone that biomark does not build by itself, by their place."""
        own = [] if type(self).__module__.startswith(__package__ + ".") else [("", self)]
        if self.backbone_name not in BACKBONES:
            own += [(f"{name}.", part) for name, part in self.named_modules() if name]
        return fingerprints.plain_attributes(own, skipped=("training", "prior"))

    def restore(self, state: Mapping[str, Tensor]) -> Self:
        """Take weights that were saved. A trained model then predicts the same bits as before."""
        self.load_state_dict(state)
        if self.trained:
            channels_last(self)
        return self.eval()


class Localizer(Model):
    """An encoder-decoder whose map, summed over the candidates, is the biomarker.

    Args:
        task: What is measured: a :class:`~biomark.tasks.Task` or a key of ``TASKS``.
        backbone: Name of a backbone, or a module ``(N, 1, *S) -> (N, 1, *S)``; the task's own by default.
        width: Channels of a named backbone at its finest scale; the task's own by default.
        depth, fold: Its scales, and the sides of a block that gets one logit, () for none; the task's own by default.
        prior: Start training from the share of candidate weight that belongs (:func:`biomark.losses.prior_logit`).
    """

    def assemble(self, network: nn.Module) -> None:
        """Take the whole backbone, and one number for the start of training."""
        self.backbone = network
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, images_hu: Tensor, weights: Tensor, sizes: Tensor | None = None) -> Localization:
        """Locate and measure.

        Args:
            images_hu: Hounsfield units, ``(N, 1, *S)``.
            weights: What each voxel or box would add, ``(N, *S)``.
            sizes: For a model that ``needs_sizes``.

        Returns:
            Values ``(N,)`` and maps ``(N, *S)``, float32. A value is exactly the weighted sum of its map.
        """
        maps = torch.sigmoid(self.logits(images_hu))
        return Localization(self.aggregate(maps, weights, sizes), maps)

    def logits(self, images_hu: Tensor) -> Tensor:
        """The map before its sigmoid, float32: ``(N, 1, *S) -> (N, *S)``."""
        found = self.backbone(self.normalise(images_hu))
        if found.shape != images_hu.shape:
            shapes = f"{tuple(found.shape)} for images {tuple(images_hu.shape)}"
            raise ValueError(f"the backbone gives {shapes}: one logit a voxel is needed.")
        return found[:, 0].float() + self.bias

    def aggregate(self, maps: Tensor, weights: Tensor, sizes: Tensor | None = None) -> Tensor:
        """The values ``(N,)`` of maps ``(N, *S)``: here the weighted sum. A rival may measure otherwise."""
        return aggregate(maps, weights)

    def prepare(self, cohort: Cohort) -> None:
        """Take from the training numbers what the network starts with: the prior, the typical value and the spacing.

        A model that was trained before has learned better than the prior, and keeps its bias.
        """
        trained = self.trained
        super().prepare(cohort)
        # Of several processes the first reads all weights; the others get its start when they are joined.
        if self.prior and not trained and devices.is_main_process():
            # Row by row: the weights may lie on disk, and be more than memory holds.
            each = zip(cohort.weights, cohort.spacing_mm, strict=True)
            totals = np.array([self.max_value(weights, float(np.prod(box))) for weights, box in each])
            with torch.no_grad():
                self.bias.copy_(prior_logit(torch.as_tensor(cohort.values), torch.as_tensor(totals)))

    def max_value(self, weights: NDArray, size: float) -> float:
        """What a map of ones would add up to in one case: the prior is the known values' share of it."""
        return float(weights.sum(dtype=float))

    @torch.no_grad()
    def locate(self, case: Case, *, boxes: Boxes | None = None, window: Sequence[int] | None = None) -> Localization:
        """Locate in one case on any grid: the network sees boxes of about the training set's, the voxels are measured.

        Args:
            case: The case; its value and mask are not read.
            boxes: How they lie over the case's voxels; :meth:`biomark.grids.Boxes.over` all of it by default.
            window: Boxes on each side of what the network looks at at a time, such as ``(48, 128, 128)``
                (:func:`biomark.machine.windows.blend`); the whole image by default, for which a network of width 16
                takes about 100 bytes a box.

        Returns:
            Value, map and mask as a float and numpy arrays of the case's shape. Each voxel has the map of its box; the
            mask is that of the value (:meth:`biomark.Task.outline`).

        Raises:
            ValueError: The case has other dimensions than the task, or the window another number of sides than the
                case, or one below 32; or the case holds voxels that are no numbers.
        """
        if np.ndim(case.image) != self.task.ndim:
            shape = np.shape(case.image)
            raise ValueError(f"the model reads {self.task.ndim}-D images, but case {case.id!r} has shape {shape}.")
        box_mm = self.trained_spacing_mm.tolist() if self.trained else case.spacing_mm
        boxes = boxes or Boxes.over(case.image.shape, case.spacing_mm, box_mm)
        device, training = self.scale.device, self.training
        image = tensor(boxes.means(case.image, AIR_HU))[None, None]
        self.eval()
        try:
            found = blend(lambda part: torch.sigmoid(self.logits(part.to(device))), image, window)[0].cpu().numpy()
        finally:
            self.train(training)
        weights = tensor(boxes.sums(case.weights))[None]
        size = tensor(np.array([np.prod(boxes.spacing_mm(case.spacing_mm))]))
        value = self.aggregate(tensor(found)[None], weights, size).item()
        if not np.isfinite(value):
            refuse_broken([case])
            tensor_files.refuse_broken(self.state_dict(), "the model")
        mask = self.task.outline(found, boxes, case.weights, value)
        return Localization(value, boxes.spread(found), mask)


def tensor(array: NDArray) -> Tensor:
    """An array as torch can take it: float32 in this machine's order of bytes, forwards in memory, free to write to."""
    return torch.from_numpy(np.require(array, np.float32, ["C", "W"]))


def refuse_other_task(model: nn.Module, cohort: Cohort) -> None:
    """Stop before a model reads cases of another task or other rules; a module that knows no task may read any."""
    own, task = getattr(model, "task", cohort.task), cohort.task
    if own != task and (own.key, own.rules()) != (task.key, task.rules()):
        raise ValueError(f"the model measures {own.key!r} and the cohort {task.key!r}, or by other rules: take one.")
