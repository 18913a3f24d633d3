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
_LARGE_SHARE = 0.2
_GAS_HU = -975.0  # gas in the bowel is darker; the middle value of a lung with emphysema is not
_BASE_PERCENT, _BELOW_MM, _DOME_MM = 40, 15.0, 25.0
_LOWER_SHARE = 2 / 3
_SOFT_HU = -30.0  # the upper end of fat
# Mean radius, over 30 mm of slices, of the largest disc of soft tissue between the lungs: 40 to 52 mm in hearts (two
# patients, a thorax phantom), at most 26 mm at the carina and above (three patients). Ours.
_DISC_MM, _DISC_HEIGHT_MM = 28.0, 30.0
# Three quarters of a heart's middle lie below 50 HU without contrast (one patient), below 80 HU in a thorax phantom;
# three hearts with contrast had 314 to 405 HU.
_CONTRAST_HU, _CONTRAST_PERCENT = 100.0, 75


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

    1. Lungs are what lies below ``LUNG_HU`` inside the body, in parts of at least a fifth of the largest that are not
       as dark as gas.
    2. Their base is where 40 % of their columns have ended, wherever they are widest: in chests with too much air that
       may be near the top. The box begins 15 mm below the base and is ``HEIGHT_MM`` high.
    3. Within it, from 25 mm above the base to two thirds of the lungs' height, the heart is where the largest disc of
       soft tissue between the lungs has its largest mean radius over 30 mm. With less than 28 mm no heart was found.
       A larger one in the upper half of lungs that are seen whole says that the scan may be upside down.
    4. From side to side the box holds what lies between the lungs at the body's midline from 25 mm above the base
       (below, the liver counts as heart), in 95 % of the rows, and ``MARGIN_MM`` more.
    5. It begins ``MARGIN_MM`` before the lungs' front edge, or further back where the disc's middle would otherwise lie
       behind its own, and is as deep as it is wide.

    It was not measured on patients with effusions, masses, a removed lung or a heart on the right: look at the box
    before believing a score in it. The box is cut to the scan, with findings where it was cut.

    Raises:
        ScanError: The scan is one slice, too short, upside down, or ends in the heart's middle; no lungs or no heart
            are found; or a quarter of the discs lies above 100 HU, which shows a contrast agent also where the header
            is silent.
    """
    if not np.isfinite(scan.spacing_mm).all():
        raise ScanError("A heart box needs a volume, but this scan is one slice.")
    covered = len(scan) * scan.spacing_mm[0]
    if covered < _SHORTEST_MM:
        raise ScanError(f"This scan covers {covered:.0f} mm, which cannot hold a heart: give the whole chest series.")
    hu, spacing = _coarse(scan)
    lungs = _lungs(hu, spacing)
    bottom = int(np.percentile(lungs.argmax(0)[lungs.any(0)], _BASE_PERCENT))
    low = bottom * spacing[0] - _BELOW_MM * (bottom > 0)
    row = _heart_row(hu, lungs, spacing, bottom)

    upper = slice(bottom + round(_DOME_MM / spacing[0]), bottom + max(round(HEIGHT_MM / spacing[0]), 1))
    right, left = (edge * spacing[2] for edge in _between(lungs[upper] if lungs[upper].any() else lungs))
    side = float(np.clip(left - right + 2 * MARGIN_MM, *_SIDE_MM))
    front = max(np.flatnonzero(lungs.any((0, 2)))[0] * spacing[1] - MARGIN_MM, row * spacing[1] - side / 2)
    starts, sizes = (low, front, (left + right) / 2 - side / 2), (HEIGHT_MM, side, side)

    slices, findings = [], []
    for axis, what in enumerate(("height", "depth", "width")):
        s, count = scan.spacing_mm[axis], scan.hu.shape[axis]
        first, last = round(starts[axis] / s), round((starts[axis] + sizes[axis]) / s)
        slices.append(slice(max(first, 0), min(last, count)))
        missing = (max(-first, 0) + max(last - count, 0)) * s
        if missing > 5:
            findings.append(f"The box's {what} is {missing:.0f} mm short, for the scan ends there.")
    if bottom == 0:
        findings.append("The lungs reach the lowest slice, so the heart may be cut there.")
    box = slices[0], slices[1], slices[2]
    return HeartBox(np.ascontiguousarray(scan.hu[box]), scan.spacing_mm, box, tuple(findings))


def _coarse(scan: Scan) -> tuple[NDArray, tuple[float, ...]]:
    """The means of boxes of about ``_COARSE_MM``, and their size in mm."""
    step = tuple(max(1, round(c / s)) for c, s in zip(_COARSE_MM, scan.spacing_mm, strict=True))
    shape = tuple(max(n // k, 1) for n, k in zip(scan.hu.shape, step, strict=True))
    whole = scan.hu[tuple(slice(n * k) for n, k in zip(shape, step, strict=True))]
    boxes = whole.reshape([size for pair in zip(shape, step, strict=True) for size in pair])
    return boxes.mean((1, 3, 5)), tuple(k * s for k, s in zip(step, scan.spacing_mm, strict=True))


def _lungs(hu: NDArray, spacing_mm: tuple[float, ...]) -> NDArray[np.bool_]:
    """Both lungs, (D, H, W); a ScanError where there are none."""
    air = hu < LUNG_HU
    inside = np.stack([candidates.body(image, spacing_mm[1:]) for image in hu])
    # In a narrow field of view the lungs are open to the sides: air that a body encloses in front and behind.
    enclosed = np.logical_or.accumulate(inside, 1) & np.logical_or.accumulate(inside[:, ::-1], 1)[:, ::-1]
    # A thin chest wall that was cut off like a blanket still encloses air; the table lies behind the body.
    filled = np.stack([ndimage.binary_fill_holes(image) for image in ~air])
    enclosed |= filled & inside.any(2, keepdims=True)
    labels, _ = ndimage.label(air & enclosed)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    large = sizes >= _LARGE_SHARE * sizes.max()
    for label in np.flatnonzero(large):
        large[label] = label > 0 and np.median(hu[labels == label]) > _GAS_HU
    lungs = large[labels]
    volume_ml = lungs.sum() * np.prod(spacing_mm) / 1000
    if volume_ml < _LUNGS_ML:
        raise ScanError(
            f"No lungs were found (only {volume_ml:.0f} ml of air inside the body), so there is no heart box: give a "
            "non-contrast chest CT in Hounsfield units."
        )
    return lungs


def _heart_row(hu: NDArray, lungs: NDArray[np.bool_], spacing_mm: tuple[float, ...], bottom: int) -> float:
    """The row of the heart's middle; a ScanError where no whole heart without contrast lies between the lungs."""
    dz, count = spacing_mm[0], max(round(_DISC_HEIGHT_MM / spacing_mm[0]), 1)
    height = np.flatnonzero(lungs.any((1, 2)))[-1] + 1 - bottom
    tops = len(lungs) - int(np.percentile(lungs[::-1].argmax(0)[lungs.any(0)], _BASE_PERCENT))
    first = bottom + round(_DOME_MM / dz) if bottom > 0 else 0
    last = bottom + round(min((HEIGHT_MM - _BELOW_MM) / dz, height * _LOWER_SHARE))
    where = f"from {first * dz:.0f} to {last * dz:.0f} mm above the lowest slice"
    whole = "give a series that covers the whole heart, or cut the heart out by hand"
    if last - first < count:
        raise ScanError(f"This scan shows {height * dz:.0f} mm of the lungs, too little to hold a heart: {whole}.")

    # A scan of the heart alone, and a thorax phantom, have no tops of lungs.
    end = max(tops, last) if tops < len(lungs) and (tops - bottom) * dz > HEIGHT_MM else last
    discs = [_disc(*images, spacing_mm[1:]) for images in zip(hu[first:end], lungs[first:end], strict=True)]
    radii_mm = np.convolve([radius for radius, _, _ in discs], np.full(count, 1 / count), "valid")
    widest = first + radii_mm.argmax() + count / 2
    if end > last and radii_mm.max() >= _DISC_MM and widest > (bottom + tops) / 2:
        raise ScanError(
            f"The widest soft tissue between the lungs lies in their upper half, {widest * dz:.0f} mm above the lowest "
            "slice, where no heart is (upside down?): check the header, or cut the heart out by hand."
        )
    best = int(radii_mm[: last - first - count + 1].argmax())
    if radii_mm[best] < _DISC_MM:
        raise ScanError(
            f"No heart was found between the lungs {where}: soft tissue is {2 * radii_mm[best]:.0f} mm "
            f"wide there; {whole}."
        )
    if bottom == best == 0:
        raise ScanError(f"The heart is widest at this scan's lowest slices, so its lower part is missing: {whole}.")
    heart = discs[best : best + count]
    bright_hu = np.percentile(np.concatenate([values for _, _, values in heart]), _CONTRAST_PERCENT)
    if bright_hu > _CONTRAST_HU:
        raise ScanError(
            f"A quarter of the heart's middle, {(first + best + count / 2) * dz:.0f} mm above the lowest slice, is "
            f"brighter than {bright_hu:.0f} HU, but blood without contrast has 30 to 60 HU: take a non-contrast series."
        )
    return float(np.mean([row for _, row, _ in heart]))


def _disc(hu: NDArray, lungs: NDArray[np.bool_], pixel_mm: tuple[float, ...]) -> tuple[float, int, NDArray]:
    """The largest disc of soft tissue between the lungs in one slice: radius in mm, row of its middle, its values."""
    between = np.logical_or.accumulate(lungs, 1) & np.logical_or.accumulate(lungs[:, ::-1], 1)[:, ::-1] & ~lungs
    soft = np.pad(between & (ndimage.median_filter(hu, 3) > _SOFT_HU), 1)  # without single specks of noise
    away = ndimage.distance_transform_edt(soft, sampling=pixel_mm)[1:-1, 1:-1]
    row, column = np.unravel_index(away.argmax(), away.shape)
    y, x = np.indices(away.shape, sparse=True)
    disc = np.hypot((y - row) * pixel_mm[0], (x - column) * pixel_mm[1]) <= away.max()
    return float(away.max()), int(row), hu[disc]


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
