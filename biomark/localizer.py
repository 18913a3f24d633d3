"""The localizer: a network says which voxels, arithmetic says how much."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
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
from biomark.machine.windows import blended
from biomark.tasks import TASKS, Task, task_of
from biomark.version import __version__


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

    _kinds: dict[str, type[Model]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        Model._kinds[cls.__name__] = cls  # for load

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

    def normalised(self, images_hu: Tensor) -> Tensor:
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
            "settings": _settings(self),
        }
        # Copied, because the format does not know that two names may share their values.
        weights = {name: v.clone(memory_format=torch.contiguous_format) for name, v in self.state_dict().items()}
        tensor_files.write(path, weights, header)

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
        map = torch.sigmoid(self.logits(images_hu))
        return Localization(self.aggregate(map, weights), map)

    def logits(self, images_hu: Tensor) -> Tensor:
        """The map before its sigmoid, float32: ``(N, 1, *S) -> (N, *S)``."""
        found = self.backbone(self.normalised(images_hu))
        if found.shape != images_hu.shape:
            raise ValueError(
                f"the backbone gives {tuple(found.shape)} for images {tuple(images_hu.shape)}: one logit a voxel is "
                "needed."
            )
        return found[:, 0].float() + self.bias

    def aggregate(self, map: Tensor, weights: Tensor) -> Tensor:
        """The values ``(N,)`` of maps ``(N, *S)``: here the weighted sum. A rival may measure otherwise."""
        return aggregate(map, weights)

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
                of the training spacing (:func:`biomark.machine.windows.blended`); the whole image by default, for which
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
            map = blended(
                lambda part: self(part.to(device), torch.zeros_like(part[:, 0], device=device)).map, image, window
            )
        finally:
            self.train(training)
        map = onto(map[0].cpu().numpy(), zoom, case.image.shape)
        value = self.aggregate(tensor(map)[None], tensor(case.weights)[None]).item()
        if not np.isfinite(value):
            refuse_broken([case])
        return Localization(value, map)


def load(path: str | os.PathLike, *, task: Task | None = None, backbone: nn.Module | None = None) -> Model:
    """Read what :meth:`Model.save` wrote, of whatever class. Nothing in the file is executed.

    Args:
        path: The file.
        task: The task that it was trained for, where it is not one of ``TASKS``.
        backbone: A module of the saved shapes, where the backbone was not one of ``BACKBONES``.

    Raises:
        ValueError: The file is no model, was made by another version or for other rules, needs a class, task or
            backbone that is not given, or is of a class or backbone of your own that was built with other settings.
        FileNotFoundError: There is no such file.
    """
    about, state = tensor_files.read(path, "model")
    kind = Model._kinds.get(about.get("kind"))
    if kind is None:
        raise ValueError(f"{path} is of class {about.get('kind')!r}, which is not defined here: define it, then load.")
    if backbone is None and about["backbone"] not in BACKBONES:
        raise ValueError(
            f"{path} was trained with a backbone of its own, {about['backbone']}: pass such a module as backbone=."
        )
    task = task_of(path, about, task)
    advice = "build it yourself and give its restore what safetensors.torch.load_file reads"
    try:
        model = kind(task, backbone or about["backbone"], about["width"])
    except TypeError as error:
        raise ValueError(
            f"a {kind.__name__} is not built from task, backbone and width ({error}): {advice}."
        ) from error
    here = _settings(model)
    for name, was in about.get("settings", {}).items():
        if here.get(name, was) != was:
            raise ValueError(
                f"{path} was saved with {name} = {was}, and a {kind.__name__} built from task, backbone and width has "
                f"{here[name]}: {advice}."
            )
    try:
        return model.restore(state)
    except RuntimeError as error:
        raise ValueError(
            f"{path} does not fit the {about['backbone']} of biomark {__version__} or the module given: read it with "
            "the biomark that wrote it, or train again."
        ) from error


@torch.no_grad()
def predict(
    model: nn.Module, cohort: Cohort, batch_size: int = 32, *, maps: bool = True
) -> tuple[NDArray[np.float64], NDArray[np.float32] | None]:
    """Values ``(N,)`` and maps ``(N, *S)`` of a cohort; no maps from a model that has none, or when not asked for.

    Args:
        model: A localizer or a rival, or a module of your own that gives a :class:`Localization`.
        cohort: The cases, each looked at on its own grid, as in training; of quite other spacings ask
            :meth:`Localizer.locate`.
        batch_size: Cases at a time.
        maps: Whether maps are wanted.

    Raises:
        ValueError: The cohort has no cases, is of another task, or holds voxels that are no numbers.
    """
    refuse_other_task(model, cohort)
    if not len(cohort):
        raise ValueError("a cohort without cases gives nothing to predict: see what selected them.")
    # A rule in the form of a module has neither.
    device = next(chain(model.parameters(), model.buffers()), torch.empty(0)).device
    training, values, kept = model.training, [], []
    model.eval()
    try:
        for start in range(0, len(cohort), batch_size):
            rows = slice(start, start + batch_size)
            images, weights = (tensor(a[rows]).to(device) for a in (cohort.images, cohort.weights))
            out = model(images[:, None], weights)
            values.append(out.value.cpu().double().numpy())
            if maps and out.map is not None:
                kept.append(out.map.cpu().numpy())
    finally:
        model.train(training)
    found = np.concatenate(values)
    if not np.isfinite(found).all():
        refuse_broken(cohort)
    return found, np.concatenate(kept) if kept else None


def tensor(array: NDArray) -> Tensor:
    """An array as torch can take it: float32 in this machine's order of bytes, forwards in memory, free to write to."""
    return torch.from_numpy(np.require(array, np.float32, "CW"))


def refuse_other_task(model: nn.Module, cohort: Cohort) -> None:
    """Stop before a model reads the cases of another task; a module that knows no task may read any.

    Raises:
        ValueError: They are of two tasks.
    """
    task = getattr(model, "task", cohort.task)
    if task.key != cohort.task.key:
        raise ValueError(f"the model measures {task.key!r} and the cohort {cohort.task.key!r}: give one task.")


def _settings(model: Model) -> dict[str, str]:
    """Plain attributes of a class or backbone that biomark does not build by itself, by their place in the model."""
    ours = type(model).__module__.startswith(__package__ + ".")
    own = [("", model)] if not ours else []
    if model.backbone_name not in BACKBONES:
        own += [(f"{name}.", part) for name, part in model.named_modules() if name]
    plain = (bool, int, float, str, tuple, list, type(None))
    return {
        place + key: repr(value)
        for place, part in own
        for key, value in vars(part).items()
        if isinstance(value, plain) and key not in ("training", "prior") and not key.startswith("_")
    }
