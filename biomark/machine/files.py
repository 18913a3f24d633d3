"""Files that are there whole or not at all, what is said of damaged ones, and tables as JSON, types and all."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

STALE_S = 24 * 3600
"""Age from which a partial file belongs to nobody; no file takes a day to write. Ours."""


def expand(path: str | os.PathLike) -> Path:
    """A path with ``~`` for the home folder; a ValueError where there is none, as in many containers."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{path} begins in a home folder, and none is known here: give a path from / on.") from error


@contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[Path]:
    """Give a place to write to beside ``path``, whose folder is made if missing; it replaces ``path`` on success."""
    target = expand(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield (partial := partial_name(target))
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def partial_name(target: Path) -> Path:
    """A name beside a file or folder to write it under, which no other process or machine on the same disk takes."""
    # The name keeps its end, by which libraries choose a format.
    return target.with_name(f".partial-{secrets.token_hex(8)}-{target.name}")


def sweep(folder: Path) -> None:
    """Remove what killed processes left in a folder. Who still writes there cannot be asked, so age decides."""
    for path in folder.glob(".partial-*"):
        try:
            if time.time() - path.lstat().st_mtime > STALE_S:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        except OSError:  # another process was as fast, or it is not ours to remove
            continue


DAMAGE = (LookupError, TypeError, AttributeError, RecursionError, ArithmeticError, ValueError, RuntimeError)
"""What reading a file raises that parses but is wrong."""


@contextmanager
def whole_file(path: str | os.PathLike, what: str) -> Iterator[None]:
    """Say in one sentence that a file is not what it should be, whatever its content makes the code within raise."""
    try:
        yield
    except DAMAGE as error:
        if type(error) is ValueError and str(path) in str(error):  # a sentence of ours
            raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise ValueError(f"{path} is no {what} that biomark wrote ({reason}): make it again.") from error


def read_object(path: Path, advice: str) -> dict[str, Any]:
    """The object in a JSON file; a ValueError that ends with the advice where there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not readable JSON ({error}): {advice}.") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds no record: {advice}.")
    return found


def json_from_table(table: pd.DataFrame) -> dict[str, Any]:
    """A table of numbers, texts, dates, categories or lists as JSON holds it, with types; its index is not kept."""
    return {str(name): {"type": str(c.dtype), "values": [_plain(v) for v in c]} for name, c in table.items()}


def table_from_json(columns: dict[str, Any]) -> pd.DataFrame:
    """The inverse of :func:`json_from_table`; lists come back as tuples."""
    import pandas as pd  # half a second, which `import biomark` does without

    def series(values: list, dtype: str) -> pd.Series:
        return pd.Series([tuple(v) if isinstance(v, list) else v for v in values], dtype=dtype)

    return pd.DataFrame({name: series(column["values"], column["type"]) for name, column in columns.items()})


def _plain(value: Any) -> Any:
    import pandas as pd

    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(v) for v in value]
    if pd.isna(value):
        return None
    value = value.item() if isinstance(value, np.generic) else value
    return value if isinstance(value, (bool, int, float, str)) else str(value)


def runs_folder() -> Path:
    """Where runs are kept: ``$BIOMARK_RUNS``, else ``~/.cache/biomark/runs``."""
    return expand(os.environ.get("BIOMARK_RUNS") or "~/.cache/biomark/runs")
