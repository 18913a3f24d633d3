"""Reading NIfTI: the same volume as from DICOM, or one clear sentence."""

from __future__ import annotations

import gzip
import os
import resource
import struct
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from dicom_files import body_hu, series
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.orientations import axcodes2ornt

from biomark import scans
from biomark.datasets.table import read_labels
from biomark.scans import ScanError
from biomark.scans.nifti import read_mask

SILENT = "A NIfTI file names no contrast agent, kernel, tube voltage or slice thickness, so none was checked."
# RAS millimetres of `series`: index (column, row, slice), corner at LPS (-168, -168, 0).
AFFINE = np.array([[-7.0, 0, 0, 168], [0, -7, 0, 168], [0, 0, 2, 0], [0, 0, 0, 1]])


def volume() -> np.ndarray:
    """The slices of `series`, as (column, row, slice)."""
    return np.stack([body_hu(k).T for k in range(4)], axis=2)


def write(path: Path, data: np.ndarray, affine: np.ndarray = AFFINE, unit: str = "mm") -> Path:
    """Write one NIfTI file with both codes set."""
    image = nib.Nifti1Image(data, affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1, strip_shears=True)
    image.header.set_xyzt_units(unit)
    nib.save(image, path)
    return path


def refusal(path: Path) -> str:
    """The sentence with which reading ends."""
    with pytest.raises(ScanError) as caught:
        scans.read(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
def test_dicom_and_nifti_give_the_same_scan(tmp_path, ending):
    a = scans.read(series(tmp_path / "dicom"))
    b = scans.read(write(tmp_path / f"ct.{ending}", volume()))
    assert b.hu.dtype == np.float32 and b.hu.flags.c_contiguous
    np.testing.assert_array_equal(a.hu, b.hu)
    assert a.spacing_mm == b.spacing_mm == (2.0, 7.0, 7.0)
    np.testing.assert_array_equal(a.affine, b.affine)
    assert b.findings == (SILENT,)
    assert b.meta["source"] == "NIfTI" and b.meta["kernel"] is None and b.meta["n_slices"] == 4


def test_a_spacing_that_float32_rounds_is_the_decimal_number_again(tmp_path):
    a = scans.read(series(tmp_path / "dicom", PixelSpacing=["0.810547", "0.68359375"]))
    affine = AFFINE.copy()
    affine[0, 0], affine[1, 1] = -0.68359375, -0.810547
    b = scans.read(write(tmp_path / "ct.nii", volume(), affine))
    assert a.spacing_mm == b.spacing_mm == (2.0, 0.810547, 0.68359375)


ORDERS = [(a + b + c) for a in "LRAPSI" for b in "LRAPSI" for c in "LRAPSI"]
ORDERS = [o for o in ORDERS if sum(len(set(o) & set(pair)) == 1 for pair in ("LR", "AP", "SI")) == 3]


@settings(max_examples=48, deadline=None, derandomize=True)
@given(
    order=st.sampled_from(ORDERS),
    shape=st.tuples(*[st.integers(2, 5)] * 3),
    spacing=st.tuples(*[st.sampled_from([0.488281, 0.625, 1.0, 2.5])] * 3),
    corner=st.tuples(*[st.sampled_from([-210.5, 0.0, 33.25])] * 3),
    seed=st.integers(0, 1000),
)
def test_any_orientation_gives_the_same_volume(order, shape, spacing, corner, seed):
    truth = np.random.default_rng(seed).integers(-1000, 1000, shape).astype(np.int16)  # head, back, left
    truth.flat[0] = -1000
    # Where voxel (d, h, w) lies in RAS, by hand: right falls with w, front falls with h, head rises with d.
    axes = {"S": (0, 2, 1), "I": (0, 2, -1), "P": (1, 1, -1), "A": (1, 1, 1), "L": (2, 0, -1), "R": (2, 0, 1)}
    affine, start = np.zeros((4, 4)), np.array([corner[2], corner[1], corner[0]])
    affine[3, 3] = 1
    stored, flips = truth, {0: 1, 1: -1, 2: -1}
    for j, letter in enumerate(order):
        mine, ras, sign = axes[letter]
        affine[ras, j] = sign * spacing[mine]
        if sign != flips[mine]:
            stored = np.flip(stored, mine)
            start[ras] += flips[mine] * spacing[mine] * (shape[mine] - 1)
    affine[:3, 3] = start
    stored = stored.transpose([axes[letter][0] for letter in order])
    assert "".join(nib.aff2axcodes(affine)) == order and axcodes2ornt(order).shape == (3, 2)
    with tempfile.TemporaryDirectory() as folder:
        scan = scans.read(write(Path(folder) / "ct.nii", stored, affine))
    np.testing.assert_array_equal(scan.hu, truth)
    assert scan.spacing_mm == spacing
    expected = [
        [0, 0, -spacing[2], corner[2]],
        [0, -spacing[1], 0, corner[1]],
        [spacing[0], 0, 0, corner[0]],
        [0, 0, 0, 1],
    ]
    np.testing.assert_allclose(scan.affine, expected, atol=1e-4)


def test_the_header_s_scale_is_applied(tmp_path):
    path = write(tmp_path / "ct.nii", volume())
    raw = bytearray(path.read_bytes())
    raw[112:120] = struct.pack("<ff", 0.5, -100.0)  # scl_slope, scl_inter
    path.write_bytes(raw)
    np.testing.assert_array_equal(scans.read(path).hu[1], body_hu(1) * 0.5 - 100)


def test_a_fourth_axis_of_one_is_dropped_and_a_longer_one_refused(tmp_path):
    data = volume()
    np.testing.assert_array_equal(scans.read(write(tmp_path / "a.nii", data[..., None])).hu[0], body_hu(0))
    sentence = refusal(write(tmp_path / "b.nii", np.stack([data, data], axis=3)))
    assert "has the shape (48, 48, 4, 2); save one 3-D volume" in sentence


@pytest.mark.parametrize("shape", [(48, 48), (48, 48, 1)])
def test_one_slice_does_not_tell_the_spacing(tmp_path, shape):
    scan = scans.read(write(tmp_path / "a.nii", body_hu().T.reshape(shape)))
    np.testing.assert_array_equal(scan.hu[0], body_hu())
    assert np.isnan(scan.spacing_mm[0]) and scan.spacing_mm[1:] == (7.0, 7.0)
    assert scan.affine[2, 0] == 1
    assert scan.findings[0].startswith("This is one slice alone")


def test_an_unknown_unit_is_said_and_others_are_refused(tmp_path):
    scan = scans.read(write(tmp_path / "a.nii", volume(), unit="unknown"))
    assert "The NIfTI header names no unit of length; millimetres are assumed." in scan.findings
    assert "gives lengths in meter" in refusal(write(tmp_path / "b.nii", volume(), unit="meter"))
    metres = write(tmp_path / "c.nii", volume(), np.diag([0.001, 0.001, 0.001, 1]) @ AFFINE, unit="unknown")
    assert "spacing of 0.007 x 0.007 x 0.002 mm is not that of a patient's CT" in refusal(metres)


def test_an_image_without_orientation_is_refused(tmp_path):
    image = nib.Nifti1Image(volume(), None)
    image.header.set_xyzt_units("mm")
    nib.save(image, tmp_path / "a.nii")
    assert "so sides are unknown" in refusal(tmp_path / "a.nii")


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_a_spacing_of_zero_is_refused(tmp_path, axis):
    path = write(tmp_path / "a.nii", volume())
    raw = bytearray(path.read_bytes())
    raw[76 + 4 * axis : 80 + 4 * axis] = struct.pack("<f", 0.0)
    path.write_bytes(raw)
    assert "voxel spacing of zero" in refusal(path)


def test_a_header_that_contradicts_itself_is_said(tmp_path):
    path = write(tmp_path / "a.nii", volume())
    raw = bytearray(path.read_bytes())
    raw[88:92] = struct.pack("<f", 5.0)  # pixdim[3]; the affine says 2 mm
    path.write_bytes(raw)
    scan = scans.read(path)
    assert scan.spacing_mm[0] == 2.0
    assert any("pixdim contradicts its affine" in sentence for sentence in scan.findings)


def test_a_sheared_grid_is_refused(tmp_path):
    affine = AFFINE.copy()
    affine[1, 2] = 0.5
    assert "not at right angles (gantry tilt)" in refusal(write(tmp_path / "a.nii", volume(), affine))


def test_an_oblique_grid_is_kept_and_said(tmp_path):
    c, s = np.cos(np.radians(5)), np.sin(np.radians(5))
    affine = AFFINE.copy()
    affine[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ affine[:3, :3]
    scan = scans.read(write(tmp_path / "a.nii", volume(), affine))
    np.testing.assert_array_equal(scan.hu[3], body_hu(3))
    assert scan.spacing_mm == (2.0, 7.0, 7.0)
    assert "The volume is rotated by 5.0 degrees" in scan.findings[0]


@pytest.mark.parametrize(
    "data, words",
    [
        (np.zeros((4, 4, 4), np.int16), "every pixel has the same value (0)"),
        (
            np.arange(64, dtype=np.uint8).reshape(4, 4, 4),
            "the values run from 0 to 63: grey values",
        ),
        (np.linspace(-1, 1, 64, dtype=np.float32).reshape(4, 4, 4), "the values run from -1 to 1"),
        (np.where(np.arange(64) == 5, np.nan, -np.arange(64.0)).reshape(4, 4, 4), "NaN or infinite"),
        (np.where(np.arange(64) == 5, np.inf, -np.arange(64.0)).reshape(4, 4, 4), "NaN or infinite"),
        (np.zeros((4, 4, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")]), "colours or complex numbers"),
        (np.zeros((4, 4, 4), np.complex64), "colours or complex numbers"),
    ],
)
def test_what_is_not_hu_is_refused(tmp_path, data, words):
    assert words in refusal(write(tmp_path / "a.nii", data))


@pytest.mark.parametrize("slope", [1e37, 1e30, 1e7])
def test_a_scale_that_no_ct_has_is_refused(tmp_path, slope):
    path = write(tmp_path / "ct.nii", volume())
    raw = bytearray(path.read_bytes())
    raw[112:120] = struct.pack("<ff", slope, 0)  # scl_slope, scl_inter
    path.write_bytes(raw)
    assert "which no CT has" in refusal(path)


def test_a_window_is_no_hu(tmp_path):
    assert "air was cut off by a window" in refusal(write(tmp_path / "ct.nii.gz", np.clip(volume(), -160, 240)))


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
def test_a_truncated_file_is_named(tmp_path, ending, share):
    content = write(tmp_path / f"a.{ending}", volume()).read_bytes()
    (tmp_path / f"a.{ending}").write_bytes(content[: int(share * len(content))])
    assert "copy" in refusal(tmp_path / f"a.{ending}")


def test_damaged_compression_is_named(tmp_path):
    path = write(tmp_path / "a.nii.gz", volume())
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    assert "copy" in refusal(path)
    path.write_bytes(b"not gzip at all" * 50)
    assert "cannot be read as NIfTI" in refusal(path)
    path.write_bytes(gzip.compress(b"not NIfTI at all" * 50))
    assert "cannot be read as NIfTI" in refusal(path)


def _flips(path: Path, count: int, seed: int = 0):
    """The file with one bit changed, as often as asked; at last, the whole file again."""
    whole, rng = path.read_bytes(), np.random.default_rng(seed)
    for at, bit in zip(rng.integers(0, len(whole), count), rng.integers(0, 8, count), strict=True):
        content = bytearray(whole)
        content[at] ^= 1 << bit
        path.write_bytes(content)
        yield
    path.write_bytes(whole)


@pytest.mark.parametrize("reader", ["scan", "mask", "labels"])
def test_one_wrong_bit_of_a_packed_file_never_gives_other_voxels(tmp_path, reader):
    image = write(tmp_path / "ct.nii.gz", volume())
    scan = scans.read(image)
    mask = write(tmp_path / "mask.nii.gz", (volume() > -500).astype(np.uint8))
    read = {
        "scan": lambda: scans.read(image).hu,
        "mask": lambda: read_mask(mask, scan),
        "labels": lambda: read_labels(mask, image).voxels,
    }[reader]
    truth, refused = read(), 0
    for _ in _flips(image if reader == "scan" else mask, 150):
        try:
            np.testing.assert_array_equal(read(), truth)  # a bit of the file's name or date, say
        except ScanError as error:
            refused += 1
            assert str(tmp_path) in str(error)
    assert refused > 100
    np.testing.assert_array_equal(read(), truth)


@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
def test_a_claim_that_the_file_cannot_hold_takes_no_memory(tmp_path, ending):
    scan = scans.read(write(tmp_path / "ct.nii", volume()))
    path = write(tmp_path / f"a.{ending}", volume())
    raw = bytearray(gzip.decompress(path.read_bytes()) if ending == "nii.gz" else path.read_bytes())
    raw[42:48] = struct.pack("<hhh", 32000, 32000, 3)
    path.write_bytes(gzip.compress(raw) if ending == "nii.gz" else raw)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "it cannot hold the 32000 x 32000 x 3 voxels it claims" in refusal(path)
    for read in (lambda: read_mask(path, scan), lambda: read_labels(path, path)):
        with pytest.raises(ScanError, match="it cannot hold the 32000 x 32000 x 3 voxels"):
            read()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * 1024


def test_a_mask_is_whole_numbers(tmp_path):
    image = write(tmp_path / "ct.nii", volume())
    scan, inside = scans.read(image), volume() > -500
    truth = read_mask(write(tmp_path / "truth.nii", inside.astype(np.uint8)), scan)
    assert 0 < truth.sum() == inside.sum() < truth.size
    # -1 for "ignore", as many programs save it: whole numbers with a slope and an intercept, which do not come back.
    ignore = np.where(inside, 1.0, 0.0)
    ignore[:4] = -1
    packed = nib.Nifti1Image(ignore, AFFINE)
    packed.set_data_dtype(np.int16)
    packed.header.set_xyzt_units("mm")
    nib.save(packed, tmp_path / "packed.nii.gz")
    back = np.asarray(nib.load(tmp_path / "packed.nii.gz").dataobj)
    assert 0 < np.abs(back - ignore).max() < 0.01 and (back > 0).sum() > inside.sum()
    np.testing.assert_array_equal(read_mask(tmp_path / "packed.nii.gz", scan), truth)
    np.testing.assert_array_equal(read_labels(tmp_path / "packed.nii.gz", image).voxels > 0, truth)
    for k, off in enumerate((0.0099, -0.0099, 1e-7)):
        soft = write(tmp_path / f"{k}.nii", inside + off)
        np.testing.assert_array_equal(read_mask(soft, scan), truth)
        assert set(np.unique(read_labels(soft, image).voxels)) == {0, 1}


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    value=st.floats(width=32).filter(lambda v: not (np.isfinite(v) and abs(v - np.rint(v)) <= 0.011)),
    at=st.integers(0, 48 * 48 * 4 - 1),
)
def test_a_mask_with_anything_between_is_refused(value, at):
    with tempfile.TemporaryDirectory() as folder:
        image = write(Path(folder) / "ct.nii", volume())
        mask = (volume() > -500).astype(np.float32)
        mask.flat[at] = value
        path = write(Path(folder) / "mask.nii.gz", mask)
        for read in (lambda: read_mask(path, scans.read(image)), lambda: read_labels(path, image)):
            with pytest.raises(ScanError, match="is no mask of whole numbers: cut probabilities first"):
                read()


def test_large_labels_keep_their_number(tmp_path):
    image = write(tmp_path / "ct.nii", volume())
    labels = np.where(volume() > -500, 70000.0, 0)
    assert read_labels(write(tmp_path / "a.nii", labels), image).voxels.max() == 70000


def test_colours_are_no_mask(tmp_path):
    image = write(tmp_path / "ct.nii", volume())
    path = write(tmp_path / "a.nii", np.zeros((48, 48, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")]))
    for read in (lambda: read_mask(path, scans.read(image)), lambda: read_labels(path, image)):
        with pytest.raises(ScanError, match="holds colours or complex numbers"):
            read()


def test_a_fourth_axis_of_one_in_a_mask_is_dropped(tmp_path):
    scan = scans.read(write(tmp_path / "ct.nii", volume()))
    mask = (volume() > -500).astype(np.uint8)
    truth = read_mask(write(tmp_path / "a.nii", mask), scan)
    np.testing.assert_array_equal(read_mask(write(tmp_path / "b.nii", mask[..., None]), scan), truth)
    with pytest.raises(ScanError, match="save one 3-D volume"):
        read_mask(write(tmp_path / "c.nii", np.stack([mask, mask], 3)), scan)


@pytest.mark.parametrize("reader", ["mask", "labels"])
def test_a_damaged_mask_header_ends_in_a_sentence_or_a_mask(tmp_path, reader):
    image = write(tmp_path / "ct.nii", volume())
    scan, rng = scans.read(image), np.random.default_rng(0)
    path = write(tmp_path / "a.nii", (volume() > -500).astype(np.int16))
    whole, sentences = path.read_bytes(), 0
    for _ in range(400):
        content = bytearray(whole)
        for place in rng.integers(0, 348, 3):
            content[place] = rng.integers(256)
        path.write_bytes(content)
        try:
            mask = read_mask(path, scan) if reader == "mask" else read_labels(path, image).voxels
        except ScanError as error:
            sentences += str(path) in str(error)
        else:
            assert mask.shape == scan.hu.shape
    assert sentences > 50


def test_qform_against_sform_is_a_finding(tmp_path):
    def found(qform: np.ndarray, name: str = "a.nii") -> str:
        image = nib.Nifti1Image(volume(), AFFINE)
        image.set_sform(AFFINE, 1)
        image.set_qform(qform, 1)
        image.header.set_xyzt_units("mm")
        nib.save(image, tmp_path / name)
        scan = scans.read(tmp_path / name)
        np.testing.assert_array_equal(scan.affine[:3, 3], [168, 168, 0])
        return " ".join(scan.findings[:-1])

    mirror = np.diag([-1.0, 1, 1, 1])
    assert found(AFFINE) == ""
    differs = "The NIfTI header's sform and qform place the voxels differently, so sides may be exchanged"
    assert found(mirror @ AFFINE).startswith(differs)
    moved = AFFINE.copy()
    moved[0, 3] += 14
    assert found(moved).startswith(differs)
    moved[0, 3] -= 13
    assert found(moved) == ""  # a seventh of a voxel
    path = tmp_path / "broken.nii"
    found(AFFINE, path.name)
    raw = bytearray(path.read_bytes())
    raw[256:268] = struct.pack("<fff", 3, 3, 3)  # quaternion
    path.write_bytes(raw)
    assert any(finding.startswith(differs) for finding in scans.read(path).findings)


def test_a_damaged_header_ends_in_a_sentence_or_a_scan(tmp_path):
    rng = np.random.default_rng(0)
    path = write(tmp_path / "a.nii", volume())
    whole, sentences = path.read_bytes(), 0
    for _ in range(400):
        content = bytearray(whole)
        for place in rng.integers(0, 348, 3):
            content[place] = rng.integers(256)
        path.write_bytes(content)
        try:
            scans.read(path)
        except ScanError as error:
            sentences += str(path) in str(error)
    assert sentences > 50


REAL = Path(os.environ.get("BIOMARK_SCANS", "/nonexistent"))
real = pytest.mark.skipif(not REAL.is_dir(), reason="BIOMARK_SCANS names no folder of real scans")


SPOILT = {
    "window": lambda hu: np.clip(hu, -160, 240),
    "picture": lambda hu: np.clip((hu + 160) / 400 * 255, 0, 255) - 128,
    "z-scores": lambda hu: (hu - hu.mean()) / hu.std() * 100,
    "rescaled twice": lambda hu: hu - 1024,
    "HU twice": lambda hu: hu * 2,
}


@real
@pytest.mark.parametrize("what", SPOILT)
@pytest.mark.parametrize("place", ["totalsegmentator-abdomen/example_ct_sm.nii.gz", "dcmqi-liver/ct-3slice"])
def test_a_real_scan_in_other_units_is_refused(tmp_path, place, what):
    hu = np.rint(SPOILT[what](scans.read(REAL / place).hu)).transpose(2, 1, 0)
    assert "not HU (air is -1000 HU). Use the original CT." in refusal(write(tmp_path / "ct.nii", hu))


@real
def test_a_real_scan():
    path = REAL / "totalsegmentator-abdomen/example_ct_sm.nii.gz"
    scan = scans.read(path)
    image = nib.load(path)  # stored as (left to right, back to front, feet to head)
    np.testing.assert_array_equal(scan.hu, np.asarray(image.dataobj).transpose(2, 1, 0)[:, ::-1, ::-1])
    assert scan.spacing_mm == (3.0, 3.0, 3.0)
    assert "grey values or labels" in refusal(REAL / "totalsegmentator-abdomen/example_seg.nii.gz")


@real
def test_a_real_series_and_its_labels_lie_on_one_grid():
    scan = scans.read(REAL / "totalsegmentator-abdomen/example_ct_dicom")
    labels = nib.load(REAL / "totalsegmentator-abdomen/example_seg_dicom.nii.gz")  # (left, front, head)
    i, j, k = labels.shape[0] - 1, labels.shape[1] - 1, 0
    assert scan.hu.shape == labels.shape[::-1]
    # The first voxel of the scan is the foremost on the right: the last row of the labels.
    there = labels.affine @ [0, j, k, 1]
    np.testing.assert_allclose(scan.affine[:3, 3], there[:3], atol=1e-3)
    assert labels.affine[0, 0] < 0 < labels.affine[1, 1] and i > 0
    liver = np.asarray(labels.dataobj).transpose(2, 1, 0)[:, ::-1] == 5
    assert 60 < scan.hu[liver].mean() < 160 and scan.hu[liver].std() < 40


@real
def test_a_real_series_written_as_nifti_is_the_same_scan(tmp_path):
    scan = scans.read(REAL / "dcmqi-liver/ct-3slice")
    # By hand: (left, front, head) with the first voxel at the right, back and feet.
    spacing = scan.spacing_mm
    affine = np.diag([-spacing[2], spacing[1], spacing[0], 1.0])
    affine[:3, 3] = 235.199997, 226.800003 - 511 * spacing[1], -128.690002
    again = scans.read(write(tmp_path / "ct.nii.gz", scan.hu.transpose(2, 1, 0)[:, ::-1].astype(np.int16), affine))
    np.testing.assert_array_equal(again.hu, scan.hu)
    assert again.spacing_mm == scan.spacing_mm
    np.testing.assert_allclose(again.affine, scan.affine, atol=1e-4)
