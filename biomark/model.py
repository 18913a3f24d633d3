"""What the localizer and its rivals share: a task, the units of its training set, and a file without code."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from .backbones import BACKBONES
from .cohort import Cohort, refuse_broken
from .files import whole
from .fingerprints import rule
from .tasks import TASKS, Task
from .version import __version__


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

    Args:
        task: What is measured: a :class:`~biomark.tasks.Task` or a key of ``TASKS``.
        backbone: Name of a backbone, or a module.
        width: Channels of a named backbone at its finest scale.
    """

    def __init__(self, task: Task | str, backbone: str | nn.Module, width: int) -> None:
        super().__init__()
        self.task = TASKS[task] if isinstance(task, str) else task
        self.backbone_name = backbone if isinstance(backbone, str) else type(backbone).__name__
        self.width = width
        # The typical value and voxel spacing of the training set travel with the weights.
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("trained_spacing_mm", torch.full((self.task.ndim,), torch.nan))

    def normalised(self, images_hu: Tensor) -> Tensor:
        """Images as the network sees them: the task's range of HU mapped to -1..1."""
        low, high = self.task.input_hu
        return (images_hu.clamp(low, high) - low) * (2 / (high - low)) - 1

    def prepare(self, cohort: Cohort) -> None:
        """Take the typical value and the spacing from the training set."""
        self.scale.copy_(torch.as_tensor(cohort.values).abs().mean().clamp_min(1e-6))
        self.trained_spacing_mm.copy_(torch.as_tensor(np.median(cohort.spacing_mm, axis=0)))
        self.arrange()

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
            "rules": _rules(self.task),
            "settings": _settings(self),
        }
        # Copied, because the format does not know that two names may share their values.
        weights = {name: v.clone(memory_format=torch.contiguous_format) for name, v in self.state_dict().items()}
        with whole(path) as partial:
            # Not `save_file`: its files may be read by their owner alone, and a model is there to be handed on.
            partial.write_bytes(save(weights, {"biomark": json.dumps(about)}))

    @classmethod
    def load(cls, path: str | os.PathLike, *, task: Task | None = None, backbone: nn.Module | None = None) -> Self:
        """Read what :meth:`save` wrote. Nothing in the file is executed.

        Args:
            path: The file.
            task: The task that it was trained for, where it is not one of ``TASKS``. (Warns where its rules differ.)
            backbone: A module of the saved shapes, where the backbone was not one of ``BACKBONES``.

        Raises:
            ValueError: The file is not a model of this class, version and task, needs a task or backbone not given, or
                is of a class or backbone of your own that was built with other settings.
            FileNotFoundError: There is no such file.
        """
        path = Path(path).expanduser()
        if not path.is_file():
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
        if backbone is None and about["backbone"] not in BACKBONES:
            raise ValueError(
                f"{path} was trained with a backbone of its own, {about['backbone']}: pass such a module as backbone=."
            )
        if task is not None and task.key != about["task"]:
            raise ValueError(f"{path} was trained for task {about['task']!r}, and the task given is {task.key!r}.")
        if about.get("rules", "") not in ("", _rules(task or TASKS[about["task"]])):
            if task is None:
                raise ValueError(
                    f"{path} was trained for a task {about['task']!r} with other rules than biomark's: pass it as "
                    "task=."
                )
            # No error: a rule of one's own has another fingerprint in another Python.
            warnings.warn(f"{path} was trained for task {task.key!r} with rules other than those given.", stacklevel=2)
        try:
            model = cls(task=task or TASKS[about["task"]], backbone=backbone or about["backbone"], width=about["width"])
        except TypeError as error:
            raise ValueError(
                f"a {cls.__name__} is not built from task, backbone and width ({error}): build it yourself and give "
                "its restore what safetensors.torch.load_file reads."
            ) from error
        here = _settings(model)
        for name, was in about.get("settings", {}).items():
            if here.get(name, was) != was:
                raise ValueError(
                    f"{path} was saved with {name} = {was}, and a {cls.__name__} built from task, backbone and width "
                    f"has {here[name]}: build it as it was and give its restore what safetensors.torch.load_file reads."
                )
        try:
            return model.restore(state)
        except RuntimeError as error:
            raise ValueError(
                f"{path} does not fit the {about['backbone']} of biomark {__version__} or the module given: read it "
                "with the biomark that wrote it, or train again."
            ) from error

    def restore(self, state: Mapping[str, Tensor]) -> Self:
        """Take weights that were kept. A trained model then predicts the same bits as before it was saved."""
        self.load_state_dict(state)
        if not self.trained_spacing_mm.isnan().any():
            self.arrange()
        return self.eval()

    def arrange(self) -> None:
        """Lay the weights out as convolutions on CPUs and tensor cores read them fastest, channels last.

        The layout decides the last bit of a sum, so that trained and restored models must have the same.
        """
        formats = {4: torch.channels_last, 5: torch.channels_last_3d}
        for weight in self.parameters():
            # By the weight's own axes: a network for volumes may read them slice by slice.
            if weight.ndim in formats:
                weight.data = weight.data.to(memory_format=formats[weight.ndim])
            # A kernel of one voxel is in order either way; gradients, and so their exchange, come in the plain one.
            if weight.ndim > 2 and weight[0, 0].numel() == 1:
                weight.data = weight.data.contiguous().as_strided(
                    weight.shape, (weight.shape[1], *[1] * (weight.ndim - 1))
                )


@torch.no_grad()
def predict(
    model: nn.Module, cohort: Cohort, batch_size: int = 32, *, maps: bool = True
) -> tuple[NDArray[np.float64], NDArray[np.float32] | None]:
    """Values ``(N,)`` and maps ``(N, *S)`` of a cohort; no maps from a model that has none, or when not asked for.

    Every case is looked at on its own grid, as in training. A cohort of quite other voxel spacings than the training
    set's belongs on that grid first (``scans.Grid``), or to :meth:`biomark.Localizer.locate`, which sees to it.

    Args:
        model: A localizer or a rival, or a module of your own that gives a :class:`Localization`.
        cohort: The cases.
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
        if isinstance(value, plain) and key != "training" and not key.startswith("_")
    }


def _rules(task: Task) -> str:
    """What decides which voxels a task's model sees and counts."""
    return rule((task.hu_window, task.input_hu, task.region, task.worth))
