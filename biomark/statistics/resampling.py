"""Intervals and tests that assume nothing about the errors but that cases are drawn one by one."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from biomark.statistics.results import Estimate, Significance, columns

# Numbers drawn at once, which bounds the memory: 8 MB for each of the lists. Ours.
_AT_ONCE = 2**20


def bootstrap(statistic: Callable[..., NDArray], *samples: ArrayLike, resamples: int = 2000, seed: int = 0) -> Estimate:
    """A statistic with its bootstrap interval: the middle 95 % over cases drawn with replacement.

    Cases are drawn whole: what the lists say of one case stays together, as the errors of two models on the same scan
    must. The interval is that of percentiles, which is defined for every statistic. For few cases it is too narrow, as
    others are: of 30 log-normal errors it held the true mean 86 times in 100, the bias-corrected interval too; of 300,
    93 and 94 times.

    Args:
        statistic: Takes as many arrays as there are lists and reduces the last axis of each, as in
            ``lambda a, b: a.sum(-1) / b.sum(-1)``.
        samples: Lists of one value a case, ``(N,)`` each.
        resamples: How many times all cases are drawn.
        seed: Same seed, same interval.

    Returns:
        The statistic of all cases and the interval, which is nan where a draw leaves the statistic undefined.
    """
    arrays, rng = columns(*samples), np.random.default_rng(seed)
    n, drawn = len(arrays[0]), []
    value = float(statistic(*arrays))
    if n < 2 or math.isnan(value):
        return Estimate(value)
    # scipy's bootstrap does the same, but warns where a draw leaves the statistic undefined; here that is a nan.
    while resamples > 0:
        rows = rng.integers(n, size=(min(resamples, max(1, _AT_ONCE // n)), n))
        drawn.append(statistic(*(a[rows] for a in arrays)))
        resamples -= len(rows)
    low, high = np.quantile(np.concatenate(drawn), [0.025, 0.975])
    return Estimate(value, float(low), float(high))


def mean(values: ArrayLike, *, seed: int = 0) -> Estimate:
    """Mean over cases with its bootstrap interval; nan of no cases."""
    return bootstrap(lambda v: v.mean(-1), values, seed=seed) if np.size(values) else Estimate(math.nan)


def permutation(
    statistic: Callable[[NDArray, NDArray], NDArray],
    first: ArrayLike,
    second: ArrayLike,
    *,
    resamples: int = 9999,
    seed: int = 0,
) -> Significance:
    """Paired permutation test: would the statistic be as large if it were chance which model gave which value?

    Both values of a case change places at random, case by case; for few cases all ways are tried.

    Args:
        statistic: Compares two arrays along the last axis, as in ``lambda a, b: (a - b).mean(-1)``.
        first: One value a case, ``(N,)``.
        second: The other value of each, ``(N,)``.
        resamples: How many times, at most; the lowest p is about two over this.
        seed: Same seed, same p.
    """
    first, second = columns(first, second)
    if np.isnan(first).any() or np.isnan(second).any():
        return Significance(math.nan, math.nan)
    result = stats.permutation_test(
        (first, second),
        lambda a, b, axis: statistic(a, b),
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        batch=max(1, _AT_ONCE // len(first)),
        rng=np.random.default_rng(seed),
    )
    known = math.isfinite(result.statistic)  # else every order counts as large
    return Significance(float(result.statistic), float(result.pvalue) if known else math.nan)


def holm(pvalues: ArrayLike) -> NDArray[np.float64]:
    """p values of several tests, raised so that the chance of even one false alarm stays below the level.

    Holm, Scand. J. Stat. 6 (1979) 65. Tests without a p value (nan) keep none and do not count.

    Args:
        pvalues: One a test, ``(K,)``, in any order.

    Returns:
        ``(K,)`` in the same order; reject where it is below the level.
    """
    (pvalues,) = columns(pvalues)
    if np.any((pvalues < 0) | (pvalues > 1)):
        raise ValueError("p values lie between 0 and 1: give the p of each test.")
    adjusted, known = pvalues.copy(), np.flatnonzero(~np.isnan(pvalues))
    order = known[np.argsort(pvalues[known], kind="stable")]
    stepped = pvalues[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1)
    return adjusted
