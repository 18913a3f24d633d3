"""Rivals train in the same loop, start from the same number, and learn from images alone."""

import numpy as np
import pytest
import torch

import biomark as bm


@pytest.fixture(scope="module")
def cohort():
    return bm.phantoms.draw("sfa", 24, seed=4, size=32)


@pytest.mark.parametrize("ndim", [2, 3])
def test_it_starts_near_the_mean(cohort, ndim):
    torch.manual_seed(0)
    model = bm.DirectRegressor("sfa" if ndim == 2 else "cac", width=4)
    if ndim == 2:
        model.prepare(cohort)
        expected = cohort.values.mean()
    else:
        model.prepare(bm.phantoms.draw("cac", 2, seed=0, size=24))
        expected = float(model.scale)
    out = model(torch.randn(3, 1, *(9, 20, 26)[-ndim:]) * 300)
    assert out.map is None
    assert out.value.tolist() == pytest.approx([expected] * 3, rel=0.7)


def test_weights_and_masks_are_not_looked_at(cohort):
    torch.manual_seed(0)
    models = [bm.DirectRegressor("sfa", width=4) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    blind = bm.Cohort(
        cohort.task, cohort.images, cohort.weights * 0, cohort.values, None, cohort.spacing_mm, cohort.ids
    )
    settings = {"epochs": 2, "batch_size": 8, "progress": False, "device": "cpu", "precision": "32"}
    for model, data in zip(models, (cohort, blind), strict=True):
        bm.fit(model, data, decide=0.1, smooth=0.1, **settings)  # terms that judge a map do not apply
    for a, b in zip(models[0].state_dict().values(), models[1].state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_it_learns_an_area():
    train, test = bm.phantoms.draw("sfa", 160, seed=1, size=32).split(0.75, seed=0)
    torch.manual_seed(0)
    model = bm.DirectRegressor("sfa", width=8)
    bm.fit(model, train.without_masks(), epochs=20, batch_size=8, progress=False, device="cpu")
    report = bm.evaluate(model, test)
    assert report.r.value > 0.8
    assert np.isnan(report.dice) and np.isnan(report.energy_in_mask)


def test_saved_and_loaded_predicts_the_same_bits(cohort, tmp_path):
    torch.manual_seed(0)
    model = bm.DirectRegressor("sfa", width=4).eval()
    model.prepare(cohort, prior=False)
    model.save(tmp_path / "model.safetensors")
    again = bm.DirectRegressor.load(tmp_path / "model.safetensors")
    images = torch.as_tensor(cohort.images[:, None])
    assert torch.equal(again(images).value, model(images).value)
    with pytest.raises(ValueError, match="holds DirectRegressor, not a Localizer"):
        bm.Localizer.load(tmp_path / "model.safetensors")
