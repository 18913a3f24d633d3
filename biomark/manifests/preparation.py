"""From a scan of any size to the voxels of a task's grid, with the same biomarker, and back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from biomark.cohort import Case
from biomark.scans.grid import PADDING_HU, Grid, Placed
from biomark.scans.heart import heart_box
from biomark.scans.nifti import read_mask
from biomark.scans.reader import read
from biomark.scans.scan import Scan, check_slice
from biomark.tasks import Task

CROPS = {"cac": heart_box}
"""What is cut out of a volume, by task."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """What a cohort keeps of a scan.

    Attributes:
        image: Hounsfield units on the grid.
        weights: What each of its voxels would add to the biomarker.
        mask: The drawn region, or None.
        spacing_mm: Spacing of the grid.
        total: The sum of all weights, before and after.
        slice: The slice that was taken, None for a volume.
        findings: One sentence for each thing that a careful reader would want to know.
    """

    image: NDArray[np.float32]
    weights: NDArray[np.float32]
    mask: NDArray[np.bool_] | None
    spacing_mm: tuple[float, ...]
    total: float
    slice: int | None
    findings: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Taken:
    """What a task looks at in a scan, on the scan's own voxels, and how a grid lies over it.

    Attributes:
        scan: The scan.
        where: Where in ``scan.hu`` it lies.
        case: Image, weights and mask of that part, at its own spacing.
        placed: The grid over it.
        slice: The slice that was taken, None for a volume.
        findings: One sentence for each thing that a careful reader would want to know.
    """

    scan: Scan
    where: tuple[slice, slice, slice]
    case: Case
    placed: Placed
    slice: int | None
    findings: tuple[str, ...]

    def prepared(self, *, native: bool = False) -> Prepared:
        """The same on the grid; padding counts as air unless the grid is the image's own (``native``)."""
        case, placed = self.case, self.placed
        return Prepared(
            placed.means(case.image if native else np.maximum(case.image, PADDING_HU), PADDING_HU),
            placed.sums(case.weights),
            None if case.mask is None else placed.mask(case.mask, case.weights),
            placed.spacing_mm,
            float(case.weights.sum(dtype=float)),
            self.slice,
            self.findings,
        )

    def back(self, map: NDArray) -> NDArray[np.float32]:
        """A map on the grid as one on the case's own voxels, 0 where there is no candidate (there it says nothing)."""
        return np.where(self.case.weights > 0, self.placed.back(map, self.case.image.shape), np.float32(0))

    def whole(self, part: NDArray) -> NDArray:
        """An array on the case's own voxels in its place in the scan: shape of ``scan.hu``, 0 elsewhere."""
        volume = np.zeros(self.scan.hu.shape, part.dtype)
        volume[self.where] = part
        return volume


def prepare(
    image: Path, task: Task, grid: Grid, *, slice: int | None = None, mask: Path | None = None, crop: bool = True
) -> Prepared:
    """Read a scan, pick the slice or the heart box, weigh its own voxels and carry all of it to a grid.

    The weights are those of the scan's own voxels, at their own spacing. A voxel of the grid holds the sum of those
    that lie in it, and the mean of their Hounsfield units. A mask holds the voxels of whose
    weight it has more than half.

    Args:
        image: As for :func:`biomark.scans.read`.
        task: What is measured.
        grid: The voxels to carry it to.
        slice: Slice of a task in 2-D, from 0 at the feet; the middle one if None.
        mask: A NIfTI file on the image's own voxels.
        crop: Whether a task that looks for a part of the volume (``cac`` for the heart box) does so.

    Raises:
        ScanError: The scan or the mask cannot be read.
        ValueError: What is to be measured does not fit on the grid, or the task cannot measure on this scan.
    """
    scan = read(image, slice=slice if task.ndim == 2 else None)
    # A slice that was asked for has been read alone.
    taken = take(scan, task, grid, slice=None if slice is None else 0, mask=mask, crop=crop)
    prepared = taken.prepared(native=grid.spacing_mm is None)
    return prepared if slice is None else replace(prepared, slice=slice)


def take(
    scan: Scan, task: Task, grid: Grid, *, slice: int | None = None, mask: Path | None = None, crop: bool = True
) -> Taken:
    """Pick the slice or the heart box of a scan, weigh its own voxels and lay a grid over it; as :func:`prepare`."""
    drawn = None if mask is None else read_mask(mask, scan)
    findings, where = list(scan.findings), tuple(map(_all, scan.hu.shape))
    if task.ndim == 2:
        taken = len(scan) // 2 if slice is None else slice
        check_slice(taken, len(scan))
        if slice is None and len(scan) > 1:
            findings.append(f"No slice was given: number {taken} of 0 to {len(scan) - 1}, the middle one, was taken.")
        case, where, slice = scan.case(task, taken), (taken, *where[1:]), taken
        # Centred on what could belong. In 2-D this is the body; far away from it there is nothing to see.
        part = (ndimage.find_objects((case.weights > 0).astype(np.int8)) or [None])[0]
    elif crop and task.key in CROPS:
        box = CROPS[task.key](scan)
        findings += box.findings
        case, where, part = box.case(task), box.slices, None
        if drawn is not None and (lost := np.count_nonzero(drawn) - np.count_nonzero(drawn[where])):
            findings.append(f"{lost} voxels of the mask lie outside the box that was cut out.")
    else:
        case, part = Case("", scan.hu, task.weigh(scan.hu, scan.spacing_mm), None, None, scan.spacing_mm), None
    case = replace(case, mask=None if drawn is None else drawn[where])
    placed = grid.place(case.image.shape, case.spacing_mm, part or tuple(map(_all, case.image.shape)))
    return Taken(scan, where, case, placed, slice, tuple(findings))


def _all(n: int) -> slice:
    return slice(0, n)
