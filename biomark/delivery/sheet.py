"""Measure all scans of a spreadsheet with a trained model: values, maps and a page each. Loads matplotlib."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import nn
from tqdm.auto import tqdm

from biomark.cohort import Case
from biomark.delivery import dicom_objects, outcome, page
from biomark.grids import Boxes
from biomark.machine import fingerprints, windows
from biomark.machine.files import atomic_write, expand, sweep
from biomark.manifests import cache, checks
from biomark.manifests.manifest import ManifestError
from biomark.manifests.preparation import Excerpt, take
from biomark.manifests.rules import rule_of
from biomark.manifests.sheet import harmless
from biomark.scans.anonymous import anonymous
from biomark.scans.export import write_nifti
from biomark.scans.grid import Grid
from biomark.scans.reader import read
from biomark.scans.scan import ScanError
from biomark.tasks import Task
from biomark.uncertainty.ensemble import box_mm
from biomark.uncertainty.inspector import Inspection, Inspector

# Beside what prepares a scan. The version stands on pages and in DICOM objects.
_COMPUTES = (
    *("backbones.py", "baselines.py", "localizer.py", "losses.py", "uncertainty", "delivery", "manifests/rules.py"),
    *("viz/pictures.py", "viz/style.py", "version.py", "machine/devices.py", "machine/layers.py"),
    *("machine/optimizers.py", "machine/windows.py"),
)

FORMATS = tuple(outcome.FILES)
"""What can be written of each scan, beside its value."""

_USED = ("id", "image", "slice", "value")
_COLUMNS = (
    *("id", "value", "unit", "low", "high", "coverage", "unlike", "known", "slice", "candidates"),
    *("findings", "problem", "reading_s", "network_s", "writing_s"),
)
_TEXTS = ("id", "findings", "problem")
_NOT_YET = "Not measured yet: call deliver again."


def deliver(
    model: nn.Module | Inspector,
    csv: str | Path,
    folder: str | Path,
    *,
    write: str | Sequence[str] = ("nifti", "page"),
    root: str | Path | None = None,
    grid: Grid | None = None,
    crop: bool = True,
    allow_outside: bool = False,
    identify: bool = False,
    window: Sequence[int] | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Measure every scan of a spreadsheet and write the results to a folder a case, named after its ``id``.

    ``map.nii.gz`` (0 to 1, on the voxels of the scan's file), ``segmentation.dcm`` (the mask of the value) and
    ``map.dcm``, which refer to a DICOM series, ``page.html``, and ``values.csv`` with a row a case, the rule of the
    candidates, a reason where it failed, and seconds. A call that was interrupted continues; what changed is made anew,
    and no older file stays beside another value.

    Args:
        model: A trained model, or an :class:`~biomark.Inspector`, which adds intervals and says what is unusual.
        csv: As for :func:`biomark.manifests.read`; of its columns ``id``, ``image``, ``slice``, ``value`` are read.
        folder: Made if missing.
        write: Some of :data:`FORMATS`, or one of them.
        root: Where the paths begin; the spreadsheet's folder by default.
        grid: The model's grid; by default the usual extent at the spacing that it was trained at.
        crop: Whether ``cac`` looks for the heart.
        allow_outside: Whether paths may lead out of the root.
        identify: Let DICOM objects name the patient, for a PACS.
        window: Size of the windows in which the network sees large volumes, as for :meth:`biomark.Localizer.locate`.
        progress: Show bars.

    Raises:
        ValueError: Unknown format, a window or grid that does not fit the task, a model without maps, or a bad sheet.
        ImportError: ``dicom`` is wanted and highdicom is not installed.
        OSError: The folder cannot be written to, or another call is writing to it.
    """
    write = (write,) if isinstance(write, str) else tuple(write)
    task, grid = _check(model, write, grid, window)
    folder = expand(folder).absolute()
    cache.check_writable(folder, "give another folder")
    sweep(folder)
    rows, problems = checks.check_sheet(csv, task, root, None, allow_outside, progress, ("id", "image"), _USED)
    if len(problems) and problems["row"].min() == 1:
        raise ManifestError(f"{csv} cannot be read:", problems[problems["row"] == 1])
    rows, table = checks.explain(rows, problems)
    answer = partial(model.inspect if isinstance(model, Inspector) else partial(_locate, model), window=window)
    settings = _settings(model, task, grid, crop, (sorted(write), identify, window and tuple(window)))
    with outcome.sole_use(folder):
        todo = _look_up(rows, settings, folder, table)
        # Now, so that no value of another model stands beside what is about to be written.
        _write_values(table, folder)
        try:
            ahead = _one_ahead(lambda job: _read(job[0], task, grid, crop), todo)
            for (row, key), future in tqdm(ahead, "measuring", len(todo), unit="scan", disable=not progress):
                place = folder / row.id
                try:
                    reading = future.result()
                    outcome.clear(place)
                    result = _measure(row, place, reading, answer, task, write, identify)
                    outcome.write_result(place, key, *result)
                    table[row.row] = {"id": row.id, **result[0]}
                # One scan among thousands, whatever is wrong with it, must not stop the others.
                except Exception as error:
                    table[row.row]["problem"] = _told(error, row, folder)
                    # A folder that cannot be cleared must not stop them either.
                    with contextlib.suppress(OSError):
                        outcome.clear(place)
        finally:
            values = _write_values(table, folder)
    return values


def _look_up(
    rows: pd.DataFrame, settings: str, folder: Path, table: dict[int, dict[str, Any]]
) -> list[tuple[Any, str]]:
    """The rows that are to be measured, each with its key; the table gets the others' results, or why there is none."""
    todo = []
    for row in rows.itertuples(index=False):
        if row.reason:
            table[row.row] = {"id": row.id, "problem": _told(ScanError(row.reason), row, folder)}
            continue
        key, result = "", None
        # A file that cannot be looked at is no reason to stop here: reading it will say why.
        with contextlib.suppress(OSError):
            key = cache.key(row.image, None, row.slice, settings + repr((row.value, row.remark)))
            result = outcome.read_result(folder / row.id, key)
        table[row.row] = {"id": row.id, "problem": _NOT_YET} if result is None else {"id": row.id, **result}
        if result is None:
            todo.append((row, key))
    return todo


def _told(error: Exception, row: Any, folder: Path) -> str:
    """What went wrong, without names of files."""
    reason = anonymous(error, row.image)
    return reason.replace(str(folder), "the folder").replace(repr(str(folder))[1:-1], "the folder")


def _write_values(table: dict[int, dict[str, Any]], folder: Path) -> pd.DataFrame:
    """Write ``values.csv``, one row for each of the sheet."""
    values = pd.DataFrame([table[row] for row in sorted(table)], columns=list(_COLUMNS))
    for name in _TEXTS:
        values[name] = [harmless(text) if isinstance(text, str) else text for text in values[name]]
    try:
        with atomic_write(folder / "values.csv") as temporary:
            values.to_csv(temporary, index=False)
    except OSError as error:
        raise OSError(f"{folder / 'values.csv'} cannot be written ({error.strerror}): close it elsewhere.") from error
    return values


def _check(
    model: nn.Module | Inspector, write: Sequence[str], grid: Grid | None, window: Sequence[int] | None
) -> tuple[Task, Grid]:
    """The model's task and the grid; what cannot work is refused before the first scan."""
    if unknown := set(write) - set(FORMATS):
        raise ValueError(f"no format is named {unknown.pop()!r}: choose from {', '.join(FORMATS)}.")
    if "dicom" in write:
        dicom_objects.highdicom()
    network: Any = model.model if isinstance(model, Inspector) else model
    if not hasattr(network, "locate"):
        raise ValueError(f"a {type(network).__name__} has no map to write: give a localizer or an ensemble of some.")
    task = network.task
    if window is not None:
        windows.check(window, task.ndim)
    grid = grid or Grid.usual(task.ndim, box_mm(network))
    if len(grid.shape) != task.ndim:
        raise ValueError(f"task {task.key!r} has images in {task.ndim}-D: a grid of {grid.shape} does not fit.")
    return task, grid


def _settings(model: nn.Module | Inspector, task: Task, grid: Grid, crop: bool, how: tuple) -> str:
    """What decides, beside the scan and its row, what is written: the arguments, the model and the library's code."""
    learned = (model.intervals, model.detector) if isinstance(model, Inspector) else ()
    network = model.model if isinstance(model, Inspector) else model
    digests = fingerprints.of_code(*_COMPUTES), fingerprints.of_model(network), fingerprints.of_weights(network)
    return repr((cache.settings(task, grid, crop), how, learned, digests))


def _one_ahead(function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[tuple[Any, Future]]:
    """Each item with the future of ``function(item)``; the next item is begun while one is in use, and no more."""
    background, following = ThreadPoolExecutor(1), None
    try:
        for i, item in enumerate(items):
            present = following or background.submit(function, item)
            following = background.submit(function, items[i + 1]) if i + 1 < len(items) else None
            yield item, present
    finally:
        background.shutdown(cancel_futures=True)


def _read(row: Any, task: Task, grid: Grid, crop: bool) -> tuple[Excerpt, float]:
    """A scan that is ready for the network, and how many seconds that took."""
    start = perf_counter()
    # The whole scan, for the map lies on all of its voxels.
    excerpt = take(read(row.image), task, grid, index=row.slice, crop=crop)
    return excerpt, perf_counter() - start


def _locate(
    model: Any, case: Case, *, boxes: Boxes, findings: Sequence[str], window: Sequence[int] | None
) -> Inspection:
    """A model's answer in the form of an inspector's, without an interval."""
    found, task, nan = model.locate(case, boxes=boxes, window=window), model.task, float("nan")
    told = case.id, task.name, task.unit, found.value, nan, nan, nan, found.map, found.mask
    return Inspection(*told, None, tuple(findings), {}, ())


def _measure(
    row: Any, place: Path, reading: tuple, answer: Callable, task: Task, write: Sequence[str], identify: bool
) -> tuple[dict[str, Any], list[str]]:
    """Measure one scan that was read by :func:`_read`, and write what is wanted of it.

    Returns:
        Its row of the table, and the names of the files.
    """
    (excerpt, reading_s), start = reading, perf_counter()
    case = replace(excerpt.case, id=row.id)
    found = answer(case, boxes=excerpt.boxes, findings=excerpt.findings)
    answered = perf_counter()
    if not np.isfinite(found.value):
        raise ValueError("The model gives no finite value for this scan: train it again, or look at its weights.")
    found = replace(found, findings=found.findings + ((row.remark,) if row.remark else ()))
    # Where there is no candidate, the map means nothing.
    part = np.where(case.weights > 0, found.map, np.float32(0))
    findings, files = found.unusual + found.findings, [name for kind in write for name in outcome.FILES[kind]]
    if "nifti" in write:
        write_nifti(place / "map.nii.gz", excerpt.whole(part), excerpt.scan)
    if "dicom" in write:
        findings += _write_objects(row, place, excerpt, part, found.mask, task, identify)
        files = [name for name in files if name not in outcome.FILES["dicom"] or (place / name).exists()]
    if "page" in write:
        text = page.render(found, case, part, rule_of(task), excerpt.slice, row.value)
        with atomic_write(place / "page.html") as temporary:
            temporary.write_text(text, encoding="utf-8")
    result = {
        **{name: getattr(found, name) for name in ("value", "unit", "low", "high", "coverage")},
        "unlike": found.unlike if np.isfinite(found.coverage) else None,
        "known": row.value,
        "slice": excerpt.slice,
        "candidates": rule_of(task),
        "findings": " ".join(one.rstrip(".") + "." for one in findings) or None,
        "reading_s": round(reading_s, 3),
        "network_s": round(answered - start, 3),
        "writing_s": round(perf_counter() - answered, 3),
    }
    result = {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in result.items()}
    return result, files


def _write_objects(
    row: Any, place: Path, excerpt: Excerpt, part: NDArray, mask: NDArray, task: Task, identify: bool
) -> tuple[str, ...]:
    """Write the DICOM objects of a scan, both or none; findings on them."""
    if excerpt.scan.meta["source"] != "DICOM":
        return ("The scan is no DICOM series, so no DICOM object refers to it.",)
    to = {"source": row.image, "task": task, "identify": identify}
    try:
        dicom_objects.write_segmentation(place / "segmentation.dcm", excerpt.whole(mask), **to)
        dicom_objects.write_parametric_map(place / "map.dcm", excerpt.whole(part), **to)
        return dicom_objects.left_out(row.image) if identify else ()
    except OSError:  # a disk that is full is none of the scan's
        raise
    # An odd header can make the library raise nearly anything, and value, map and page do not depend on it.
    except Exception as error:
        for name in outcome.FILES["dicom"]:
            (place / name).unlink(missing_ok=True)
        return (f"No DICOM object was written: {_told(error, row, place)}",)
