"""Liver tumours in DICOM: 3D-IRCADb-01."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pydicom

from biomark.datasets.labels import Labels
from biomark.datasets.liver import LIVER, TUMOUR, Sampling, numbered, refuse_unnumbered
from biomark.datasets.table import folder, table
from biomark.scans.header import open_header
from biomark.scans.orientation import reorient
from biomark.scans.scan import ScanError
from biomark.scans.stack import stack

_LAYOUT = "it should hold 3Dircadb1.N/PATIENT_DICOM and 3Dircadb1.N/MASKS_DICOM, with the inner zip files unpacked"


def ircadb(
    root: str | Path,
    *,
    every_mm: float = 15.0,
    least_liver_cm2: float = 20.0,
    largest: bool = True,
    masks: str | Path | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """3D-IRCADb-01: liver tumour area in slices of 20 CTs, for the task ``liver``.

    Other arguments and the result are as for :func:`msd_liver`.

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
    """
    top = folder(root, "3Dircadb1", "", layout=_LAYOUT)
    folders = (path for path in top.glob("3Dircadb1.*") if path.is_dir())
    patients = numbered("ircadb", folders, r"3Dircadb1\.(\d+)")
    if not patients:
        raise ScanError(f"{top} holds no 3Dircadb1.N: {_LAYOUT}")
    sampling = Sampling(root, every_mm, least_liver_cm2, largest, masks)

    def rows(name: str) -> list[dict]:
        refuse_unnumbered(name, patients[name])
        return sampling.rows(name, patients[name] / "PATIENT_DICOM", _labels(patients[name]))

    return table(rows, {path.name: name for name, path in patients.items()}, "3D-IRCADb-01", progress)


def _labels(patient: Path) -> Labels:
    """Liver and tumour of one patient on the voxels of the images."""
    organs, images = patient / "MASKS_DICOM", patient / "PATIENT_DICOM"
    for path in (images, organs, organs / "liver"):
        if not path.is_dir():
            zipped = path.with_suffix(".zip").exists()
            raise ScanError(f"there is no folder {path}: " + ("unpack the zip file beside it" if zipped else _LAYOUT))
    headers = [header for path in sorted(images.iterdir()) if (header := open_header(path)) is not None]
    if not headers:
        raise ScanError(f"{images} holds no DICOM file: {_LAYOUT}")
    ordered = stack(str(images), headers)
    voxels = np.zeros((len(headers), *ordered.headers[0].plane), np.uint8)
    tumours = sorted(p for p in organs.iterdir() if p.is_dir() and p.name.lower().startswith(("livertumor", "tumor")))
    for organ, label in ((organs / "liver", LIVER), *((tumour, TUMOUR) for tumour in tumours)):
        for header, plane in zip(ordered.headers, voxels, strict=True):
            plane[_read_plane(organ / header.path.name, plane.shape)] = label
    return Labels(*reorient(voxels, ordered.affine)[:2])


def _read_plane(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """One slice of a mask, of the image of the same name."""
    if not path.is_file():
        raise ScanError(f"there is no {path}: every image should have a mask of its name; unpack the archive again")
    try:
        drawn = pydicom.dcmread(path).pixel_array > 0
    except Exception as error:  # a damaged file can make the parser raise nearly anything
        raise ScanError(f"{path} cannot be read as DICOM; unpack the archive again") from error
    if drawn.shape != shape:
        raise ScanError(f"{path} has the shape {drawn.shape}, its image {shape}")
    return drawn
