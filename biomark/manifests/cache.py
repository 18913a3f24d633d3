"""Prepared scans on disk: one file a case, complete or absent.

Any number of processes may write into one folder, and each may be killed at any time: files are written atomically, and
two processes that prepare the same scan write the same file.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from biomark.cohort import Voxels
from biomark.grids import Boxes
from biomark.machine import fingerprints, packed, tensor_files
from biomark.machine.files import expand
from biomark.manifests.preparation import Excerpt, read_again
from biomark.scans.grid import Grid
from biomark.tasks import Task

# Another code here may give other voxels or findings.
_COMPUTES = (
    *("agatston", "candidates.py", "cohort.py", "grids.py", "tasks.py", "scans", "manifests/cache.py"),
    *("manifests/preparation.py", "machine/axes.py", "machine/moves.py", "machine/packed.py"),
)


def cache_folder() -> Path:
    """Where prepared scans are kept: ``$BIOMARK_CACHE``, else ``~/.cache/biomark/scans``. It may be deleted."""
    return expand(os.environ.get("BIOMARK_CACHE") or "~/.cache/biomark/scans")


def check_writable(folder: Path, advice: str) -> None:
    """Make a folder; an OSError that ends with the advice where nothing can be written to it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".partial-"):
            pass
    except OSError as error:
        raise OSError(f"{folder} cannot be written to ({error.strerror}): {advice}.") from error


def key(image: Path, mask: Path | None, index: int | None, settings: str) -> str:
    """A fingerprint of the files of a scan, the slice and the settings.

    A file is known by its place, its size and its times of writing: reading the bytes of ten thousand scans would take
    as long as preparing them.
    """
    digest = hashlib.sha256(repr((index, settings)).encode())
    for path in (image, mask):
        files = () if path is None else sorted(filter(Path.is_file, path.iterdir())) if path.is_dir() else (path,)
        for file in files:
            stat = file.stat()
            digest.update(repr((str(file.absolute()), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)).encode())
    return digest.hexdigest()[:32]


def settings(task: Task, grid: Grid, crop: bool) -> str:
    """What decides, beside the files, what a scan becomes: the task's rules, the grid and the library's code."""
    return repr((task.rules(), grid, crop, fingerprints.of_code(*_COMPUTES)))


def save(path: Path, part: Excerpt) -> None:
    """Write a case."""
    case, (image, weights, truth) = part.case, part.in_boxes()
    arrays: dict[str, NDArray] = {"image": image, "weights": weights} | ({} if truth is None else {"truth": truth})
    own = [array for array in (case.weights, case.mask) if array is not None]
    arrays["voxels"], index = packed.join([packed.Packed.of(array) for array in own])
    where = [[one.start, one.stop] for one in part.where if isinstance(one, slice) and case.image.ndim == 3]
    about = {
        "total": float(case.weights.sum(dtype=float)),
        "inside": None if truth is None else float(truth.sum(dtype=float)),
        "slice": part.slice,
        "where": where or None,
        "findings": part.findings,
        "voxels": index,
        "boxes": asdict(part.boxes),
        "voxel_mm": [float(mm) for mm in case.spacing_mm],
    }
    tensor_files.write(path, {k: np.ascontiguousarray(v) for k, v in arrays.items()}, about)


def about(path: Path) -> dict[str, Any] | None:
    """What is known of a case beside its arrays; None when there is no such file, or a damaged one."""
    try:
        with safe_open(path, framework="numpy") as file:
            return json.loads(file.metadata()["biomark"])
    except (FileNotFoundError, SafetensorError, KeyError, TypeError, json.JSONDecodeError):
        return None


class Cached(Sequence):
    """What ``load`` makes of each of many places, when it is asked for."""

    def __init__(self, load: Callable[[Any], Any], places: Sequence) -> None:
        self._load, self._places = load, list(places)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: Any) -> Any:
        return self._load(self._places[index])


def load_array(name: str, path: Path) -> NDArray:
    """An array of a case; a FileNotFoundError where the file is gone or damaged."""
    try:
        with safe_open(path, framework="numpy") as file:
            return file.get_tensor(name)
    except (FileNotFoundError, SafetensorError) as error:
        raise FileNotFoundError(f"{path} was removed or damaged after it was read: read the sheet again.") from error


def load_voxels(native: bool, places: tuple[Path, Path]) -> Voxels:
    """The voxels of a case, by its file and its image; ``native`` as for :func:`read_again`."""
    path, image = places
    packed_voxels, case = load_array("voxels", path), about(path) or {}
    weights, *mask = packed.part(packed_voxels, case["voxels"])
    again = partial(read_again, image, case["slice"], case["where"], native)
    return Voxels(Boxes(**case["boxes"]), tuple(case["voxel_mm"]), weights, mask[0] if mask else None, again)
