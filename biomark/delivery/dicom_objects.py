"""What was found in a DICOM series, as DICOM objects that refer to it: a segmentation and a parametric map.

They open over their series in any viewer that knows the two kinds, such as 3D Slicer and OHIF, because they name its
UIDs. By default they name nothing else of the patient: no name, no id, no date. A PACS files an object by these, so
whoever sends them to the PACS that holds the scan says ``identify=True``.

Needs highdicom: ``pip install "biomark[dicom]"``.
"""

from __future__ import annotations

import hashlib
import importlib
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import pydicom
from numpy.typing import ArrayLike, NDArray
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from biomark.machine.files import atomic_write
from biomark.scans.dicom import in_order
from biomark.scans.header import Header
from biomark.scans.reader import missing, read
from biomark.scans.scan import ScanError
from biomark.tasks import Task
from biomark.version import __version__

if TYPE_CHECKING:
    from highdicom.base import SOPClass

# Whatever an object that refers to a slice must repeat of it. Nothing else is taken along.
_OF_SLICE = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_OF_PATIENT = (
    *("SpecificCharacterSet", "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime"),
    *("AccessionNumber", "StudyID", "ReferringPhysicianName"),
)
# An object's number within its series, and its series' within the study: high, so that no scanner's is taken.
_SERIES_NUMBER = {"SEG": 9001, "MAP": 9002}


def write_segmentation(
    path: str | Path, mask: ArrayLike, source: str | Path, task: Task, *, identify: bool = False
) -> Path:
    """Write a region as a DICOM segmentation of the series that it was found in.

    The same region of the same series gets the same UIDs, so that a second run does not file it twice. Slices without
    any of it are left out.

    Args:
        path: File to write, whole or not at all.
        mask: Boolean, on the voxels of ``biomark.scans.read(source).hu``.
        source: A DICOM file, or a folder with one series.
        task: What the region is of.
        identify: Take the patient's name, id, birth date and sex, and the study's date and numbers, along.

    Returns:
        The path.

    Raises:
        ScanError: The source is no CT series, or has no UIDs that could be referred to.
        ValueError: The mask has another shape than the scan.
        ImportError: highdicom is not installed.
    """
    hd = highdicom()
    mask = np.asarray(mask)
    if mask.dtype != bool:
        raise ValueError(f"a mask is boolean, but this one is {mask.dtype}: say where it holds, such as map > 0.5.")
    frames, sources = _frames(mask, Path(source), identify)
    kept = frames.any((1, 2)) if frames.any() else np.arange(len(frames)) == 0
    code = hd.sr.CodedConcept(task.key, "99BIOMARK", task.name)  # 99: a scheme of one's own (PS3.3, 8.2)
    segment = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label=task.name,
        segmented_property_category=pydicom.sr.codedict.codes.SCT.Tissue,
        segmented_property_type=code,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name="biomark",
            version=__version__,
            family=pydicom.sr.codedict.codes.DCM.ArtificialIntelligence,
        ),
    )
    data = hd.seg.Segmentation(
        source_images=[s for s, keep in zip(sources, kept, strict=True) if keep],
        pixel_array=frames[kept].astype(np.uint8),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[segment],
        omit_empty_frames=False,
        content_label="BIOMARK",
        content_description=task.name,
        **_labels("SEG", sources[0], frames, f"{task.name} (region)"),
    )
    return _save(data, path, identify)


def write_parametric_map(
    path: str | Path, map: ArrayLike, source: str | Path, task: Task, *, identify: bool = False
) -> Path:
    """Write a map as a DICOM parametric map (32-bit float, 0 to 1) of the series that it was found in.

    Args:
        path: File to write, whole or not at all.
        map: Membership in [0, 1], on the voxels of ``biomark.scans.read(source).hu``. Slices of zeros are left out.
        source: A DICOM file, or a folder with one series.
        task: What the map is of.
        identify: As for :func:`write_segmentation`.

    Returns:
        The path.

    Raises:
        ScanError: The source is no CT series, or has no UIDs that could be referred to.
        ValueError: The map has another shape than the scan, or values beyond 0 to 1.
        ImportError: highdicom is not installed.
    """
    hd = highdicom()
    map = np.asarray(map, np.float32)
    if not (np.min(map) >= 0 and np.max(map) <= 1):
        raise ValueError(f"a map lies in 0 to 1, but this one in {np.min(map):g} to {np.max(map):g}.")
    frames, sources = _frames(map, Path(source), identify)
    kept = frames.any((1, 2)) if frames.any() else np.arange(len(frames)) == 0
    codes = pydicom.sr.codedict.codes
    data = hd.pm.ParametricMap(
        source_images=[s for s, keep in zip(sources, kept, strict=True) if keep],
        pixel_array=frames[kept],
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[
            hd.pm.RealWorldValueMapping(
                lut_label="MEMBERSHIP",
                lut_explanation=f"How much of a voxel belongs: {task.name}"[:64],
                unit=codes.UCUM.NoUnits,
                value_range=(0.0, 1.0),
                slope=1.0,
                intercept=0.0,
            )
        ],
        voi_lut_transformations=[hd.VOILUTTransformation(window_center=0.5, window_width=1.0)],
        content_label="BIOMARK",
        content_description=task.name,
        **_labels("MAP", sources[0], frames, f"{task.name} (map)"),
    )
    return _save(data, path, identify)


def _frames(volume: NDArray, source: Path, identify: bool) -> tuple[NDArray, list[Dataset]]:
    """An array in the order of the files of its series, and of each file what an object must repeat of it."""
    source = source.expanduser()
    if not source.exists():
        raise ScanError(missing(source))
    headers = in_order(source)
    frames = read(source).as_stored(volume)[0]
    patient = Dataset()
    if identify:
        patient = pydicom.dcmread(headers[0].path, stop_before_pixels=True, specific_tags=list(_OF_PATIENT))
    return np.ascontiguousarray(frames), [_repeated(header, headers[0], patient) for header in headers]


def _repeated(header: Header, first: Header, patient: Dataset) -> Dataset:
    data = Dataset()
    for keyword in _OF_SLICE:
        uid = header.text(keyword)
        if not uid:
            raise ScanError(f"{header.path} has no {keyword}, so that no object can refer to it; write NIfTI instead.")
        setattr(data, keyword, uid)
    # Some anonymisers give each slice a frame of reference of its own; one object can only have one.
    data.FrameOfReferenceUID = first.text("FrameOfReferenceUID") or generate_uid(entropy_srcs=[data.SeriesInstanceUID])
    data.Modality, (data.Rows, data.Columns) = "CT", header.plane
    data.PixelSpacing = list(header.numbers("PixelSpacing", 2))
    data.ImageOrientationPatient = list(header.numbers("ImageOrientationPatient", 6))
    data.ImagePositionPatient = list(header.numbers("ImagePositionPatient", 3))
    data.SliceThickness = header.number("SliceThickness")
    for keyword in _OF_PATIENT:
        setattr(data, keyword, patient.get(keyword, None if keyword == "SpecificCharacterSet" else ""))
    return data


def _labels(kind: str, source: Dataset, frames: NDArray, description: str) -> dict:
    """What says where an object comes from; its UIDs follow from its content."""
    seed = [kind, __version__, source.SeriesInstanceUID, hashlib.sha256(frames.tobytes()).hexdigest(), description]
    return {
        "series_instance_uid": generate_uid(entropy_srcs=[*seed, "series"]),
        "sop_instance_uid": generate_uid(entropy_srcs=[*seed, "instance"]),
        "series_number": _SERIES_NUMBER[kind],
        "instance_number": 1,
        "manufacturer": "biomark",
        "manufacturer_model_name": "biomark",
        "software_versions": __version__,
        "device_serial_number": "none",
        "series_description": description[:64],
    }


def _save(data: SOPClass, path: str | Path, identify: bool) -> Path:
    if not identify:
        data.PatientIdentityRemoved = "YES"
        data.DeidentificationMethod = "biomark: of patient and study only UIDs were kept"
    with atomic_write(path) as partial:
        data.save_as(partial)
    return Path(path)


def highdicom() -> ModuleType:
    """The package, or how to get it."""
    try:
        return importlib.import_module("highdicom")
    except ImportError as error:
        raise ImportError('DICOM objects are written by highdicom: run pip install "biomark[dicom]".') from error
