"""How good is it, and does it look in the right place: a report on cases that training never saw."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from torch import nn

from biomark import records
from biomark.cohort import Cohort
from biomark.evaluation import metrics, statistics
from biomark.evaluation.prediction import predict
from biomark.evaluation.statistics import vectorised
from biomark.evaluation.statistics.resampling import FEWEST
from biomark.machine.masks import memberships, unmasked
from biomark.tasks import Task

_CASES = ("id", "known", "predicted", "dice", "inside", "total")


@dataclass(frozen=True, eq=False)
class Report:
    """Agreement of values and of places, on cases that training never saw.

    Each :class:`~biomark.evaluation.statistics.Estimate` has a 95 % interval, ``low`` to ``high``, from a bootstrap
    over cases, or over groups where cases have them, as scans have a patient; that of the bias is from theory.

    Attributes:
        task: Key of the task.
        unit: Unit of all values.
        n: Number of cases.
        r: Pearson's r.
        ccc: Lin's concordance.
        icc: Intraclass correlation ICC(A,1): absolute agreement of single values.
        mae: Mean absolute error.
        bias: Mean of predicted minus known.
        limits: 95 % limits of agreement.
        dice: Mean Dice over cases with a truth, voxel by voxel on the measuring grid, of the mask of the value
            (:meth:`biomark.Task.outline`) and the candidates inside the true outline; nan without truth.
        dice_candidates: The floor: the Dice of all candidates.
        energy_in_mask: Share of map times weight, over all cases, that lies inside the truth; nan without truth.
        missed: Cases with a truth of which nothing was found: their Dice is 0; nan where no map was judged.
        false_value: Mean value found on cases with an empty truth; nan where there are none.
        r_log1p: Pearson's r of log(1 + value), which a few very high values do not decide.
        lesion_f1: F1 over single lesions (:func:`biomark.evaluation.metrics.lesions`); nan for a task without.
        lesions_missed: True lesions not found; nan where lesions were not looked at.
        lesions_false: Found lesions that are not true; nan as well.
        kappa: Cohen's kappa over the task's risk groups, linearly weighted; nan for a task without.
        zeros_kept: Share of the cases of value 0 in which less than the task's ``negligible`` is found; else nan.
        cases: A row a case: id, known, predicted, dice, what its map adds ``inside`` the truth and in ``total``, group.
    """

    task: str
    unit: str
    n: int
    r: statistics.Estimate
    ccc: statistics.Estimate
    icc: statistics.Estimate
    mae: statistics.Estimate
    bias: statistics.Estimate
    limits: tuple[float, float]
    dice: statistics.Estimate
    dice_candidates: float
    energy_in_mask: statistics.Estimate
    missed: float
    false_value: float
    r_log1p: float
    lesion_f1: float
    lesions_missed: float
    lesions_false: float
    kappa: float
    zeros_kept: float
    cases: pd.DataFrame = field(repr=False)

    def to_dict(self) -> dict[str, float | int | str]:
        """The numbers without the cases, flat: what a record keeps."""
        flat = {k: v for k, v in vars(self).items() if k not in ("limits", "cases")}
        flat |= {"limit_low": self.limits[0], "limit_high": self.limits[1]}
        for name, e in list(flat.items()):
            if isinstance(e, statistics.Estimate):
                flat |= {name: e.value, f"{name}_low": e.low, f"{name}_high": e.high}
        return flat

    def to_frame(self) -> pd.DataFrame:
        """One row a case."""
        return self.cases.copy()

    @classmethod
    def of(cls, cohort: Cohort, predicted: ArrayLike, maps: Sequence[NDArray] | NDArray | None = None) -> Report:
        """Judge what any program has made of the cases of a cohort: another library's network, a reader, a rule.

        Args:
            cohort: The cases; their values and masks are what is true.
            predicted: Values in the unit of the task, ``(N,)``.
            maps: From 0 to 1, or None. Memberships of the cohort's boxes, ``(N, *S)``, are judged as a localizer's
                are; one array a case on the measuring grid, such as another program's masks, as it stands (> 1/2).
                They are read at the candidates only, and only where the cohort has truth.

        Raises:
            ValueError: The cohort has no cases, values or maps are of other shapes than the cohort's or of other rows,
                or maps are not within 0 and 1.
        """
        task, known = cohort.task, cohort.values
        predicted = _in_order(predicted, cohort.ids)
        if predicted.shape != known.shape:
            raise ValueError(f"{len(known)} cases need a value each, and those given have shape {predicted.shape}.")
        if not len(cohort):
            raise ValueError("a cohort without cases gives nothing to judge: see what selected them.")
        groups = cohort.groups if len(np.unique(cohort.groups)) < len(cohort) else None
        agreement = statistics.bland_altman(predicted, known, groups=groups)
        places = _places(cohort, maps)
        dice, floor, lesions = places["dice"], places["floor"], places["lesions"]
        judged = ~np.isnan(dice)
        empty = places["true"] == 0
        none = known == 0 if task.negligible else np.zeros(len(known), bool)
        cases = {"id": cohort.ids, "known": known, "predicted": predicted}
        cases |= {name: places[name] for name in ("dice", "inside", "total")}
        cases |= {} if groups is None else {"group": groups}
        return cls(
            task=task.key,
            unit=task.unit,
            n=len(cohort),
            r=statistics.bootstrap(vectorised.r, predicted, known, groups=groups),
            ccc=statistics.bootstrap(vectorised.ccc, predicted, known, groups=groups),
            icc=statistics.bootstrap(vectorised.icc, predicted, known, groups=groups),
            mae=statistics.mean(np.abs(predicted - known), groups=groups),
            bias=agreement.bias,
            limits=(agreement.low, agreement.high),
            dice=statistics.mean(dice[judged], groups=None if groups is None else groups[judged]),
            dice_candidates=statistics.mean(floor[~np.isnan(floor)]).value,
            energy_in_mask=statistics.bootstrap(_ratio_of_sums, places["inside"], places["total"], groups=groups),
            missed=int(np.sum(dice == 0)) if maps is not None and cohort.truth is not None else np.nan,
            false_value=statistics.mean(predicted[empty]).value,
            r_log1p=statistics.pearson(*(np.log1p(np.maximum(v, 0)) for v in (predicted, known))).value,
            lesion_f1=lesions.f1 if lesions else np.nan,
            lesions_missed=lesions.missed if lesions else np.nan,
            lesions_false=len(lesions.false_values) if lesions else np.nan,
            kappa=_kappa(task, predicted, known),
            zeros_kept=statistics.mean(np.where(np.isnan(predicted), np.nan, predicted < task.negligible)[none]).value,
            cases=pd.DataFrame(cases),
        )

    @classmethod
    def read(cls, folder: str | os.PathLike) -> Report:
        """Read the report of a run record, as :func:`biomark.records.write` left it.

        Raises:
            FileNotFoundError: No record there, or one without predictions.
            ValueError: The record holds no report, or not one of this biomark.
        """
        flat = {k: np.nan if v is None else v for k, v in records.read(folder).get("metrics", {}).items()}
        try:
            numbers = {name: _estimate(flat, name) for name in flat}
        except OverflowError as error:  # a whole number that no float can hold
            raise ValueError(f"the record in {folder} is damaged ({error}): run it again.") from error
        numbers["limits"] = numbers.get("limit_low"), numbers.get("limit_high")
        names = [f.name for f in fields(cls) if f.name != "cases"]
        if missing := [name for name in names if name not in numbers]:
            raise ValueError(f"the record in {folder} has no {', '.join(missing)}: evaluate that model again.")
        kinds = {name: str if name in ("task", "unit") else float for name in names}
        wrong = [n for n, kind in kinds.items() if n != "limits" and not isinstance(numbers[n], (kind, int))]
        cases = records.predictions(folder)
        wrong += [
            name for name in _CASES if name not in cases or (name != "id" and cases[name].dtype.kind not in "iuf")
        ]
        if wrong or not all(isinstance(v, (float, int)) for v in numbers["limits"]):
            raise ValueError(f"the record in {folder} is damaged ({', '.join(wrong) or 'limits'}): run it again.")
        return cls(cases=cases, **{name: numbers[name] for name in names})

    def __str__(self) -> str:
        low, high = self.limits
        lines = [
            f"{self.n} unseen cases of {self.task}{self._in_groups()}",
            f"r                {_with_interval(self.r, '.4f')}",
            f"CCC              {_with_interval(self.ccc, '.4f')}",
            f"ICC(A,1)         {_with_interval(self.icc, '.4f')}",
            f"MAE              {_with_interval(self.mae, '.2f', ' ' + self.unit)}",
            f"bias             {self.bias:+.2f} {self.unit}  (limits of agreement {low:+.2f} to {high:+.2f})",
        ]
        if not np.isnan(self.dice):
            lines += [
                f"Dice             {_with_interval(self.dice, '.3f')}  (all candidates: {self.dice_candidates:.3f})",
                f"energy in mask   {_with_interval(self.energy_in_mask, '.3f')}",
                f"missed cases     {self.missed}",
            ]
        if not np.isnan(self.false_value):
            lines += [f"in empty cases   {self.false_value:.2f} {self.unit}  (found on average where nothing is)"]
        if not np.isnan(self.lesion_f1):
            counts = f"{self.lesions_missed} missed, {self.lesions_false} false"
            lines += [f"lesion F1        {self.lesion_f1:.3f}  ({counts})"]
        if not np.isnan(self.kappa):
            lines += [
                f"r of log1p       {self.r_log1p:.4f}",
                f"kappa            {self.kappa:.3f}  (risk groups, linear weights)",
                f"zeros kept       {self.zeros_kept:.3f}",
            ]
        return "\n".join(lines)

    def _in_groups(self) -> str:
        n = self.cases.group.nunique() if "group" in self.cases else 0
        return f" in {n} group{'s' * (n > 1)}{', too few for an interval' * (n < FEWEST)}" if n else ""


def evaluate(model: nn.Module, cohort: Cohort, *, batch_size: int = 32) -> Report:
    """Compare a model's values with the known ones, and its maps with the true regions where those are known.

    Args:
        model: A localizer or a rival.
        cohort: Cases that training did not see, at about its voxel spacing (:func:`biomark.predict`). Where they have
            truth, all maps are held in memory.
        batch_size: Cases at a time; fewer need less memory.

    Raises:
        ValueError: The cohort has no cases or is of another task, or the model's maps are not within 0 and 1.
    """
    # Maps are judged by the truth alone; those of ten thousand volumes would fill the memory.
    return Report.of(cohort, *predict(model, cohort, batch_size, maps=cohort.truth is not None))


def _places(cohort: Cohort, maps: Any) -> dict[str, Any]:
    """Columns of ``cases``, ``(N,)``, nan where unknown; Dice of all candidates (floor); lesions."""
    nothing = np.full(len(cohort), np.nan)
    columns = ("dice", "floor", "inside", "total", "true")
    places: dict[str, Any] = {name: nothing.copy() for name in columns} | {"lesions": None}
    if cohort.truth is None:
        return places
    if maps is not None and len(maps) != len(cohort):
        raise ValueError(f"{len(cohort)} cases need a map each, and {len(maps)} are given.")
    lesions = []
    for i in range(len(cohort)):
        weights, mask, boxes = cohort.regions(i)
        # What the number counts of the outline: the candidates in it.
        true = mask & (weights > 0)
        places["true"][i] = true.any()
        places["floor"][i] = metrics.dice((weights > 0)[None], true[None])[0]
        if maps is None:
            continue
        if np.shape(maps[i]) == cohort.images.shape[1:]:
            own = memberships(maps[i], cohort.weights[i] > 0)
            energy = metrics.energy(own[None], cohort.truth[i][None], cohort.weights[i][None])
            found = cohort.task.outline(own, boxes, weights, energy[1][0])
        elif np.shape(maps[i]) == weights.shape:
            own = memberships(maps[i], weights > 0)
            energy, found = metrics.energy(own[None], mask[None], weights[None]), own > 0.5
        else:
            lie = f"of shape {np.shape(maps[i])} does not lie on boxes of {cohort.images.shape[1:]}"
            raise ValueError(f"the map of case {cohort.ids[i]!r} {lie}, nor on voxels of {weights.shape}.")
        places["inside"][i], places["total"][i] = energy[0][0], energy[1][0]
        places["dice"][i] = metrics.dice(found[None], true[None])[0]
        if cohort.task.lesions:
            lesions.append(metrics.lesions(found, true, weights))
    if lesions:
        places["lesions"] = metrics.together(lesions)
    return places


def _in_order(predicted: ArrayLike, ids: tuple[str, ...]) -> NDArray[np.float64]:
    """Values one a case; a column of a table only where its rows are numbered or named as the cases are."""
    if isinstance(predicted, pd.Series):
        names = [*predicted.index]
        if names != [*range(len(names))] and [*map(str, names)] != [*ids]:
            raise ValueError(
                "the predicted values are a column whose rows are neither numbered from 0 nor named as the cases: "
                "bring them into the order of the cohort, and give them as column.to_numpy()."
            )
    return np.asarray(unmasked(predicted, "the predicted values"), float)


def _kappa(task: Task, predicted: NDArray, known: NDArray) -> float:
    """Agreement on risk groups; nan without groups, for values that are not finite, or if all cases are in one."""
    if not (task.risk_groups and np.isfinite(predicted).all()):
        return float("nan")
    return statistics.kappa(task.group(predicted), task.group(known), weights="linear")


def _ratio_of_sums(part: NDArray, whole: NDArray) -> NDArray:
    """Over the last axis; nan where the whole is 0."""
    whole = whole.sum(-1)
    return part.sum(-1) / np.where(whole > 0, whole, np.nan)


def _estimate(flat: dict, name: str) -> Any:
    """The entry of that name, with its interval where it has one."""
    ends: Any = flat.get(f"{name}_low"), flat.get(f"{name}_high")
    if ends[0] is None or not all(isinstance(v, (float, int)) for v in (flat[name], *ends)):
        return flat[name]
    return statistics.Estimate(flat[name], *ends)


def _with_interval(estimate: statistics.Estimate, digits: str, unit: str = "") -> str:
    value, low, high = (format(v, digits) for v in (estimate.value, estimate.low, estimate.high))
    return f"{value}{unit}" + (f"  (95 % CI {low} to {high})" if np.isfinite(estimate.low) else "")
