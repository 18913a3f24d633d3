"""Each change does what it says, to image, weights, mask and value alike, and leaves its cohort as it was."""

from dataclasses import replace

import numpy as np
import pytest

import biomark as bm
from biomark.evaluation import perturbations


@pytest.fixture(scope="module")
def cohort():
    return bm.phantoms.draw("pma", 6, seed=5, size=64)


def volumes():
    return bm.phantoms.draw("cac", 2, seed=5, size=16, slices=8)


def images(cohort):
    """On the measuring grid."""
    return np.stack([cohort.voxels(i).image for i in range(len(cohort))])


def masks(cohort):
    return np.stack([cohort.regions(i)[1] for i in range(len(cohort))])


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
    """On the measuring grid; boxes follow from it, and so do weights and truth."""
    names = "images", "weights", "truth", "values", "spacing_mm"
    before = {k: np.copy(getattr(cohort, k)) for k in names}
    changed = change(cohort)
    for i in range(0, len(changed), 2):
        case, (weights, mask, boxes) = changed.voxels(i), changed.regions(i)
        np.testing.assert_array_equal(weights, changed.task.weigh(case.image, case.spacing_mm))
        np.testing.assert_array_equal(changed.weights[i], boxes.sums(weights))
        np.testing.assert_array_equal(changed.truth[i], boxes.sums(weights * mask))
        np.testing.assert_array_equal(changed.images[i], boxes.means(case.image, -1000))
        assert boxes.shape == changed.images.shape[1:]
        np.testing.assert_allclose(changed.spacing_mm[i], boxes.spacing_mm(case.spacing_mm))
    assert all(getattr(changed, name).dtype == np.float32 for name in names[:3])
    for name, array in before.items():
        np.testing.assert_array_equal(getattr(cohort, name), array)


@pytest.mark.parametrize("change", [c for name, c in CHANGES.items() if name not in ("reweigh", "confound")])
def test_volumes_are_changed_slice_by_slice(change):
    changed = change(volumes())
    case, (weights, _, boxes) = changed.voxels(1), changed.regions(1)
    np.testing.assert_array_equal(weights, changed.task.weigh(case.image, case.spacing_mm))
    np.testing.assert_array_equal(changed.weights[1], boxes.sums(weights))
    assert case.spacing_mm[0] == volumes().fine[1].spacing_mm[0] and len(case.image) == 8


def test_changes_follow_one_another_and_rows_keep_theirs(cohort):
    """What was drawn from a seed and changed is drawn and changed again, whichever rows are taken."""
    both = perturbations.blur(perturbations.noise(cohort, 20, seed=1), 2)
    assert not np.array_equal(images(both[:1]), images(perturbations.blur(cohort[:1], 2)))
    np.testing.assert_array_equal(both[[5, 3]].voxels(1).image, both.voxels(3).image)
    np.testing.assert_array_equal(both.images[3], both.regions(3)[2].means(both.voxels(3).image, -1000))


def test_as_many_processes_as_there_are_change_no_bit(cohort, monkeypatch):
    once = perturbations.noise(cohort, 20)
    parallel = perturbations.joblib.Parallel
    monkeypatch.setattr(perturbations.joblib, "Parallel", lambda n_jobs: parallel(n_jobs=2))
    again = perturbations.noise(cohort, 20)
    np.testing.assert_array_equal(again.weights, once.weights)
    np.testing.assert_array_equal(again.voxels(5).image, once.voxels(5).image)


def test_without_voxels_there_is_nothing_to_change(cohort, tmp_path):
    bm.records.save_cohort(cohort, tmp_path / "cohort.safetensors")
    kept = bm.records.load_cohort(tmp_path / "cohort.safetensors")
    with pytest.raises(ValueError, match="the voxels of case 'pma-5-0' are not kept with the cohort"):
        perturbations.shift_hu(kept, 0)
    assert len(perturbations.confound(kept, 0.5)) == 3


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
    np.testing.assert_array_equal(masks(changed), masks(cohort))
    np.testing.assert_allclose(changed.truth, cohort.truth, atol=1e-6)
    np.testing.assert_allclose(changed.values, cohort.values)
    assert changed.ids == cohort.ids


def test_amounts_are_in_their_units(cohort):
    assert np.allclose(perturbations.shift_hu(cohort, -30).images, cohort.images - 30, atol=1e-3)
    noisy = perturbations.noise(cohort, 20, seed=1)
    added = images(noisy) - images(cohort)
    assert added.std() == pytest.approx(20, rel=0.02) and abs(added.mean()) < 0.5
    assert np.std(noisy.images - cohort.images) == pytest.approx(20 / 3, rel=0.02)  # boxes of 3 x 3
    assert not np.array_equal(noisy.images, perturbations.noise(cohort, 20, seed=2).images)
    wrong = perturbations.wrong_spacing(cohort, 1.2)
    np.testing.assert_allclose(wrong.spacing_mm, 1.2 * cohort.spacing_mm)
    np.testing.assert_array_equal(wrong.values, cohort.values)


def plain_images(images, pixels_mm):
    """A cohort of images in which everything is a candidate of weight 1."""
    everywhere = {"hu_window": (-2000.0, 2000.0), "region": lambda image, mm: np.ones(image.shape, bool)}
    task = replace(bm.TASKS["sfa"], **everywhere, skin_mm=0.0, voxel_weight=lambda image, mm: np.float32(1))
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


def test_weights_that_are_not_those_of_the_image_are_not_thrown_away(cohort):
    narrowed = cohort.within([np.arange(192) < 96 + np.zeros((192, 192))] * len(cohort))
    with pytest.raises(ValueError, match="are not those that the rules of 'pma' give its voxels"):
        perturbations.shift_hu(narrowed, 0)
    perturbations.label_noise(narrowed, 0.1)  # no image is weighed


def test_a_soft_kernel_takes_noise_away_and_a_sharp_one_adds_it():
    grainy = plain_images(np.random.default_rng(0).normal(0, 20, (1, 60, 60)).astype(np.float32), [3])
    assert perturbations.blur(grainy, 6).images.std() < 6 < 20 < 35 < perturbations.sharpen(grainy, 1, 3).images.std()


def test_rotation_takes_the_mask_along(cohort):
    turned, before = perturbations.rotate(cohort, 20), masks(cohort)
    assert masks(turned).sum() == pytest.approx(before.sum(), rel=0.02)
    inside = [np.median(images(c)[masks(c)]) for c in (cohort, turned)]
    assert inside[0] == pytest.approx(inside[1], abs=5)
    quarter = perturbations.rotate(cohort, 90)
    np.testing.assert_array_equal(masks(quarter), np.rot90(before, axes=(1, 2)))


def test_what_a_crop_cuts_off_is_not_counted(cohort):
    small = perturbations.crop(cohort, 0.5)
    assert small.images.shape == (6, 32, 32) and small.voxels(0).image.shape == (96, 96)
    np.testing.assert_array_equal(small.images, cohort.images[:, 16:48, 16:48])
    assert (small.values <= cohort.values).all() and small.values.sum() < 0.9 * cohort.values.sum()
    share = [m[48:144, 48:144].sum() / m.sum() for m in masks(cohort) * [cohort.regions(i)[0] for i in range(6)]]
    np.testing.assert_allclose(small.values / cohort.values, share, rtol=1e-5)
    with pytest.raises(ValueError, match="with masks only"):
        perturbations.crop(cohort.without_masks(), 0.5)


def test_boxes_that_are_no_whole_voxels_and_reach_beyond_the_image_are_cropped_too(cohort):
    """As nearly as voxels allow, in the middle of the boxes."""
    boxes = bm.grids.Boxes((70, 66), (2.8, 2.8), (192, 192), (-5, 7))
    one = cohort.voxels(0)
    sums = {"weights": boxes.sums(one.weights)[None], "truth": boxes.sums(one.weights * one.mask)[None]}
    fine = [replace(cohort.fine[0], boxes=boxes)]
    laid = replace(cohort[:1], images=boxes.means(one.image, -1000)[None], **sums, fine=fine)
    small = perturbations.crop(laid, 0.5)
    assert small.images.shape == (1, 35, 33)
    found, boxes = small.voxels(0).image, small.regions(0)[2]
    assert found.shape == boxes.image_shape == (98, 92) and boxes.starts == (0, 0)
    # Rows from box 17 on: 17 x 2.8 - 5 is 42.6; columns from box 16 on: 16 x 2.8 + 7 is 51.8.
    np.testing.assert_array_equal(found, one.image[43:141, 52:144])


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

    whole, *parts = (together(perturbations.confound(cohort, keep)) for keep in (1, 1 / 2, 1 / 4, 1 / 8))
    assert whole == together(cohort) < 0.6 < parts[0] - 0.2 and parts == sorted(parts), "the fewer, the nearer to 1"
    assert parts[1] > 0.9 and parts[2] > 0.97
    assert len(perturbations.confound(cohort, 0.25)) == 20
    with pytest.raises(ValueError, match="leaves 0"):
        perturbations.confound(cohort, 0.001)


def test_pixels_that_are_not_square_are_not_turned(cohort):
    with pytest.raises(ValueError, match=f"case '{cohort.ids[0]}' has pixels that are not square"):
        fine = [replace(voxels, spacing_mm=(1.0, 2.0)) for voxels in cohort.fine]
        perturbations.rotate(replace(cohort, fine=fine), 10)
    with pytest.raises(ValueError, match="the middle 0.001 can be kept"):
        perturbations.crop(cohort, 0.001)
