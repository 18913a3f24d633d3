"""From a scan of any size to what a task looks at: weighed on the scan's own voxels, seen in boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from biomark.cohort import Case
from biomark.grids import Boxes
from biomark.scans.arch import arch_slice
from biomark.scans.grid import PADDING_HU, Grid
from biomark.scans.heart import heart_box
from biomark.scans.nifti import read_mask
from biomark.scans.reader import read
from biomark.scans.scan import Scan, ScanError, check_slice
from biomark.tasks import Task

CROPS = {"cac": heart_box}
"""Functions that cut a part out of a volume, by task."""

SLICES = {"pma": arch_slice, "sfa": arch_slice}
"""Functions that find the slice to measure in a volume, by task."""

SHORT_MM = 50.0
"""What covers less along the body was cut out around the slice that is meant, which then is the middle one. Ours."""


@dataclass(frozen=True, eq=False)
class Excerpt:
    """The part of a scan that a task looks at, on the scan's own voxels, and how boxes lie over it."""

    scan: Scan
    where: tuple[int | slice, ...]  # `scan.hu[where]` is the part
    case: Case  # image, weights and mask of the part, at its own spacing
    boxes: Boxes
    slice: int | None  # None for a volume
    findings: tuple[str, ...]

    def in_boxes(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32] | None]:
        """What the network sees: of each box the mean HU, its weight, and the weight in the mask, if there is one.

        Beyond the image there is air.
        """
        case, boxes = self.case, self.boxes
        truth = None if case.mask is None else boxes.sums(case.weights * case.mask)
        return boxes.means(case.image, PADDING_HU), boxes.sums(case.weights), truth

    def whole(self, part: NDArray) -> NDArray:
        """An array on the case's own voxels in its place in the scan: shape of ``scan.hu``, 0 elsewhere."""
        volume = np.zeros(self.scan.hu.shape, part.dtype)
        volume[self.where] = part
        return volume


def prepare(
    image: Path, task: Task, grid: Grid, *, index: int | None = None, mask: Path | None = None, crop: bool = True
) -> Excerpt:
    """Read a scan, take the slice or the heart box, weigh its own voxels and lay boxes over them.

    Args:
        image, task, grid: The path, what is measured, the boxes.
        index: Slice of a task in 2-D, from 0 at the feet; found by a rule if None, with a finding.
        mask: A NIfTI file on the image's own voxels.
        crop: Whether a task that looks for a part of the volume (``cac`` for the heart box) does so.

    Raises:
        ValueError: The part does not fit on the grid, the task cannot measure it, or (ScanError) reading fails.
    """
    scan = read(image, slice=index if task.ndim == 2 else None)
    # A given slice has been read alone.
    part = take(scan, task, grid, index=None if index is None else 0, mask=mask, crop=crop)
    return part if index is None else replace(part, slice=index)


def read_again(
    image: Path, index: int | None, where: Sequence[Sequence[int]] | None, native: bool
) -> NDArray[np.float32]:
    """The Hounsfield units of what :func:`prepare` took of a scan.

    ``index`` and ``where`` are the prepared case's; ``native`` is whether its grid made each voxel a box.
    """
    hu = read(image, slice=index).hu
    return _raised(hu[0] if where is None else hu[tuple(slice(*ends) for ends in where)], native)


def take(
    scan: Scan, task: Task, grid: Grid | None, *, index: int | None = None, mask: Path | None = None, crop: bool = True
) -> Excerpt:
    """The slice or the heart box of a scan, weighed on its own voxels under boxes; arguments as :func:`prepare`.

    Without a grid each voxel is a box.
    """
    drawn = None if mask is None else read_mask(mask, scan)
    findings, part = list(scan.findings), None
    where: tuple[int | slice, ...] = tuple(slice(0, n) for n in scan.hu.shape)
    if task.ndim == 2:
        if index is None:
            index, more = _find_slice(scan, task)
            findings += more
        check_slice(index, len(scan))
        case, where = scan.case(task, index), (index, *where[1:])
        # Centred on the candidates, which are in the body.
        part = (ndimage.find_objects((case.weights > 0).astype(np.int8)) or [None])[0]
    elif crop and task.key in CROPS:
        box = CROPS[task.key](scan)
        findings += box.findings
        case, where = box.case(task), box.slices
    else:
        case = Case("", scan.hu, task.weigh(scan.hu, scan.spacing_mm), None, None, scan.spacing_mm)
    shape = case.image.shape
    grid = grid or Grid(shape, None)
    boxes = grid.place(shape, case.spacing_mm, part or tuple(slice(0, n) for n in shape))
    if drawn is not None:
        seen = boxes.sums(drawn[where]).sum(dtype=float)
        if lost := int(np.count_nonzero(drawn[index] if task.ndim == 2 else drawn) - seen):
            findings.append(f"{lost} voxels of the mask lie outside the boxes that the network sees.")
        case = replace(case, mask=drawn[where])
    case = replace(case, image=_raised(case.image, grid.spacing_mm is None))
    return Excerpt(scan, where, case, boxes, index, tuple(findings))


def _find_slice(scan: Scan, task: Task) -> tuple[int, list[str]]:
    """The slice to measure where none was given, and findings on it; a ScanError where nobody can say."""
    if len(scan) == 1:
        return 0, []
    k, why, short = len(scan) // 2, "", len(scan) * scan.spacing_mm[0] <= SHORT_MM
    if task.key == "liver":
        why = "No slice was given, and no rule finds the one with the tumour"
        raise ScanError(f"{why}: name it, by --slice or in the sheet's column slice, from 0 at the feet.")
    if task.key in SLICES:
        try:
            found = SLICES[task.key](scan)
            return found.index, [f"No slice was given: {found}.", *found.findings]
        except ScanError as error:
            if not short:
                raise
            why = f" {error}"
    return k, [f"No slice was given: number {k} of 0 to {len(scan) - 1}, the middle one, was taken.{why}"]


def _raised(hu: NDArray[np.float32], native: bool) -> NDArray[np.float32]:
    """Without the padding of scanners, except where no value is to be changed."""
    return hu if native else np.maximum(hu, np.float32(PADDING_HU))
