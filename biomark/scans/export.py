"""Write maps and masks over a scan as NIfTI, and Hounsfield units as a DICOM series."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pydicom.valuerep import DSfloat

from biomark.machine.files import atomic_write, partial_name
from biomark.scans.scan import Scan

_INTERCEPT_HU = -1024.0
# The entries that are the same for every volume, with all that the standard wants of a CT image.
_COMMON = {
    "SOPClassUID": CTImageStorage,
    **{"Modality": "CT", "Manufacturer": "biomark", "ImageType": ["DERIVED", "PRIMARY", "AXIAL"], "KVP": "120"},
    **{"PatientName": "PHANTOM", "PatientID": "PHANTOM", "PatientPosition": "HFS"},
    **dict.fromkeys(("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID", "AccessionNumber"), ""),
    **dict.fromkeys(("ReferringPhysicianName", "PositionReferenceIndicator"), ""),
    **{"SeriesNumber": 1, "AcquisitionNumber": 1, "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]},
    **{"SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2", "RescaleType": "HU"},
    **{"BitsAllocated": 16, "BitsStored": 16, "HighBit": 15, "PixelRepresentation": 1},
    **{"RescaleSlope": "1.0", "RescaleIntercept": str(_INTERCEPT_HU)},
}


def write_nifti(path: str | Path, volume: ArrayLike, scan: Scan) -> Path:
    """Write a map or a mask that lies on a scan's voxels, in the order and place of the file that the scan came from.

    Over a NIfTI file it lies voxel by voxel. Over a DICOM series it has the voxels of the slices: columns, rows,
    slices. Nothing of the scan but its place is written.

    Args:
        path: A `.nii` or `.nii.gz` file, written atomically.
        volume: Shape of ``scan.hu``. Boolean arrays are written as 8-bit integers, all others as 32-bit floats.
        scan: The scan.

    Raises:
        ValueError: The array has another shape, or the name another ending.
    """
    if not str(path).endswith((".nii", ".nii.gz")):
        raise ValueError(f"{path} must end in .nii or .nii.gz.")
    volume = np.asarray(volume)
    data, affine = scan.as_stored(volume.astype(np.uint8 if volume.dtype == bool else np.float32))
    if scan.meta["source"] == "DICOM":
        if len(data) == 1 and np.isnan(scan.spacing_mm).any():  # no step across a slice alone: its thickness, if known
            affine[:3, 0] *= scan.meta["slice_thickness_mm"] or 1.0
        data, affine = data.T, affine[:, [2, 1, 0, 3]]
    # The file's own place, not one that was turned there and back: other programs compare them digit by digit.
    kind = nib.Nifti2Image if isinstance(scan.place, nib.Nifti2Header) else nib.Nifti1Image
    image = kind(np.ascontiguousarray(data), affine if scan.place is None else None, scan.place)
    image.set_data_dtype(data.dtype)
    image.header.set_xyzt_units("mm")
    with atomic_write(path) as partial:
        nib.save(image, partial)
    return Path(path)


def write_dicom(
    folder: str | Path,
    hu: ArrayLike,
    spacing_mm: tuple[float, float, float],
) -> Path:
    """Write a volume as an uncompressed CT series of the patient 'PHANTOM', one file a slice.

    Values are rounded to whole Hounsfield units. The same arguments give the same files, byte for byte.

    Args:
        folder: Folder to write to, atomically; made if missing, and must be empty.
        hu: Hounsfield units, shape (D, H, W), in the orientation of `Scan.hu`; (H, W) is one slice.
        spacing_mm: Spacing (dz, dy, dx); slices are dz thick, and the first voxel lies at 0.

    Raises:
        ValueError: The volume is no finite 3-D array, a spacing is not above zero, or a value does not fit into 16
            bits.
        FileExistsError: The folder is not empty.
    """
    volume = np.asarray(hu, dtype=np.float64)
    volume = volume[None] if volume.ndim == 2 else volume
    if volume.ndim != 3 or volume.size == 0 or not np.isfinite(volume).all():
        raise ValueError(f"hu must be a finite array of shape (D, H, W), not {np.shape(hu)} or with NaN.")
    if len(spacing_mm) != 3 or not all(0 < mm < np.inf for mm in spacing_mm):
        raise ValueError(f"spacing_mm {spacing_mm} must be three finite lengths above zero.")
    stored = np.rint(volume - _INTERCEPT_HU)
    if stored.min() < -(2**15) or stored.max() >= 2**15:
        raise ValueError(f"{volume.min():g} to {volume.max():g} HU does not fit into 16 bits.")
    if Path(folder).exists() and any(Path(folder).iterdir()):
        raise FileExistsError(f"{folder} is not empty; name a new folder, so that no series are mixed.")
    target = Path(folder).resolve()
    # A part of a series would be read as a shorter one.
    partial = partial_name(target)
    partial.mkdir(parents=True)
    try:
        # UIDs follow from the content, so that files are the same from run to run.
        digest = hashlib.sha256(repr(spacing_mm).encode() + stored.tobytes())
        for k, plane in enumerate(stored.astype("<i2")):
            data = _slice(digest.hexdigest(), k, plane, spacing_mm)
            data.save_as(partial / f"{k:04d}.dcm", enforce_file_format=True)
        if target.exists():
            shutil.copymode(target, partial)
            target.rmdir()  # Windows does not rename over a folder, not even an empty one
        os.replace(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Path(folder)


def _slice(seed: str, k: int, plane: NDArray[np.int16], spacing_mm: Sequence[float]) -> FileDataset:
    """Slice ``k`` of a CT series."""

    def uid(what: str) -> UID:
        return generate_uid(entropy_srcs=[seed, what])

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = uid(f"slice {k}")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    for keyword, value in _COMMON.items():
        setattr(data, keyword, value)
    data.SOPInstanceUID, data.InstanceNumber = meta.MediaStorageSOPInstanceUID, k + 1
    data.StudyInstanceUID, data.SeriesInstanceUID = uid("study"), uid("series")
    data.FrameOfReferenceUID = uid("frame")
    data.ImagePositionPatient = [DSfloat(mm, auto_format=True) for mm in (0.0, 0.0, k * spacing_mm[0])]
    dz, dy, dx = (DSfloat(mm, auto_format=True) for mm in spacing_mm)
    data.SliceThickness, data.PixelSpacing = dz, [dy, dx]
    data.Rows, data.Columns = plane.shape
    data.PixelData = plane.tobytes()
    return data
