"""What the statistics give back, and how values come in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from biomark.machine.masks import unmasked


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


def same_rows(*values: ArrayLike | None) -> None:
    """Stop before columns of tables are paired by their place although their rows have other names."""
    first, *others = [v.index for v in values if isinstance(v, pd.Series)] or [None]
    if any(not index.equals(first) for index in others):
        raise ValueError(
            "columns of tables whose rows differ in name or order (their index) cannot be paired: bring them into one "
            "order, and give them as column.to_numpy()."
        )


def columns(*values: ArrayLike) -> list[NDArray[np.float64]]:
    """Lists of one value a case as arrays of equal length, or an error that says what is wrong with them."""
    same_rows(*values)
    try:
        arrays = [np.asarray(unmasked(v, "the values"), float) for v in values]
    except TypeError as error:
        raise ValueError(f"a list holds what is no number ({error}): give one number a case.") from error
    shapes = [a.shape for a in arrays]
    if set(shapes) == {(0,)}:
        raise ValueError("a list without values gives nothing to compute: see what selected them.")
    if len(set(shapes)) > 1 or arrays[0].ndim != 1:
        raise ValueError(f"expected lists of equal length, one value a case, got shapes {', '.join(map(str, shapes))}.")
    return arrays
