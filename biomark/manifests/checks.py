"""Check every row of a manifest before a pixel is read, and report all problems at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm.auto import tqdm

from biomark.machine.files import expand
from biomark.manifests import cross_checks
from biomark.manifests.sheet import COLUMNS, REQUIRED, Problem, ambiguous, harmless, identifier, number, read_sheet
from biomark.scans.nifti import is_nifti
from biomark.scans.reader import Preview, missing, preview
from biomark.scans.scan import ScanError
from biomark.tasks import TASKS, Task

_SUGGESTIONS = 20  # searching a folder of thousands for a similar name takes a while, and the first few are enough
_FACTORS = (10.0, 100.0, 1000.0)


def check_sheet(
    csv: str | Path,
    task: Task | str,
    root: str | Path | None,
    plausible: tuple[float, float] | None,
    allow_outside: bool,
    progress: bool,
    required: tuple[str, ...] = REQUIRED,
    known: tuple[str, ...] = COLUMNS,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The sheet's rows, and its problems by row.

    Arguments are as for :func:`biomark.manifests.read` and :func:`biomark.manifests.read_sheet`.
    """
    task, path = TASKS[task] if isinstance(task, str) else task, expand(csv)
    # Absolute, so that no path is so short that it could be part of a word.
    root = (path.parent if root is None else expand(root)).absolute()
    table, problems = read_sheet(path, required, known)
    checker = Checker(task, root, allow_outside, plausible or task.plausible, problems, required)
    rows = checker.check(table, progress)
    return rows, pd.DataFrame(sorted(problems), columns=Problem._fields)


def explain(rows: pd.DataFrame, problems: pd.DataFrame) -> tuple[pd.DataFrame, dict[int, dict[str, Any]]]:
    """The rows with ``reason``, why one cannot be measured, and ``remark``; and by number what is no row.

    In words that may be shown with an id. A value serves comparison only, so a wrong one does not stop measuring.
    """
    # A cell without a number could hold a name.
    said = problems["problem"].str.replace(r"^(the \w+) (['\"]).*\2 is not a number", r"\1 is not a number", regex=True)
    of_value, by_row = problems["column"] == "value", problems["row"]
    reasons = said[~of_value].groupby(by_row).agg(" ".join)
    remarks = ("The spreadsheet's value is left out: " + said[of_value]).groupby(by_row).last()
    # Which cell of a line that is no row is the id is not known.
    strange = reasons[~reasons.index.isin(rows["row"])]
    lines = {row: {"id": None, "problem": f"Row {row} of the sheet {text}"} for row, text in strange.items()}
    told = {"reason": reasons, "remark": remarks}
    texts = {name: [found.get(row) for row in rows["row"]] for name, found in told.items()}
    return rows.join(pd.DataFrame(texts, rows.index, dtype=object)), lines


@dataclass
class Checker:
    """What a sheet is checked against, and the problems so far."""

    task: Task
    root: Path  # folder in which all paths begin
    allow_outside: bool  # whether paths may lead out of it
    plausible: tuple[float, float]  # lowest and highest value
    problems: list[Problem]  # in no order
    required: tuple[str, ...] = REQUIRED  # columns in which no cell may be empty
    _missing: int = 0
    _ambiguous: set[str] = field(default_factory=set)
    _size: Callable[[Path], Preview] = field(init=False)

    def __post_init__(self) -> None:
        self._size = cache(self._look)  # many rows may be of one scan

    def check(self, table: pd.DataFrame, progress: bool) -> pd.DataFrame:
        """Check all rows: a table of one row a case, with whole paths and numbers, None where a cell is unreadable."""
        self._ambiguous = ambiguous(table["value"]) if "value" in table else set()
        bar = tqdm(table.itertuples(index=False), "checking", len(table), disable=not progress, unit="row", leave=False)
        rows = [self._row(dict(zip(table.columns, cells, strict=True))) for cells in bar]
        self.problems += cross_checks.repeats(rows)
        self._columns(rows)
        self.problems += cross_checks.spellings(rows)
        self.problems += cross_checks.leaks(rows)
        names = ["row", "id", "image", "value", "slice", "mask", "split", "group"]
        return pd.DataFrame({name: pd.Series([row[name] for row in rows], dtype=object) for name in names})

    def _row(self, cells: dict) -> dict:
        def attempt(column: str, reader: Callable, *more: object) -> Any:
            """A cell as ``reader`` reads it; None, and a problem, where it cannot."""
            text = cells.get(column, "")
            if column not in cells or (text == "" and column not in self.required):
                return None
            try:
                return reader(text, *more)
            except (ScanError, OSError) as error:
                end = "" if f"{error}".endswith(("?", ".")) else "."
                self.problems.append(Problem(cells["row"], harmless(cells.get("id", "")), column, f"{error}{end}"))
                return None

        image = attempt("image", self._path)
        size = attempt("image", lambda _: self._size(image)) if image else None
        mask = attempt("mask", self._path)
        return {
            "row": cells["row"],
            "id": attempt("id", identifier) or harmless(cells.get("id", "")),
            "image": image,
            "real": image and image.resolve(),
            "value": attempt("value", self._value),
            "slice": attempt("slice", self._slice, size),
            "cell": cells.get("slice", ""),
            "mask": mask if mask and attempt("mask", lambda _: _fits(mask, size)) else None,
            "split": cells.get("split"),
            "group": cells.get("group"),
        }

    def _path(self, text: str) -> Path:
        if not text or "\0" in text:
            raise ScanError("no path is given" if not text else "this is no path")
        path = self.root / text
        try:
            # With links followed: a link may not lead out of the root either.
            inside = path.resolve().is_relative_to(self.root.resolve())
            if not inside and not self.allow_outside:
                raise ScanError(f"{text!r} leads out of the data root {self.root}: give root=, or allow_outside=True")
            exists = path.exists()
        except (OSError, RuntimeError) as error:  # a name too long, a link to itself, a folder that is closed
            raise ScanError(f"{text!r} cannot be opened ({type(error).__name__})") from error
        if exists:
            return path
        if "\\" in text and (self.root / text.replace("\\", "/")).exists():
            raise ScanError(f"there is no {text!r}: write / instead of \\ in paths")
        self._missing += 1
        raise ScanError(missing(path) if self._missing <= _SUGGESTIONS else f"{path} does not exist")

    def _look(self, path: Path) -> Preview:
        links = (
            [file for file in path.iterdir() if file.is_symlink()] if path.is_dir() and not self.allow_outside else []
        )
        if out := sum(not link.resolve().is_relative_to(self.root.resolve()) for link in links):
            advice = "copy the files, give root=, or allow_outside=True"
            raise ScanError(f"{path} holds {out} link{'s' * (out > 1)} out of the data root {self.root}: {advice}")
        return preview(path)

    def _value(self, text: str) -> float:
        value, (low, high) = number(text, "value"), self.plausible
        plain = text.replace(".", "")
        if text in self._ambiguous and low <= float(plain) <= high:
            raise ScanError(f"the value {text!r} may mean {plain} or {text}0: write the one that it means")
        if value < 0:
            raise ScanError(f"the value {text} is negative, which no {self.task.name} is")
        if low <= value <= high:
            return value
        sentence = f"the value {text} lies outside {low:g} to {high:g} {self.task.unit}"
        for factor in _FACTORS:
            if low <= value / factor <= high:
                unit = "is it in mm2?" if (self.task.unit, factor) == ("cm2", 100) else "check its unit"
                raise ScanError(f"{sentence} and would be usual if it were {factor:g} times too large: {unit}")
            if value > 0 and low <= value * factor <= high:
                raise ScanError(f"{sentence} and would be usual if it were {factor:g} times too small: check its unit")
        # Where values are optional, `plausible` is no argument of the caller's.
        raise ScanError(f"{sentence}: check it" + ", or give plausible=(lowest, highest)" * ("value" in self.required))

    def _slice(self, text: str, size: Preview | None) -> int:
        index = number(text, "slice")
        if not index.is_integer() or index < 0:
            raise ScanError(f"the slice {text} is no whole number from 0 (feet) on")
        if self.task.ndim != 2:
            raise ScanError(f"the task {self.task.key!r} measures a volume: leave the slice empty")
        if size is not None and index >= size.slices:
            most = "has" if size.exact else "holds at most"
            raise ScanError(f"there is no slice {text}: the image {most} {size.slices}, counted from 0 (feet)")
        return int(index)

    def _columns(self, rows: list[dict]) -> None:
        """Problems of an optional column as a whole: it is filled in some rows only."""
        for column in ("mask", "split", "group"):
            empty = [row for row in rows if not row[column]]
            # A mask that could not be read has its problem already.
            known = {problem.row for problem in self.problems if problem.column == column}
            for row in empty if len(empty) < len(rows) else []:
                if row["row"] not in known:
                    sentence = f"no {column} is given, though other rows have one: all rows need one, or none."
                    self.problems.append(Problem(row["row"], row["id"], column, sentence))


def _fits(mask: Path, image: Preview | None) -> bool:
    """True for a NIfTI file of the image's size; else a ScanError."""
    if not is_nifti(mask):
        raise ScanError(f"{mask} is no NIfTI file (.nii, .nii.gz); convert the mask to one")
    own = preview(mask)
    if image is not None and not image.holds(own):
        raise ScanError(f"the mask has {own} slices, but its image has {image}: draw it on that image")
    return True
