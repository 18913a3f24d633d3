"""Connected candidate voxels, found as runs in one pass over the volume, and what each component measures.

A run is a stretch of neighbouring candidates in one row of one slice. Calcium is rare, so that even a large scan has
few runs; they are joined to components as the nodes of a graph. No second array of the volume's size is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array, csgraph

from biomark.agatston.checks import check_mask, check_spacing, check_volume
from biomark.agatston.rules import Rules

# Which runs a run touches, by connectivity, as (slices on, rows on, columns beside); each pair of runs comes once.
_TOUCHES = {
    4: ((0, 1, 0),),
    8: ((0, 1, 1),),
    6: ((0, 1, 0), (1, 0, 0)),
    18: ((0, 1, 1), (1, -1, 0), (1, 0, 1), (1, 1, 0)),
    26: ((0, 1, 1), (1, -1, 1), (1, 0, 1), (1, 1, 1)),
}
# Areas are products of rounded spacings: 9 pixels of a third of a mm must count as 1 mm2.
_TOLERANCE = 1e-9
# Voxels that are read at once, a slice of 512 x 512: for smaller ones, NumPy's calls would take longer than the work.
SLAB = 2**18


class Runs(NamedTuple):
    """Stretches of candidate voxels in the order of the volume; one entry a run, arrays (R,)."""

    start: NDArray[np.int64]  # of the first voxel, an index into the flattened volume
    length: NDArray[np.int32]  # in voxels
    peak_hu: NDArray
    sum_hu: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Measurement:
    """The lesions that count, arrays (L,): one entry a component or, where each slice has its peak, a slice of one."""

    runs: Runs
    of_run: NDArray[np.int64]  # the entry of each run, (R,); -1 for a run that does not count
    first_plane: NDArray[np.int64]
    last_plane: NDArray[np.int64]
    row: NDArray[np.float64]  # centre, in pixels
    column: NDArray[np.float64]
    voxels: NDArray[np.int64]
    sum_hu: NDArray[np.float64]
    peak_hu: NDArray[np.float64]
    factor: NDArray[np.int64]
    score: NDArray[np.float64]


def measure(volume_hu: ArrayLike, mask: ArrayLike | None, spacing_mm: Sequence[float], rules: Rules) -> Measurement:
    """Check the input, find the components and measure them; arguments as for :func:`biomark.agatston.score`."""
    volume = check_volume(volume_hu)
    mask = check_mask(mask, volume)
    spacing = check_spacing(spacing_mm)
    runs = find_runs(volume, mask, spacing, rules)
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

    def reduce(values: NDArray, ufunc: np.ufunc = np.add) -> NDArray:
        return ufunc.reduceat(values[order], begin)

    length = runs.length[kept].astype(np.int64)
    voxels = reduce(length)
    peak_hu = reduce(runs.peak_hu[kept], np.maximum).astype(float)
    factor = np.searchsorted(rules.density_cuts_hu, peak_hu, side="right")
    return Measurement(
        runs=runs,
        of_run=of_run,
        first_plane=reduce(plane, np.minimum),
        last_plane=reduce(plane, np.maximum),
        row=reduce(row * length) / voxels,
        column=reduce((column + (length - 1) / 2) * length) / voxels,
        voxels=voxels,
        sum_hu=reduce(runs.sum_hu[kept]),
        peak_hu=peak_hu,
        factor=factor,
        score=_round(voxels * _voxel_value(spacing, rules) * factor, rules.lesion_decimals),
    )


def find_runs(volume_hu: NDArray, mask: NDArray | None, spacing_mm: Sequence[float], rules: Rules) -> Runs:
    """The candidates of a volume (D, H, W) in HU, where the mask (D, H, W) is not 0; everywhere if it is None.

    Raises:
        ValueError: A value inside the mask is not finite.
    """
    depth, height, width = volume_hu.shape
    alone = _pixels_stand_alone(spacing_mm, rules)
    thickness = max(1, SLAB // (height * width))
    found = []
    for plane in range(0, depth, thickness):
        inside = None if mask is None else np.flatnonzero(mask[plane : plane + thickness])
        values = volume_hu[plane : plane + thickness].reshape(-1)
        values = values if inside is None else values[inside]
        finite = np.isfinite(values)
        if not finite.all():
            first = np.flatnonzero(~finite)[0]
            first = first if inside is None else inside[first]
            raise ValueError(
                f"slice {plane + first // (height * width)} of volume_hu holds values that are not finite: fill them "
                "with air (-1000 HU), or leave them out of the mask."
            )
        index = np.flatnonzero(_is_candidate(values, rules))
        values = values[index]
        index = index if inside is None else inside[index]
        begin = np.flatnonzero((np.diff(index, prepend=-2) != 1) | (index % width == 0) | alone)
        length = np.diff(begin, append=len(index)).astype(np.int32)
        peak_hu, sum_hu = np.maximum.reduceat(values, begin), np.add.reduceat(values, begin, dtype=float)
        found.append(Runs(index[begin] + plane * height * width, length, peak_hu, sum_hu))
    return Runs._make(np.concatenate(parts) for parts in zip(*found, strict=True))


def join(runs: Runs, shape: Sequence[int], spacing_mm: Sequence[float], rules: Rules) -> NDArray[np.int64]:
    """The component of each run, (R,), numbered from 0 in the order of the volume (D, H, W); -1: it does not count."""
    alone = _pixels_stand_alone(spacing_mm, rules)
    component = np.arange(len(runs.length)) if alone else _connect(runs, shape, _TOUCHES[rules.connectivity])
    counts = _counts(np.bincount(component, runs.length), spacing_mm, rules)
    number = np.where(counts, np.cumsum(counts) - 1, -1)
    return number[component]


def ranges(start: NDArray[np.integer], length: NDArray[np.integer]) -> NDArray[np.int64]:
    """``start, start + 1, ...``, ``length`` numbers for each entry, one after the other."""
    return np.arange(length.sum()) + np.repeat(start - (np.cumsum(length) - length), length)


def _connect(runs: Runs, shape: Sequence[int], touches: Sequence[tuple[int, int, int]]) -> NDArray[np.integer]:
    """The component of each run, large or small, numbered in the order of the volume."""
    # As if every row had one more pixel and every slice one more row, always empty: what leaves the image meets no run.
    _, height, width = shape
    row_step, plane_step = width + 1, (height + 1) * (width + 1)
    first = runs.start + runs.start // width + runs.start // (height * width) * row_step
    last = first + (runs.length - 1)
    pairs = []
    for planes, rows, beside in touches:
        step = planes * plane_step + rows * row_step
        from_run = np.searchsorted(last, first + step - beside)
        to_run = np.searchsorted(first, last + step + beside, side="right")
        touched = to_run - from_run
        # From each run to from_run, from_run + 1, ... to_run - 1.
        one = np.repeat(np.arange(len(first), dtype=np.int32), touched)
        pairs.append(np.stack([one, ranges(from_run, touched).astype(np.int32)]))
    one, other = np.concatenate(pairs, axis=1)
    graph = coo_array((np.ones(len(one), bool), (one, other)), shape=(len(first), len(first)))
    return csgraph.connected_components(graph, directed=False)[1]


def _counts(voxels: NDArray, spacing_mm: Sequence[float], rules: Rules) -> NDArray[np.bool_]:
    """Whether components of so many voxels count."""
    dz, dy, dx = spacing_mm
    area, limit = voxels * (dy * dx), rules.minimum_area_mm2
    if rules.area_comparison == "rounded":
        counts = voxels >= _minimum_pixels(spacing_mm, rules)
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


def _minimum_pixels(spacing_mm: Sequence[float], rules: Rules) -> int:
    return round(rules.minimum_area_mm2 / (spacing_mm[1] * spacing_mm[2]))


def _pixels_stand_alone(spacing_mm: Sequence[float], rules: Rules) -> bool:
    return rules.area_comparison == "rounded" and _minimum_pixels(spacing_mm, rules) <= 1


def _voxel_value(spacing_mm: Sequence[float], rules: Rules) -> float:
    """What a voxel of density factor 1 adds to the score."""
    dz, dy, dx = spacing_mm
    value = dy * dx
    if rules.reference_spacing_mm is not None:
        value *= dz / rules.reference_spacing_mm
    return float(_round(value, rules.voxel_decimals))


def _round(values: Any, decimals: int | None) -> Any:
    return values if decimals is None else np.round(values, decimals)
