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
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from biomark.machine.files import atomic_write, partial_name
from biomark.scans.scan import Scan

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
}


def write_nifti(path: str | Path, volume: ArrayLike, scan: Scan) -> Path:
    """Write a map or a mask that lies on a scan's voxels, in the order and place of the file that the scan came from.

    Over a NIfTI file it lies voxel by voxel. Over a DICOM series it has the voxels of the slices: columns, rows,
    slices. Nothing of the scan but its place is written.

    Args:
        path: A `.nii` or `.nii.gz` file, written atomically.
        volume: Shape of ``scan.hu``. Boolean arrays are written as 8-bit integers, all others as 32-bit floats.
        scan: The scan.

    Returns:
        The path.

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
    *,
    slope: ArrayLike = 1.0,
    intercept: ArrayLike = -1024.0,
    origin_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
    thickness_mm: float | None = None,
) -> Path:
    """Write a volume as an uncompressed CT series of the patient 'PHANTOM', one file a slice.

    Stored values are 16-bit integers, so a value is kept to half a `slope`: 0.5 HU by default. The same
    arguments give the same files, byte for byte.

    Args:
        folder: Folder to write to, atomically; made if missing, and must be empty.
        hu: Hounsfield units, shape (D, H, W), in the orientation of `Scan.hu`; (H, W) is one slice.
        spacing_mm: Spacing (dz, dy, dx).
        slope: RescaleSlope, one number or one a slice.
        intercept: RescaleIntercept in HU, one number or one a slice.
        origin_mm: Position of the voxel (0, 0, 0) in RAS mm.
        thickness_mm: SliceThickness; dz if None.

    Returns:
        The folder.

    Raises:
        ValueError: The volume is no finite 3-D array, another argument is not finite, a spacing or slope is not above
            zero, or a value does not fit into 16 bits with this slope and intercept.
        FileExistsError: The folder is not empty.
    """
    volume = np.asarray(hu, dtype=np.float64)
    volume = volume[None] if volume.ndim == 2 else volume
    if volume.ndim != 3 or volume.size == 0 or not np.isfinite(volume).all():
        raise ValueError(f"hu must be a finite array of shape (D, H, W), not {np.shape(hu)} or with NaN.")
    slopes = np.broadcast_to(np.asarray(slope, dtype=np.float64), len(volume))
    intercepts = np.broadcast_to(np.asarray(intercept, dtype=np.float64), len(volume))
    given = {"spacing_mm": spacing_mm, "slope": slopes, "intercept": intercepts, "origin_mm": origin_mm}
    given |= {} if thickness_mm is None else {"thickness_mm": thickness_mm}
    for name, numbers in given.items():
        if not np.isfinite(numbers).all():
            raise ValueError(f"{name} must hold finite numbers, not NaN or infinity.")
    if len(spacing_mm) != 3 or not min(spacing_mm) > 0 or not slopes.min() > 0:
        raise ValueError(f"spacing_mm {spacing_mm} must be three lengths above zero, and every slope above zero.")
    stored = np.rint((volume - intercepts[:, None, None]) / slopes[:, None, None])
    if stored.min() < -(2**15) or stored.max() >= 2**15:
        raise ValueError(
            f"{volume.min():g} to {volume.max():g} HU does not fit into 16 bits with this slope and intercept."
        )
    if Path(folder).exists() and any(Path(folder).iterdir()):
        raise FileExistsError(f"{folder} is not empty; name a new folder, so that no series are mixed.")
    target = Path(folder).resolve()
    # A part of a series would be read as a shorter one.
    partial = partial_name(target)
    partial.mkdir(parents=True)
    try:
        # UIDs follow from the content, so that files are the same from run to run.
        digest = hashlib.sha256(repr((spacing_mm, origin_mm, slopes.tolist(), intercepts.tolist())).encode())
        digest.update(stored.tobytes())
        for k, plane in enumerate(stored.astype("<i2")):
            data = _slice(digest.hexdigest(), k, plane, spacing_mm, origin_mm)
            data.SliceThickness = _decimal(spacing_mm[0] if thickness_mm is None else thickness_mm)
            data.RescaleSlope, data.RescaleIntercept = _decimal(slopes[k]), _decimal(intercepts[k])
            data.save_as(partial / f"{k:04d}.dcm", enforce_file_format=True)
        if target.exists():
            shutil.copymode(target, partial)
            target.rmdir()  # Windows does not rename over a folder, not even an empty one
        os.replace(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Path(folder)


def _slice(
    seed: str, k: int, plane: NDArray[np.int16], spacing_mm: Sequence[float], origin_mm: Sequence[float]
) -> FileDataset:
    """Slice ``k`` of a CT series, without thickness and rescale."""

    def uid(what: str) -> str:
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
    right, front, head = origin_mm
    data.ImagePositionPatient = [_decimal(v) for v in (-right, -front, head + k * spacing_mm[0])]
    data.PixelSpacing = [_decimal(mm) for mm in spacing_mm[1:]]
    data.Rows, data.Columns = plane.shape
    data.PixelData = plane.tobytes()
    return data


def _decimal(value: float) -> str:
    """A number as a DICOM decimal string of at most 16 characters."""
    for digits in range(17, 0, -1):
        if len(text := f"{float(value):.{digits}g}") <= 16:
            # The shortest text of that precision: 0.1, not 0.10000000000000.
            return repr(float(text)) if len(repr(float(text))) <= 16 else text
    raise ValueError(f"{value} does not fit into a DICOM decimal string.")
