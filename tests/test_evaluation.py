"""Reports: perfect, wrong in place, and empty truths."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import biomark as bm


class Told(nn.Module):
    """A model that is told its map."""

    def __init__(self, maps):
        super().__init__()
        self.maps = nn.Parameter(torch.tensor(np.array(maps), dtype=torch.float32))
        self.at = 0

    def forward(self, images, weights):
        map = self.maps[self.at : self.at + len(images)]
        self.at += len(images)
        return bm.Localization(bm.losses.aggregate(map, weights), map)


@pytest.fixture(scope="module")
def cohort():
    return bm.phantoms.draw("sfa", 40, seed=6, size=48)


def test_the_truth_itself_scores_near_one(cohort):
    report = bm.evaluate(Told(cohort.masks), cohort)
    assert report.r.value > 0.98 and report.dice > 0.9
    assert report.energy_in_mask == pytest.approx(1)
    assert report.missed == 0


def test_the_candidates_score_their_own_floor(cohort):
    report = bm.evaluate(Told(np.ones_like(cohort.masks)), cohort)
    assert report.dice == pytest.approx(report.dice_candidates)
    assert report.energy_in_mask == pytest.approx(
        np.sum(cohort.weights * cohort.masks) / cohort.weights.sum(), rel=1e-6
    )


def test_a_right_sum_in_the_wrong_place_is_seen(cohort):
    """A uniform map scaled to the right total: r is 1, nothing is localised."""
    share = cohort.values / cohort.weights.sum((1, 2))
    report = bm.evaluate(Told(np.broadcast_to(share[:, None, None], cohort.masks.shape)), cohort)
    assert report.r.value > 0.9999
    assert report.energy_in_mask < 0.8


def test_empty_truths_are_counted_apart(cohort):
    masks = cohort.masks.copy()
    masks[:3] = False
    changed = bm.Cohort(cohort.task, cohort.images, cohort.weights, cohort.values, masks, cohort.spacing_mm, cohort.ids)
    model = Told(cohort.masks)
    report = bm.evaluate(model, changed)
    assert report.cases.dice.isna().sum() == 3
    assert report.false_value == pytest.approx(report.cases.predicted[:3].mean())


def test_without_masks_only_values_are_reported(cohort):
    report = bm.evaluate(Told(cohort.masks), cohort.without_masks())
    assert np.isnan(report.dice) and "Dice" not in str(report)
    assert report.r.value > 0.98


def test_report_is_plain_data(cohort):
    report = bm.evaluate(Told(cohort.masks), cohort)
    flat = report.to_dict()
    json.dumps(flat)
    assert flat["n"] == 40 and flat["r_low"] < flat["r"] < flat["r_high"]
    assert list(report.to_frame().columns) == ["id", "known", "predicted", "dice"]
    assert "energy in mask" in str(report)
