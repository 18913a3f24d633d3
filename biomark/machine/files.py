"""Files that are there whole or not at all, and tables as JSON, types and all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


@contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[Path]:
    """Give a place to write to, beside ``path``; it gets that name when all has been written, and is gone otherwise.

    Args:
        path: The file; its folder is made if missing. What was there before is replaced.
    """
    target = Path(path).expanduser()
    target.parent.mkdir(parents=True, exist_ok=True)
    # The name keeps its end, by which libraries choose a format.
    partial = target.with_name(f".partial-{os.getpid()}-{target.name}")
    try:
        yield partial
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def json_from_table(table: pd.DataFrame) -> dict[str, Any]:
    """A table of numbers, texts, dates, categories or lists as JSON holds it, with types; its index is not kept."""
    columns = table.items()
    return {str(name): {"type": str(c.dtype), "values": [_plain(value) for value in c]} for name, c in columns}


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
    return Path(os.environ.get("BIOMARK_RUNS") or "~/.cache/biomark/runs").expanduser()
