"""Problems between the rows of a manifest: the same thing twice, or one patient on both sides of a split."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterator
from itertools import islice
from pathlib import Path

from biomark.manifests.likeness import alike
from biomark.manifests.sheet import Problem
from biomark.scans.dicom import in_order
from biomark.scans.preview import Preview
from biomark.scans.scan import ScanError

_LISTED = 3


def repeats(rows: list[dict], sizes: dict[Path, Preview], ndim: int) -> Iterator[Problem]:
    """A problem for every row that has the id of another, or shows the same slice of the same image.

    ``sizes`` are those of the images, by path; in a row ``real`` is the path with links followed.
    """
    middles = _middles(rows, sizes) if ndim == 2 else {}

    def shown(row: dict) -> Hashable:
        if row["slice"] is not None or row["cell"]:
            return row["real"], row["cell"] if row["slice"] is None else row["slice"]
        return row["real"], middles.get(row["real"], "")

    yield from _repeated(rows, "id", lambda row: row["id"] or None, "the id {0!r} is also that of {1}.")
    yield from _folders(rows)
    sentence = "the same image and slice as in {1}: keep one of them."
    yield from _repeated(rows, "image", lambda row: shown(row) if row["image"] else None, sentence)


def spellings(rows: list[dict]) -> Iterator[Problem]:
    """A problem for every row that writes a split or a group otherwise than another row does."""
    for column in ("split", "group"):
        keys = alike(row[column] or "" for row in rows)
        for _, group in _group_by(rows, lambda row, c=column, k=keys: k[row[c] or ""] or None):
            usual = group[0][column]
            for row in (row for row in group if row[column] != usual):
                one, other = _apart(row[column], usual)
                sentence = f"the {column} {one} is written {other} in row {group[0]['row']}: write it the same way, "
                sentence += "or less alike if it is another."
                yield Problem(row["row"], row["id"], column, sentence)


def leaks(rows: list[dict]) -> Iterator[Problem]:
    """A problem for every row of a group, or of an image without a group, that is in several splits."""
    groups, splits = (alike(row[column] or "" for row in rows) for column in ("group", "split"))
    for _, group in _group_by(rows, lambda row: groups[row["group"] or ""] or row["real"]):
        apart = _others(group, lambda row: splits[row["split"] or ""])
        several = len({splits[row["split"] or ""] for row in group} - {""}) > 1
        for row, others in apart if several else ():
            what = f"the group {row['group']!r}" if row["group"] else "the image"
            sentence = f"{what} is in {row['split']!r} here and in another split in {others}: keep it in one."
            yield Problem(row["row"], row["id"], "split", sentence)


def _middles(rows: list[dict], sizes: dict[Path, Preview]) -> dict[Path, int]:
    """The middle slice of every image of which one row names no slice and another one does."""
    middles = {}
    for real, group in _group_by(rows, lambda row: row["real"]):
        size = sizes.get(group[0]["image"])
        if size is None or len({row["slice"] is None for row in group}) == 1:
            continue
        if size.exact:
            middles[real] = size.slices // 2
        elif size.plane is not None:  # axial slices, and perhaps other files among them
            try:
                middles[real] = len(in_order(real)) // 2
            except (ScanError, OSError):
                continue  # reading the scan will say why
    return middles


def _repeated(
    rows: list[dict], column: str, key: Callable[[dict], Hashable | None], sentence: str
) -> Iterator[Problem]:
    """A problem for every row that shares a key with another."""
    for value, group in _group_by(rows, key):
        for row, others in _others(group, lambda row: row["row"]) if len(group) > 1 else ():
            yield Problem(row["row"], row["id"], column, sentence.format(value, others))


def _folders(rows: list[dict]) -> Iterator[Problem]:
    """A problem for every row whose id names the folder of another's on macOS and Windows."""

    def folder(row: dict) -> str | None:
        return unicodedata.normalize("NFC", unicodedata.normalize("NFC", row["id"]).casefold()) or None

    for _, group in _group_by(rows, folder):
        for row, others in _others(group, lambda row: row["id"]):
            if others:
                sentence = f"the id {row['id']!a} names the same folder as that of {others} on macOS and Windows: "
                yield Problem(
                    row["row"], row["id"], "id", sentence + "make them differ by more than capitals or accents."
                )


def _apart(one: str, other: str) -> tuple[str, str]:
    """Two texts in quotes that can be told apart, also where both look the same."""
    same = unicodedata.normalize("NFKC", one) == unicodedata.normalize("NFKC", other)
    return (ascii(one), ascii(other)) if same else (repr(one), repr(other))


def _group_by(rows: list[dict], key: Callable[[dict], Hashable | None]) -> list[tuple[Hashable, list[dict]]]:
    groups = defaultdict(list)
    for row in rows:
        if (value := key(row)) is not None:
            groups[value].append(row)
    return list(groups.items())


def _others(group: list[dict], key: Callable[[dict], Hashable]) -> Iterator[tuple[dict, str]]:
    """Each row of a group with a listing of the rows that have another key; in time that grows with their number."""
    keys = [key(row) for row in group]
    counts, seen, first = Counter(keys), Counter(), []
    for row, own in zip(group, keys, strict=True):
        seen[own] += 1
        if seen[own] <= _LISTED:  # none further is ever listed
            first.append((own, row["row"]))
    for row, own in zip(group, keys, strict=True):
        several = islice((number for other, number in first if other != own), _LISTED)
        yield row, _listing([*several], len(group) - counts[own])


def _listing(numbers: list[int], count: int) -> str:
    """The first rows of so many; nothing where there is none."""
    more = f" and {count - len(numbers)} more" if count > len(numbers) else ""
    return f"row{'s' * (count > 1)} {', '.join(map(str, numbers))}{more}" if count else ""
