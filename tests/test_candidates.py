"""The candidate region: worked by hand on small pictures, and unchanged by what should not matter."""

import numpy as np
import pytest

from biomark import candidates, phantoms


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


@pytest.mark.parametrize("key", ["pma", "sfa"])
def test_flips_and_air_change_nothing(key):
    case = phantoms.draw(key, 3, seed=5)[2]
    weigh = phantoms.TASKS[key].weigh
    w = weigh(case.image, case.spacing_mm)
    for axis in (0, 1):
        np.testing.assert_array_equal(weigh(np.flip(case.image, axis), case.spacing_mm), np.flip(w, axis))
    pad = ((3, 7), (5, 2))
    padded = np.pad(case.image, pad, constant_values=-1000)
    np.testing.assert_array_equal(weigh(padded, case.spacing_mm), np.pad(w, pad))
    back = weigh(padded, case.spacing_mm)[3:-7, 5:-2]
    np.testing.assert_array_equal(back, w)


def test_flips_and_air_change_nothing_for_calcium():
    case = phantoms.draw("cac", 2, seed=5, size=48)[1]
    task = phantoms.TASKS["cac"]
    w = task.weigh(case.image, case.spacing_mm)
    assert w.any()
    for axis in (0, 1, 2):
        np.testing.assert_array_equal(task.weigh(np.flip(case.image, axis), case.spacing_mm), np.flip(w, axis))
    pad = ((2, 1), (3, 7), (5, 2))
    padded = np.pad(case.image, pad, constant_values=-1000)
    np.testing.assert_array_equal(task.weigh(padded, case.spacing_mm), np.pad(w, pad))


def test_small_components_stay_and_large_ones_go(monkeypatch):
    """Parts of 6 and of 7 voxels of 2 mm3, the second over three slices; a voxel that touches by a corner is apart."""
    mask = np.zeros((3, 6, 9), bool)
    mask[1, 1:3, 1:4] = True
    mask[0, 4, 5:7] = mask[1, 4, 5:8] = mask[2, 4, 6:8] = True
    mask[2, 5, 8] = True
    for largest, kept in ((14.0, 14), (13.9, 7), (11.9, 1), (1.9, 0)):
        monkeypatch.setattr(candidates, "LARGEST_CALCIUM_MM3", largest)
        found = candidates.calcium(200 * mask, (2.0, 1.0, 1.0))
        assert found.sum() == kept
        assert not (found & ~mask).any()


def test_calcium_is_bright_and_small():
    image = np.full((4, 20, 30), -100.0, np.float32)
    image[:, :5] = 300  # 4 x 5 x 30 voxels of 3 mm3 are 1800 mm3
    image[1, 10, 10:13] = (129, 130, 500)
    found = candidates.calcium(image, (3.0, 1.0, 1.0))
    assert found.sum() == 2 and found[1, 10, 11:13].all()


def test_one_body_at_two_resolutions_has_one_area():
    case = phantoms.draw("sfa", 1, seed=9, size=192)[0]
    coarse = case.image.reshape(96, 2, 96, 2).mean((1, 3))
    fine_mm = case.spacing_mm[0]
    fine = candidates.body(case.image, case.spacing_mm).sum() * fine_mm**2
    assert candidates.body(coarse, (2 * fine_mm,) * 2).sum() * (2 * fine_mm) ** 2 == pytest.approx(fine, rel=0.02)
