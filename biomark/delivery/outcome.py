"""The results of one scan in a folder of its own: complete, or absent."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from biomark.machine.files import atomic_write, sweep

FILES = {"nifti": ("map.nii.gz",), "page": ("page.html",), "dicom": ("segmentation.dcm", "map.dcm")}
"""The files of each format."""

_RESULT = "result.json"


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


@contextmanager
def sole_use(folder: Path) -> Iterator[None]:
    """Keep other calls out of a folder, or maps of one model would stand beside values of another.

    The system gives the lock back when a process ends, however it ends.

    Raises:
        BlockingIOError: Another call is writing to the folder.
    """
    lock = FileLock(folder / ".in-use")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise BlockingIOError(f"another call is writing to {folder}: wait until it is done.") from error
    try:
        yield
    finally:
        lock.release()
