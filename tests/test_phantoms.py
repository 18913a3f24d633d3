"""Phantoms: the same arguments give the same pictures, and the truth is what was painted."""

import numpy as np
import pytest

import biomark as bm
from biomark.phantoms import Canvas, chest, draw_body
from biomark.phantoms.body import DEGREES, STEPS, bridge


@pytest.fixture(scope="module")
def cohorts():
    return {key: bm.phantoms.draw(key, 40, seed=21) for key in ("pma", "sfa")}


@pytest.mark.parametrize("key", bm.phantoms.SIZE)
def test_same_arguments_same_bits(key):
    """The first cases of a larger cohort are those of a smaller one; another seed draws others."""
    large, small = (bm.phantoms.draw(key, n, seed=21, size=48) for n in (4, 2))
    for name in ("images", "weights", "values", "truth", "spacing_mm"):
        np.testing.assert_array_equal(getattr(small, name), getattr(large, name)[:2])
    for one, other in ((small.voxels(1), large.voxels(1)), (small.voxels(1), large[[3, 1]].voxels(1))):
        assert one.value == other.value and one.spacing_mm == other.spacing_mm
        for name in ("image", "weights", "mask"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert not np.array_equal(bm.phantoms.draw(key, 1, seed=22, size=48).images, small.images[:1])


@pytest.mark.parametrize(("key", "n", "size"), [("pma", 5, 64), ("cac", 3, 32)])
def test_processes_change_no_bit(key, n, size):
    alone, shared = (bm.phantoms.draw(key, n, seed=21, size=size, workers=workers) for workers in (1, 2))
    for name in ("images", "weights", "values", "truth", "spacing_mm", "ids"):
        np.testing.assert_array_equal(getattr(alone, name), getattr(shared, name))


def test_no_process_draws_nothing():
    with pytest.raises(ValueError, match="not 0: give workers=1 or more"):
        bm.phantoms.draw("pma", 2, seed=0, workers=0)


@pytest.mark.parametrize(
    ("key", "size", "voxels"), [("pma", 48, 144), ("sfa", 48, 144), ("liver", 40, 160), ("cac", 24, 48)]
)
def test_a_size_is_that_of_the_boxes_and_the_scan_is_finer(key, size, voxels):
    cohort = bm.phantoms.draw(key, 2, seed=21, size=size)
    case = cohort.voxels(1)
    assert cohort.images.shape[-2:] == (size, size) and case.image.shape[-2:] == (voxels, voxels)
    ratio = cohort.spacing_mm[1] / case.spacing_mm
    np.testing.assert_allclose(ratio, [1, voxels / size, voxels / size][-case.image.ndim :])
    assert case.value == cohort.values[1] == cohort.task.measure(case.image, case.mask, case.spacing_mm)


@pytest.mark.parametrize("key", ["pma", "sfa", "liver"])
def test_the_outline_s_own_area_stands_beside_the_number(key):
    cohort = bm.phantoms.draw(key, 5, seed=21, size=64)
    for i, area in enumerate(cohort.about["area_cm2"]):
        case = cohort.voxels(i)
        assert area == pytest.approx(case.mask.sum() * np.prod(case.spacing_mm) / 100)
        assert case.value <= area * (1 + 1e-6)
    assert bm.phantoms.draw("cac", 1, seed=21, size=24).about is None


def test_livers_narrow_the_candidates():
    cohort, livers = bm.phantoms.draw("liver", 3, seed=21, size=48), bm.phantoms.liver_masks(3, seed=21, size=48)
    inside = cohort.within(livers)
    assert (inside.weights.sum((1, 2)) < 0.7 * cohort.weights.sum((1, 2))).all()
    np.testing.assert_allclose(inside.truth, cohort.truth, rtol=1e-5, atol=1e-6)


def test_two_tasks_are_two_numbers_of_one_image(cohorts):
    np.testing.assert_array_equal(cohorts["pma"].images, cohorts["sfa"].images)
    assert not any((cohorts["pma"].regions(i)[1] & cohorts["sfa"].regions(i)[1]).any() for i in range(40))


@pytest.mark.parametrize(("key", "low", "high"), [("pma", 15, 45), ("sfa", 80, 260)])
def test_areas_are_those_of_adults(cohorts, key, low, high):
    assert low < cohorts[key].values.mean() < high
    assert cohorts[key].values.min() > 0
    assert cohorts[key].values.std() > 0.2 * cohorts[key].values.mean()


def test_tissues_have_their_hounsfield_values(cohorts):
    """Inside the truth, away from its rim, fat is fat and muscle is muscle."""
    for key, low, high in (("sfa", -125, -80), ("pma", 15, 80)):
        c = cohorts[key]
        assert low < np.median(c.images[c.truth > 0.99 * c.weights.max()]) < high
    assert np.median(cohorts["sfa"].images[:, 0, :]) < -900  # air above


def test_candidates_hold_the_truth_but_far_more(cohorts):
    for key, share in (("pma", 0.93), ("sfa", 0.88)):
        c = cohorts[key]
        assert c.values.sum() > share * c.about["area_cm2"].sum()
        assert c.weights.sum() > 1.5 * c.values.sum()


def test_ellipse_area_is_analytic():
    canvas = Canvas(400, 200.0, (3.0, -5.0), 20.0)
    canvas.ellipse(10, -20, 40, 25, -100, turn_deg=35, part=1)
    assert (canvas.part == 1).sum() / 4 == pytest.approx(np.pi * 40 * 25, rel=2e-3)


def test_painting_over_takes_away():
    canvas = Canvas(50, 100.0)
    canvas.ellipse(0, 0, 30, 30, -100, part=1)
    whole = (canvas.part == 1).sum()
    canvas.ellipse(0, 0, 10, 10, 40)
    assert (canvas.part == 1).sum() == pytest.approx(whole * (1 - 1 / 9), rel=1e-2)


def test_window_holds_the_whole_shape():
    """A bar painted through its window equals the bar computed on the whole grid."""
    canvas = Canvas(80, 160.0, (4.0, 2.0), 30.0)
    canvas.bar((-20, 5), (33, 14), 6, 500, part=2)
    t = np.clip(((canvas.x + 20) * 53 + (canvas.y - 5) * 9) / (53**2 + 9**2), 0, 1)
    whole = np.hypot(canvas.x + 20 - 53 * t, canvas.y - 5 - 9 * t) < 6
    np.testing.assert_array_equal(canvas.part == 2, whole)


def test_fields_have_their_grain():
    field = Canvas(200, 100.0).random_field(np.random.default_rng(0), 20)
    assert abs(field.mean()) < 0.2 and 0.7 < field.std() < 1.3


@pytest.mark.parametrize(
    ("key", "n", "words"), [("lung", 1, "choose one of cac, liver, pma, sfa"), ("pma", 0, "at least one")]
)
def test_what_cannot_be_drawn(key, n, words):
    with pytest.raises(ValueError, match=words):
        bm.phantoms.draw(key, n, seed=0)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"n": 2.0}, "n must be"),
        ({"seed": None}, "seed must be"),
        ({"size": "64"}, "size must be a whole number"),
        ({"workers": 1.0}, "workers must be"),
        ({"slices": 8.0}, "slices must be"),
    ],
)
def test_numbers_are_whole(given, words):
    with pytest.raises(ValueError, match=words):
        bm.phantoms.draw("pma", **{"n": 1, "seed": 0} | given)
    with pytest.raises(ValueError, match="a seed is 0 or more, not -1"):
        bm.phantoms.draw("pma", 1, seed=-1)


def test_what_is_given_is_taken_and_the_rest_stays():
    lean, stout = (bm.phantoms.draw("sfa", 1, seed=9, size=64, adipose_mm=mm) for mm in (8, 30))
    assert stout.values[0] > 2.5 * lean.values[0]
    as_drawn = bm.phantoms.draw("sfa", 1, seed=9, size=64)
    assert lean.values[0] != as_drawn.values[0] != stout.values[0]
    hearts = [bm.phantoms.draw("cac", 1, seed=4, size=32, calcium=score).values[0] for score in (0, 400, 1500)]
    assert hearts[0] == 0 < hearts[1] < hearts[2]
    with pytest.raises(ValueError, match="adipose_mm"):
        bm.phantoms.draw("cac", 1, seed=0, adipose_mm=8)


def test_slices_are_drawn_on_the_measuring_grid():
    """Parts are whole pixels of about 1 mm, apart from each other, and the image is the scanner's."""
    image, parts, pixel_mm = chest.draw_slice(np.random.default_rng(5))
    assert image.dtype == np.float32 and image.shape == (384, 384) and 0.7 < pixel_mm < 1.35
    assert all(part.dtype == bool and part.any() for part in parts.values())
    assert not (parts["sfa"] & parts["pma"]).any()


def test_bridges_span_what_a_disk_does_not_enter():
    """A narrow notch is bridged as far as the disk does not dip into it; a wide one and a circle stay."""
    circle = np.full(STEPS, 150.0)
    np.testing.assert_allclose(bridge(circle, 35), circle, atol=0.3)
    narrow, wide = (np.where(np.abs(DEGREES - 70) < half, 100.0, 150.0) for half in (10, 40))
    chord, at = 2 * 150 * np.sin(np.deg2rad(10)), np.argmin(np.abs(DEGREES - 70))
    dip = 35 - np.sqrt(35**2 - (chord / 2) ** 2)
    assert bridge(narrow, 35)[at] == pytest.approx(150 * np.cos(np.deg2rad(10)) - dip, abs=2)
    assert bridge(wide, 35)[at] == pytest.approx(100, abs=1)
    assert (bridge(narrow, 35) >= narrow).all()


def test_most_arms_are_raised_and_the_axilla_is_not_subcutaneous():
    bodies = [draw_body(np.random.default_rng([7, i])) for i in range(60)]
    assert 0.65 < np.mean([b.raised for b in bodies]) < 0.95
    for b in bodies:
        assert (b.deep >= b.lean).all() and (b.skin > b.deep + 2).all()
        for side in (-1, 1):
            assert 40 < b.fold[side] < b.wing[side] < 112
    # Between the folds the sheath spans a pocket; elsewhere it lies on the muscles.
    span = np.array([b.deep - b.lean for b in bodies])
    assert np.percentile(span.max(1), 75) > 3 and np.median(span) < 1


def test_a_mass_over_the_chest_wall_takes_no_pectoralis():
    body = draw_body(np.random.default_rng(3), muscularity=1.2)

    def lesion(canvas, rng, body, lungs):
        canvas.ellipse(0, 0, 150, 120, 40)

    areas = []
    with pytest.MonkeyPatch.context() as patch:
        for paint in (lambda *_: None, lesion):
            patch.setattr(chest, "_paint_lesions", paint)
            canvas = Canvas(192, 420.0)
            at = bm.phantoms.Directions.of(canvas)
            for painter in (chest.paint_muscles, chest.paint_thorax):
                painter(canvas, np.random.default_rng(1), body, at)
            areas.append(int((canvas.part == bm.phantoms.PARTS["pma"]).sum()))
    assert areas[0] == areas[1] > 100
