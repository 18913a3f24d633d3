"""What is wrong between the rows of a manifest: the same thing twice, or one patient on both sides of a split."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path

from biomark.manifests.sheet import Problem
from biomark.scans.dicom import in_order
from biomark.scans.preview import Preview
from biomark.scans.scan import ScanError


def repeats(rows: list[dict], sizes: dict[Path, Preview], ndim: int) -> Iterator[Problem]:
    """A problem for every row that has the id of another, or shows the same slice of the same image.

    Args:
        rows: As a checker reads them; ``real`` is the image's path with links followed.
        sizes: Sizes of the images, by ``image``.
        ndim: Axes of the task's images.
    """
    middles = _middles(rows, sizes) if ndim == 2 else {}

    def shown(row: dict) -> Hashable:
        if row["slice"] is not None or row["cell"]:
            return row["real"], row["cell"] if row["slice"] is None else row["slice"]
        return row["real"], middles.get(row["real"], "")

    yield from _twice(rows, "id", lambda row: row["id"] or None, "the id {0!r} is also that of {1}.")
    sentence = "the same image and slice as in {1}: keep one of them."
    yield from _twice(rows, "image", lambda row: shown(row) if row["image"] else None, sentence)


def unlike(rows: list[dict]) -> Iterator[Problem]:
    """A problem for every row that writes a split or a group otherwise than another row does."""
    for column in ("split", "group"):
        for _, group in _grouped(rows, lambda row, column=column: _folded(row, column) or None):
            usual = group[0][column]
            for row in group:
                if row[column] != usual:
                    where = f"is written {usual!r} in row {group[0]['row']}"
                    yield Problem(
                        row["row"], row["id"], column, f"the {column} {row[column]!r} {where}: write it alike."
                    )


def leaks(rows: list[dict]) -> Iterator[Problem]:
    """A problem for every row of a patient, or where no groups are given of an image, that is in several splits."""
    for _, group in _grouped(rows, lambda row: _folded(row, "group") or row["real"]):
        splits = {_folded(row, "split") for row in group} - {""}
        for row in group if len(splits) > 1 else []:
            others = _listed(o["row"] for o in group if _folded(o, "split") != _folded(row, "split"))
            what = f"the group {row['group']!r}" if row["group"] else "the image"
            sentence = f"{what} is in {row['split']!r} here and in another split in {others}: keep it in one."
            yield Problem(row["row"], row["id"], "split", sentence)


def _middles(rows: list[dict], sizes: dict[Path, Preview]) -> dict[Path, int]:
    """The middle slice of every image of which one row names no slice and another one does."""
    found = {}
    for real, group in _grouped(rows, lambda row: row["real"]):
        size = sizes.get(group[0]["image"])
        if size is None or len({row["slice"] is None for row in group}) == 1:
            continue
        if size.exact:
            found[real] = size.slices // 2
        elif size.plane is not None:  # axial slices, and perhaps other files among them
            try:
                found[real] = len(in_order(real)) // 2
            except (ScanError, OSError):
                continue  # reading the scan will say why
    return found


def _twice(rows: list[dict], column: str, key: Callable[[dict], Hashable | None], sentence: str) -> Iterator[Problem]:
    """A problem for every row that shares a key with another."""
    for value, group in _grouped(rows, key):
        for row in group if len(group) > 1 else []:
            others = _listed(other["row"] for other in group if other is not row)
            yield Problem(row["row"], row["id"], column, sentence.format(value, others))


def _folded(row: dict, column: str) -> str:
    """A cell whatever its capitals."""
    return (row[column] or "").casefold()


def _grouped(rows: list[dict], key: Callable[[dict], Hashable | None]) -> list[tuple[Hashable, list[dict]]]:
    groups = defaultdict(list)
    for row in rows:
        if (value := key(row)) is not None:
            groups[value].append(row)
    return list(groups.items())


def _listed(rows: Iterator[int]) -> str:
    numbers = list(rows)
    more = f" and {len(numbers) - 3} more" if len(numbers) > 3 else ""
    return f"row{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers[:3]))}{more}"
