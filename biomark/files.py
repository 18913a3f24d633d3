"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(path: str | os.PathLike) -> Iterator[Path]:
    """Give a place to write to, beside ``path``; it gets that name when all has been written, and is gone otherwise.

    Args:
        path: The file; its folder is made if missing. What was there before is replaced.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    # The name keeps its end, by which libraries choose a format.
    partial = target.with_name(f".partial-{os.getpid()}-{target.name}")
    try:
        yield partial
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
