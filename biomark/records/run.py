"""Run records: what was run, on what, by which code, and what came out."""

from __future__ import annotations

import difflib
import hashlib
import io
import json
import math
import os
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_origin

import pandas as pd

from biomark.backbones import BACKBONES
from biomark.machine.devices import available
from biomark.machine.files import atomic_write, expand, read_object, sweep
from biomark.records import provenance
from biomark.tasks import TASKS

SCHEMA = 1

# What a chapter is given from outside, known by the names of its parameters.
CHOICES: dict[str, Collection[str]] = {"task": TASKS, "task_key": TASKS, "backbone": BACKBONES}
COUNTS = ("width", "epochs", "batch_size", "n_train", "n_test")
SCANS = ("scan", "chest")
SLICES = ("slice_index", "scan_slice")
PLACES = ("manifest", "root", "records", "sweep", "bench", "run")

_NEW_PREDICTIONS = "predictions.new.csv"
"""Where predictions wait while a run is replaced; a reader takes them if its record is the new one."""


def parameters(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """Name and value of the notebook's parameters, checked: call it right after the parameters cell with ``globals()``.

    papermill ignores a misspelt parameter. Here the annotations of the parameters cell (``epochs: int = 8``) are the
    list of what may be set, and of which type. A scan or a folder that training would miss later is missed now.

    Raises:
        ValueError: A name that is not declared, with the nearest declared one, a value of another type, a number, name
            or device that cannot be, a scan that cannot be read, or a slice that it does not have.
        FileExistsError: The folder ``out``, where the chapter has one, already holds a run.
        OSError: ``out`` cannot be written to, or a sheet or folder is not there.
    """
    declared = {k: v for k, v in namespace.get("__annotations__", {}).items() if k in namespace}
    plain = (bool, int, float, str, list, dict, type(None))
    for name, value in namespace.items():
        # IPython's own names (In, Out, exit ...) are excluded; what papermill injects is a plain literal.
        if name.startswith("_") or name in declared or name in ("In", "Out") or type(value) not in plain:
            continue
        close = difflib.get_close_matches(name, declared, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"the parameters are {', '.join(declared)}."
        raise ValueError(f"this chapter has no parameter {name!r}: {hint}")
    for name, kind in declared.items():
        value = namespace[name]
        fits = isinstance(value, get_origin(kind) or kind) and (kind is bool or not isinstance(value, bool))
        if not fits and not (kind is float and type(value) is int):
            raise ValueError(f"parameter {name!r} must be of type {getattr(kind, '__name__', kind)}, but is {value!r}.")
    values = {name: namespace[name] for name in declared}
    if values.get("out"):
        _refuse_second_run(expand(values["out"]))
    check_inputs(values)
    return values


def check_inputs(values: Mapping[str, Any]) -> None:
    """Refuse values that a chapter would stumble over minutes later. A parameter is known by its name.

    A scan is read here, only to see that it can be, for nothing but reading it finds everything that is wrong with it.

    Raises:
        ValueError: A number below 1 where things are counted, an unknown task, backbone or device, a scan that cannot
            be read, a slice that it does not have.
        FileNotFoundError: A sheet or a folder that is not there.
        OSError: ``out`` is no folder, or cannot be written to.
    """
    from biomark.scans.reader import missing, read  # pydicom, which only chapters need
    from biomark.scans.scan import check_slice

    for name in values.keys() & COUNTS:
        if values[name] < 1:
            raise ValueError(f"parameter {name!r} is {values[name]}: take a number of 1 or more.")
    for name in values.keys() & CHOICES.keys():
        if values[name] not in CHOICES[name]:
            raise ValueError(f"parameter {name!r} is {values[name]!r}: choose one of {', '.join(CHOICES[name])}.")
    if "device" in values:
        available(values["device"])
    for name in PLACES:
        if values.get(name) and not expand(values[name]).exists():
            raise FileNotFoundError(f"parameter {name!r}: {missing(expand(values[name]))}")
    if values.get("out"):
        _check_out(expand(values["out"]))
    slices = {name: len(read(values[name])) for name in SCANS if values.get(name)}
    for name in values.keys() & SLICES:
        if values[name] != -1 and "scan" not in slices:
            raise ValueError(f"parameter {name!r} is {values[name]}, but no scan is named: give both, or neither.")
        if values[name] != -1:
            check_slice(values[name], slices["scan"])


def _check_out(folder: Path) -> None:
    nearest = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise NotADirectoryError(f"parameter 'out': {nearest} is a file: name a folder.")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise PermissionError(f"parameter 'out': {nearest} may not be written to: name another folder.")


def write(
    folder: str | os.PathLike,
    *,
    parameters: Mapping[str, Any],
    report: Any = None,
    history: Any = None,
    data: Sequence[Any] = (),
    extra: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write ``run.json``, whose path is returned, and with a report ``predictions.csv``, each whole or not at all.

    Args:
        folder: Made if missing.
        parameters: What the run was asked for.
        report: A :class:`~biomark.evaluation.report.Report`.
        history: A :class:`~biomark.training.History`.
        data: The cohorts that it was trained and tested on; their fingerprint is kept.
        extra: Other results: numbers, texts, lists, arrays and mappings.
        overwrite: Replace another run in that folder, its predictions too.

    Raises:
        FileExistsError: The folder already holds a run.
        TypeError: Parameters or ``extra`` hold what JSON cannot, or ``data`` is a cohort and no list of them.
    """
    if not isinstance(data, Sequence):
        raise TypeError(f"data is a {type(data).__name__}: give a list of cohorts, data=(train, test).")
    target = expand(folder) / "run.json"
    if not overwrite:
        _refuse_second_run(target.parent)
    target.parent.mkdir(parents=True, exist_ok=True)
    record = {
        "schema": SCHEMA,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "parameters": dict(parameters),
        "metrics": report.to_dict() if report is not None else {},
        "training": dict(vars(history)) if history is not None else {},
        "extra": dict(extra or {}),
        "data_digest": provenance.data_digest(*data),
        "code_digest": provenance.code_digest(),
        "git_commit": provenance.git_commit(),
        "predictions_digest": "",
        "versions": provenance.versions(),
        "machine": provenance.machine(),
    }
    if report is not None:
        predictions = report.to_frame().to_csv(index=False)
        record["predictions_digest"] = _digest(predictions.encode())
    text = json.dumps(_plain(record), indent=2, allow_nan=False)
    final, new = target.with_name("predictions.csv"), target.with_name(_NEW_PREDICTIONS)
    # Until the new record is there, the old one needs its own predictions.
    beside = new if target.exists() else final
    if report is not None:
        with atomic_write(beside) as partial:
            partial.write_text(predictions, encoding="utf-8")
    with atomic_write(target) as partial:
        partial.write_text(text + "\n", encoding="utf-8")
    if report is None:
        final.unlink(missing_ok=True)
    elif beside is new:
        os.replace(new, final)
    new.unlink(missing_ok=True)
    sweep(target.parent)
    return target


def read(folder: str | os.PathLike) -> dict[str, Any]:
    """Read the ``run.json`` of a folder.

    Raises:
        FileNotFoundError: No run there.
        ValueError: The file is damaged or of another schema.
    """
    path = expand(folder) / "run.json"
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no run.json: give the folder of a finished run.")
    record = read_object(path, "run it again")
    if record.get("schema") != SCHEMA:
        raise ValueError(
            f"{path} has schema {record.get('schema')!r}, this biomark reads {SCHEMA}: use the biomark that wrote it."
        )
    for name in ("parameters", "metrics", "training", "extra"):
        if not isinstance(record.get(name, {}), dict):
            raise ValueError(f"{path} is damaged, for its {name} are no names with values: run it again.")
    return record


def predictions(folder: str | os.PathLike) -> pd.DataFrame:
    """Read the ``predictions.csv`` of a run, one row a case.

    Raises:
        FileNotFoundError: No run there, or one without predictions.
        ValueError: The file is not the one that the run wrote.
    """
    path = expand(folder) / "predictions.csv"
    expected = read(folder).get("predictions_digest")
    new = path.with_name(_NEW_PREDICTIONS)
    if new.is_file() and expected == _digest(new.read_bytes()):  # stopped before they got their name
        path = new
    if not path.is_file() or expected == "":
        raise FileNotFoundError(f"{folder} holds a run without predictions.csv: give a run that wrote a report.")
    text = path.read_bytes()
    if expected and expected != _digest(text):
        raise ValueError(f"{path} does not belong to the run.json beside it: run it again.")
    try:
        # "NA" and "None" are names of cases; only an empty cell is missing.
        return pd.read_csv(io.BytesIO(text), dtype={"id": str}, keep_default_na=False, na_values=[""])
    except ValueError as error:
        raise ValueError(f"{path} is no table of predictions: run it again.") from error


def reference(name: str) -> Path:
    """Folder of the book's reference runs, in a clone (``book/reference``) or in an installed biomark.

    Raises:
        FileNotFoundError: There is no folder of that name.
    """
    here = Path(__file__).parents[1]
    roots = (here.parent / "book" / "reference", here / "reference")
    for root in roots:
        if (root / name).is_dir():
            return root / name
    known = sorted(path.name for root in roots if root.is_dir() for path in root.iterdir() if path.is_dir())
    raise FileNotFoundError(
        f"there are no reference records {name!r}: choose one of {', '.join(known)}."
        if known
        else "this biomark came without its reference records: install it from a clone of its repository."
    )


def _refuse_second_run(folder: Path) -> None:
    if (folder / "run.json").exists():
        raise FileExistsError(f"{folder / 'run.json'} already holds a run: choose another folder, or remove it.")


def _plain(value: Any, place: str = "the record") -> Any:
    """As JSON can hold it; nan becomes null."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v, f"{place}, {k!r}") for k, v in value.items()}
    if hasattr(value, "tolist"):  # arrays, tensors and columns, and the numbers in them
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [_plain(v, place) for v in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if not isinstance(value, (str, int, float, type(None))):
        raise TypeError(f"{place} holds a {type(value).__name__}, which JSON cannot: give numbers, texts or lists.")
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _digest(content: bytes) -> str:
    return hashlib.sha256(content.replace(b"\r\n", b"\n")).hexdigest()[:16]  # a checkout may end lines otherwise
