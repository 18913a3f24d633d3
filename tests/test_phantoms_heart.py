"""The heart phantom: a smokers' scores, a truth that a reader would click, and bright things that must not count."""

import numpy as np
import pytest
from scipy import ndimage

import biomark as bm
from biomark import agatston
from biomark.phantoms import coronaries, heart
from biomark.phantoms.volume import Bar, Cloud, Ellipsoid, Scanner, Tube, Volume, union

IN_SLICE = np.zeros((3, 3, 3), bool)
IN_SLICE[1] = True
AIR, FAT, MUSCLE = -1000.0, -100.0, 45.0


@pytest.fixture(scope="module")
def cohort():
    return bm.phantoms.draw("cac", 160, seed=21)


def measured(cohort):
    return np.array([cohort.task.measure(c.image, c.mask, c.spacing_mm) for c in cohort])


def test_same_arguments_same_bits(cohort):
    again = bm.phantoms.draw("cac", 3, seed=21)
    for name in ("images", "weights", "values", "masks", "spacing_mm"):
        np.testing.assert_array_equal(getattr(again, name), getattr(cohort, name)[:3])
    assert not np.array_equal(bm.phantoms.draw("cac", 1, seed=22).images, again.images[:1])


def test_scores_are_those_of_smokers(cohort):
    """A quarter without calcium; 12.9 % of 1,875 smokers of COPDGene had 400 or more."""
    values = cohort.values
    assert 0.18 < np.mean(values == 0) < 0.32
    assert 0.08 < np.mean(values > 400) < 0.18
    assert values.max() > 1000
    assert np.mean(values) > 2 * np.median(values)


def test_boxes_differ_in_spacing_and_share_a_shape(cohort):
    assert cohort.images.shape == (160, heart.SLICES, 80, 80)
    dz, dy, dx = cohort.spacing_mm.T
    np.testing.assert_array_equal(dy, dx)
    assert 2.5 < dz.min() < 3.2 and 4.0 < dz.max() < 5.0
    assert 120 < 80 * dy.min() and 80 * dy.max() < 180


def test_value_is_what_the_mask_measures(cohort):
    """Exactly; only calcium that the candidates leave out, too large in one piece or joined to a bone, is missed."""
    found = measured(cohort)
    assert np.all(found <= cohort.values + 1e-6)
    assert np.mean(found == cohort.values) > 0.97


def test_value_is_the_score_of_the_clicked_lesions(cohort):
    """Scoring the mask alone differs only where a plaque hangs together with something else and was cut from it."""
    scores = [agatston.score(c.image, c.mask, c.spacing_mm, "dz3") for c in cohort]
    assert np.abs(scores - cohort.values).sum() < 0.02 * cohort.values.sum()
    assert np.mean(np.isclose(scores, cohort.values)) > 0.8


def test_truth_is_bright_and_mostly_in_the_grooves(cohort):
    assert cohort.images[cohort.masks].min() >= 130
    assert not cohort.masks[cohort.values == 0].any()
    places = np.argwhere(cohort.masks)[:, 1:] / (heart.SLICES, 80, 80)
    assert np.all(np.abs(places.mean(0) - (0.6, 0.4, 0.55)) < 0.15)


def test_tissues_have_their_hounsfield_values(cohort):
    middle = cohort.images[:, 14:18, 36:44, 38:46]
    assert 30 < np.median(middle) < 60  # blood and heart muscle
    lung = np.median(cohort.images[:, 12:20, 50:60, 2:8])
    assert -950 < lung < -700
    noise = np.median(middle.std((1, 2, 3)))
    assert 10 < noise < 35


def test_confounders_outweigh_the_truth(cohort):
    outside = cohort.weights.sum((1, 2, 3)) - measured(cohort)
    ratio = outside.sum() / cohort.values.sum()
    print(f"candidate weight outside the truth: {ratio:.1f} times the truth")
    assert 2 < ratio < 30
    touching = 0
    for case in cohort:
        labels, _ = ndimage.label(case.weights > 0, np.ones((3, 3, 3)))
        mixed = np.intersect1d(labels[case.mask], labels[(case.weights > 0) & ~case.mask])
        touching += bool(mixed.any())
    assert touching > 5


def test_bones_are_no_candidates(cohort):
    """Before the rule on size, bones outweigh everything else; after it, what is left of them is a small share."""
    share = []
    for case in cohort[:60]:
        before = agatston.weights(case.image, case.spacing_mm, "dz3")
        share.append(case.weights.sum(dtype=float) / before.sum(dtype=float))
    assert np.median(share) < 0.03
    assert np.mean(np.array(share) < 0.08) > 0.95


def test_another_size():
    small = bm.phantoms.draw("cac", 2, seed=3, size=40)
    assert small.images.shape == (2, heart.SLICES, 40, 40)
    fine = bm.phantoms.draw("cac", 2, seed=3, size=80)
    np.testing.assert_allclose(small.spacing_mm, fine.spacing_mm * (1, 2, 2))


def lesion_picture():
    """Two slices of 1 mm pixels: a plaque of 12 pixels, one touching a bone of 60, a speck, and what calcium adds."""
    image = np.full((2, 30, 40), MUSCLE, np.float32)
    image[:, :5] = FAT
    calcium = np.zeros_like(image)
    image[0, 10:13, 10:14], calcium[0, 10:13, 10:14] = 300, 255
    image[0, 13, 10] = 140  # noise at its rim
    image[0, 20:26, 20:30] = 700
    image[0, 22:24, 30:33], calcium[0, 22:24, 30:33] = 300, 255
    calcium[0, 22:24, 29] = 60  # its blur in the bone, which reaches 130 HU without it
    image[0, 2, 2] = 150
    image[1, 10:13, 10:14], calcium[1, 10:13, 10:14] = 150, 30  # bright for another reason
    return image, calcium


def test_a_reader_clicks_whole_lesions_and_cuts_them_from_bone():
    image, calcium = lesion_picture()
    mask, score = heart.lesions(image, calcium, (3.0, 1.0, 1.0))
    expected = np.zeros_like(mask)
    expected[0, 10:13, 10:14] = expected[0, 13, 10] = True
    expected[0, 22:24, 30:33] = True
    np.testing.assert_array_equal(mask, expected)
    assert score == pytest.approx(13 * 3 + 6 * 4)  # the second takes the factor of the whole component


def test_no_calcium_no_lesion():
    image, calcium = lesion_picture()
    mask, score = heart.lesions(image, np.zeros_like(calcium), (3.0, 1.0, 1.0))
    assert score == 0 and not mask.any()


def test_arteries_run_on_the_heart():
    """Every artery lies outside the chambers and within 15 mm of them, and begins at the aorta."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        drawn = heart.draw_heart(rng, 1.0)
        for artery in coronaries.draw_arteries(rng, drawn):
            away = np.min([c.distance(*artery.line.T) for c in drawn.chambers.values()], axis=0)
            assert np.percentile(away, 10) > -3 and np.percentile(away, 90) < 15, artery.name
            assert artery.length_mm > (5 if artery.name == "LM" else 40)


def test_motion_moves_calcium_but_loses_none():
    rng = np.random.default_rng(0)
    artery = coronaries.draw_arteries(rng, heart.draw_heart(rng, 1.0))[3]
    points = artery.tube(5, 15, 0.5, 1.0)
    moved, volume = artery.motion.spread(points, 0.5**3)
    assert volume.sum() == pytest.approx(len(points) * 0.5**3)
    np.testing.assert_array_equal(moved[: len(points), 2], points[:, 2])
    reach = np.linalg.norm(moved.reshape(5, -1, 3)[0] - moved.reshape(5, -1, 3)[-1], axis=1)
    assert 0 < reach.max() <= np.linalg.norm(artery.motion.way_mm) + 1e-9


@pytest.mark.parametrize("turn", [0.0, 8.0])
def test_points_fill_their_volume(turn):
    volume = Volume((20, 40, 40), (3.0, 1.5, 1.5), turn)
    volume.hu[:] = 0
    ticks = np.arange(-8, 8, 0.5) + 0.25
    points = np.stack([g.ravel() for g in np.meshgrid(ticks, ticks, ticks)], 1)
    points = points[(points**2).sum(1) < 36] + (3, -5, 6)
    change = volume.sprinkle([Cloud(points, 0.125, 100.0)])
    np.testing.assert_array_equal(change, volume.hu)
    assert change.sum(dtype=float) * 3 * 1.5**2 / 100 == pytest.approx(4 / 3 * np.pi * 6**3, rel=0.02)
    centre = [(change * a).sum() / change.sum() for a in (volume.x, volume.y, volume.z)]
    np.testing.assert_allclose(centre, (3, -5, 6), atol=0.1)


def test_crowded_points_fill_a_voxel_once():
    volume = Volume((1, 1, 1), (1.0, 1.0, 1.0))
    volume.sprinkle([Cloud(np.zeros((4, 3)), 0.5, 100.0), Cloud(np.zeros((2, 3)), 1.0, 300.0)])
    assert volume.hu[0, 0, 0] == pytest.approx(200)


@pytest.mark.parametrize(
    "shape",
    [
        Ellipsoid(np.array([5.0, -8, 3]), np.array([14.0, 6, 9]), np.linalg.qr(np.arange(9).reshape(3, 3) ** 2)[0]),
        Bar(np.array([-10.0, 0, -12]), np.array([14.0, 9, 10]), 4.0),
        Tube(np.array([(-12, 4, 4, -5), (-10, 4, 4, 6), (15, -9, 6, 8)], float)),
    ],
)
def test_a_shape_painted_near_it_is_the_shape_painted_everywhere(shape):
    near, everywhere = (Volume((24, 50, 50), (2.5, 1.2, 1.2), 7.0) for _ in range(2))
    near.fill(shape, 50.0, grow_mm=1.0)
    everywhere.paint(shape.distance(everywhere.x, everywhere.y, everywhere.z) - 1, 50.0)
    if isinstance(shape, Tube):  # it ends where its knots do
        everywhere.hu[everywhere.z[:, 0, 0] > 15] = near.hu[everywhere.z[:, 0, 0] > 15]
    np.testing.assert_array_equal(near.hu, everywhere.hu)


def test_ellipsoid_has_its_volume():
    volume = Volume((50, 60, 60), (1.0, 1.0, 1.0))
    volume.paint(Ellipsoid(np.zeros(3), np.array([20.0, 12, 15]), np.eye(3)).distance(volume.x, volume.y, volume.z), 0)
    assert (volume.hu + 1000).sum(dtype=float) / 1000 == pytest.approx(4 / 3 * np.pi * 20 * 12 * 15, rel=0.01)


def test_a_union_fills_the_crease():
    a, b = np.array([2.0, 1.0]), np.array([20.0, 1.0])
    found = union([a, b], 3.0)
    assert found[0] == pytest.approx(2, abs=0.01) and found[1] == pytest.approx(1 - 3 * np.log(2), abs=1e-5)


def test_the_image_of_a_sum_is_the_sum_of_the_images():
    rng = np.random.default_rng(1)
    one, other = rng.normal(0, 100, (2, 8, 20, 20)).astype(np.float32)
    scanner = Scanner((1.0, 0.8, 0.8), 0.1, 20.0, (0.3, 0.6, 0.6), 4.0)
    image = [scanner.resolve(a, (3.0, 1.8, 1.8)) for a in (one, other, one + other)]
    np.testing.assert_allclose(image[0] + image[1], image[2], atol=1e-3)
    noise = scanner.noise(rng, (16, 40, 40))
    assert noise.std() == pytest.approx(20, rel=0.1)
