"""Which methods are compared, on which backbone, by which test, and what is said: one answer for every page.

A question is a task, a pair of methods and a measure. A claim about a method has to survive other phantoms *and* other
trainings, so a seed is what is counted: each has phantoms, a training and a test set of its own, in which both methods
take part. The test is Student's for the mean difference of the seeds. It asks of errors within a seed nothing at all:
where two methods have the same r and unlike errors, 5 seeds of 300 of the book's cases gave p < 0.05 in 1.3 to 4.9 % of
studies, 3 seeds in 2.1 to 5.2 % (chapter 11 shows it).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from biomark.backbones import BACKBONES
from biomark.evaluation.statistics import holm
from biomark.tasks import TASKS

REPORTED = tuple(range(10, 15))
"""Seeds of the runs that are reported. Settings are chosen on seeds 100 to 199, never on the phantoms of these (seed
to train, seed + 1000 to test, seed + 2000 to calibrate)."""
RIVALS = ("direct", "segmenter", "size_constrained")
LEVEL = 0.05
LEAST_SEEDS = 3
"""With two, a mean difference has to be 13 times its standard error. Ours."""
MARGINS = {"r": 0.01, "mae": 0.1, "dice": 0.05, "kappa": 0.05}
"""How much worse is not worse, in r, share of the error, Dice and kappa. Ours; a study sets its own beforehand."""
COLUMNS = ["task", "backbone", "rival", "rival_backbone", "measure", "seeds", "localizer", "other"]
COLUMNS += ["difference", "low", "high", "pvalue", "pvalue_holm", "not_worse", "verdict"]
_SAME = ["task", "n_train", "seed"]
_RUN = [*_SAME, "method", "backbone"]


def read(folder: str | Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Runs and post hoc maps that ``workflow/gather.py`` found below a folder.

    Raises:
        FileNotFoundError: Nothing was gathered there.
    """
    if not (Path(folder) / "results.csv").is_file():
        raise FileNotFoundError(f"{folder} holds no results.csv: give the folder of a sweep, such as runs/sweep/full.")
    return tuple(pd.read_csv(Path(folder) / f"{name}.csv") for name in ("results", "post_hoc"))


def most_labels(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs of each task with the most labels: the other ones belong to curves of label efficiency."""
    return runs[runs.n_train == runs.groupby("task").n_train.transform("max")]


def primary(runs: pd.DataFrame) -> dict[str, str]:
    """The one backbone by which the methods of a task are judged, whatever came out.

    It is the task's own. Records that know no rival on it were made when the task had another: that of their rivals.
    """
    chosen = {}
    for task, some in runs.groupby("task", sort=False):
        own, theirs = TASKS[task].settings.backbone, sorted(set(some.backbone[some.method != "localizer"]))
        chosen[task] = own if own in theirs or len(theirs) != 1 else theirs[0]
    return chosen


def counts(runs: pd.DataFrame) -> pd.DataFrame:
    """How many seeds of each method there are, on the primary backbone with the most labels: a row a method.

    nan where there is no such question: a size is no score.
    """
    runs, own = most_labels(runs), primary(runs)
    runs = runs[runs.backbone == runs.task.map(own)]
    table = runs.groupby(["method", "task"]).seed.nunique().unstack("task")
    table = table.reindex(index=["localizer", *RIVALS], columns=list(TASKS)).fillna(0)
    table.loc["size_constrained", "cac"] = np.nan
    return table.rename_axis(index=None, columns=None)


def answers(runs: pd.DataFrame, post_hoc: pd.DataFrame | None = None) -> pd.DataFrame:
    """Answer every question that these records can answer; several seeds of one question give one answer.

    The localizer on the primary backbone meets every rival, and on the other backbones direct regression. The place of
    direct regression is that of its best post hoc map, on the cases for which it was made. p is adjusted by Holm over
    the rivals of one task and measure; the other backbones are a family of their own. Intervals are 95 %, not adjusted.

    Args:
        runs: ``results.csv`` of a sweep: one row a run, of one design.
        post_hoc: ``post_hoc.csv`` of the same sweep.

    Returns:
        One row a question, with the columns ``COLUMNS``. ``localizer`` and ``other`` are means over the seeds that both
        have. ``difference``, ``low`` and ``high`` are positive where the localizer is better: r, Dice and kappa as they
        are (r is compared on Fisher's scale), the mean absolute error as the share by which it is smaller.

    Raises:
        ValueError: Two runs differ in settings alone.
    """
    runs, rows = most_labels(runs), []
    if runs.duplicated(_RUN).any():
        twice = " ".join(map(str, runs.loc[runs.duplicated(_RUN), _RUN].iloc[0]))
        raise ValueError(f"the records hold {twice} more than once: give one design, and a seed once.")
    same = [*_SAME, *(name for name in ("n_test", "size", "slices", "data_digest") if name in runs)]
    for task, backbone in primary(runs).items():
        of_task = runs[runs.task == task]
        mine = sorted(set(of_task.method) - {"localizer", *RIVALS})  # methods of a reader's own
        pairs = [(backbone, backbone, rival) for rival in (*RIVALS, *mine)]
        pairs += [(other, backbone, "direct") for other in BACKBONES if other != backbone]
        for ours, theirs, rival in pairs:
            one = of_task[(of_task.method == "localizer") & (of_task.backbone == ours)]
            other = of_task[(of_task.method == rival) & (of_task.backbone == theirs)]
            both = one.merge(other, on=same, suffixes=("", "_other"))
            names = {"task": task, "backbone": ours, "rival": rival, "rival_backbone": theirs}
            for measure in (m for m in MARGINS if m in runs):
                values = both[[measure, f"{measure}_other"]]
                if (rival, measure) == ("direct", "dice"):
                    values = _best_maps(post_hoc, both)
                values = values.dropna().to_numpy(float)
                if len(values):
                    rows.append(names | {"measure": measure} | _answer(measure, *values.T))
    table = pd.DataFrame(rows, columns=COLUMNS)
    family = [table.task, table.measure, table.backbone == table.rival_backbone]
    if len(table):
        table["pvalue_holm"] = table.groupby(family).pvalue.transform(holm)
        table["verdict"] = [verdict(*row) for row in zip(table.seeds, table.difference, table.pvalue_holm, strict=True)]
    return table


def verdict(seeds: int, difference: float, pvalue: float) -> str:
    """What is said of a question, given its adjusted p.

    ``"holds"`` and ``"the other way round"``: p is below 0.05; ``"not settled"`` and ``"leans the other way"``: it is
    not, and the mean of the seeds is for or against the localizer; ``"too few seeds"``: fewer than three.
    """
    if seeds < LEAST_SEEDS:
        return f"too few seeds ({seeds})" if seeds else "not run"
    for_us, against_us = ("holds", "the other way round") if pvalue < LEVEL else ("not settled", "leans the other way")
    return for_us if difference > 0 else against_us


def verdicts(table: pd.DataFrame, measure: str, rival: str, tasks: Sequence[str] = tuple(TASKS)) -> dict[str, str]:
    """The verdict of each task on one pair and measure, on the primary backbone; "not run" where there is none."""
    some = table[(table.rival == rival) & (table.measure == measure) & (table.backbone == table.rival_backbone)]
    found = dict(zip(some.task, some.verdict, strict=True))
    return {task: found.get(task, verdict(0, 0.0, 1.0)) for task in tasks}


def _answer(measure: str, ours: ArrayLike, theirs: ArrayLike) -> dict[str, Any]:
    """One question: values of both methods by seed."""
    from scipy import stats  # takes half a second to load

    # An error is compared by its ratio, which has no unit; its sign is turned, for less is better.
    scales: dict[str, Any] = {"r": np.arctanh, "mae": lambda v: -np.log(v)}
    scale = scales.get(measure, lambda v: v)
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    apart, level = scale(ours) - scale(theirs), scale(theirs).mean()
    row = {"seeds": len(apart), "localizer": ours.mean(), "other": theirs.mean(), "pvalue": np.nan}
    ends = [np.nan, np.nan]
    if len(apart) > 1 and np.ptp(apart) > 0:
        test = stats.ttest_1samp(apart, 0)
        row["pvalue"], ends = float(test.pvalue), test.confidence_interval(1 - LEVEL)
    back = {"r": lambda d: np.tanh(level + d) - np.tanh(level), "mae": lambda d: 1 - np.exp(-d)}
    values = [float(back.get(measure, lambda d: d)(d)) for d in (apart.mean(), *ends)]
    row |= dict(zip(("difference", "low", "high"), values, strict=True))
    return row | {"not_worse": bool(len(apart) >= LEAST_SEEDS and row["low"] > -MARGINS[measure])}


def _best_maps(post_hoc: pd.DataFrame | None, both: pd.DataFrame) -> pd.DataFrame:
    """Dice of the localizer and of the best post hoc map, chosen on the cases that it is scored on: in its favour."""
    columns = ["localizer_dice", "dice"]
    if post_hoc is None or "localizer_dice" not in post_hoc:
        return pd.DataFrame(columns=columns)
    mine = post_hoc.merge(both[[*_SAME, "backbone"]], left_on=[*_SAME, "localizer"], right_on=[*_SAME, "backbone"])
    return mine.sort_values("dice").groupby("seed")[columns].last()
