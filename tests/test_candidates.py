"""The candidate region: worked by hand on small pictures, and unchanged by what should not matter."""

import numpy as np
import pytest

from biomark import agatston, candidates, phantoms


def slab(height=40, width=40):
    """A 20 x 20 pixel block of fat in air, over a one-pixel table."""
    image = np.full((height, width), -1000.0, np.float32)
    image[8:28, 10:30] = -100
    image[32, :] = 100
    return image


def test_window_is_closed_on_both_sides():
    values = np.array([-201, -200, -100, 0, 1])
    assert candidates.window(values, (-200, 0)).tolist() == [False, True, True, True, False]


def test_body_keeps_the_block_and_drops_the_table():
    found = candidates.body(slab(), (2.0, 2.0))
    assert found[9:27, 11:29].all()
    assert not found[30:].any()


def test_body_fills_lungs():
    image = slab()
    image[12:20, 14:22] = -900
    assert candidates.body(image, (2.0, 2.0))[12:20, 14:22].all()


def test_body_of_air_is_empty():
    assert not candidates.body(np.full((10, 10), -1000.0), (1.0, 1.0)).any()


def test_body_wants_a_slice():
    with pytest.raises(ValueError, match="slice by slice"):
        candidates.body(np.zeros((2, 3, 4)), (1, 1, 1))


@pytest.mark.parametrize("key", ["pma", "sfa", "liver", "cac"])
def test_flips_and_air_change_nothing(key):
    """Neither in the weights nor in what is measured; nor does air that is cropped away."""
    cohort = phantoms.draw(key, 3, seed=5, size=48)
    case = cohort.voxels(2)
    image, spacing, task = case.image, case.spacing_mm, cohort.task
    w = task.weigh(image, spacing)
    assert w.any()
    for axis in range(image.ndim):
        np.testing.assert_array_equal(task.weigh(np.flip(image, axis), spacing), np.flip(w, axis))
        assert task.measure(np.flip(image, axis), np.flip(case.mask, axis), spacing) == pytest.approx(case.value)
    pad = ((2, 1), (3, 7), (5, 2))[-image.ndim :]
    padded, mask = np.pad(image, pad, constant_values=-1000), np.pad(case.mask, pad)
    np.testing.assert_array_equal(task.weigh(padded, spacing), np.pad(w, pad))
    assert task.measure(padded, mask, spacing) == pytest.approx(case.value)


@pytest.mark.parametrize("key", ["pma", "sfa", "liver"])
def test_cropping_air_changes_nothing(key):
    """To the body's own edge, which then is the picture's: the surface is there as it was."""
    cohort = phantoms.draw(key, 2, seed=6, size=48)
    for case in (cohort.voxels(0), cohort.voxels(1)):
        clean = np.where(candidates.body(case.image, case.spacing_mm), case.image, -1000.0)
        rows, columns = (np.flatnonzero((clean > -1000).any(axis)) for axis in (1, 0))
        crop = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert clean[crop].size < clean.size
        w = cohort.task.weigh(clean, case.spacing_mm)
        assert w.any()
        np.testing.assert_array_equal(cohort.task.weigh(clean[crop], case.spacing_mm), w[crop])


def test_below_a_surface_by_hand():
    """Pixels of 1 mm: the first lies half a millimetre deep, the fourth three and a half."""
    region = np.zeros((20, 30), bool)
    region[5:15, 5:25] = True
    found = candidates.below(region, (1.0, 1.0), 2.5)
    assert found[8:12, 8:22].all() and found.sum() == 4 * 14
    assert candidates.below(np.ones((9, 9), bool), (1.0, 1.0), 2.5).sum() == 3 * 3, (
        "outside of the picture there is air"
    )
    assert candidates.below(region, (1.0, 1.0), 0.0).sum() == region.sum()
    wide = candidates.below(np.ones((9, 9), bool), (1.0, 3.0), 2.5)
    assert wide.any(0).sum() == 7 and wide.any(1).sum() == 1, "by the coarser of the two spacings, never less deep"


def test_smoothing_by_hand():
    """A spot spreads in its slice by the Gaussian, in millimetres; the other slices do not hear of it."""
    image = np.zeros((3, 21, 41), np.float32)
    image[1, 10, 20] = 1000.0
    found = candidates.smooth(image, (5.0, 2.0, 1.0), 2.0)
    assert not found[::2, 8:13, 10:31].any()
    assert found[1, 10, 20] == pytest.approx(1000 * 2 * 1 / (2 * np.pi * 2.0**2), rel=0.05)
    assert found[1, 11, 20] == pytest.approx(found[1, 10, 22], rel=0.02)
    assert found[0, 0, 20] < -300, "outside there is air"


def test_small_components_stay_and_large_ones_go(monkeypatch):
    """Parts of 6 and of 7 voxels of 2 mm3, the second over three slices; a voxel that touches by a corner is apart."""
    mask = np.zeros((3, 6, 9), bool)
    mask[1, 1:3, 1:4] = True
    mask[0, 4, 5:7] = mask[1, 4, 5:8] = mask[2, 4, 6:8] = True
    mask[2, 5, 8] = True
    monkeypatch.setattr(agatston.candidates, "SMALLEST_CALCIUM_MM3", 2.0)
    for largest, kept in ((14.0, 14), (13.9, 7), (11.9, 1), (1.9, 0)):
        monkeypatch.setattr(agatston.candidates, "LARGEST_CALCIUM_MM3", largest)
        found = candidates.calcium(200 * mask, (2.0, 1.0, 1.0))
        assert found.sum() == kept
        assert not (found & ~mask).any()


def test_calcium_is_bright_and_small():
    image = np.full((4, 20, 30), -100.0, np.float32)
    image[:, :5] = 300  # 4 x 5 x 30 voxels of 3 mm3 are 1800 mm3
    image[1, 10, 10:15] = (129, 130, 500, 500, 500)
    found = candidates.calcium(image, (3.0, 1.0, 1.0))
    assert found.sum() == 4 and found[1, 10, 11:15].all(), "12 mm3"


def test_specks_are_no_calcium():
    """Of voxels of 2 mm3, three that touch, if by a corner in the next slice, are calcium; two are noise."""
    image = np.full((3, 12, 12), -100.0, np.float32)
    image[0, 2, 2:4] = image[1, 3, 4] = 200
    image[1, 9, 2:4] = 300
    found = candidates.calcium(image, (2.0, 1.0, 1.0))
    assert found.sum() == 3 and found[0, 2, 2:4].all() and found[1, 3, 4]


def test_one_body_at_two_resolutions_has_one_area():
    case = phantoms.draw("sfa", 1, seed=9, size=64).voxels(0)
    coarse = case.image.reshape(96, 2, 96, 2).mean((1, 3))
    fine_mm = case.spacing_mm[0]
    fine = candidates.body(case.image, case.spacing_mm).sum() * fine_mm**2
    assert candidates.body(coarse, (2 * fine_mm,) * 2).sum() * (2 * fine_mm) ** 2 == pytest.approx(fine, rel=0.02)
