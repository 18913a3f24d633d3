"""One scan with its number (:class:`Case`) and many of them (:class:`Cohort`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from biomark.grids import Boxes
from biomark.machine import rows
from biomark.machine.disk_arrays import DiskArray, Rows, numbers, take_rows
from biomark.machine.masks import inside, unmasked
from biomark.machine.packed import Packed, Voxels
from biomark.tasks import Task

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Case:
    """One image, what its voxels would add, and (when known) its number and its mask.

    Attributes:
        id: Name of the case.
        image: Hounsfield units, shape ``S``.
        weights: What each voxel or box would add to the biomarker, shape ``S``, 0 outside the candidates.
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


@dataclass(frozen=True, eq=False)
class Cohort:
    """Cases of one shape for one task, in boxes: what a network looks at.

    A box is some voxels of a scan (:mod:`biomark.grids`), or one. Arrays may stay on disk
    (:class:`biomark.machine.disk_arrays.DiskArray`).

    Attributes:
        task: What is measured.
        images: Mean Hounsfield units, ``(N, *S)`` float32.
        weights: What each box would add, the sum over its voxels, ``(N, *S)`` float32.
        values: The biomarker of each case, ``(N,)`` float64, in the task's unit.
        truth: What of the weights lies inside the true region, ``(N, *S)`` float32, or None; given as masks it becomes
            that. Evaluation reads it; training of a localizer never does.
        spacing_mm: Sides of the boxes of each case, ``(N, ndim)``.
        ids: Name of each case.
        about: What else is known, one row a case; None when nothing is. A column ``group`` names whom a case is of.
        set_aside: Cases that could not be read, one row each, with the reason; None when all could.
        fine: The voxels of each case (:class:`biomark.machine.packed.Voxels`); None where the boxes are the voxels.
    """

    task: Task
    images: NDArray[np.float32] | DiskArray
    weights: NDArray[np.float32] | DiskArray
    values: NDArray[np.float64]
    truth: NDArray[np.float32] | DiskArray | None
    spacing_mm: NDArray[np.float64]
    ids: tuple[str, ...]
    about: pd.DataFrame | None = None
    set_aside: pd.DataFrame | None = None
    fine: Sequence[Voxels] | None = None

    def __post_init__(self) -> None:
        # Whoever makes one by hand may come with columns of a table, other types of numbers or views of arrays.
        given: dict[str, Any] = {"images": numbers(self.images), "weights": numbers(self.weights)}
        given["ids"] = tuple(map(str, self.ids))
        given["values"] = np.asarray(unmasked(self.values, "the values"), float)
        given["spacing_mm"] = np.asarray(self.spacing_mm, float)
        if given["images"].ndim != self.task.ndim + 1:
            raise ValueError(f"images of shape {given['images'].shape} are no rows of {self.task.ndim}-D ones.")
        rows.check(**given, tables={"the table about": self.about, "what is said of the voxels of": self.fine})
        if self.truth is not None:
            given["truth"] = rows.truth_of_boxes(self.truth, given["weights"])
        for name, value in given.items():
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        size = " x ".join(str(s) for s in self.images.shape[1:])
        known = "with" if self.truth is not None else "without"
        return f"Cohort({len(self)} cases of {self.task.name} [{self.task.unit}], {size} boxes, {known} truth)"

    def __iter__(self) -> Iterator[Case]:
        return (self[i] for i in range(len(self)))

    @overload
    def __getitem__(self, index: int) -> Case: ...
    @overload
    def __getitem__(self, index: slice | Sequence[int] | NDArray) -> Cohort: ...
    def __getitem__(self, index):
        """A case by number, or a smaller cohort by slice, list of numbers or boolean array."""
        if isinstance(index, (int, np.integer)):
            # By weight, so that a biomarker of thin or small things hardly changes.
            mask = None if self.truth is None else 2 * self.truth[index] > self.weights[index]
            value, spacing = float(self.values[index]), tuple(float(s) for s in self.spacing_mm[index])
            return Case(self.ids[index], self.images[index], self.weights[index], value, mask, spacing)
        some = np.arange(len(self))[index]
        return replace(
            self,
            images=take_rows(self.images, some),
            weights=take_rows(self.weights, some),
            values=self.values[some],
            truth=None if self.truth is None else take_rows(self.truth, some),
            spacing_mm=self.spacing_mm[some],
            ids=tuple(self.ids[i] for i in some),
            about=None if self.about is None else self.about.iloc[some].reset_index(drop=True),
            fine=None if self.fine is None else Rows(self.fine, some),
        )

    def voxels(self, index: int) -> Case:
        """A case on the measuring grid: the scan's own voxels, drawn or read again.

        Raises:
            ValueError: They cannot be had any more, as after :meth:`load`.
        """
        if self.fine is None:
            return self[index]
        fine, name = self.fine[index], self.ids[index]
        if fine.image is None:
            raise ValueError(f"the voxels of case {name!r} are not kept with the cohort: draw or read it again.")
        mask = None if self.truth is None or fine.mask is None else fine.mask.unpack()
        return Case(name, fine.image(), fine.weights.unpack(), float(self.values[index]), mask, fine.spacing_mm)

    def regions(self, index: int) -> tuple[NDArray[np.float32], Any, Boxes]:
        """What evaluation needs of a case on the measuring grid: weights, mask or None, and the boxes over them."""
        if self.fine is not None:
            fine = self.fine[index]
            mask = None if self.truth is None or fine.mask is None else fine.mask.unpack()
            return fine.weights.unpack(), mask, fine.boxes
        case, shape = self[index], np.shape(self.images)[1:]
        return case.weights, case.mask, Boxes(shape, (1,) * len(shape), shape)

    @property
    def groups(self) -> NDArray[np.int64]:
        """Whose each case is, ``(N,)``: one number for each ``group`` in ``about``; below 0 where none is named."""
        if self.about is None or "group" not in self.about:
            return -1 - np.arange(len(self))
        return rows.groups_of(self.about["group"])

    def split(self, fraction: float, seed: int = 0) -> tuple[Cohort, Cohort]:
        """Split at random; cases of one ``group`` in ``about``, such as a patient's, stay together.

        Args:
            fraction: Share of the cases in the first part, above 0 and below 1; with groups, as nearly as they allow.
            seed: Of the split.

        Raises:
            ValueError: One part would be empty, or a case has no group where others have.
        """
        first, second = rows.divide(self.groups, self.ids, fraction, seed)
        return self[first], self[second]

    def within(self, regions: Sequence[NDArray]) -> Cohort:
        """The same cases with the candidates narrowed to a region of each, such as an organ; values and masks stay.

        Args:
            regions: One a case, on the measuring grid: booleans or labels from 0; what is above 0 is inside.

        Raises:
            ValueError: A region has another shape than its image, or holds probabilities.
        """
        if len(regions) != len(self):
            raise ValueError(f"{len(self)} cases need a region each, and {len(regions)} are given.")
        fine: list[Any] = []
        weights = np.empty(np.shape(self.images), np.float32)
        truth = None if self.truth is None else np.empty_like(weights)
        for i, region in enumerate(regions):
            own, mask, boxes = self.regions(i)
            if np.shape(region) != own.shape:
                raise ValueError(f"the region of case {self.ids[i]!r} has shape {np.shape(region)}, not {own.shape}.")
            own = own * inside(region, "the regions")
            weights[i] = boxes.sums(own)
            if truth is not None:
                truth[i] = boxes.sums(own * mask)
            fine.append(None if self.fine is None else replace(self.fine[i], weights=Packed.of(own)))
        return replace(self, weights=weights, truth=truth, fine=None if self.fine is None else fine)

    def without_masks(self) -> Cohort:
        """The same cases with numbers only: what a localizer trains on."""
        return replace(self, truth=None)
