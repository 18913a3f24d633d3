"""Ensembles: the value stays the sum of the map, and what works with one model works with several."""

import dataclasses

import numpy as np
import pytest
import torch

import biomark as bm
from biomark.grids import Boxes


@pytest.fixture(scope="module")
def cohort():
    return bm.phantoms.draw("sfa", 6, seed=2, size=48)


def models(kind, cohort, n=3, **settings):
    made = []
    for seed in range(n):
        torch.manual_seed(seed)
        made.append(kind("sfa", width=4, **settings).eval())
        made[-1].prepare(cohort)
    return made


@pytest.fixture(scope="module")
def members(cohort):
    return models(bm.Localizer, cohort)


def test_the_value_is_the_weighted_sum_of_the_mean_map(cohort, members):
    images, weights = torch.as_tensor(cohort.images[:, None]), torch.as_tensor(cohort.weights)
    with torch.no_grad():
        out, single = bm.Ensemble(members)(images, weights), [m(images, weights) for m in members]
    assert torch.equal(out.value, bm.losses.aggregate(out.map, weights))
    torch.testing.assert_close(out.map, torch.stack([s.map for s in single]).mean(0))
    values = np.array([s.value.numpy() for s in single])
    np.testing.assert_allclose(out.value, values.mean(0), rtol=1e-5)
    np.testing.assert_allclose(out.value_spread, values.std(0, ddof=1), rtol=1e-4)
    assert out.map_spread.shape == out.map.shape and out.map_spread.max() > 0


def test_locate_as_each_member_does_also_at_another_spacing(cohort, members):
    case = bm.phantoms.draw("sfa", 1, seed=2, size=120)[0]
    found, single = bm.Ensemble(members).locate(case), [m.locate(case) for m in members]
    assert found.map.shape == case.image.shape and isinstance(found.value, float)
    np.testing.assert_allclose(found.map, np.mean([s.map for s in single], axis=0), rtol=1e-5)
    assert found.value == pytest.approx(float((found.map * case.weights).sum()), rel=1e-5)
    assert found.value_spread == pytest.approx(np.std([s.value for s in single], ddof=1), rel=1e-3)


def test_evaluate_takes_an_ensemble(cohort, members):
    whole = bm.Ensemble(members)
    report = bm.evaluate(whole, cohort)
    by_hand = np.mean([bm.predict(m, cohort)[0] for m in members], axis=0)
    np.testing.assert_allclose(report.cases.predicted, by_hand, rtol=1e-5)
    assert not np.isnan(report.dice)


def test_copies_of_one_model_are_that_model(cohort, members):
    found, alone = bm.Ensemble([members[0]] * 2).locate(cohort[0]), members[0].locate(cohort[0])
    np.testing.assert_array_equal(found.map, alone.map)
    assert found.value == alone.value and found.value_spread == 0


def test_rivals_measure_in_their_own_way(cohort):
    """A model held to a size counts all pixels, in an ensemble those of the mean map."""
    case, whole = cohort[0], bm.Ensemble(models(bm.SizeConstrained, cohort))
    pixel_cm2 = np.prod(case.spacing_mm) / 100
    found = whole.locate(case, boxes=Boxes(case.image.shape, (1, 1), case.image.shape))
    assert found.value == pytest.approx(float(found.map.sum()) * pixel_cm2, rel=1e-5)
    np.testing.assert_allclose(bm.predict(whole, cohort[:1])[0], found.value, rtol=1e-5)


def test_the_mask_is_that_of_the_whole(cohort, members):
    """Found on a scan's own voxels: the candidates of highest mean map, whose sum is the value to one voxel."""
    case = cohort.voxels(1)
    found = bm.Ensemble(members).locate(case)
    assert found.mask.shape == found.map.shape == found.map_spread.shape == case.image.shape
    inside = case.weights[found.mask].sum(dtype=float)
    assert abs(inside - found.value) <= case.weights.max() * (0.5 + 1e-3)


def test_what_makes_no_ensemble(cohort, members):
    other = bm.Localizer(dataclasses.replace(bm.TASKS["sfa"], key="other"), width=4)
    ruled = bm.Localizer(dataclasses.replace(bm.TASKS["sfa"], skin_mm=0.0), width=4)
    for wrong, words in (
        (members[:1], "ensemble of 1 models"),
        ([], "ensemble of 0 models"),
        ([members[0], *models(bm.Segmenter, cohort, 1)], "Localizer, Segmenter"),
        ([bm.DirectRegressor("sfa", width=4)] * 2, "that has a map"),
        ([members[0], other], "different things"),
        ([members[0], ruled], "'sfa' by different rules"),
    ):
        with pytest.raises(ValueError, match=words):
            bm.Ensemble(wrong)
