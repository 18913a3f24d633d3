"""Agreement against worked examples and other implementations."""

import numpy as np
import pytest
from scipy import stats

from biomark import statistics


def test_pearson_and_interval_against_scipy():
    rng = np.random.default_rng(0)
    x = rng.normal(size=40)
    y = x + rng.normal(size=40)
    ours, theirs = statistics.pearson(x, y), stats.pearsonr(x, y)
    assert ours.value == pytest.approx(theirs.statistic)
    z = np.arctanh(theirs.statistic)
    assert ours.low == pytest.approx(np.tanh(z - 1.959964 / np.sqrt(37)), abs=1e-6)
    assert ours.high == pytest.approx(np.tanh(z + 1.959964 / np.sqrt(37)), abs=1e-6)


def test_a_constant_prediction_has_no_r():
    assert np.isnan(statistics.pearson([1, 1, 1, 1], [1, 2, 3, 4]).value)


def test_concordance_by_hand():
    """Shift by 1: means differ by 1, both variances 2/3, so 2 * 2/3 / (2/3 + 2/3 + 1) = 4/7."""
    assert statistics.concordance([2, 3, 4], [1, 2, 3]) == pytest.approx(4 / 7)
    assert statistics.concordance([1, 2, 3], [1, 2, 3]) == pytest.approx(1)


def test_bland_altman_by_hand():
    """Differences 1, 3: bias 2, SD sqrt(2)."""
    result = statistics.bland_altman([2, 5], [1, 2])
    assert result.bias == 2
    assert result.low == pytest.approx(2 - 1.96 * np.sqrt(2))
    assert result.high == pytest.approx(2 + 1.96 * np.sqrt(2))


def test_unequal_lists_are_refused():
    with pytest.raises(ValueError, match="equal length"):
        statistics.pearson([1, 2], [1, 2, 3])
