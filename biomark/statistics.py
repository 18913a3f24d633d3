"""Agreement between predicted and known values, with intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % confidence interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} (95 % CI {self.low:.4f} to {self.high:.4f})"


@dataclass(frozen=True)
class Agreement:
    """Bland-Altman agreement: mean difference (predicted - known) and the range that holds 95 % of differences."""

    bias: float
    low: float
    high: float


def pearson(predicted: ArrayLike, known: ArrayLike) -> Estimate:
    """Pearson's r with Fisher's interval; nan where a side does not vary."""
    predicted, known = _pair(predicted, known)
    if len(known) < 4 or np.ptp(predicted) == 0 or np.ptp(known) == 0:
        r = float(np.corrcoef(predicted, known)[0, 1]) if np.ptp(predicted) > 0 and np.ptp(known) > 0 else np.nan
        return Estimate(r, np.nan, np.nan)
    result = stats.pearsonr(predicted, known)
    interval = result.confidence_interval(0.95)
    return Estimate(float(result.statistic), float(interval.low), float(interval.high))


def concordance(predicted: ArrayLike, known: ArrayLike) -> float:
    """Lin's concordance correlation coefficient (Biometrics 1989): r lowered by every shift and change of scale."""
    predicted, known = _pair(predicted, known)
    spread = predicted.var() + known.var() + (predicted.mean() - known.mean()) ** 2
    return (
        float(2 * np.mean((predicted - predicted.mean()) * (known - known.mean())) / spread)
        if spread > 0
        else float("nan")
    )


def bland_altman(predicted: ArrayLike, known: ArrayLike) -> Agreement:
    """Bias and 95 % limits of agreement (Bland and Altman, Lancet 1986): mean difference +- 1.96 SD."""
    predicted, known = _pair(predicted, known)
    difference = predicted - known
    bias, sd = (
        float(difference.mean()),
        float(difference.std(ddof=1)) if len(difference) > 1 else float("nan"),
    )
    return Agreement(bias, bias - 1.96 * sd, bias + 1.96 * sd)


def _pair(predicted: ArrayLike, known: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    predicted, known = np.asarray(predicted, float), np.asarray(known, float)
    if predicted.shape != known.shape or predicted.ndim != 1 or not len(known):
        raise ValueError(
            f"expected two lists of equal length, one value a case, got shapes {predicted.shape} and {known.shape}."
        )
    return predicted, known
