"""Does a map value mean what it says: of the candidates at 0.7, is 70 % true? Arrays in, numbers out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from biomark.evaluation.metrics import true_weights
from biomark.machine.masks import memberships


@dataclass(frozen=True, eq=False)
class Reliability:
    """A reliability curve over all candidates of all cases, by weight.

    Attributes:
        edges: Bounds of the bins of map values, ``(B + 1,)``, from 0 to 1.
        weight: Candidate weight in each bin, ``(B,)``, in the unit of the biomarker.
        expected: Mean map value there, ``(B,)``; nan in an empty bin.
        observed: Share of the weight that is true, ``(B,)``; nan in an empty bin.
    """

    edges: NDArray[np.float64]
    weight: NDArray[np.float64]
    expected: NDArray[np.float64]
    observed: NDArray[np.float64]

    @property
    def error(self) -> float:
        """The expected calibration error by weight, how far observed is from expected; nan without candidates."""
        filled = self.weight > 0
        if not filled.any():
            return float("nan")
        distance = np.abs(self.observed - self.expected)[filled]
        return float(np.average(distance, weights=self.weight[filled]))

    def to_frame(self) -> pd.DataFrame:
        """One row a bin."""
        bounds = {"low": self.edges[:-1], "high": self.edges[1:]}
        return pd.DataFrame(bounds | {"weight": self.weight, "expected": self.expected, "observed": self.observed})


def reliability(maps: NDArray, truth: NDArray, weights: NDArray, *, bins: int = 10) -> Reliability:
    """Compare map values with the share of the truth among the candidates that have them, in bins of equal width.

    Naeini et al., AAAI 2015; Guo et al., ICML 2017; here each voxel or box counts by its weight, as it does in the
    value. A good curve is no proof of localization: a constant map of the right size is perfectly reliable.

    Args:
        maps: Map values in [0, 1], ``(N, *S)``.
        truth: What of the weights lies in the true region, as ``truth`` of a cohort, or masks, ``(N, *S)``.
        weights: What each voxel or box would add to the biomarker, ``(N, *S)``; where it is 0 the map does not matter.
        bins: Number of bins.

    Raises:
        ValueError: Shapes differ, there is no bin, a candidate's map value is outside [0, 1], or the truth is larger
            than the weights.
    """
    if not np.shape(maps) == np.shape(truth) == np.shape(weights):
        shapes = ", ".join(str(np.shape(a)) for a in (maps, truth, weights))
        raise ValueError(f"maps, truth and weights have shapes {shapes}: give them one shape.")
    if bins < 1:
        raise ValueError(f"a curve needs at least one bin, not {bins}.")
    candidates = np.asarray(weights) > 0
    given = memberships(maps, candidates), true_weights(truth, weights), weights
    m, t, w = (np.asarray(a)[candidates].astype(float) for a in given)
    edges = np.linspace(0, 1, bins + 1)
    at = np.minimum((m * bins).astype(int), bins - 1)
    weight, expected, true = (np.bincount(at, v, bins).astype(float) for v in (w, w * m, t))
    mass = np.where(weight > 0, weight, np.nan)
    return Reliability(edges, weight, expected / mass, true / mass)
