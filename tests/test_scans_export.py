"""What is written over a scan lies on its own voxels, opens again, and names nobody."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from dicom_files import named, personal, series
from hypothesis import given, settings
from hypothesis import strategies as st

from biomark import scans
from biomark.scans.grid import Grid
from biomark.scans.nifti import read_mask

# --- NIfTI ----------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(axes=st.permutations(["LR", "AP", "IS"]), ends=st.tuples(*[st.booleans()] * 3), seed=st.integers(0, 99))
def test_over_a_nifti_file_a_map_lies_voxel_by_voxel(tmp_path_factory, axes, ends, seed):
    tmp_path = tmp_path_factory.mktemp("nifti")
    codes = tuple(pair[end] for pair, end in zip(axes, ends, strict=True))
    turn = nib.orientations.axcodes2ornt(codes)
    affine = np.zeros((4, 4))
    for i, (axis, sign) in enumerate(turn):
        affine[int(axis), i] = sign * (1.5, 2.0, 3.25)[i]
    affine[:, 3] = -20, 30.5, 7, 1
    data = np.random.default_rng(seed).uniform(-1000, 500, (5, 6, 7)).astype(np.float32)
    nib.save(nib.Nifti1Image(data, affine), tmp_path / "ct.nii")
    scan = scans.read(tmp_path / "ct.nii")
    # The image itself, written as if it were a map, must come out as it went in.
    again = nib.load(scans.write_nifti(tmp_path / "map.nii.gz", scan.hu, scan))
    np.testing.assert_array_equal(np.asarray(again.dataobj), data)
    np.testing.assert_allclose(again.affine, affine, atol=1e-5)
    assert nib.aff2axcodes(again.affine) == codes


@settings(max_examples=25, deadline=None)
@given(
    lone=st.integers(0, 3),
    mm=st.tuples(*[st.floats(0.3, 7)] * 3),
    corner=st.tuples(*[st.floats(-500, 500)] * 3),
    angle=st.floats(-0.6, 0.6),
    kind=st.sampled_from([nib.Nifti1Image, nib.Nifti2Image]),
    form=st.sampled_from(["sform", "qform", "both"]),
)
def test_a_map_keeps_the_place_of_its_file_to_the_last_digit(tmp_path_factory, lone, mm, corner, angle, kind, form):
    """Of a lone slice too: its 5 mm are no 1 mm, and other programs refuse an overlay whose header differs."""
    tmp_path, affine = tmp_path_factory.mktemp("nifti"), np.eye(4)
    turned = [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    affine[:3, :3], affine[:3, 3] = turned @ np.diag(mm), corner
    shape = [1 if axis == lone else 4 for axis in range(3)]
    image = kind(np.random.default_rng(0).uniform(-1000, 500, shape).astype(np.float32), affine)
    if form != "both":
        image.header.set_sform(affine, code=form == "sform")
        image.header.set_qform(affine, code=form == "qform")
        image = kind(np.asarray(image.dataobj), None, image.header)
    nib.save(image, tmp_path / "ct.nii")
    scan, source = scans.read(tmp_path / "ct.nii"), nib.load(tmp_path / "ct.nii")
    for volume in (scan.hu, scan.hu > 0):
        written = nib.load(scans.write_nifti(tmp_path / "map.nii.gz", volume, scan))
        np.testing.assert_array_equal(written.affine, source.affine)
        assert written.header.get_zooms() == source.header.get_zooms()
        for get in ("get_sform", "get_qform"):
            np.testing.assert_array_equal(getattr(written.header, get)(), getattr(source.header, get)())
        assert written.get_data_dtype() == (np.uint8 if volume.dtype == bool else np.float32)


def test_a_slice_of_a_file_lies_where_it_lay_and_nothing_else_is_kept(tmp_path):
    data = np.random.default_rng(0).uniform(-1000, 500, (5, 6, 4)).astype(np.float32)
    image = nib.Nifti1Image(data, np.diag([-2.0, -2, 5, 1]))
    image.header["descrip"] = b"GRAUBNER^ILSE"
    nib.save(image, tmp_path / "ct.nii")
    scan = scans.read(tmp_path / "ct.nii")
    part = scans.read(tmp_path / "ct.nii", slice=2)
    written = nib.load(scans.write_nifti(tmp_path / "part.nii", part.hu, part))
    assert written.shape == (5, 6, 1) and written.affine[2].tolist() == [0, 0, 5, 10]
    assert b"GRAUBNER" not in scans.write_nifti(tmp_path / "map.nii", scan.hu, scan).read_bytes()


@pytest.mark.parametrize(("thickness", "step"), [("5", 5), (None, 1)])
def test_a_lone_dicom_slice_is_as_thick_as_its_header_says(tmp_path, thickness, step):
    scan = scans.read(series(tmp_path / "s", (3,), SliceThickness=thickness))
    written = nib.load(scans.write_nifti(tmp_path / "map.nii.gz", scan.hu, scan))
    assert written.header.get_zooms() == (7, 7, step) and written.affine[2].tolist() == [0, 0, step, 3]
    np.testing.assert_array_equal(
        read_mask(scans.write_nifti(tmp_path / "m.nii", scan.hu > 45, scan), scan), scan.hu > 45
    )


def test_over_a_dicom_series_a_map_lies_where_its_voxels_lie(tmp_path):
    scan = scans.read(personal(tmp_path / "s"))
    mask = scan.hu > 45
    path = scans.write_nifti(tmp_path / "mask.nii.gz", mask, scan)
    written = nib.load(path)
    assert written.get_data_dtype() == np.uint8 and written.shape == (48, 48, 4)
    np.testing.assert_array_equal(read_mask(path, scan), mask)
    assert not named(path)
    assert [p.name for p in path.parent.iterdir() if p.is_file()] == ["mask.nii.gz"]


def test_a_map_of_another_shape_or_name_is_refused(tmp_path):
    scan = scans.read(series(tmp_path / "s"))
    with pytest.raises(ValueError, match="has shape .*, the scan .*: they must be alike"):
        scans.write_nifti(tmp_path / "x.nii", scan.hu[0], scan)
    with pytest.raises(ValueError, match="must end in"):
        scans.write_nifti(tmp_path / "x.mha", scan.hu, scan)


def test_nothing_is_left_where_writing_fails(tmp_path, monkeypatch):
    scan = scans.read(series(tmp_path / "s"))
    scans.write_nifti(tmp_path / "out" / "x.nii", scan.hu, scan)
    before = (tmp_path / "out" / "x.nii").read_bytes()

    def half(image, path):
        Path(path).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(nib, "save", half)
    with pytest.raises(OSError, match="disk full"):
        scans.write_nifti(tmp_path / "out" / "x.nii", scan.hu + 1, scan)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["x.nii"]
    assert (tmp_path / "out" / "x.nii").read_bytes() == before


# --- there and back -------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(4, 30), st.integers(4, 30)),
    grid_mm=st.tuples(st.floats(0.7, 5), st.floats(0.7, 5)),
    own_mm=st.tuples(st.floats(0.5, 2), st.floats(0.5, 2)),
    seed=st.integers(0, 99),
)
def test_a_map_adds_up_to_the_same_on_the_scan_s_own_voxels(shape, grid_mm, own_mm, seed):
    rng = np.random.default_rng(seed)
    placed = Grid((90, 90), grid_mm).place(shape, own_mm, (slice(1, 3), slice(1, 3)))
    weights, map = rng.uniform(size=shape).astype(np.float32), rng.uniform(size=(90, 90)).astype(np.float32)
    back = placed.spread(map)
    assert back.shape == shape and back.min() >= 0 and back.max() <= 1 + 1e-6
    np.testing.assert_allclose((back * weights).sum(), (map * placed.sums(weights)).sum(), rtol=1e-4)
