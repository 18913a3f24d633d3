"""Each change does what it says, to image, weights, mask and value alike, and leaves its cohort as it was."""

from dataclasses import replace

import numpy as np
import pytest

import biomark as bm
from biomark.evaluation import perturbations


@pytest.fixture(scope="module")
def cohort():
    return bm.phantoms.draw("pma", 12, seed=5, size=64)


CHANGES = {
    "shift_hu": lambda c: perturbations.shift_hu(c, 30),
    "noise": lambda c: perturbations.noise(c, 20),
    "blur": lambda c: perturbations.blur(c, 4),
    "sharpen": lambda c: perturbations.sharpen(c, 1),
    "rotate": lambda c: perturbations.rotate(c, 20),
    "crop": lambda c: perturbations.crop(c, 0.7),
    "wrong_spacing": lambda c: perturbations.wrong_spacing(c, 1.2),
    "label_noise": lambda c: perturbations.label_noise(c, 0.1),
    "reweigh": lambda c: perturbations.reweigh(c, replace(c.task, hu_window=(-200.0, 200.0))),
    "confound": lambda c: perturbations.confound(c, 0.5),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_weights_are_those_of_the_changed_image_and_the_cohort_stays(cohort, change):
    before = {k: np.copy(getattr(cohort, k)) for k in ("images", "weights", "masks", "values", "spacing_mm")}
    changed = change(cohort)
    for image, weights, mm in zip(changed.images, changed.weights, changed.spacing_mm, strict=True):
        np.testing.assert_array_equal(weights, changed.task.weigh(image, mm))
    assert changed.images.dtype == changed.weights.dtype == np.float32 and changed.masks.dtype == bool
    for name, array in before.items():
        np.testing.assert_array_equal(getattr(cohort, name), array)


NOTHING = {
    "shift_hu": lambda c: perturbations.shift_hu(c, 0),
    "noise": lambda c: perturbations.noise(c, 0),
    "blur": lambda c: perturbations.blur(c, 0),
    "sharpen": lambda c: perturbations.sharpen(c, 0),
    "crop": lambda c: perturbations.crop(c, 1),
    "rotate": lambda c: perturbations.rotate(c, 360),
    "wrong_spacing": lambda c: perturbations.wrong_spacing(c, 1),
    "label_noise": lambda c: perturbations.label_noise(c, 0),
    "reweigh": lambda c: perturbations.reweigh(c, c.task),
    "confound": lambda c: perturbations.confound(c, 1),
}


@pytest.mark.parametrize("change", NOTHING.values(), ids=NOTHING)
def test_an_amount_of_nothing_changes_nothing(cohort, change):
    changed = change(cohort)
    np.testing.assert_allclose(changed.images, cohort.images, atol=1e-3)
    np.testing.assert_array_equal(changed.masks, cohort.masks)
    np.testing.assert_allclose(changed.values, cohort.values)
    assert changed.ids == cohort.ids


def test_amounts_are_in_their_units(cohort):
    assert np.allclose(perturbations.shift_hu(cohort, -30).images, cohort.images - 30)
    added = perturbations.noise(cohort, 20, seed=1).images - cohort.images
    assert added.std() == pytest.approx(20, rel=0.02) and abs(added.mean()) < 0.5
    assert not np.array_equal(added, perturbations.noise(cohort, 20, seed=2).images - cohort.images)
    wrong = perturbations.wrong_spacing(cohort, 1.2)
    np.testing.assert_allclose(wrong.spacing_mm, 1.2 * cohort.spacing_mm)
    np.testing.assert_array_equal(wrong.values, cohort.values)


def plain_images(images, pixels_mm):
    """A cohort of images in which everything is a candidate of weight 1."""
    everywhere = {"hu_window": (-2000.0, 2000.0), "region": lambda image, mm: np.ones(image.shape, bool)}
    task = replace(bm.TASKS["sfa"], **everywhere, voxel_weight=lambda image, mm: np.float32(1))
    weights, ids = np.ones(images.shape, np.float32), tuple(map(str, range(len(images))))
    spacing = np.repeat(np.array(pixels_mm, float)[:, None], 2, 1)
    return bm.Cohort(task, images, weights, np.ones(len(images)), None, spacing, ids)


def test_a_blur_is_as_wide_as_it_says():
    """A point becomes a Gaussian of the given SD in mm, whatever the pixels."""
    images = np.zeros((2, 41, 41), np.float32)
    images[:, 20, 20] = 1.0
    for image, mm in zip(perturbations.blur(plain_images(images, [1, 2]), 4.0).images, [1, 2], strict=True):
        x = (np.arange(41) - 20) * mm
        assert np.sqrt((image.sum(0) * x**2).sum() / image.sum()) == pytest.approx(4.0, rel=0.03)


@pytest.mark.parametrize(
    "narrowed",
    [lambda c: c.within(np.arange(64) < 32 + np.zeros(c.images.shape)), lambda c: replace(c, weights=2 * c.weights)],
    ids=["to an organ", "summed from finer voxels"],
)
def test_weights_that_are_not_those_of_the_image_are_not_thrown_away(cohort, narrowed):
    with pytest.raises(ValueError, match="are not those that the rules of 'pma' give its voxels"):
        perturbations.shift_hu(narrowed(cohort), 0)
    perturbations.label_noise(narrowed(cohort), 0.1)  # no image is weighed


def test_a_soft_kernel_takes_noise_away_and_a_sharp_one_adds_it():
    grainy = plain_images(np.random.default_rng(0).normal(0, 20, (1, 60, 60)).astype(np.float32), [3])
    assert perturbations.blur(grainy, 6).images.std() < 6 < 20 < 35 < perturbations.sharpen(grainy, 1, 3).images.std()


def test_rotation_takes_the_mask_along(cohort):
    turned = perturbations.rotate(cohort, 20)
    assert turned.masks.sum() == pytest.approx(cohort.masks.sum(), rel=0.05)
    inside = [np.median(c.images[c.masks]) for c in (cohort, turned)]
    assert inside[0] == pytest.approx(inside[1], abs=15)  # rims are thin: a pixel here is 6 mm wide
    quarter = perturbations.rotate(cohort, 90)
    np.testing.assert_array_equal(quarter.masks, np.rot90(cohort.masks, axes=(1, 2)))


def test_what_a_crop_cuts_off_is_not_counted(cohort):
    small = perturbations.crop(cohort, 0.5)
    assert small.images.shape == (12, 32, 32)
    np.testing.assert_array_equal(small.images, cohort.images[:, 16:48, 16:48])
    assert (small.values <= cohort.values).all() and small.values.sum() < 0.9 * cohort.values.sum()
    with pytest.raises(ValueError, match="with masks only"):
        perturbations.crop(cohort.without_masks(), 0.5)


def test_label_noise_has_its_size_and_touches_values_only(cohort):
    many = cohort[np.zeros(4000, int)]
    noisy = perturbations.label_noise(many, 0.2, seed=3)
    relative = noisy.values / many.values
    assert relative.mean() == pytest.approx(1, abs=0.02) and relative.std() == pytest.approx(0.2, rel=0.05)
    assert noisy.images is many.images and (perturbations.label_noise(many, 5).values >= 0).all()


def test_in_a_confounded_cohort_the_tissue_beside_tells_the_value():
    cohort = bm.phantoms.draw("pma", 80, seed=6, size=32)

    def together(c):
        return np.corrcoef(c.weights.sum((1, 2)) - c.values, c.values)[0, 1]

    assert together(perturbations.confound(cohort, 0.25)) > 0.95 > together(cohort) + 0.1
    assert len(perturbations.confound(cohort, 0.25)) == 20
    with pytest.raises(ValueError, match="leaves 0"):
        perturbations.confound(cohort, 0.001)


def test_pixels_that_are_not_square_are_not_turned(cohort):
    with pytest.raises(ValueError, match=f"case '{cohort.ids[0]}' has pixels that are not square"):
        perturbations.rotate(replace(cohort, spacing_mm=cohort.spacing_mm * [1, 2]), 10)
    with pytest.raises(ValueError, match="the middle 0.001 can be kept"):
        perturbations.crop(cohort, 0.001)
