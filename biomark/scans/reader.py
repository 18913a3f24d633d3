"""Read one CT scan, whatever its format, or only what its headers tell."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from biomark.machine.files import expand
from biomark.scans.dicom import read_file, read_folder, single
from biomark.scans.header import check, files_of, open_header
from biomark.scans.nifti import header_of, is_nifti, read_nifti
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
    path = expand(path)
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


class Preview(NamedTuple):
    """The size of a scan, as far as it is known without reading it."""

    slices: int  # of a DICOM folder, in which there may be other files, the most that it can hold
    plane: tuple[int, int] | None  # rows and columns; None where the axes will be permuted
    exact: bool  # whether `slices` is exact

    def __str__(self) -> str:
        return f"{self.slices}" if self.plane is None else f"{self.slices} of {self.plane[0]} x {self.plane[1]}"

    def holds(self, mask: Preview) -> bool:
        """Whether a mask of that size may belong to this scan."""
        alike = self.plane is None or mask.plane is None or self.plane == mask.plane
        return alike and (mask.slices == self.slices or (not self.exact and mask.slices <= self.slices))


def preview(path: Path) -> Preview:
    """The size by the header of a file, or of the first DICOM image in a folder; a ScanError where it is no CT."""
    files = files_of(path) if path.is_dir() else [path]
    if path.is_dir():
        headers = (header for file in files if (header := open_header(file)) is not None)
        header = next((header for header in headers if header.is_image and not header.is_scout), None)
        if header is None:
            raise ScanError(f"{path} holds no DICOM image among its {len(files)} files; give a series or NIfTI.")
    elif path.stat().st_size == 0:
        raise ScanError(f"{path} is empty; copy it again.")
    elif is_nifti(path):
        (slices, rows, columns), _ = header_of(path)
        return Preview(slices, (rows, columns), True)
    else:
        header = single(path)
    check(header)
    tilt = np.abs(np.abs(header.numbers("ImageOrientationPatient", 6)) - [1, 0, 0, 0, 1, 0]).max()
    if tilt < 0.5:
        return Preview(len(files), header.plane, len(files) == 1)
    return Preview(max(len(files), *header.plane), None, False)
