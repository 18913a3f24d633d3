"""Read a spreadsheet as text, cell by cell, so that every slip can be named by its row."""

from __future__ import annotations

import contextlib
import csv
import difflib
import io
import math
import re
import unicodedata
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from biomark.scans.scan import ScanError

REQUIRED = ("id", "image", "value")
OPTIONAL = ("slice", "mask", "split", "group")
COLUMNS = (*REQUIRED, *OPTIONAL)

# Ids become folders. Windows keeps these names for devices, with whatever ending.
_DEVICES = {"CON", "PRN", "AUX", "NUL", *(f"{port}{k}" for port in ("COM", "LPT") for k in range(1, 10))}
_TAKEN = ("values.csv",)
_LONGEST_BYTES = 200  # most disks take 255, and there are endings
_FORMULA = ("=", "+", "-", "@")
_LARGEST_BYTES = 512 * 2**20  # of an unpacked workbook: a hundred times that of 10,000 rows
_MOST_CELLS = 2**24  # of a tab: 10,000 rows with 1600 columns


class Problem(NamedTuple):
    """Something in a spreadsheet to correct."""

    row: int  # as a spreadsheet program counts: the column names are row 1
    id: str  # the row's id, as far as there is one
    column: str
    problem: str  # what is wrong and what to do


def read_sheet(
    path: Path, required: tuple[str, ...] = REQUIRED, known: tuple[str, ...] = COLUMNS
) -> tuple[pd.DataFrame, list[Problem]]:
    """Read the rows of a CSV file, or of the first tab of an Excel file, that must have the ``required`` columns.

    Returns:
        One row a case, without empty ones, with ``row``, the number of the row in the file, and those of the ``known``
        columns that the sheet has, as text without blanks around it; and the problems with columns and lines. In a CSV
        that is separated by semicolons, decimal commas of ``value`` have become points.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no table, or Excel of before 2007.
        ImportError: It is Excel and openpyxl is not installed.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}: give a CSV or Excel file with the columns id, image, value.")
    excel = path.suffix.lower() in (".xlsx", ".xlsm", ".xls")
    numbered, separator = (_excel(path), "") if excel else _csv(path)
    lines = {number: [cell.strip() for cell in line] for number, line in numbered}
    header = lines.pop(1, [])
    if not any(header):
        raise ValueError(f"{path} does not begin with a row of column names: write id, image, value there.")
    names, problems = _names(header, required, known)
    rows = []
    for number, line in lines.items():
        if not any(line):
            continue
        if separator and any(line[len(header) :]):  # in Excel a note may stand beside the table
            comma = " (is there a decimal comma, or a comma in a path? Write 31.5, and set such paths in quotes)"
            sentence = f"has {len(line)} cells, but there are {len(header)} columns{comma}."
            problems.append(Problem(number, harmless(line[0]), "", sentence))
            continue
        line = line + [""] * (len(header) - len(line))
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
    device = text.split(".")[0].rstrip().upper() in _DEVICES or text.casefold() in _TAKEN
    # A control character could hide in a table, and a formula is carried out by spreadsheets.
    odd = harmless(text) != text or set(text) & set('/\\<>:"|?*') or text[0] == "." or text[-1] == "."
    if odd or device or len(text.encode()) > _LONGEST_BYTES:
        raise ScanError(f"the id {text[:40]!r} cannot name a file: use 1 to {_LONGEST_BYTES} letters, digits, - and _")
    return text


def harmless(text: str) -> str:
    """A text that nothing carries out: no terminal as a command, and no spreadsheet program as a formula."""
    text = "".join(sign if sign.isprintable() else "?" for sign in text)
    return f"'{text}" if unicodedata.normalize("NFKC", text[:1]) in _FORMULA else text


def number(text: str, what: str) -> float:
    """A cell's text as a finite number; a ScanError, which calls it ``what``, where it is none."""
    if not text:
        raise ScanError(f"no {what} is given")
    if re.fullmatch(r"[+-]?[\d,]*,\d+", text):
        plain, point = text.replace(",", ""), text.replace(",", ".", 1)
        raise ScanError(f"the {what} {text!r} has a comma: write {point!r} or {plain!r}, whichever it means")
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


def _csv(path: Path) -> tuple[Iterable[tuple[int, list[str]]], str]:
    """The number and the cells of each line, and what separates them."""
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
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True))
    except csv.Error as error:
        raise ValueError(f"{path} is no proper CSV ({error}): save the sheet again, as CSV or .xlsx.") from error
    return enumerate(lines, start=1), separator


def _excel(path: Path) -> list[tuple[int, list[str]]]:
    """The number and the cells of each row that is not empty, of the first tab."""
    if path.suffix.lower() == ".xls":
        raise ValueError(f"{path} is in the Excel format before 2007: save it as .xlsx or as CSV.")
    try:
        import openpyxl
    except ImportError as error:
        raise ImportError('reading Excel needs openpyxl: pip install "biomark[excel]", or save as CSV.') from error
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(part.file_size for part in archive.infolist()) > _LARGEST_BYTES:
                raise ValueError(f"unpacked it takes more than {_LARGEST_BYTES / 2**20:.0f} MiB")
        # Not pandas': it fills all cells up to the last, so that one stray cell takes gigabytes.
        book = openpyxl.load_workbook(path, read_only=True, data_only=True, keep_links=False)
        with contextlib.closing(book):
            return _rows(book.worksheets[0])
    except Exception as error:  # a damaged archive can make the parser raise nearly anything
        raise ValueError(f"{path} cannot be read as Excel ({error}): save it again, as .xlsx or CSV.") from error


def _rows(tab: Any) -> list[tuple[int, list[str]]]:
    """The number and the cells, as text, of each row of a tab that is not empty."""
    tab.reset_dimensions()  # what the file claims of its size need not be so
    rows, count = [], 0
    for number, line in enumerate(tab.iter_rows(), start=1):
        count += len(line)
        if count > _MOST_CELLS:
            raise ValueError("cells far away from the table make too many empty ones")
        cells = [_cell(cell) for cell in line]
        while cells and not cells[-1]:
            cells.pop()
        if cells:
            rows.append((number, cells))
    return rows


def _cell(cell: Any) -> str:
    """What stands in a cell, as text; nothing for an error such as #N/A."""
    value = cell.value
    if value is None or cell.data_type == "e":
        return ""
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)
