"""From a folder of scans and a spreadsheet with one number each to a cohort."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import joblib
import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from biomark.cohort import Cohort
from biomark.machine.disk_arrays import DiskArray
from biomark.manifests import cache as kept
from biomark.manifests.cache import cache_folder
from biomark.manifests.checks import checked
from biomark.manifests.preparation import prepare
from biomark.scans.anonymous import anonymous
from biomark.scans.grid import Grid
from biomark.tasks import TASKS, Task

__all__ = ["ManifestError", "cache_folder", "check", "read"]

_LISTED = 100


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
    progress: bool = True,
) -> pd.DataFrame:
    """All that is wrong with a manifest, found from the spreadsheet and the headers of the files.

    Args:
        csv: As for :func:`read`, like all other arguments.
        task: What the values are.
        root: Where the paths begin.
        plausible: Lowest and highest value.
        allow_outside: Whether paths may lead out of the root.
        progress: Show a bar.

    Returns:
        One row a problem, with ``row`` as a spreadsheet program counts (the column names are row 1), ``id``,
        ``column`` and ``problem``; empty when nothing is wrong.
    """
    return checked(csv, task, root, plausible, allow_outside, progress)[1]


def read(
    csv: str | Path,
    task: Task | str,
    *,
    root: str | Path | None = None,
    grid: Grid | None = None,
    crop: bool = True,
    plausible: tuple[float, float] | None = None,
    allow_outside: bool = False,
    strict: bool = True,
    cache: str | Path | None = None,
    memory_gib: float = 1.0,
    workers: int = 1,
    progress: bool = True,
) -> Cohort:
    """Read the scans of a spreadsheet, with their numbers, as a cohort to train on.

    The sheet, CSV or Excel, has a row of column names and then one row a case:

    - ``id``: the name by which the case appears everywhere. Nothing of the patient is taken from the files.
    - ``image``: path of a NIfTI file, a DICOM file or a folder with one DICOM series, from ``root`` on.
    - ``value``: the biomarker in the task's unit.
    - ``slice`` (optional): which slice, from 0 at the feet, for a task in 2-D. Otherwise the middle one is taken.
    - ``mask`` (optional): path of a NIfTI file on the image's own voxels; for evaluation only.
    - ``split`` (optional): such as train or test.
    - ``group`` (optional): the patient, where one has several scans; :meth:`biomark.Cohort.split` keeps them together.

    Every row is checked before a pixel is read, and all problems are reported at once. A scan that then cannot be read
    is set aside with the reason (``cohort.set_aside``), and the others go on. What is prepared is kept on disk: a call
    that was interrupted goes on where it stopped, two processes can share the work, and a value may be mended without
    reading anything again.

    All images come on one grid. Weights are computed on the scan's own voxels at their own spacing, and a voxel of the
    grid holds their sum, so that sum and biomarker do not depend on the grid.

    Args:
        csv: The spreadsheet.
        task: What the values are: a task or a key of ``TASKS``.
        root: Folder in which the paths begin; the spreadsheet's own by default.
        grid: The voxels of all images; :meth:`Grid.usual` by default.
        crop: Whether ``cac`` looks for the heart (:func:`heart_box`). False takes the whole volume.
        plausible: Lowest and highest value that is taken for no slip; the task's by default.
        allow_outside: Whether paths may lead out of the root.
        strict: Raise when a row has a problem. False sets such rows aside.
        cache: Folder for what is prepared; :func:`cache_folder` by default.
        memory_gib: A cohort that takes more than this stays on disk, as :class:`~biomark.machine.disk_arrays.DiskArray`, and is read batch
            by batch. Ours.
        workers: Processes that read at a time.
        progress: Show bars.

    Returns:
        The cohort. ``cohort.about`` tells for each case its row, slice, split, group and findings, so that
        ``cohort[cohort.about["split"] == "train"]`` is the training part.

    Raises:
        ManifestError: There are problems, listed in the message and in ``.problems``; or no scan could be read.
        FileNotFoundError: There is no such sheet.
        ValueError: The sheet is no table, or the grid does not fit the task.
    """
    task = TASKS[task] if isinstance(task, str) else task
    grid = grid or Grid.usual(task.ndim)
    if len(grid.shape) != task.ndim:
        raise ValueError(f"task {task.key!r} has images in {task.ndim}-D: a grid of {grid.shape} does not fit.")
    rows, problems = checked(csv, task, root, plausible, allow_outside, progress)
    if len(problems) and (strict or problems["row"].min() == 1):
        raise ManifestError(f"{csv} has {len(problems)} problem{'s' * (len(problems) > 1)}:", problems)
    rows = rows[~rows["row"].isin(problems["row"])].reset_index(drop=True)

    folder, settings = Path(cache or cache_folder()).expanduser(), kept.settings(task, grid, crop)
    reasons, paths = _prepared(rows, task, grid, crop, folder, settings, workers, progress)
    failed = rows.loc[list(reasons), ["row", "id"]].assign(column="image", problem=list(reasons.values()))
    if len(reasons) == len(rows):
        raise ManifestError(f"of {csv}, no scan could be read:", pd.concat([problems, failed], ignore_index=True))
    aside = pd.concat([problems, failed], ignore_index=True).sort_values("row", ignore_index=True)
    return _cohort(rows.drop(index=list(reasons)), paths, task, aside, memory_gib)


class _Job(NamedTuple):
    index: int
    target: Path
    image: Path
    slice: int | None
    mask: Path | None


def _prepared(
    rows: pd.DataFrame,
    task: Task,
    grid: Grid,
    crop: bool,
    folder: Path,
    settings: str,
    workers: int,
    progress: bool,
) -> tuple[dict[int, str], list[Path]]:
    """Prepare what is not yet kept: why some scans could not be, by index; and where each is, if it could."""
    reasons: dict[int, str] = {}
    jobs, paths = [], []
    for index, row in enumerate(rows.itertuples(index=False)):
        target = folder / f"{kept.key(row.image, row.mask, row.slice, settings)}.safetensors"
        paths.append(target)
        if kept.about(target) is None:
            jobs.append(_Job(index, target, row.image, row.slice, row.mask))
    bar = tqdm(total=len(rows), initial=len(rows) - len(jobs), desc="reading", unit="scan", disable=not progress)
    done = joblib.Parallel(n_jobs=workers, return_as="generator_unordered")(
        joblib.delayed(_prepare)(job, task, grid, crop) for job in jobs
    )
    for index, reason in done:
        if reason is not None:
            reasons[index] = reason
            bar.set_postfix({"set aside": len(reasons)})
        bar.update()
    bar.close()
    return dict(sorted(reasons.items())), paths


def _prepare(job: _Job, task: Task, grid: Grid, crop: bool) -> tuple[int, str | None]:
    """Prepare one scan and keep it; the reason why not, if it cannot be."""
    try:
        case = prepare(job.image, task, grid, slice=job.slice, mask=job.mask, crop=crop)
    # One scan among thousands, whatever is wrong with it, must not stop the others.
    except Exception as error:
        reason = f"{error}" if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        return job.index, anonymous(reason, job.image, job.mask)
    kept.save(job.target, case)
    return job.index, None


def _cohort(rows: pd.DataFrame, paths: Sequence[Path], task: Task, aside: pd.DataFrame, memory_gib: float) -> Cohort:
    """The cases that could be read."""
    paths = [paths[i] for i in rows.index]
    known = [kept.about(path) or {} for path in paths]
    if not all(known):
        raise FileNotFoundError(f"{paths[known.index({})]} was removed meanwhile: call read_manifest again.")
    names = ["image", "weights", *(["mask"] if rows["mask"].notna().all() else [])]
    arrays = [DiskArray(kept.Stored(paths, name)) for name in names]
    if sum(array.nbytes for array in arrays) <= memory_gib * 2**30:
        arrays = [np.asarray(array) for array in arrays]
    findings = [
        tuple(case["findings"]) + _beyond(value, case["total"], task)
        for case, value in zip(known, rows["value"], strict=True)
    ]
    optional = {name: rows[name].tolist() for name in ("split", "group") if rows[name].notna().all()}
    about = {"row": rows["row"].tolist(), "slice": [case["slice"] for case in known], **optional, "findings": findings}
    return Cohort(
        task,
        arrays[0],
        arrays[1],
        rows["value"].to_numpy(float),
        arrays[2] if len(arrays) > 2 else None,
        np.array([case["spacing_mm"] for case in known]),
        tuple(rows["id"]),
        pd.DataFrame(about),
        aside if len(aside) else None,
    )


def _beyond(value: float, total: float, task: Task) -> tuple[str, ...]:
    """A finding where a value cannot be: the sum of all candidates is the most that there is."""
    if value <= total:
        return ()
    return (
        f"The value {value:g} {task.unit} is more than all candidates of the image hold together ({total:.4g}): is it "
        "of another slice, or in another unit?",
    )
