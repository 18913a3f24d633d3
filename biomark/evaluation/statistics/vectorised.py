"""Coefficients along the last axis, without intervals: what bootstrap and permutation compute thousands of times.

Where a side does not vary, r is nan; where nothing varies, the others are too. Rounding alone is no variation.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ROUNDING = 1e-13
"""A spread that is smaller than this share of the largest value is rounding; 0.1 + 0.2 is not 0.3. Ours."""


def r(predicted: NDArray, known: NDArray) -> NDArray:
    """Pearson's r of values ``(..., N)``."""
    p, k = _centred(predicted), _centred(known)
    return _ratio((p * k).sum(-1), np.sqrt((p**2).sum(-1) * (k**2).sum(-1)))


def studentised_r(first: NDArray, second: NDArray, known: NDArray, of_group: NDArray | None = None) -> NDArray:
    """Difference of two r that share the known values, over its standard error: ``(..., N)`` each.

    The error is that of the delta method, whatever shape the models' errors have: a case moves r by
    ``xy - r (x^2 + y^2) / 2``, with x and y in standard units. With ``of_group`` ``(N, G)``, 1 where a case is in a
    group, groups move it as a whole.
    """
    y = standard(known)
    apart: NDArray = np.zeros(())
    moved = apart
    for sign, x in ((1, standard(first)), (-1, standard(second))):
        coefficient = (x * y).mean(-1)
        apart = apart + sign * coefficient
        moved = moved + sign * (x * y - coefficient[..., None] / 2 * (x**2 + y**2))
    moved = moved if of_group is None else moved @ of_group
    error = np.sqrt((moved**2).sum(-1)) / y.shape[-1]
    # Of models that differ in shift and scale alone, both are rounding.
    return np.where(np.abs(apart) < ROUNDING, 0.0, apart / np.maximum(error, ROUNDING))


def ccc(predicted: NDArray, known: NDArray) -> NDArray:
    """Lin's concordance of values ``(..., N)``; variances are divided by N."""
    p, k = _centred(predicted), _centred(known)
    shift = predicted.shape[-1] * (predicted.mean(-1) - known.mean(-1)) ** 2
    whole = (p**2).sum(-1) + (k**2).sum(-1) + shift
    return _ratio(2 * (p * k).sum(-1), whole, varies(predicted) | varies(known))


def icc(*raters: NDArray, kind: str = "A,1") -> NDArray:
    """Intraclass correlation of two or more raters' values, ``(..., N)`` each; see :func:`biomark.statistics.icc`."""
    n, k = raters[0].shape[-1], len(raters)
    between, offset, error = variation(*raters)
    error = error / (k - 1)
    whole = between + (k - 1) * error
    if kind == "A,1":
        whole = whole + k / n * (n * (n - 1) * offset - error)
    return _ratio(between - error, whole, np.any([varies(values) for values in raters], axis=0))


def variation(*raters: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """The parts of a two-way table of cases and raters, ``(..., N)`` a rater.

    Returns:
        Sum of squares between cases, variance of the raters' means, residual sum of squares, ``(...)`` each.
    """
    k = len(raters)
    pairs = [(a, b) for i, a in enumerate(raters) for b in raters[i + 1 :]]
    between = k * ((_centred(np.asarray(sum(raters))) / k) ** 2).sum(-1)
    offset = sum((a.mean(-1) - b.mean(-1)) ** 2 for a, b in pairs) / k / (k - 1)
    return between, offset, sum((_centred(a - b) ** 2).sum(-1) for a, b in pairs) / k


def standard(values: NDArray) -> NDArray:
    """Values ``(..., N)`` with mean 0 and standard deviation 1; nan where they do not vary."""
    centred = _centred(values)
    return _ratio(centred, np.sqrt((centred**2).mean(-1, keepdims=True)))


def varies(values: NDArray) -> NDArray[np.bool_]:
    """Whether values ``(..., N)`` differ by more than rounding; not where one is nan or infinite."""
    low, high = values.min(-1), values.max(-1)
    return np.isfinite(low) & np.isfinite(high) & (high - low > ROUNDING * np.maximum(high, -low))


def _centred(values: NDArray) -> NDArray:
    # The mean of a constant may be off by rounding.
    with np.errstate(invalid="ignore"):  # what comes of infinity is nan
        return (values - values.mean(-1, keepdims=True)) * varies(values)[..., None]


def _ratio(part: NDArray, whole: NDArray, defined: NDArray | bool = True) -> NDArray:
    defined = defined & (whole > 0)
    return np.where(defined, part, np.nan) / np.where(defined, whole, 1.0)
