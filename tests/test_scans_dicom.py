"""Reading DICOM: the right voxels in the right place, or one clear sentence."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_files import SERIES, body_hu, ct_slice, save, series
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut
from pydicom.pixels.decoders import JPEG2000LosslessDecoder
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)
from scipy import ndimage

from biomark import scans
from biomark.scans import ScanError, quality
from biomark.scans.reader import preview
from biomark.tasks import TASKS


def refusal(path: Path, **options: str) -> str:
    """The sentence with which reading ends."""
    with pytest.raises(ScanError) as caught:
        scans.read(path, **options)
    return str(caught.value)


# --- the right voxels in the right place -----------------------------------------------------------------


def test_a_usual_series_has_every_value_and_nothing_to_say(tmp_path):
    scan = scans.read(series(tmp_path))
    assert scan.hu.dtype == np.float32 and scan.hu.flags.c_contiguous
    for k in range(4):
        np.testing.assert_array_equal(scan.hu[k], body_hu(k))
    assert scan.spacing_mm == (2.0, 7.0, 7.0)
    # Columns run left and rows run back: both are negative in RAS. The corner is at LPS -168, -168, 0.
    np.testing.assert_array_equal(scan.affine, [[0, 0, -7, 168], [0, -7, 0, 168], [2, 0, 0, 0], [0, 0, 0, 1]])
    np.testing.assert_array_equal(scan.z_mm, [0, 2, 4, 6])
    assert len(scan) == 4
    assert scan.findings == ()
    assert scan.meta == {
        "source": "DICOM",
        "modality": "CT",
        "manufacturer": "ACME",
        "model": None,
        "kernel": "STANDARD",
        "kVp": 120.0,
        "slice_thickness_mm": 2.0,
        "contrast_agent": None,
        "orientation": "axial",
        "n_slices": 4,
    }
    assert "DOE" not in repr(scan) + repr(scan.meta)
    assert "4 slices of 48 x 48 pixels, spacing 2 x 7 x 7 mm" in str(scan)


def test_slices_are_sorted_by_place_not_by_name_or_number(tmp_path):
    for name, k in {"z": 0, "IM_7": 1, "a.dat": 2, "0001.dcm": 3}.items():
        save(ct_slice(body_hu(k), (0, 0, 10 + 2 * k), InstanceNumber=9 - k), tmp_path / name)
    scan = scans.read(tmp_path)
    np.testing.assert_array_equal(scan.hu, [body_hu(k) for k in range(4)])
    assert scan.z_mm[0] == 10


def test_rows_and_columns_keep_their_own_spacing(tmp_path):
    # PixelSpacing is (between rows, between columns).
    scan = scans.read(series(tmp_path, PixelSpacing=["6.5", "7.25"]))
    assert scan.spacing_mm == (2.0, 6.5, 7.25)
    assert scan.affine[1, 1] == -6.5 and scan.affine[0, 2] == -7.25


def test_spacing_comes_from_positions_not_from_thickness(tmp_path):
    scan = scans.read(series(tmp_path, (0, 1.25, 2.5, 3.75), SliceThickness="5", SpacingBetweenSlices="5"))
    assert scan.spacing_mm[0] == 1.25


def test_each_slice_has_its_own_rescale(tmp_path):
    slopes, intercepts = ("1", "0.5", "2.37", "1.0000001"), ("-1024", "10.25", "-3", "7")
    scan = scans.read(series(tmp_path, RescaleSlope=slopes, RescaleIntercept=intercepts))
    for k in range(4):
        expected = body_hu(k).astype(np.float64) * float(slopes[k]) + float(intercepts[k])
        np.testing.assert_array_equal(scan.hu[k], expected.astype(np.float32))


@pytest.mark.parametrize(
    "slope, intercept", [(1, -1024), (1, 0), (2, -1024), (2, -3.5), (0.1, -1000), (1021, -7), (1, -33554433)]
)
@pytest.mark.parametrize("dtype", ["<i2", "<u2"])
def test_values_equal_pydicom_to_the_last_bit(tmp_path, slope, intercept, dtype):
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    stored = np.random.default_rng(3).integers(low, high, (32, 32), endpoint=True).astype(dtype)
    stored.flat[:2] = low, high
    path = save(ct_slice(stored, (0, 0, 0), RescaleSlope=slope, RescaleIntercept=intercept), tmp_path / "a")
    data = pydicom.dcmread(path)
    if intercept >= 0 and dtype == "<u2":
        assert "not HU" in refusal(path)
        return
    expected = apply_modality_lut(data.pixel_array, data).astype(np.float32)
    np.testing.assert_array_equal(scans.read(path).hu[0].view("u4"), expected.view("u4"))


def test_values_beyond_the_whole_numbers_of_float32_are_rounded_once(tmp_path):
    stored = np.array([[-1000, 2**24 + 1]], np.int32)
    path = save(ct_slice(stored, (0, 0, 0), RescaleIntercept="-1"), tmp_path / "a")
    np.testing.assert_array_equal(scans.read(path).hu[0], [[-1001, 2**24]])


DIRECTIONS = [axis * sign for axis in np.eye(3, dtype=int) for sign in (1, -1)]  # in L, P, S
PLANES = [(a, b) for a, b in itertools.product(DIRECTIONS, DIRECTIONS) if not a @ b]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    plane=st.sampled_from(PLANES),
    shape=st.tuples(*[st.integers(2, 5)] * 3),
    spacing=st.tuples(*[st.sampled_from([0.488281, 0.625, 1.0, 1.25, 2.5, 3.0])] * 3),
    corner=st.tuples(*[st.sampled_from([-210.5, 0.0, 33.25])] * 3),
    seed=st.integers(0, 1000),
)
def test_any_orientation_and_file_order_gives_the_same_volume(plane, shape, spacing, corner, seed):
    rng = np.random.default_rng(seed)
    truth = rng.integers(-1000, 1000, shape).astype(np.int16)  # indexed head, back, left
    truth.flat[0] = -1000
    along_row, along_column = plane
    across = np.abs(np.cross(along_row, along_column))
    mm = dict(zip("SPL", spacing, strict=True))
    at = dict(zip("SPL", corner, strict=True))
    n = dict(zip("SPL", shape, strict=True))

    def axis(direction: np.ndarray) -> str:
        return "LPS"[int(np.abs(direction).argmax())]

    with tempfile.TemporaryDirectory() as folder:
        names = rng.permutation(n[axis(across)])
        for k, name in enumerate(names):
            stored = np.empty((n[axis(along_column)], n[axis(along_row)]), np.int16)
            for row, column in np.ndindex(stored.shape):
                where = {axis(across): k}
                for direction, i in ((along_row, column), (along_column, row)):
                    a = axis(direction)
                    where[a] = i if direction.sum() > 0 else n[a] - 1 - i
                if (row, column) == (0, 0):
                    position = [at[a] + where[a] * mm[a] for a in "LPS"]
                stored[row, column] = truth[where["S"], where["P"], where["L"]]
            data = ct_slice(
                stored,
                position,
                ImageOrientationPatient=[*along_row, *along_column],
                PixelSpacing=[mm[axis(along_column)], mm[axis(along_row)]],
            )
            save(data, Path(folder) / f"{name}")
        scan = scans.read(folder)
    np.testing.assert_array_equal(scan.hu, truth)
    np.testing.assert_allclose(scan.spacing_mm, spacing, rtol=0, atol=1e-6)
    expected = [
        [0, 0, -mm["L"], -at["L"]],
        [0, -mm["P"], 0, -at["P"]],
        [mm["S"], 0, 0, at["S"]],
        [0, 0, 0, 1],
    ]
    np.testing.assert_allclose(scan.affine, expected, rtol=0, atol=1e-5)
    name = {"S": "axial", "P": "coronal", "L": "sagittal"}[axis(across)]
    assert scan.meta["orientation"] == name and scan.meta["n_slices"] == n[axis(across)]
    assert any(name in sentence for sentence in scan.findings) == (name != "axial")


def test_one_file_is_one_slice_of_unknown_spacing(tmp_path):
    path = save(ct_slice(body_hu(), (0, 0, -12)), tmp_path / "slice")
    scan = scans.read(str(path))
    assert scan.hu.shape == (1, 48, 48)
    assert np.isnan(scan.spacing_mm[0]) and scan.spacing_mm[1:] == (7.0, 7.0)
    assert np.isfinite(scan.affine).all() and scan.z_mm.tolist() == [-12]
    assert scan.findings == ("This is one slice alone, so the distance between slices is unknown.",)
    assert "spacing unknown x 7 x 7 mm" in str(scan)


def test_small_errors_of_the_table_are_accepted(tmp_path):
    assert scans.read(series(tmp_path / "a", (0, 2.08, 4, 6))).spacing_mm[0] == 2.0
    assert scans.read(series(tmp_path / "b", (0, 20.18, 40, 60), SliceThickness="20")).spacing_mm[0] == 20.0


def test_an_oblique_volume_keeps_its_grid_and_says_so(tmp_path):
    c, s = np.cos(np.radians(10)), np.sin(np.radians(10))
    normal = np.array([0, -s, c])
    for k in range(3):
        data = ct_slice(body_hu(k), 2 * k * normal, ImageOrientationPatient=[1, 0, 0, 0, round(c, 9), round(s, 9)])
        save(data, tmp_path / f"{k}")
    scan = scans.read(tmp_path)
    np.testing.assert_array_equal(scan.hu, [body_hu(k) for k in range(3)])
    np.testing.assert_allclose(scan.spacing_mm, (2, 7, 7), atol=1e-5)
    np.testing.assert_allclose(scan.affine[:3, 0], [0, 2 * s, 2 * c], atol=1e-5)
    assert scan.findings == (
        "The volume is rotated by 10.0 degrees against the scanner's axes; it keeps its own grid.",
    )


def test_compressed_pixels_are_read(tmp_path):
    for k in range(2):
        data = ct_slice(body_hu(k), (0, 0, 2 * k))
        data.compress(RLELossless)
        save(data, tmp_path / f"{k}")
    np.testing.assert_array_equal(scans.read(tmp_path).hu, [body_hu(0), body_hu(1)])


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_odd_headers_are_read(tmp_path):
    data = ct_slice(body_hu(), (0, 0, 0), SliceThickness=None, KVP=None, SeriesInstanceUID=None)
    block = data.private_block(0x0009, "ACME 1.0", create=True)
    block.add_new(0x01, "OB", b"\x00\xff" * 10)
    inner = Dataset()
    inner.CodeValue = "x"
    inner.RequestAttributesSequence = [Dataset()]
    data.RequestAttributesSequence = [inner]
    data.ConvolutionKernel = ["Br38f", "3"]
    data.add_new(0x00180060, "DS", "")  # an empty KVP
    data.add_new(0x00180050, "LO", "thin")  # a SliceThickness that is no number
    scan = scans.read(save(data, tmp_path / "odd"))
    assert scan.meta["kernel"] == "Br38f/3"
    assert scan.meta["kVp"] is None and scan.meta["slice_thickness_mm"] is None
    assert scan.findings[1:] == ()


# --- cases for the tasks ---------------------------------------------------------------------------------


class _Task:
    key, ndim = "square", 2

    def weigh(self, image_hu, spacing_mm):
        return (image_hu > 0) * np.float32(spacing_mm[0] * spacing_mm[1])


def test_a_slice_becomes_a_case(tmp_path):
    case = scans.read(series(tmp_path, PixelSpacing=["6", "7"])).case(_Task(), 2)
    assert case.id == "slice 2" and case.value is None and case.mask is None
    assert case.spacing_mm == (6.0, 7.0)
    np.testing.assert_array_equal(case.image, body_hu(2))
    np.testing.assert_array_equal(case.weights, np.where(body_hu(2) > 0, 42, 0))


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("kind", ["i2", "u2"])
@pytest.mark.parametrize("bits, above", [(16, 0), (12, 0), (12, 0xF000), (12, 0x5000)])
def test_the_pixels_are_pydicoms_in_every_plain_file(tmp_path, syntax, kind, bits, above):
    """Also where the bits above those stored hold what is no sign."""
    little = syntax.is_little_endian
    stored = (body_hu() + (0 if kind == "i2" else 1024)).astype(np.int16).view(np.uint16)
    stored[10:20] = (stored[10:20] & 0x0FFF) | above if above else stored[10:20]
    intercept = "-24" if kind == "i2" else "-1024"
    data = ct_slice(stored.view(kind), (0, 0, 0), BitsStored=bits, HighBit=bits - 1, RescaleIntercept=intercept)
    data.PixelData = stored.astype(("<" if little else ">") + "u2").tobytes()
    data.file_meta.TransferSyntaxUID = syntax
    pydicom.dcmwrite(tmp_path / "x", data, little_endian=little, implicit_vr=syntax.is_implicit_VR)
    data = pydicom.dcmread(tmp_path / "x")
    expected = apply_modality_lut(data.pixel_array, data).astype(np.float32)
    np.testing.assert_array_equal(scans.read(tmp_path / "x").hu[0], expected)


@pytest.mark.parametrize("index", [-1, 4])
def test_a_slice_that_is_not_there_is_refused(tmp_path, index):
    scan = scans.read(series(tmp_path))
    with pytest.raises(ScanError, match=rf"no slice {index}.*0 \(feet\) to 3 \(head\)"):
        scan.case(_Task(), index)


def test_a_slice_is_no_volume(tmp_path):
    task = _Task()
    task.ndim = 3
    with pytest.raises(ValueError, match="'square' measures volumes"):
        scans.read(series(tmp_path)).case(task, 0)


def test_the_weights_are_those_of_the_task(tmp_path):
    scan = scans.read(series(tmp_path))
    for task in (task for task in TASKS.values() if task.ndim == 2):
        case = scan.case(task, 1)
        np.testing.assert_array_equal(case.weights, task.weigh(body_hu(1).astype("f4"), (7.0, 7.0)))
        assert case.weights.dtype == np.float32 and case.weights.shape == (48, 48)


# --- refusals --------------------------------------------------------------------------------------------


def test_a_missing_path_names_the_nearest_folder_and_a_neighbour(tmp_path):
    series(tmp_path / "scan-01")
    sentence = refusal(tmp_path / "scan-O1" / "dicom")
    assert f"the nearest folder that does is {tmp_path}, where you perhaps meant 'scan-01'" in sentence
    assert "perhaps" not in refusal(tmp_path / "quite another name")


def test_folders_without_dicom(tmp_path):
    assert "no DICOM image among its 0 files" in refusal(tmp_path)
    (tmp_path / "series").mkdir()
    assert "pass the folder of a CT series, such as series." in refusal(tmp_path)
    (tmp_path / "ct.nii.gz").write_bytes(b"")
    assert "pass the file itself, such as ct.nii.gz" in refusal(tmp_path)
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "notes.txt").write_text("none")
    assert "no DICOM image among its 1 files" in refusal(tmp_path / "text")
    assert "neither DICOM nor NIfTI" in refusal(tmp_path / "text" / "notes.txt")


def test_several_series_are_listed_and_one_can_be_named(tmp_path):
    series(tmp_path)
    for k in range(2):
        save(ct_slice(body_hu(9 + k), (0, 0, k), SeriesInstanceUID="1.2.3"), tmp_path / f"b{k}")
    sentence = refusal(tmp_path)
    assert "holds 2 series" in sentence and "read(path, series=UID)" in sentence
    assert f"{SERIES} (CT, 4 files)" in sentence and "1.2.3 (CT, 2 files)" in sentence
    np.testing.assert_array_equal(scans.read(tmp_path, series="1.2.3").hu, [body_hu(9), body_hu(10)])
    assert "holds no series 9.9" in refusal(tmp_path, series="9.9")


def test_mixed_patients_without_series_uid_are_told_apart(tmp_path):
    series(tmp_path, SeriesInstanceUID="", PatientID=("a", "a", "b", "b"), SeriesNumber=2)
    sentence = refusal(tmp_path)
    assert sentence.count("one without UID, series number 2 (CT, 2 files)") == 2


def test_missing_slices_are_listed(tmp_path):
    sentence = refusal(series(tmp_path, (0, 2, 8, 10, 14, 16)))
    assert sentence.startswith(f"{tmp_path}: 3 slices are missing at a spacing of 2 mm")
    assert "first between 2 mm (1.dcm) and 8 mm (2.dcm)" in sentence


def test_one_gap_among_three_slices_is_found(tmp_path):
    assert "1 slice is missing at a spacing of 1 mm" in refusal(series(tmp_path, (0, 1, 3)))


def test_uneven_slices_are_refused(tmp_path):
    sentence = refusal(series(tmp_path, (0, 2, 4, 4.7, 6.7, 8.7)))
    assert "unevenly spaced around 2 mm, first between 4 mm (2.dcm) and 4.7 mm (3.dcm)" in sentence


def test_a_repeated_position_names_both_files(tmp_path):
    series(tmp_path)
    save(ct_slice(body_hu(8), (-168, -168, 4)), tmp_path / "again")
    sentence = refusal(tmp_path)
    assert "2.dcm and again lie at the same position (4 mm)" in sentence


@pytest.mark.parametrize("header", [None, "15"])
def test_gantry_tilt_is_refused(tmp_path, header):
    shift = np.tan(np.radians(15))
    for k in range(4):
        data = ct_slice(body_hu(k), (0, 2 * k * shift, 2 * k), GantryDetectorTilt=header)
        save(data, tmp_path / f"{k}")
    sentence = refusal(tmp_path)
    assert "gantry tilt of 15.0 degrees" in sentence and "sideways by up to 1.61 mm" in sentence


@pytest.mark.parametrize(("degrees", "refused"), [(0.05, False), (0.5, True)])
def test_half_a_degree_of_tilt_is_too_much(tmp_path, degrees, refused):
    shift = np.tan(np.radians(degrees))
    for k in range(12):
        save(ct_slice(body_hu(k), (0, 4 * k * shift, 4 * k)), tmp_path / f"{k:02d}")
    if refused:
        assert "gantry tilt of 0.5 degrees" in refusal(tmp_path)
    else:
        assert len(scans.read(tmp_path)) == 12


def _enhanced(data: Dataset) -> None:
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    data.NumberOfFrames = 1


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"Modality": "MR"}, "has the modality MR, not CT"),
        ({"Modality": None}, "has the modality (none), not CT"),
        ({"NumberOfFrames": 3}, "many slices in one file (enhanced CT); convert it to NIfTI, with dcm2niix"),
        ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, "is a colour image, not HU"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "is a colour image"),
        ({"BitsStored": None, "BitsAllocated": None}, "has no BitsAllocated"),
        ({"BitsStored": 8}, "8 bits a pixel: grey values, not HU"),
        ({"RescaleType": "US"}, None),
        ({"RescaleType": "Z_EFF"}, "is rescaled to another unit than HU"),
        ({"RescaleSlope": None}, "has no RescaleSlope"),
        ({"RescaleIntercept": None}, "has no RescaleIntercept"),
        ({"RescaleSlope": "0"}, "has the RescaleSlope 0"),
        (
            {"RescaleIntercept": "1100"},
            "the values run from 90 to 1150: grey values or labels, not HU",
        ),
        ({"PixelSpacing": None}, "has no PixelSpacing"),
        ({"PixelSpacing": ["0", "0"]}, "has the PixelSpacing (0.0, 0.0), which must be above zero"),
        ({"ImagePositionPatient": None}, "has no ImagePositionPatient"),
        ({"ImageOrientationPatient": None}, "has no ImageOrientationPatient"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "is no pair of unit directions"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "is a scout (localizer) image"),
        ({"ModalityLUTSequence": [Dataset()]}, "by a table instead of slope and intercept"),
    ],
)
def test_a_slice_that_is_no_ct_in_hu_is_refused(tmp_path, changes, words):
    path = save(ct_slice(body_hu(), (0, 0, 0), **changes), tmp_path / "x.dcm")
    if words is None:
        assert any("unspecified (US)" in sentence for sentence in scans.read(path).findings)
        return
    sentence = refusal(path)
    assert sentence.startswith(str(path)) and words in sentence


def test_enhanced_ct_is_refused_by_its_class(tmp_path):
    data = ct_slice(body_hu(), (0, 0, 0))
    _enhanced(data)
    assert "enhanced CT" in refusal(save(data, tmp_path / "x"))


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_a_spacing_that_is_no_number_is_refused(tmp_path):
    data = ct_slice(body_hu(), (0, 0, 0), PixelSpacing=None)
    data.add_new(0x00280030, "LO", ["wide", "high"])
    assert "PixelSpacing; export the original" in refusal(save(data, tmp_path / "x"))


def test_another_kind_of_object_is_refused(tmp_path):
    report = ct_slice(body_hu(), (0, 0, 0), Rows=None, Columns=None, Modality="SR")
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.22"
    path = save(report, tmp_path / "report")
    assert "is DICOM but holds no image" in refusal(path)
    assert "no DICOM image among its 1 files" in refusal(tmp_path)


@pytest.mark.parametrize(
    "name, odd",
    [
        ("size", {}),
        ("PixelSpacing", {"PixelSpacing": ["7", "7.1"]}),
        ("ImageOrientationPatient", {"ImageOrientationPatient": [0, 1, 0, -1, 0, 0]}),
    ],
)
def test_slices_that_do_not_match_are_named(tmp_path, name, odd):
    series(tmp_path)
    shape = (40, 48) if name == "size" else (48, 48)
    save(ct_slice(body_hu(8, shape), (-168, -168, 8), **odd), tmp_path / "odd")
    assert re.search(rf"odd and 0\.dcm differ in {name} \(", refusal(tmp_path))


def test_only_scouts_are_refused(tmp_path):
    series(tmp_path, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    assert "only scout (localizer) images" in refusal(tmp_path)


@pytest.mark.parametrize("end, words", [("", "truncated or damaged pixels"), ("DOE^JANE", "is truncated")])
def test_a_truncated_file_is_named(tmp_path, end, words):
    series(tmp_path)
    content = (tmp_path / "2.dcm").read_bytes()
    # A share of the file would end at another place in each run, for identifiers are drawn and differ in length.
    kept = content[: content.index(end.encode()) + len(end)] if end else content[:-400]
    (tmp_path / "2.dcm").write_bytes(kept)
    sentence = refusal(tmp_path)
    assert sentence.startswith(str(tmp_path / "2.dcm")) and words in sentence


@pytest.mark.parametrize("content", [b"", b"garbage" * 100])
def test_a_file_named_dicom_that_is_none_is_named(tmp_path, content):
    series(tmp_path)
    (tmp_path / "2.dcm").write_bytes(content)
    assert refusal(tmp_path) == f"{tmp_path / '2.dcm'} is named as DICOM but is damaged or empty; copy it again."


def test_companions_of_macos_are_no_slices(tmp_path):
    series(tmp_path)
    for k in range(4):
        (tmp_path / f"._{k}.dcm").write_bytes(b"\0\5\x16\7" + bytes(200))
    scan = scans.read(tmp_path)
    assert len(scan) == 4 and scan.findings == ()
    assert preview(tmp_path).slices == 4


@pytest.mark.parametrize("name", ["2.dcm", "IM2"])
@pytest.mark.parametrize("meta", [True, False])
def test_a_file_without_the_preamble_is_told_what_it_lacks(tmp_path, name, meta):
    series(tmp_path)
    whole = (tmp_path / "2.dcm").read_bytes()
    (tmp_path / "2.dcm").unlink()
    # With the group of elements that should follow it, or from the data set on.
    start = 132 if meta else whole.index(b"\x08\0\x08\0")
    (tmp_path / name).write_bytes(whole[start:])
    sentence = refusal(tmp_path)
    assert sentence.startswith(f"{tmp_path / name} lacks the 128 bytes and the letters DICM") and "dcmconv" in sentence


def test_damaged_compressed_pixels_are_named(tmp_path):
    data = ct_slice(body_hu(), (0, 0, 0))
    data.compress(RLELossless)
    content = save(data, tmp_path / "x").read_bytes()
    (tmp_path / "x").write_bytes(content[:-600])
    assert str(tmp_path / "x") in refusal(tmp_path / "x")


def test_a_missing_decoder_is_named(tmp_path, monkeypatch):
    data = ct_slice(body_hu(), (0, 0, 0))
    data.compress(RLELossless)
    data.file_meta.TransferSyntaxUID = JPEG2000Lossless
    path = save(data, tmp_path / "x")
    monkeypatch.setattr(JPEG2000LosslessDecoder, "_available", {})
    sentence = refusal(path)
    assert "JPEG 2000" in sentence
    assert 'pip install "biomark[codecs]"' in sentence


def test_an_unknown_transfer_syntax_is_named(tmp_path):
    data = ct_slice(body_hu(), (0, 0, 0))
    data.compress(RLELossless)
    data.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.100"  # MPEG2
    assert "1.2.840.10008.1.2.4.100, which is not known" in refusal(save(data, tmp_path / "x"))


def test_an_image_of_one_value_is_refused(tmp_path):
    path = save(ct_slice(np.full((8, 8), -1000, np.int16), (0, 0, 0)), tmp_path / "x")
    assert "every pixel has the same value (-1000)" in refusal(path)


@pytest.mark.filterwarnings("ignore")  # pydicom warns of what it mends
def test_a_damaged_header_ends_in_a_sentence_or_a_scan(tmp_path):
    rng = np.random.default_rng(0)
    whole = save(ct_slice(body_hu(), (0, 0, 0)), tmp_path / "x").read_bytes()
    end = len(whole) - 2 * 48 * 48
    sentences = 0
    for _ in range(400):
        content = bytearray(whole)
        for place in rng.integers(132, end, 3):
            content[place] = rng.integers(256)
        (tmp_path / "x").write_bytes(content)
        try:
            scans.read(tmp_path / "x")
        except ScanError as error:
            sentences += str(tmp_path / "x") in str(error)
    assert sentences > 100


# --- values that are no HU, although some are negative ----------------------------------------------------


def _grey(hu: np.ndarray, low: float, high: float) -> np.ndarray:
    """As a picture of 8 bits, which is then taken for signed."""
    return np.clip((hu - low) / (high - low) * 255, 0, 255) - 128


def _bone(hu: np.ndarray) -> np.ndarray:
    """With dense bone in the body."""
    return np.where(np.indices(hu.shape).sum(axis=0) == 47, np.maximum(hu, -1000) + 1200 * (hu > 0), hu)


NOT_HU = {
    "a fat window": (lambda hu: np.clip(hu, -160, 240), "the lowest value is -160 and"),
    "a liver window": (lambda hu: np.clip(hu, -200, 300), "the lowest value is -200 and"),
    "a picture": (lambda hu: _grey(hu, -160, 240), "the lowest value is -128 and"),
    "a whole picture": (lambda hu: _grey(hu, -1100, 1500), "the lowest value is -1"),
    "z-scores": (lambda hu: (hu - hu.mean()) / hu.std() * 100, "the lowest value is -"),
    "centimetres": (lambda hu: hu / 10, "the lowest value is -"),
    "stored values and noise": (lambda hu: hu + 1000, "the lowest value is -"),
    "rescaled twice by -1024": (lambda hu: hu - 1024.0, "no value lies above -9"),
    "rescaled twice, with bone": (lambda hu: _bone(hu) - 1000, "% of the voxels are darker than -1500 HU"),
    "HU twice": (lambda hu: hu * 2.0, "% of the voxels are darker than -1500 HU"),
    "air alone": (lambda hu: np.minimum(hu, -980), "no value lies above -980 HU"),
}


@pytest.mark.parametrize("padding", [0, 4], ids=["bare", "padding"])
@pytest.mark.parametrize("what", NOT_HU)
def test_what_is_not_hu_is_refused_also_where_values_are_negative(tmp_path, what, padding):
    spoil, words = NOT_HU[what]
    hu = np.rint(spoil(body_hu().astype(float)))
    if hu.min() < -1100:  # scanners pad before such a thing happens
        hu[:padding] = -3024
    sentence = refusal(save(ct_slice(hu.astype(np.int16), (0, 0, 0)), tmp_path / "x"))
    assert words in sentence and "not HU (air is -1000 HU). Use the original CT." in sentence


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    body=st.integers(-100, 100),
    noise=st.integers(2, 60),
    air=st.integers(-1024, -980),
    padding=st.sampled_from([None, -1500, -1501, -2000, -2048, -3024, -8192, -32768]),
    margin=st.integers(0, 20),
    seed=st.integers(0, 999),
)
def test_a_body_in_air_with_any_padding_is_read(body, noise, air, padding, margin, seed):
    rows, columns = np.indices((64, 64))
    hu = np.where(np.hypot(rows - 31.5, columns - 31.5) < 6 + margin, body, air).astype(float)
    hu += np.random.default_rng(seed).normal(0, noise, hu.shape)
    hu = np.clip(np.rint(hu), -1024, 3071)
    if padding is not None:
        hu[np.hypot(rows - 31.5, columns - 31.5) > 32] = padding
    assert quality.not_hu(hu[None].astype(np.float32), (hu.min(), hu.max())) is None
    part = hu[None, 28:36, 28:36].astype(np.float32)  # of the body alone
    assert quality.not_hu(part, (part.min(), part.max())) is None


def test_interpolated_padding_is_no_sign(tmp_path):
    rows, columns = np.indices((512, 512))
    radius = np.hypot(rows - 255.5, columns - 255.5)
    hu = np.where(radius < 150, 40.0, -1000) + np.random.default_rng(0).normal(0, 10, radius.shape)
    hu[radius > 256] = -3024
    coarse = ndimage.zoom(hu, 0.25, order=3)[None].astype(np.float32)
    assert len(np.unique(np.rint(coarse[coarse < -1500]))) > 50
    assert quality.not_hu(coarse, (coarse.min(), coarse.max())) is None


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", ["<u2", "<i2"])
def test_stored_bits_in_an_unknown_place_are_refused(tmp_path, kind, packed):
    def path(stored: np.ndarray, high: int | None) -> Path:
        data = ct_slice(stored, (0, 0, 0), BitsStored=12, HighBit=high, RescaleIntercept=-1024 * (kind == "<u2"))
        if packed:
            data.compress(RLELossless)
        return save(data, tmp_path / "x")

    stored = (body_hu() + 1024 * (kind == "<u2")).astype(kind)
    for high in (11, 15, 12, 99, None):  # a wrong name over right values does no harm
        np.testing.assert_array_equal(scans.read(path(stored, high)).hu[0], body_hu())
    for high in (15, 14):
        assert "so their scale is unknown; export the original CT" in refusal(path(stored << (high - 11), high))


@pytest.mark.parametrize("slope, intercept", [("1e37", "0"), ("1e300", "-1"), ("-1e38", "0"), ("1", "1e30")])
def test_a_rescale_that_leads_to_no_hu_is_refused(tmp_path, slope, intercept):
    path = save(ct_slice(body_hu(), (0, 0, 0), RescaleSlope=slope, RescaleIntercept=intercept), tmp_path / "x")
    assert "which lead to no HU; export again" in refusal(path)
    with pytest.raises(ScanError, match="which lead to no HU"):
        preview(path)


@pytest.mark.parametrize("padding", [3071, 500, 0, -500])
def test_padding_as_bright_as_tissue_is_taken_out(tmp_path, padding):
    hu = body_hu()
    hu[:4] = padding
    hu[24, 20:24] = padding  # within the body: metal, or chance
    expected = np.where(np.arange(48)[:, None] < 4, -3024, hu)
    stored = (hu + 1024).astype(np.uint16)
    series = {"RescaleIntercept": "-1024", "PixelPaddingValue": padding + 1024}
    scan = scans.read(save(ct_slice(stored, (0, 0, 0), **series), tmp_path / "x"))
    np.testing.assert_array_equal(scan.hu[0], expected)
    assert (
        f"The header calls {padding} HU padding: 192 such voxels at the edge of the slices are set to -3024 HU, since "
        "no task may measure them; within the image they are kept."
    ) in scan.findings
    assert not any(f"padding ({padding}" in sentence for sentence in scan.findings)


def test_a_range_of_bright_padding_is_taken_out_slice_by_slice(tmp_path):
    for k, intercept in enumerate((-1024, -1100, -2000)):
        stored = (body_hu(k) - intercept).astype(np.uint16)
        stored[:, :3] = 4000 + np.arange(3)
        more = {"PixelPaddingValue": 4000, "PixelPaddingRangeLimit": 4002, "RescaleIntercept": intercept}
        save(ct_slice(stored, (0, 0, 2 * k), **more), tmp_path / f"{k}")
    scan = scans.read(tmp_path)
    for k in range(3):
        np.testing.assert_array_equal(scan.hu[k], np.where(np.arange(48) < 3, -3024, body_hu(k)))


@pytest.mark.parametrize("unit", ["hu", "Hu", "HOUNSFIELD", "Hounsfield Units"])
def test_hu_by_another_name_is_hu(tmp_path, unit):
    assert scans.read(series(tmp_path, RescaleType=unit)).findings == ()


# --- findings --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes, sentence",
    [
        (
            {"ContrastBolusAgent": "OMNIPAQUE"},
            "The header names a contrast agent, so do not score calcium on this scan.",
        ),
        ({"ContrastBolusAgent": "NONE"}, None),
        ({"ContrastBolusAgent": ""}, None),
        *[
            ({"ContrastBolusAgent": agent}, None)
            for agent in (
                *("NO CONTRAST", "Without", "N/A", "n.a.", "NON-CONTRAST", "noncontrast", "no iv contrast", "w/o", "-"),
                *(
                    "WITHOUT CONTRAST",
                    "Unenhanced",
                    "nativ",
                    "ohne KM",
                    "Not Applicable",
                    "None given",
                    "0",
                    "NOT USED",
                ),
            )
        ],
        *[
            (
                {"ImageType": ["DERIVED", "SECONDARY", *kind]},
                "The images are projections, such as MIP, by the header's ImageType: they show several depths at once, "
                "so areas, volumes and scores are not those of slices.",
            )
            for kind in (
                ["MIP"],
                ["AXIAL", "CT_MIP"],
                ["PROJECTION IMAGE"],
                ["REFORMATTED", "MIN IP"],
                ["AXIAL", "MAX_IP"],
            )
        ],
        ({"ImageType": ["DERIVED", "PRIMARY", "MPR"]}, None),
        (
            {"ConvolutionKernel": "B70f"},
            "The kernel is a sharp one: more noise, and more noise specks above 130 HU.",
        ),
        (
            {"ConvolutionKernel": "YC"},
            "Whether the kernel is a sharp one is not known here: see meta['kernel'].",
        ),
        ({"ConvolutionKernel": None}, "The header names no reconstruction kernel."),
        ({"KVP": "100"}, "The tube voltage is 100 kV; published HU limits are for 120 kV."),
        ({"SliceThickness": "3"}, "The slices are 3 mm thick but 2 mm apart, so they overlap by 1 mm."),
        (
            {"SliceThickness": "1.25"},
            "The slices are 1.25 mm thick but 2 mm apart, so they leave gaps of 0.75 mm.",
        ),
        (
            {"SliceThickness": ("2", "2", "2", "2.5")},
            "The slice thickness varies from 2 to 2.5 mm.",
        ),
        (
            {"FrameOfReferenceUID": ("1.1", "1.2", "1.3", "1.4")},
            "The 4 slices name 4 frames of reference, as some anonymisers leave them; they are read as one "
            "volume by their positions.",
        ),
        (
            {"GantryDetectorTilt": "12"},
            "The header names a gantry tilt of 12 degrees, but the slices lie straight: corrected.",
        ),
        ({"GantryDetectorTilt": "+0.0"}, None),
        ({"PixelPaddingValue": -2000}, None),
        ({"PhotometricInterpretation": "MONOCHROME1"}, None),
    ],
)
def test_findings_from_the_header(tmp_path, changes, sentence):
    found = scans.read(series(tmp_path, **changes)).findings
    assert found == (() if sentence is None else (sentence,))


@pytest.mark.parametrize(
    "agent", ["NON IONIC", "APPLIED", "Novalgin", "IV", "contrast", "ORAL", "no reaction, ULTRAVIST", "Natrium"]
)
def test_any_other_word_is_taken_for_a_contrast_agent(tmp_path, agent):
    (found,) = scans.read(series(tmp_path, ContrastBolusAgent=agent)).findings
    assert found == "The header names a contrast agent, so do not score calcium on this scan."


def test_thick_slices_are_found(tmp_path):
    found = scans.read(series(tmp_path, (0, 5, 10, 15), SliceThickness="5")).findings
    assert found == ("The slices are 5 mm thick, which blurs small calcifications and thin layers.",)


@pytest.mark.parametrize(
    "kernel, sharp",
    [
        *[(name, True) for name in ("B50f", "B80f", "LUNG", "BONEPLUS", "FC51", "Bl57f", "Br59d", "FC86/x")],
        *[(name, False) for name in ("B30f", "Br38f/3", "STANDARD", "SOFT", "FC12", "FC17", "Qr40", "H31s")],
        *[(name, None) for name in ("D", "YA", "FC30", "", None)],
    ],
)
def test_kernels_are_told_apart_by_their_names(kernel, sharp):
    assert quality.is_sharp(kernel) is sharp


def _one(tmp_path: Path, hu: np.ndarray, **changes) -> tuple[str, ...]:
    """Findings on one slice, without the one that says it is alone."""
    scan = scans.read(save(ct_slice(hu.astype(np.int16), (0, 0, 0), **changes), tmp_path / "x"))
    np.testing.assert_array_equal(scan.hu[0], hu)  # whatever is found, the values stay
    return scan.findings[1:]


def test_padding_below_every_window_is_kept(tmp_path):
    hu = body_hu()
    hu[:4] = -3024  # 4 of 48 rows
    assert _one(tmp_path, hu) == ()
    hu[:4] = -1050  # by its value no padding, but the header says so
    assert _one(tmp_path, hu, PixelPaddingValue=-1050) == ()


def test_metal_and_clipping_are_found(tmp_path):
    hu = body_hu()
    hu[20, 20:24] = 3500
    assert _one(tmp_path, hu) == ("4 voxels above 3000 HU: metal, which casts streaks.",)
    hu[20, 20:32] = 1023
    assert _one(tmp_path, hu) == ("The values are clipped at 1023 HU (12 voxels), so denser matter is not told apart.",)
    hu[20, 20:32] = 3071
    assert len(_one(tmp_path, hu)) == 2
    hu = body_hu()
    hu[20, 20] = 1023  # one voxel may lie there by chance
    assert _one(tmp_path, hu) == ()


def test_wrong_air_is_found(tmp_path):
    hu = body_hu()
    hu[hu < -500] += 76
    assert _one(tmp_path, hu) == ("The air outside the body has a median of -924 HU instead of -1000 HU.",)


def test_lung_is_not_taken_for_air(tmp_path):
    rows, columns = np.indices((48, 48))
    radius = np.hypot(rows - 23.5, columns - 23.5)
    hu = np.select([radius < 19, radius < 22.5], [-850, 40], -1000)  # more lung than air outside
    assert _one(tmp_path, hu) == ()


CUT = "The body reaches the edge of the field of view, so areas may be too small."


def test_a_cut_body_is_found(tmp_path):
    assert _one(tmp_path, np.roll(body_hu(), 8, axis=1)) == (CUT,)


def test_a_body_cut_by_the_reconstruction_circle_is_found(tmp_path):
    hu = body_hu(shape=(64, 64))
    rows, columns = np.indices(hu.shape)
    hu[np.hypot(rows - 31.5, columns - 31.5) > 22] = -2048
    found = _one(tmp_path, hu)
    assert found == (CUT,)


def test_a_table_at_the_edge_is_no_body(tmp_path):
    hu = body_hu()
    hu[42:44] = -100  # a shell of 14 mm from edge to edge, on which the body lies
    assert _one(tmp_path, hu) == ()


def test_other_files_and_scouts_are_set_aside(tmp_path):
    series(tmp_path)
    (tmp_path / "agatston.csv").write_text("a,b\n")
    (tmp_path / "readme").write_text("x")
    scout = ct_slice(body_hu(), (0, 0, 2), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], SeriesInstanceUID="7")
    save(scout, tmp_path / "scout")
    scan = scans.read(tmp_path)
    assert len(scan) == 4
    assert scan.findings == (
        "2 files in the folder without a DICOM image: ignored.",
        "1 scout (localizer) image in the folder: set aside.",
    )


# --- writing ---------------------------------------------------------------------------------------------


def test_what_is_written_is_read_back(tmp_path):
    hu = np.stack([body_hu(k, (40, 44)) for k in range(3)]).astype(np.float32)
    folder = scans.write_dicom(tmp_path / "out", hu, (2.5, 6.25, 7.125))
    scan = scans.read(folder)
    np.testing.assert_array_equal(scan.hu, hu)
    assert scan.spacing_mm == (2.5, 6.25, 7.125)
    np.testing.assert_array_equal(scan.affine, [[0, 0, -7.125, 0], [0, -6.25, 0, 0], [2.5, 0, 0, 0], [0, 0, 0, 1]])
    assert scan.findings == ("The header names no reconstruction kernel.",)
    data = pydicom.dcmread(folder / "0001.dcm")
    assert data.PatientName == "PHANTOM" and not data.file_meta.TransferSyntaxUID.is_compressed
    np.testing.assert_array_equal(apply_modality_lut(data.pixel_array, data), hu[1])


def test_the_same_volume_gives_the_same_files(tmp_path):
    for name in "ab":
        scans.write_dicom(tmp_path / name, body_hu(), (1, 1 / 3, 0.7))
    assert (tmp_path / "a" / "0000.dcm").read_bytes() == (tmp_path / "b" / "0000.dcm").read_bytes()
    # Sixteen characters hold a third to 1e-13.
    assert scans.read(tmp_path / "a").spacing_mm[1] == pytest.approx(1 / 3, abs=1e-12)


def test_what_does_not_fit_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="16 bits"):
        scans.write_dicom(tmp_path / "a", np.array([[0, 40000]]), (1, 1, 1))
    with pytest.raises(ValueError, match="finite"):
        scans.write_dicom(tmp_path / "a", np.array([[0, np.nan]]), (1, 1, 1))
    with pytest.raises(ValueError, match="above zero"):
        scans.write_dicom(tmp_path / "a", body_hu(), (1, 0, 1))
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match="must be three finite lengths above zero"):
            scans.write_dicom(tmp_path / "a", body_hu(), (1, bad, 1))
    assert not (tmp_path / "a").exists()
    series(tmp_path / "b")
    with pytest.raises(FileExistsError, match="not empty"):
        scans.write_dicom(tmp_path / "b", body_hu(), (1, 1, 1))


@pytest.mark.parametrize("exists", [False, True])
def test_a_series_is_there_whole_or_not_at_all(tmp_path, exists):
    """A process that is killed cannot tidy up; what it leaves must not be read as a shorter scan."""
    if exists:
        (tmp_path / "out").mkdir(mode=0o700)
    code = f"""
import os
import numpy as np
from biomark import scans
from biomark.scans import export
made = export._slice
export._slice = lambda seed, k, *rest: made(seed, k, *rest) if k < 3 else os._exit(9)
hu = np.random.default_rng(0).integers(-1000, 100, (6, 40, 40))
scans.write_dicom({str(tmp_path / "out")!r}, hu, (2, 7, 7))
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 9
    with pytest.raises(ScanError, match="among its 0 files" if exists else "does not exist"):
        scans.read(tmp_path / "out")
    hu = np.stack([body_hu(k) for k in range(6)])
    assert len(scans.read(scans.write_dicom(tmp_path / "out", hu, (2, 7, 7)))) == 6
    if exists:
        assert (tmp_path / "out").stat().st_mode & 0o777 == 0o700, "a folder keeps its permissions"


# --- real scans ------------------------------------------------------------------------------------------

REAL = Path(os.environ.get("BIOMARK_SCANS", "/nonexistent"))
real = pytest.mark.skipif(not REAL.is_dir(), reason="BIOMARK_SCANS names no folder of real scans")


def _exact(scan: scans.Scan, folder: Path) -> None:
    """Every voxel equals pydicom's, slice by slice, found by z."""
    k = {round(float(z), 3): k for k, z in enumerate(scan.z_mm)}
    files = list(folder.iterdir()) if folder.is_dir() else [folder]
    assert len(files) == len(scan)
    for path in files:
        data = pydicom.dcmread(path)
        plane = scan.hu[k[round(float(data.ImagePositionPatient[2]), 3)]]
        np.testing.assert_array_equal(plane, apply_modality_lut(data.pixel_array, data).astype(np.float32))


@real
@pytest.mark.parametrize(
    "name, n, spacing, z, extremes",
    [
        ("lidc-0314-arch/dicom", 41, (1, 0.78125, 0.78125), (-507.8, -467.8), (-1000, 1766)),
        ("qrm-calcium-phantom/dicom", 47, (3, 0.488, 0.488), (534.875, 672.875), (-2048, 1275)),
        ("dcmqi-liver/ct-3slice", 3, (1, 0.810547, 0.810547), (-128.69, -126.69), (-3024, 1381)),
        ("totalsegmentator-abdomen/example_ct_dicom", 20, (2, 0.9765625, 0.9765625), (-804.5, -766.5), None),
    ],
)
def test_real_series(name, n, spacing, z, extremes):
    scan = scans.read(REAL / name)
    assert len(scan) == n and scan.spacing_mm == spacing
    np.testing.assert_allclose(scan.z_mm[[0, -1]], z, atol=1e-3)
    if extremes:
        assert (scan.hu.min(), scan.hu.max()) == extremes
    _exact(scan, REAL / name)


@real
def test_real_findings():
    arch = scans.read(REAL / "lidc-0314-arch/dicom")
    assert any("41 frames of reference" in sentence for sentence in arch.findings)
    np.testing.assert_allclose(arch.z_mm[20], -487.8, atol=1e-3)
    liver = scans.read(REAL / "dcmqi-liver/ct-3slice")
    assert "The slices are 1.25 mm thick but 1 mm apart, so they overlap by 0.25 mm." in liver.findings
    abdomen = scans.read(REAL / "totalsegmentator-abdomen/example_ct_dicom")
    assert any("contrast agent" in sentence for sentence in abdomen.findings)
    assert any("overlap by 1 mm" in sentence for sentence in abdomen.findings)
    assert "modality SEG, not CT" in refusal(REAL / "dcmqi-liver/liver.dcm")


@real
def test_real_single_slices():
    paths = sorted(REAL.glob("ny-sbu-slices/*/axial/*.dcm"))
    assert len(paths) == 10
    for path in paths:
        scan = scans.read(path)
        _exact(scan, path)
        contrast = path.name in ("19010112-135.dcm", "19010107-111.dcm")
        assert any("contrast agent" in sentence for sentence in scan.findings) == contrast
    assert "holds 2 series" in refusal(paths[0].parent)
