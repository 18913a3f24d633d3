"""Correlations, and the tests of two that share the known values.

Two models that are judged on the same cases have dependent correlations: their errors go together, and Fisher's test
for independent ones would be wrong. Which of the many tests to prefer, and worked examples: Diedenhofen and Musch,
PLOS ONE 10 (2015) e0121945.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from biomark.evaluation.statistics import vectorised
from biomark.evaluation.statistics.results import Estimate, Significance, columns


def pearson(predicted: ArrayLike, known: ArrayLike) -> Estimate:
    """Pearson's r with Fisher's interval, by scipy; nan where a side does not vary."""
    from scipy import stats  # takes half a second to load

    predicted, known = columns(predicted, known)
    if len(known) < 4 or not (vectorised.varies(predicted) and vectorised.varies(known)):
        return Estimate(_r(predicted, known))
    result = stats.pearsonr(predicted, known)
    interval = result.confidence_interval(0.95)
    return Estimate(float(result.statistic), float(interval.low), float(interval.high))


def spearman(predicted: ArrayLike, known: ArrayLike) -> Estimate:
    """Spearman's rank correlation; nan where a side does not vary.

    The interval is Fisher's, widened by ``1 + rho^2 / 2`` for ranks (Bonett and Wright, Psychometrika 65 (2000) 23).
    """
    from scipy import stats

    predicted, known = columns(predicted, known)
    if not (vectorised.varies(predicted) and vectorised.varies(known)):
        return Estimate(math.nan)
    rho = _r(stats.rankdata(predicted), stats.rankdata(known))
    return _with_interval(rho, len(known), spread=1 + rho**2 / 2)


def williams(pred_a: ArrayLike, pred_b: ArrayLike, truth: ArrayLike) -> Significance:
    """Williams' T2: do two models on the same cases differ in Pearson's r? Two-sided, n - 3 degrees of freedom.

    Holds its size for few cases too, which Hotelling's older test does not (Williams, Regression Analysis, 1959;
    Steiger, Psychol. Bull. 87 (1980) 245, formula 7).

    Args:
        pred_a: Values of one model, ``(N,)``.
        pred_b: Values of the other, ``(N,)``.
        truth: Known values, ``(N,)``.

    Returns:
        ``statistic``, positive where the first model has the higher r, and ``pvalue``. Both are nan for fewer than 4
        cases and where a side does not vary; values that differ in scale and shift alone give 0 and 1.

    >>> known = [1, 2, 3, 4, 5, 6]
    >>> found = williams([1.1, 1.9, 3.2, 3.9, 5.1, 6.0], [2, 1, 3, 5, 4, 6], known)
    >>> found.statistic > 0, round(found.pvalue, 3)
    (True, 0.014)
    """
    a, b, between, n = _three(pred_a, pred_b, truth)
    if n < 4:
        return Significance(math.nan, math.nan)
    if a == b:
        return Significance(0.0, 1.0)
    # The determinant of the three correlations; rounding can push one that is 0 below it.
    determinant = max(1 + 2 * a * b * between - a**2 - b**2 - between**2, 0.0)
    spread = 2 * (n - 1) / (n - 3) * determinant + ((a + b) / 2) ** 2 * (1 - between) ** 3
    t = (a - b) * math.sqrt((n - 1) * (1 + between) / spread) if spread > 0 else math.nan
    return Significance(t, 2 * float(special.stdtr(n - 3, -abs(t))))


def zou(pred_a: ArrayLike, pred_b: ArrayLike, truth: ArrayLike) -> Estimate:
    """Difference of two models' r with Zou's interval, made from the interval of each (Psychol. Methods 12 (2007) 399).

    Arguments as for :func:`williams`. r of the first minus r of the second; nan where a side does not vary.
    """
    a, b, between, n = _three(pred_a, pred_b, truth)
    if n < 4 or math.isnan(a - b):
        return Estimate(a - b)
    first, second = _with_interval(a, n), _with_interval(b, n)
    independent = (1 - a**2) * (1 - b**2)
    shared = 0.0  # an r of 1 has no spread to share
    if independent > 0:
        shared = ((between - a * b / 2) * (1 - a**2 - b**2 - between**2) + between**3) / independent

    def reach(one: float, other: float) -> float:
        return math.sqrt(max(one**2 + other**2 - 2 * shared * one * other, 0.0))

    return Estimate(a - b, a - b - reach(a - first.low, second.high - b), a - b + reach(first.high - a, b - second.low))


def _three(pred_a: ArrayLike, pred_b: ArrayLike, truth: ArrayLike) -> tuple[float, float, float, int]:
    """r of either with the truth and of both with each other, and the number of cases."""
    pred_a, pred_b, truth = columns(pred_a, pred_b, truth)
    a, b, between = _r(pred_a, truth), _r(pred_b, truth), _r(pred_a, pred_b)
    if between > 1 - 1e-14:  # the same values but for scale and shift: what is left of a difference is rounding
        b = a
    return a, b, between, len(truth)


def _r(predicted: NDArray, known: NDArray) -> float:
    return float(np.clip(vectorised.r(predicted, known), -1, 1))


def _with_interval(r: float, n: int, spread: float = 1.0) -> Estimate:
    """r of n cases with the interval that is symmetric on Fisher's scale; none for fewer than 4 cases."""
    if n < 4 or math.isnan(r):
        return Estimate(r)
    z = math.atanh(r) if abs(r) < 1 else math.copysign(math.inf, r)
    reach = special.ndtri(0.975) * math.sqrt(spread / (n - 3))
    return Estimate(r, math.tanh(z - reach), math.tanh(z + reach))
