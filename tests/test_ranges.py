"""What is unlike: traits that say what was done to an image, ranges that keep their rate of false alarms."""

import json

import numpy as np
import pytest
from scipy import ndimage

import biomark as bm
from biomark.uncertainty import ranges
from biomark.uncertainty.ranges import RangeDetector


@pytest.fixture(scope="module")
def cohort():
    return bm.phantoms.draw("sfa", 60, seed=4, size=96)


def looked_at(case, image=None, spacing_mm=None):
    """Traits of a case, changed or not, with the truth as its map."""
    image = np.asarray(case.image if image is None else image, np.float32)
    spacing_mm = spacing_mm or case.spacing_mm
    weights = bm.TASKS["sfa"].weigh(image, spacing_mm)
    changed = bm.Case(case.id, image, weights, None, None, spacing_mm)
    found = np.zeros(image.shape, np.float32) if case.mask.shape != image.shape else case.mask.astype(np.float32)
    return ranges.traits(changed, bm.Localization(float((found * weights).sum()), found))


def test_traits_of_a_known_image():
    rng = np.random.default_rng(0)
    image = np.full((80, 100), -1000.0)
    image[10:70, 10:90] = 50
    image[10:70, 10:30] = -100
    noisy = image + rng.normal(0, 12, image.shape)
    weights = np.where(noisy > -20, 0.04, 0) * (image > 0)
    half = np.where(image > 0, 0.5, 0)
    case = bm.Case("a", noisy, weights, None, None, (2.0, 2.0))
    found = ranges.traits(case, bm.Localization(7.0, half))
    assert found["value"] == 7 and found["candidate weight"] == pytest.approx(weights.sum())
    assert found["undecided share of the value"] == pytest.approx(0.5)
    assert found["tissue [mm2]"] == 60 * 80 * 4 and found["tissue at the image's edge"] == 0
    assert found["share of candidates in tissue"] == pytest.approx(0.75)
    assert found["fat [HU]"] == pytest.approx(-100, abs=5) and found["soft tissue [HU]"] == pytest.approx(50, abs=5)
    assert found["noise [HU]"] == pytest.approx(12, rel=0.05) and found["grain"] == pytest.approx(0, abs=0.1)
    assert found["mean of candidates [HU]"] == pytest.approx(50, abs=1)
    assert found["field of view [mm]"] == pytest.approx(2 * np.sqrt(8000)) and "slice distance [mm]" not in found
    assert set(found) <= set(ranges.TRAITS) and json.dumps(found)


def test_a_volume_and_an_empty_image_have_traits_too():
    air = bm.Case("air", np.full((3, 8, 8), -1000.0), np.zeros((3, 8, 8)), None, None, (3.0, 1.0, 1.0))
    found = ranges.traits(air, bm.Localization(0.0, np.zeros((3, 8, 8))))
    assert found["slice distance [mm]"] == 3 and found["tissue [mm3]"] == 0
    assert not {"noise [HU]", "fat [HU]", "mean of candidates [HU]"} & set(found)


def test_what_was_done_to_an_image_is_named(cohort):
    detector = RangeDetector.fit([looked_at(case) for case in cohort], alarm=0.1)
    rng = np.random.default_rng(0)
    for name, change in {
        "noise [HU]": lambda x: x + rng.normal(0, 60, x.shape),
        "grain": lambda x: ndimage.gaussian_filter(x, 1.5),
        "fat [HU]": lambda x: x + 60,
        "tissue at the image's edge": lambda x: x[30:66, 30:66],
    }.items():
        named = [detector.outliers(looked_at(case, change(case.image))) for case in cohort]
        assert np.mean([name in s for s in named]) > 0.8, name
    named = [detector.outliers(looked_at(c, spacing_mm=tuple(2 * s for s in c.spacing_mm))) for c in cohort]
    assert np.mean(["pixel [mm]" in s for s in named]) > 0.8
    assert np.mean([bool(detector.outliers(looked_at(case))) for case in cohort]) <= 0.12


def test_false_alarms_are_as_many_as_allowed():
    """Skewed and dependent traits, 20 sets of 150 cases, 200 new cases each: 5 % within about 3 SE."""
    rng = np.random.default_rng(0)
    names = list(ranges.TRAITS)[:6]

    def draw(n):
        numbers = rng.lognormal(3, 0.5, (n, 6))
        numbers[:, 1] += 2 * numbers[:, 0]
        return [dict(zip(names, row, strict=True)) for row in numbers]

    alarms = []
    for _ in range(20):
        detector = RangeDetector.fit(draw(150), alarm=0.05)
        alarms += [bool(detector.outliers(case)) for case in draw(200)]
    assert np.mean(alarms) == pytest.approx(0.05, abs=0.015)


def test_few_cases_are_not_judged_by_ranges_that_they_made():
    """A case is nearer to ranges that it was fitted to than a new one is; of 40 cases that makes much."""
    rng = np.random.default_rng(1)
    names = list(ranges.TRAITS)[:8]
    alarms = []
    for _ in range(60):
        cases = [dict(zip(names, row, strict=True)) for row in rng.lognormal(3, 0.5, (140, 8))]
        detector = RangeDetector.fit(cases[:40], alarm=0.1)
        alarms.append(np.mean([bool(detector.outliers(case)) for case in cases[40:]]))
    assert np.mean(alarms) == pytest.approx(0.1, abs=0.03)


def test_a_number_that_never_varied_still_counts():
    detector = RangeDetector.fit([{"pixel [mm]": 0.7, "value": float(i)} for i in range(60)])
    assert not detector.outliers({"pixel [mm]": 0.701, "value": 30.0})
    assert detector.outliers({"pixel [mm]": 0.9, "value": 30.0}) == {"pixel [mm]": 0.9}
    assert not detector.outliers({"grain": 0.5})  # what had no range is not judged


def test_few_cases_cannot_say_what_is_usual():
    with pytest.raises(ValueError, match="19 cases are too few"):
        RangeDetector.fit([{"value": 1.0}] * 19)
    with pytest.raises(ValueError, match="at least 49"):
        RangeDetector.fit([{"value": float(i)} for i in range(48)], alarm=0.02)
