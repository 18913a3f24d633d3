"""From a folder of scans and a spreadsheet with one number each to a cohort."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from biomark.cohort import Cohort
from biomark.grids import Boxes
from biomark.machine.disk_arrays import DiskArray
from biomark.machine.files import expand
from biomark.manifests import cache as case_cache
from biomark.manifests import rules
from biomark.manifests.checks import check_sheet
from biomark.manifests.preparation import prepare, take
from biomark.scans.anonymous import anonymous
from biomark.scans.grid import Grid
from biomark.scans.reader import read as read_scan
from biomark.tasks import TASKS, Task

_LISTED = 100
_ENDED = "The system ended the process that read this scan alone, most likely out of memory: cut it, or leave it out."


class ManifestError(ValueError):
    """A spreadsheet with problems, or one of which no scan could be read.

    Attributes:
        problems: One row a problem, with ``row`` as a spreadsheet program counts, ``id``, ``column`` and ``problem``.
    """

    def __init__(self, sentence: str, problems: pd.DataFrame) -> None:
        self.problems = problems
        lines = [
            f"  row {p.row}{f' ({p.id})' if p.id else ''}{f', {p.column}' if p.column else ''}: {p.problem}"
            for p in problems.head(_LISTED).itertuples(index=False)
        ]
        more = [f"  and {len(problems) - _LISTED} more, in .problems"] if len(problems) > _LISTED else []
        super().__init__("\n".join([sentence, *lines, *more]))

    def __reduce__(self) -> tuple:
        return type(self), (str(self).split("\n", 1)[0], self.problems)


def check(
    csv: str | Path,
    task: Task | str,
    *,
    root: str | Path | None = None,
    plausible: tuple[float, float] | None = None,
    allow_outside: bool = False,
    candidates: bool = False,
    crop: bool = True,
    progress: bool = True,
) -> pd.DataFrame:
    """All problems of a manifest, from the spreadsheet and the headers of the files; arguments as for :func:`read`.

    Args:
        candidates: Read the scans too, which takes as long as preparing them, and hold the numbers against what the
            candidates of their images add up to. ``.attrs["rule"]`` then says which rule the numbers seem to follow.

    Returns:
        One row a problem, with ``row`` as a spreadsheet program counts (the column names are row 1), ``id``,
        ``column`` and ``problem``; empty when nothing is wrong.
    """
    task = TASKS[task] if isinstance(task, str) else task
    rows, problems = check_sheet(csv, task, root, plausible, allow_outside, progress)
    if not candidates:
        return problems
    rows, more, sums = rows[~rows["row"].isin(problems["row"])], [], []
    for row in tqdm(rows.itertuples(index=False), "adding up", len(rows), unit="scan", disable=not progress):
        try:
            scan = read_scan(row.image, slice=row.slice if task.ndim == 2 else None)
            case = take(scan, task, None, index=None if row.slice is None else 0, mask=row.mask, crop=crop).case
            sums.append((row.value, rules.sums(case, task)))
        except Exception as error:  # as in reading
            more.append((row.row, row.id, "image", anonymous(error, row.image, row.mask)))
            continue
        totals = {name: total for name, (total, _) in sums[-1][1].items()}
        if row.value > next(iter(totals.values())):
            more.append((row.row, row.id, "value", rules.beyond(row.value, totals, task.unit)))
    sentence, wrong = rules.doubts(sums, task)
    more += [(1, "", "value", f"{sentence}.")] if wrong else []
    table = pd.concat([problems, pd.DataFrame(more, columns=list(problems))]).sort_values("row", ignore_index=True)
    table.attrs["rule"] = sentence
    return table


def read(
    csv: str | Path,
    task: Task | str,
    *,
    root: str | Path | None = None,
    grid: Grid | None = None,
    crop: bool = True,
    from_masks: bool = False,
    plausible: tuple[float, float] | None = None,
    allow_outside: bool = False,
    strict: bool = True,
    cache: str | Path | None = None,
    memory_gib: float = 1.0,
    workers: int = 1,
    progress: bool = True,
) -> Cohort:
    """Read the scans of a spreadsheet (one row a scan, columns as in chapter 14), with their numbers, as a cohort.

    A scan that cannot be read is set aside with the reason (``cohort.set_aside``). Prepared scans are kept on disk, so
    a call that was interrupted continues, and processes can share the work.

    A value should be made by the task's rule: of what was outlined, the voxels in ``task.hu_window`` that lie more than
    ``task.skin_mm`` below the surface. Where it was made by another, such as the lab's -50 to 90 HU with skin and rims,
    give that as ``dataclasses.replace(TASKS["pma"], hu_window=(-50, 90), skin_mm=0)``; ``check(..., candidates=True)``
    says which one the numbers follow.

    Args:
        csv: CSV or Excel with ``id``, ``image``, ``value`` and, optionally, ``slice``, ``mask``, ``split``, ``group``.
        task: What the values are: a task or a key of ``TASKS``.
        root: Folder in which the paths begin; the spreadsheet's own by default.
        grid: The boxes in which all images are seen; :meth:`biomark.scans.Grid.usual` by default.
        crop: Whether ``cac`` looks for the heart (:func:`biomark.scans.heart_box`). False takes the whole volume.
        from_masks: Take as values what the candidates in the masks add up to, in place of the sheet's: of areas of
            whole outlines, as in public sets, the task's rule leaves out what lies outside its window.
        plausible: Lowest and highest value that is no error; the task's by default.
        allow_outside: Whether paths may lead out of the root.
        strict: Raise when a row has a problem. False sets such rows aside.
        cache: Folder for prepared scans; :func:`cache_folder` by default.
        memory_gib: A larger cohort stays on disk and is read batch by batch. Ours.
        workers: Processes that read at a time.
        progress: Show bars.

    Raises:
        ManifestError: There are problems, all listed in the message and in ``.problems``; or no scan could be read.
        FileNotFoundError: There is no such sheet.
        OSError: The cache cannot be written to.
        ValueError: The sheet is no table, or the grid does not fit the task.
    """
    task = TASKS[task] if isinstance(task, str) else task
    grid = grid or Grid.usual(task.ndim)
    if len(grid.shape) != task.ndim:
        raise ValueError(f"task {task.key!r} has images in {task.ndim}-D: a grid of {grid.shape} does not fit.")
    rows, problems = check_sheet(csv, task, root, plausible, allow_outside, progress)
    if len(problems) and (strict or problems["row"].min() == 1):
        raise ManifestError(f"{csv} has {len(problems)} problem{'s' * (len(problems) > 1)}:", problems)
    rows = rows[~rows["row"].isin(problems["row"])].reset_index(drop=True)

    folder, settings = expand(cache or case_cache.cache_folder()), case_cache.settings(task, grid, crop)
    if from_masks and rows["mask"].isna().any():
        raise ValueError(f"{csv} names no masks from which values could be taken: leave out from_masks=True.")
    paths = [
        folder / f"{case_cache.key(row.image, row.mask, row.slice, settings)}.safetensors"
        for row in rows.itertuples(index=False)
    ]
    reasons = _prepare_all(rows, paths, (task, grid, crop), workers, progress)
    failed = rows.loc[list(reasons), ["row", "id"]].assign(column="image", problem=list(reasons.values()))
    aside = pd.concat([problems, failed], ignore_index=True)
    if len(reasons) == len(rows):
        raise ManifestError(f"of {csv}, no scan could be read:", aside)
    aside = aside.sort_values("row", ignore_index=True)
    rows, native = rows.drop(index=list(reasons)), grid.spacing_mm is None
    paths = [paths[i] for i in rows.index]
    cases: list[dict[str, Any]] = [case_cache.about(path) or {} for path in paths]
    if not all(cases):
        raise FileNotFoundError(f"{paths[cases.index({})]} was removed meanwhile: call bm.manifests.read again.")
    if from_masks:
        rows = rows.assign(value=[case["inside"] for case in cases])
    return _cohort(rows, paths, cases, task, aside, memory_gib, native)


class _Job(NamedTuple):
    number: int
    target: Path
    image: Path
    slice: int | None
    mask: Path | None


def _prepare_all(
    rows: pd.DataFrame, paths: Sequence[Path], how: tuple[Task, Grid, bool], workers: int, progress: bool
) -> dict[int, str]:
    """Prepare what is not yet in the cache; why some scans could not be, by index."""
    jobs = [
        _Job(number, target, row.image, row.slice, row.mask)
        for number, (row, target) in enumerate(zip(rows.itertuples(index=False), paths, strict=True))
        if case_cache.about(target) is None
    ]
    if jobs:
        advice = "name another folder for scans as cache=, or in BIOMARK_CACHE"
        case_cache.check_writable(jobs[0].target.parent, advice)
    reasons: dict[int, str] = {}
    bar = tqdm(total=len(rows), initial=len(rows) - len(jobs), desc="reading", unit="scan", disable=not progress)
    for number, reason in _results(jobs, how, workers):
        if reason is not None:
            reasons[number] = reason
            bar.set_postfix({"set aside": len(reasons)})
        bar.update()
    bar.close()
    return dict(sorted(reasons.items()))


def _results(jobs: list[_Job], how: tuple[Task, Grid, bool], workers: int) -> Iterator[tuple[int, str | None]]:
    """What came of each job, in any order, also where the system ends a process, as it does when memory runs out."""
    while jobs:
        begun: list[_Job] = []

        def calls(jobs: list[_Job] = jobs, begun: list[_Job] = begun) -> Iterator[tuple]:
            for job in jobs:
                begun.append(job)
                yield joblib.delayed(_prepare)(job, *how)

        done = set()
        try:
            for result in joblib.Parallel(workers, return_as="generator_unordered", batch_size=1)(calls()):
                done.add(result[0])
                yield result
        except BrokenProcessPool:  # which scan it was is not told, so each of those under way is read alone
            for job in begun:
                if len(begun) == 1:
                    yield job.number, _ENDED
                elif job.number not in done:
                    yield from _results([job], how, workers)
        jobs = jobs[len(begun) :]


def _prepare(job: _Job, task: Task, grid: Grid, crop: bool) -> tuple[int, str | None]:
    """Prepare one scan and write it to the cache; the reason why not, if it cannot be."""
    try:
        case = prepare(job.image, task, grid, index=job.slice, mask=job.mask, crop=crop)
    # One scan among thousands, whatever is wrong with it, must not stop the others.
    except Exception as error:
        return job.number, anonymous(error, job.image, job.mask)
    case_cache.save(job.target, case)
    return job.number, None


def _cohort(
    rows: pd.DataFrame,
    paths: Sequence[Path],
    cases: Sequence[dict[str, Any]],
    task: Task,
    aside: pd.DataFrame,
    memory_gib: float,
    native: bool,
) -> Cohort:
    """The cases that could be read."""
    names = ["image", "weights", *(["truth"] if rows["mask"].notna().all() else [])]
    arrays: list[Any] = [DiskArray(case_cache.Cached(partial(case_cache.load_array, name), paths)) for name in names]
    if sum(array.nbytes for array in arrays) <= memory_gib * 2**30:
        arrays = [np.asarray(array) for array in arrays]
    findings = [
        tuple(case["findings"]) + _doubts(value, case["total"], case["inside"], task)
        for case, value in zip(cases, rows["value"], strict=True)
    ]
    optional = {name: rows[name].tolist() for name in ("split", "group") if rows[name].notna().all()}
    about = {"row": rows["row"].tolist(), "slice": [case["slice"] for case in cases], **optional, "findings": findings}
    return Cohort(
        task,
        arrays[0],
        arrays[1],
        rows["value"].to_numpy(float),
        arrays[2] if len(arrays) > 2 else None,
        np.array([Boxes(**case["boxes"]).spacing_mm(case["voxel_mm"]) for case in cases]),
        tuple(rows["id"]),
        pd.DataFrame(about),
        aside if len(aside) else None,
        case_cache.Cached(partial(case_cache.load_voxels, native), list(zip(paths, rows["image"], strict=True))),
    )


def _doubts(value: float, total: float, inside: float | None, task: Task) -> tuple[str, ...]:
    """Findings where a value is more than all candidates, which is impossible, or another than its mask says."""
    if value > total:
        return (rules.beyond(value, {rules.rule_of(task): total}, task.unit),)
    if inside is None or abs(inside - value) <= rules.NEAR * max(value, task.negligible):
        return ()
    return (
        f"The value is {value:g} {task.unit}, and the candidates in the mask add up to {inside:.4g}: "
        "bm.manifests.check(..., candidates=True) says which rule the numbers of the sheet follow.",
    )
