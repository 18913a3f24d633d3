"""From the cases of a public set to the rows of a manifest, with what had to be left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from biomark.scans.scan import ScanError

_COLUMNS = ("id", "image", "value", "slice", "mask", "split", "group")


def folder(root: str | Path, *choices: str, layout: str) -> Path:
    """The first of some folders that a set can be given by.

    Args:
        root: What the caller gave.
        choices: Folders below it, '' for itself; `*` stands for any name.
        layout: A sentence on what should be there.

    Raises:
        ScanError: There is none.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise ScanError(f"there is no folder {root}: {layout}")
    for choice in choices:
        if found := sorted(p for p in (root.glob(choice) if choice else [root]) if p.is_dir()):
            return found[0]
    raise ScanError(f"{root} holds no {choices[0]}: {layout}")


def only_folder(path: Path) -> Path:
    """The one folder in a folder.

    Raises:
        ScanError: There is none, or several.
    """
    inside = sorted(p for p in path.iterdir() if p.is_dir()) if path.is_dir() else []
    if len(inside) != 1:
        raise ScanError(f"{path} holds {len(inside)} folders; one, with the DICOM files of one series, is expected")
    return inside[0]


def place(path: Path, root: str | Path) -> str:
    """A path as a manifest has it: from the root on, or whole where it does not lie in the root."""
    path, root = path.absolute(), Path(root).expanduser().absolute()
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


def table(cases: Iterable[tuple[str, Callable[[], list[dict]]]], what: str, progress: bool) -> pd.DataFrame:
    """The rows of all cases. One that cannot be used is set aside with its reason, and the others go on.

    Args:
        cases: A name for each case and a function that gives its rows.
        what: The name of the set.
        progress: Show a bar.

    Returns:
        The rows, with the columns that the cases fill; `.attrs["set_aside"]` has a reason for each case left out.

    Raises:
        ScanError: No row is left.
    """
    rows, aside = [], {}
    bar = tqdm(list(cases), what, disable=not progress, unit="case")
    for name, read in bar:
        try:
            rows += read()
        except (ValueError, OSError) as error:
            aside[name] = f"{error}"
            bar.set_postfix({"set aside": len(aside)})
    if not rows:
        why = f"; {next(iter(aside))}: {next(iter(aside.values()))}" if aside else ""
        raise ScanError(f"no case of {what} could be used, of {len(aside)}{why}")
    found = pd.DataFrame(rows, columns=[name for name in _COLUMNS if name in rows[0]])
    found.attrs["set_aside"] = aside
    return found
