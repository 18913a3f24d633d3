"""Connected candidate voxels, found in one pass over the volume and kept as runs.

A run is a stretch of neighbouring candidates in one row of one slice. Calcium is rare, so that even a large scan has
few of them; they are joined to components as the nodes of a graph. The volume is read once, slice by slice, and no
second array of its size is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csgraph

from biomark.agatston.rules import Rules

# What a run touches, by connectivity, as (slices on, rows on, columns beside), each pair of runs once.
_TOUCHES = {
    4: ((0, 1, 0),),
    8: ((0, 1, 1),),
    6: ((0, 1, 0), (1, 0, 0)),
    18: ((0, 1, 1), (1, -1, 0), (1, 0, 1), (1, 1, 0)),
    26: ((0, 1, 1), (1, -1, 1), (1, 0, 1), (1, 1, 1)),
}
# Areas are products of rounded spacings: 9 pixels of a third of a mm must count as 1 mm2.
_TOLERANCE = 1e-9


@dataclass(frozen=True, eq=False)
class Runs:
    """Stretches of candidate voxels in the order of the volume; one entry a run, arrays (R,).

    Attributes:
        start: Index of the first voxel into the flattened volume.
        length: Number of voxels.
        label: Label of the mask along the run; (0,) where labels were not asked for.
        peak_hu, sum_hu: Highest value and sum of the values.
    """

    start: NDArray[np.int64]
    length: NDArray[np.int32]
    label: NDArray[np.int64]
    peak_hu: NDArray
    sum_hu: NDArray[np.float64]


def find_runs(
    volume_hu: NDArray,
    mask: NDArray | None,
    spacing_mm: Sequence[float],
    rules: Rules,
    *,
    by_label: bool = False,
) -> Runs:
    """The candidates inside a mask.

    Args:
        volume_hu: Hounsfield units, (D, H, W).
        mask: Where it is not 0, voxels may be candidates, (D, H, W); None for everywhere.
        spacing_mm: (dz, dy, dx).
        rules: Which values make a candidate.
        by_label: Whether a run ends where the label of the mask changes.

    Raises:
        ValueError: A value inside the mask is not finite.
    """
    _, height, width = volume_hu.shape
    alone = _pixels_stand_alone(spacing_mm, rules)
    found: list[tuple[NDArray, ...]] = []
    for plane, image in enumerate(volume_hu):
        values = image.reshape(-1)
        inside = None if mask is None else np.flatnonzero(mask[plane])
        if inside is not None:
            values = values[inside]
        if not np.isfinite(values).all():
            raise ValueError(
                f"slice {plane} of volume_hu holds values that are not finite: fill them with air (-1000 HU), or leave "
                "them out of the mask."
            )
        index = np.flatnonzero(_is_candidate(values, rules))
        if not len(index):
            continue
        values = values[index]
        index = index if inside is None else inside[index]
        new = (np.diff(index, prepend=-2) != 1) | (index % width == 0) | alone
        label = np.zeros(0, np.int64)
        if by_label:
            label = mask[plane].reshape(-1)[index].astype(np.int64)
            new |= np.diff(label, prepend=0) != 0
        begin = np.flatnonzero(new)
        found.append(
            (
                index[begin] + plane * height * width,
                np.diff(begin, append=len(index)).astype(np.int32),
                label[begin] if by_label else label,
                np.maximum.reduceat(values, begin),
                np.add.reduceat(values, begin, dtype=float),
            )
        )
    if not found:
        found = [(np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0), np.zeros(0))]
    return Runs(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def join(runs: Runs, shape: Sequence[int], spacing_mm: Sequence[float], rules: Rules) -> NDArray[np.int64]:
    """The component of each run, numbered from 0 in the order of the volume, (R,); -1 where it does not count.

    Args:
        runs: From :func:`find_runs`.
        shape: (D, H, W) of the volume.
        spacing_mm: (dz, dy, dx).
        rules: Which runs touch, and which components count.
    """
    count = len(runs.length)
    if count == 0:
        return np.zeros(0, np.int64)
    if _pixels_stand_alone(spacing_mm, rules):
        component = np.arange(count)
    else:
        component = _connected(runs, shape, _TOUCHES[rules.connectivity])
    counts = _counts(np.bincount(component, runs.length), spacing_mm, rules)
    number = np.where(counts, np.cumsum(counts) - 1, -1)
    return number[component]


def _connected(runs: Runs, shape: Sequence[int], touches: Sequence[tuple[int, int, int]]) -> NDArray[np.integer]:
    """The component of each run, large or small, numbered in the order of the volume."""
    # As if every row had one more pixel and every slice one more row, always empty: what leaves the image meets no run.
    _, height, width = shape
    row_step, plane_step = width + 1, (height + 1) * (width + 1)
    first = runs.start + runs.start // width + runs.start // (height * width) * row_step
    last = first + (runs.length - 1)
    # Runs that were cut where the label of the mask changes.
    cut = np.flatnonzero(first[1:] == last[:-1] + 1).astype(np.int32)
    pairs = [np.stack([cut, cut + 1])]
    for planes, rows, beside in touches:
        step = planes * plane_step + rows * row_step
        from_run = np.searchsorted(last, first + step - beside)
        to_run = np.searchsorted(first, last + step + beside, side="right")
        touched = to_run - from_run
        # From each run to from_run, from_run + 1, ... to_run - 1.
        one = np.repeat(np.arange(len(first), dtype=np.int32), touched)
        pairs.append(np.stack([one, counting(from_run, touched).astype(np.int32)]))
    one, other = np.concatenate(pairs, axis=1)
    graph = coo_array((np.ones(len(one), bool), (one, other)), shape=(len(first), len(first)))
    return csgraph.connected_components(graph, directed=False)[1]


def counting(start: NDArray[np.integer], length: NDArray[np.integer]) -> NDArray[np.int64]:
    """``start, start + 1, ...``, ``length`` numbers for each entry, one after the other."""
    return np.arange(length.sum()) + np.repeat(start - (np.cumsum(length) - length), length)


def _counts(voxels: NDArray, spacing_mm: Sequence[float], rules: Rules) -> NDArray[np.bool_]:
    """Whether components of so many voxels count."""
    dz, dy, dx = spacing_mm
    area, limit = voxels * (dy * dx), rules.minimum_area_mm2
    if rules.area_comparison == "rounded":
        counts = voxels >= _whole_pixels(spacing_mm, rules)
    elif rules.area_comparison == "more than":
        counts = area > limit * (1 + _TOLERANCE)
    else:
        counts = area >= limit * (1 - _TOLERANCE)
    counts &= voxels >= rules.minimum_voxels
    counts &= area * dz >= rules.minimum_volume_mm3 * (1 - _TOLERANCE)
    if rules.maximum_volume_mm3 is not None:
        counts &= area * dz <= rules.maximum_volume_mm3 * (1 + _TOLERANCE)
    return counts


def _is_candidate(values: NDArray, rules: Rules) -> NDArray[np.bool_]:
    # A whole limit is compared as an integer: a float would turn a volume of int16 to float64 first.
    limit = int(rules.threshold_hu) if float(rules.threshold_hu).is_integer() else rules.threshold_hu
    candidate = values >= limit if rules.threshold_included else values > limit
    if rules.maximum_hu is not None:
        candidate &= values <= rules.maximum_hu
    return candidate


def _whole_pixels(spacing_mm: Sequence[float], rules: Rules) -> int:
    return round(rules.minimum_area_mm2 / (spacing_mm[1] * spacing_mm[2]))


def _pixels_stand_alone(spacing_mm: Sequence[float], rules: Rules) -> bool:
    return rules.area_comparison == "rounded" and _whole_pixels(spacing_mm, rules) <= 1
