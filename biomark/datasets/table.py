"""From the folders, labels and tables of a public set to the rows of a manifest, with the cases set aside."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import nibabel as nib
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm.auto import tqdm

from biomark.machine.files import atomic_write, expand
from biomark.manifests.sheet import COLUMNS
from biomark.scans import nifti
from biomark.scans.scan import ScanError

Case = TypeVar("Case")


class Labels(NamedTuple):
    """A label volume on the voxels of its scan."""

    voxels: NDArray[Any]  # whole numbers, (D, H, W), in the order of `Scan.hu`
    affine: NDArray[np.float64]  # from the index (d, h, w) to RAS mm

    def areas_cm2(self, *labels: int) -> NDArray[np.float64]:
        """Area of some labels together, slice by slice, shape (D,)."""
        inside = np.isin(self.voxels, labels).sum(axis=(1, 2))
        return inside * float(np.prod(np.linalg.norm(self.affine[:3, 1:3], axis=0))) / 100

    def every(self, mm: float, slices: NDArray[np.bool_]) -> list[int]:
        """Of the slices that are true, in shape (D,), one in so many mm, from the lowest on."""
        step_mm = float(np.linalg.norm(self.affine[:3, 0]))
        return np.flatnonzero(slices)[:: max(1, round(mm / step_mm))].tolist()


def read_labels(path: Path, image: Path) -> Labels:
    """Read labels on the voxels of an image, both NIfTI; a ScanError where one is damaged or they do not match."""
    for file in (path, image):
        if not file.is_file():
            raise ScanError(f"there is no file {file}")
    shape, affine = nifti.header_of(image)
    if nifti.header_of(path)[0] != shape:
        raise ScanError(f"{path} and its image {image.name} differ in size: they do not belong together")
    return Labels(nifti.read_labels(path, shape, affine), affine)


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
    inside = [p for p in path.iterdir() if p.is_dir()] if path.is_dir() else []
    if len(inside) != 1:
        raise ScanError(f"{path} holds {len(inside)} folders; one, with the DICOM files of one series, is expected")
    return inside[0]


def by_number(name: str) -> tuple[int, str]:
    """A key that sorts names by the first number in them."""
    return int((re.findall(r"\d+", name) or ["0"])[0]), name


def relative(path: Path, root: str | Path) -> str:
    """A path as a manifest has it: relative to the root, or whole where it does not lie in the root."""
    path, root = path.absolute(), expand(root).absolute()
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


def column(path: Path, key: str, name: str, separator: str, layout: str) -> pd.Series:
    """The texts of one column of a CSV or .xlsx file by those of another, whatever the capitals of their names.

    Raises:
        ScanError: It is no table, or has not each column once; the sentence ends with the layout.
        ImportError: It is Excel and openpyxl is not installed.
    """
    try:
        if path.suffix == ".xlsx":
            sheet = pd.read_excel(path, engine="openpyxl", dtype=str)
        else:
            sheet = pd.read_csv(path, sep=separator, dtype=str)
        if not isinstance(sheet.index, pd.RangeIndex):  # pandas takes the first cells of longer rows for names
            raise ValueError("rows are longer than the header")
    except ImportError as error:
        raise ImportError(f'reading {path.name} needs openpyxl: run pip install "biomark[excel]".') from error
    except Exception as error:  # a damaged file can make the parser raise nearly anything
        reason = " ".join(str(error).split())
        raise ScanError(f"{path} is no table ({reason}): download it again, and open it in no other program") from error
    sheet.columns = [str(label).strip().lower() for label in sheet.columns]
    for label in (key, name):
        if (count := list(sheet).count(label)) != 1:
            raise ScanError(f"{path} has {count} columns {label!r}, in whatever letters, not one: {layout}")
    sheet = sheet.dropna(subset=key).set_index(key)[name].rename(path.name)
    return sheet.set_axis(sheet.index.str.strip())


def cell(column: pd.Series, key: str) -> str:
    """The text of a case; a ScanError where the table has none for it, or two."""
    found = column[column.index == key]
    if len(found) != 1:
        raise ScanError(f"{column.name} has {len(found)} rows for {key!r}: one is needed")
    return found.iloc[0]


def mask_cell(
    masks: str | Path | None, name: str, mask: NDArray[np.bool_], affine: NDArray[np.float64], root: str | Path
) -> dict[str, str]:
    """Write a mask (D, H, W) to ``masks/<name>.nii.gz``: its cell in a manifest; none where ``masks`` is None."""
    if masks is None:
        return {}
    image = nib.Nifti1Image(mask.astype(np.uint8), affine)
    image.header.set_xyzt_units("mm")
    path = expand(masks) / f"{name}.nii.gz"
    with atomic_write(path) as partial:
        nib.save(image, partial)
    return {"mask": relative(path, root)}


def slice_rows(name: str, areas_cm2: NDArray, slices: Sequence[int], **cells: str) -> list[dict]:
    """A row for each slice of a scan that is taken, with the area in it; a ScanError where none is."""
    if not slices:
        raise ScanError("no slice has enough of the organ or tissue, or none is annotated")
    return [{"id": f"{name}-{k}", "value": areas_cm2[k], "slice": k, "group": name} | cells for k in slices]


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
