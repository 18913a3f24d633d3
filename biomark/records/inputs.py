"""What a chapter is given from outside, looked at before anything is drawn or trained."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from biomark.backbones import BACKBONES
from biomark.machine.devices import available
from biomark.machine.files import expand
from biomark.tasks import TASKS

CHOICES: dict[str, Collection[str]] = {"task": TASKS, "task_key": TASKS, "backbone": BACKBONES}
COUNTS = ("width", "epochs", "batch_size", "n_train", "n_test")
SCANS = ("scan", "chest")
SLICES = ("slice_index", "scan_slice")
PLACES = ("manifest", "root", "records", "sweep", "bench", "run")


def check(values: Mapping[str, Any]) -> None:
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
