"""One CT slice in DICOM: the checks before it is read, and its pixels in Hounsfield units."""

from __future__ import annotations

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.pixels import get_decoder
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from biomark.scans.header import ENHANCED_CT, MODALITY, TAGS, Header, known, short
from biomark.scans.header import UID as UIDS
from biomark.scans.scan import ScanError

# No CT comes near: 16 bits times the one, or 32 bits and the other.
_STEEPEST, _FARTHEST = 1e5, 1e9
_PLAIN = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)


def check(header: Header) -> None:
    """Raise a ScanError for another modality, several frames, colours, 8 bits, or no rescale to HU."""
    path, modality = header.path, header.text("Modality")
    if modality != "CT":
        raise ScanError(
            f"{path} has the modality {known(modality, MODALITY) if modality else '(none)'}, not CT; pass a CT series."
        )
    if header.kind in ENHANCED_CT or (header.number("NumberOfFrames") or 1) > 1:
        raise ScanError(f"{path} holds many slices in one file (enhanced CT); convert it to NIfTI, with dcm2niix.")
    photometric = header.text("PhotometricInterpretation") or "MONOCHROME2"
    if (header.number("SamplesPerPixel") or 1) != 1 or not photometric.startswith("MONOCHROME"):
        raise ScanError(f"{path} is a colour image, not HU; pass the original CT series.")
    if (bits := header.number("BitsStored") or header.numbers("BitsAllocated", 1)[0]) <= 8:
        raise ScanError(
            f"{path} stores {bits:g} bits a pixel: these are grey values, not HU; pass the original CT series."
        )
    if header.get("ModalityLUTSequence"):
        raise ScanError(f"{path} maps its values by a table instead of slope and intercept; not supported.")
    unit = header.text("RescaleType") or "HU"
    if unit.upper() not in ("HU", "US") and not unit.upper().startswith("HOUNSFIELD"):
        raise ScanError(f"{path} is rescaled to another unit than HU; pass the conventional CT series.")
    slope, intercept = header.rescale
    if slope == 0:
        raise ScanError(f"{path} has the RescaleSlope 0, which leaves no image; export the CT series again.")
    if abs(slope) > _STEEPEST or abs(intercept) > _FARTHEST:
        raise ScanError(
            f"{path} has the RescaleSlope {slope:g} and the RescaleIntercept {intercept:g}, which lead to no HU; "
            "export the CT series again."
        )


def read_pixels(header: Header, out: NDArray[np.float32]) -> None:
    """Write one slice's HU into `out`, (rows, columns): pydicom's `apply_modality_lut` as float32, to the last bit.

    A ScanError where the pixels are cut, damaged, or compressed in a way that no installed decoder reads.
    """
    path = header.path
    syntax = UID(header.preface.text("TransferSyntaxUID") or "")
    needed = out.size * int(header.number("BitsAllocated") or 16) // 8
    # Checked before memory is allocated.
    if syntax in _PLAIN and path.stat().st_size < needed:
        raise ScanError(f"{path} has truncated or damaged pixels; copy it again (they should take {needed} bytes).")
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as error:
        raise ScanError(
            f"{path} has the transfer syntax {known(syntax, UIDS) if syntax else '(none)'}, which is not known."
        ) from error
    if not decoder.is_available:
        raise ScanError(
            f"{path} is compressed ({syntax.name}, {syntax}) and no decoder for it is installed; run: "
            'pip install "biomark[codecs]"'
        )
    try:
        data = header.data if "PixelData" in header.data else pydicom.dcmread(path, specific_tags=TAGS)
        # As `data.pixel_array`, without the copy that pydicom caches.
        stored, _ = decoder.as_array(data, raw=True, view_only=True, correct_unused_bits=not _misplaced(header))
    except (KeyboardInterrupt, SystemExit):
        raise
    # Damaged pixels make the decoders raise nearly anything; a panic in Rust is no Exception.
    except BaseException as error:
        raise ScanError(f"{path} has truncated or damaged pixels; copy it again ({short(error)}).") from error
    if stored.shape != out.shape:
        raise ScanError(f"{path} holds pixels of shape {stored.shape} instead of {out.shape}; copy it again.")
    # Many headers name a wrong HighBit over right values; where values need the bits above, nobody knows which count.
    if _misplaced(header) and not _within(stored, header.number("BitsStored")):
        raise ScanError(
            f"{path} stores {header.number('BitsStored'):g} bits below bit {header.number('HighBit'):g}, with values "
            "beyond them, so their scale is unknown; export the original CT series again."
        )

    slope, intercept = header.rescale
    out[...] = stored.astype(np.float64) * slope + intercept


def _misplaced(header: Header) -> bool:
    """Whether the header places the stored bits elsewhere than at the low end."""
    bits, high = header.number("BitsStored"), header.number("HighBit")
    return bool(bits) and high is not None and high != bits - 1


def _within(stored: NDArray, bits: float) -> bool:
    """Whether all values need no more than some bits."""
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1)) if stored.dtype.kind == "i" else (0, 2**bits)
    return bool(low <= stored.min() and stored.max() < high)
