"""What the statistics give back, and how values come in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, eq=False)
class Estimate(float):
    """A number with its 95 % confidence interval.

    It is a float, and so can be compared, formatted and computed with as its ``value``; what is computed from it is a
    plain float without an interval.

    Attributes:
        value: The number itself.
        low: Lower end of the interval; nan when there is none.
        high: Upper end of the interval; nan when there is none.
    """

    value: float
    low: float = float("nan")
    high: float = float("nan")

    def __new__(cls, value: float, low: float = float("nan"), high: float = float("nan")) -> Estimate:
        return super().__new__(cls, value)

    def __str__(self) -> str:
        return f"{self.value:.4f} (95 % CI {self.low:.4f} to {self.high:.4f})"


@dataclass(frozen=True)
class Significance:
    """Outcome of a test.

    Attributes:
        statistic: What the test measures; positive where the first of both sides is the higher one.
        pvalue: Chance of at least this much in either direction where there is no difference.
    """

    statistic: float
    pvalue: float


def columns(*values: ArrayLike) -> list[NDArray[np.float64]]:
    """Lists of one value a case as arrays of equal length, or an error that says what is wrong with them."""
    arrays = [np.asarray(v, float) for v in values]
    shapes = [a.shape for a in arrays]
    if len(set(shapes)) > 1 or arrays[0].ndim != 1 or not len(arrays[0]):
        raise ValueError(f"expected lists of equal length, one value a case, got shapes {', '.join(map(str, shapes))}.")
    return arrays
