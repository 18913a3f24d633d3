"""Is a case like those that a model measures well: a few plain numbers of it, and their usual ranges."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from biomark.candidates import TISSUE_HU
from biomark.cohort import Case
from biomark.localizer import Localization
from biomark.uncertainty.conformal import quantile

TRAITS = {
    "value": 0.0,
    "candidate weight": 0.0,
    "share of candidates in tissue": 0.01,
    "mean of candidates [HU]": 1.0,
    "undecided share of the value": 0.01,
    "tissue [mm2]": 0.0,
    "tissue [mm3]": 0.0,
    "tissue at the image's edge": 0.02,
    "fat [HU]": 4.0,
    "soft tissue [HU]": 4.0,
    "noise [HU]": 1.0,
    "grain": 0.05,
    "pixel [mm]": 0.01,
    "slice distance [mm]": 0.01,
    "field of view [mm]": 1.0,
}
"""The numbers of a case, and the smallest difference that matters in each. Ours."""

_FAT_HU = (-200.0, -20.0)
_SOFT_TISSUE_HU = (-20.0, 200.0)
_BIN_HU = 4.0
_FEWEST = 100  # voxels from which a peak or a spread is taken
_USUAL = (0.025, 0.5, 0.975)
_NEGLIGIBLE = 0.01
_PARTS = 10


def traits(case: Case, found: Localization) -> dict[str, float]:
    """The numbers of a case by the names in :data:`TRAITS`; one that it does not have is left out.

    Value and candidate weight are in the task's unit. The undecided share is ``sum w m (1 - m)`` over ``sum w m``. Fat
    and soft tissue are where the histogram of the image peaks from -200 to -20 and from -20 to 200 HU. Noise is 1.48
    times the median absolute difference of neighbours in a row, over the square root of 2, among fat and soft tissue;
    grain is their correlation from one row to the next: near 0 for sharp noise, towards 1 for smooth.

    Args:
        case: The case, in the boxes that the network saw; its value and mask are not read.
        found: What a model found in it.
    """
    image, weights, spacing = np.asarray(case.image, float), np.asarray(case.weights, float), case.spacing_mm
    tissue, candidates = image > TISSUE_HU, weights > 0
    rim = np.concatenate([np.take(tissue, [0, -1], axis).ravel() for axis in (-1, -2)])
    pixel = math.sqrt(spacing[-1] * spacing[-2])
    numbers = {
        "value": found.value,
        "candidate weight": weights.sum(),
        "share of candidates in tissue": candidates.sum() / max(tissue.sum(), 1),
        f"tissue [mm{image.ndim}]": tissue.sum() * math.prod(spacing),
        "tissue at the image's edge": rim.mean(),
        "pixel [mm]": pixel,
        "field of view [mm]": pixel * math.sqrt(image.shape[-1] * image.shape[-2]),
    }
    if candidates.any():
        numbers["mean of candidates [HU]"] = np.average(image, weights=weights)  # of a box at the rim little is one
    m = np.asarray(found.map, float)
    if (total := (weights * m).sum()) > 0:
        numbers["undecided share of the value"] = (weights * m * (1 - m)).sum() / total
    if image.ndim == 3:
        numbers["slice distance [mm]"] = spacing[0]
    for name, window in (("fat [HU]", _FAT_HU), ("soft tissue [HU]", _SOFT_TISSUE_HU)):
        counts, edges = np.histogram(image, np.arange(*window, _BIN_HU))
        if counts.sum() >= _FEWEST:
            numbers[name] = edges[ndimage.gaussian_filter1d(counts.astype(float), 2).argmax()] + _BIN_HU / 2
    numbers |= _noise(image)
    return {name: float(numbers[name]) for name in TRAITS if name in numbers}


def _noise(image: NDArray) -> dict[str, float]:
    soft = (image >= _FAT_HU[0]) & (image <= _SOFT_TISSUE_HU[1])
    step, both = np.diff(image, axis=-1), soft[..., 1:] & soft[..., :-1]
    if np.count_nonzero(both) < _FEWEST:
        return {}
    spread = _spread(step[both])
    pairs = np.diff(step, axis=-2)[both[..., 1:, :] & both[..., :-1, :]]
    if not (len(pairs) and spread):
        return {"noise [HU]": spread / math.sqrt(2)}
    # The difference of two has twice (1 - correlation) their variance.
    return {"noise [HU]": spread / math.sqrt(2), "grain": 1 - _spread(pairs) ** 2 / (2 * spread**2)}


def _spread(differences: NDArray) -> float:
    """A robust SD; a few steps between tissues do not change it."""
    return 1.4826 * float(np.median(np.abs(differences)))


@dataclass(frozen=True)
class RangeDetector:
    """Ranges of traits outside which a case is unlike those that it was fitted to; made by :meth:`fit`."""

    ranges: Mapping[str, tuple[float, float]]  # lowest and highest usual number of each trait
    alarm: float  # share of like cases that may be called unlike
    n: int  # cases that it was fitted to

    @classmethod
    def fit(cls, cases: Sequence[Mapping[str, float]], *, alarm: float = 0.05) -> RangeDetector:
        """Take the ranges from cases.

        A trait's distance is measured from its median, in units of the distance to the end of the middle 95 % on that
        side. All ranges end at the one distance within which the farthest trait of a like case stays but for the share
        ``alarm`` (:func:`biomark.uncertainty.conformal.quantile`), however many traits there are and however they
        depend on each other. A trait that fewer than half of the cases have gets no range.

        Raises:
            ValueError: Too few cases.
        """
        if len(cases) < 2 * _PARTS:
            raise ValueError(
                f"{len(cases)} cases are too few to learn what is usual: give at least {2 * _PARTS}, better 300."
            )
        names = [name for name in TRAITS if sum(name in case for case in cases) > len(cases) / 2]
        table = np.array([[case.get(name, np.nan) for name in names] for case in cases])
        least = np.array([max(TRAITS[name], 1e-9) for name in names])
        # Cross-validation: a case is nearer to ranges that it was fitted to than a new case is.
        distances, part = np.empty(len(table)), np.arange(len(table)) % _PARTS
        for left_out in range(_PARTS):
            others = _typical(table[part != left_out], least)
            distances[part == left_out] = _distance(table[part == left_out], *others)
        limit = max(quantile(distances, 1 - alarm), 1.0)
        middle, below, above = _typical(table, least)
        ends = zip(middle - limit * below, middle + limit * above, strict=True)
        ranges = {name: (float(low), float(high)) for name, (low, high) in zip(names, ends, strict=True)}
        return cls(ranges, alarm, len(cases))

    def outliers(self, case: Mapping[str, float]) -> dict[str, float]:
        """The traits of a case that lie outside their range; a trait without a range is not judged."""
        known = {name: case[name] for name in case if name in self.ranges}
        return {name: v for name, v in known.items() if not self.ranges[name][0] <= v <= self.ranges[name][1]}


def _typical(table: NDArray, least: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """Median of each trait, and the distances from it to its lowest and to its highest usual number."""
    low, middle, high = np.nanquantile(table, _USUAL, axis=0)
    least = np.maximum(least, _NEGLIGIBLE * np.abs(middle))
    return middle, np.maximum(middle - low, least), np.maximum(high - middle, least)


def _distance(table: NDArray, middle: NDArray, below: NDArray, above: NDArray) -> NDArray[np.float64]:
    """How far each case's farthest trait is from the median, in units of the usual distance."""
    return np.nanmax(np.where(table < middle, (middle - table) / below, (table - middle) / above), axis=1)
