"""CT series as The Cancer Imaging Archive gives them: NLST, LIDC-IDRI."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from biomark.datasets.table import folder, relative, table
from biomark.scans.reader import preview
from biomark.scans.scan import ScanError

_LAYOUT = "it should hold one folder a patient, such as LIDC-IDRI-0001/<study>/<series>/*.dcm, as retrievers make them"


def tcia(
    root: str | Path, values: Mapping[str, float], *, least_slices: int = 20, progress: bool = True
) -> pd.DataFrame:
    """NLST, LIDC-IDRI and other sets of DICOM series by patient, with numbers of your own.

    - Licence: CC BY (3.0 or 4.0, by set). Access: cancerimagingarchive.net or Imaging Data Commons, open. Cite for
      NLST doi 10.7937/TCIA.HMQ8-J677, for LIDC-IDRI doi 10.7937/K9/TCIA.2015.LO9QL9SX, and the papers that their pages
      name.
    - Layout: ``<patient>/<study>/<series>/*.dcm``, or deeper: ``NLST/<patient>/<study>/<date>/<series>/*.dcm``.
    - Traps: neither set has numbers for the tasks of this library, so ``values`` brings them. Series with few files are
      scouts, radiographs (in LIDC-IDRI) or reports. A study often holds the same scan in a soft and a sharp kernel;
      name the series in ``values`` where that matters. NLST patients were scanned up to three times: name the date.

    Args:
        root: The folder that holds the patients, such as ``NLST`` or ``LIDC-IDRI``.
        values: The biomarker by folder, as the path from ``root`` on: a patient (``"LIDC-IDRI-0001"``), a study or a
            series (``"100012/01-02-1999-NLST-LSS-12345"``). Of the CT series in it the one with the most files is
            taken, of several such the first by name.
        least_slices: Least number of files in a series. Ours.
    """
    top = folder(root, "", layout=_LAYOUT)

    def rows(key: str) -> list[dict]:
        series = _largest(folder(top / key, "", layout=_LAYOUT), least_slices)
        parts = Path(key).parts
        return [
            {"id": "-".join(parts), "image": relative(series, root), "value": float(values[key]), "group": parts[0]}
        ]

    return table(rows, {key: key for key in values}, top.name, progress)


def _largest(path: Path, least: int) -> Path:
    """The CT series with the most files in a folder or below it."""
    folders = [path, *sorted(p for p in path.rglob("*") if p.is_dir())]
    counts = {p: sum(file.is_file() for file in p.iterdir()) for p in folders}
    why = ""
    for series in sorted((p for p in folders if counts[p] >= least), key=lambda p: -counts[p]):
        try:
            preview(series)
        except ScanError as error:  # such as files of another kind
            why = f"; {error}"
        else:
            return series
    raise ScanError(f"{path} holds no folder with a CT series of at least {least} files{why}")
