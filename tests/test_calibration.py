"""The reliability of map values: worked by hand, against scikit-learn, and what must hold for any map."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

import biomark as bm


def test_by_hand():
    """Four voxels of weight 1, 1, 2 and 0 in two bins; the last is no candidate."""
    curve = bm.reliability(
        np.array([[0.2, 0.4, 0.9, 0.1]]), np.array([[False, True, True, True]]), np.array([[1, 1, 2, 0]]), bins=2
    )
    assert curve.weight.tolist() == [2, 2]
    assert curve.expected == pytest.approx([0.3, 0.9]) and curve.observed == pytest.approx([0.5, 1])
    assert curve.error == pytest.approx(0.5 * 0.2 + 0.5 * 0.1)
    assert curve.to_frame().high.tolist() == [0.5, 1]


def test_of_boxes_a_part_may_be_true():
    """Of two boxes of weight 4 at 0.5, half and a quarter; one at 1, all."""
    curve = bm.reliability(np.array([[0.5, 0.5, 1]]), np.array([[2.0, 1, 4]]), np.array([[4.0, 4, 4]]), bins=4)
    assert curve.weight.tolist() == [0, 0, 8, 4] and curve.observed[2:].tolist() == [0.375, 1]
    assert curve.error == pytest.approx(8 / 12 * 0.125)


def test_boxes_are_as_reliable_as_their_voxels():
    cohort = bm.phantoms.draw("sfa", 3, seed=1, size=32)
    maps = np.random.default_rng(0).random(cohort.images.shape)
    voxels = [cohort.regions(i) for i in range(3)]
    spread = [boxes.spread(m) for m, (_, _, boxes) in zip(maps, voxels, strict=True)]
    fine = bm.reliability(np.stack(spread), np.stack([v[1] for v in voxels]), np.stack([v[0] for v in voxels]))
    coarse = bm.reliability(maps, cohort.truth, cohort.weights)
    np.testing.assert_allclose(coarse.observed, fine.observed, rtol=1e-5)
    assert coarse.error == pytest.approx(fine.error, rel=1e-5)


def test_a_constant_map_of_the_right_size_is_reliable():
    """Which is why reliability is no proof of localization."""
    truth = np.arange(100).reshape(1, 100) < 30
    assert bm.reliability(np.full((1, 100), 0.3), truth, np.ones((1, 100))).error == pytest.approx(0)


def test_as_scikit_learn():
    rng = np.random.default_rng(0)
    maps = rng.random((3, 20, 20))
    truth = rng.random(maps.shape) < maps**2
    curve = bm.reliability(maps, truth, np.ones_like(maps))
    observed, expected = calibration_curve(truth.ravel(), maps.ravel(), n_bins=10)
    np.testing.assert_allclose(curve.observed, observed)
    np.testing.assert_allclose(curve.expected, expected)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_for_any_map(seed, bins):
    rng = np.random.default_rng(seed)
    maps, weights = rng.random((2, 5, 6)) ** rng.uniform(0.2, 5), rng.random((2, 5, 6)) * (rng.random((2, 5, 6)) < 0.7)
    truth = rng.random(maps.shape) < 0.4
    curve = bm.reliability(maps, truth, weights, bins=bins)
    assert curve.weight.sum() == pytest.approx(weights.sum())
    off = abs((weights * maps).sum() - (weights * truth).sum()) / weights.sum()
    assert off - 1e-9 <= curve.error <= 1
    spoiled = np.where(weights > 0, maps, 7.0)  # outside the candidates nothing matters
    assert bm.reliability(spoiled, truth, weights, bins=bins).error == curve.error
    assert bm.reliability(truth.astype(float), truth, weights, bins=bins).error == 0
    assert bm.reliability(maps, truth * weights, weights, bins=bins).error == pytest.approx(curve.error)


def test_what_cannot_be_used():
    maps, truth = np.full((1, 4), 0.5), np.ones((1, 4), bool)
    with pytest.raises(ValueError, match="give them one shape"):
        bm.reliability(maps, truth[:, :3], maps)
    with pytest.raises(ValueError, match="at least one bin"):
        bm.reliability(maps, truth, maps, bins=0)
    for wrong in (4.0, -1.0, np.nan):
        with pytest.raises(ValueError, match="give maps, not logits"):
            bm.reliability(np.full((1, 4), wrong), truth, maps)
    with pytest.raises(ValueError, match="the truth is more than the weights"):
        bm.reliability(maps, np.full((1, 4), 0.6), maps)
    assert np.isnan(bm.reliability(maps, truth, np.zeros((1, 4))).error)
