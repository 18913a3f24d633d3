"""One DICOM file: its header, whether it is a CT slice in Hounsfield units, and its pixels."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.errors import InvalidDicomError
from pydicom.pixels import get_decoder
from pydicom.uid import UID

from biomark.scans.scan import ScanError

_CT = "1.2.840.10008.5.1.4.1.1.2"
_ENHANCED_CT = (f"{_CT}.1", f"{_CT}.2")  # Enhanced, and Legacy Converted Enhanced
_DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
# float32 holds every whole number up to here, so that arithmetic on whole numbers below it is exact.
_EXACT_BELOW = 2**24


class Header(NamedTuple):
    """A DICOM file's header, without its pixels."""

    path: Path
    data: pydicom.Dataset

    def get(self, keyword: str) -> Any:
        """An entry, or None when it is missing, empty or not as the standard has it."""
        try:
            value = self.data.get(keyword)
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
        return Header(path, pydicom.dcmread(path, stop_before_pixels=not pixels))
    except InvalidDicomError as error:
        if path.suffix.lower() in _DICOM_SUFFIXES:
            raise ScanError(f"{path} is named as DICOM but is damaged or empty; copy it again.") from error
        return None
    except PermissionError as error:
        raise ScanError(f"{path} may not be read; change its permissions.") from error
    # A damaged header can make the parser raise nearly anything.
    except Exception as error:
        raise ScanError(f"{path} has a damaged DICOM header; copy it again ({_short(error)}).") from error


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
        data = header.data if "PixelData" in header.data else pydicom.dcmread(path)
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
