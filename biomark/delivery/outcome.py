"""The results of one scan in a folder of its own: complete, or absent."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from biomark.machine.files import atomic_write

FILES = {"nifti": ("map.nii.gz",), "page": ("page.html",), "dicom": ("segmentation.dcm", "map.dcm")}
"""The files of each format."""

_RESULT = "result.json"


def open_folder(folder: Path) -> None:
    """Make the folder of all results, without leftovers; an OSError where it cannot be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=f".partial-{os.getpid()}-"):
            pass
    except OSError as error:
        raise OSError(f"{folder} cannot be written to ({error.strerror}): give another folder.") from error
    sweep(folder)


def write_result(place: Path, key: str, result: dict[str, Any], files: Iterable[str]) -> None:
    """Write a scan's result under the key of what it was made from; last, so that where it is, all its files are."""
    with atomic_write(place / _RESULT) as partial:
        partial.write_text(json.dumps({"key": key, "files": [*files]} | result, indent=2) + "\n", encoding="utf-8")


def read_result(place: Path, key: str) -> dict[str, Any] | None:
    """The result of an earlier call, with the same key and all its files; None if there is none."""
    try:
        result = json.loads((place / _RESULT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(result, dict) or result.pop("key", None) != key:
        return None
    return result if all((place / name).is_file() for name in result.pop("files", [_RESULT])) else None


def clear(place: Path) -> None:
    """Remove a result and its files, so that none stays beside another value."""
    # The result first: if this is stopped, the rest does not count.
    for name in (_RESULT, *(name for names in FILES.values() for name in names)):
        (place / name).unlink(missing_ok=True)
    sweep(place)


def sweep(folder: Path) -> None:
    """Remove partial files of processes that no longer live."""
    for path in folder.glob(".partial-*"):
        owner = re.match(r"\.partial-(\d+)-", path.name)
        if owner and path.is_file() and not _is_writing(int(owner[1])):
            path.unlink(missing_ok=True)


def _is_writing(process: int) -> bool:
    """Whether another process of that number lives. This one writes nothing while it sweeps."""
    if process == os.getpid():
        return False
    if os.name != "posix":
        return True  # elsewhere asking would send a signal
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True
