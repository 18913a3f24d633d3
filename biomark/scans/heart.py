"""The box around the heart in a chest CT, found by a stated rule: lungs by threshold, the heart between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from biomark import candidates
from biomark.cohort import Case
from biomark.scans.scan import Scan, ScanError
from biomark.tasks import Task

LUNG_HU = -500.0
"""Below this a voxel inside the body is lung or airway, half way between lung (-850) and soft tissue."""

HEIGHT_MM = 130.0
"""Height of the box; an adult heart with the roots of its great vessels is 100 to 120 mm high. Ours."""

MARGIN_MM = 15.0
"""What is added on either side of the heart, and before the lungs' front edge. Ours."""

_SIDE_MM = (120.0, 190.0)  # a heart is 90 to 160 mm wide; beyond, something else was measured
_COARSE_MM = (5.0, 3.0, 3.0)  # the rule needs no finer grid
_LUNGS_ML = 300.0  # less than one lung of a small adult
_SHORTEST_MM = 70.0
_BASE_SHARE = 0.6
_LARGE_SHARE = 0.2


@dataclass(frozen=True, eq=False)
class HeartBox:
    """A part of a scan.

    Attributes:
        hu: Hounsfield units, float32, (D, H, W): the voxels of the scan, nothing interpolated.
        spacing_mm: (dz, dy, dx) of the scan.
        slices: Where in ``scan.hu`` the box lies: ``scan.hu[box.slices]`` is ``box.hu``.
        findings: One sentence for each thing that a careful reader would want to know of the box.
    """

    hu: NDArray[np.float32]
    spacing_mm: tuple[float, float, float]
    slices: tuple[slice, slice, slice]
    findings: tuple[str, ...]

    def case(self, task: Task, id: str = "heart box") -> Case:
        """The box as a case for a task in 3-D, with the weights that the task gives its voxels, and no value."""
        return Case(id, self.hu, task.weigh(self.hu, self.spacing_mm), None, None, self.spacing_mm)


def heart_box(scan: Scan) -> HeartBox:
    """Find the box around the heart in a chest CT that covers the lungs' middle to the liver.

    The rule, on a grid of about 5 x 3 x 3 mm:

    1. Lungs are what lies below ``LUNG_HU`` inside the body, in parts of at least a fifth of the largest.
    2. The box ends below where the lungs' area, going down from its maximum, has fallen to 60 % (the domes of the
       diaphragm take their place there), 10 mm further down. It is ``HEIGHT_MM`` high.
    3. From side to side it holds what lies between the lungs at the body's midline in the upper two thirds of that
       height (below, the liver counts as heart), in 95 % of the rows, and ``MARGIN_MM`` more.
    4. It begins ``MARGIN_MM`` before the lungs' front edge and is as deep as it is wide.

    It was not measured on patients with effusions, masses, a removed lung or a heart on the right: look at the box
    before believing a score in it. The box is cut to the scan, with findings where it was cut.

    Raises:
        ScanError: The scan is one slice or too short, or no lungs are found.
    """
    if not np.isfinite(scan.spacing_mm).all():
        raise ScanError("A heart box needs a volume, but this scan is one slice.")
    covered = len(scan) * scan.spacing_mm[0]
    if covered < _SHORTEST_MM:
        raise ScanError(
            f"This scan covers {covered:.0f} mm along the body, which cannot hold a heart: give the whole chest series."
        )
    step = tuple(max(1, round(c / s)) for c, s in zip(_COARSE_MM, scan.spacing_mm, strict=True))
    spacing = tuple(k * s for k, s in zip(step, scan.spacing_mm, strict=True))
    lungs = _lungs(scan.hu[tuple(slice(None, None, k) for k in step)], spacing)

    bottom, ends_in_scan = _base(lungs.sum((1, 2)))
    low = bottom * spacing[0] - 10 * ends_in_scan
    upper = slice(bottom + round(HEIGHT_MM / 3 / spacing[0]), bottom + max(round(HEIGHT_MM / spacing[0]), 1))
    right, left = (edge * spacing[2] for edge in _between(lungs[upper] if lungs[upper].any() else lungs))
    side = float(np.clip(left - right + 2 * MARGIN_MM, *_SIDE_MM))
    front = np.flatnonzero(lungs.any((0, 2)))[0] * spacing[1] - MARGIN_MM
    starts, sizes = (low, front, (left + right) / 2 - side / 2), (HEIGHT_MM, side, side)

    slices, findings = [], []
    for axis, what in enumerate(("height", "depth", "width")):
        s, count = scan.spacing_mm[axis], scan.hu.shape[axis]
        first, last = round(starts[axis] / s), round((starts[axis] + sizes[axis]) / s)
        slices.append(slice(max(first, 0), min(last, count)))
        missing = (max(-first, 0) + max(last - count, 0)) * s
        if missing > 5:
            findings.append(f"The box's {what} is {missing:.0f} mm short, for the scan ends there.")
    if not ends_in_scan:
        findings.append("The lungs reach the lowest slice, so the heart may be cut there.")
    box = tuple(slices)
    return HeartBox(np.ascontiguousarray(scan.hu[box]), scan.spacing_mm, box, tuple(findings))


def _lungs(hu: NDArray, spacing_mm: tuple[float, ...]) -> NDArray[np.bool_]:
    """Both lungs, (D, H, W); a ScanError where there are none."""
    air = hu < LUNG_HU
    inside = np.stack([candidates.body(image, spacing_mm[1:]) for image in hu])
    # In a narrow field of view the lungs are open to the sides: air that a body encloses in front and behind.
    enclosed = np.logical_or.accumulate(inside, 1) & np.logical_or.accumulate(inside[:, ::-1], 1)[:, ::-1]
    labels, _ = ndimage.label(air & enclosed)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    large = sizes >= _LARGE_SHARE * sizes.max()
    large[0] = False
    lungs = large[labels]
    volume_ml = lungs.sum() * np.prod(spacing_mm) / 1000
    if volume_ml < _LUNGS_ML:
        raise ScanError(
            f"No lungs were found (only {volume_ml:.0f} ml of air inside the body), so there is no heart box: give a "
            "non-contrast chest CT in Hounsfield units."
        )
    return lungs


def _base(area: NDArray) -> tuple[int, bool]:
    """The slice in which the lungs end, by their area in each, and whether they do so within the scan."""
    widest = int(area.argmax())
    below = np.flatnonzero(area[:widest] < _BASE_SHARE * area[widest])
    return (int(below[-1]), True) if len(below) else (0, False)


def _between(lungs: NDArray) -> tuple[float, float]:
    """First and last column of what lies between the lungs at the body's midline."""
    columns = np.flatnonzero(lungs.any((0, 1)))
    middle, index = (columns[0] + columns[-1]) // 2, np.arange(lungs.shape[2])
    right = np.where(lungs[..., :middle], index[:middle], -1).max(-1)
    left = np.where(lungs[..., middle + 1 :], index[middle + 1 :], len(index)).min(-1)
    bounded = (right >= 0) & (left < len(index)) & ~lungs[..., middle]
    if not bounded.any():
        return float(columns[0]), float(columns[-1])
    return float(np.percentile(right[bounded], 5)), float(np.percentile(left[bounded], 95))
