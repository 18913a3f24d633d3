"""How good is it, and does it look in the right place: a report on cases that training never saw."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.metrics import cohen_kappa_score
from torch import nn

from . import metrics, statistics
from .cohort import Cohort
from .tasks import Task


@dataclass(frozen=True)
class Report:
    """Agreement of values and of places.

    Attributes:
        task: Key of the task.
        unit: Unit of all values.
        n: Number of cases.
        r: Pearson's r with its 95 % interval.
        ccc: Lin's concordance.
        mae: Mean absolute error.
        bias: Mean of predicted minus known.
        limits: 95 % limits of agreement.
        dice: Mean Dice over cases with a truth, of (map > 1/2 and weight > 0); nan without masks.
        dice_candidates: The floor: the Dice of all candidates.
        energy_in_mask: Share of the predicted biomarker that lies inside the truth; nan without masks.
        missed: Cases with a truth on which nothing was marked.
        false_value: Mean value found on cases with an empty truth; nan where there are none.
        r_log1p: Pearson's r of log(1 + value), which a few very high values do not decide.
        lesion_f1: F1 over single lesions (:func:`biomark.metrics.lesions`); nan for a task without.
        lesions_missed: True lesions not found.
        lesions_false: Found lesions that are not true.
        kappa: Cohen's kappa over the task's risk groups, linearly weighted; nan for a task without.
        zeros_kept: Share of the cases of value 0 on which less than 1 is found; nan where there are none.
        cases: One row a case: id, known, predicted, dice.
    """

    task: str
    unit: str
    n: int
    r: statistics.Estimate
    ccc: float
    mae: float
    bias: float
    limits: tuple[float, float]
    dice: float
    dice_candidates: float
    energy_in_mask: float
    missed: int
    false_value: float
    r_log1p: float
    lesion_f1: float
    lesions_missed: int
    lesions_false: int
    kappa: float
    zeros_kept: float
    cases: pd.DataFrame = field(repr=False)

    def to_dict(self) -> dict[str, float | int | str]:
        """The numbers without the cases, flat: what a record keeps."""
        flat = {k: v for k, v in vars(self).items() if k not in ("r", "limits", "cases")}
        flat |= {"r": self.r.value, "r_low": self.r.low, "r_high": self.r.high}
        return flat | {"limit_low": self.limits[0], "limit_high": self.limits[1]}

    def to_frame(self) -> pd.DataFrame:
        """One row a case."""
        return self.cases.copy()

    def __str__(self) -> str:
        low, high = self.limits
        lines = [
            f"{self.n} unseen cases of {self.task}",
            f"r                {self.r.value:.4f}  (95 % CI {self.r.low:.4f} to {self.r.high:.4f})",
            f"CCC              {self.ccc:.4f}",
            f"MAE              {self.mae:.2f} {self.unit}",
            f"bias             {self.bias:+.2f} {self.unit}  (limits of agreement {low:+.2f} to {high:+.2f})",
        ]
        if not np.isnan(self.dice):
            lines += [
                f"Dice             {self.dice:.3f}  (all candidates: {self.dice_candidates:.3f})",
                f"energy in mask   {self.energy_in_mask:.3f}",
                f"missed cases     {self.missed}",
            ]
        if not np.isnan(self.lesion_f1):
            lines += [
                f"lesion F1        {self.lesion_f1:.3f}  ({self.lesions_missed} missed, {self.lesions_false} false)"
            ]
        if not np.isnan(self.kappa):
            lines += [
                f"r of log1p       {self.r_log1p:.4f}",
                f"kappa            {self.kappa:.3f}  (risk groups, linear weights)",
                f"zeros below 1    {self.zeros_kept:.3f}",
            ]
        return "\n".join(lines)


@torch.no_grad()
def predict(
    model: nn.Module, cohort: Cohort, batch_size: int = 32
) -> tuple[NDArray[np.float64], NDArray[np.float32] | None]:
    """Values ``(N,)`` and maps ``(N, *S)`` of a cohort; no maps from a model that has none."""
    device = next(model.parameters()).device
    training, values, maps = model.training, [], []
    model.eval()
    for start in range(0, len(cohort), batch_size):
        rows = slice(start, start + batch_size)
        images = torch.as_tensor(cohort.images[rows, None], device=device)
        out = model(images, torch.as_tensor(cohort.weights[rows], device=device))
        values.append(out.value.cpu().double().numpy())
        if out.map is not None:
            maps.append(out.map.cpu().numpy())
    model.train(training)
    return np.concatenate(values), np.concatenate(maps) if maps else None


def evaluate(model: nn.Module, cohort: Cohort) -> Report:
    """Compare a model's values with the known ones, and its maps with the true regions where masks are known.

    Args:
        model: A localizer or a rival.
        cohort: Cases that training did not see.

    Returns:
        A report; ``print`` it, or take ``to_dict`` and ``to_frame``.
    """
    predicted, maps = predict(model, cohort)
    agreement = statistics.bland_altman(predicted, cohort.values)
    overlap = floor = np.full(len(cohort), np.nan)
    energy, missed, false_value = np.nan, 0, np.nan
    lesions = metrics.together([])
    if cohort.masks is not None:
        candidates = cohort.weights > 0
        floor = metrics.dice(candidates, cohort.masks)
        empty = ~cohort.masks.reshape(len(cohort), -1).any(1)
        false_value = float(predicted[empty].mean()) if empty.any() else np.nan
        if maps is not None:
            overlap = metrics.dice((maps > 0.5) & candidates, cohort.masks)
            energy = metrics.energy_in_mask(maps * cohort.weights, cohort.masks)
            missed = int(np.sum(overlap == 0))
            if cohort.task.lesions:
                marked = (maps > 0.5) & candidates
                lesions = metrics.together([*map(metrics.lesions, marked, cohort.masks, cohort.weights)])
    cases = pd.DataFrame({"id": cohort.ids, "known": cohort.values, "predicted": predicted, "dice": overlap})
    return Report(
        task=cohort.task.key,
        unit=cohort.task.unit,
        n=len(cohort),
        r=statistics.pearson(predicted, cohort.values),
        ccc=statistics.concordance(predicted, cohort.values),
        mae=float(np.mean(np.abs(predicted - cohort.values))),
        bias=agreement.bias,
        limits=(agreement.low, agreement.high),
        dice=_mean(overlap),
        dice_candidates=_mean(floor),
        energy_in_mask=energy,
        missed=missed,
        false_value=false_value,
        r_log1p=statistics.pearson(*(np.log1p(np.maximum(v, 0)) for v in (predicted, cohort.values))).value,
        lesion_f1=lesions.f1,
        lesions_missed=lesions.missed,
        lesions_false=len(lesions.false_worth),
        kappa=_kappa(cohort.task, predicted, cohort.values),
        zeros_kept=_mean((predicted < 1)[cohort.values == 0].astype(float)),
        cases=cases,
    )


def _kappa(task: Task, predicted: NDArray, known: NDArray) -> float:
    """Agreement on risk groups, beyond chance; nan without groups, or when all cases are in one."""
    groups = [task.group(v) for v in (predicted, known)]
    if not task.risk_groups or len(np.unique(groups)) < 2:
        return float("nan")
    return float(cohen_kappa_score(*groups, weights="linear", labels=range(len(task.risk_groups) + 1)))


def _mean(values: NDArray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
