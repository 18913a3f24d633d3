"""From a scan of any size to the voxels of a task's grid, with the same biomarker."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from biomark.cohort import Case
from biomark.scans.grid import AIR_HU, Grid
from biomark.scans.heart import heart_box
from biomark.scans.mask import read_mask
from biomark.scans.reader import read
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
    drawn = None if mask is None else read_mask(mask, scan)
    findings = list(scan.findings)
    if task.ndim == 2:
        # A slice that was asked for has been read alone.
        taken = 0 if slice is not None else len(scan) // 2
        if len(scan) > 1:
            findings.append(f"No slice was given: number {taken} of 0 to {len(scan) - 1}, the middle one, was taken.")
        case = scan.case(task, taken)
        drawn = None if drawn is None else drawn[taken]
        slice = taken if slice is None else slice
        # Centred on what could belong. In 2-D this is the body; far away from it there is nothing to see.
        part = (ndimage.find_objects((case.weights > 0).astype(np.int8)) or [None])[0]
    elif crop and task.key in CROPS:
        box = CROPS[task.key](scan)
        findings += box.findings
        case, part = box.case(task), None
        if drawn is not None:
            if lost := np.count_nonzero(drawn) - np.count_nonzero(drawn[box.slices]):
                findings.append(f"{lost} voxels of the mask lie outside the box that was cut out.")
            drawn = drawn[box.slices]
    else:
        case, part = Case("", scan.hu, task.weigh(scan.hu, scan.spacing_mm), None, None, scan.spacing_mm), None
    placed = grid.place(case.image.shape, case.spacing_mm, part or tuple(map(_all, case.image.shape)))
    native = grid.spacing_mm is None
    return Prepared(
        placed.means(case.image if native else np.maximum(case.image, AIR_HU), AIR_HU),
        placed.sums(case.weights),
        None if drawn is None else placed.mask(drawn, case.weights),
        placed.spacing_mm,
        float(case.weights.sum(dtype=float)),
        slice,
        tuple(findings),
    )


def _all(n: int) -> slice:
    return slice(0, n)
