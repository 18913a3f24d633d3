"""Grids: a biomarker is the same on any of them; and what is read is the slice, the mask and the place asked for."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from dicom_files import series
from hypothesis import given, settings
from hypothesis import strategies as st

import biomark as bm
from biomark import scans
from biomark.manifests.preparation import prepare
from biomark.scans import Grid, ScanError
from biomark.scans.grid import PADDING_HU
from biomark.scans.nifti import read_mask
from biomark.scans.reader import preview

WHOLE = (slice(0, 4), slice(0, 6))


def test_blocks_by_hand():
    """4 x 6 voxels of 1 mm on a grid of 2 x 3 mm: sums and means of blocks."""
    weights = np.arange(24.0).reshape(4, 6)
    placed = Grid((2, 2), (2, 3)).place((4, 6), (1, 1), WHOLE)
    np.testing.assert_allclose(placed.sums(weights), [[0 + 1 + 2 + 6 + 7 + 8, 45 - 3], [96, 114]], atol=1e-5)
    np.testing.assert_allclose(placed.means(weights, 0), placed.sums(weights) / 6, rtol=1e-6)


def test_a_voxel_belongs_to_the_box_that_holds_its_centre():
    placed = Grid((1, 2), (1, 1.5)).place((1, 3), (1, 1), (slice(0, 1), slice(0, 3)))
    np.testing.assert_allclose(placed.sums(np.array([[10.0, 4, 6]])), [[10, 10]])
    np.testing.assert_allclose(placed.means(np.array([[10.0, 4, 6]]), 0), [[10, 5]])


def test_no_box_is_thinner_than_a_voxel():
    """Slices of 5 mm under a grid of 3 x 2 x 2 mm: boxes of 5 x 2 x 2 mm, one for each slice."""
    whole = slice(0, 26), slice(0, 384), slice(0, 384)
    placed = Grid((44, 96, 96), (3.0, 2.0, 2.0)).place((26, 384, 384), (5.0, 0.5, 0.5), whole)
    assert placed.voxels == (1, 4, 4) and placed.spacing_mm((5.0, 0.5, 0.5)) == (5, 2, 2)
    assert placed.sums(np.ones((26, 384, 384)))[9:35].all(), "a slice was left out"


def test_air_lies_around_a_small_image():
    placed = Grid((6, 8), (1, 1)).place((4, 6), (1, 1), WHOLE)
    image = placed.means(np.full((4, 6), 40.0), PADDING_HU)
    expected = np.full((6, 8), PADDING_HU)
    expected[1:5, 1:7] = 40
    np.testing.assert_array_equal(image, expected)
    assert placed.sums(np.ones((4, 6))).sum() == 24


def test_a_large_image_is_cut_around_its_part():
    part = (slice(90, 94), slice(2, 6))
    placed = Grid((10, 10), None).place((100, 100), (0.7, 0.7), part)
    assert placed.starts == (87, 0)  # not beyond the image where it need not
    assert placed.spacing_mm((0.7, 0.7)) == (0.7, 0.7)
    with pytest.raises(ValueError, match="extends over 8 x 7 mm, the grid over 7 x 7: give a larger grid"):
        Grid((10, 10), None).place((100, 100), (0.7, 0.7), (slice(5, 16), slice(5, 15)))


@pytest.mark.parametrize("bad", [((0, 4), (1, 1)), ((4, 4), (1,)), ((4, 4), (1, 0)), ((4, 4), (1, np.nan)), ((), None)])
def test_what_is_no_grid(bad):
    with pytest.raises(ValueError, match="size and a spacing above 0"):
        Grid(*bad)


lengths = st.integers(1, 40)
steps = st.sampled_from([0.5, 0.683594, 0.78125, 1.0, 2.5, 3.0, 4.0])


@settings(max_examples=100, deadline=None, derandomize=True)
@given(data=st.data(), ndim=st.integers(1, 3), seed=st.integers(0, 99))
def test_sums_are_conserved_whatever_the_grid(data, ndim, seed):
    """Voxels of any size, a part anywhere, a grid of any spacing that holds the part: the total is the same."""
    rng, part, shape, own, grid, new = np.random.default_rng(seed), [], [], [], [], []
    for _ in range(ndim):
        n, s, t = data.draw(lengths), data.draw(steps), data.draw(steps)
        start = data.draw(st.integers(0, n - 1))
        stop = data.draw(st.integers(start + 1, n))
        part.append(slice(start, stop))
        grid.append(int(np.ceil((stop - start) * s / t)) + data.draw(st.integers(0, 30)))
        shape.append(n)
        own.append(s)
        new.append(t)
    weights, inside = np.zeros(shape), tuple(part)
    weights[inside] = rng.random([p.stop - p.start for p in part])
    placed = Grid(tuple(grid), tuple(new)).place(shape, own, part)
    carried = placed.sums(weights)
    assert carried.shape == tuple(grid) and carried.dtype == np.float32
    assert carried.sum(dtype=float) == pytest.approx(weights.sum(), rel=1e-5)
    image = placed.means(np.full(shape, 30.0), 30.0)
    np.testing.assert_array_equal(image, np.float32(30))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data(), ndim=st.integers(2, 3), seed=st.integers(0, 99))
def test_a_value_is_the_same_in_boxes_and_on_voxels(data, ndim, seed):
    """Whatever the map and the mask: the sum over boxes is that over voxels; a map of ones gives all weights."""
    rng = np.random.default_rng(seed)
    shape = [data.draw(st.integers(2, 25)) for _ in range(ndim)]
    own, new = ([data.draw(steps) for _ in range(ndim)] for _ in range(2))
    whole = tuple(slice(0, n) for n in shape)
    grid = [int(np.ceil(n * s / t)) + data.draw(st.integers(0, 9)) for n, s, t in zip(shape, own, new, strict=True)]
    boxes = Grid(grid, new).place(shape, own, whole)
    weights = rng.random(shape).astype(np.float32) * (rng.random(shape) < 0.5)
    map, mask = rng.random(boxes.shape), rng.random(shape) < 0.5
    on_voxels = boxes.spread(map)
    assert (on_voxels * weights).sum() == pytest.approx((map * boxes.sums(weights)).sum(), rel=1e-5)
    energy = (on_voxels * weights * mask).sum()
    assert energy == pytest.approx((map * boxes.sums(weights * mask)).sum(), rel=1e-5)
    ones = boxes.spread(np.ones(boxes.shape))
    assert (ones * weights).sum() == pytest.approx(weights.sum(dtype=float), rel=1e-6)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(key=st.sampled_from(["pma", "sfa", "liver"]), flips=st.tuples(st.booleans(), st.booleans()), data=st.data())
def test_flipping_and_air_around_change_no_weight(key, flips, data):
    """Nor cropping that air, which is the same the other way round."""
    task, case = bm.TASKS[key], slice_of(key)
    ends = slice(None, None, -1 if flips[0] else 1), slice(None, None, -1 if flips[1] else 1)
    air = [(data.draw(st.integers(0, 9)), data.draw(st.integers(0, 9))) for _ in range(2)]
    image = np.pad(case.image, air, constant_values=-1000)[ends]
    weights, mask = (np.pad(array, air)[ends] for array in (case.weights, case.mask))
    np.testing.assert_array_equal(task.weigh(image, case.spacing_mm), weights)
    assert task.measure(image, mask, case.spacing_mm) == pytest.approx(case.value, rel=1e-6)


@cache
def slice_of(key: str) -> bm.Case:
    return bm.phantoms.draw(key, 1, seed=104, size=48).voxels(0)


def test_what_is_seen_in_boxes_has_the_scan_s_own_number(tmp_path):
    """A heart of 2.5 x 0.8 x 0.8 mm with lesions of a few voxels, on the usual grid of 3 x 2 x 2 mm."""
    hearts, task = bm.phantoms.draw("cac", 3, seed=104), bm.TASKS["cac"]
    case = hearts.voxels(int(hearts.values.argmax()))
    image, spacing = np.round(case.image), case.spacing_mm
    for name, data in (("hu", image.astype(np.int16)), ("mask", case.mask.astype(np.uint8))):
        nib.save(nib.Nifti1Image(data.transpose(2, 1, 0), np.diag([*spacing[::-1], 1.0])), tmp_path / f"{name}.nii")
    part = prepare(tmp_path / "hu.nii", task, Grid.usual(3), mask=tmp_path / "mask.nii", crop=False)
    _, weights, truth = part.in_boxes()
    native = task.measure(image, case.mask, spacing)
    assert native > 5 and truth.sum(dtype=float) == pytest.approx(native, rel=1e-5)
    assert weights.sum(dtype=float) == pytest.approx(task.weigh(image, spacing).sum(dtype=float), rel=1e-5)


# --- one slice, and masks --------------------------------------------------------------------------------


def test_one_slice_is_read_as_from_the_whole(tmp_path):
    folder = series(tmp_path / "s")
    downwards = series(tmp_path / "down", ImageOrientationPatient=[1, 0, 0, 0, -1, 0])
    across = series(
        tmp_path / "across",
        ImageOrientationPatient=[0, 1, 0, 0, 0, -1],
        ImagePositionPatient=tuple([f"{x}", "0", "0"] for x in (0, 2, 4, 6)),
    )
    for path in (folder, downwards, across):
        whole = scans.read(path)
        for k in (0, 1, len(whole) - 1):
            one = scans.read(path, slice=k)
            np.testing.assert_array_equal(one.hu, whole.hu[k : k + 1])
            assert one.spacing_mm == whole.spacing_mm and one.z_mm[0] == pytest.approx(whole.z_mm[k])
            np.testing.assert_allclose(one.affine[:3, :3], whole.affine[:3, :3])
        with pytest.raises(ScanError, match=f"There is no slice {len(whole)}"):
            scans.read(path, slice=len(whole))


def test_only_that_slice_s_pixels_are_needed(tmp_path):
    folder = series(tmp_path / "s")
    whole = (folder / "0.dcm").read_bytes()
    (folder / "0.dcm").write_bytes(whole[:-1000])
    assert scans.read(folder, slice=1).hu.shape == (1, 48, 48)
    with pytest.raises(ScanError, match="truncated or damaged pixels"):
        scans.read(folder)


AFFINE = np.array([[-7.0, 0, 0, 168], [0, -7, 0, 168], [0, 0, 2, 0], [0, 0, 0, 1]])


def test_a_mask_is_turned_and_laid_on_its_image(tmp_path):
    folder = series(tmp_path / "s")
    truth = np.random.default_rng(0).random((4, 48, 48)) > 0.5
    stored = truth.transpose(2, 1, 0)[::-1, :, ::-1]  # from left to right, from head to feet
    affine = AFFINE @ np.array([[-1, 0, 0, 47], [0, 1, 0, 0], [0, 0, -1, 3], [0, 0, 0, 1.0]])
    nib.save(nib.Nifti1Image(stored.astype(np.uint8), affine), tmp_path / "m.nii.gz")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.nii.gz", scans.read(folder)), truth)
    np.testing.assert_array_equal(read_mask(tmp_path / "m.nii.gz", scans.read(folder, slice=2)), truth[2:3])
    moved = affine.copy()
    moved[0, 3] += 3.5
    nib.save(nib.Nifti1Image(stored.astype(np.uint8), moved), tmp_path / "moved.nii.gz")
    finer = affine @ np.diag([0.99, 0.99, 1, 1])
    nib.save(nib.Nifti1Image(stored.astype(np.uint8), finer), tmp_path / "finer.nii.gz")
    for name in ("moved", "finer"):
        with pytest.raises(ScanError, match="does not lie on the voxels of its image"):
            read_mask(tmp_path / f"{name}.nii.gz", scans.read(folder))


def test_headers_tell_the_size(tmp_path):
    assert preview(series(tmp_path / "s"))[:2] == (4, (48, 48))
    data = np.zeros((5, 7, 9), np.int16)  # stored as slices, columns, rows
    nib.save(nib.Nifti1Image(data, AFFINE[:, [2, 0, 1, 3]]), tmp_path / "a.nii")
    assert preview(tmp_path / "a.nii") == (5, (9, 7), True)


# --- real scans ------------------------------------------------------------------------------------------

REAL = Path(os.environ.get("BIOMARK_SCANS", "/nonexistent"))


@pytest.mark.skipif(not REAL.is_dir(), reason="BIOMARK_SCANS names no folder of real scans")
def test_the_area_of_a_real_mask(tmp_path):
    """Fat under the skin in 3 mm voxels, on grids of 3 and 4.5 mm: the area of the mask in boxes is its own."""
    folder, task = REAL / "totalsegmentator-abdomen", bm.TASKS["sfa"]
    image, drawn = folder / "example_ct_sm.nii.gz", folder / "example_seg_tissue_types" / "subcutaneous_fat.nii.gz"
    scan = scans.read(image)
    for k in (3, 15, 26):
        native = scan.case(task, k)
        area = task.measure(native.image, read_mask(drawn, scan)[k], native.spacing_mm)
        for grid in (Grid.usual(2), Grid((96, 112), (4.5, 4.5))):
            _, weights, truth = prepare(image, task, grid, index=k, mask=drawn).in_boxes()
            assert weights.sum(dtype=float) == pytest.approx(native.weights.sum(dtype=float), rel=1e-5)
            assert truth.sum(dtype=float) == pytest.approx(area, rel=1e-5)
