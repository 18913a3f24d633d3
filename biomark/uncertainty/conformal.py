"""How far off a value may be: split conformal intervals, calibrated on cases that training did not see.

Take cases with known values, look at how far the model was off, and take the distance that the wanted share of them
stayed within, with one more case to spare. For a new case that could as well have been one of them the interval then
holds the true value with at least that chance, whatever the model is and however its errors are distributed: Vovk,
Gammerman and Shafer, Algorithmic Learning in a Random World, 2005; Lei et al., J. Am. Stat. Assoc. 113 (2018) 1094;
Angelopoulos and Bates, Found. Trends Mach. Learn. 16 (2023) 494.

The chance is over patients, not for one patient: it is an average over easy and difficult cases. Divide the distances
by what makes a case difficult, or calibrate small and large ones apart, to bring the parts near the average; and look
at :func:`coverage`, which counts it by size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from biomark.evaluation.statistics.results import columns

SIDES = ("both", "upper", "lower")
"""What an interval bounds."""


def quantile(scores: ArrayLike, coverage: float) -> float:
    """The distance within which a new case stays with at least the given chance, if it is like the others.

    It is the k-th smallest of n scores with ``k = ceil((n + 1) coverage)``: the new case is as likely to take any of
    the n + 1 places among them.

    Args:
        scores: One a case, ``(N,)``.
        coverage: Above 0 and below 1.

    Raises:
        ValueError: The coverage is none, or so few cases cannot give it.
    """
    scores = np.asarray(scores, float)
    if not 0 < coverage < 1:
        raise ValueError(f"a coverage of {coverage} cannot be asked for: give a share between 0 and 1, such as 0.9.")
    # 0.9 x 10 must be 9 places, however it is rounded.
    place = math.ceil((len(scores) + 1) * coverage - 1e-9)
    if place > len(scores):
        needed = math.ceil(coverage / (1 - coverage) - 1e-9)
        raise ValueError(
            f"{len(scores)} cases cannot calibrate a coverage of {coverage:g}: give at least {needed}, in each stratum."
        )
    return float(np.partition(scores, place - 1)[place - 1])


@dataclass(frozen=True)
class Conformal:
    """Calibrated intervals; make one by :meth:`calibrate`.

    Attributes:
        coverage: Share of cases whose value shall lie inside.
        side: ``"both"``, ``"upper"`` or ``"lower"``.
        bounds: Predicted values that part the strata, ascending; empty with one stratum.
        distances: Half width in each stratum, in units of the difficulty; of the value where there is none.
        scaled: Whether cases have a difficulty.
        n: Cases that calibrated it.
    """

    coverage: float
    side: str
    bounds: tuple[float, ...]
    distances: tuple[float, ...]
    scaled: bool
    n: int

    @classmethod
    def calibrate(
        cls,
        predicted: ArrayLike,
        known: ArrayLike,
        *,
        difficulty: ArrayLike | None = None,
        coverage: float = 0.9,
        side: str = "both",
        strata: int = 1,
    ) -> Conformal:
        """Calibrate on cases that training did not see; the cases on which a model was chosen are no such cases.

        Args:
            predicted: The model's values, ``(N,)``.
            known: The known ones.
            difficulty: How far off each may well be, above 0 and known without the truth, in any unit: the distances
                are divided by it (the normalised scores of Lei et al.), such as :func:`by_size`.
            coverage: Share of cases whose value shall lie inside.
            side: ``"both"``; ``"upper"`` for a bound that the value stays below, ``"lower"`` above.
            strata: Number of groups of equal size, by predicted value, each calibrated on its own (Vovk's Mondrian
                prediction): coverage then holds within each, and each needs cases enough. Of cases of like *known*
                value nothing is promised; chapter 13 of the book shows what three strata and :func:`by_size` kept
                there, and what one distance for all.

        Raises:
            ValueError: Too few cases, values that are not finite, or an argument that cannot be used.
        """
        predicted, known = columns(predicted, known)
        if side not in SIDES:
            raise ValueError(f"no interval has a side {side!r}: choose from {', '.join(SIDES)}.")
        if strata < 1:
            raise ValueError(f"cases cannot be parted into {strata} strata: give 1 or more.")
        scale = _checked(difficulty, predicted)
        off = known - predicted
        scores = {"both": np.abs(off), "upper": off, "lower": -off}[side] / scale
        if not np.isfinite(scores).all():
            raise ValueError(f"{np.sum(~np.isfinite(scores))} cases have no finite value: leave them out or mend them.")
        bounds = np.unique(np.quantile(predicted, np.arange(1, strata) / strata, method="lower"))
        bounds = bounds[bounds < predicted.max()]  # equal values cannot be parted
        groups = np.searchsorted(bounds, predicted)
        distances = tuple(quantile(scores[groups == g], coverage) for g in range(len(bounds) + 1))
        return cls(coverage, side, tuple(map(float, bounds)), distances, difficulty is not None, len(known))

    def interval(
        self, predicted: ArrayLike, *, difficulty: ArrayLike | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lower and upper ends, in the unit of the values.

        No biomarker is below 0, and so no end is: that loses no coverage.

        Args:
            predicted: The model's values, ``(N,)`` or one.
            difficulty: As in :meth:`calibrate`, where it had one.

        Raises:
            ValueError: A difficulty is missing, or given to what was calibrated without.
        """
        predicted = np.asarray(predicted, float)
        if self.scaled != (difficulty is not None):
            raise ValueError(f"these intervals were calibrated {'with' if self.scaled else 'without'} a difficulty.")
        reach = np.asarray(self.distances)[np.searchsorted(self.bounds, predicted)] * _checked(difficulty, predicted)
        low = np.zeros_like(predicted) if self.side == "upper" else predicted - reach
        high = np.full_like(predicted, np.inf) if self.side == "lower" else predicted + reach
        return np.maximum(low, 0), np.maximum(high, 0)


def by_size(predicted: ArrayLike, softening: float, power: float = 0.5) -> NDArray[np.float64]:
    """A difficulty that grows with the value: ``(value + softening) ** power``.

    Args:
        predicted: Values, not negative.
        softening: What keeps small values from an interval of no width, in their unit.
        power: 0.5 where an error is that of a count, 1 where it is a percentage.
    """
    return (np.maximum(np.asarray(predicted, float), 0) + softening) ** power


def coverage(low: ArrayLike, high: ArrayLike, known: ArrayLike, *, strata: int = 3) -> pd.DataFrame:
    """How many values lie inside their intervals, in all and by size: what to look at on further unseen cases.

    Strata are of the KNOWN value, and so not those of :meth:`Conformal.calibrate`, which must do without it: even a
    perfect calibration keeps its coverage there only on average.

    Args:
        low: Lower ends, ``(N,)``.
        high: Upper ends.
        known: The known values.
        strata: Number of groups of about equal size.

    Returns:
        One row for all cases and one for each stratum, with smallest and largest known value, ``n``, the share
        ``covered`` with its 95 % interval (Clopper and Pearson 1934) and the mean ``width``.
    """
    low, high, known = columns(low, high, known)
    inside = (low <= known) & (known <= high)
    size = np.searchsorted(np.quantile(known, np.arange(1, strata) / strata), known)
    groups = {"all": np.ones(len(known), bool)} | {f"size {g + 1}": size == g for g in range(strata)}
    rows = {}
    for name, chosen in groups.items():
        if not chosen.any():
            continue
        count = stats.binomtest(int(inside[chosen].sum()), int(chosen.sum()))
        between = count.proportion_ci(0.95, "exact")
        rows[name] = {
            "from": known[chosen].min(),
            "to": known[chosen].max(),
            "n": count.n,
            "covered": count.statistic,
            "covered_low": between.low,
            "covered_high": between.high,
            "width": float(np.mean((high - low)[chosen])),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def _checked(difficulty: ArrayLike | None, predicted: NDArray) -> NDArray[np.float64]:
    if difficulty is None:
        return np.ones_like(predicted)
    difficulty = np.asarray(difficulty, float)
    if difficulty.shape != predicted.shape or not np.all((difficulty > 0) & np.isfinite(difficulty)):
        raise ValueError("a difficulty is one number above 0 for each value: check its length, and soften zeros.")
    return difficulty
