"""What was found in one scan, in a folder of its own: all of it, or nothing that could be taken for it."""

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
    """Make the folder of all results, without leftovers, and see whether it can be written to before a scan is read.

    Raises:
        OSError: It cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=f".partial-{os.getpid()}-"):
            pass
    except OSError as error:
        raise OSError(f"{folder} cannot be written to ({error.strerror}): give another folder.") from error
    sweep(folder)


def keep(place: Path, key: str, result: dict[str, Any], files: Iterable[str]) -> None:
    """Remember a result; written last, so that where it is, all else is.

    Args:
        place: The scan's folder.
        key: Fingerprint of what it was made from.
        result: The result.
        files: Names of what was written beside it.
    """
    with atomic_write(place / _RESULT) as partial:
        partial.write_text(json.dumps({"key": key, "files": [*files]} | result, indent=2) + "\n", encoding="utf-8")


def kept(place: Path, key: str) -> dict[str, Any] | None:
    """The result that an earlier call kept, made from the same and with all its files; None if there is none."""
    try:
        result = json.loads((place / _RESULT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(result, dict) or result.pop("key", None) != key:
        return None
    return result if all((place / name).is_file() for name in result.pop("files", [_RESULT])) else None


def clear(place: Path) -> None:
    """Remove a result and its files: beside another value, or none, they would be taken for what they are not."""
    # The result first: should this be stopped, what is left counts for nothing.
    for name in (_RESULT, *(name for names in FILES.values() for name in names)):
        (place / name).unlink(missing_ok=True)
    sweep(place)


def sweep(folder: Path) -> None:
    """Remove what processes left half written that no longer live."""
    for path in folder.glob(".partial-*"):
        owner = re.match(r"\.partial-(\d+)-", path.name)
        if owner and path.is_file() and not _writes(int(owner[1])):
            path.unlink(missing_ok=True)


def _writes(process: int) -> bool:
    """Whether another process of that number lives. This one writes nothing while it sweeps."""
    if process == os.getpid():
        return False
    if os.name != "posix":
        return True  # elsewhere to ask is to send a signal
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True
