"""Is one model better than another: both reports on the same cases, and how sure the difference is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from biomark.evaluation import statistics
from biomark.evaluation.report import Report
from biomark.evaluation.statistics import vectorised


@dataclass(frozen=True)
class Contrast:
    """One measure of two models.

    Attributes:
        a: The first model's.
        b: The second model's.
        difference: First minus second.
        pvalue: Chance of at least this difference where there is none, in either direction.
        test: What gave it.
    """

    a: statistics.Estimate
    b: statistics.Estimate
    difference: statistics.Estimate
    pvalue: float
    test: str


@dataclass(frozen=True)
class Comparison:
    """Two trained models on the same cases. What it says holds for these two, not for how they were made.

    Intervals are from a paired bootstrap over cases. Where cases have a ``group``, as scans have a patient, groups are
    drawn and swapped whole.

    Attributes:
        task: Key of the task.
        unit: Unit of all values.
        n: Number of cases.
        names: What the models are called.
        r: Pearson's r: paired permutation test of the difference over its standard error. It asks for equal r, not for
            equal models (DiCiccio and Romano, J. Am. Stat. Assoc. 112 (2017) 1211). Values are first brought to one
            mean and one spread, which r does not see. Where a few cases decide r, any such test rejects too often: of
            pairs with the same r and the errors of the book's models, 300 cases each, 4.7 to 10.7 % had p < 0.05
            (median 6.7), and 17 to 38 % of three pairs in which one or two cases decide. A claim about a method is a
            matter of several trainings: :func:`biomark.evaluation.protocol.answers`.
        mae: Mean absolute error: paired permutation test of the mean difference.
        dice: Mean Dice over the cases with a truth: the same test; all nan where one of the models has no map.
    """

    task: str
    unit: str
    n: int
    names: tuple[str, str]
    r: Contrast
    mae: Contrast
    dice: Contrast

    def to_dict(self) -> dict[str, Any]:
        """Everything, flat: what a record keeps."""
        flat = {"task": self.task, "unit": self.unit, "n": self.n, "a": self.names[0], "b": self.names[1]}
        for measure, row in self.to_frame().iterrows():
            flat |= {f"{measure}_{column}": value for column, value in row.items()}
        return flat

    def to_frame(self) -> pd.DataFrame:
        """One row a measure: r, mae, dice."""
        rows = {}
        for measure in ("r", "mae", "dice"):
            contrast: Contrast = getattr(self, measure)
            row: dict[str, Any] = {}
            for side in ("a", "b", "difference"):
                e = getattr(contrast, side)
                row |= {side: e.value, f"{side}_low": e.low, f"{side}_high": e.high}
            rows[measure] = row | {"pvalue": contrast.pvalue, "test": contrast.test}
        return pd.DataFrame.from_dict(rows, orient="index")

    def __str__(self) -> str:
        rows = {"r": (self.r, 4), f"MAE [{self.unit}]": (self.mae, 2), "Dice": (self.dice, 3)}
        rows = {title: row for title, row in rows.items() if not np.isnan(row[0].difference)}
        first, *wide = max(map(len, rows), default=0), *(max(8, len(name)) + 2 for name in self.names)
        lines = [
            f"{self.names[0]} against {self.names[1]} on {self.n} unseen cases of {self.task}",
            f"{'':<{first}}{self.names[0]:>{wide[0]}}{self.names[1]:>{wide[1]}}  {'difference (95 % CI)':<29}{'p':>7}",
        ]
        for title, (contrast, digits) in rows.items():
            d = contrast.difference
            interval = f"{d.value:+.{digits}f} ({d.low:+.{digits}f} to {d.high:+.{digits}f})"
            p = "<0.0001" if contrast.pvalue < 1e-4 else f"{contrast.pvalue:.4f}"
            both = f"{contrast.a:>{wide[0]}.{digits}f}{contrast.b:>{wide[1]}.{digits}f}"
            lines.append(f"{title:<{first}}{both}  {interval:<29}{p:>7}")
        tests = (f"{title.split()[0]} {contrast.test}" for title, (contrast, _) in rows.items())
        return "\n".join([*lines, f"tests: {', '.join(tests)}"])


def compare(report_a: Report, report_b: Report, *, names: tuple[str, str] = ("A", "B"), seed: int = 0) -> Comparison:
    """Compare two models that were evaluated on the same cases.

    Args:
        report_a: From :func:`biomark.evaluate`.
        report_b: Of another model, on the same cohort.
        names: What to call the models.
        seed: Of the bootstrap and the permutations.

    Returns:
        A comparison. A positive difference says that the first model's number is the higher one, better for r and Dice,
        worse for the error.

    Raises:
        ValueError: The reports are of different tasks, cases or groups, or of fewer than four cases.
    """
    a, b = report_a.cases, report_b.cases
    same = report_a.task == report_b.task and list(a.id) == list(b.id)
    if not (same and np.allclose(a.known, b.known, rtol=1e-9, atol=0)):
        raise ValueError(
            f"a report on {len(a)} cases of {report_a.task} and one on {len(b)} of {report_b.task} do not hold the "
            "same ids and known values in the same order: evaluate both models on one cohort."
        )
    if len(a) < 4:  # where the interval of a correlation begins
        raise ValueError(f"{len(a)} cases cannot tell two models apart: compare them on four or more.")
    known, (of_a, of_b) = a.known.to_numpy(), (frame.predicted.to_numpy() for frame in (a, b))
    how = {"groups": _groups(a, b), "seed": seed}
    return Comparison(
        task=report_a.task,
        unit=report_a.unit,
        n=len(a),
        names=names,
        r=_correlations(of_a, of_b, known, how),
        mae=_means(np.abs(of_a - known), np.abs(of_b - known), how),
        dice=_dice(a.dice.to_numpy(), b.dice.to_numpy(), how),
    )


def _groups(a: pd.DataFrame, b: pd.DataFrame) -> NDArray | None:
    """The groups of either report: one may have been written before cases had them."""
    groups = [pd.factorize(frame.group)[0] for frame in (a, b) if "group" in frame]
    if len(groups) == 2 and (groups[0] != groups[1]).any():
        raise ValueError("the two reports group their cases differently: evaluate both models on one cohort.")
    return groups[0] if groups else None


def _correlations(of_a: NDArray, of_b: NDArray, known: NDArray, how: dict) -> Contrast:
    def difference(a: NDArray, b: NDArray, known: NDArray) -> NDArray:
        return vectorised.r(a, known) - vectorised.r(b, known)

    a, b = (statistics.bootstrap(vectorised.r, predicted, known, **how) for predicted in (of_a, of_b))
    # A shift or a scale changes no r. It would change the r of lists in which the values of two models are mixed.
    alike = vectorised.standard(of_a), vectorised.standard(of_b)
    member = None if how["groups"] is None else np.eye(how["groups"].max() + 1)[how["groups"]]
    pvalue = statistics.permutation(lambda a, b: vectorised.studentised_r(a, b, known, member), *alike, **how).pvalue
    test = "studentised permutation"
    return Contrast(a, b, statistics.bootstrap(difference, of_a, of_b, known, **how), pvalue, test)


def _dice(of_a: NDArray, of_b: NDArray, how: dict) -> Contrast:
    """Over the cases where both have one: both have it, or neither, where the truth is the same."""
    both, groups = ~np.isnan(of_a) & ~np.isnan(of_b), how["groups"]
    if not both.any():
        nothing = statistics.Estimate(np.nan)
        return Contrast(nothing, nothing, nothing, np.nan, "permutation")
    return _means(of_a[both], of_b[both], how | {"groups": None if groups is None else groups[both]})


def _means(of_a: NDArray, of_b: NDArray, how: dict) -> Contrast:
    a, b, difference = (statistics.mean(v, **how) for v in (of_a, of_b, of_a - of_b))
    pvalue = statistics.permutation(lambda a, b: (a - b).mean(-1), of_a, of_b, **how).pvalue
    return Contrast(a, b, difference, pvalue, "permutation")
