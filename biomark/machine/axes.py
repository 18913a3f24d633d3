"""Sums over runs of an array's elements and interpolation between them, one axis after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def sums(array: NDArray, edges: Sequence[NDArray[np.int64]]) -> NDArray[np.float64]:
    """Sums of the elements of each run.

    Args:
        array: ``S``.
        edges: Along each axis, the first element of each run, and one past the last; a run may be empty.

    Returns:
        As many along each axis as there are runs.
    """
    for axis, along in enumerate(edges):
        before: tuple[Any, ...] = (slice(None),) * axis
        full = np.diff(along) > 0
        inside = array[*before, along[0] : along[-1]]
        if full.all() and inside.shape[axis] == len(full):  # one element each
            array = inside
            continue
        array = np.zeros((*array.shape[:axis], len(full), *array.shape[axis + 1 :]))
        if full.any():  # of an empty run `reduceat` would give the next element
            array[*before, full] = np.add.reduceat(inside, along[:-1][full] - along[0], axis, dtype=float)
    return np.asarray(array, float)


def spread(values: NDArray, edges: Sequence[NDArray[np.int64]], shape: Sequence[int]) -> NDArray:
    """The inverse: each element of an array of that shape gets the value of its run, 0 in none."""
    for axis, (along, n) in enumerate(zip(edges, shape, strict=True)):
        run = np.searchsorted(along, np.arange(n), side="right") - 1
        there = (run >= 0) & (run < values.shape[axis])
        values = np.take(values, np.clip(run, 0, values.shape[axis] - 1), axis)
        values[(slice(None),) * axis + (~there,)] = 0
    return values


def interpolate(values: NDArray[np.float32], places: Sequence[NDArray]) -> NDArray[np.float32]:
    """Linear interpolation between values at whole numbers from 0, at places along each axis; constant beyond them."""
    for axis, along in enumerate(places):
        last = values.shape[axis] - 1
        along = np.clip(along, 0, last)
        low = np.minimum(along.astype(int), max(last - 1, 0))
        share = (along - low).astype(np.float32).reshape(-1, *[1] * (values.ndim - axis - 1))
        values = np.take(values, low, axis) * (1 - share) + np.take(values, np.minimum(low + 1, last), axis) * share
    return values
