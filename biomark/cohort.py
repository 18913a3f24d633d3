"""One scan with its number (:class:`Case`) and many of them (:class:`Cohort`)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import overload

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from .files import whole
from .fingerprints import rule
from .masks import booleans
from .rows import Rows, numbers, on_disk, some
from .tasks import TASKS, Task


@dataclass(frozen=True)
class Case:
    """One image, what its voxels would add, and (when known) its number and its mask.

    Attributes:
        id: Name of the case.
        image: Hounsfield units, shape ``S``.
        weights: What each voxel would add to the biomarker, shape ``S``, 0 outside the candidates.
        value: The biomarker, in the task's unit; None when unknown.
        mask: The true region, boolean, shape ``S``; None when unknown.
        spacing_mm: Voxel spacing in the order of the array's axes.
    """

    id: str
    image: NDArray[np.float32]
    weights: NDArray[np.float32]
    value: float | None
    mask: NDArray[np.bool_] | None
    spacing_mm: tuple[float, ...]


@dataclass(frozen=True)
class Cohort:
    """Cases of one shape for one task.

    Images, weights and masks are arrays, or :class:`~biomark.rows.Rows` of arrays that stay on disk.

    Attributes:
        task: What is measured.
        images: Hounsfield units, ``(N, *S)`` float32.
        weights: What each voxel would add, ``(N, *S)`` float32.
        values: The biomarker of each case, ``(N,)`` float64, in the task's unit.
        masks: True regions, ``(N, *S)`` bool, or None. Evaluation reads them; training of a localizer never does.
        spacing_mm: Voxel spacing of each case, ``(N, ndim)``.
        ids: Name of each case.
        about: What else is known, one row a case; None when nothing is. A column ``group`` names whom a case is of.
        set_aside: Cases that could not be read, one row each, with the reason; None when all could.
    """

    task: Task
    images: NDArray[np.float32] | Rows
    weights: NDArray[np.float32] | Rows
    values: NDArray[np.float64]
    masks: NDArray[np.bool_] | Rows | None
    spacing_mm: NDArray[np.float64]
    ids: tuple[str, ...]
    about: pd.DataFrame | None = None
    set_aside: pd.DataFrame | None = None

    def __post_init__(self) -> None:
        # Whoever makes one by hand may come with columns of a table, other types of numbers or views of arrays.
        plain = {"values": np.asarray(self.values, float), "spacing_mm": np.asarray(self.spacing_mm, float)}
        plain |= {"ids": tuple(map(str, self.ids)), "images": numbers(self.images), "weights": numbers(self.weights)}
        plain["masks"] = _booleans(self.masks)
        for name, value in plain.items():
            object.__setattr__(self, name, value)
        if self.values.ndim != 1:
            raise ValueError(f"values have shape {self.values.shape}: give one number a case, such as values[:, 0].")
        n, shape = len(self.values), np.shape(self.images)
        if len(shape) != self.task.ndim + 1 or shape[0] != n or shape != np.shape(self.weights):
            raise ValueError(f"images {shape}, weights {np.shape(self.weights)} and {n} values do not belong together.")
        if self.masks is not None and np.shape(self.masks) != shape:
            raise ValueError(f"masks have shape {np.shape(self.masks)}, but the images {shape}.")
        if np.shape(self.spacing_mm) != (n, self.task.ndim) or len(self.ids) != n:
            raise ValueError(f"a cohort of {n} cases needs {n} spacings of {self.task.ndim} numbers and {n} ids.")
        if not (np.isfinite(self.spacing_mm) & (self.spacing_mm > 0)).all():
            first = self.ids[int(np.argmin((self.spacing_mm > 0).all(1) & np.isfinite(self.spacing_mm).all(1)))]
            raise ValueError(f"case {first!r} has a voxel spacing that is no length: give millimetres above 0.")
        if self.about is not None and len(self.about) != n:
            raise ValueError(f"the table about {n} cases has {len(self.about)} rows: give it one a case.")
        if not np.isfinite(self.values).all():
            first = self.ids[int(np.argmin(np.isfinite(self.values)))]
            raise ValueError(f"case {first!r} has no finite value: leave it out or mend it.")

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        size = " x ".join(str(s) for s in self.images.shape[1:])
        known = "with" if self.masks is not None else "without"
        return f"Cohort({len(self)} cases of {self.task.name} [{self.task.unit}], {size}, {known} masks)"

    def __iter__(self) -> Iterator[Case]:
        return (self[i] for i in range(len(self)))

    @overload
    def __getitem__(self, index: int) -> Case: ...
    @overload
    def __getitem__(self, index: slice | Sequence[int] | NDArray) -> Cohort: ...
    def __getitem__(self, index):
        """A case by number, or a smaller cohort by slice, list of numbers or boolean array."""
        if isinstance(index, (int, np.integer)):
            mask = None if self.masks is None else self.masks[index]
            spacing = tuple(float(s) for s in self.spacing_mm[index])
            return Case(
                self.ids[index],
                self.images[index],
                self.weights[index],
                float(self.values[index]),
                mask,
                spacing,
            )
        rows = np.arange(len(self))[index]
        return replace(
            self,
            images=some(self.images, rows),
            weights=some(self.weights, rows),
            values=self.values[rows],
            masks=None if self.masks is None else some(self.masks, rows),
            spacing_mm=self.spacing_mm[rows],
            ids=tuple(self.ids[i] for i in rows),
            about=None if self.about is None else self.about.iloc[rows].reset_index(drop=True),
        )

    def split(self, fraction: float, seed: int = 0) -> tuple[Cohort, Cohort]:
        """Split at random; cases of one ``group`` in ``about``, such as a patient's, stay together.

        Args:
            fraction: Share of the cases in the first part, above 0 and below 1; with groups, as nearly as they allow.
            seed: Same seed, same split.

        Raises:
            ValueError: One part would be empty.
        """
        wanted, groups = round(fraction * len(self)), np.arange(len(self))
        if self.about is not None and "group" in self.about:
            groups = np.unique(np.asarray(self.about["group"], str), return_inverse=True)[1]
        order = np.random.default_rng(seed).permutation(len(np.unique(groups)))
        sizes = np.cumsum(np.bincount(groups)[order])
        first = int(np.argmin(np.abs(sizes - wanted))) + 1 if len(order) else 0
        if not 0 < wanted < len(self) or first == len(order):
            raise ValueError(
                f"a split of {len(self)} cases at {fraction} leaves one side empty: choose a fraction between 0 and 1."
            )
        if len(order) == len(self):
            return self[order[:first]], self[order[first:]]
        in_first = np.isin(groups, order[:first])
        return self[in_first], self[~in_first]

    def within(self, regions: NDArray[np.bool_]) -> Cohort:
        """The same cases with the candidates narrowed to a region of each, such as an organ that another tool drew.

        Values and masks stay: a region must hold what the number counts.

        Args:
            regions: Boolean, ``(N, *S)``.

        Raises:
            ValueError: The regions have another shape than the images.
        """
        if np.shape(regions) != np.shape(self.images):
            raise ValueError(f"regions have shape {np.shape(regions)}, but the images {np.shape(self.images)}.")
        return replace(self, weights=self.weights * np.asarray(regions, bool))

    def save(self, path: str | os.PathLike) -> None:
        """Write the cases as one safetensors file: to train where the scans are not, such as in Colab.

        It holds all that training and evaluation read, ids and the table ``about`` included, with groups as the sheet
        names them; not the scans. A cohort on disk is read into memory for it.

        Args:
            path: File to write, whole or not at all.
        """
        about = None if self.about is None else json.loads(self.about.to_json(orient="split", index=False))
        told = {"task": self.task.key, "rules": _rules(self.task), "ids": self.ids, "about": about}
        arrays = {name: np.ascontiguousarray(getattr(self, name)) for name in _ARRAYS}
        if self.masks is not None:
            arrays["masks"] = np.ascontiguousarray(self.masks)
        with whole(path) as partial:
            partial.write_bytes(save(arrays, {"biomark cohort": json.dumps(told)}))

    @classmethod
    def load(cls, path: str | os.PathLike, *, task: Task | None = None) -> Cohort:
        """Read what :meth:`save` wrote. Nothing in the file is executed.

        Args:
            path: The file.
            task: The task, where it is not one of ``TASKS``.

        Raises:
            ValueError: The file holds no cohort, or needs a task that is not given.
            FileNotFoundError: There is no such file.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(f"no cohort at {path}: save one there first.")
        try:
            with safe_open(path, framework="np") as file:
                told = json.loads((file.metadata() or {})["biomark cohort"])
                arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except (SafetensorError, KeyError, json.JSONDecodeError) as error:
            raise ValueError(f"{path} is no cohort that biomark wrote ({error}).") from error
        if task is None and (told["task"] not in TASKS or told["rules"] != _rules(TASKS[told["task"]])):
            raise ValueError(f"{path} is of a task {told['task']!r} with rules of its own: pass it as task=.")
        table = told["about"] and pd.DataFrame(**told["about"])
        if table is not None and "findings" in table:
            table["findings"] = table["findings"].map(tuple)  # JSON has lists alone
        return cls(task or TASKS[told["task"]], **{"masks": None} | arrays, ids=told["ids"], about=table)

    def without_masks(self) -> Cohort:
        """The same cases with numbers only: what a localizer trains on."""
        return replace(self, masks=None)


_ARRAYS = ("images", "weights", "values", "spacing_mm")


def _rules(task: Task) -> str:
    """What decides which voxels are candidates, and what each is worth."""
    return rule((task.hu_window, task.region, task.worth))


def refuse_broken(cohort: Cohort) -> None:
    """Name the first case with voxels that are no numbers. It reads every voxel: for when a loss became no number.

    Raises:
        ValueError: There is one.
    """
    for what, rows in (("image", cohort.images), ("weights", cohort.weights)):
        for i, row in enumerate(rows):
            if not np.isfinite(row).all():
                raise ValueError(
                    f"the {what} of case {cohort.ids[i]!r} holds values that are no numbers: leave it out."
                )


def _booleans(masks: NDArray | Rows | None) -> NDArray[np.bool_] | Rows | None:
    if masks is None:
        return None
    if on_disk(masks) and masks.dtype != bool:
        raise ValueError(f"the masks on disk are of type {masks.dtype}: write them as booleans, such as masks > 0.")
    return masks if on_disk(masks) else np.ascontiguousarray(booleans(masks, "the masks"))
