"""Read one CT scan, whatever its format."""

from __future__ import annotations

import difflib
from pathlib import Path

from biomark.machine.files import expand
from biomark.scans.dicom import read_file, read_folder
from biomark.scans.nifti import is_nifti, read_nifti
from biomark.scans.scan import Scan, ScanError


def read(path: str | Path, *, series: str | None = None, slice: int | None = None) -> Scan:
    """Read one CT scan.

    Nothing is interpolated: the voxels are those of the file, their axes permuted and flipped. So the same scan read
    as DICOM and as NIfTI gives the same Hounsfield units on the same grid. Only what a DICOM header calls padding
    is set to -3024 HU where it is as bright as tissue, and a finding says so.

    Args:
        path: A folder with the files of one DICOM series (any names), one DICOM file, or one `.nii` or `.nii.gz` file.
        series: The SeriesInstanceUID to read when a folder holds several series.
        slice: Read this slice alone, from 0 at the feet: of a DICOM folder many times as fast as all of them.

    Returns:
        The scan, with `hu` float32 of shape (D, H, W), from feet to head, front to back, right to left.

    Raises:
        ScanError: The path does not exist or does not hold one complete CT volume in Hounsfield units, or not
            that slice. The sentence names the file and says what to do.
    """
    try:
        path = expand(path)
    except ValueError as error:
        raise ScanError(str(error)) from error
    if not path.exists():
        raise ScanError(missing(path))
    if path.is_dir():
        return read_folder(path, series, slice)
    scan = read_nifti(path) if is_nifti(path) else read_file(path)
    return scan if slice is None else scan.only(slice)


def missing(path: Path) -> str:
    """A sentence on the nearest folder that exists, and which neighbour was perhaps meant."""
    parent, child = path.absolute().parent, path.absolute()
    while not parent.exists():
        parent, child = parent.parent, parent
    sentence = f"{path} does not exist; the nearest folder that does is {parent}"
    try:
        near = difflib.get_close_matches(child.name, [p.name for p in parent.iterdir()], n=1)
    except OSError:  # the parent is a file or may not be listed
        near = []
    return sentence + (f", where you perhaps meant '{near[0]}'." if near else ".")
