"""One DICOM file: its header, whether it is a CT slice in Hounsfield units, and its pixels."""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.datadict import tag_for_keyword
from pydicom.errors import InvalidDicomError
from pydicom.pixels import get_decoder
from pydicom.tag import BaseTag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from biomark.scans.scan import ScanError

_CT = "1.2.840.10008.5.1.4.1.1.2"
_ENHANCED_CT = (f"{_CT}.1", f"{_CT}.2")  # Enhanced, and Legacy Converted Enhanced
_DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
# Photon-counting and high-resolution scanners write 2048 x 2048; more than twice that on a side is damage, or a trap.
_LARGEST_PIXELS = 4096 * 4096
# A slice of that size, twice over: what a deflated file may hold.
_LARGEST_BYTES = 4 * _LARGEST_PIXELS
# float32 holds every whole number up to here, so that arithmetic on whole numbers below it is exact.
_EXACT_BELOW = 2**24
# All that is read. What else a header holds, such as who the patient is, never enters the memory; and skipping it takes
# a fraction of the time that parsing it does.
_OF_IMAGE = (
    *("SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID", "ImageType", "Modality", "Manufacturer"),
    *("ManufacturerModelName", "KVP", "SliceThickness", "ConvolutionKernel", "ContrastBolusAgent", "RescaleType"),
    *("GantryDetectorTilt", "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber", "FrameOfReferenceUID", "PatientID"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "PixelPaddingValue", "ModalityLUTSequence"),
    *("RescaleSlope", "RescaleIntercept", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration"),
    *("NumberOfFrames", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("PixelData", "FloatPixelData", "DoubleFloatPixelData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
)
_TAG_OF = {keyword: BaseTag(tag_for_keyword(keyword)) for keyword in _OF_IMAGE}
_TAGS = list(_TAG_OF.values())


class Header(NamedTuple):
    """What is read of a DICOM file's header."""

    path: Path
    data: pydicom.Dataset

    def get(self, keyword: str) -> Any:
        """An entry, or None when it is missing, empty or not as the standard has it."""
        try:
            tag = _TAG_OF.get(keyword)
            # By tag it takes half the time that it takes by keyword.
            value = self.data.get(keyword) if tag is None else self.data[tag].value if tag in self.data else None
        # pydicom converts on access; a malformed value of an entry that is not needed must not stop reading.
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
        """The `count` finite numbers of an entry that reading cannot do without.

        Raises:
            ScanError: The entry is missing or holds something else.
        """
        value = self.get(keyword)
        try:
            numbers = tuple(float(v) for v in ((value,) if count == 1 else value))
        except (TypeError, ValueError):
            numbers = ()
        if len(numbers) != count or not all(math.isfinite(v) for v in numbers):
            found = "has no" if value is None else f"has an unusable ({value})"
            raise ScanError(f"{self.path} {found} {keyword}; export the original CT series again.")
        return numbers

    @property
    def plane(self) -> tuple[int, int]:
        """Rows and columns of the image.

        Raises:
            ScanError: There are none, or more than any CT has.
        """
        rows, columns = (int(self.numbers(keyword, 1)[0]) for keyword in ("Rows", "Columns"))
        if min(rows, columns) < 1 or rows * columns > _LARGEST_PIXELS:
            raise ScanError(f"{self.path} names {rows} x {columns} pixels, which no CT slice has; copy it again.")
        return rows, columns

    @property
    def preface(self) -> Header:
        """The file meta information, which stands first and survives when a file is cut."""
        return Header(self.path, getattr(self.data, "file_meta", pydicom.Dataset()))

    @property
    def kind(self) -> str:
        """The UID of the kind of object (SOP class), or ''."""
        return self.preface.text("MediaStorageSOPClassUID") or self.text("SOPClassUID") or ""

    @property
    def is_image(self) -> bool:
        """Whether the file holds an image.

        Raises:
            ScanError: The file is a CT image that lost its end in copying.
        """
        if self.get("Rows") and self.get("Columns"):
            return True
        if self.kind in ("", _CT, *_ENHANCED_CT):
            raise ScanError(f"{self.path} is truncated: it ends within the header; copy it again.")
        return False

    @property
    def is_scout(self) -> bool:
        """Whether the image is a planning overview instead of a slice."""
        return "LOCALIZER" in (self.text("ImageType") or "").upper()

    @property
    def series(self) -> tuple[str, ...]:
        """What tells series apart: the UID or, where an anonymiser emptied it, what is left in the header."""
        uid = self.text("SeriesInstanceUID")
        left = ("SeriesNumber", "StudyInstanceUID", "PatientID")
        return (uid,) if uid else ("", *(self.text(keyword) or "" for keyword in left))

    @property
    def rescale(self) -> tuple[float, float]:
        """The slice's own slope and intercept, from stored values to HU.

        Raises:
            ScanError: One of them is missing.
        """
        return (*self.numbers("RescaleSlope", 1), *self.numbers("RescaleIntercept", 1))


def open_header(path: Path, *, pixels: bool = False) -> Header | None:
    """The header of a DICOM file; None when the file is no DICOM and does not claim to be.

    Args:
        path: The file.
        pixels: Keep the stored pixels with it, for :func:`read_pixels`: one file is opened once, while of a series
            all would be held at a time.

    Raises:
        ScanError: The file is damaged or may not be read.
    """
    try:
        with open(path, "rb") as file:
            _refuse_a_bomb(file)
            return Header(path, pydicom.dcmread(file, stop_before_pixels=not pixels, specific_tags=_TAGS))
    except InvalidDicomError as error:
        if path.suffix.lower() in _DICOM_SUFFIXES:
            raise ScanError(f"{path} is named as DICOM but is damaged or empty; copy it again.") from error
        return None
    except PermissionError as error:
        raise ScanError(f"{path} may not be read; change its permissions.") from error
    # A damaged header can make the parser raise nearly anything.
    except Exception as error:
        raise ScanError(f"{path} has a damaged DICOM header; copy it again ({_short(error)}).") from error


def _refuse_a_bomb(file: io.BufferedReader) -> None:
    """Refuse a deflated file of a few kB that would unpack to more than any slice; leave the file at its beginning.

    Raises:
        ValueError: It unpacks to more than ``_LARGEST_BYTES``.
    """
    start = file.peek(1024)
    # Followed by the padding byte, it stands in the group of elements before the deflated ones.
    if DeflatedExplicitVRLittleEndian.encode() + b"\0" not in start:
        return
    # Where they begin does not matter: it is told in the last of the group's elements at the latest.
    pydicom.filereader.read_preamble(file, False)
    pydicom.filereader._read_file_meta_info(file)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflater.decompress(file.read(), _LARGEST_BYTES)
    file.seek(0)
    if inflater.unconsumed_tail:
        raise ValueError(f"deflated, it unpacks to more than {_LARGEST_BYTES / 2**20:.0f} MiB")


def check(header: Header) -> None:
    """Refuse what is no single CT slice in Hounsfield units.

    Raises:
        ScanError: Another modality, several frames, colours, 8 bits, or no rescale to HU.
    """
    path, modality = header.path, header.text("Modality")
    if modality != "CT":
        raise ScanError(f"{path} has the modality {modality or '(none)'}, not CT; pass a CT series.")
    if header.kind in _ENHANCED_CT or (header.number("NumberOfFrames") or 1) > 1:
        raise ScanError(f"{path} holds many slices in one file (enhanced CT); convert it to NIfTI, with dcm2niix.")
    photometric = header.text("PhotometricInterpretation") or "MONOCHROME2"
    if (header.number("SamplesPerPixel") or 1) != 1 or not photometric.startswith("MONOCHROME"):
        raise ScanError(f"{path} is a colour image ({photometric}): not HU; pass the original CT series.")
    if (bits := header.number("BitsStored") or header.numbers("BitsAllocated", 1)[0]) <= 8:
        raise ScanError(
            f"{path} stores {bits:g} bits a pixel: these are grey values, not HU; pass the original CT series."
        )
    if header.get("ModalityLUTSequence"):
        raise ScanError(f"{path} maps its values by a table instead of slope and intercept; not supported.")
    unit = header.text("RescaleType") or "HU"
    if unit not in ("HU", "US"):
        raise ScanError(f"{path} is rescaled to {unit}, not to HU; pass the conventional CT series.")
    syntax, (rows, columns) = UID(header.preface.text("TransferSyntaxUID") or ""), header.plane
    packed = syntax.is_encapsulated or syntax.is_deflated if syntax.is_transfer_syntax else True
    needed = rows * columns * int(header.number("BitsAllocated") or 16) // 8
    # Said before memory is asked for.
    if not packed and path.stat().st_size < needed:
        raise ScanError(f"{path} has truncated or damaged pixels; copy it again (it should hold {needed} bytes of them).")
    if header.rescale[0] == 0:
        raise ScanError(f"{path} has the RescaleSlope 0, which leaves no image; export the CT series again.")


def read_pixels(header: Header, out: NDArray[np.float32]) -> None:
    """Write one slice's Hounsfield units into `out`, shape (rows, columns).

    The values are those of pydicom's `apply_modality_lut` cast to float32, to the last bit.

    Raises:
        ScanError: The pixels are cut, damaged, or compressed in a way that no installed decoder reads.
    """
    path = header.path
    syntax = UID(header.preface.text("TransferSyntaxUID") or "")
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError as error:
        raise ScanError(f"{path} has the transfer syntax {syntax or '(none)'}, which is not known.") from error
    if not available:
        raise ScanError(
            f"{path} is compressed ({syntax.name}, {syntax}) and no decoder for it is installed; run: "
            'pip install "biomark[codecs]"'
        )
    try:
        data = header.data if "PixelData" in header.data else pydicom.dcmread(path, specific_tags=_TAGS)
        stored = data.pixel_array
    # Damaged pixels make the decoders raise nearly anything.
    except Exception as error:
        raise ScanError(f"{path} has truncated or damaged pixels; copy it again ({_short(error)}).") from error
    if stored.shape != out.shape:
        raise ScanError(f"{path} holds pixels of shape {stored.shape} instead of {out.shape}; copy it again.")

    slope, intercept = header.rescale
    whole = slope.is_integer() and intercept.is_integer() and stored.dtype.kind in "iu" and stored.itemsize <= 2
    if whole and abs(slope) * 2**16 + abs(intercept) < _EXACT_BELOW:
        np.multiply(stored, np.float32(slope), out=out, dtype=np.float32)
        out += np.float32(intercept)
    else:
        out[...] = stored.astype(np.float64) * slope + intercept


def _short(error: Exception) -> str:
    """The first line of another library's message."""
    return (str(error).splitlines() or [type(error).__name__])[0].strip().rstrip(".")
