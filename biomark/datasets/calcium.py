"""Coronary calcium: the Stanford COCA data set."""

from __future__ import annotations

import plistlib
import re
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from biomark import agatston
from biomark.datasets.table import by_number, cell, column, folder, mask_cell, only_folder, relative, table
from biomark.scans.reader import read
from biomark.scans.scan import Scan, ScanError

_GATED = "it should hold Gated_release_final/patient/<id>/<folder>/*.dcm and Gated_release_final/calcium_xml/<id>.xml"
_NONGATED = "it should hold deidentified_nongated/<id>/<one folder>/*.dcm and deidentified_nongated/scores.xlsx"
_ARTERIES = (
    *("right coronary artery", "left coronary artery"),
    *("left anterior descending artery", "left circumflex artery"),
)
_SAME_SLICE = 0.1  # of the distance between slices. Ours.
# Wide enough for any convention of where a pixel begins, narrow enough to find a mirrored image. Ours.
_SAME_PIXEL = 2.0


def coca_gated(
    root: str | Path, *, rules: str | agatston.Rules = "dz3", masks: str | Path | None = None, progress: bool = True
) -> pd.DataFrame:
    """Stanford COCA, gated: calcium scores of ECG-gated CTs, from the drawn lesions, for the task ``cac``.

    - Licence: Stanford's research use agreement, no redistribution. Access: registration at
      stanfordaimi.azurewebsites.net ("COCA - Coronary Calcium and chest CT's"). Cite it by that name, Stanford AIMI.
    - Layout: ``Gated_release_final/patient/<id>/<one folder>/*.dcm`` and ``Gated_release_final/calcium_xml/<id>.xml``,
      an Apple property list: ``Images`` with ``ROIs`` with ``Name``, ``Point_px`` and ``Point_mm``.
    - Traps: a patient without an XML file has no calcium and the value 0. ``ImageIndex`` counts from the feet, against
      the file names, so a region finds its slice by z in ``Point_mm``; points in pixels and in millimetres must agree.
      Several regions of a slice are joined, and regions without points skipped. A region that is named after none of
      the four arteries sets its patient aside.

    The set gives no scores for gated scans: the value is :func:`biomark.agatston.score` of what is drawn. Pixels
    belong to a region when their centre (a whole number in ``Point_px``) lies in its outline or on it.

    Args:
        root: The folder of the download, or ``Gated_release_final``.
        rules: Of the score. ``dz3`` are those of the task ``cac``.
    """
    patients = folder(root, "Gated_release_final/patient", "*/Gated_release_final/patient", "patient", layout=_GATED)
    drawings = patients.parent / "calcium_xml"
    if not drawings.is_dir():  # else every patient would be taken for one without calcium
        raise ScanError(f"{patients.parent} holds no calcium_xml: {_GATED}")

    def rows(patient: Path) -> list[dict]:
        series, drawing = only_folder(patient), drawings / f"{patient.name}.xml"
        scan, name = read(series), f"coca-gated-{patient.name}"
        drawn = _drawn(drawing, scan) if drawing.is_file() else np.zeros(scan.hu.shape, bool)
        value = agatston.score(scan.hu, drawn, scan.spacing_mm, rules)
        row = {"id": name, "image": relative(series, root), "value": value, "group": name}
        return [row | mask_cell(masks, name, drawn, scan.affine, root)]

    return table(rows, {patient.name: patient for patient in _folders(patients)}, "COCA, gated", progress)


def coca_nongated(root: str | Path, *, progress: bool = True) -> pd.DataFrame:
    """Stanford COCA, non-gated: calcium scores of chest CTs, from the sheet that comes with them, for the task ``cac``.

    - Licence, access and citation: as for :func:`coca_gated`.
    - Layout: ``deidentified_nongated/<id>/<one folder>/*.dcm`` and ``deidentified_nongated/scores.xlsx`` with the
      columns ``'filename '``, LCA, LAD, LCX, RCA, total.
    - Traps: the first column's name ends in a blank; ids in the sheet are ``1A``, ``2A``... where folders are ``1``,
      ``2``...; a case needs both. Nearly all series have slices of 5 mm, where scores are low and uncertain; there are
      no masks; the rules of the scores are not known.

    Args:
        root: The folder of the download, or ``deidentified_nongated``.

    Raises:
        ImportError: openpyxl is not installed.
    """
    top = folder(root, "deidentified_nongated", "*/deidentified_nongated", "", layout=_NONGATED)
    if not (top / "scores.xlsx").is_file():
        raise ScanError(f"there is no {top / 'scores.xlsx'}: {_NONGATED}")
    scores = column(top / "scores.xlsx", "filename", "total", "", _NONGATED)
    scores.index = [_key(name) for name in scores.index]
    folders = _folders(top)

    def rows(key: str) -> list[dict]:
        named = [path for path in folders if _key(path.name) == key]
        if len(named) != 1:
            raise ScanError(f"there are {len(named)} folders {top / key}: one is needed")
        total = pd.to_numeric(cell(scores, key), errors="coerce")
        if not 0 <= total < np.inf:
            raise ScanError(f"the total {cell(scores, key)!r} in scores.xlsx is no score")
        name = f"coca-nongated-{key}"
        return [{"id": name, "image": relative(only_folder(named[0]), root), "value": float(total), "group": name}]

    keys = sorted({*scores.index, *(_key(path.name) for path in folders)}, key=by_number)
    return table(rows, {key: key for key in keys}, "COCA, non-gated", progress)


def _folders(path: Path) -> list[Path]:
    return sorted((p for p in path.iterdir() if p.is_dir()), key=lambda p: by_number(p.name))


def _key(text: str) -> str:
    """An id without the A at its end, which the sheet has and the folders have not."""
    return re.sub(r"[Aa]$", "", text.strip())


def _drawn(path: Path, scan: Scan) -> NDArray[np.bool_]:
    """All regions of an XML file on the voxels of their scan."""
    try:
        images = plistlib.loads(path.read_bytes())["Images"]
        regions = [region for image in images for region in image["ROIs"]]
        outlines = [
            (str(r["Name"]), _points(r.get("Point_px", []), 2), _points(r.get("Point_mm", []), 3)) for r in regions
        ]
    except Exception as error:  # what is no property list can make the parser raise nearly anything
        raise ScanError(f"{path} is no property list with Images, ROIs, Name, Point_px and Point_mm") from error
    drawn = np.zeros(scan.hu.shape, bool)
    for name, pixels, places in outlines:
        if len(pixels) == 0:
            continue
        if name.strip().casefold() not in _ARTERIES:
            raise ScanError(f"{path} has a region named {name!r}, which is none of the four coronary arteries")
        drawn[_slice(path, scan, pixels, places)] |= filled(pixels, scan.hu.shape[1:])
    return drawn


def _points(texts: list[str], count: int) -> NDArray[np.float64]:
    """Points written as "(1.5, 2)"."""
    numbers = [[float(part) for part in text.strip(" ()").split(",")] for text in texts]
    return np.array(numbers, float).reshape(-1, count)


def _slice(path: Path, scan: Scan, pixels: NDArray, places: NDArray) -> int:
    """The slice on which a region was drawn, by its millimetres."""
    if len(places) != len(pixels):
        raise ScanError(f"{path} has a region with {len(pixels)} points in pixels and {len(places)} in millimetres")
    # The file counts in DICOM's axes, to the left and the back; ours point to the right and the front.
    ras = places * [-1, -1, 1]
    at = np.linalg.solve(scan.affine, np.c_[ras, np.ones(len(ras))].T).T
    k = int(np.rint(at[0, 0]))
    if not 0 <= k < len(scan) or np.abs(at[:, 0] - k).max() > _SAME_SLICE:
        raise ScanError(f"{path} has a region at z {places[0, 2]:g} mm, where the scan has no slice")
    if np.abs(at[:, [2, 1]] - pixels).max() > _SAME_PIXEL:
        raise ScanError(f"{path} has a region at z {places[0, 2]:g} mm whose pixels lie elsewhere than its millimetres")
    return k


def filled(points: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels of an image (H, W) whose centre lies inside an outline or on it.

    Its corners are ``points`` (column, row), shape (N, 2), with the centres of pixels at whole numbers.
    """
    drawn = np.zeros(shape, bool)
    low = np.clip(np.floor(points.min(axis=0)), 0, None).astype(int)[::-1]
    part = tuple(slice(start, int(end) + 1) for start, end in zip(low, np.ceil(points.max(axis=0))[::-1], strict=True))
    rows, columns = (index + start for index, start in zip(np.indices(drawn[part].shape), low, strict=True))
    inside, edge = np.zeros(rows.shape, bool), np.zeros(rows.shape, bool)
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        dx, dy = x1 - x0, y1 - y0
        # A ray to the right leaves an outline as often as it enters when it starts outside.
        crosses = (y0 > rows) != (y1 > rows)
        if dy:
            inside ^= crosses & (columns < x0 + (rows - y0) * dx / dy)
        along = np.clip(((columns - x0) * dx + (rows - y0) * dy) / (dx * dx + dy * dy or 1.0), 0, 1)
        edge |= np.hypot(columns - x0 - along * dx, rows - y0 - along * dy) < 1e-6
    drawn[part] = inside | edge
    return drawn
