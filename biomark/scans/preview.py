"""What headers alone tell of a scan: enough to check a spreadsheet of thousands in minutes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np

from biomark.scans.header import Header, files_of, open_header
from biomark.scans.nifti import is_nifti, nifti_errors
from biomark.scans.orientation import reorient
from biomark.scans.scan import ScanError
from biomark.scans.slices import check


class Preview(NamedTuple):
    """The size of a scan, as far as it is known without reading it."""

    slices: int  # of a DICOM folder, in which there may be other files, the most that it can hold
    plane: tuple[int, int] | None  # rows and columns; None where the axes will be permuted
    exact: bool  # whether `slices` is exact

    def holds(self, mask: Preview) -> bool:
        """Whether a mask of that size may belong to this scan."""
        alike = self.plane is None or mask.plane is None or self.plane == mask.plane
        return alike and (mask.slices == self.slices or (not self.exact and mask.slices <= self.slices))


def preview(path: Path) -> Preview:
    """The size by the header of a file, or of the first DICOM image in a folder; a ScanError where it is no CT."""
    if path.is_dir():
        files = files_of(path)
        for file in files:
            header = open_header(file)
            if header is not None and header.is_image and not header.is_scout:
                return _dicom(header, len(files))
        raise ScanError(
            f"{path} holds no DICOM image among its {len(files)} files; give one NIfTI file, or the folder of one "
            "series."
        )
    if path.stat().st_size == 0:
        raise ScanError(f"{path} is empty; copy it again.")
    if is_nifti(path):
        return _nifti(path)
    header = open_header(path)
    if header is None or not header.is_image:
        raise ScanError(f"{path} is neither a DICOM image nor NIfTI (.nii, .nii.gz); convert it to one of them.")
    return _dicom(header, 1)


def links_out(folder: Path, root: Path) -> int:
    """How many entries of a folder are links that lead out of a root, a resolved path."""
    with os.scandir(folder) as entries:
        links = [entry.path for entry in entries if entry.is_symlink()]
    return sum(not Path(link).resolve().is_relative_to(root) for link in links)


def _dicom(header: Header, files: int) -> Preview:
    check(header)
    plane = header.plane
    tilt = np.abs(np.abs(header.numbers("ImageOrientationPatient", 6)) - [1, 0, 0, 0, 1, 0]).max()
    return Preview(files, plane, files == 1) if tilt < 0.5 else Preview(max(files, *plane), None, False)


def _nifti(path: Path) -> Preview:
    with nifti_errors(path):
        image = nib.load(path)
        shape = image.shape + (1,) * (3 - len(image.shape))
        # A view on one zero: axes are permuted, nothing is read.
        turned = reorient(np.broadcast_to(np.int8(0), shape), np.asarray(image.affine, float))[0]
    if any(n != 1 for n in shape[3:]) or 0 in shape:
        raise ScanError(f"{path} has the shape {image.shape}; save one 3-D volume of it.")
    slices, rows, columns = turned.shape[:3]
    return Preview(slices, (rows, columns), True)
