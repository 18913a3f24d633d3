"""From a scan of any size to the voxels of a task's grid, with the same biomarker, and back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from biomark.cohort import Case
from biomark.scans.grid import PADDING_HU, Grid, Placement
from biomark.scans.heart import heart_box
from biomark.scans.nifti import read_mask
from biomark.scans.reader import read
from biomark.scans.scan import Scan, check_slice
from biomark.tasks import Task

CROPS = {"cac": heart_box}
"""Functions that cut a part out of a volume, by task."""


@dataclass(frozen=True, eq=False)
class PreparedCase:
    """What a cohort keeps of a scan, on the voxels of its grid."""

    image: NDArray[np.float32]  # Hounsfield units
    weights: NDArray[np.float32]  # what each voxel would add to the biomarker
    mask: NDArray[np.bool_] | None
    spacing_mm: tuple[float, ...]
    total: float  # the sum of all weights, on the scan's own voxels as on the grid
    slice: int | None  # None for a volume
    findings: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Excerpt:
    """The part of a scan that a task looks at, on the scan's own voxels, and how a grid lies over it."""

    scan: Scan
    where: tuple[int | slice, ...]  # `scan.hu[where]` is the part
    case: Case  # image, weights and mask of the part, at its own spacing
    placement: Placement
    slice: int | None  # None for a volume
    findings: tuple[str, ...]

    def on_grid(self, *, native: bool = False) -> PreparedCase:
        """The same on the grid; padding counts as air unless the grid is the image's own (``native``)."""
        case, grid = self.case, self.placement
        return PreparedCase(
            grid.means(case.image if native else np.maximum(case.image, PADDING_HU), PADDING_HU),
            grid.sums(case.weights),
            None if case.mask is None else grid.mask(case.mask, case.weights),
            grid.spacing_mm,
            float(case.weights.sum(dtype=float)),
            self.slice,
            self.findings,
        )

    def back(self, values: NDArray) -> NDArray[np.float32]:
        """A map on the grid as one on the case's own voxels, 0 where there is no candidate (it means nothing there)."""
        return np.where(self.case.weights > 0, self.placement.back(values, self.case.image.shape), np.float32(0))

    def whole(self, part: NDArray) -> NDArray:
        """An array on the case's own voxels in its place in the scan: shape of ``scan.hu``, 0 elsewhere."""
        volume = np.zeros(self.scan.hu.shape, part.dtype)
        volume[self.where] = part
        return volume


def prepare(
    image: Path, task: Task, grid: Grid, *, index: int | None = None, mask: Path | None = None, crop: bool = True
) -> PreparedCase:
    """Read a scan, take the slice or the heart box, weigh its own voxels and bring all of it to a grid.

    A voxel of the grid holds the sum of the weights and the mean of the HU of the scan's voxels in it.

    Args:
        image: As for :func:`biomark.scans.read`.
        task: What is measured.
        grid: The voxels to bring it to.
        index: Slice of a task in 2-D, from 0 at the feet; the middle one if None.
        mask: A NIfTI file on the image's own voxels.
        crop: Whether a task that looks for a part of the volume (``cac`` for the heart box) does so.

    Raises:
        ValueError: The part does not fit on the grid, the task cannot measure it, or (ScanError) reading fails.
    """
    scan = read(image, slice=index if task.ndim == 2 else None)
    # A given slice has been read alone.
    part = take(scan, task, grid, index=None if index is None else 0, mask=mask, crop=crop)
    prepared = part.on_grid(native=grid.spacing_mm is None)
    return prepared if index is None else replace(prepared, slice=index)


def take(
    scan: Scan, task: Task, grid: Grid, *, index: int | None = None, mask: Path | None = None, crop: bool = True
) -> Excerpt:
    """The slice or the heart box of a scan, weighed on its own voxels under a grid; arguments as :func:`prepare`."""
    drawn = None if mask is None else read_mask(mask, scan)
    findings, where, part = list(scan.findings), tuple(map(_all, scan.hu.shape)), None
    if task.ndim == 2:
        k = len(scan) // 2 if index is None else index
        check_slice(k, len(scan))
        if index is None and len(scan) > 1:
            findings.append(f"No slice was given: number {k} of 0 to {len(scan) - 1}, the middle one, was taken.")
        case, where, index = scan.case(task, k), (k, *where[1:]), k
        # Centred on the candidates, which are in the body.
        part = (ndimage.find_objects((case.weights > 0).astype(np.int8)) or [None])[0]
    elif crop and task.key in CROPS:
        box = CROPS[task.key](scan)
        findings += box.findings
        case, where = box.case(task), box.slices
        if drawn is not None and (lost := np.count_nonzero(drawn) - np.count_nonzero(drawn[where])):
            findings.append(f"{lost} voxels of the mask lie outside the box that was cut out.")
    else:
        case = Case("", scan.hu, task.weigh(scan.hu, scan.spacing_mm), None, None, scan.spacing_mm)
    case = replace(case, mask=None if drawn is None else drawn[where])
    placement = grid.place(case.image.shape, case.spacing_mm, part or tuple(map(_all, case.image.shape)))
    return Excerpt(scan, where, case, placement, index, tuple(findings))


def _all(n: int) -> slice:
    return slice(0, n)
