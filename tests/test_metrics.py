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


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="one shape"):
        metrics.dice(np.ones((1, 2, 2), bool), np.ones((1, 2, 3), bool))
