"""DICOM objects over a series: they open over the slices that they were found in, and name nobody unless asked."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_files import PERSON, STUDY, named, personal, series

from biomark import delivery, scans
from biomark.delivery import dicom_objects
from biomark.scans import ScanError
from biomark.tasks import TASKS

REAL = Path(os.environ.get("BIOMARK_SCANS", "/nonexistent"))

hd = pytest.importorskip("highdicom", reason="highdicom is not installed")


def opened(path: Path, source: Path) -> dict[str, np.ndarray]:
    """Frames of a derived object by the UID of the slice that each refers to, with pydicom alone."""
    data, frames = pydicom.dcmread(path), {}
    pixels = data.pixel_array if data.pixel_array.ndim == 3 else data.pixel_array[None]
    uids = {pydicom.dcmread(p, stop_before_pixels=True).SOPInstanceUID for p in source.iterdir()}
    for frame, group in zip(pixels, data.PerFrameFunctionalGroupsSequence, strict=True):
        uid = group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        assert uid in uids
        frames[uid] = frame
    return frames


@pytest.mark.filterwarnings("ignore::UserWarning:highdicom")
@pytest.mark.parametrize("descending", [False, True])
def test_objects_open_over_the_slices_that_they_were_found_in(tmp_path, descending):
    places = (6, 4, 2, 0) if descending else (0, 2, 4, 6)
    source = personal(tmp_path / "s", places)
    scan = scans.read(source)
    map = np.random.default_rng(0).uniform(size=scan.hu.shape).astype(np.float32)
    map[1] = 0
    seg = delivery.write_segmentation(tmp_path / "seg.dcm", map > 0.5, source, TASKS["sfa"])
    par = delivery.write_parametric_map(tmp_path / "map.dcm", map, source, TASKS["sfa"])
    uid = {float(d.ImagePositionPatient[2]): d.SOPInstanceUID for d in map_headers(source)}
    for path, expected in ((seg, map > 0.5), (par, map)):
        frames = opened(path, source)
        assert len(frames) == 3, "the slice without any of it is left out"
        for k, z in enumerate(scan.z_mm):
            if k != 1:
                np.testing.assert_array_equal(frames[uid[round(float(z), 3)]], expected[k])
        data = pydicom.dcmread(path)
        assert data.StudyInstanceUID == STUDY and data.ReferencedSeriesSequence[0].SeriesInstanceUID
        assert not named(path), "anonymised unless asked"
        assert data.PatientName == "" and data.PatientID == "" and data.PatientIdentityRemoved == "YES"
    volume = hd.seg.segread(seg).get_volume()
    assert volume.array.any()


@pytest.mark.filterwarnings("ignore::UserWarning:highdicom")
@pytest.mark.parametrize(
    ("places", "chosen", "thickness", "step_mm", "thick_mm"),
    [
        ((0, 5, 10, 15), [1], "5", 5, 5),  # one slice of a series
        ((0, 2, 4, 6, 8, 10), [1, 3, 5], "2", 2, 2),  # every other slice
        ((0, 2, 4, 6), [0, 1, 2, 3], "3", 2, 3),  # slices that overlap
        ((0, 5, 10), [0, 1], None, 5, 5),  # no thickness in the header
        ((0, 5, 10), [1], "0", 5, 5),
        ((3,), [0], "2.5", 2.5, 2.5),  # a slice alone
        ((3,), [0], None, 1, 1),
        ((10, 5, 0), [0], "5", 5, 5),  # from head to feet
    ],
)
def test_an_object_has_the_geometry_of_its_series(tmp_path, places, chosen, thickness, step_mm, thick_mm):
    """A volume counted on the object alone is that of the mask, whichever slices are left out."""
    source = personal(tmp_path / "s", places, SliceThickness=thickness)
    scan = scans.read(source)
    mask = np.zeros(scan.hu.shape, bool)
    mask[chosen] = scan.hu[chosen] > 30
    size_mm3 = mask.sum() * step_mm * 49
    par = delivery.write_parametric_map(tmp_path / "map", mask.astype(np.float32), source, TASKS["sfa"])
    seg = delivery.write_segmentation(tmp_path / "seg", mask, source, TASKS["sfa"])
    for path, read in ((seg, hd.seg.segread), (par, hd.imread)):
        data = pydicom.dcmread(path)
        shared = data.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        assert (shared.SpacingBetweenSlices, shared.SliceThickness) == (step_mm, thick_mm)
        assert data.pixel_array.sum() * shared.SpacingBetweenSlices * np.prod(shared.PixelSpacing) == pytest.approx(
            size_mm3
        )
        # Each frame at its place by the numbers alone, without the UIDs.
        z = [float(g.PlanePositionSequence[0].ImagePositionPatient[2]) for g in data.PerFrameFunctionalGroupsSequence]
        assert sorted(z) == sorted(scan.z_mm[chosen])
        volume = read(path).get_volume(allow_missing_positions=True)
        voxels = volume.array[..., 0] if volume.array.ndim == 4 else volume.array
        assert volume.spacing[0] == step_mm and voxels.sum() * volume.voxel_volume == pytest.approx(size_mm3)
        for k in chosen:
            index = volume.map_reference_to_indices(np.array([[-168.0, -168.0, scan.z_mm[k]]]))[0]
            np.testing.assert_array_equal(voxels[round(index[0])], mask[k])


def map_headers(source: Path) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(p, stop_before_pixels=True) for p in source.iterdir()]


def test_a_pacs_can_file_them_when_asked_to(tmp_path):
    source = personal(tmp_path / "s")
    mask = scans.read(source).hu > 40
    data = pydicom.dcmread(delivery.write_segmentation(tmp_path / "x", mask, source, TASKS["pma"], identify=True))
    for name in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyDate"):
        assert str(data[name].value) == PERSON[name]
    assert "PatientAddress" not in data and "InstitutionName" not in data and "PatientIdentityRemoved" not in data


@pytest.mark.parametrize(
    ("changes", "bad"),
    [
        ({"PatientBirthDate": "1950"}, "PatientBirthDate"),
        ({"StudyDate": "2019-03-07"}, "StudyDate"),
        ({"StudyTime": "noon"}, "StudyTime"),
        ({"PatientSex": "Male"}, "PatientSex"),
        ({"PatientName": ["A^B", "C^D"]}, "PatientName"),
        ({"AccessionNumber": "1\x1b2"}, "AccessionNumber"),
        ({"SpecificCharacterSet": ["", "ISO 2022 IR 87"]}, None),
        ({"SpecificCharacterSet": "KLINGON"}, None),
        ({"SpecificCharacterSet": ["", "ISO 2022 IR 87"], "PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう"}, None),
        ({"SpecificCharacterSet": "ISO_IR 100", "PatientName": "Müller^Jürgen"}, None),
        ({"PatientBirthDate": None, "StudyTime": "11", "PatientSex": ""}, None),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_a_bad_field_of_the_patient_s_is_left_out_and_the_rest_is_kept(tmp_path, changes, bad):
    source = personal(tmp_path / "s", **changes)
    mask = scans.read(source).hu > 40
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        path = delivery.write_segmentation(tmp_path / "x", mask, source, TASKS["pma"], identify=True)
    told = [str(w.message) for w in caught if "so the DICOM objects are without it" in str(w.message)]
    assert told == [*dicom_objects.left_out(source)] and len(told) == (bad is not None)
    assert bad is None or told[0].startswith(f"The header's {bad} is not as DICOM has it")
    data = pydicom.dcmread(path)
    for name in (
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "AccessionNumber",
        "StudyDate",
        "StudyTime",
    ):
        expected = "" if name == bad else (PERSON | changes)[name] or ""
        assert str(data[name].value or "") == expected, name


def test_the_same_region_gets_the_same_uids(tmp_path):
    source = personal(tmp_path / "s")
    mask = scans.read(source).hu > 40
    first, second = (
        pydicom.dcmread(delivery.write_segmentation(tmp_path / f"{i}", mask, source, TASKS["pma"])) for i in range(2)
    )
    other = pydicom.dcmread(delivery.write_segmentation(tmp_path / "o", ~mask, source, TASKS["pma"]))
    assert first.SOPInstanceUID == second.SOPInstanceUID != other.SOPInstanceUID


def test_an_empty_region_and_odd_sources(tmp_path):
    source = personal(tmp_path / "s", FrameOfReferenceUID=None)
    nothing = np.zeros(scans.read(source).hu.shape, bool)
    assert (
        pydicom.dcmread(delivery.write_segmentation(tmp_path / "x", nothing, source, TASKS["pma"])).NumberOfFrames == 1
    )
    bare = series(tmp_path / "bare", SeriesInstanceUID=None, StudyInstanceUID=None)
    with pytest.raises(ScanError, match="has no StudyInstanceUID.*write NIfTI"):
        delivery.write_segmentation(tmp_path / "y", nothing, bare, TASKS["pma"])
    with pytest.raises(ValueError, match="mask is boolean"):
        delivery.write_segmentation(tmp_path / "y", nothing * 1.0, source, TASKS["pma"])
    with pytest.raises(ValueError, match="lies in 0 to 1"):
        delivery.write_parametric_map(tmp_path / "y", nothing + 1.5, source, TASKS["pma"])
    assert not (tmp_path / "y").exists()


@pytest.mark.skipif(not REAL.is_dir(), reason="BIOMARK_SCANS names no folder of real scans")
def test_a_real_series_whose_slices_name_many_frames_of_reference(tmp_path):
    source = REAL / "lidc-0314-arch" / "dicom"
    scan = scans.read(source)
    mask = np.zeros(scan.hu.shape, bool)
    mask[20] = scan.hu[20] > 0
    frames = opened(delivery.write_segmentation(tmp_path / "x", mask, source, TASKS["pma"]), source)
    (uid, frame), *more = frames.items()
    assert not more and uid == pydicom.dcmread(source / "000224.dcm").SOPInstanceUID
    np.testing.assert_array_equal(frame, mask[20])
