"""Reading NIfTI: the same volume as from DICOM, or one clear sentence."""

from __future__ import annotations

import gzip
import os
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
from biomark.scans import ScanError
from biomark.scans.orientation import orientation

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


@pytest.mark.parametrize("order", ORDERS)
def test_the_orientation_is_nibabel_s(order):
    turn = axcodes2ornt(order)
    affine = np.eye(4)
    affine[:3, :3] = [[s * (i == a) for a, s in turn] for i in range(3)]
    for tilt in (0.0, 0.1):
        c, s = np.cos(tilt), np.sin(tilt)
        turned = np.array([[c, -s, 0, 1], [s, c, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]]) @ affine
        np.testing.assert_array_equal(orientation(turned), nib.io_orientation(turned))
    with np.errstate(all="ignore"), pytest.raises(np.linalg.LinAlgError):
        orientation(affine * np.nan)


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
    assert "left and right are unknown" in refusal(tmp_path / "a.nii")


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
            "the values run from 0 to 63; these are grey values",
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
