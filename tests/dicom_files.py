"""Mock CT files for tests, written with pydicom alone so that they share no code with what they test."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

SERIES = "1.2.826.0.1.3680043.8.498.1"
FRAME = "1.2.826.0.1.3680043.8.498.2"
# Every name has as many digits: with random ones, of 38 or 39 digits, the length of a file would vary by chance.
INSTANCES = (f"1.2.826.0.1.3680043.8.498.3.{number}" for number in count(10**9))


def body_hu(seed: int = 0, shape: tuple[int, int] = (48, 48)) -> np.ndarray:
    """A noisy disc of soft tissue (40 HU) in air (-1000 HU), well inside the image; whole numbers, int16."""
    rows, columns = np.indices(shape)
    inside = np.hypot(rows - shape[0] / 2 + 0.5, columns - shape[1] / 2 + 0.5) < 0.4 * min(shape)
    noise = np.random.default_rng(seed).integers(-10, 11, shape)
    return (np.where(inside, 40, -1000) + noise).astype(np.int16)


def ct_slice(stored: np.ndarray, position_lps: tuple[float, float, float], **changes: Any) -> FileDataset:
    """A plain CT slice of the stored values; `changes` replace header entries, None removes one.

    Unless changed: 7 mm pixels, 2 mm thick, axial, slope 1, intercept 0, kernel STANDARD, 120 kV.
    """
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = next(INSTANCES)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    entries: dict[str, Any] = {
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "SeriesInstanceUID": SERIES,
        "FrameOfReferenceUID": FRAME,
        "PatientName": "DOE^JANE",
        "Modality": "CT",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "Manufacturer": "ACME",
        "ConvolutionKernel": "STANDARD",
        "KVP": "120",
        "SliceThickness": "2",
        "PixelSpacing": ["7", "7"],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "ImagePositionPatient": [f"{v:.6f}"[:16] for v in position_lps],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": stored.shape[0],
        "Columns": stored.shape[1],
        "BitsAllocated": 8 * stored.itemsize,
        "BitsStored": 8 * stored.itemsize,
        "HighBit": 8 * stored.itemsize - 1,
        "PixelRepresentation": int(stored.dtype.kind == "i"),
        "RescaleSlope": "1",
        "RescaleIntercept": "0",
    }
    for keyword, value in {**entries, **changes}.items():
        if value is not None:
            setattr(data, keyword, value)
    data.PixelData = stored.tobytes()
    data["PixelData"].VR = "OW"
    return data


def save(data: Dataset, path: Path) -> Path:
    """Write one file, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)
    return path


def series(folder: Path, places_mm: tuple[float, ...] = (0, 2, 4, 6), **changes: Any) -> Path:
    """Write `0.dcm`, `1.dcm`... at the given z; slice k shows `body_hu(k)`. A list under a name in `changes`
    that is a tuple is taken slice by slice."""
    for k, z in enumerate(places_mm):
        ours = {name: value[k] if isinstance(value, tuple) else value for name, value in changes.items()}
        save(ct_slice(body_hu(k), (-168.0, -168.0, z), **ours), folder / f"{k}.dcm")
    return folder


PERSON = {
    "PatientName": "GRAUBNER^ILSE",
    "PatientID": "MRN-778812",
    "PatientBirthDate": "19510214",
    "PatientSex": "F",
    "PatientAddress": "12 Harbour Lane",
    "AccessionNumber": "ACC-5501",
    "StudyID": "STUDY-91",
    "StudyDate": "20190307",
    "StudyTime": "113355",
    "ReferringPhysicianName": "HOLTER^KURT",
    "InstitutionName": "Saint Elsewhere",
    "OperatorsName": "OPERATOR^ANN",
    "PatientComments": "neighbour of Ilse",
}
STUDY = "1.2.826.0.1.3680043.8.498.77"


def personal(folder: Path, places_mm=(0, 2, 4, 6), **changes) -> Path:
    """A series of which everything says who it is of, also in a private and a nested entry."""
    for k, z in enumerate(places_mm):
        data = ct_slice(body_hu(k), (-168.0, -168.0, z), StudyInstanceUID=STUDY, **(PERSON | changes))
        data.private_block(0x0009, "ACME 1.0", create=True).add_new(1, "LO", "GRAUBNER private")
        inner = Dataset()
        inner.PatientID = "MRN-778812"
        data.OtherPatientIDsSequence = [inner]
        save(data, folder / f"{k}.dcm")
    return folder


def named(path: Path) -> list[str]:
    """What of the person stands in a file."""
    content = path.read_bytes()
    return [v for v in PERSON.values() if len(v) > 1 and v.split("^")[0].encode() in content]
