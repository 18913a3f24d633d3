"""Intervals and tests for errors of any distribution, of independent cases or independent groups of cases."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from biomark.evaluation.statistics.results import Estimate, Significance, columns, same_rows

FEWEST = 5
"""Fewer cases or groups give no interval; of two groups it would hold the true mean half of the time. Ours."""

# Numbers drawn at once, which bounds the memory: 8 MB for each of the lists. Ours.
_AT_ONCE = 2**20


def bootstrap(
    statistic: Callable[..., NDArray],
    *samples: ArrayLike,
    groups: ArrayLike | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """A statistic with its bootstrap interval: the middle 95 % over cases drawn with replacement.

    What the lists say of one case stays together. The interval is that of percentiles; for few cases it is too narrow:
    of 30 log-normal errors it held the true mean 86 times in 100, of 300 93 times. Cases of one group, such as the
    scans of a patient, are not independent: groups are drawn then, each with all its cases.

    Args:
        statistic: Takes as many arrays as there are lists and reduces the last axis of each, as in
            ``lambda a, b: a.sum(-1) / b.sum(-1)``.
        samples: Lists of one value a case, ``(N,)`` each.
        groups: The group of each case, ``(N,)``; by default every case is its own.
        resamples: How many times all cases, or groups, are drawn.
        seed: Same seed, same interval.

    Returns:
        The statistic of all cases and the interval, nan where a draw leaves the statistic undefined, and for fewer than
        five cases or groups.

    Raises:
        ValueError: A case has no group, or nothing shall be drawn.
    """
    same_rows(*samples, groups)
    _refuse_none(resamples)
    arrays, rng = columns(*samples), np.random.default_rng(seed)
    of_case, value = group_numbers(groups, len(arrays[0])), float(statistic(*arrays))
    sizes, drawn = np.bincount(of_case), []
    n, alone = len(sizes), len(sizes) == len(of_case)
    if n < FEWEST or math.isnan(value):
        return Estimate(value)
    in_order, start = np.argsort(of_case, kind="stable"), np.cumsum(sizes) - sizes  # group by group
    # scipy's bootstrap does the same, but warns where a draw leaves the statistic undefined; here that is a nan.
    while resamples > 0:
        rows = rng.integers(n, size=(min(resamples, max(1, _AT_ONCE // n)) if alone else 1, n))
        resamples -= len(rows)
        if not alone:  # groups differ in size, and so do draws
            of_group, drawn_sizes = start[rows[0]], sizes[rows[0]]
            shift = of_group - (np.cumsum(drawn_sizes) - drawn_sizes)
            rows = in_order[np.repeat(shift, drawn_sizes) + np.arange(drawn_sizes.sum())][None]
        drawn.append(statistic(*(a[rows] for a in arrays)))
    low, high = np.quantile(np.concatenate(drawn), [0.025, 0.975])
    return Estimate(value, float(low), float(high))


def mean(values: ArrayLike, *, groups: ArrayLike | None = None, seed: int = 0) -> Estimate:
    """Mean over cases with its bootstrap interval; nan of no cases."""
    if not np.size(values):
        return Estimate(math.nan)
    return bootstrap(lambda v: v.mean(-1), values, groups=groups, seed=seed)


def permutation(
    statistic: Callable[[NDArray, NDArray], NDArray],
    first: ArrayLike,
    second: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    resamples: int = 9999,
    seed: int = 0,
) -> Significance:
    """Paired permutation test: would the statistic be as large if it were chance which model gave which value?

    The two values of a case are swapped at random, case by case or group by group; for few cases in every way.

    Args:
        statistic: Compares two arrays along the last axis, as in ``lambda a, b: (a - b).mean(-1)``.
        first: One value a case, ``(N,)``.
        second: The other value of each, ``(N,)``.
        groups: The group of each case, ``(N,)``, as for :func:`bootstrap`.
        resamples: How many times, at most; the lowest p is about two over this.
        seed: Same seed, same p.

    Returns:
        The statistic and its p, which is nan where a value or the statistic is, and of a single case or group.
    """
    from scipy import stats  # takes half a second to load

    same_rows(first, second, groups)
    _refuse_none(resamples)
    first, second = columns(first, second)
    if np.isnan(first).any() or np.isnan(second).any():
        return Significance(math.nan, math.nan)
    of_case = group_numbers(groups, len(first))
    stay = np.zeros(len(np.unique(of_case)), bool)
    if len(stay) < 2:
        return Significance(float(statistic(first, second)), math.nan)

    def swapped(swap: NDArray) -> NDArray:
        return statistic(np.where(swap, second, first), np.where(swap, first, second))

    result = stats.permutation_test(
        (stay, ~stay),  # where the first is true, a group has changed places
        lambda a, b, axis: swapped(a[..., of_case]),
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


def _refuse_none(resamples: int) -> None:
    if resamples < 1:
        raise ValueError(f"{resamples} resamples tell nothing: draw 1 or more, better 2000.")


def group_numbers(groups: ArrayLike | None, n: int) -> NDArray[np.int64]:
    """The group of each case, as numbers from 0 on."""
    if groups is None:
        return np.arange(n)
    if np.shape(groups) != (n,):
        raise ValueError(f"{n} cases need a group each, and those given have shape {np.shape(groups)}.")
    numbers = pd.factorize(pd.Series(groups), sort=True)[0]  # below 0 where there is none
    if (numbers < 0).any():
        raise ValueError(f"case {np.argmax(numbers < 0)} of {n} (from 0) has no group: give it one of its own.")
    return numbers
