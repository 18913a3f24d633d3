"""How far off a value may be: split conformal intervals, calibrated on cases that training did not see.

The interval of a new case that is exchangeable with the calibration cases holds the true value with at least the asked
chance, whatever the model and the distribution of its errors: Vovk, Gammerman and Shafer, Algorithmic Learning in a
Random World, 2005; Lei et al., J. Am. Stat. Assoc. 113 (2018) 1094; Angelopoulos and Bates, Found. Trends Mach. Learn.
16 (2023) 494. The chance is an average over easy and difficult patients; :func:`coverage` counts it by size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from biomark.evaluation.statistics.results import columns
from biomark.machine.masks import unmasked


def quantile(scores: ArrayLike, coverage: float) -> float:
    """The k-th smallest of n scores, k = ceil((n + 1) coverage): a new one stays within it with at least that chance.

    Raises:
        ValueError: The coverage is not between 0 and 1, there are too few cases for it, or a score is nan.
    """
    scores = np.asarray(unmasked(scores, "the scores"), float)
    if np.isnan(scores).any():
        raise ValueError(f"{np.sum(np.isnan(scores))} scores are no numbers: leave those cases out or correct them.")
    if not 0 < coverage < 1:
        raise ValueError(f"a coverage of {coverage} is impossible: give a share between 0 and 1, such as 0.9.")
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
    """Calibrated intervals; make one by :meth:`calibrate`."""

    coverage: float  # share of cases whose value shall lie inside
    bounds: tuple[float, ...]  # predicted values between the strata, ascending; empty with one stratum
    distances: tuple[float, ...]  # half width in each stratum, in units of the difficulty, or of the value
    scaled: bool  # whether cases have a difficulty
    n: int  # cases that calibrated it

    @classmethod
    def calibrate(
        cls,
        predicted: ArrayLike,
        known: ArrayLike,
        *,
        difficulty: ArrayLike | None = None,
        coverage: float = 0.9,
        strata: int = 1,
    ) -> Conformal:
        """Calibrate on cases that training did not see; the cases on which a model was chosen are no such cases.

        Args:
            predicted: The model's values, ``(N,)``.
            known: The known ones.
            difficulty: Expected size of each error, above 0 and computed without the truth, in any unit, such as
                :func:`by_size`: the distances are divided by it (the normalised scores of Lei et al.).
            coverage: Share of cases whose value shall lie inside.
            strata: Number of groups of equal size, by predicted value, each calibrated on its own (Vovk's Mondrian
                prediction): coverage then holds within each, but not within groups of like *known* value.

        Raises:
            ValueError: Too few cases, values that are not finite, or an argument that cannot be used.
        """
        predicted, known = columns(predicted, known)
        _refuse_no_stratum(strata)
        scores = np.abs(known - predicted) / _checked(difficulty, predicted)
        if not np.isfinite(scores).all():
            raise ValueError(
                f"{np.sum(~np.isfinite(scores))} cases have no finite value: leave them out or correct them."
            )
        bounds = np.unique(np.quantile(predicted, np.arange(1, strata) / strata, method="lower"))
        bounds = bounds[bounds < predicted.max()]  # equal values stay together
        groups = np.searchsorted(bounds, predicted)
        distances = tuple(quantile(scores[groups == g], coverage) for g in range(len(bounds) + 1))
        return cls(coverage, tuple(map(float, bounds)), distances, difficulty is not None, len(known))

    def interval(
        self, predicted: ArrayLike, *, difficulty: ArrayLike | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lower and upper ends, in the unit of the values; like a biomarker, no end is below 0.

        Args:
            predicted: The model's values, ``(N,)`` or one.
            difficulty: As in :meth:`calibrate`, and only where it had one.

        Raises:
            ValueError: A difficulty is missing, or given to what was calibrated without.
        """
        predicted = np.asarray(unmasked(predicted, "the values"), float)
        if self.scaled != (difficulty is not None):
            raise ValueError(f"these intervals were calibrated {'with' if self.scaled else 'without'} a difficulty.")
        reach = np.asarray(self.distances)[np.searchsorted(self.bounds, predicted)] * _checked(difficulty, predicted)
        return np.maximum(predicted - reach, 0), np.maximum(predicted + reach, 0)


def by_size(predicted: ArrayLike, softening: float) -> NDArray[np.float64]:
    """A difficulty that grows with the value as the error of a count does: the root of value plus softening.

    Args:
        predicted: Values, not negative.
        softening: What keeps small values from an interval of no width, in their unit.
    """
    return (np.maximum(np.asarray(predicted, float), 0) + softening) ** 0.5


def coverage(low: ArrayLike, high: ArrayLike, known: ArrayLike, *, strata: int = 3) -> pd.DataFrame:
    """How many values of further unseen cases lie inside their intervals, in all and by size of the KNOWN value.

    In those strata, not the ones of :meth:`Conformal.calibrate`, even a perfect calibration is right only on average.

    Args:
        low, high, known: Ends of the intervals and the known values, ``(N,)``.
        strata: Number of groups of about equal size.

    Returns:
        One row for all cases and one for each stratum, with smallest and largest known value, ``n``, the share
        ``covered`` with its 95 % interval (Clopper and Pearson 1934) and the mean ``width``.

    Raises:
        ValueError: An end or a known value is nan, or there is no stratum.
    """
    from scipy import stats  # takes half a second to load

    low, high, known = columns(low, high, known)
    _refuse_no_stratum(strata)
    # Comparing with nan is false, which is not the same as not covered.
    if unknown := int(np.isnan([low, high, known]).any(axis=0).sum()):
        raise ValueError(f"{unknown} cases have no value or no interval (nan): leave them out or correct them.")
    inside = (low <= known) & (known <= high)
    size = np.searchsorted(np.quantile(known, np.arange(1, strata) / strata), known)
    groups = {"all": np.ones(len(known), bool)} | {f"size {g + 1}": size == g for g in range(strata)}
    rows = {}
    for name, chosen in groups.items():
        if not chosen.any():
            continue
        count = stats.binomtest(int(inside[chosen].sum()), int(chosen.sum()))
        interval = count.proportion_ci(0.95, "exact")
        rows[name] = {
            "from": known[chosen].min(),
            "to": known[chosen].max(),
            "n": count.n,
            "covered": count.statistic,
            "covered_low": interval.low,
            "covered_high": interval.high,
            "width": float(np.mean((high - low)[chosen])),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def _refuse_no_stratum(strata: int) -> None:
    if strata < 1:
        raise ValueError(f"cases cannot be divided into {strata} strata: give 1 or more.")


def _checked(difficulty: ArrayLike | None, predicted: NDArray) -> NDArray[np.float64]:
    if difficulty is None:
        return np.ones_like(predicted)
    difficulty = np.asarray(unmasked(difficulty, "the difficulties"), float)
    if difficulty.shape != predicted.shape or not np.all((difficulty > 0) & np.isfinite(difficulty)):
        raise ValueError("a difficulty is one number above 0 for each value: check its length and its zeros.")
    return difficulty
