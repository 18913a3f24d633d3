"""Agreement, tests and intervals against published worked examples, other implementations and simulation."""

import copy
import itertools
import json
import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from biomark.evaluation import statistics
from biomark.evaluation.statistics import vectorised

# Shrout and Fleiss, Psychol. Bull. 86 (1979) 420, table 2: six targets, four judges.
JUDGES = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float).T

# Bland and Altman, Lancet 327 (1986) 307: peak flow of 17 people by two meters, first measurement of each.
WRIGHT = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
MINI = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]


def with_correlations(a, b, between, n):
    """Values of two models and the truth whose sample correlations are exactly these."""
    noise = np.random.default_rng(0).normal(size=(n, 3))
    orthogonal = np.linalg.qr(noise - noise.mean(0))[0]
    wanted = np.array([[1, between, a], [between, 1, b], [a, b, 1]])
    return (orthogonal @ np.linalg.cholesky(wanted).T).T


def same_skill(rng, n):
    """Two models that are equally good, and whose errors go together."""
    truth, shared, first, second = rng.normal(size=(4, n))
    return truth + 0.4 * shared + 0.3 * first, truth + 0.4 * shared + 0.3 * second, truth


# Whole numbers, so that shifting and scaling them loses nothing.
whole_numbers = hnp.arrays(np.int64, st.tuples(st.just(3), st.integers(5, 30)), elements=st.integers(-999, 999))
three_columns = whole_numbers.map(lambda columns: columns.astype(float))


def test_an_estimate_is_a_float_that_knows_its_interval():
    estimate = statistics.Estimate(0.5, 0.25, 0.75)
    assert estimate == 0.5 and estimate > 0.4 and f"{estimate:.2f}" == "0.50" and 2 * estimate == 1
    assert str(estimate) == "0.5000 (95 % CI 0.2500 to 0.7500)"
    assert json.dumps({"r": estimate}) == '{"r": 0.5}'
    for again in (copy.deepcopy(estimate), pickle.loads(pickle.dumps(estimate))):
        assert (again.value, again.low, again.high) == (0.5, 0.25, 0.75)
    assert np.isnan(statistics.Estimate(0.5).low)


# Correlations


def test_pearson_and_interval_against_scipy():
    rng = np.random.default_rng(0)
    x = rng.normal(size=40)
    y = x + rng.normal(size=40)
    ours, theirs = statistics.pearson(x, y), stats.pearsonr(x, y)
    assert ours.value == pytest.approx(theirs.statistic)
    z = np.arctanh(theirs.statistic)
    assert ours.low == pytest.approx(np.tanh(z - 1.959964 / np.sqrt(37)), abs=1e-6)
    assert ours.high == pytest.approx(np.tanh(z + 1.959964 / np.sqrt(37)), abs=1e-6)


def test_spearman_sees_order_alone():
    x = np.arange(1, 9.0)
    assert statistics.spearman(np.exp(x), x) == 1
    # Ranks 1 2 3 4 5 against 2 1 4 3 5: squared distances sum to 4, so rho = 1 - 6 * 4 / (5 * 24).
    result = statistics.spearman([10, 20, 30, 40, 50], [2, 1, 4, 3, 5])
    assert result == pytest.approx(0.8)
    reach = 1.959964 * np.sqrt((1 + 0.32) / 2)
    assert (result.low, result.high) == pytest.approx(np.tanh(np.arctanh(0.8) + np.array([-reach, reach])), abs=1e-6)


def test_what_does_not_vary_has_no_correlation():
    flat, x, y = [1, 1, 1, 1, 1], [1, 2, 3, 4, 5], [2, 1, 3, 5, 4]
    for correlation in (statistics.pearson, statistics.spearman):
        assert np.isnan(correlation(flat, x)) and np.isnan(correlation(x, flat).low)
    assert np.isnan(statistics.williams(flat, x, y).pvalue) and np.isnan(statistics.williams(x, y, flat).statistic)
    assert np.isnan(statistics.zou(x, flat, y).low)


@pytest.mark.parametrize(
    ("a", "b", "between", "n", "t"),
    [
        # Silver, Hittner and May, Appl. Psychol. Meas. 30 (2006) 152, by their program DEPCOR.
        (0.3, 0.4, 0.5, 100, -1.0767),
        # Printed by R's cocor for correlations of four decimals: the last digits of t may differ.
        (0.5447, 0.8, 0.0729, 70, -2.8114),
        (-0.1741, 0.2015, 0.3734, 646, -9.0340),
    ],
)
def test_williams_against_published_examples(a, b, between, n, t):
    result = statistics.williams(*with_correlations(a, b, between, n))
    assert result.statistic == pytest.approx(t, abs=6e-5 if n == 100 else 3e-3)
    assert result.pvalue == pytest.approx(2 * stats.t.sf(abs(result.statistic), n - 3))


def test_williams_p_value_against_a_published_example():
    assert statistics.williams(*with_correlations(0.3, 0.4, 0.5, 100)).pvalue == pytest.approx(0.2843, abs=5e-5)


def test_zou_against_his_own_example():
    """Zou, Psychol. Methods 12 (2007) 399, page 409."""
    result = statistics.zou(*with_correlations(0.396, 0.179, 0.088, 66))
    assert result == pytest.approx(0.217)
    assert (round(result.low, 3), round(result.high, 3)) == (-0.093, 0.517)


@pytest.mark.parametrize("n", [12, 60])
def test_williams_rejects_one_true_null_in_twenty(n):
    rng, times = np.random.default_rng(1), 3000
    rejected = covered = 0
    for _ in range(times):
        columns = same_skill(rng, n)
        rejected += statistics.williams(*columns).pvalue < 0.05
        if n == 60:
            interval = statistics.zou(*columns)
            covered += interval.low <= 0 <= interval.high
    assert rejected / times == pytest.approx(0.05, abs=0.01)
    assert n < 60 or covered / times == pytest.approx(0.95, abs=0.01)


def test_models_that_differ_in_scale_alone_are_equal():
    a, _, truth = same_skill(np.random.default_rng(2), 20)
    result = statistics.williams(a, 3 * a + 7, truth)
    assert (result.statistic, result.pvalue) == (0, 1)
    assert statistics.zou(a, 3 * a + 7, truth) == 0


def test_a_perfect_model_beats_another():
    _, b, truth = same_skill(np.random.default_rng(3), 20)
    assert statistics.williams(truth, b, truth).pvalue < 1e-6
    assert statistics.zou(truth, b, truth).low > 0


@settings(deadline=None, max_examples=60)
@given(three_columns, st.integers(-50, 50), st.sampled_from([0.25, 2, 8]))
def test_correlations_ignore_shift_and_scale_and_order(values, shift, scale):
    a, b, truth = values
    assume(np.ptp(a) > 0 and np.ptp(b) > 0 and np.ptp(truth) > 0)
    assume(np.linalg.matrix_rank(np.corrcoef(values), tol=1e-6) == 3)
    for correlation in (statistics.pearson, statistics.spearman):
        r = correlation(a, truth)
        assert -1 <= r.low <= r <= r.high <= 1
        assert correlation(scale * a + shift, truth) == pytest.approx(r, abs=1e-9)
        assert correlation(truth, a) == pytest.approx(r)
    result, swapped = statistics.williams(a, b, truth), statistics.williams(b, a, truth)
    assert 0 <= result.pvalue <= 1
    assert swapped.statistic == pytest.approx(-result.statistic) and swapped.pvalue == pytest.approx(result.pvalue)
    moved = statistics.williams(scale * a + shift, b, scale * truth - shift)
    assert moved.statistic == pytest.approx(result.statistic, rel=1e-6, abs=1e-6)
    difference, swapped = statistics.zou(a, b, truth), statistics.zou(b, a, truth)
    assert difference.low <= difference <= difference.high
    assert (-swapped.high, -swapped.low) == pytest.approx((difference.low, difference.high))


# Agreement


def test_concordance_by_hand():
    """Shift by 1: means differ by 1, both variances 2/3, so 2 * 2/3 / (2/3 + 2/3 + 1) = 4/7."""
    assert statistics.concordance([2, 3, 4], [1, 2, 3]) == pytest.approx(4 / 7)
    assert statistics.concordance([1, 2, 3], [1, 2, 3]) == pytest.approx(1)


def test_icc_against_shrout_and_fleiss():
    agreement, consistency = statistics.icc(*JUDGES), statistics.icc(*JUDGES, kind="C,1")
    assert agreement == pytest.approx(0.290, abs=5e-4) and consistency == pytest.approx(0.715, abs=5e-4)
    # Intervals as R's psych prints them for this table.
    assert (agreement.low, agreement.high) == pytest.approx((0.019, 0.761), abs=1e-3)
    assert (consistency.low, consistency.high) == pytest.approx((0.342, 0.946), abs=1e-3)


@pytest.mark.filterwarnings("default")  # a peer's warnings are its own
def test_icc_against_pingouin():
    pingouin = pytest.importorskip("pingouin")
    pandas = pytest.importorskip("pandas")
    predicted, _, known = same_skill(np.random.default_rng(4), 40)
    long = pandas.DataFrame(
        {
            "case": np.tile(np.arange(40), 2),
            "who": np.repeat(["a", "b"], 40),
            "value": np.append(predicted + 0.5, known),
        }
    )
    table = pingouin.intraclass_corr(long, "case", "who", "value")
    names = table["Type"].str.replace(r"ICC\(([AC],1)\)", r"\1", regex=True).replace({"ICC2": "A,1", "ICC3": "C,1"})
    for kind in ("A,1", "C,1"):
        row = table[names == kind].iloc[0]
        low, high = next(row[c] for c in ("CI95", "CI95%") if c in row.index)
        ours = statistics.icc(predicted + 0.5, known, kind=kind)
        assert row["ICC"] == pytest.approx(ours.value, abs=1e-6)
        assert (low, high) == pytest.approx((ours.low, ours.high), abs=5e-3)  # it rounds its interval


def test_a_shift_costs_agreement_and_not_consistency():
    predicted, _, known = same_skill(np.random.default_rng(5), 30)
    assert statistics.icc(predicted + 2, known) < 0.5 * statistics.icc(predicted, known)
    assert statistics.icc(predicted + 2, known, kind="C,1") == pytest.approx(
        statistics.icc(predicted, known, kind="C,1")
    )


def test_icc_says_what_it_wants():
    with pytest.raises(ValueError, match="at least two"):
        statistics.icc([1, 2])
    with pytest.raises(ValueError, match="'A,1' and 'C,1'"):
        statistics.icc([1, 2], [1, 2], kind="ICC2")


@pytest.mark.parametrize(
    ("estimate", "truth"),
    [
        # Equal means and variances 1.25 and 1, covariance 1.
        (statistics.concordance, 2 / (1.25 + 1)),
        (statistics.spearman, 6 / np.pi * np.arcsin(1 / np.sqrt(1.25) / 2)),
        (lambda a, b: statistics.icc(a, b, kind="C,1"), 2 / (1.25 + 1)),
    ],
    ids=["concordance", "spearman", "icc"],
)
def test_intervals_hold_the_truth_19_times_in_20(estimate, truth):
    rng, times, held = np.random.default_rng(6), 1000, 0
    for _ in range(times):
        known = rng.normal(size=60)
        result = estimate(known + 0.5 * rng.normal(size=60), known)
        held += result.low <= truth <= result.high
    assert held / times == pytest.approx(0.95, abs=0.02)


def test_bland_altman_by_hand():
    """Differences 1, 3: bias 2, SD sqrt(2)."""
    result = statistics.bland_altman([2, 5], [1, 2])
    assert result.bias == 2
    assert result.low == pytest.approx(2 - 1.96 * np.sqrt(2))
    assert result.high == pytest.approx(2 + 1.96 * np.sqrt(2))


def test_bland_altman_against_their_own_example():
    result = statistics.bland_altman(WRIGHT, MINI)
    assert result.bias == pytest.approx(-2.1, abs=0.05)
    assert (result.bias.low, result.bias.high) == pytest.approx((-22.0, 17.8), abs=0.1)
    # They took 2 for 1.96: limits -79.7 and 75.5, their intervals -114.3 to -45.1 and 40.9 to 110.1.
    assert (result.low, result.high) == pytest.approx((-79.7, 75.5), abs=2)
    assert (result.low.low, result.low.high) == pytest.approx((-114.3, -45.1), abs=2)
    assert (result.high.low, result.high.high) == pytest.approx((40.9, 110.1), abs=2)
    line = stats.linregress(np.add(WRIGHT, MINI) / 2, np.subtract(WRIGHT, MINI))
    assert result.slope == pytest.approx(line.slope)
    assert result.slope.high == pytest.approx(line.slope + stats.t.ppf(0.975, 15) * line.stderr)


def test_proportional_bias_is_a_slope():
    """Twice too high throughout: the difference x grows by 2/3 for 1 of the mean 1.5 x."""
    known = np.array([1, 2, 4, 8, 16.0])
    assert statistics.bland_altman(2 * known, known).slope == pytest.approx(2 / 3)


def test_kappa_by_hand():
    """One minus the distance seen over the distance of all pairs, which is what chance gives."""
    predicted, known = [0, 0, 1, 2], [0, 1, 1, 0]
    for weights, power in (("linear", 1), ("quadratic", 2)):
        seen = np.mean([abs(p - k) ** power for p, k in zip(predicted, known, strict=True)])
        chance = np.mean([abs(p - k) ** power for p, k in itertools.product(predicted, known)])
        assert statistics.kappa(predicted, known, weights=weights) == pytest.approx(1 - seen / chance)
    assert np.isnan(statistics.kappa([1, 1], [1, 1]))
    with pytest.raises(ValueError, match="whole numbers"):
        statistics.kappa([0.5, 1], [1, 1])


def test_a_group_without_cases_still_lies_between():
    assert statistics.kappa([0, 3, 3], [0, 3, 0]) == pytest.approx(statistics.kappa([0, 1, 1], [0, 1, 0]))
    assert statistics.kappa([0, 3, 1], [0, 3, 0]) > statistics.kappa([0, 1, 2], [0, 1, 0])


@settings(deadline=None, max_examples=60)
@given(three_columns, st.integers(-50, 50), st.sampled_from([0.25, 2, 8]))
def test_agreement_is_symmetric_and_moves_with_both(values, shift, scale):
    predicted, known, _ = values
    assume(np.ptp(predicted) > 0 and np.ptp(known) > 0 and np.ptp(predicted - known) > 0)
    assume(np.ptp(predicted + known) > 0)
    measures = [statistics.concordance, statistics.icc, lambda a, b: statistics.icc(a, b, kind="C,1")]
    for measure in measures:
        result = measure(predicted, known)
        # Raters who contradict each other have no interval of agreement.
        without = measure is statistics.icc and result < 0 and np.isnan([result.low, result.high]).all()
        assert without or (result.low <= result + 1e-9 and result - 1e-9 <= result.high <= 1 + 1e-9)
        assert measure(known, predicted) == pytest.approx(result, abs=1e-9)
        assert measure(scale * predicted + shift, scale * known + shift) == pytest.approx(result, abs=1e-9)
    assert abs(statistics.concordance(predicted, known)) <= abs(statistics.pearson(predicted, known)) + 1e-9
    one, other = statistics.bland_altman(predicted, known), statistics.bland_altman(known, predicted)
    assert (one.bias, one.low) == pytest.approx((-other.bias, -other.high))
    moved = statistics.bland_altman(scale * predicted + shift, scale * known + shift)
    assert (moved.bias, moved.high.high) == pytest.approx((scale * one.bias, scale * one.high.high))
    assert moved.slope == pytest.approx(one.slope, abs=1e-9)


def test_raters_who_contradict_each_other_have_no_interval_of_agreement():
    """A chance find: the formula's interval was -1 to -0.98 here, beside a coefficient of -0.96."""
    contradicting = statistics.icc([3, 0, 0, 0, 0], [-4, 0, 0, 0, 0])
    assert contradicting == pytest.approx(-0.96) and np.isnan([contradicting.low, contradicting.high]).all()
    consistent = statistics.icc([3, 0, 0, 0, 0], [-4, 0, 0, 0, 0], kind="C,1")
    assert consistent.low < consistent < consistent.high


def test_identical_values_agree_entirely():
    x = np.random.default_rng(7).normal(size=12)
    for measure in (statistics.concordance, statistics.icc, lambda a, b: statistics.icc(a, b, kind="C,1")):
        result = measure(x, x)
        assert (result, result.low, result.high) == pytest.approx((1, 1, 1))
        assert np.isnan(measure(np.ones(5), np.ones(5)))
    same = statistics.bland_altman(x, x)
    assert (same.bias, same.high.high, same.slope) == (0, 0, 0)


# Resampling


def average(x):
    return x.mean(-1)


def difference(a, b):
    return (a - b).mean(-1)


def test_bootstrap_draws_cases_whole():
    """Two lists that differ by 1 everywhere differ by 1 in every draw."""
    x = np.random.default_rng(8).normal(size=50)
    result = statistics.bootstrap(difference, x + 1, x)
    assert (result, result.low, result.high) == pytest.approx((1, 1, 1))


def test_bootstrap_holds_the_truth_19_times_in_20_and_is_seeded():
    rng, held = np.random.default_rng(9), 0
    for _ in range(400):
        result = statistics.bootstrap(average, rng.normal(size=50), resamples=400)
        held += result.low <= 0 <= result.high
    assert held / 400 == pytest.approx(0.95, abs=0.03)
    x = rng.lognormal(size=30)
    ours, theirs = (
        statistics.bootstrap(average, x, resamples=20000),
        stats.bootstrap((x,), np.mean, method="percentile"),
    )
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs.confidence_interval), rel=0.03)
    assert str(statistics.bootstrap(average, x, seed=1)) == str(statistics.bootstrap(average, x, seed=1))
    assert statistics.bootstrap(average, x, seed=1).low != statistics.bootstrap(average, x, seed=2).low


def test_a_mean_drops_no_case():
    assert statistics.mean([1, 2, 6, 2, 4]) == 3
    assert statistics.mean([1, 2, 6, 2, 4]).low == statistics.bootstrap(average, [1, 2, 6, 2, 4]).low
    assert np.isnan(statistics.mean([1, np.nan])) and np.isnan(statistics.mean([]))


def test_a_group_is_drawn_whole():
    """Each case five times over is no more than once, if told so, and ungrouped looks like much more."""
    errors = np.random.default_rng(0).normal(size=40)
    often, groups = np.repeat(errors, 5), np.repeat(np.arange(40), 5)
    once, told, taken = statistics.mean(errors), statistics.mean(often, groups=groups), statistics.mean(often)
    assert (told.value, told.low, told.high) == pytest.approx((once.value, once.low, once.high))
    assert (taken.high - taken.low) < 0.6 * (once.high - once.low)
    shuffled = np.random.default_rng(1).permutation(len(often))
    names = np.array([f"patient {g:02}" for g in groups])[shuffled]
    again = statistics.mean(often[shuffled], groups=names)
    assert (again.low, again.high) == pytest.approx((told.low, told.high))
    alone = statistics.mean(errors, groups=np.arange(40)[::-1])
    assert (alone.low, alone.high) == pytest.approx((once.low, once.high), rel=0.1)
    assert np.isnan(statistics.mean(often, groups=np.zeros(200)).low), "one group tells nothing"
    with pytest.raises(ValueError, match=r"200 cases need a group each, and those given have shape \(3,\)"):
        statistics.mean(often, groups=[1, 2, 3])
    mixed = statistics.mean(errors, groups=[*range(20), *(f"p{i // 2}" for i in range(20))])
    assert mixed.low < mixed.value < mixed.high


def test_four_groups_are_too_few_for_an_interval():
    errors = np.random.default_rng(0).normal(size=20)
    few, five = (statistics.mean(errors, groups=np.arange(20) % n) for n in (4, 5))
    assert few.value == five.value and np.isnan(few.low) and five.low < five.value < five.high


@pytest.mark.parametrize("nothing", [None, np.nan, pd.NA])
def test_cases_without_a_group_are_not_taken_for_one_patient(nothing):
    groups = ["a", "b", nothing, "c", nothing, "d"]
    for told in (groups, pd.Series(groups), np.array(groups, object)):
        with pytest.raises(ValueError, match=r"case 2 of 6 \(from 0\) has no group"):
            statistics.mean(np.arange(6), groups=told)


def test_intervals_over_groups_hold_where_those_over_cases_do_not():
    """40 patients with 1 to 9 scans, whose errors have a part that is the patient's own."""
    rng, held = np.random.default_rng(0), np.zeros(2)
    for seed in range(150):
        groups = np.repeat(np.arange(40), rng.integers(1, 10, 40))
        errors = rng.normal(size=40)[groups] + 0.5 * rng.normal(size=len(groups))
        drawn = statistics.bootstrap(lambda v: v.mean(-1), errors, groups=groups, resamples=300, seed=seed)
        taken = statistics.bland_altman(errors, 0 * errors).bias
        held += [e.low <= 0 <= e.high for e in (drawn, taken)]
    assert held[0] >= 0.88 * 150 and held[1] < 0.75 * 150


def test_bland_altman_over_groups_has_the_same_numbers():
    rng = np.random.default_rng(2)
    known = rng.normal(size=60)
    predicted = 1.1 * known + 0.2 + 0.1 * rng.normal(size=60)
    plain, drawn = (statistics.bland_altman(predicted, known, groups=g) for g in (None, np.arange(60) // 3))
    for name in ("bias", "low", "high", "slope"):
        a, b = getattr(plain, name), getattr(drawn, name)
        assert a.value == pytest.approx(b.value) and b.low < b.value < b.high
    with pytest.raises(ValueError, match="60 cases need a group each"):
        statistics.bland_altman(predicted, known, groups=np.arange(61))
    assert np.isnan(statistics.bland_altman([3, 4], [2, 2], groups=[0, 0]).slope.value), "two points are no line"
    each = statistics.bland_altman(predicted, known, groups=np.arange(60))
    assert (each.bias.low, each.high.high) == (plain.bias.low, plain.high.high)


def test_groups_change_places_whole():
    """Five copies of each pair have the p of one."""
    rng = np.random.default_rng(3)
    first, second = rng.normal(size=(2, 12)) + np.array([[0.8], [0.0]])
    apart = lambda a, b: (a - b).mean(-1)  # noqa: E731
    once = statistics.permutation(apart, first, second)
    order = rng.permutation(60)
    pairs = (np.repeat(v, 5)[order] for v in (first, second))
    told = statistics.permutation(apart, *pairs, groups=np.repeat(np.arange(12), 5)[order])
    assert told.pvalue == pytest.approx(once.pvalue) and told.statistic == pytest.approx(once.statistic)
    assert np.isnan(statistics.permutation(apart, first, second, groups=np.zeros(12)).pvalue), "one group tells nothing"
    taken = statistics.permutation(apart, np.repeat(first, 5), np.repeat(second, 5))
    assert taken.pvalue < 0.5 * once.pvalue


def test_bootstrap_draws_no_more_at_once_than_it_may():
    sizes = []

    def watched(x):
        sizes.append(x.size)
        return x.mean(-1)

    statistics.bootstrap(watched, np.arange(5000.0), resamples=600)
    assert max(sizes) <= 2**20 and sum(sizes) == 5000 * 601


def test_few_cases_are_permuted_in_every_way():
    a, b = np.array([3, 1, 4, 1, 5.0]), np.array([2, 3, 1, 0, 2.0])
    every = [np.mean(np.array(signs) * (a - b)) for signs in itertools.product([1, -1], repeat=5)]
    result = statistics.permutation(difference, a, b)
    assert result.statistic == pytest.approx(1.2)
    assert result.pvalue == pytest.approx(np.mean(np.abs(every) >= 1.2 - 1e-12))
    assert statistics.permutation(difference, b, a).pvalue == pytest.approx(result.pvalue)


def test_many_cases_are_permuted_as_often_as_asked():
    """For so many cases the test comes close to the t test of the differences."""
    rng = np.random.default_rng(10)
    a, b = rng.normal(size=(2, 200))
    result = statistics.permutation(difference, a + 0.15, b, seed=3)
    assert result.pvalue == pytest.approx(stats.ttest_rel(a + 0.15, b).pvalue, abs=0.02)
    assert result == statistics.permutation(difference, a + 0.15, b, seed=3)
    assert statistics.permutation(difference, a + 9, b, resamples=999).pvalue == pytest.approx(2 / 1000)


def test_holm_by_hand():
    """Sorted 0.005 0.01 0.03 0.04 times 4 3 2 1; the last may not come before the one before it."""
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([0.6, 0.7]) == pytest.approx([1, 1])
    assert statistics.holm([0.01, np.nan, 0.02]) == pytest.approx([0.02, np.nan, 0.02], nan_ok=True)
    with pytest.raises(ValueError, match="between 0 and 1"):
        statistics.holm([1.5])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_keeps_the_order_and_never_lowers(pvalues):
    adjusted = statistics.holm(pvalues)
    assert np.all(adjusted >= pvalues) and np.all(adjusted <= 1)
    assert np.all(np.diff(adjusted[np.argsort(pvalues, kind="stable")]) >= 0)


# What comes in


@pytest.mark.parametrize(
    "function",
    [statistics.pearson, statistics.spearman, statistics.concordance, statistics.icc, statistics.kappa],
    ids=lambda f: f.__name__,
)
def test_two_lists_are_checked_and_nan_stays_nan(function):
    with pytest.raises(ValueError, match="equal length"):
        function([1, 2], [1, 2, 3])
    assert np.isnan(function([1, 2, np.nan, 4, 6], [1, 2, 3, 4, 7]))


def test_three_lists_are_checked_and_nan_stays_nan():
    for function in (statistics.williams, statistics.zou):
        with pytest.raises(ValueError, match="equal length"):
            function([1, 2, 3], [1, 2, 3], [1, 2])
    with_nan, x, y = [1, 2, np.nan, 4, 6], [1, 2, 3, 4, 7], [2, 2, 3, 5, 6]
    assert np.isnan(statistics.williams(x, with_nan, y).pvalue)
    assert np.isnan(statistics.zou(with_nan, x, y).low)
    assert np.isnan(statistics.bland_altman(with_nan, x).bias)
    assert np.isnan(statistics.permutation(difference, with_nan, x).pvalue)
    assert np.isnan(statistics.bootstrap(average, with_nan).low)


def test_coefficients_along_an_axis_are_those_of_single_lists():
    rng = np.random.default_rng(3)
    known = rng.gamma(3, 20, (4, 50))
    found = known * rng.normal(1, 0.1, known.shape) + 3
    for measure, alone in (
        (vectorised.r, statistics.pearson),
        (vectorised.ccc, statistics.concordance),
        (vectorised.icc, statistics.icc),
    ):
        singly = [alone(*row).value for row in zip(found, known, strict=True)]
        np.testing.assert_allclose(measure(found, known), singly, rtol=1e-14)
        assert np.isnan(measure(np.full(50, 0.1), np.full(50, 0.1)))
    assert np.isnan(vectorised.r(np.full(50, 0.1), known[0]))
    standard = vectorised.standard(found)
    np.testing.assert_allclose((standard.mean(-1), standard.std(-1)), (np.zeros(4), np.ones(4)), atol=1e-12)
    assert np.isnan(vectorised.standard(np.full(50, 0.1))).all()


def test_a_statistic_that_is_not_defined_has_no_p():
    constant, other = np.full(12, 0.1), np.arange(12.0)
    assert np.isnan(
        statistics.permutation(lambda a, b: vectorised.r(a, other) - vectorised.r(b, other), constant, other).pvalue
    )


# What would be wrong without a word


@settings(deadline=None)
@given(
    st.lists(st.floats(0.01, 1e6), min_size=2, max_size=2),
    st.lists(st.integers(-2, 2), min_size=10, max_size=10),
    st.sampled_from(["constant", "both"]),
)
def test_rounding_is_no_variation(constants, steps, which):
    """0.1 + 0.2 beside 0.3: what the last bit says is neither agreement nor its opposite."""
    last_bits = 1 + np.reshape(steps, (2, 5)) * 2.0**-52
    a, b = np.full((2, 5), np.reshape(constants, (2, 1))) * last_bits
    b = a[::-1] if which == "both" else b
    for measure in (vectorised.icc, vectorised.ccc, vectorised.r):
        assert np.isnan(measure(a, b))
        assert np.isnan(measure(np.stack([a, a]), np.stack([b, b]))).all()
    for kind in ("A,1", "C,1"):
        result = statistics.icc(a, b, kind=kind)
        assert np.isnan([result, result.low, result.high]).all()
    for result in (statistics.concordance(a, b), statistics.pearson(a, b), statistics.spearman(a, b)):
        assert np.isnan([result, result.low, result.high]).all()
    assert np.isnan(statistics.bland_altman(a, b).slope) and np.isnan(vectorised.standard(a)).all()
    truth = np.arange(5.0)
    assert np.isnan(statistics.williams(a, truth, truth[::-1]).pvalue)


def test_a_small_spread_is_a_spread():
    x = 1000 + 1e-7 * np.array([1, 2, 3, 4, 6.0])
    assert statistics.icc(x, x) == statistics.concordance(x, x) == statistics.pearson(x, x) == pytest.approx(1)


def test_infinite_values_have_no_coefficient_and_no_group():
    x, infinite = [0, 1, 2, 3, 4], [0, np.inf, 1, 3, 4]
    for measure in (statistics.pearson, statistics.concordance, statistics.icc):
        assert np.isnan(measure(infinite, x)) and np.isnan(measure(x, np.negative(infinite)))
    with pytest.raises(ValueError, match="numbered groups: give whole numbers from 0 on"):
        statistics.kappa(infinite, x)


PAIRS = {
    "pearson": statistics.pearson,
    "spearman": statistics.spearman,
    "concordance": statistics.concordance,
    "icc": statistics.icc,
    "kappa": statistics.kappa,
    "bland_altman": statistics.bland_altman,
    "bootstrap": lambda a, b: statistics.bootstrap(vectorised.r, a, b),
    "permutation": lambda a, b: statistics.permutation(difference, a, b),
    "williams": lambda a, b: statistics.williams(a, b, np.arange(5.0)),
    "zou": lambda a, b: statistics.zou(np.arange(5.0), a, b),
    "groups of mean": lambda a, b: statistics.mean(a, groups=b),
    "groups of permutation": lambda a, b: statistics.permutation(difference, a, np.arange(5.0), groups=b),
    "groups of bland_altman": lambda a, b: statistics.bland_altman(a, np.arange(5.0), groups=b),
}


@pytest.mark.parametrize("function", PAIRS.values(), ids=PAIRS)
def test_columns_of_tables_are_not_paired_by_their_place(function):
    a = pd.Series([1.0, 2, 3, 4, 6])
    b = pd.Series([1.0, 2, 4, 3, 6], index=[4, 3, 2, 1, 0])
    with pytest.raises(ValueError, match=r"their index\) cannot be paired: bring them into one order"):
        function(a, b)
    assert repr(function(a, pd.Series(b.to_numpy()))) == repr(function(a.to_numpy(), b.to_numpy()))


@pytest.mark.parametrize("function", list(PAIRS.values())[:10], ids=list(PAIRS)[:10])
def test_masked_values_are_not_read(function):
    masked = np.ma.array([1.0, 2, 3, 4, 6], mask=[False, False, True, False, False])
    with pytest.raises(ValueError, match="the values are an array of which numpy masks 1 elements"):
        function(masked, np.arange(5.0))
    assert repr(function(np.ma.array(masked.data), np.arange(5.0))) == repr(function(masked.data, np.arange(5.0)))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: statistics.holm([]), "a list without values gives nothing to compute"),
        (lambda: statistics.pearson([], []), "a list without values gives nothing to compute"),
        (lambda: statistics.bootstrap(average, [1, 2, 3, 4, 5, 6], resamples=0), "0 resamples tell nothing: draw 1"),
        (lambda: statistics.bootstrap(average, [1, 2], resamples=-5), "-5 resamples tell nothing"),
        (lambda: statistics.permutation(difference, [1, 2], [2, 1], resamples=0), "0 resamples tell nothing"),
        (lambda: statistics.mean([1j, 2]), "a list holds what is no number"),
    ],
)
def test_what_gives_nothing_is_one_sentence(call, words):
    with pytest.raises(ValueError, match=words) as error:
        call()
    assert "\n" not in str(error.value)
