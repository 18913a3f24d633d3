"""Read a CT volume, or a region drawn on one, from a NIfTI file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.openers import ImageOpener
from numpy.typing import NDArray

from biomark.scans.header import short
from biomark.scans.orientation import reorient
from biomark.scans.scan import Scan, ScanError, assemble

SAME_PLACE = 0.1
"""Of a voxel: programs round the corner and the spacing differently."""


def is_nifti(path: Path) -> bool:
    """Whether the file's name ends as a NIfTI file's does."""
    return path.name.lower().endswith((".nii", ".nii.gz"))


@contextmanager
def nifti_errors(path: Path) -> Iterator[None]:
    """Turn any error into a ScanError: a damaged file can make the parser raise nearly anything."""
    try:
        yield
    except Exception as error:
        raise ScanError(f"{path} cannot be read as NIfTI; copy or convert it again ({short(error)}).") from error


def read_nifti(path: Path) -> Scan:
    """Read a NIfTI file in HU; a ScanError where it is damaged, no 3-D volume, unplaced, or holds no HU."""
    with nifti_errors(path):
        image = nib.load(path)
        # nibabel replaces a spacing of zero by one; only the header as it stands in the file tells.
        with ImageOpener(path) as file:
            pixdim = type(image.header).from_fileobj(file, check=False)["pixdim"][1:4].astype(np.float32)
        units = image.header.get_xyzt_units()[0]
        placed = int(image.header["qform_code"]) > 0 or int(image.header["sform_code"]) > 0
        affine = np.array(image.affine, dtype=np.float64)
    shape = image.shape
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) not in (2, 3) or 0 in shape:
        raise ScanError(f"{path}: the image has the shape {shape}; save one 3-D volume of it and read that.")
    if image.get_data_dtype().kind not in "iuf":
        raise ScanError(f"{path}: the voxels are colours or complex numbers; these are grey values, not HU.")
    if units not in ("mm", "unknown"):
        raise ScanError(f"{path}: the header gives lengths in {units}; write it anew in millimetres.")
    if not placed:
        raise ScanError(
            f"{path}: neither qform nor sform is set, so left and right are unknown; convert from DICOM again."
        )
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or (steps == 0).any() or (pixdim[: len(shape)] == 0).any():
        raise ScanError(f"{path}: the header gives a voxel spacing of zero; convert from DICOM again.")
    cosines = (affine[:3, :3] / steps).T @ (affine[:3, :3] / steps)
    if np.abs(cosines - np.eye(3)).max() > 0.002:  # 0.1 degrees, as for DICOM
        raise ScanError(
            f"{path}: the voxel axes are not at right angles (gantry tilt); resample it to a straight grid first."
        )

    try:
        data = np.asanyarray(image.dataobj).reshape(shape if len(shape) == 3 else (*shape, 1))
    # A damaged header can ask for any size, and a damaged stream fails in the reader or in the unpacker.
    except Exception as error:
        raise ScanError(f"{path} is truncated or damaged; copy it again ({short(error)}).") from error

    notes = []
    if units == "unknown":
        notes.append("The NIfTI header names no unit of length; millimetres are assumed.")
    # The header's float32 stands for the short decimal number that it is nearest to.
    spacing = [float(str(step)) for step in steps.astype(np.float32)]
    if np.allclose(pixdim[: len(shape)], steps[: len(shape)], rtol=1e-4):
        spacing[: len(shape)] = [float(str(step)) for step in pixdim[: len(shape)]]
    else:
        notes.append("The NIfTI header's pixdim contradicts its affine; the spacing is taken from the affine.")
    lone = [axis for axis in range(3) if data.shape[axis] == 1]
    for axis in lone:
        # One slice has no distance to the next; what the header gives there is often the slice thickness.
        affine[:3, axis] /= steps[axis]
        spacing[axis] = float("nan")
    meta = dict.fromkeys(("modality", "manufacturer", "model", "kernel", "kVp", "slice_thickness_mm", "contrast_agent"))
    scaled = image.dataobj.slope != 1 or image.dataobj.inter != 0
    meta |= {"source": "NIfTI", "photometric": None, "rescale": "by the header" if scaled else "none"}
    axis = lone[0] if lone else 2
    return assemble(str(path), data, affine, tuple(spacing), meta, notes, slice_axis=axis)


def read_mask(path: Path, scan: Scan) -> NDArray[np.bool_]:
    """Read a NIfTI file whose voxels above 0 are the region, as a boolean array of the shape of `scan.hu`.

    It may be larger than the scan; a ScanError where it is damaged or does not lie on the scan's voxels.
    """
    if not is_nifti(path):
        raise ScanError(f"{path} is no NIfTI file (.nii, .nii.gz); convert the mask to one.")
    with nifti_errors(path):
        image = nib.load(path)
        data, affine = np.asanyarray(image.dataobj), np.asarray(image.affine, float)
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
