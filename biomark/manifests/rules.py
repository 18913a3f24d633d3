"""Which rule the numbers of a sheet follow, and whether the candidates of their images can add up to them at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biomark import agatston
from biomark.cohort import Case
from biomark.tasks import Task, area_cm2

NEAR = 0.1
"""Numbers that differ by less, as a median of all rows, follow a rule; two readers may be as far apart. Ours."""

LAB_HU = {"pma": (-50.0, 90.0), "sfa": (-200.0, 0.0)}
"""Windows of the lab of the paper, with skin and all rims (ChestImagingPlatform, body_composition_phenotypes.py;
SlicerCIP, BodyCompositionParameters.py)."""

_LEAST_SHARE = 0.01  # of the candidates, in a task of which nobody has none. Ours.
_OUTLINE = "all inside of the outline"


def rule_of(task: Task) -> str:
    """Which voxels are candidates of a task, in words."""
    low, high = task.hu_window
    window = f"{low:g} HU or more" if high == np.inf else f"{low:g} to {high:g} HU"
    window += f" after smoothing by {task.smooth_mm:g} mm" if task.smooth_mm else ""
    return window + (f", more than {task.skin_mm:g} mm below the surface" if task.skin_mm else "")


def known(task: Task) -> dict[str, Task]:
    """Rules by which numbers like a task's are made, the task's own first, in the form of tasks."""
    found = {rule_of(task): task}
    if task.voxel_weight is area_cm2:
        for window in (task.hu_window, LAB_HU.get(task.key, task.hu_window)):
            other = replace(task, hu_window=window, skin_mm=0.0)
            found[rule_of(other)] = other
        found[_OUTLINE] = replace(task, hu_window=(-np.inf, np.inf), skin_mm=0.0, smooth_mm=0.0, region=_everywhere)
    elif task.ndim == 3:
        scores = {f"the rules {name!r}": partial(agatston.weights, rules=name) for name in agatston.PRESETS}
        found |= {name: replace(task, voxel_weight=score) for name, score in scores.items()}
    return found


def sums(case: Case, task: Task) -> dict[str, tuple[float, float | None]]:
    """By each rule what all candidates of a case add up to, and those in its mask."""
    found = {}
    for name, rule in known(task).items():
        weights = rule.weigh(case.image, case.spacing_mm)
        inside = None if case.mask is None else float(np.sum(weights, where=case.mask, dtype=float))
        found[name] = float(weights.sum(dtype=float)), inside
    return found


def beyond(value: float, totals: Mapping[str, float], unit: str) -> str:
    """What is said of a number that is more than all candidates."""
    several = "; ".join(f"{total:.4g} by {name}" for name, total in totals.items() if name != _OUTLINE)
    said = f"the value {value:g} {unit} is more than all candidates of the image hold together ({several})"
    return f"{said}: is it of another slice, or in another unit?"


def doubts(rows: Sequence[tuple[float, dict[str, tuple[float, Any]]]], task: Task) -> tuple[str, bool]:
    """A sentence on the values of a sheet, with the :func:`sums` of each, and whether there is something to mend."""
    rows = [(value, sums) for value, sums in rows if value > task.negligible]
    if not rows:
        return "No number tells which rule the numbers follow.", False
    own, *others = rows[0][1]
    if all(inside is not None for _, sums in rows for _, inside in sums.values()):
        off = {name: median(abs(sums[name][1] / value - 1) for value, sums in rows) for name in (own, *others)}
        best = min(off, key=off.__getitem__)
        if off[best] > NEAR:
            ratio = median(value / max(sums[own][1], 1e-9) for value, sums in rows)
            return f"no known rule explains the numbers, {ratio:.3g} times what their masks hold by {own}", True
        said = f"by the masks the numbers follow most nearly: {best} (median difference {off[best]:.1%})"
        if off[own] <= max(2 * off[best], 0.02):
            return f"{said}; by the task's own rule, {own}, {off[own]:.1%}.", False
        advice = "give a task with that rule (dataclasses.replace), or read with from_masks=True"
        return f"{said}, and not the task's: {own} ({off[own]:.1%}); {advice}", True
    names = [name for name in (own, *others) if name != _OUTLINE]
    shares = [median(value / max(sums[name][0], 1e-9) for value, sums in rows) for name in names]
    if min(shares) > 1 or (task.plausible[0] > 0 and max(shares) < _LEAST_SHARE):
        said = f"no known rule explains the numbers, {shares[0]:.3g} times all candidates of their images"
        return f"{said}: are they in {task.unit}, and of these slices?", True
    return f"The numbers are {shares[0]:.0%} of all candidates of their images: give masks to tell their rule.", False


def _everywhere(image_hu: NDArray, spacing_mm: Sequence[float]) -> NDArray[np.bool_]:
    return np.ones(np.shape(image_hu), bool)
