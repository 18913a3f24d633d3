"""Problems between the rows of a manifest: the same thing twice, or one patient on both sides of a split."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator
from decimal import Decimal
from functools import partial

from biomark.manifests.sheet import Problem

_DIGITS = 28  # Decimal's own; longer numbers would be rounded to the same


def repeats(rows: list[dict]) -> Iterator[Problem]:
    """A problem for every row that has the id of another, or shows the same slice of the same image.

    In a row ``real`` is the image's path with links followed.
    """
    for row, other in _clashes(rows, lambda row: row["id"] or None, lambda row: row["row"]):
        yield Problem(row["row"], row["id"], "id", f"the id {row['id']!r} is also that of row {other['row']}.")
    for row, other in _clashes(rows, lambda row: _folded(row["id"]) or None, lambda row: row["id"]):
        sentence = f"the id {row['id']!a} names the same folder as that of row {other['row']} on macOS and Windows: "
        yield Problem(row["row"], row["id"], "id", sentence + "make them differ by more than capitals or accents.")

    def shown(row: dict) -> Hashable:
        return row["image"] and (row["real"], row["cell"] if row["slice"] is None else row["slice"])

    for row, other in _clashes(rows, shown, lambda row: row["row"]):
        sentence = f"the same image and slice as in row {other['row']}: keep one of them."
        yield Problem(row["row"], row["id"], "image", sentence)


def spellings(rows: list[dict]) -> Iterator[Problem]:
    """A problem for every row that writes a split or a group otherwise than another row does."""
    for column in ("split", "group"):
        for first, *others in _groups(rows, partial(_spelling, column)):
            usual = first[column]
            for row in (row for row in others if row[column] != usual):
                same = unicodedata.normalize("NFKC", row[column]) == unicodedata.normalize("NFKC", usual)
                show = ascii if same else repr  # where both look the same
                sentence = f"the {column} {show(row[column])} is written {show(usual)} in row {first['row']}: "
                sentence += "write it the same way, or less alike if it is another."
                yield Problem(row["row"], row["id"], column, sentence)


def leaks(rows: list[dict]) -> Iterator[Problem]:
    """A problem for every row of a group, or of an image without a group, that is in several splits."""

    def patient(row: dict) -> Hashable:
        return (alike(row["group"] or "") or row["real"]) if row["split"] else None

    for row, other in _clashes(rows, patient, lambda row: alike(row["split"])):
        what = f"the group {row['group']!r}" if row["group"] else "the image"
        sentence = f"{what} is in {row['split']!r} here and in another split in row {other['row']}: keep it in one."
        yield Problem(row["row"], row["id"], "split", sentence)


def alike(text: str) -> str:
    """A key, the same for texts that a person takes for one: the patient 007 is the 7, and Excel's 7.0.

    Capitals, blanks, dashes, accents as one sign or two and zeros in front make no difference.
    """
    kinds = [(sign, unicodedata.category(sign)) for sign in _folded(unicodedata.normalize("NFKC", text))]
    signs = "".join("-" if kind == "Pd" else sign for sign, kind in kinds if kind != "Cf").strip()
    if re.fullmatch(r"\d+(\.\d*)?(e[+-]?\d{1,3})?", signs) and len(signs) <= _DIGITS:
        return str(Decimal(signs).normalize())
    # Between digits a blank or a dash tells 1-1 from 11.
    short = re.sub(r"(?<!\d)-|-(?!\d)", "", re.sub(r"[\s_.-]+", "-", signs))
    return re.sub(r"(?<!\d)0+(?=\d)", "", short) or signs


def _spelling(column: str, row: dict) -> str | None:
    return alike(row[column] or "") or None


def _folded(text: str) -> str:
    """A text without capitals, and with accents as one sign."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def _groups(rows: list[dict], key: Callable[[dict], Hashable | None]) -> list[list[dict]]:
    """The rows of each key that is not None."""
    groups = defaultdict(list)
    for row in rows:
        if (value := key(row)) is not None:
            groups[value].append(row)
    return list(groups.values())


def _clashes(
    rows: list[dict], key: Callable[[dict], Hashable | None], part: Callable[[dict], Hashable]
) -> Iterator[tuple[dict, dict]]:
    """Each row that shares its key with a row of another ``part``, and the first such row."""
    for group in _groups(rows, key):
        first = part(group[0])
        second = next((row for row in group if part(row) != first), None)
        if second is not None:
            yield from ((row, second if part(row) == first else group[0]) for row in group)
