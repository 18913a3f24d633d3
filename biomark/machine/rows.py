"""The cases of a cohort as rows of arrays: what belongs together, whose each is, and which cannot be used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biomark.machine.disk_arrays import DiskArray, numbers, on_disk
from biomark.machine.masks import booleans, refuse_excess, unmasked


def truth_of_boxes(truth: Any, weights: NDArray | DiskArray) -> NDArray[np.float32] | DiskArray:
    """What of the weights is true, of masks or as it is, ``(N, *S)``.

    Raises:
        ValueError: It has another shape than the weights, is more than they are, or no mask.
    """
    truth = unmasked(truth, "the masks")
    truth = truth if on_disk(truth) else np.asarray(truth)
    if truth.shape != np.shape(weights):
        raise ValueError(f"the truth has shape {truth.shape}, but the weights {np.shape(weights)}.")
    if truth.dtype.kind in "uib":
        return weights * booleans(truth[:], "the truth")
    if not on_disk(truth):
        refuse_excess(truth, np.asarray(weights))
    return numbers(truth)


def check(
    images: NDArray | DiskArray,
    weights: NDArray | DiskArray,
    values: NDArray,
    spacing_mm: NDArray,
    ids: Sequence[str],
    tables: Mapping[str, Sequence | None],
) -> None:
    """Stop where arrays do not belong together, or a case has a spacing or a value that no case can have.

    Args:
        images, weights, values, spacing_mm, ids: As of a :class:`biomark.Cohort`.
        tables: What else has one row a case, by its name.
    """
    if values.ndim != 1:
        raise ValueError(f"values have shape {values.shape}: give one number a case, such as values[:, 0].")
    n, shape = len(values), np.shape(images)
    if shape[:1] != (n,) or shape != np.shape(weights):
        raise ValueError(f"images {shape}, weights {np.shape(weights)} and {n} values do not belong together.")
    if np.shape(spacing_mm) != (n, len(shape) - 1) or len(ids) != n:
        raise ValueError(f"a cohort of {n} cases needs {n} spacings of {len(shape) - 1} numbers and {n} ids.")
    for name, rows in tables.items():
        if rows is not None and len(rows) != n:
            raise ValueError(f"{name} {n} cases has {len(rows)} rows: give it one a case.")
    for name, spacing, value in zip(ids, spacing_mm, values, strict=True):
        if not np.all(np.isfinite(spacing) & (spacing > 0)):
            raise ValueError(f"case {name!r} has a voxel spacing that is no length: give millimetres above 0.")
        if not (np.isfinite(value) and value >= 0):
            raise ValueError(f"case {name!r} has the value {value:g}, and no sum of weights is that: leave it out.")


def groups_of(names: Any) -> NDArray[np.int64]:
    """One number for each name in a column of a table, from 0; each below 0 where none is named."""
    groups, texts = -1 - np.arange(len(names)), names.astype(str).str.strip()
    named = (names.notna() & (texts != "")).to_numpy()
    groups[named] = np.unique(texts[named].to_numpy(str), return_inverse=True)[1]
    return groups


def divide(groups: NDArray, ids: Sequence[str], fraction: float, seed: int) -> tuple[NDArray, NDArray]:
    """Rows of two parts, at random; rows of one group stay together. As :meth:`biomark.Cohort.split`."""
    wanted = round(fraction * len(groups))
    if (groups < 0).any() and (groups >= 0).any():
        alone = ids[int(np.argmax(groups < 0))]
        raise ValueError(f"case {alone!r} has no group, such as whose scan it is: give it one of its own.")
    groups = np.unique(groups, return_inverse=True)[1]
    order = np.random.default_rng(seed).permutation(len(np.unique(groups)))
    sizes = np.cumsum(np.bincount(groups)[order])
    if not 0 < wanted < len(groups) or len(order) < 2:
        raise ValueError(
            f"a split of {len(groups)} cases in {len(order)} groups at {fraction} leaves one side empty: choose a "
            "fraction between 0 and 1."
        )
    first = int(np.argmin(np.abs(sizes[:-1] - wanted))) + 1
    if len(order) == len(groups):
        return order[:first], order[first:]
    in_first = np.isin(groups, order[:first])
    return np.flatnonzero(in_first), np.flatnonzero(~in_first)


def refuse_broken(cases: Iterable[Any]) -> None:
    """Name the first case with voxels that are no numbers. It reads every voxel: for when a result is no number."""
    for case in cases:
        for what, voxels in (("image", case.image), ("weights", case.weights)):
            if not np.isfinite(voxels).all():
                raise ValueError(f"the {what} of case {case.id!r} holds values that are no numbers: leave it out.")
