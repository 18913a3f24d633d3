"""Do the predicted values equal the known ones: more than a correlation, which any straight line satisfies."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from biomark.evaluation.statistics import vectorised
from biomark.evaluation.statistics.resampling import bootstrap, group_numbers
from biomark.evaluation.statistics.results import Estimate, columns, same_rows


@dataclass(frozen=True)
class Agreement:
    """Bland-Altman agreement, each number with its interval.

    Attributes:
        bias: Mean difference, predicted - known.
        low: Lower limit of agreement.
        high: Upper limit of agreement: 95 % of the differences are expected between both.
        slope: Proportional bias: what a difference grows by where the mean of both grows by 1; nan for fewer than 3.
    """

    bias: Estimate
    low: Estimate
    high: Estimate
    slope: Estimate


def concordance(predicted: ArrayLike, known: ArrayLike) -> Estimate:
    """Lin's concordance correlation coefficient: r lowered by every shift and change of scale.

    The interval is Lin's on Fisher's scale (Biometrics 45 (1989) 255, with the correction in 56 (2000) 324). Variances
    are divided by n, as in his paper.
    """
    predicted, known = columns(predicted, known)
    ccc, r = (float(of(predicted, known)) for of in (vectorised.ccc, vectorised.r))
    if len(known) < 4 or math.isnan(r):
        return Estimate(ccc)
    left = 1 - ccc**2
    if not left > 0:
        return Estimate(ccc, ccc, ccc)
    u2 = (predicted.mean() - known.mean()) ** 2 / (predicted.std() * known.std())
    accuracy = 2 / (predicted.std() / known.std() + known.std() / predicted.std() + u2)
    variance = (1 - min(r**2, 1)) * accuracy**2 / left
    variance += (2 * ccc**2 * accuracy * (1 - ccc) * u2 - (accuracy * ccc * u2) ** 2 / 2) / left**2
    reach = special.ndtri(0.975) * math.sqrt(max(variance, 0) / (len(known) - 2))
    return Estimate(ccc, math.tanh(math.atanh(ccc) - reach), math.tanh(math.atanh(ccc) + reach))


def icc(*raters: ArrayLike, kind: str = "A,1") -> Estimate:
    """Intraclass correlation of single measurements in two-way tables (McGraw and Wong, Psychol. Methods 1 (1996) 30).

    Args:
        raters: What each measured, one value a case: the predicted and the known values, or more than two.
        kind: ``"A,1"`` for absolute agreement, in which a shift counts against it (Shrout and Fleiss call it ICC(2,1));
            ``"C,1"`` for consistency, in which it does not (their ICC(3,1)).

    Returns:
        The coefficient with the F intervals of McGraw and Wong's table 7; nan for fewer than 2 cases and where nothing
        varies. An ``"A,1"`` far below zero, of raters who contradict each other, has no interval (nan): the
        approximation behind it does not hold there.

    Raises:
        ValueError: Fewer than two raters, another kind, or lists of unequal length.
    """
    if len(raters) < 2:
        raise ValueError("icc compares at least two lists of values: give the predicted and the known ones.")
    if kind not in ("A,1", "C,1"):
        raise ValueError(f"icc knows the kinds 'A,1' and 'C,1', not {kind!r}.")
    table = columns(*raters)
    n, k = len(table[0]), len(table)
    value = float(vectorised.icc(*table, kind=kind)) if n > 1 else math.nan
    if math.isnan(value) or value == 1:
        return Estimate(value, value, value)
    between, offset, error = map(float, vectorised.variation(*table))
    free = (n - 1) * (k - 1)
    between, of_raters, error = between / (n - 1), n * offset, error / free
    if kind == "C,1":
        f_low = between / error / special.fdtri(n - 1, free, 0.975)
        f_high = between / error * special.fdtri(free, n - 1, 0.975)
        return Estimate(value, *(float((f - 1) / (f + k - 1)) for f in (f_low, f_high)))
    a, b = k * value / (n * (1 - value)), 1 + k * value * (n - 1) / (n * (1 - value))
    # Satterthwaite's degrees of freedom of the mix of both errors.
    mix = (a * of_raters) ** 2 / (k - 1) + (b * error) ** 2 / free
    v = (a * of_raters + b * error) ** 2 / mix if mix > 0 else math.nan
    if not v >= 1:  # below zero the mix has parts of both signs: where they cancel, it has no F distribution
        return Estimate(value)
    noise = k * of_raters + (k * n - k - n) * error
    f_low, f_high = special.fdtri(n - 1, v, 0.975), special.fdtri(v, n - 1, 0.975)
    low = n * (between - f_low * error) / (f_low * noise + n * between)
    high = n * (f_high * between - error) / (noise + n * f_high * between)
    return Estimate(value, float(low), float(high))


def bland_altman(predicted: ArrayLike, known: ArrayLike, *, groups: ArrayLike | None = None) -> Agreement:
    """Bias and 95 % limits of agreement: mean difference +- 1.96 SD (Bland and Altman, Lancet 327 (1986) 307).

    The intervals and the slope are those of their Stat. Methods Med. Res. 8 (1999) 135: t with n - 1 degrees of freedom
    on ``SD / sqrt(n)`` for the bias, on ``SD sqrt(1/n + 1.96^2 / (2 (n - 1)))`` for a limit; the slope is that of a
    straight line through the differences over the means of both. These intervals assume independent cases;
    those of groups, such as patients with several scans, come from :func:`~biomark.evaluation.statistics.bootstrap`.

    Args:
        predicted: Values of a model, ``(N,)``.
        known: Known values, ``(N,)``.
        groups: The group of each case, ``(N,)``; by default every case is one of its own.
    """
    same_rows(predicted, known, groups)
    predicted, known = columns(predicted, known)
    if groups is not None:
        groups = group_numbers(groups, len(known))
        if groups.max() + 1 < len(known):
            return _drawn((predicted + known) / 2, predicted - known, groups)
    difference, n = predicted - known, len(known)
    bias, sd = float(difference.mean()), float(difference.std(ddof=1)) if n > 1 else math.nan
    t = float(special.stdtrit(n - 1, 0.975)) if n > 1 else math.nan
    of_bias, of_limit = t * sd / math.sqrt(n), t * sd * math.sqrt(1 / n + 1.96**2 / (2 * max(n - 1, 1)))
    low, high = bias - 1.96 * sd, bias + 1.96 * sd
    return Agreement(
        Estimate(bias, bias - of_bias, bias + of_bias),
        Estimate(low, low - of_limit, low + of_limit),
        Estimate(high, high - of_limit, high + of_limit),
        _slope((predicted + known) / 2, difference),
    )


def kappa(predicted: ArrayLike, known: ArrayLike, *, weights: str = "linear") -> float:
    """Cohen's weighted kappa over ordered groups (Psychol. Bull. 70 (1968) 213): agreement beyond chance.

    Args:
        predicted: Group of each case, from 0 on, ``(N,)``.
        known: The same, known.
        weights: ``"linear"``: two groups apart is twice as wrong as one; ``"quadratic"``: four times.

    Returns:
        1 for perfect agreement, 0 for what chance gives; nan where all cases are in one group on both sides.

    Raises:
        ValueError: Other weights, or values that are no groups.
    """
    from sklearn.metrics import cohen_kappa_score

    if weights not in ("linear", "quadratic"):
        raise ValueError(f"kappa knows linear and quadratic weights, not {weights!r}.")
    predicted, known = columns(predicted, known)
    both = np.concatenate([predicted, known])
    if np.isnan(both).any() or both.min() == both.max():
        return math.nan
    if not np.isfinite(both).all() or both.min() < 0 or np.any(both != np.floor(both)):
        raise ValueError("kappa compares numbered groups: give whole numbers from 0 on.")
    # All labels in between are named, so that a group that no case is in still lies between its neighbours.
    labels = range(int(both.max()) + 1)
    return float(cohen_kappa_score(predicted.astype(int), known.astype(int), weights=weights, labels=labels))


def _drawn(middle: NDArray, apart: NDArray, groups: ArrayLike) -> Agreement:
    """The same numbers, with intervals over groups."""

    def level(times: float) -> Estimate:
        return bootstrap(lambda d: d.mean(-1) + times * d.std(-1, ddof=1), apart, groups=groups)

    def slope(x: NDArray, y: NDArray) -> NDArray:
        varied = vectorised.varies(x)
        x, y = (v - v.mean(-1, keepdims=True) for v in (x, y))
        return (x * y).sum(-1) / np.where(varied & (x.shape[-1] > 2), (x**2).sum(-1), np.nan)

    return Agreement(level(0), level(-1.96), level(1.96), bootstrap(slope, middle, apart, groups=groups))


def _slope(x: NDArray, y: NDArray) -> Estimate:
    """Slope of a straight line through points, with its t interval."""
    from scipy import stats  # takes half a second, and is seldom needed

    if len(x) < 3 or not vectorised.varies(x):
        return Estimate(math.nan)
    line = stats.linregress(x, y)
    reach = special.stdtrit(len(x) - 2, 0.975) * line.stderr
    return Estimate(float(line.slope), float(line.slope - reach), float(line.slope + reach))
