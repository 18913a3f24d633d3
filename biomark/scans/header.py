"""One DICOM file: its header, the checks before it is read, and its pixels in Hounsfield units."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import uid
from pydicom.errors import InvalidDicomError
from pydicom.pixels import get_decoder

from biomark.scans.scan import ScanError

_CT = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT = (f"{_CT}.1", f"{_CT}.2")  # Enhanced, and Legacy Converted Enhanced
_DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
# Photon-counting and high-resolution scanners write 2048 x 2048; more than twice that on a side is damage, or a trap.
_LARGEST_PIXELS = 4096 * 4096
# No CT comes near: 16 bits times the one, or 32 bits and the other.
_STEEPEST, _FARTHEST = 1e5, 1e9
# All that is read. The rest, such as who the patient is, never enters memory; and skipping it is faster than parsing.
TAGS = """
SpecificCharacterSet SOPClassUID SOPInstanceUID ImageType Modality Manufacturer ManufacturerModelName KVP SliceThickness
ConvolutionKernel ContrastBolusAgent RescaleType GantryDetectorTilt StudyInstanceUID SeriesInstanceUID SeriesNumber
FrameOfReferenceUID PatientID ImagePositionPatient ImageOrientationPatient PixelSpacing PixelPaddingValue
PixelPaddingRangeLimit ModalityLUTSequence RescaleSlope RescaleIntercept SamplesPerPixel PhotometricInterpretation
PlanarConfiguration NumberOfFrames Rows Columns BitsAllocated BitsStored HighBit PixelRepresentation PixelData
FloatPixelData DoubleFloatPixelData ExtendedOffsetTable ExtendedOffsetTableLengths
""".split()
MODALITY = re.compile("CR|CT|DX|ES|IO|KO|MG|MR|NM|OP|OT|PR|PT|PX|RF|SC|SM|SR|US|XA|DOC|ECG|REG|RWV|SEG|RT[A-Z]{4,9}")
UID = re.compile(r"[\d.]{1,64}")
NUMBERS = re.compile(r"[-+\d.,e\[\]()'\\ ]{1,40}|nan|[-+]?inf", re.IGNORECASE)
# Start of a file without the 128 bytes and the letters DICM: group 2 or 8, and soon the UID of a kind of object.
_GROUPS, _KINDS = (b"\x02\0", b"\x08\0"), b"1.2.840.10008."


@dataclass(frozen=True, eq=False)
class Header:
    """The entries of a DICOM file's header that are read."""

    path: Path
    data: pydicom.Dataset

    def get(self, keyword: str) -> Any:
        """An entry, or None when it is missing, empty or not as the standard has it."""
        try:
            value = self.data.get(keyword)
        # pydicom converts on access; a malformed entry that is not needed must not stop reading.
        except Exception:
            return None
        return None if value is None or value == "" else value

    def text(self, keyword: str) -> str | None:
        """An entry as text, its several values joined by '/', or None."""
        value = self.get(keyword)
        if value is None:
            return None
        parts = [value] if isinstance(value, str) or not isinstance(value, Iterable) else value
        return "/".join(str(part).strip() for part in parts) or None

    def number(self, keyword: str) -> float | None:
        """An entry as one finite number, or None."""
        try:
            number = float(self.get(keyword))
        except (TypeError, ValueError):
            return None
        return number if math.isfinite(number) else None

    def numbers(self, keyword: str, count: int) -> tuple[float, ...]:
        """The `count` finite numbers of an entry; a ScanError where it is missing or holds something else."""
        value = self.get(keyword)
        try:
            numbers = tuple(float(v) for v in ((value,) if count == 1 else value))
        except (TypeError, ValueError):
            numbers = ()
        if len(numbers) != count or not all(math.isfinite(v) for v in numbers):
            found = "has no" if value is None else f"has an unusable ({known(str(value), NUMBERS)})"
            raise ScanError(f"{self.path} {found} {keyword}; export the original CT series again.")
        return numbers

    @cached_property
    def plane(self) -> tuple[int, int]:
        """Rows and columns of the image; a ScanError where there are none, or more than any CT has."""
        rows, columns = (int(self.numbers(keyword, 1)[0]) for keyword in ("Rows", "Columns"))
        if min(rows, columns) < 1 or rows * columns > _LARGEST_PIXELS:
            raise ScanError(f"{self.path} names {rows} x {columns} pixels, which no CT slice has; copy it again.")
        return rows, columns

    @cached_property
    def preface(self) -> Header:
        """The file meta information, which comes first and survives when a file is cut."""
        return Header(self.path, getattr(self.data, "file_meta", pydicom.Dataset()))

    @property
    def kind(self) -> str:
        """The UID of the kind of object (SOP class), or ''."""
        return self.preface.text("MediaStorageSOPClassUID") or self.text("SOPClassUID") or ""

    @property
    def is_image(self) -> bool:
        """Whether the file holds an image; a ScanError where it lost its end in copying, or no CT has its size."""
        if self.get("Rows") and self.get("Columns"):
            return bool(self.plane)
        if self.kind in ("", _CT, *ENHANCED_CT):
            raise ScanError(f"{self.path} is truncated: it ends within the header; copy it again.")
        return False

    @property
    def is_scout(self) -> bool:
        """Whether the image is a planning overview instead of a slice."""
        return "LOCALIZER" in (self.text("ImageType") or "").upper()

    @property
    def series(self) -> tuple[str, ...]:
        """The key of the series: its UID or, where an anonymiser emptied it, what is left in the header."""
        uid = self.text("SeriesInstanceUID")
        left = ("SeriesNumber", "StudyInstanceUID", "PatientID")
        return (uid,) if uid else ("", *(self.text(keyword) or "" for keyword in left))

    @cached_property
    def rescale(self) -> tuple[float, float]:
        """The slice's own slope and intercept, from stored values to HU; a ScanError where one is missing."""
        (slope,), (intercept,) = self.numbers("RescaleSlope", 1), self.numbers("RescaleIntercept", 1)
        return slope, intercept


def files_of(folder: Path) -> list[Path]:
    """The files of a folder by name, without the companions (``._0.dcm``) that macOS leaves beside copied ones."""
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("._"))


def open_header(path: Path, *, pixels: bool = False) -> Header | None:
    """The header of a DICOM file; None for another file, a ScanError where it is damaged or may not be read.

    With ``pixels`` the stored pixels are kept with it, so that a file that is read alone is opened once.
    """
    start = b""
    try:
        with open(path, "rb") as file:
            start = file.peek(1024)
            # pydicom inflates a file whole, whatever its size. The transfer syntax comes first.
            if uid.DeflatedExplicitVRLittleEndian.encode() in start:
                raise ValueError("it is deflated: write it again without, such as by dcmconv of DCMTK")
            return Header(path, pydicom.dcmread(file, stop_before_pixels=not pixels, specific_tags=TAGS))
    except InvalidDicomError as error:
        if start[:2] in _GROUPS and _KINDS in start:
            why = f"{path} lacks the 128 bytes and the letters DICM with which DICOM begins"
            raise ScanError(f"{why}; write it again with a DICOM tool, such as dcmconv.") from error
        if path.suffix.lower() in _DICOM_SUFFIXES:
            raise ScanError(f"{path} is named as DICOM but is damaged or empty; copy it again.") from error
        return None
    except PermissionError as error:
        raise ScanError(f"{path} may not be read; change its permissions.") from error
    # A damaged header can make the parser raise nearly anything.
    except Exception as error:
        raise ScanError(f"{path} has a damaged DICOM header; copy it again ({short(error)}).") from error


def check(header: Header) -> None:
    """Raise a ScanError for another modality, several frames, colours, 8 bits, or no rescale to HU."""
    path, modality = header.path, header.text("Modality")
    if modality != "CT":
        raise ScanError(f"{path} has the modality {known(modality, MODALITY)}, not CT; pass a CT series.")
    if header.kind in ENHANCED_CT or (header.number("NumberOfFrames") or 1) > 1:
        raise ScanError(f"{path} holds many slices in one file (enhanced CT); convert it to NIfTI, with dcm2niix.")
    photometric = header.text("PhotometricInterpretation") or "MONOCHROME2"
    if (header.number("SamplesPerPixel") or 1) != 1 or not photometric.startswith("MONOCHROME"):
        raise ScanError(f"{path} is a colour image, not HU; pass the original CT series.")
    if (bits := header.number("BitsStored") or header.numbers("BitsAllocated", 1)[0]) <= 8:
        raise ScanError(f"{path} stores {bits:g} bits a pixel: grey values, not HU; pass the original CT series.")
    if header.get("ModalityLUTSequence"):
        raise ScanError(f"{path} maps its values by a table instead of slope and intercept; not supported.")
    unit = header.text("RescaleType") or "HU"
    if unit.upper() not in ("HU", "US") and not unit.upper().startswith("HOUNSFIELD"):
        raise ScanError(f"{path} is rescaled to another unit than HU; pass the conventional CT series.")
    slope, intercept = header.rescale
    if slope == 0:
        raise ScanError(f"{path} has the RescaleSlope 0, which leaves no image; export the CT series again.")
    if abs(slope) > _STEEPEST or abs(intercept) > _FARTHEST:
        raise ScanError(f"{path} has slope {slope:g} and intercept {intercept:g}, which lead to no HU; export again.")


def read_pixels(header: Header, out: NDArray[np.float32]) -> None:
    """Write one slice's HU into `out`, (rows, columns): pydicom's `apply_modality_lut` as float32, to the last bit.

    A ScanError where the pixels are cut, damaged, or compressed in a way that no installed decoder reads.
    """
    path, bits, high_bit = header.path, header.number("BitsStored") or 0, header.number("HighBit")
    misplaced = bits > 0 and high_bit not in (None, bits - 1)
    syntax = uid.UID(header.preface.text("TransferSyntaxUID") or "")
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as error:
        raise ScanError(f"{path} has the transfer syntax {known(syntax, UID)}, which is not known.") from error
    if not decoder.is_available:
        raise ScanError(f'{path} is compressed ({syntax.name}); to read it: pip install "biomark[codecs]"')
    try:
        data = header.data if "PixelData" in header.data else pydicom.dcmread(path, specific_tags=TAGS)
        # As `data.pixel_array`, without the copy that pydicom caches.
        options: Any = {"raw": True, "view_only": True, "correct_unused_bits": not misplaced}
        stored, _ = decoder.as_array(data, **options)
    except (KeyboardInterrupt, SystemExit):
        raise
    # Damaged pixels make the decoders raise nearly anything; a panic in Rust is no Exception.
    except BaseException as error:
        raise ScanError(f"{path} has truncated or damaged pixels; copy it again ({short(error)}).") from error
    if stored.shape != out.shape:
        raise ScanError(f"{path} holds pixels of shape {stored.shape} instead of {out.shape}; copy it again.")
    # Many headers name a wrong HighBit over right values; where values need the bits above, nobody knows which count.
    if misplaced and not _within(stored, bits):
        raise ScanError(
            f"{path} stores {bits:g} bits below bit {high_bit:g}, with values beyond them, so their scale is unknown; "
            "export the original CT series again."
        )
    slope, intercept = header.rescale
    out[...] = stored.astype(np.float64) * slope + intercept


def _within(stored: NDArray, bits: float) -> bool:
    """Whether all values need no more than some bits."""
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1)) if stored.dtype.kind == "i" else (0, 2**bits)
    return bool(low <= stored.min() and stored.max() < high)


def known(text: str | None, words: re.Pattern) -> str:
    """A text if all of it is known, else how long it is: some departments type names into any field of a header."""
    return "(none)" if not text else text if words.fullmatch(text) else _length(text)


def short(error: BaseException) -> str:
    """The first line of another library's message, without what it quotes of a file."""
    line = (str(error).splitlines() or [type(error).__name__])[0].strip().rstrip(".")
    return re.sub(r"(['\"]).*\1", lambda found: _length(found[0][1:-1]), line)


def _length(text: str) -> str:
    return f"a text of {len(text)} character{'s' * (len(text) != 1)}"
