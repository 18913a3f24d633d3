"""Coefficients of agreement along the last axis: what a bootstrap draws and a permutation test swaps.

They are those of :mod:`biomark.evaluation.statistics` without intervals. Where a side does not vary, r is nan; where both do not
and are equal, the others are too. The intervals from
theory hold for errors that are normal and of one size in all cases. Those of areas nearly are; those of scores that run
from 0 to thousands are not, and there the formulas' intervals are far too narrow (chapter 11 of the book measures it).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def r(predicted: NDArray, known: NDArray) -> NDArray:
    """Pearson's r.

    Args:
        predicted: ``(..., N)``.
        known: ``(..., N)``.
    """
    p, k = _centred(predicted), _centred(known)
    return _share((p * k).sum(-1), np.sqrt((p**2).sum(-1) * (k**2).sum(-1)))


def ccc(predicted: NDArray, known: NDArray) -> NDArray:
    """Lin's concordance.

    Args:
        predicted: ``(..., N)``.
        known: ``(..., N)``.
    """
    p, k = _centred(predicted), _centred(known)
    shift = predicted.shape[-1] * (predicted.mean(-1) - known.mean(-1)) ** 2
    return _share(2 * (p * k).sum(-1), (p**2).sum(-1) + (k**2).sum(-1) + shift)


def icc(predicted: NDArray, known: NDArray) -> NDArray:
    """ICC(A,1) of two raters: absolute agreement of single values.

    Args:
        predicted: ``(..., N)``.
        known: ``(..., N)``.
    """
    n, middle, apart = predicted.shape[-1], _centred(predicted + known) / 2, _centred(predicted - known)
    between, error = 2 * (middle**2).sum(-1), (apart**2).sum(-1) / 2  # each over n - 1
    raters = n * (n - 1) * (predicted.mean(-1) - known.mean(-1)) ** 2 / 2
    return _share(between - error, between + error + 2 / n * (raters - error))


def standard(values: NDArray) -> NDArray:
    """Values with mean 0 and standard deviation 1; nan where they do not vary.

    Args:
        values: ``(..., N)``.
    """
    centred = _centred(values)
    spread = np.sqrt((centred**2).mean(-1, keepdims=True))
    return np.where(spread > 0, centred, np.nan) / np.where(spread > 0, spread, 1.0)


def _centred(values: NDArray) -> NDArray:
    # The mean of a constant may be off by rounding.
    return np.where(np.ptp(values, -1, keepdims=True) > 0, values - values.mean(-1, keepdims=True), 0.0)


def _share(part: NDArray, whole: NDArray) -> NDArray:
    return np.where(whole > 0, part, np.nan) / np.where(whole > 0, whole, 1.0)
