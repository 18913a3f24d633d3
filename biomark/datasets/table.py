"""From the cases of a public set to the rows of a manifest, with the cases that could not be used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import pandas as pd
from tqdm.auto import tqdm

from biomark.machine.files import expand
from biomark.manifests.sheet import COLUMNS
from biomark.scans.scan import ScanError

Case = TypeVar("Case")


def folder(root: str | Path, *choices: str, layout: str) -> Path:
    """The first folder that exists among ``choices`` below ``root``; a ScanError with ``layout`` if none does.

    Of the choices, '' is the root itself, and `*` stands for any name; the layout is a sentence on what it should hold.
    """
    root = expand(root)
    if not root.is_dir():
        raise ScanError(f"there is no folder {root}: {layout}")
    for choice in choices:
        if found := sorted(p for p in (root.glob(choice) if choice else [root]) if p.is_dir()):
            return found[0]
    raise ScanError(f"{root} holds no {choices[0]}: {layout}")


def only_folder(path: Path) -> Path:
    """The one folder in a folder; a ScanError where there is none, or several."""
    inside = sorted(p for p in path.iterdir() if p.is_dir()) if path.is_dir() else []
    if len(inside) != 1:
        raise ScanError(f"{path} holds {len(inside)} folders; one, with the DICOM files of one series, is expected")
    return inside[0]


def relative(path: Path, root: str | Path) -> str:
    """A path as a manifest has it: relative to the root, or whole where it does not lie in the root."""
    path, root = path.absolute(), expand(root).absolute()
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


def table(rows: Callable[[Case], list[dict]], cases: Mapping[str, Case], what: str, progress: bool) -> pd.DataFrame:
    """The manifest of a set: the rows of each case, by name, with the columns that the cases fill.

    A case that cannot be used is set aside, with its reason in `.attrs["set_aside"]`; a ScanError if no row is left.
    """
    found, aside = [], {}
    bar = tqdm(cases.items(), what, disable=not progress, unit="case")
    for name, case in bar:
        try:
            found += rows(case)
        except Exception as error:  # one odd file can make a parser raise nearly anything, and must not stop a set
            known = isinstance(error, (ValueError, OSError))
            sentence = f"{error}" if known else f"it is damaged ({type(error).__name__}: {error})"
            aside[name] = " ".join(sentence.split())
            bar.set_postfix({"set aside": len(aside)})
    if not found:
        why = f"; {next(iter(aside))}: {next(iter(aside.values()))}" if aside else ""
        raise ScanError(f"no case of {what} could be used, of {len(aside)}{why}")
    manifest = pd.DataFrame(found, columns=[name for name in COLUMNS if name in found[0]])
    manifest.attrs["set_aside"] = aside
    return manifest
