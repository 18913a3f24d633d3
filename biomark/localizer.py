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
from biomark.cohort import Case, Cohort, refuse_broken
from biomark.grids import onto, resampled
from biomark.losses import aggregate, prior_logit
from biomark.machine import devices, tensor_files
from biomark.machine.layout import channels_last
from biomark.machine.windows import blend
from biomark.tasks import TASKS, Task


@dataclass(frozen=True, eq=False)
class Localization:
    """Values and the maps that they were measured on.

    Attributes:
        value: The biomarker in the task's unit, ``(N,)``; a float for one case.
        map: Membership in [0, 1], ``(N, *S)``; ``S`` for one case; None of a model that has no map.
    """

    value: Tensor | float
    map: Tensor | NDArray[np.float32] | None


class Model(nn.Module):
    """A network for a task, which carries with its weights what it needs to read Hounsfield units and millimetres.

    The localizer and its rivals are made alike, and differ in what they :meth:`assemble` and compute.
    """

    own_loss: Any = None
    """What it is trained by where :func:`biomark.fit` gets no loss; None takes that of the task's settings."""

    kinds: dict[str, type[Model]] = {}

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
        prior: bool = True,
    ) -> None:
        super().__init__()
        self.task = TASKS[task] if isinstance(task, str) else task
        backbone = backbone or self.task.settings.backbone
        self.backbone_name = backbone if isinstance(backbone, str) else type(backbone).__name__
        self.width = self.task.settings.width if width is None else width
        self.prior = prior
        # The typical value and voxel spacing of the training set travel with the weights.
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("trained_spacing_mm", torch.full((self.task.ndim,), torch.nan))
        self.assemble(build(backbone, self.task.ndim, self.width))

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
        """Write the weights as safetensors, whole or not at all; :func:`biomark.load` reads them.

        Args:
            path: File to write.
        """
        header = {
            "task": self.task.key,
            "backbone": self.backbone_name,
            "width": self.width,
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
        found = [(place, key, value) for place, part in own for key, value in vars(part).items() if key[0] != "_"]
        plain, skipped = (bool, int, float, str, tuple, list, type(None)), ("training", "prior")
        return {place + key: repr(v) for place, key, v in found if isinstance(v, plain) and key not in skipped}

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
        prior: Start training from the share of candidate weight that belongs (:func:`biomark.losses.prior_logit`).
    """

    def assemble(self, network: nn.Module) -> None:
        """Take the whole backbone, and one number for the start of training."""
        self.backbone = network
        # One number added to every logit: where training starts (see losses.prior_logit).
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, images_hu: Tensor, weights: Tensor) -> Localization:
        """Locate and measure.

        Args:
            images_hu: Hounsfield units, ``(N, 1, *S)``.
            weights: From ``task.weigh``, ``(N, *S)``.

        Returns:
            Values ``(N,)`` and maps ``(N, *S)``, float32. A value is exactly the weighted sum of its map.
        """
        maps = torch.sigmoid(self.logits(images_hu))
        return Localization(self.aggregate(maps, weights), maps)

    def logits(self, images_hu: Tensor) -> Tensor:
        """The map before its sigmoid, float32: ``(N, 1, *S) -> (N, *S)``."""
        found = self.backbone(self.normalise(images_hu))
        if found.shape != images_hu.shape:
            shapes = f"{tuple(found.shape)} for images {tuple(images_hu.shape)}"
            raise ValueError(f"the backbone gives {shapes}: one logit a voxel is needed.")
        return found[:, 0].float() + self.bias

    def aggregate(self, maps: Tensor, weights: Tensor) -> Tensor:
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
            totals = np.array([self.max_value(weights) for weights in cohort.weights])
            with torch.no_grad():
                self.bias.copy_(prior_logit(torch.as_tensor(cohort.values), torch.as_tensor(totals)))

    def max_value(self, weights: NDArray) -> float:
        """What a map of ones would add up to in one case: the prior is the known values' share of it."""
        return float(weights.sum(dtype=float))

    @torch.no_grad()
    def locate(self, case: Case, *, window: Sequence[int] | None = None) -> Localization:
        """Locate in one case, at any voxel spacing and of any size.

        A case whose spacing differs by more than a quarter from the training set's is looked at on a grid of the
        training spacing, and the map is brought back to the case's own grid, where the case's own weights measure it.

        Args:
            case: The case; its value and mask are not read.
            window: Voxels on each side of what the network looks at at a time, such as ``(48, 128, 128)``, on the grid
                of the training spacing (:func:`biomark.machine.windows.blend`); the whole image by default, for which
                a network of width 16 takes about 100 bytes a voxel.

        Returns:
            Value and map as a float and a numpy array of the case's shape.

        Raises:
            ValueError: The case has other dimensions than the task, or the window another number of sides than the
                case, or one below 32 voxels; or the case holds voxels that are no numbers.
        """
        if np.ndim(case.image) != self.task.ndim:
            shape = np.shape(case.image)
            raise ValueError(f"the model reads {self.task.ndim}-D images, but case {case.id!r} has shape {shape}.")
        zoom = np.asarray(case.spacing_mm) / self.trained_spacing_mm.cpu().numpy()
        if np.isnan(zoom).any() or np.all((zoom > 0.8) & (zoom < 1.25)):
            zoom = np.ones_like(zoom)
        device = self.scale.device
        image = tensor(resampled(case.image, zoom))[None, None]
        training = self.training
        self.eval()
        try:
            membership = blend(
                lambda part: self(part.to(device), torch.zeros_like(part[:, 0], device=device)).map, image, window
            )
        finally:
            self.train(training)
        membership = onto(membership[0].cpu().numpy(), zoom, case.image.shape)
        value = self.aggregate(tensor(membership)[None], tensor(case.weights)[None]).item()
        if not np.isfinite(value):
            refuse_broken([case])
            tensor_files.refuse_broken(self.state_dict(), "the model")
        return Localization(value, membership)


def tensor(array: NDArray) -> Tensor:
    """An array as torch can take it: float32 in this machine's order of bytes, forwards in memory, free to write to."""
    return torch.from_numpy(np.require(array, np.float32, "CW"))


def refuse_other_task(model: nn.Module, cohort: Cohort) -> None:
    """Stop before a model reads the cases of another task; a module that knows no task may read any."""
    task = getattr(model, "task", cohort.task)
    if task.key != cohort.task.key:
        raise ValueError(f"the model measures {task.key!r} and the cohort {cohort.task.key!r}: give one task.")
