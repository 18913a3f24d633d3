"""Whatever a DICOM or NIfTI file holds, reading ends in a scan or in one sentence, soon and in little memory.

Set BIOMARK_FUZZ_SECONDS to look for longer: ``BIOMARK_FUZZ_SECONDS=900 pytest tests/test_scans_fuzz.py -s``.
"""

from __future__ import annotations

import gzip
import io
import os
import resource
import struct
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from dicom_files import body_hu, ct_slice
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from biomark import scans
from biomark.datasets.table import read_labels
from biomark.scans import ScanError
from biomark.scans.nifti import read_mask
from biomark.scans.reader import preview

SECONDS = float(os.environ.get("BIOMARK_FUZZ_SECONDS", "0"))
MOST_BYTES = 400 * 2**20  # a slice of 4096 x 4096 as float32 takes 64 MiB
# pydicom warns of what it mends.
pytestmark = pytest.mark.filterwarnings("ignore")


def stored(data: Dataset) -> bytes:
    file = io.BytesIO()
    data.save_as(file, enforce_file_format=True)
    return file.getvalue()


def attempt(content: bytes, folder: Path) -> str:
    """Read a file alone and in a folder, and preview it; the sentence, or '' where it was read.

    An error other than ScanError fails the test, and so does a sentence that does not name the file.
    """
    path = folder / "x.dcm"
    path.write_bytes(content)
    sentence = ""
    for reader in (lambda: scans.read(path), lambda: scans.read(folder), lambda: preview(path)):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            scan = reader()
        except ScanError as error:
            sentence = str(error)
            assert sentence and "\n" not in sentence and str(folder) in sentence, sentence
        else:
            assert not isinstance(scan, scans.Scan) or np.isfinite(scan.hu).all()
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        assert grown < MOST_BYTES, f"{grown / 2**20:.0f} MiB"
    return sentence


SEEDS = [stored(ct_slice(body_hu(shape=(24, 24)), (0, 0, 0), StudyInstanceUID="1.2.3"))]
_packed = ct_slice(body_hu(shape=(24, 24)), (0, 0, 0))
_packed.compress(RLELossless)
SEEDS.append(stored(_packed))
_deflated = ct_slice(body_hu(shape=(24, 24)), (0, 0, 0))
_deflated.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
SEEDS.append(stored(_deflated))
HEADERS = [len(s) - 2 * 24 * 24 if i == 0 else len(s) for i, s in enumerate(SEEDS)]

KEYWORDS = (
    "Rows Columns BitsAllocated BitsStored HighBit PixelRepresentation SamplesPerPixel PhotometricInterpretation "
    "PixelSpacing ImagePositionPatient ImageOrientationPatient RescaleSlope RescaleIntercept RescaleType Modality "
    "NumberOfFrames SeriesInstanceUID SliceThickness KVP PixelPaddingValue ImageType SpecificCharacterSet "
    "GantryDetectorTilt PlanarConfiguration FrameOfReferenceUID ConvolutionKernel ContrastBolusAgent"
).split()
VRS = "DS IS LO US SS UL FL FD OB OW UN SQ PN UI CS AT SH UT DA TM".split()


@st.composite
def flipped(draw) -> bytes:
    """A file with a few bytes changed, cut, doubled or taken out."""
    which = draw(st.integers(0, len(SEEDS) - 1))
    content = bytearray(SEEDS[which])
    for _ in range(draw(st.integers(1, 6))):
        # Mostly in the header, where the damage is interesting.
        end = HEADERS[which] if draw(st.booleans()) else len(content)
        at = draw(st.integers(128, max(129, min(end, len(content)) - 1)))
        how = draw(st.sampled_from(["byte", "word", "cut", "insert", "drop"]))
        if how == "byte":
            content[at : at + 1] = bytes([draw(st.integers(0, 255))])
        elif how == "word":
            content[at : at + 4] = struct.pack("<I", draw(st.sampled_from([0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 65535])))
        elif how == "cut":
            del content[at:]
        elif how == "insert":
            content[at:at] = draw(st.binary(min_size=1, max_size=40))
        else:
            del content[at : at + draw(st.integers(1, 64))]
        if len(content) < 140:
            break
    return bytes(content)


VALUES = {
    "numbers": st.one_of(st.integers(0, 2**16 - 1), st.sampled_from([0, 1, 8, 12, 16, 32, 64, 4096, 65535])),
    "texts": st.one_of(
        st.sampled_from(["", "0", "-1", "nan", "inf", "1e400", "1E-300", "x", "\\", "1\\2", "1\\2\\3\\4\\5\\6", "MR"]),
        st.text(max_size=20),
        st.floats().map(str),
    ),
}


def element(keyword_tag: int, vr: str, value: bytes) -> bytes:
    """One element in explicit little endian, right or not."""
    head = struct.pack("<HH", keyword_tag >> 16, keyword_tag & 0xFFFF) + vr.encode()
    if vr in ("OB", "OW", "UN", "SQ", "UT"):
        return head + b"\0\0" + struct.pack("<I", len(value)) + value
    return head + struct.pack("<H", len(value) & 0xFFFF) + value


@st.composite
def miswritten(draw) -> bytes:
    """A file in which entries that reading uses are of another kind, size or number."""
    from pydicom.datadict import tag_for_keyword

    data = ct_slice(body_hu(shape=(24, 24)), (0, 0, 0))
    entries = {}
    for keyword in draw(st.lists(st.sampled_from(KEYWORDS), min_size=1, max_size=4, unique=True)):
        vr = draw(st.sampled_from(VRS))
        if draw(st.booleans()):
            value = struct.pack("<H", draw(VALUES["numbers"])) * draw(st.integers(0, 4))
        else:
            value = draw(VALUES["texts"]).encode("utf-8", "replace")
        if draw(st.booleans()) and keyword in data:
            vr = data[keyword].VR  # the right kind, with a value that it may not have
        entries[int(tag_for_keyword(keyword))] = element(tag_for_keyword(keyword), vr, value + b" " * (len(value) % 2))
        if keyword in data:
            delattr(data, keyword)
    content = stored(data)
    pixels = content.index(struct.pack("<HH", 0x7FE0, 0x10) + b"OW")
    # A private entry and a sequence within a sequence come along now and then.
    extra = b"".join(entries[tag] for tag in sorted(entries))
    if draw(st.booleans()):
        extra += nested(draw(st.integers(1, 60)))
    return content[:pixels] + extra + content[pixels:]


def nested(depth: int) -> bytes:
    """A private sequence in a sequence in a sequence, of undefined length, that nobody closes."""
    start = struct.pack("<HH", 0x0009, 0x1001) + b"SQ\0\0" + b"\xff" * 4
    return (start + struct.pack("<HH", 0xFFFE, 0xE000) + b"\xff" * 4) * depth


@pytest.mark.parametrize("files", [flipped(), miswritten()], ids=["flipped", "miswritten"])
def test_any_file_ends_in_a_scan_or_a_sentence(files):
    count = {"files": 0, "sentences": 0}
    end = time.monotonic() + SECONDS / 2

    @settings(
        max_examples=2000 if SECONDS else 150,
        deadline=None,
        derandomize=not SECONDS,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(content=files)
    def look(content):
        if SECONDS and time.monotonic() > end:
            return
        with tempfile.TemporaryDirectory() as folder:
            count["sentences"] += bool(attempt(content, Path(folder)))
        count["files"] += 1

    look()
    while time.monotonic() < end:
        look()
    print(f"\n{count['files']} files, {count['sentences']} ended in a sentence")
    assert count["files"] >= 20 and 0 < count["sentences"] <= count["files"]


# --- NIfTI: scans, masks and labels -----------------------------------------------------------------------

_SHAPE, _AFFINE = (24, 24, 4), np.diag([-7.0, -7, 2, 1])
_VOLUME = np.stack([body_hu(k, _SHAPE[:2]) for k in range(4)], axis=2)


@st.composite
def volumes(draw) -> tuple[bytes, bool]:
    """A NIfTI file, as a scan or as a mask, with entries of its header changed or the packed file damaged."""
    kind = draw(st.sampled_from([nib.Nifti1Image, nib.Nifti2Image]))
    image = kind(draw(st.sampled_from([_VOLUME, (_VOLUME > -500).astype(np.uint8)])), _AFFINE)
    image.header.set_xyzt_units("mm")
    content = bytearray(image.to_bytes())
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, 352 if kind is nib.Nifti1Image else 544) | st.integers(0, len(content) - 1))
        word = draw(
            st.binary(min_size=1, max_size=4) | st.sampled_from([b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\xff\x7f", b"\0"])
        )
        content[at : at + len(word)] = word
    if not draw(st.booleans()):
        return bytes(content), False
    packed = bytearray(gzip.compress(content, draw(st.sampled_from([0, 1, 9]))))
    for _ in range(draw(st.integers(0, 2))):
        packed[draw(st.integers(0, len(packed) - 1))] ^= 1 << draw(st.integers(0, 7))
    return bytes(packed[: draw(st.sampled_from([None, len(packed) // 2, len(packed) - 4]))]), True


def test_any_nifti_file_ends_in_a_scan_a_mask_or_a_sentence():
    end, sentences = time.monotonic() + SECONDS / 2, set()

    def attempt_nifti(content: bytes, packed: bool, folder: Path) -> None:
        image = folder / "ct.nii"
        image.write_bytes(nib.Nifti1Image(_VOLUME, _AFFINE).to_bytes())
        scan, path = scans.read(image), folder / ("x.nii.gz" if packed else "x.nii")
        path.write_bytes(content)
        for read in (scans.read, preview, lambda p: read_mask(p, scan), lambda p: read_labels(p, image)):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            try:
                found = read(path)
            except ScanError as error:
                sentences.add(str(error).replace(str(folder), ""))
                assert str(folder) in str(error) and "\n" not in str(error)
            else:
                assert not isinstance(found, scans.Scan) or np.isfinite(found.hu).all()
            assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MOST_BYTES

    @settings(
        max_examples=2000 if SECONDS else 200,
        deadline=None,
        derandomize=not SECONDS,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(file=volumes())
    def look(file):
        if SECONDS and time.monotonic() > end:
            return
        with tempfile.TemporaryDirectory() as folder:
            attempt_nifti(*file, Path(folder))

    look()
    while time.monotonic() < end:
        look()
    assert len(sentences) > 10


# --- bombs -----------------------------------------------------------------------------------------------


def test_a_size_that_no_slice_has_is_refused_before_memory_is_asked_for(tmp_path):
    for rows, columns in ((65535, 65535), (65535, 2), (4097, 4096), (0, 24)):
        sentence = attempt(stored(ct_slice(body_hu(), (0, 0, 0), Rows=rows, Columns=columns)), tmp_path)
        assert sentence, (rows, columns)


def test_a_compressed_slice_that_claims_to_be_huge_is_refused(tmp_path):
    data = ct_slice(body_hu(), (0, 0, 0))
    data.compress(RLELossless)
    data.Rows = data.Columns = 65535
    assert "pixels, which no CT slice has" in attempt(stored(data), tmp_path)
    data.Rows = data.Columns = 4000
    assert attempt(stored(data), tmp_path)


def test_what_may_inflate_to_any_size_is_refused(tmp_path):
    head = ct_slice(body_hu(), (0, 0, 0))
    head.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    assert "it is deflated" in attempt(stored(head), tmp_path)


def test_a_picture_inside_that_claims_to_be_huge_takes_no_memory(tmp_path):
    pytest.importorskip("openjpeg")
    data = ct_slice(body_hu(), (0, 0, 0))
    # SOC and SIZ of a JPEG 2000 stream of 60000 x 60000 pixels, and nothing after.
    size = struct.pack(">HHHIIIIIIIIH", 0xFF51, 41, 0, 60000, 60000, 0, 0, 60000, 60000, 0, 0, 1) + b"\x0f\x01\x01"
    data.PixelData = encapsulate([b"\xff\x4f" + size + b"\xff\xd9\0"])
    data["PixelData"].is_undefined_length = True
    data.file_meta.TransferSyntaxUID = JPEG2000Lossless
    assert "damaged pixels" in attempt(stored(data), tmp_path)


def test_sequences_within_sequences_without_end(tmp_path):
    content = SEEDS[0]
    at = content.index(struct.pack("<HH", 0x7FE0, 0x10))
    for depth in (10, 400, 5000):
        assert attempt(content[:at] + nested(depth) + content[at:], tmp_path) or depth == 10
