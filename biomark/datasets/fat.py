"""Subcutaneous fat: SAROS, and the TotalSegmentator data set with its tissue masks."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from biomark.datasets.table import cell, column, folder, mask_cell, read_labels, relative, slice_rows, table
from biomark.scans.scan import ScanError

_SAROS = "it should hold data/case_NNN with image.nii.gz and body-regions.nii.gz, and Segmentation Info.csv"
_TOTAL = "it should hold s0000/ct.nii.gz and so on, as Totalsegmentator_dataset unpacks"
_SUBCUTANEOUS, _THORAX, _NOT_ANNOTATED = 1, 4, 255
_LEAST_CM2 = 5.0  # in a slice that is taken; less is implausible for the task `sfa`


def saros(
    root: str | Path, *, chest: bool = False, masks: str | Path | None = None, progress: bool = True
) -> pd.DataFrame:
    """SAROS: subcutaneous tissue area in the annotated slices of about 900 CTs, for the task ``sfa``.

    - Licence: the annotations have one of their own, and each image that of its TCIA collection; some are restricted.
      Access: doi 10.25737/SZ96-ZG60 for the annotations; the script of github.com/UMEssen/saros-dataset fetches images.
      Cite Koitka et al., SAROS, Scientific Data 11:483 (2024), and the collections.
    - Layout: ``data/case_NNN/image.nii.gz`` and ``body-regions.nii.gz``, 5 mm slices; ``Segmentation Info.csv`` with
      the columns ``id`` and ``split`` (fold-1 to fold-5, test), in the root or one folder below it.
    - Traps: 255 says that nothing is annotated there, so only slices without any 255 count; label 1 is subcutaneous
      tissue with all that lies in it, not fat alone, and of arms and head too where they are in the slice; label 8,
      implants, is left out. case_609, case_623 and case_816 have values of -3000 HU. The set names no patients: the
      group is the case.

    Args:
        root: The folder that holds ``data`` and ``Segmentation Info.csv``.
        chest: Take only slices with thoracic cavity (label 4).
    """
    data = folder(root, "data", layout=_SAROS)
    found = [*data.parent.glob("Segmentation Info.csv"), *data.parent.glob("*/Segmentation Info.csv")]
    if not found:
        raise ScanError(f"{data.parent} holds no 'Segmentation Info.csv': {_SAROS}")
    splits = column(found[0], "id", "split", ",", _SAROS)

    def rows(case: Path) -> list[dict]:
        image, name = case / "image.nii.gz", f"saros-{case.name}"
        cells = {"image": relative(image, root), "split": cell(splits, case.name)}
        labels = read_labels(case / "body-regions.nii.gz", image)
        areas = labels.areas_cm2(_SUBCUTANEOUS)
        usable = (labels.areas_cm2(_NOT_ANNOTATED) == 0) & (areas >= _LEAST_CM2)
        if chest:
            usable &= labels.areas_cm2(_THORAX) > 0
        if usable.any():
            cells |= mask_cell(masks, name, labels.voxels == _SUBCUTANEOUS, labels.affine, root)
        return slice_rows(name, areas, labels.every(0, usable), **cells)

    cases = sorted(p for p in data.glob("case_*") if p.is_dir())
    return table(rows, {case.name: case for case in cases}, "SAROS", progress)


def totalsegmentator(root: str | Path, *, every_mm: float = 15.0, progress: bool = True) -> pd.DataFrame:
    """TotalSegmentator's CTs with tissue masks that you let its model draw: subcutaneous fat, for the task ``sfa``.

    - Licence: data CC BY 4.0; the model for tissues needs a licence key, free for research only. Access: open,
      doi 10.5281/zenodo.6802613 (version 2: 1,228 CTs). Cite Wasserthal et al., Radiology: Artificial Intelligence
      5(5):e230024 (2023).
    - Layout: ``s0000/ct.nii.gz``; ``s0000/tissue_types/subcutaneous_fat.nii.gz`` of your own, from
      ``TotalSegmentator -i s0000/ct.nii.gz -o s0000/tissue_types -ta tissue_types``; ``meta.csv`` with the columns
      ``image_id`` and ``split``, separated by semicolons.
    - Traps: the set itself has neither subcutaneous fat nor pectoralis among its classes, so numbers and masks are
      **a model's, not a reader's**: good for trying things out, never for a claim about accuracy. Its images were
      resampled to 1.5 mm, and many are cut so narrowly that fat is missing at the sides.

    Args:
        root: The folder with ``s0000`` and so on, or the one that holds it.
        every_mm: Distance of the slices taken, from the lowest with enough fat. Ours.
    """
    top = folder(root, "s[0-9]*", "*/s[0-9]*", layout=_TOTAL).parent
    meta = top / "meta.csv"
    splits = column(meta, "image_id", "split", ";", _TOTAL) if meta.is_file() else None

    def rows(case: Path) -> list[dict]:
        image, mask = case / "ct.nii.gz", case / "tissue_types" / "subcutaneous_fat.nii.gz"
        cells = {"image": relative(image, root), "mask": relative(mask, root)}
        cells |= {} if splits is None else {"split": cell(splits, case.name)}
        labels = read_labels(mask, image)
        areas = labels.areas_cm2(1)
        chosen = labels.every(every_mm, areas >= _LEAST_CM2)
        return slice_rows(f"totalsegmentator-{case.name}", areas, chosen, **cells)

    cases = sorted(p for p in top.iterdir() if p.is_dir() and re.fullmatch(r"s\d+", p.name))
    return table(rows, {case.name: case for case in cases}, "TotalSegmentator", progress)
