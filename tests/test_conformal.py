"""Conformal intervals: worked by hand, by simulation, and what must hold for any numbers."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biomark.uncertainty import conformal
from biomark.uncertainty.conformal import Conformal


def test_by_hand():
    """Nine cases, off by 1 to 9: the tenth may as well take any of ten places, so 9 of 10 lie within the largest."""
    known = np.full(9, 50.0)
    off = np.array([3, -1, 5, -7, 9, 2, -4, 6, 8.0])
    of = Conformal.calibrate(known + off, known)
    assert of.distances == (9.0,) and of.n == 9
    low, high = of.interval([4.0, 100.0])
    assert low.tolist() == [0, 91] and high.tolist() == [13, 109]  # no biomarker lies below 0
    assert Conformal.calibrate(known + off, known, coverage=0.8).distances == (8.0,)
    # Scaled by twice the distance's unit, and given back in it.
    scaled = Conformal.calibrate(known + off, known, difficulty=np.full(9, 2.0))
    assert scaled.distances == (4.5,) and scaled.interval(100.0, difficulty=4.0) == (82, 118)


@pytest.mark.parametrize(("coverage", "needed"), [(0.5, 1), (0.8, 4), (0.9, 9), (0.95, 19), (0.98, 49), (0.99, 99)])
def test_too_few_cases_are_refused(coverage, needed):
    assert conformal.quantile(np.arange(needed), coverage) == needed - 1
    with pytest.raises(ValueError, match=f"{needed - 1} cases cannot calibrate .* at least {needed}"):
        conformal.quantile(np.arange(needed - 1), coverage)


def test_coverage_is_what_was_asked_for():
    """Skewed, biased errors that grow with the value; 1500 calibrations and one new case each: 90 % within 3 SE."""
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(1500):
        known = rng.gamma(2, 50, 60)
        predicted = np.maximum(known * rng.lognormal(0.1, 0.2, 60) - 3, 0)
        of = Conformal.calibrate(predicted[:59], known[:59])  # 0.9 x 60 places: 54, exactly 90 %
        low, high = of.interval(predicted[59])
        inside.append(low <= known[59] <= high)
    assert np.mean(inside) == pytest.approx(0.9, abs=0.024)


def test_strata_keep_coverage_where_one_distance_for_all_does_not():
    rng = np.random.default_rng(1)

    def draw(n):
        known = rng.gamma(1, 100, n)
        return np.maximum(known + rng.normal(0, 1, n) * (1 + 0.3 * known), 0), known

    calibration, (predicted, known) = draw(900), draw(3000)
    covered = {}
    for strata in (1, 3):
        of = Conformal.calibrate(*calibration, strata=strata)
        low, high = of.interval(predicted)
        small = predicted <= np.quantile(predicted, 1 / 3)
        covered[strata] = np.mean(((low <= known) & (known <= high))[small])
    assert covered[1] > 0.97 and covered[3] == pytest.approx(0.9, abs=0.04)


def test_equal_values_are_one_stratum():
    """A model that finds nothing in most cases gives no thirds."""
    predicted, known = np.r_[np.zeros(40), np.arange(1.0, 21)], np.r_[np.full(40, 2.0), np.arange(1.0, 21)]
    of = Conformal.calibrate(predicted, known, strata=3)
    assert of.bounds[0] == 0 and of.distances[0] == 2
    assert [float(v) for v in of.interval(0.0)] == [0, 2]
    assert Conformal.calibrate(np.zeros(30), np.arange(30.0), strata=3).bounds == ()


NUMBERS = st.lists(st.tuples(st.floats(0, 1e3), st.floats(0, 1e3)), min_size=20, max_size=60)


@settings(deadline=None, max_examples=50)
@given(NUMBERS, st.floats(0.01, 100))
def test_another_unit_gives_the_same_intervals(cases, factor):
    predicted, known = np.array(cases).T
    of, other = (Conformal.calibrate(f * predicted, f * known) for f in (1, factor))
    for end, scaled in zip(of.interval(predicted), other.interval(factor * predicted), strict=True):
        np.testing.assert_allclose(scaled, factor * end, rtol=1e-9, atol=1e-9)


@settings(deadline=None, max_examples=50)
@given(NUMBERS)
def test_more_coverage_is_never_narrower_and_the_calibration_cases_lie_inside(cases):
    predicted, known = np.array(cases).T
    (low, high), (lower, higher) = (
        Conformal.calibrate(predicted, known, coverage=c).interval(predicted) for c in (0.7, 0.9)
    )
    assert np.all(lower <= low) and np.all(high <= higher) and np.all(low <= high)
    assert np.mean((lower - 1e-9 <= known) & (known <= higher + 1e-9)) >= 0.9


def test_coverage_is_counted_by_known_size():
    known = np.arange(1.0, 13)
    low, high = known - 1, known + 1
    low[[10, 11]] += 5  # both of the largest four
    frame = conformal.coverage(low, high, known, strata=3)
    assert frame.covered.tolist() == pytest.approx([10 / 12, 1, 1, 0.5])
    assert frame.n.tolist() == [12, 4, 4, 4] and frame.loc["size 3", ["from", "to"]].tolist() == [9, 12]
    assert frame.loc["all", "covered_low"] < 10 / 12 < frame.loc["all", "covered_high"]
    assert frame.width["size 1"] == 2


def test_what_cannot_be_used():
    predicted, known = np.arange(20.0), np.arange(20.0)
    for wrong, words in (
        ({"coverage": 1.0}, "between 0 and 1"),
        ({"strata": 0}, "0 strata"),
        ({"strata": 3}, "at least 9, in each stratum"),
        ({"difficulty": np.zeros(20)}, "one number above 0 for each value"),
        ({"difficulty": np.ones(19)}, "one number above 0 for each value"),
    ):
        with pytest.raises(ValueError, match=words):
            Conformal.calibrate(predicted, known, **wrong)
    with pytest.raises(ValueError, match="1 cases have no finite value"):
        Conformal.calibrate(np.r_[predicted[:-1], np.nan], known)
    of = Conformal.calibrate(predicted, known)
    with pytest.raises(ValueError, match="without a difficulty"):
        of.interval(3.0, difficulty=1.0)
    assert Conformal(**dataclasses.asdict(of)) == of


def test_a_case_without_a_value_is_not_called_uncovered():
    """Of 20 known intervals 19 hold; 8 unknown ones must not make that 19 of 28."""
    known = np.arange(28.0)
    low, high = known - 1, known + 1
    known[3] = 50
    assert conformal.coverage(low[:20], high[:20], known[:20]).covered["all"] == pytest.approx(0.95)
    for column in (low, high, known):
        broken = [np.where((values is column) & (np.arange(28) >= 20), np.nan, values) for values in (low, high, known)]
        with pytest.raises(ValueError, match=r"8 cases have no value or no interval \(nan\): leave them out"):
            conformal.coverage(*broken)
    with pytest.raises(ValueError, match="0 strata: give 1 or more"):
        conformal.coverage(low, high, known, strata=0)
    with pytest.raises(ValueError, match="2 scores are no numbers"):
        conformal.quantile([1, np.nan, np.nan, 3], 0.5)
    with pytest.raises(ValueError, match="numpy masks 1 elements"):
        conformal.coverage(np.ma.array(low, mask=np.arange(28) == 3), high, known)
