"""Read a CT volume, or a region drawn on one, from a NIfTI file."""

from __future__ import annotations

import gzip
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.openers import ImageOpener
from numpy.typing import NDArray

from biomark.scans.header import short
from biomark.scans.scan import Scan, ScanError, assemble, reorient

_SAME_PLACE = 0.1  # of a voxel; programs round the corner and the spacing differently
# How many bytes deflate makes of one at most (zlib's documentation); a file that claims more is a trap, or damage.
_MOST_UNPACKED = 1032
# Scaled by a slope and an intercept, whole numbers come back a little off.
_OFF_WHOLE = 0.01
_CHUNK_BYTES = 2**20
_PLACE = "pixdim qform_code sform_code srow_x srow_y srow_z quatern_b quatern_c quatern_d qoffset_x qoffset_y qoffset_z"
# Of a voxel, at the far corner: the qform's rotation is rounded.
_OFF_PLACE = 0.5


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


def open_image(path: Path) -> nib.Nifti1Image:
    """A NIfTI file with its header read; a ScanError where there is none."""
    with nifti_errors(path):
        image = nib.load(path)
    if not isinstance(image, nib.Nifti1Image):
        raise ScanError(f"{path} holds no NIfTI volume but a {type(image).__name__}; save one 3-D volume.")
    return image


def read_voxels(path: Path, image: nib.Nifti1Image) -> NDArray[Any]:
    """The voxels of an opened NIfTI file, scaled, 3-D; a ScanError where it is damaged or cannot hold so many."""
    packed, shape = path.name.lower().endswith(".gz"), image.shape
    claim = math.prod(shape) * image.get_data_dtype().itemsize
    if claim > path.stat().st_size * (_MOST_UNPACKED if packed else 1):  # before memory is asked for
        claimed = " x ".join(f"{n}" for n in shape)
        raise ScanError(f"{path} is truncated or damaged: it cannot hold the {claimed} voxels it claims; copy it again")
    try:
        if not packed:
            return np.asanyarray(image.dataobj).reshape((*shape, 1)[:3])
        with gzip.open(path) as file:
            voxels = np.asanyarray(type(image).from_stream(file).dataobj)
            # The checksum comes after the last voxel: read no further, one wrong bit gives other voxels.
            while file.read(_CHUNK_BYTES):
                pass
            return voxels.reshape((*shape, 1)[:3])
    # A damaged header can ask for any size, and a damaged stream fails in the reader or in the unpacker.
    except Exception as error:
        raise ScanError(f"{path} is truncated or damaged; copy it again ({short(error)}).") from error


def whole_numbers(path: Path, labels: NDArray[Any]) -> NDArray[Any]:
    """Labels, rounded where a header's slope left them a little off; a ScanError where they are no whole numbers."""
    if labels.dtype.kind in "biu":
        return labels
    if labels.dtype.kind != "f":
        raise ScanError(f"{path} holds colours or complex numbers; save the mask with one whole number a voxel.")
    with np.errstate(invalid="ignore"):  # infinity less infinity
        rounded = np.rint(labels)
        off = ~(np.abs(labels - rounded) <= _OFF_WHOLE)  # true for nan
    if off.any():
        held = f"{path} holds {labels[off][0]:g} and is no mask of whole numbers"
        raise ScanError(f"{held}: cut probabilities first, such as at 0.5.")
    return rounded


def read_nifti(path: Path) -> Scan:
    """Read a NIfTI file in HU; a ScanError where it is damaged, no 3-D volume, unplaced, or holds no HU."""
    header_of(path)  # where it is no volume
    image = open_image(path)
    with nifti_errors(path):
        # nibabel replaces a spacing of zero by one; only the header as it stands in the file tells.
        with ImageOpener(str(path)) as file:
            pixdim = type(image.header).from_fileobj(file, check=False)["pixdim"][1:4].astype(np.float32)
        units = image.header.get_xyzt_units()[0]
        placed = int(image.header["qform_code"]) > 0 or int(image.header["sform_code"]) > 0
        affine = np.array(image.affine, dtype=np.float64)
    ndim = min(len(image.shape), 3)
    if image.get_data_dtype().kind not in "iuf":
        raise ScanError(f"{path}: the voxels are colours or complex numbers; these are grey values, not HU.")
    if units not in ("mm", "unknown"):
        raise ScanError(f"{path}: the header gives lengths in {units}; write it anew in millimetres.")
    if not placed:
        raise ScanError(f"{path}: neither qform nor sform is set, so sides are unknown; convert from DICOM again.")
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or (steps == 0).any() or (pixdim[:ndim] == 0).any():
        raise ScanError(f"{path}: the header gives a voxel spacing of zero; convert from DICOM again.")
    cosines = (affine[:3, :3] / steps).T @ (affine[:3, :3] / steps)
    if np.abs(cosines - np.eye(3)).max() > 0.002:  # 0.1 degrees, as for DICOM
        raise ScanError(f"{path}: the voxel axes are not at right angles (gantry tilt); resample it upright.")

    data = read_voxels(path, image)
    notes = _contradiction(image)
    if units == "unknown":
        notes.append("The NIfTI header names no unit of length; millimetres are assumed.")
    # The header's float32 stands for the short decimal number that it is nearest to.
    spacing = [float(str(step)) for step in steps.astype(np.float32)]
    if np.allclose(pixdim[:ndim], steps[:ndim], rtol=1e-4):
        spacing[:ndim] = [float(str(step)) for step in pixdim[:ndim]]
    else:
        notes.append("The NIfTI header's pixdim contradicts its affine; the spacing is taken from the affine.")
    lone = [axis for axis in range(3) if data.shape[axis] == 1]
    for axis in lone:
        # One slice has no distance to the next; what the header gives there is often the slice thickness.
        affine[:3, axis] /= steps[axis]
        spacing[axis] = float("nan")
    meta = dict.fromkeys(("modality", "manufacturer", "model", "kernel", "kVp", "slice_thickness_mm", "contrast_agent"))
    meta |= {"source": "NIfTI"}
    axis = lone[0] if lone else 2
    scan = assemble(str(path), data, affine, spacing, meta, notes, slice_axis=axis)
    return replace(scan, place=_place(image.header))


def _place(header: nib.Nifti1Header) -> nib.Nifti1Header:
    """A header that says where voxels lie as this one does, to the last digit, and nothing else."""
    place = nib.Nifti2Header() if isinstance(header, nib.Nifti2Header) else nib.Nifti1Header()
    for name in _PLACE.split():
        place[name] = header[name]
    return place


def _contradiction(image: nib.Nifti1Image) -> list[str]:
    """A finding where a header's two ways to say where the voxels lie, qform and sform, do not agree."""
    if not (int(image.header["qform_code"]) > 0 and int(image.header["sform_code"]) > 0):
        return []
    corners = np.array([[0, 0, 0, 1], [*np.subtract((*image.shape, 1)[:3], 1), 1]]).T
    try:
        off = np.abs(np.linalg.solve(image.get_sform(), image.get_qform() @ corners) - corners).max()
    except ValueError:  # no rotation, or not finite
        off = np.inf
    if off <= _OFF_PLACE:
        return []
    return [
        "The NIfTI header's sform and qform place the voxels differently, so sides may be exchanged (left and right, "
        "front and back, head and feet). The sform is taken; see on the image which is right."
    ]


def header_of(path: Path) -> tuple[tuple[int, int, int], NDArray[np.float64]]:
    """The shape (D, H, W) and the affine that a volume will have, by its header; a ScanError where it is no volume."""
    image = open_image(path)
    with nifti_errors(path):
        shape = image.shape + (1,) * (3 - len(image.shape))
        affine = np.asarray(image.affine, np.float64)
        # A view on one zero: axes are permuted, nothing is read.
        turned, affine, _ = reorient(np.broadcast_to(np.int8(0), shape), affine)
    if any(n != 1 for n in shape[3:]) or 0 in shape or len(image.shape) < 2:
        raise ScanError(f"{path} has the shape {image.shape}; save one 3-D volume of it.")
    slices, rows, columns = turned.shape[:3]
    return (slices, rows, columns), affine


def read_labels(path: Path, shape: tuple[int, ...], affine: NDArray[np.float64]) -> NDArray[Any]:
    """Read a NIfTI file of whole numbers on the voxels of an image with this shape (D, H, W) and affine.

    It may be larger than the image; a ScanError where it is damaged, holds anything between whole numbers, or does not
    lie on the image's voxels.
    """
    if not is_nifti(path):
        raise ScanError(f"{path} is no NIfTI file (.nii, .nii.gz); convert the mask to one.")
    sizes, there = header_of(path)
    if not np.isfinite(there).all() or abs(np.linalg.det(there)) == 0:
        raise ScanError(f"{path} gives its voxels no place; draw it on the image again.")
    image = open_image(path)
    data = whole_numbers(path, read_voxels(path, image))
    turned = reorient(data, np.asarray(image.affine, np.float64))[0]
    # Where the image's first and last voxel lie among the labels'. A lone slice tells no step across.
    last = np.array(shape) - 1
    corners = np.array([[0, 0, 0, 1], [0, *last[1:], 1], [*last, 1]], float).T
    first, *ends = np.linalg.solve(there, affine @ corners).T[:, :3]
    start = np.rint(first)
    off = np.abs([first - start, *(end - start - corners[:3, i] for i, end in enumerate(ends, start=1))]).max()
    if not off <= _SAME_PLACE or (start < 0).any() or (start + shape > sizes).any():
        raise ScanError(f"{path} does not lie on the voxels of its image: draw it on that image, or resample it to it.")
    return turned[tuple(slice(int(s), int(s) + n) for s, n in zip(start, shape, strict=True))]


def read_mask(path: Path, scan: Scan) -> NDArray[np.bool_]:
    """As :func:`read_labels`: where the whole numbers are above 0, as a boolean array of the shape of ``scan.hu``."""
    return np.asarray(read_labels(path, scan.hu.shape, scan.affine) > 0)
