"""What the components of a mask measure: the numbers that every score is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from biomark.agatston.components import Runs, find_runs, join
from biomark.agatston.inputs import checked_mask, checked_spacing, checked_volume
from biomark.agatston.rules import Rules


@dataclass(frozen=True, eq=False)
class Measurement:
    """The lesions that count, arrays (L,): one entry a component or, where rules take a peak a slice, a slice of one.

    Attributes:
        runs: Where the candidates lie.
        of_run: The entry of each run, (R,); -1 for what does not count.
        first_plane, last_plane: Slices that the entry reaches over.
        row, column: Centre, in pixels.
        label: Label that most voxels carry, the smallest of several; 0 where labels were not asked for.
        voxels: Number of voxels.
        sum_hu, peak_hu: Sum of the values and the highest one.
        factor: Density factor.
        score: What the entry adds to the score.
    """

    runs: Runs
    of_run: NDArray[np.int64]
    first_plane: NDArray[np.int64]
    last_plane: NDArray[np.int64]
    row: NDArray[np.float64]
    column: NDArray[np.float64]
    label: NDArray[np.int64]
    voxels: NDArray[np.int64]
    sum_hu: NDArray[np.float64]
    peak_hu: NDArray[np.float64]
    factor: NDArray[np.int64]
    score: NDArray[np.float64]


def measure(
    volume_hu: ArrayLike,
    mask: ArrayLike | None,
    spacing_mm: Sequence[float],
    rules: Rules,
    *,
    by_label: bool = False,
) -> Measurement:
    """Check the input, find the components and measure them.

    Args:
        volume_hu: Hounsfield units, (D, H, W).
        mask: Boolean or labels, (D, H, W); None for everywhere.
        spacing_mm: (dz, dy, dx) in mm.
        rules: The convention.
        by_label: Whether the labels of the mask are wanted.
    """
    volume = checked_volume(volume_hu)
    mask = checked_mask(mask, volume)
    spacing = checked_spacing(spacing_mm)
    runs = find_runs(volume, mask, spacing, rules, by_label=by_label)
    component = join(runs, volume.shape, spacing, rules)
    kept = np.flatnonzero(component >= 0)
    plane, inside = np.divmod(runs.start[kept], volume.shape[1] * volume.shape[2])
    row, column = np.divmod(inside, volume.shape[2])
    part = component[kept] * len(volume) + plane if rules.peak == "slice" else component[kept]

    # The runs that count, sorted by entry, so that those of an entry are a stretch.
    order = np.argsort(part, kind="stable")
    new = np.diff(part[order], prepend=-1) != 0
    begin = np.flatnonzero(new)
    of_run = np.full(len(component), -1)
    of_run[kept[order]] = np.cumsum(new) - 1

    def over(values: NDArray, gather: np.ufunc = np.add) -> NDArray:
        return gather.reduceat(values[order], begin) if len(begin) else np.zeros(0, values.dtype)

    length = runs.length[kept].astype(np.int64)
    voxels = over(length)
    peak_hu = over(runs.peak_hu[kept], np.maximum).astype(float)
    factor = np.searchsorted(rules.density_cuts_hu, peak_hu, side="right")
    return Measurement(
        runs=runs,
        of_run=of_run,
        first_plane=over(plane, np.minimum),
        last_plane=over(plane, np.maximum),
        row=over(row * length) / voxels,
        column=over((column + (length - 1) / 2) * length) / voxels,
        label=_commonest(runs.label[kept], of_run[kept], length) if by_label else np.zeros_like(voxels),
        voxels=voxels,
        sum_hu=over(runs.sum_hu[kept]),
        peak_hu=peak_hu,
        factor=factor,
        score=_rounded(voxels * voxel_value(spacing, rules) * factor, rules.lesion_decimals),
    )


def voxel_value(spacing_mm: Sequence[float], rules: Rules) -> float:
    """What a voxel of density factor 1 adds to the score."""
    dz, dy, dx = spacing_mm
    value = dy * dx
    if rules.reference_spacing_mm is not None:
        value *= dz / rules.reference_spacing_mm
    return float(_rounded(value, rules.voxel_decimals))


def _rounded(values: NDArray | float, decimals: int | None) -> NDArray | float:
    return values if decimals is None else np.round(values, decimals)


def _commonest(label: NDArray, entry: NDArray, voxels: NDArray) -> NDArray[np.int64]:
    """The label with the most voxels of each entry; the smallest of several."""
    (owner, name), which = np.unique(np.stack([entry, label]), axis=1, return_inverse=True)
    votes = np.bincount(which.reshape(-1), voxels)
    best = np.lexsort((name, -votes, owner))
    return name[best[np.flatnonzero(np.diff(owner[best], prepend=-1))]]
