"""Liver tumours: LiTS, task 3 of the Medical Segmentation Decathlon, and 3D-IRCADb-01."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom

from biomark.datasets.table import Labels, by_number, folder, mask_cell, read_labels, relative, slice_rows, table
from biomark.scans.header import open_header
from biomark.scans.scan import ScanError, reorient
from biomark.scans.stack import stack

_LIVER, _TUMOUR = 1, 2
_LEAST_LIVER_CM2 = 20.0  # with tumour, in a slice that is taken. Ours.
_MSD = "it should hold imagesTr/liver_N.nii.gz and labelsTr/liver_N.nii.gz, as Task03_Liver.tar unpacks"
_LITS = "it should hold volume-N.nii and segmentation-N.nii, as Training_Batch1.zip and Training_Batch2.zip unpack"
_IRCADB = "it should hold 3Dircadb1.N/PATIENT_DICOM and 3Dircadb1.N/MASKS_DICOM, with the inner zip files unpacked"


def msd_liver(
    root: str | Path, *, every_mm: float = 15.0, masks: str | Path | None = None, progress: bool = True
) -> pd.DataFrame:
    """Medical Segmentation Decathlon, task 3: liver tumour area in slices of 131 CTs, for the task ``liver``.

    - Licence: CC BY-SA 4.0. Access: open, medicaldecathlon.com. Cite Antonelli et al., Nature Communications 13:4128
      (2022), and LiTS (:func:`lits`), from which the images come.
    - Layout: ``Task03_Liver/imagesTr/liver_N.nii.gz`` and ``labelsTr/liver_N.nii.gz``: 0, 1 liver, 2 tumour.
    - Traps: the images are those of LiTS, and LiTS holds those of 3D-IRCADb-01: never train on one of the three and
      test on another. The archive has hidden files named ``._liver_N.nii.gz``; they are skipped. The set names no
      patients, so the group is the volume.

    Taken are slices with 20 cm2 of liver, and the one with the largest tumour; large tumours are so more common than in
    the livers.

    Args:
        root: ``Task03_Liver``, or the folder that holds it.
        every_mm: Distance of the slices taken, from the lowest with enough liver. Ours.
    """
    images = folder(root, "Task03_Liver/imagesTr", "imagesTr", layout=_MSD)
    volumes = _named("msd", images.glob("liver_*.nii.gz"), r"liver_(.+)\.nii\.gz")

    def rows(name: str) -> list[dict]:
        path = volumes[name]
        return _rows(name, path, read_labels(images.parent / "labelsTr" / path.name, path), root, every_mm, masks)

    return table(rows, {name: name for name in volumes}, "Task03_Liver", progress)


def lits(
    root: str | Path, *, every_mm: float = 15.0, masks: str | Path | None = None, progress: bool = True
) -> pd.DataFrame:
    """LiTS, the Liver Tumor Segmentation Benchmark: tumour area in slices of 131 CTs, for the task ``liver``.

    - Licence: not for commercial use; sources name CC BY-NC-ND 4.0 or CC BY-NC-SA 4.0, so ask the owner. Access:
      registration at competitions.codalab.org/competitions/17094. Cite Bilic et al., Medical Image Analysis 84:102680
      (2023).
    - Layout: anywhere below the root ``volume-N.nii`` and ``segmentation-N.nii`` (or ``.nii.gz``), in one folder or
      two: 0, 1 liver, 2 tumour. ``test-volume-N.nii`` has no labels and is not used.
    - Traps: as for :func:`msd_liver`, as are the slices taken. Where the headers of a volume and its segmentation do
      not agree, the volume is set aside, for the mask could lie mirrored on its image.

    Args:
        root: The folder that holds both batches.
        every_mm: As for :func:`msd_liver`.
    """
    top = folder(root, "", layout=_LITS)
    labels = _named("lits", top.rglob("segmentation-*.nii*"), r"segmentation-(.+?)\.nii(?:\.gz)?")
    volumes = _named("lits", top.rglob("volume-*.nii*"), r"volume-(.+?)\.nii(?:\.gz)?")
    if not volumes:
        raise ScanError(f"{top} holds no volume-N.nii: {_LITS}")

    def rows(name: str) -> list[dict]:
        path = volumes[name]
        drawn = labels.get(name, path.with_name(path.name.replace("volume", "segmentation")))
        return _rows(name, path, read_labels(drawn, path), root, every_mm, masks)

    return table(rows, {name: name for name in volumes}, "LiTS", progress)


def ircadb(
    root: str | Path, *, every_mm: float = 15.0, masks: str | Path | None = None, progress: bool = True
) -> pd.DataFrame:
    """3D-IRCADb-01: liver tumour area in slices of 20 CTs, for the task ``liver``.

    - Licence: CC BY-NC-ND, to be checked on the owner's page. Access: open, ircad.fr, one zip file a patient with zip
      files inside. Cite Soler et al., 3D image reconstruction for comparison of algorithm database, IRCAD (2010).
    - Layout: ``3Dircadb1.N/PATIENT_DICOM/image_k`` and ``3Dircadb1.N/MASKS_DICOM/<organ>/image_k``, DICOM without
      extension; a mask is 0 or 255 and belongs to the image of the same name.
    - Traps: ``image_10`` sorts before ``image_2``, so slices are ordered by position. Tumours lie in ``livertumor``,
      in ``livertumor1``, ``livertumor02``..., and in one patient in ``tumor``: every folder is taken whose name begins
      so, and overlaps count once. Cysts and removed metastases have folders of their own and are no tumours here. HU
      end at 1023. All 20 are part of LiTS too.

    Args:
        root: The folder that holds ``3Dircadb1.1`` and so on.
        every_mm: As for :func:`msd_liver`.
    """
    top = folder(root, "3Dircadb1", "", layout=_IRCADB)
    patients = _named("ircadb", filter(Path.is_dir, top.glob("3Dircadb1.*")), r"3Dircadb1\.(.+)")
    if not patients:
        raise ScanError(f"{top} holds no 3Dircadb1.N: {_IRCADB}")

    def rows(name: str) -> list[dict]:
        path = patients[name]
        return _rows(name, path / "PATIENT_DICOM", _dicom_labels(path), root, every_mm, masks)

    return table(rows, {path.name: name for name, path in patients.items()}, "3D-IRCADb-01", progress)


def _rows(
    name: str, image: Path, labels: Labels, root: str | Path, every_mm: float, masks: str | Path | None
) -> list[dict]:
    """The rows of one volume, labelled 1 for liver and 2 for tumour."""
    tumour = labels.areas_cm2(_TUMOUR)
    chosen = set(labels.every(every_mm, labels.areas_cm2(_LIVER, _TUMOUR) >= _LEAST_LIVER_CM2))
    if tumour.max() > 0:
        chosen.add(int(tumour.argmax()))
    cells = {"image": relative(image, root)}
    cells |= mask_cell(masks, name, labels.voxels == _TUMOUR, labels.affine, root) if chosen else {}
    return slice_rows(name, tumour, sorted(chosen), **cells)


def _named(prefix: str, paths: Iterable[Path], pattern: str) -> dict[str, Path]:
    """Files or folders by ``prefix-N``, in order, where N is the group of the pattern."""
    found = {match[1]: path for path in sorted(paths) if (match := re.fullmatch(pattern, path.name))}
    return {f"{prefix}-{number}": found[number] for number in sorted(found, key=by_number)}


def _dicom_labels(patient: Path) -> Labels:
    """Liver and tumour of one patient of 3D-IRCADb-01 on the voxels of the images."""
    organs, images = patient / "MASKS_DICOM", patient / "PATIENT_DICOM"
    for path in (images, organs, organs / "liver"):
        if not path.is_dir():
            zipped = path.with_suffix(".zip").exists()
            raise ScanError(f"there is no folder {path}: " + ("unpack the zip file beside it" if zipped else _IRCADB))
    headers = [header for path in sorted(images.iterdir()) if (header := open_header(path)) is not None]
    if not headers:
        raise ScanError(f"{images} holds no DICOM file: {_IRCADB}")
    ordered = stack(str(images), headers)
    voxels = np.zeros((len(headers), *ordered.headers[0].plane), np.uint8)
    tumours = sorted(p for p in organs.iterdir() if p.is_dir() and p.name.lower().startswith(("livertumor", "tumor")))
    for organ, label in ((organs / "liver", _LIVER), *((tumour, _TUMOUR) for tumour in tumours)):
        for header, plane in zip(ordered.headers, voxels, strict=True):
            plane[pydicom.dcmread(organ / header.path.name).pixel_array > 0] = label
    return Labels(*reorient(voxels, ordered.affine)[:2])
