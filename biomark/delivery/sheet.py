"""Measure all scans of a spreadsheet with a trained model: values, maps and a page each. Loads matplotlib, so it is not
a part of ``import biomark``; say ``from biomark import delivery``.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
from torch import nn
from tqdm.auto import tqdm

from biomark import scans
from biomark.cohort import Case
from biomark.delivery import dicom_objects, outcome, page
from biomark.machine import fingerprints, windows
from biomark.machine.files import atomic_write
from biomark.manifests import cache, checks
from biomark.manifests.manifest import ManifestError
from biomark.manifests.preparation import Prepared, Taken, take
from biomark.manifests.sheet import identifier
from biomark.scans.anonymous import anonymous
from biomark.tasks import Task
from biomark.uncertainty.inspector import Inspection, Inspector

_COMPUTES = (*fingerprints.METHOD, "grids.py", "scans", "manifests", "delivery", "uncertainty")

FORMATS = tuple(outcome.FILES)
"""What can be written of each scan, beside its value."""

_USED = ("id", "image", "slice", "value")
_COLUMNS = (
    *("id", "value", "unit", "low", "high", "coverage", "unlike", "known", "slice", "findings", "problem"),
    *("reading_s", "network_s", "writing_s"),
)


def deliver(
    model: nn.Module | Inspector,
    csv: str | os.PathLike,
    folder: str | os.PathLike,
    *,
    write: str | Sequence[str] = ("nifti", "page"),
    root: str | os.PathLike | None = None,
    grid: scans.Grid | None = None,
    crop: bool = True,
    allow_outside: bool = False,
    identify: bool = False,
    window: Sequence[int] | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Measure every scan of a spreadsheet and write what was found, in a folder a case named after its ``id``.

    - ``nifti``: ``map.nii.gz``, on the voxels of the scan's own file: how much of a voxel belongs, 0 to 1. Of a
      localizer, multiplied by the weights of these voxels, it adds up to the value; a rival measures otherwise.
    - ``dicom``: ``segmentation.dcm`` and ``map.dcm``, which refer to the series; of a scan that is DICOM.
    - ``page``: ``page.html``, one page with the picture, the value and the findings, whole in itself.
    - ``values.csv`` in the folder itself has a row a case, also of those that could not be measured, with the reason;
      and the seconds that reading, the network and writing took. The next scan is read meanwhile, so that a scan takes
      about as long as the longer of reading and the rest, and two are in memory at a time.

    One bad scan does not stop the others. What is done is not done again, unless the scan, its slice or value in the
    sheet, the model, the library or the settings have changed, or a file is gone: a call that was interrupted goes on
    where it stopped, and a scan that failed is tried again. Files of an earlier call never stay beside another value:
    those of a scan that is measured anew, or can no longer be read, are removed. Nothing of the patient is written but
    what the sheet calls ``id``.

    Args:
        model: A trained model, or an :class:`~biomark.Inspector`, which adds intervals and says what is unusual.
        csv: As for :func:`biomark.manifests.read`, but of its columns only ``id``, ``image``, ``slice`` and
            ``value`` are looked at. A value may be missing; a wrong one is left out, and a finding says so.
        folder: Made if missing.
        write: Some of :data:`FORMATS`, or one of them.
        root: Where the paths begin; the spreadsheet's folder by default.
        grid: The grid that the model was trained on; by default the usual extent at the spacing that it was trained at.
        crop: Whether ``cac`` looks for the heart.
        allow_outside: Whether paths may lead out of the root.
        identify: Let DICOM objects name the patient, so that a PACS files them under him or her.
        window: For volumes that are too large for the memory: what the network looks at at a time, as for
            :meth:`biomark.Localizer.locate`.
        progress: Show bars.

    Returns:
        What ``values.csv`` holds.

    Raises:
        ValueError: A format that there is not, a window or grid that does not fit the task, or a model without maps;
            or the sheet is no table, or lacks a column (then of :class:`~biomark.manifests.ManifestError`).
        ImportError: ``dicom`` is wanted and highdicom is not installed.
        OSError: The folder cannot be written to.
    """
    write = (write,) if isinstance(write, str) else tuple(write)
    if unknown := set(write) - set(FORMATS):
        raise ValueError(f"no format is named {unknown.pop()!r}: choose from {', '.join(FORMATS)}.")
    if "dicom" in write:
        dicom_objects.highdicom()  # better missed now than after the first scan
    network = model.model if isinstance(model, Inspector) else model
    if not hasattr(network, "locate"):
        raise ValueError(f"a {type(network).__name__} has no map to write: give a localizer or an ensemble of some.")
    answer, task = model.inspect if isinstance(model, Inspector) else _Plain(model), network.task
    if window is not None:
        windows.check(window, task.ndim)
    spacings = [b for name, b in network.named_buffers() if name.endswith("trained_spacing_mm") and not b.isnan().any()]
    grid = grid or scans.Grid.usual(task.ndim, *spacings[:1])
    folder = Path(folder).expanduser().absolute()
    if len(grid.shape) != task.ndim:
        raise ValueError(f"task {task.key!r} has images in {task.ndim}-D: a grid of {grid.shape} does not fit.")
    outcome.open_folder(folder)
    rows, problems = checks.checked(csv, task, root, None, allow_outside, progress, ("id", "image"), _USED)
    if len(problems) and problems["row"].min() == 1:
        raise ManifestError(f"{csv} cannot be read:", problems[problems["row"] == 1])
    reasons, remarks, table = checks.judged(rows, problems)
    settings = cache.settings(task, grid, crop) + repr(
        (sorted(write), identify, window and tuple(window), fingerprints.of_code(*_COMPUTES), _digest(model))
    )

    def looked(row: Any) -> _Read | dict[str, Any]:
        if row.row in reasons:
            raise scans.ScanError(reasons[row.row])
        remark = remarks.get(row.row)
        key = cache.key(row.image, None, row.slice, settings + repr((row.value, remark)))
        return outcome.kept(folder / row.id, key) or _read(row, remark, key, task, grid, crop)

    todo = list(rows.itertuples(index=False))
    try:
        for row, ahead in tqdm(_one_ahead(looked, todo), "measuring", len(todo), unit="scan", disable=not progress):
            table[row.row], place = {"id": row.id, "problem": None}, folder / row.id
            try:
                found = ahead.result()
                if isinstance(found, _Read):
                    outcome.clear(place)
                    found = _measured(row, place, found, answer, task, window, write, identify)
                table[row.row] |= found
            # One scan among thousands, whatever is wrong with it, must not stop the others.
            except Exception as error:
                reason = f"{error}" if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
                table[row.row]["problem"] = anonymous(reason, row.image).replace(str(folder), "the folder")
                # What the sheet gets wrong, or a drive that is not there today, says nothing against earlier results.
                # An id that is none could name any place; and one that cannot be cleared stops no other scan either.
                if row.row not in reasons:
                    with contextlib.suppress(OSError, scans.ScanError):
                        outcome.clear(folder / identifier(row.id))
    finally:
        values = pd.DataFrame([table[row] for row in sorted(table)], columns=list(_COLUMNS))
        with atomic_write(folder / "values.csv") as partial:
            values.to_csv(partial, index=False)
    return values


def _one_ahead(function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[tuple[Any, Future]]:
    """Each item with what the function makes of it, the next being begun in the background while one is in use."""
    background, following = ThreadPoolExecutor(1), None
    try:
        for i, item in enumerate(items):
            present = following or background.submit(function, item)
            following = background.submit(function, items[i + 1]) if i + 1 < len(items) else None
            yield item, present
    finally:
        background.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class _Read:
    """A scan that is ready for the network, and what is to be remembered of its reading."""

    taken: Taken
    on_grid: Prepared
    remark: str | None
    key: str
    seconds: float


def _read(row: Any, remark: str | None, key: str, task: Task, grid: scans.Grid, crop: bool) -> _Read:
    start = perf_counter()
    # The whole of it, for the map lies on all of its voxels.
    taken = take(scans.read(row.image), task, grid, slice=row.slice, crop=crop)
    return _Read(taken, taken.prepared(native=grid.spacing_mm is None), remark, key, perf_counter() - start)


class _Plain:
    """A model's answer in the words of an inspector, which knows more."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def __call__(self, case: Case, *, findings: Sequence[str], window: Sequence[int] | None) -> Inspection:
        found, task, nan = self.model.locate(case, window=window), self.model.task, float("nan")
        return Inspection(
            case.id, task.name, task.unit, found.value, nan, nan, nan, found.map, None, tuple(findings), {}, ()
        )


def _measured(
    row: Any,
    place: Path,
    read: _Read,
    answer: Callable[..., Inspection],
    task: Task,
    window: Sequence[int] | None,
    write: Sequence[str],
    identify: bool,
) -> dict[str, Any]:
    """Measure one scan and write what is wanted of it; its row of the table."""
    taken, on_grid, start = read.taken, read.on_grid, perf_counter()
    case = Case(row.id, on_grid.image, on_grid.weights, None, None, on_grid.spacing_mm)
    found = answer(case, findings=taken.findings, window=window)
    answered = perf_counter()
    if not np.isfinite(found.value):
        raise ValueError("The model gives no finite value for this scan: train it again, or look at its weights.")
    map = taken.back(found.map)
    if "nifti" in write:
        scans.write_nifti(place / "map.nii.gz", taken.whole(map), taken.scan)
    findings, files = found.unusual + found.findings, [name for kind in write for name in outcome.FILES[kind]]
    findings += (read.remark,) if read.remark else ()
    if "dicom" in write:
        if taken.scan.meta["source"] == "DICOM":
            dicom_objects.write_segmentation(
                place / "segmentation.dcm", taken.whole(map > 0.5), row.image, task, identify=identify
            )
            dicom_objects.write_parametric_map(place / "map.dcm", taken.whole(map), row.image, task, identify=identify)
        else:
            files = [name for name in files if name not in outcome.FILES["dicom"]]
            findings += ("The scan is no DICOM series, so no DICOM object refers to it.",)
    if "page" in write:
        with atomic_write(place / "page.html") as partial:
            partial.write_text(
                page.render(found, taken.case, map, taken.slice, row.value, read.remark), encoding="utf-8"
            )
    result = {
        **{name: getattr(found, name) for name in ("value", "unit", "low", "high", "coverage")},
        "unlike": found.unlike if np.isfinite(found.coverage) else None,
        "known": row.value,
        "slice": taken.slice,
        "findings": " ".join(findings) or None,
        "reading_s": round(read.seconds, 3),
        "network_s": round(answered - start, 3),
        "writing_s": round(perf_counter() - answered, 3),
    }
    result = {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in result.items()}
    outcome.keep(place, read.key, result, files)
    return result


def _digest(model: nn.Module | Inspector) -> str:
    """Fingerprint of a model's weights, and of what an inspector learned."""
    of = (model.intervals, model.detector) if isinstance(model, Inspector) else ()
    network = model.model if isinstance(model, Inspector) else model
    return repr(of) + fingerprints.of_model(network) + fingerprints.of_weights(network)
