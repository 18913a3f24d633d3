"""Cohorts in files: to train and evaluate where the scans are not, such as in Colab."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from biomark.cohort import Cohort, Voxels
from biomark.grids import Boxes
from biomark.machine import fingerprints, packed, tensor_files
from biomark.machine.files import json_from_table, table_from_json, whole_file
from biomark.tasks import TASKS, Task

_KIND = "biomark cohort"
_BOXES = ("shape", "voxels", "image_shape", "starts")


def save_cohort(cohort: Cohort, path: str | os.PathLike) -> None:
    """Write the cases as one safetensors file, whole or not at all, which :func:`load_cohort` reads.

    It holds all that training and evaluation read: the boxes, ids, the table ``about``, and the weights and masks of
    the scans' own voxels; not their images, nor what was set aside.
    """
    about = None if cohort.about is None else json_from_table(cohort.about)
    header: dict[str, Any] = {"task": cohort.task.key, "rules": cohort.task.rules(), "ids": cohort.ids}
    header |= {"about": about, "fine": None}
    names = ("images", "weights", "values", "spacing_mm", *([] if cohort.truth is None else ["truth"]))
    arrays = {name: np.ascontiguousarray(getattr(cohort, name)) for name in names}
    if cohort.fine is not None:
        voxels = list(cohort.fine)
        masks = [v.mask for v in voxels if v.mask is not None and cohort.truth is not None]
        arrays["voxels"], index = packed.join([v.weights for v in voxels] + masks)
        grids = [[[getattr(v.boxes, name) for name in _BOXES], v.spacing_mm] for v in voxels]
        header["fine"] = {"index": index, "grids": grids}
    tensor_files.write(path, arrays, header, _KIND)


def load_cohort(path: str | os.PathLike, *, task: Task | None = None) -> Cohort:
    """Read what :func:`save_cohort` wrote. Nothing in the file is executed.

    Args:
        path: The file.
        task: The task of the cohort, where it is not one of ``TASKS``.

    Returns:
        The cohort; the images on the scans' own voxels, and so :meth:`biomark.Cohort.voxels`, are not had from it.

    Raises:
        ValueError: The file holds no cohort, one of another task or version, or needs a task that is not given.
        FileNotFoundError: There is no such file.
    """
    header, arrays = tensor_files.read(path, "cohort", _KIND, framework="np")
    with whole_file(path, "cohort"):
        own, ids, fine = task_of(path, header, task), header["ids"], None
        about = None if header["about"] is None else table_from_json(header["about"])
        if header["fine"] is not None:
            arrays_of = packed.part(arrays.pop("voxels"), header["fine"]["index"])
            weights, masks = arrays_of[: len(ids)], arrays_of[len(ids) :] or len(ids) * [None]
            grids = [(Boxes(*boxes), tuple(spacing)) for boxes, spacing in header["fine"]["grids"]]
            fine = [Voxels(*grid, w, mask) for grid, w, mask in zip(grids, weights, masks, strict=True)]
        return Cohort(own, **{"truth": None} | arrays, ids=ids, about=about, fine=fine)


def task_of(path: object, header: Mapping[str, Any], given: Task | str | None = None) -> Task:
    """The task for which a file was made, so that nothing is read under other rules than it was made under.

    Args:
        path: The file.
        header: What it says of itself: ``task``, a key, and ``rules``, as :meth:`Task.rules`.
        given: The task, or its key in ``TASKS``. Warns of other rules: another Python knows a rule otherwise.

    Raises:
        ValueError: It is another task, unknown or of other rules, or the file is of an older version.
    """
    key, rules = header["task"], header.get("rules", "")
    given = (None if given == key else TASKS[given]) if isinstance(given, str) else given
    if rules.split(":")[0] != fingerprints.VERSION:
        raise ValueError(f"{path} was made by an older version of biomark: make it again.")
    if given is None and (key not in TASKS or rules != TASKS[key].rules()):
        raise ValueError(f"{path} is of a task {key!r} with rules that are not biomark's: pass it as task=.")
    if given is not None and given.key != key:
        raise ValueError(f"{path} is of task {key!r}, and the task given is {given.key!r}.")
    if given is not None and rules != given.rules():
        warnings.warn(f"{path} was made for a task {key!r} with rules other than those given.", stacklevel=3)
    return given or TASKS[key]
