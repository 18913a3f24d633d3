"""Problems between the rows of a manifest: the same thing twice, or one patient on both sides of a split."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator
from pathlib import Path

from biomark.manifests.sheet import Problem
from biomark.scans.dicom import in_order
from biomark.scans.preview import Preview
from biomark.scans.scan import ScanError


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
    sentence = "the same image and slice as in {1}: keep one of them."
    yield from _repeated(rows, "image", lambda row: shown(row) if row["image"] else None, sentence)


def spellings(rows: list[dict]) -> Iterator[Problem]:
    """A problem for every row that writes a split or a group otherwise than another row does."""
    for column in ("split", "group"):
        for _, group in _group_by(rows, lambda row, column=column: _casefold(row, column) or None):
            usual = group[0][column]
            where = f"is written {usual!r} in row {group[0]['row']}"
            for row in (row for row in group if row[column] != usual):
                sentence = f"the {column} {row[column]!r} {where}: write it the same way."
                yield Problem(row["row"], row["id"], column, sentence)


def leaks(rows: list[dict]) -> Iterator[Problem]:
    """A problem for every row of a group, or of an image without a group, that is in several splits."""
    for _, group in _group_by(rows, lambda row: _casefold(row, "group") or row["real"]):
        splits = {_casefold(row, "split") for row in group} - {""}
        for row in group if len(splits) > 1 else []:
            others = _listing(o["row"] for o in group if _casefold(o, "split") != _casefold(row, "split"))
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
        for row in group if len(group) > 1 else []:
            others = _listing(other["row"] for other in group if other is not row)
            yield Problem(row["row"], row["id"], column, sentence.format(value, others))


def _casefold(row: dict, column: str) -> str:
    return (row[column] or "").casefold()


def _group_by(rows: list[dict], key: Callable[[dict], Hashable | None]) -> list[tuple[Hashable, list[dict]]]:
    groups = defaultdict(list)
    for row in rows:
        if (value := key(row)) is not None:
            groups[value].append(row)
    return list(groups.items())


def _listing(rows: Iterable[int]) -> str:
    numbers = list(rows)
    more = f" and {len(numbers) - 3} more" if len(numbers) > 3 else ""
    return f"row{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers[:3]))}{more}"
