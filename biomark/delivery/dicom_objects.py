"""Results as DICOM objects that refer to their series: a segmentation and a parametric map. Needs highdicom.

They open over the series in viewers such as 3D Slicer and OHIF, because they name its UIDs. By default they name
nothing else of the patient; a PACS files objects by name, id and date, so for a PACS say ``identify=True``.
"""

from __future__ import annotations

import hashlib
import importlib
import warnings
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
from numpy.typing import ArrayLike, NDArray
from pydicom.charset import python_encoding
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid
from pydicom.valuerep import DA, TM

from biomark.machine.files import atomic_write, expand
from biomark.manifests.rules import rule_of
from biomark.scans.dicom import in_order
from biomark.scans.header import Header
from biomark.scans.reader import missing, read
from biomark.scans.scan import ScanError
from biomark.tasks import Task
from biomark.version import __version__

if TYPE_CHECKING:
    from highdicom.base import SOPClass

# What an object that refers to a slice must repeat of it. Nothing else is copied.
_OF_SLICE = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_OF_PATIENT = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime"),
    *("AccessionNumber", "StudyID", "ReferringPhysicianName"),
)
_SEXES = ("M", "F", "O", "")
# A slice alone without a thickness: readers ask for one, and 1 mm is what `Scan.affine` has.
_UNKNOWN_MM = 1.0
# Numbers of the objects' series within the study: high, so that no scanner's is used twice.
_SERIES_NUMBER = {"SEG": 9001, "MAP": 9002}


def write_segmentation(
    path: str | Path, mask: ArrayLike, source: str | Path, task: Task, *, identify: bool = False
) -> Path:
    """Write a region as a DICOM segmentation of the series that it was found in.

    The same region of the same series gets the same UIDs, so that a second run does not file it twice. Empty slices
    are left out.

    Args:
        path: File to write, atomically.
        mask: Boolean, on the voxels of ``biomark.scans.read(source).hu``.
        source: A DICOM file, or a folder with one series.
        task: What the region is of.
        identify: Copy the patient's name, id, birth date and sex, and the study's date and numbers. What of them is
            not as the standard has it is left out, with a warning.

    Raises:
        ScanError: The source is no CT series, or has no UIDs that could be referred to.
        ValueError: The mask is not boolean or has another shape than the scan.
        ImportError: highdicom is not installed.
    """
    hd = highdicom()
    mask = np.asarray(mask)
    if mask.dtype != bool:
        raise ValueError(f"a mask is boolean, but this one is {mask.dtype}: threshold it, such as map > 0.5.")
    frames, labels = _frames("SEG", mask, Path(source), task, identify)
    segment = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label=task.name,
        segmented_property_category=codes.SCT.Tissue,
        # 99: a scheme of one's own (PS3.3, 8.2).
        segmented_property_type=hd.sr.CodedConcept(task.key, "99BIOMARK", task.name),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name="biomark", version=__version__, family=codes.DCM.ArtificialIntelligence
        ),
    )
    data = hd.seg.Segmentation(
        pixel_array=frames.astype(np.uint8),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[segment],
        omit_empty_frames=False,
        **labels,
    )
    return _save(data, path, task, identify)


def write_parametric_map(
    path: str | Path, map: ArrayLike, source: str | Path, task: Task, *, identify: bool = False
) -> Path:
    """Write a map as a DICOM parametric map (32-bit float, 0 to 1) of the series that it was found in.

    Arguments and errors as for :func:`write_segmentation`, but ``map`` holds membership in [0, 1].

    Raises:
        ValueError: The map has another shape than the scan, or values beyond 0 to 1.
    """
    hd = highdicom()
    volume = np.asarray(map, np.float32)
    if not (np.min(volume) >= 0 and np.max(volume) <= 1):
        raise ValueError(f"a map lies in 0 to 1, but this one in {np.min(volume):g} to {np.max(volume):g}.")
    frames, labels = _frames("MAP", volume, Path(source), task, identify)
    mapping = hd.pm.RealWorldValueMapping(
        lut_label="MEMBERSHIP",
        lut_explanation=f"How much of a voxel belongs: {task.name}"[:64],
        unit=codes.UCUM.NoUnits,
        value_range=(0.0, 1.0),
        slope=1.0,
        intercept=0.0,
    )
    data = hd.pm.ParametricMap(
        pixel_array=frames,
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[hd.VOILUTTransformation(window_center=0.5, window_width=1.0)],
        **labels,
    )
    return _save(data, path, task, identify)


def _frames(kind: str, volume: NDArray, source: Path, task: Task, identify: bool) -> tuple[NDArray, dict[str, Any]]:
    """The frames of a volume that are not empty (at least one), and what says where the object comes from."""
    source = expand(source)
    if not source.exists():
        raise ScanError(missing(source))
    headers = in_order(source)
    frames, affine = read(source).as_stored(volume)
    frames = np.ascontiguousarray(frames)
    patient = Dataset()
    if identify:
        patient, bad = _patient(headers[0].path)
        for sentence in bad:
            warnings.warn(sentence, stacklevel=3)
    step_mm = None if len(headers) == 1 else round(float(np.linalg.norm(affine[:3, 0])), 6)
    sources = [_reference(header, headers[0], step_mm, patient) for header in headers]
    labels = _labels(kind, sources[0], frames, task)
    chosen = np.flatnonzero(frames.any((1, 2))) if frames.any() else [0]
    return frames[chosen], labels | {"source_images": [sources[k] for k in chosen]}


def left_out(source: Path) -> tuple[str, ...]:
    """A sentence for each entry on patient and study that ``identify=True`` leaves out, for it is not as it must be."""
    return _patient(in_order(source)[0].path)[1]


def _patient(path: Path) -> tuple[Dataset, tuple[str, ...]]:
    """What a file says of patient and study, and a sentence for each entry that no object could repeat."""
    source = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SpecificCharacterSet", *_OF_PATIENT])
    patient, bad = Dataset(), []
    charset = source.get("SpecificCharacterSet")
    names = [charset] if isinstance(charset, str) else list(charset or ())
    decoded = all(name in python_encoding for name in names)
    for keyword in _OF_PATIENT:
        try:
            setattr(patient, keyword, _entry(keyword, source.get(keyword), decoded))
        # A damaged entry can make the parser raise nearly anything.
        except Exception:
            bad.append(f"The header's {keyword} is not as DICOM has it, so the DICOM objects are without it.")
    patient.SpecificCharacterSet = "ISO_IR 192"  # UTF-8: the texts have been decoded
    return patient, tuple(bad)


def _entry(keyword: str, value: Any, decoded: bool) -> Any:
    """A value as it is; a ValueError where it is not one printable text, date, time or sex, or could not be decoded."""
    text = "" if value is None else str(value)
    if isinstance(value, MultiValue) or not text.isprintable() or not (decoded or text.isascii()):
        raise ValueError(keyword)
    reader = {"PatientBirthDate": DA, "StudyDate": DA, "StudyTime": TM}.get(keyword, str)
    if (text and reader(text) is None) or (keyword == "PatientSex" and text not in _SEXES):
        raise ValueError(keyword)
    return value


def _reference(header: Header, first: Header, step_mm: float | None, patient: Dataset) -> Dataset:
    """What an object must repeat of a slice; ``step_mm`` is the distance of the series' slices, if it has several."""
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
    thickness = header.number("SliceThickness") or 0.0
    data.SliceThickness = thickness if thickness > 0 else step_mm or _UNKNOWN_MM
    # The series', since that of the frames alone is another where slices are left out.
    data.SpacingBetweenSlices = step_mm or data.SliceThickness
    for keyword in ("SpecificCharacterSet", *_OF_PATIENT):
        setattr(data, keyword, patient.get(keyword, None if keyword == "SpecificCharacterSet" else ""))
    return data


def _labels(kind: str, source: Dataset, frames: NDArray, task: Task) -> dict[str, Any]:
    """The entries that say where an object comes from; its UIDs follow from its content."""
    description = f"{task.name} ({'region' if kind == 'SEG' else 'map'})"
    seed = [kind, __version__, source.SeriesInstanceUID, hashlib.sha256(frames.tobytes()).hexdigest(), description]
    seed.append(rule_of(task))
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
        "content_label": "BIOMARK",
        "content_description": task.name,
    }


def _save(data: SOPClass, path: str | Path, task: Task, identify: bool) -> Path:
    data.ImageComments = f"Candidates: {rule_of(task)}."
    if not identify:
        data.PatientIdentityRemoved = "YES"
        data.DeidentificationMethod = "biomark: of patient and study only UIDs were kept"
    with atomic_write(path) as partial:
        data.save_as(partial)
    return Path(path)


def highdicom() -> ModuleType:
    """The package; an ImportError that says how to install it."""
    try:
        return importlib.import_module("highdicom")
    except ImportError as error:
        raise ImportError('DICOM objects are written by highdicom: run pip install "biomark[dicom]".') from error
