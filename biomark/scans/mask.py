"""Read a drawn region that belongs to a scan."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from biomark.scans.nifti import is_nifti
from biomark.scans.orientation import reorient
from biomark.scans.scan import Scan, ScanError

SAME_PLACE = 0.1
"""Of a voxel: programs round the corner and the spacing differently."""


def read_mask(path: Path, scan: Scan) -> NDArray[np.bool_]:
    """Read a `.nii` or `.nii.gz` file whose voxels above 0 are the region.

    Args:
        path: The file.
        scan: The scan on which it was drawn, or a part of it.

    Returns:
        Boolean array of the shape of `scan.hu`.

    Raises:
        ScanError: The file is damaged or does not lie on the scan's voxels.
    """
    if not is_nifti(path):
        raise ScanError(f"{path} is no NIfTI file (.nii, .nii.gz); convert the mask to one.")
    try:
        image = nib.load(path)
        data, affine = np.asanyarray(image.dataobj), np.asarray(image.affine, float)
    except Exception as error:  # a damaged file can make the parser raise nearly anything
        raise ScanError(f"{path} cannot be read as NIfTI; copy or convert it again.") from error
    data = data.reshape(data.shape + (1,) * (3 - data.ndim))
    if data.ndim != 3 or data.dtype.kind not in "biuf":
        raise ScanError(f"{path} has the shape {data.shape}; save the mask as one 3-D volume of whole numbers.")
    turned, there, _ = reorient(data, affine)
    # Where the scan's first and last voxel lie among the mask's. A lone slice tells no step across.
    last = np.array(scan.hu.shape) - 1
    corners = np.array([[0, 0, 0, 1], [0, *last[1:], 1], [*last, 1]], float).T
    first, *ends = np.linalg.solve(there, scan.affine @ corners).T[:, :3]
    start = np.rint(first).astype(int)
    off = np.abs([first - start, *(end - start - corners[:3, i] for i, end in enumerate(ends, start=1))]).max()
    if off > SAME_PLACE or (start < 0).any() or (start + scan.hu.shape > turned.shape).any():
        raise ScanError(
            f"{path} does not lie on the voxels of its image: draw it on that image, or resample it to its grid."
        )
    return np.asarray(turned[tuple(slice(s, s + n) for s, n in zip(start, scan.hu.shape, strict=True))] > 0)
