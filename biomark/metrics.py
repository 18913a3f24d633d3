"""How well a map lies on the truth: arrays in, numbers out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def dice(found: NDArray, truth: NDArray) -> NDArray[np.float64]:
    """Dice overlap of each case, twice the common part over the sum of both parts.

    Args:
        found: Boolean, ``(N, *S)``.
        truth: Boolean, ``(N, *S)``.

    Returns:
        ``(N,)`` in [0, 1]; nan where the truth is empty, because no overlap is possible there and any number would
        be a choice.
    """
    _same(found, truth)
    axes = tuple(range(1, np.ndim(truth)))
    both, sizes = np.sum(found & truth, axis=axes), np.sum(found, axis=axes) + np.sum(truth, axis=axes)
    return np.where(np.any(truth, axis=axes), 2 * both / np.maximum(sizes, 1), np.nan)


def energy_in_mask(contribution: NDArray, truth: NDArray) -> float:
    """Share of the predicted biomarker that comes from inside the truth: sum over cases over sum over cases.

    Args:
        contribution: Map times weights, ``(N, *S)``, not negative.
        truth: Boolean, ``(N, *S)``.

    Returns:
        A number in [0, 1]; nan when nothing at all is predicted.
    """
    _same(contribution, truth)
    total = np.sum(contribution, dtype=float)
    return float(np.sum(contribution, where=truth, dtype=float) / total) if total > 0 else float("nan")


def _same(a: NDArray, b: NDArray) -> None:
    if np.shape(a) != np.shape(b):
        raise ValueError(f"arrays of shape {np.shape(a)} and {np.shape(b)} cannot be compared: give them one shape.")
