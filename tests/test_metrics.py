"""Overlap and energy on pictures of four pixels."""

import numpy as np
import pytest

from biomark import metrics


def test_dice_by_hand():
    found = np.array([[[1, 1], [0, 0]], [[0, 0], [0, 1]], [[1, 0], [0, 0]]], bool)
    truth = np.array([[[1, 0], [0, 0]], [[1, 0], [0, 0]], [[0, 0], [0, 0]]], bool)
    result = metrics.dice(found, truth)
    assert result[0] == pytest.approx(2 / 3)  # one in common, two and one marked
    assert result[1] == 0  # missed
    assert np.isnan(result[2])  # no truth to overlap with


def test_energy_by_hand():
    contribution = np.array([[[3.0, 1.0]], [[0.0, 4.0]]])
    truth = np.array([[[True, False]], [[True, True]]])
    assert metrics.energy_in_mask(contribution, truth) == pytest.approx(7 / 8)
    assert np.isnan(metrics.energy_in_mask(contribution * 0, truth))


def test_lesions_by_hand():
    """Three true lesions: one found, one of which the lighter half is found, one missed; and one found in error."""
    truth = np.array([[1, 1, 0, 1, 1, 0, 1, 0, 0]], bool)
    found = np.array([[1, 1, 0, 1, 0, 0, 0, 0, 1]], bool)
    weights = np.array([[2.0, 2, 1, 1, 4, 1, 3, 1, 6]])
    result = metrics.lesions(found, truth, weights)
    assert result.worth.tolist() == [4, 5, 3]
    assert result.share.tolist() == pytest.approx([1, 0.2, 0])
    assert result.false_worth.tolist() == [6]
    assert result.missed == 2
    assert result.f1 == pytest.approx(2 * 1 / (2 * 1 + 2 + 1))


def test_a_lesion_that_is_found_too_large_is_false():
    """Three voxels of weight 1 of which one is true: the lesion is found, and what was found is mostly something
    else."""
    truth, found = np.array([[0, 1, 0]], bool), np.array([[1, 1, 1]], bool)
    result = metrics.lesions(found, truth, np.ones((1, 3)))
    assert result.missed == 0 and result.false_worth.tolist() == [3]


def test_lesions_touch_by_corners_in_every_direction():
    truth = np.zeros((3, 3, 3), bool)
    truth[0, 0, 0] = truth[1, 1, 1] = truth[2, 2, 2] = True
    assert len(metrics.lesions(truth, truth, np.ones(truth.shape)).worth) == 1


def test_lesions_of_many_cases():
    one = metrics.lesions(np.array([[1, 0, 1]], bool), np.array([[1, 0, 0]], bool), np.ones((1, 3)))
    none = metrics.lesions(np.zeros((1, 3), bool), np.zeros((1, 3), bool), np.ones((1, 3)))
    assert metrics.together([one, none, one]).f1 == pytest.approx(2 / 3)
    assert np.isnan(none.f1) and np.isnan(metrics.together([]).f1)


def test_voxels_without_weight_are_no_lesion():
    mask = np.array([[1, 0, 1]], bool)
    assert metrics.lesions(mask, mask, np.array([[1.0, 0, 0]])).worth.tolist() == [1]


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="one shape"):
        metrics.dice(np.ones((1, 2, 2), bool), np.ones((1, 2, 3), bool))
