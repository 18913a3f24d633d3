"""Trained models: read from their files, shipped with the library, and nothing trained twice."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import warnings
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import nn

import biomark.baselines  # noqa: F401 - a file may be of a rival, which is known by its name once it is loaded
from biomark.backbones import BACKBONES
from biomark.cohort import Cohort
from biomark.localizer import Model
from biomark.machine import devices, fingerprints, tensor_files
from biomark.machine.files import atomic_write, expand, read_object, runs_folder, whole_file
from biomark.records.cohorts import task_of
from biomark.records.run import reference
from biomark.tasks import TASKS, Task
from biomark.training import History, choose_settings, fit, training_arrays
from biomark.version import __version__


def load(path: str | os.PathLike, *, task: Task | str | None = None, backbone: nn.Module | None = None) -> Model:
    """Read what :meth:`biomark.localizer.Model.save` wrote, of whatever class. Nothing in the file is executed.

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
    with whole_file(path, "model"):
        return _built(path, about, state, task, backbone)


def pretrained(key: str) -> Model:
    """The localizer of a task that comes with the library: it saw phantoms and one number each, and no patient.

    Its ``card.md``, in ``bm.records.reference("pretrained")``, says what it was trained on, how it did, and what it
    must not be used for; ``bm.Inspector.pretrained(key)`` adds intervals and a warning where a scan is unlike those.

    Args:
        key: A key of ``TASKS``.

    Raises:
        KeyError: There is no such task.
        FileNotFoundError: This biomark comes without that model.
    """
    return load(pretrained_folder(key) / "model-0.safetensors")


def pretrained_folder(key: str) -> Path:
    """Where a task's model that comes with the library lies, with inspector, run record and card; as that raises."""
    task = TASKS[key]
    try:
        return reference(f"pretrained/{task.key}")
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"this biomark comes without a trained model for {key!r}: train one, by workflow/pretrain.py in a clone of "
            "its repository or by `biomark train`, and name its file."
        ) from error


def _built(path: Any, about: dict[str, Any], state: dict[str, Any], task: Any, backbone: nn.Module | None) -> Model:
    """The model of a file, by its header and its weights."""
    kind = Model.kinds.get(about.get("kind", ""))
    if kind is None:
        raise ValueError(f"{path} is of class {about.get('kind')!r}, which is not defined here: define it, then load.")
    if backbone is None and about["backbone"] not in BACKBONES:
        raise ValueError(
            f"{path} was trained with a backbone of its own, {about['backbone']!r}: pass such a module as backbone=."
        )
    task = task_of(path, about, task)
    tensor_files.refuse_broken(state, f"{path}")
    advice = "build it yourself and give its restore what safetensors.torch.load_file reads"
    misfit = (
        f"{path} does not fit the {about['backbone']} of biomark {__version__} or the module given: read it with "
        "the biomark that wrote it, or train again."
    )
    # A class with a constructor of its own is built from task, backbone and width alone.
    shape = {"depth": about["depth"], "fold": about["fold"]} if kind.__init__ is Model.__init__ else {}
    if backbone is None and about["depth"] > len(state):  # a damaged depth could ask for more than there is time
        raise ValueError(misfit)
    if backbone is None and kind.__module__.startswith("biomark."):
        # Without memory: a damaged width could ask for more than there is.
        with torch.device("meta"):
            meant = kind(task, about["backbone"], about["width"], **shape).state_dict()
        if {name: v.shape for name, v in meant.items()} != {name: v.shape for name, v in state.items()}:
            raise ValueError(misfit)
    try:
        model = kind(task, backbone or about["backbone"], about["width"], **shape)
    except TypeError as error:
        raise ValueError(
            f"{path} is of a {kind.__name__}, which is not built from task, backbone and width ({error}): {advice}."
        ) from error
    # Blocks of 4 x 1 have weights of the same shapes as those of 2 x 2.
    own = {} if backbone else {"depth": repr(about["depth"]), "fold": repr(tuple(about["fold"]))}
    here = model.own_settings() | {name: repr(getattr(model, name)) for name in own}
    for name, was in (about.get("settings", {}) | own).items():
        if here.get(name, was) != was:
            raise ValueError(
                f"{path} was saved with {name} = {was}, and a {kind.__name__} built from task, backbone and width has "
                f"{here[name]}: {advice}."
            )
    try:
        return model.restore(state)
    except RuntimeError as error:
        raise ValueError(misfit) from error


FEWEST_STEPS = 1000
"""Steps of training where the task's own epochs make fewer, as with few numbers. Ours."""

MENDING_STEPS = 300
"""Steps of training of a model that was trained before. Ours, found with `workflow/few.py`."""

_GENTLER = 10  # by which the rates of a model that was trained before are divided; ours, found there too


def settings_for(model: Model, n: int) -> dict[str, Any]:
    """Epochs and optimizer, for :func:`fit`, of a model that is to learn from ``n`` numbers of one's own.

    Passes enough for 1000 steps. A model that was trained before gets 300 steps, one pass at least, at a tenth of the
    task's rates: more would undo, for the numbers at hand, what it knows of places.
    """
    usual: Any = model.task.settings
    if usual.epochs is None:
        raise ValueError(f"task {model.task.key!r} has no settings of its own: say how many epochs to train.")
    steps = math.ceil(n / usual.batch_size)
    if not model.trained:
        return {"epochs": max(usual.epochs, math.ceil(FEWEST_STEPS / steps)), "optimizer": usual.optimizer}
    rates = {name: rate / _GENTLER for name, rate in dataclasses.asdict(usual.optimizer).items()}
    epochs = math.ceil(MENDING_STEPS / steps)
    return {"epochs": epochs, "optimizer": dataclasses.replace(usual.optimizer, **rates)}


_DEFAULTS = {name: p.default for name, p in signature(fit).parameters.items() if p.default is not p.empty}


def fit_once(model: Model, cohort: Cohort, *, folder: str | os.PathLike | None = None, **settings: Any) -> History:
    """:func:`fit`, unless the same has been trained before: then its weights are taken from the folder.

    "The same" is judged by fingerprints of the library's code, the initial weights, the data and the settings. A
    training that was interrupted goes on where it was.

    Args:
        model, cohort: As for :func:`fit`.
        folder: Where trained models are kept; ``runs_folder()`` of :mod:`biomark.records` by default.
        **settings: As for :func:`fit`, without ``checkpoint``.
    """
    if not (hasattr(model, "save") and hasattr(model, "restore")):
        raise ValueError(f"a {type(model).__name__} has no save and restore, as a biomark model has: train it by fit.")
    asked = ("loss", "optimizer", "epochs", "batch_size")
    loss, optimizer, *numbers = choose_settings(model, cohort, *map(settings.get, asked))
    meant = _DEFAULTS | settings | dict.fromkeys(("progress", *asked))
    # The printed model tells apart networks of like weights, such as two dilations.
    parts = [
        fingerprints.of_code(*fingerprints.METHOD),
        repr(model),
        *map(fingerprints.of_rule, (loss, optimizer, cohort.task, cohort.task.moves)),
        fingerprints.of_model(model),
        fingerprints.of_weights(model),
        fingerprints.of_arrays(training_arrays(loss, cohort), numbers, sorted(meant.items())),
    ]
    place = expand(folder or runs_folder()) / "trained" / hashlib.sha256("".join(parts).encode()).hexdigest()[:24]
    weights, story = place / "model.safetensors", place / "history.json"
    if weights.exists() and story.exists():
        try:
            with whole_file(place, "trained model"):
                history, state = History(**read_object(story, "train again")), tensor_files.read(weights, "model")[1]
                tensor_files.refuse_broken(state, f"{weights}")
                if not history.loss:
                    raise ValueError("it has no history")
                model.restore(state).to(devices.available(meant["device"]))
        except ValueError as error:
            warnings.warn(f"{place} is damaged, and what it held is trained again ({error})", stacklevel=2)
        else:
            return history
    history = fit(model, cohort, **settings, checkpoint=place / "checkpoint.safetensors")
    if devices.is_main_process():
        model.save(weights)
        with atomic_write(story) as partial:  # last: a folder with a history is complete
            partial.write_text(json.dumps(vars(history)))
        (place / "checkpoint.safetensors").unlink(missing_ok=True)  # another process may have been as fast
    devices.wait()
    return history
