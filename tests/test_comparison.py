"""Comparisons of reports made by hand: what is equal, better, without maps, or of other cases."""

import dataclasses
import functools
import json

import numpy as np
import pandas as pd
import pytest

import biomark as bm
from biomark.evaluation.statistics import vectorised


def report(predicted, known, dice=None, task="sfa"):
    """A report of which only the cases matter here."""
    rows = {"id": [f"case-{i}" for i in range(len(known))], "known": known, "predicted": predicted}
    rows["dice"] = np.full(len(known), np.nan) if dice is None else dice
    others = {f.name: np.nan for f in dataclasses.fields(bm.Report)}
    return bm.Report(**others | {"task": task, "unit": "cm2", "n": len(known), "cases": pd.DataFrame(rows)})


@pytest.fixture(scope="module")
def values():
    """Known values and those of a good and a worse model."""
    rng = np.random.default_rng(0)
    known = rng.gamma(4, 20, 120)
    return known, known + rng.normal(0, 4, 120), known + rng.normal(0, 12, 120)


def test_the_better_model_is_better(values):
    known, good, worse = values
    rng = np.random.default_rng(1)
    overlap = rng.uniform(0.8, 1, 120)
    result = bm.compare(report(good, known, overlap), report(worse, known, overlap - 0.3), names=("good", "worse"))
    assert result.r.a == pytest.approx(bm.statistics.pearson(good, known))
    assert result.r.b.low == bm.statistics.bootstrap(vectorised.r, worse, known).low
    assert 0 < result.r.difference.low < result.r.difference < result.r.difference.high
    assert result.r.difference == pytest.approx(result.r.a - result.r.b)
    assert result.r.pvalue == pytest.approx(2 / 10000) and bm.statistics.williams(good, worse, known).pvalue < 1e-6
    assert result.mae.a == pytest.approx(np.abs(good - known).mean())
    assert result.mae.difference.high < 0 and result.mae.pvalue == pytest.approx(2 / 10000)
    dice = result.dice
    assert (dice.difference, dice.difference.low, dice.difference.high) == pytest.approx((0.3, 0.3, 0.3))
    assert dice.pvalue == pytest.approx(2 / 10000)


def test_swapping_the_models_swaps_the_signs(values):
    known, good, worse = values
    one, other = (
        bm.compare(report(good, known), report(worse, known)),
        bm.compare(report(worse, known), report(good, known)),
    )
    for measure in ("r", "mae"):
        a, b = getattr(one, measure), getattr(other, measure)
        assert a.difference == pytest.approx(-b.difference) and a.pvalue == pytest.approx(b.pvalue)
        assert a.difference.low == pytest.approx(-b.difference.high, rel=0.05)


def test_a_shift_and_a_scale_change_nothing_that_is_said_of_r(values):
    """r does not see them, and values of two models that were mixed would."""
    known, good, worse = values
    plain, *moved = (bm.compare(report(good, known), report(v, known)).r for v in (worse, 3 * worse, worse + 200))
    assert plain.pvalue < 0.001
    for other in moved:
        assert other.pvalue == plain.pvalue and other.difference == pytest.approx(plain.difference)


def test_models_of_equal_r_and_unlike_errors_are_told_apart_one_time_in_twenty():
    """One is a little off in all cases, the other much off in the smaller half."""
    rng, rejected, studies, n = np.random.default_rng(5), 0, 300, 100
    for seed in range(studies):
        known = rng.normal(size=n)
        one = known + rng.normal(0, 0.4, n)
        other = known + np.where(known < np.median(known), rng.normal(0, 0.4 * 2**0.5, n), 0)  # of the same variance
        one, other = vectorised.standard(one), vectorised.standard(other)
        test = functools.partial(vectorised.studentised_r, known=known)
        rejected += bm.statistics.permutation(test, one, other, resamples=199, seed=seed).pvalue <= 0.05
    assert 0.015 < rejected / studies < 0.085


def test_groups_move_an_r_as_a_whole(values):
    """Copies of each case tell no more than the case."""
    known, good, worse = values
    lists = [vectorised.standard(v) for v in (good, worse, known)]
    once = vectorised.studentised_r(*lists)
    copies = np.repeat(np.arange(120), 3)
    member = np.eye(120)[copies]
    assert vectorised.studentised_r(*(v[copies] for v in lists), member) == pytest.approx(once)
    assert vectorised.studentised_r(*(v[copies] for v in lists)) == pytest.approx(once * 3**0.5)


def test_groups_are_those_of_either_report(values):
    known, good, worse = values
    a, b = report(good, known), report(worse, known)
    groups = np.arange(120) // 4
    told = [dataclasses.replace(r, cases=r.cases.assign(group=groups)) for r in (a, b)]
    both = bm.compare(*told).to_frame()
    assert both.a_low.mae != bm.compare(a, b).to_frame().a_low.mae
    for one, another in ((told[0], b), (a, told[1])):
        pd.testing.assert_frame_equal(bm.compare(one, another).to_frame(), both)
    other = dataclasses.replace(b, cases=b.cases.assign(group=groups[::-1] // 2))
    with pytest.raises(ValueError, match="group their cases differently"):
        bm.compare(told[0], other)
    named = dataclasses.replace(b, cases=b.cases.assign(group=[f"p{g:02}" for g in groups]))
    pd.testing.assert_frame_equal(bm.compare(told[0], named).to_frame(), both)


def test_a_model_against_itself(values):
    known, good, _ = values
    overlap = np.linspace(0.2, 0.9, 120)
    result = bm.compare(report(good, known, overlap), report(good, known, overlap))
    for contrast in (result.r, result.mae, result.dice):
        assert contrast.difference == 0 and contrast.pvalue == 1


def test_a_model_without_a_map_is_compared_by_its_values(values):
    known, good, worse = values
    result = bm.compare(report(good, known, np.full(120, 0.9)), report(worse, known))
    assert np.isnan(result.dice.difference) and np.isnan(result.dice.pvalue)
    assert "MAE" in str(result) and "Dice" not in str(result)


def test_cases_with_an_empty_truth_have_no_dice(values):
    known, good, worse = values
    overlap, missed = np.full((2, 120), 0.5)
    overlap[:20] = missed[:20] = np.nan
    missed[20:70] = 0
    result = bm.compare(report(good, known, overlap), report(worse, known, missed))
    assert (result.dice.a, result.dice.b) == pytest.approx((0.5, 0.25))  # what was missed is 0, and counts


def test_other_cases_are_refused(values):
    known, good, worse = values
    for other in (
        report(worse[1:], known[1:]),
        report(worse, known + 1),
        report(worse, known, task="pma"),
        report(worse[::-1], known[::-1]),
    ):
        with pytest.raises(ValueError, match="evaluate both models on one cohort"):
            bm.compare(report(good, known), other)


def test_a_comparison_is_plain_data_and_a_small_table(values):
    known, good, worse = values
    result = bm.compare(
        report(good, known, known * 0 + 0.8), report(worse, known, known * 0 + 0.7), names=("one", "two")
    )
    flat = json.loads(json.dumps(result.to_dict()))
    assert flat["r_difference"] == result.r.difference and flat["mae_pvalue"] == result.mae.pvalue
    assert (flat["a"], flat["b"], flat["n"]) == ("one", "two", 120)
    frame = result.to_frame()
    assert list(frame.index) == ["r", "mae", "dice"] and frame.loc["dice", "a"] == pytest.approx(0.8)
    lines = str(result).splitlines()
    assert "one" in lines[1] and "two" in lines[1] and len(lines) == 6
    assert "0.0002" in lines[2] and "MAE [cm2]" in lines[3] and "0.0002" in lines[4]
    assert lines[5] == "tests: r studentised permutation, MAE permutation, Dice permutation"
    assert bm.statistics.holm(frame.pvalue)[0] >= result.r.pvalue


def test_a_constant_prediction_has_no_r_to_compare(values):
    known, good, _ = values
    result = bm.compare(report(good, known), report(np.full(120, 80.0), known))
    assert np.isnan(result.r.pvalue) and result.mae.pvalue < 0.01
    assert "MAE" in str(result)


def test_a_few_cases_tell_nothing(values):
    known, good, worse = values
    with pytest.raises(ValueError, match="3 cases cannot tell two models apart"):
        bm.compare(report(good[:3], known[:3]), report(worse[:3], known[:3]))
