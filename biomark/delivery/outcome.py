"""The results of one scan in a folder of its own: complete, or absent."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from biomark.machine.files import atomic_write, sweep

FILES = {"nifti": ("map.nii.gz",), "page": ("page.html",), "dicom": ("segmentation.dcm", "map.dcm")}
"""The files of each format."""

_RESULT = "result.json"


def open_folder(folder: Path) -> None:
    """Make the folder of all results, without leftovers; an OSError where it cannot be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".partial-"):
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


@contextmanager
def sole_use(folder: Path) -> Iterator[None]:
    """Keep other calls out of a folder, or maps of one model would stand beside values of another.

    The system gives the lock back when a process ends, however it ends.

    Raises:
        BlockingIOError: Another call is writing to the folder.
    """
    path = folder / ".in-use"
    while True:
        file = open(path, "a")  # noqa: SIM115 - closed below; the lock is the open file's
        if not _lock(file):
            file.close()
            raise BlockingIOError(
                f"another call is writing to {folder}: wait until it is done, or give another folder."
            )
        # Another call may have removed the file between opening and locking.
        if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            break
        file.close()
    try:
        yield
    finally:
        with suppress(OSError):  # Windows removes no open file; there the next call takes the one that stays
            path.unlink(missing_ok=True)
        file.close()


def _lock(file: IO) -> bool:
    """Whether a file could be locked; on a disk that knows no locks, there is none to wait for."""
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return True
    return True
