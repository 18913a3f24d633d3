"""Read a spreadsheet as text, cell by cell, so that every slip can be named by its row."""

from __future__ import annotations

import csv
import difflib
import io
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from biomark.scans.scan import ScanError

REQUIRED = ("id", "image", "value")
OPTIONAL = ("slice", "mask", "split", "group")
COLUMNS = (*REQUIRED, *OPTIONAL)


class Problem(NamedTuple):
    """Something in a spreadsheet to correct."""

    row: int  # as a spreadsheet program counts: the column names are row 1
    id: str  # the row's id, as far as there is one
    column: str
    problem: str  # what is wrong and what to do


def read_sheet(
    path: Path, required: tuple[str, ...] = REQUIRED, known: tuple[str, ...] = COLUMNS
) -> tuple[pd.DataFrame, list[Problem]]:
    """Read the rows of a CSV or Excel file that must have the ``required`` columns.

    Returns:
        One row a case, without empty ones, with ``row``, the number of the row in the file, and those of the ``known``
        columns that the sheet has, as text without blanks around it; and the problems with columns and lines. In a CSV
        that is separated by semicolons, decimal commas of ``value`` have become points.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no table, Excel of before 2007, or has the columns in several tabs.
        ImportError: It is Excel and openpyxl is not installed.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no file {path}: give the CSV or Excel file with the columns id, image, value."
        )
    excel = path.suffix.lower() in (".xlsx", ".xlsm", ".xls")
    lines, separator = (_excel(path, required), "") if excel else _csv(path)
    lines = [[cell.strip() for cell in line] for line in lines]
    if not lines or not any(lines[0]):
        raise ValueError(f"{path} does not begin with a row of column names: write id, image, value there.")
    names, problems = _names(lines[0], required, known)
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        if not any(line):
            continue
        if any(line[len(lines[0]) :]):
            comma = " (is there a decimal comma, or a comma in a path? Write 31.5, and set such paths in quotes)"
            sentence = f"has {len(line)} cells, but there are {len(lines[0])} columns{comma}."
            problems.append(Problem(number, line[0], "", sentence))
            continue
        line = line + [""] * (len(lines[0]) - len(line))
        rows.append({"row": number} | {name: line[i] for name, i in names.items()})
    if not rows and not problems:
        raise ValueError(f"{path} has column names but no rows below them.")
    # Programs separate by semicolons where the comma is the decimal mark.
    if separator == ";" and "value" in names:
        _point_decimals(rows)
    return pd.DataFrame(rows, columns=["row", *names]), problems


def ambiguous(texts: Iterable[str]) -> set[str]:
    """Numbers of a column that may be grouped by thousands: the 1.234 and 2.017 among 85, 412 and 12.

    Decimals stand in most cells of a column that has any, and are rarely three in each.
    """
    texts = {text for text in texts if text}
    marked = {text for text in texts if set(text) & {".", ","}}
    like_groups = all(re.fullmatch(r"[+-]?[1-9]\d{0,2}[.,]\d{3}", text) for text in marked)
    return marked if like_groups and marked < texts else set()


def identifier(text: str) -> str:
    """A cell's text as a name that files can have; a ScanError where it is none."""
    if not text:
        raise ScanError("no id is given")
    # Ids become names of files; a control character could hide in a table.
    if not text.isprintable() or set(text) & set('/\\<>:"|?*') or text.strip(".") == "":
        raise ScanError(f"the id {text!r} cannot name a file: use letters, digits, - and _")
    return text


def number(text: str, what: str) -> float:
    """A cell's text as a finite number; a ScanError, which calls it ``what``, where it is none."""
    if not text:
        raise ScanError(f"no {what} is given")
    if re.fullmatch(r"[+-]?[1-9]\d{0,2}(,\d{3})+", text):
        plain, point = text.replace(",", ""), text.replace(",", ".", 1)
        raise ScanError(f"the {what} {text!r} has a comma: write {plain!r} or {point!r}, whichever it means")
    if re.fullmatch(r"[+-]?\d*,\d+", text):
        raise ScanError(f"the {what} {text!r} has a comma: write {text.replace(',', '.')!r} if it is a decimal one")
    try:
        value = float(text) if "_" not in text else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ScanError(f"the {what} {text!r} is not a number: write the number alone, such as 31.5")
    return value


def _names(
    header: list[str], required: tuple[str, ...], known: tuple[str, ...]
) -> tuple[dict[str, int], list[Problem]]:
    """The position of each known column, whatever its capitals; and problems with the names."""
    lower, problems = [name.lower() for name in header], []
    names = {name: lower.index(name) for name in known if name in lower}
    for name in names:
        if lower.count(name) > 1:
            problems.append(Problem(1, "", name, f"there are {lower.count(name)} columns {name!r}: keep one of them."))
    strange = [name for name in header if name and name.lower() not in COLUMNS]
    for name in known:
        if name in names:
            continue
        near = difflib.get_close_matches(name, [s.lower() for s in strange], n=1, cutoff=0.7)
        meant = f"rename {strange[[s.lower() for s in strange].index(near[0])]!r}, if that is it" if near else ""
        if name in required:
            have = meant or f"the columns are {', '.join(map(repr, filter(None, header)))}"
            problems.append(Problem(1, "", name, f"there is no column {name!r}: {have}."))
        elif near:
            sentence = f"a column is named nearly {name!r}: {meant}; else give it another name."
            problems.append(Problem(1, "", name, sentence))
    return names, problems


def _point_decimals(rows: list[dict]) -> None:
    """Rewrite values with a decimal comma, and those beside them with points between thousands."""
    comma = re.compile(r"[+-]?(\d{1,3}(\.\d{3})+|\d*),\d+")
    if any(comma.fullmatch(row["value"]) for row in rows):
        for row in rows:
            if comma.fullmatch(row["value"]) or re.fullmatch(r"[+-]?\d{1,3}(\.\d{3})+", row["value"]):
                row["value"] = row["value"].replace(".", "").replace(",", ".")


def _csv(path: Path) -> tuple[list[list[str]], str]:
    """The cells of each line, and what separates them."""
    raw = path.read_bytes()
    if b"\0" in raw:
        raise ValueError(f"{path} is no text: save the sheet as CSV (UTF-8) or as .xlsx.")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("cp1252", errors="replace")  # what Excel calls plain CSV on Windows
    first = text.lstrip().split("\n", 1)[0]
    separator = max(",;\t", key=first.count)
    try:
        return list(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)), separator
    except csv.Error as error:
        raise ValueError(f"{path} is no proper CSV ({error}): save the sheet again, as CSV or .xlsx.") from error


def _excel(path: Path, required: tuple[str, ...]) -> list[list[str]]:
    if path.suffix.lower() == ".xls":
        raise ValueError(f"{path} is in the Excel format before 2007: save it as .xlsx or as CSV.")
    try:
        tabs = pd.read_excel(path, sheet_name=None, header=None, dtype=str, na_filter=False, engine="openpyxl")
    except ImportError as error:
        raise ImportError(
            'reading Excel needs openpyxl: run pip install "biomark[excel]", or save the sheet as CSV.'
        ) from error
    except Exception as error:  # a damaged archive can make the parser raise nearly anything
        raise ValueError(f"{path} cannot be read as Excel ({error}): save it again, as .xlsx or CSV.") from error
    tables = {
        name: [["" if pd.isna(cell) else str(cell) for cell in line] for line in table.itertuples(index=False)]
        for name, table in tabs.items()
    }
    # Only one is read, and nobody would miss the rows of another.
    whole = [
        name for name, lines in tables.items() if lines and set(required) <= {cell.strip().lower() for cell in lines[0]}
    ]
    if len(whole) > 1:
        listed = ", ".join(map(repr, whole))
        raise ValueError(f"{path} has the columns {', '.join(required)} in the tabs {listed}: keep one of them.")
    return next(iter(tables.values()))
