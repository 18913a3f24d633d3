"""Rivals train in the same loop, start from the same number, and learn from images alone."""

import dataclasses

import numpy as np
import pytest
import torch

import biomark as bm
from biomark.machine.optimizers import AdamW
from biomark.training import choose_settings


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


def test_candidates_and_masks_are_not_looked_at(cohort):
    """It is told the size of a box, and reads no weight: other candidates are the same bits."""
    torch.manual_seed(0)
    models = [bm.DirectRegressor("sfa", width=4) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    blind = dataclasses.replace(cohort, weights=np.ones_like(cohort.weights), truth=None, fine=None)
    settings = {"epochs": 2, "batch_size": 8, "progress": False, "device": "cpu", "precision": "32", "augment": False}
    for model, data in zip(models, (cohort, blind), strict=True):
        bm.fit(model, data, **settings)
    for a, b in zip(models[0].state_dict().values(), models[1].state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_it_learns_an_area():
    train, test = bm.phantoms.draw("sfa", 160, seed=1, size=32).split(0.75, seed=0)
    torch.manual_seed(0)
    model = bm.DirectRegressor("sfa", width=8)
    bm.fit(model, train.without_masks(), epochs=20, progress=False, device="cpu")
    report = bm.evaluate(model, test)
    assert report.r.value > 0.8
    assert np.isnan(report.dice) and np.isnan(report.energy_in_mask)


def test_saved_and_loaded_predicts_the_same_bits(cohort, tmp_path):
    torch.manual_seed(0)
    model = bm.DirectRegressor("sfa", width=4).eval()
    model.prepare(cohort)
    model.save(tmp_path / "model.safetensors")
    again = bm.load(tmp_path / "model.safetensors")
    images = torch.as_tensor(cohort.images[:, None])
    assert torch.equal(again(images).value, model(images).value)
    assert type(again) is bm.DirectRegressor


@pytest.mark.parametrize("task", ["sfa", "cac"])
def test_the_segmenter_measures_as_the_localizer_does(task):
    torch.manual_seed(0)
    model, shape = bm.Segmenter(task, width=2).eval(), {"sfa": (20, 28), "cac": (6, 12, 16)}[task]
    out = model(torch.randn(2, 1, *shape) * 100, weights := torch.rand(2, *shape))
    torch.testing.assert_close(out.value, (out.map * weights).flatten(1).sum(1))


def test_the_segmenter_learns_to_draw():
    train, test = bm.phantoms.draw("sfa", 80, seed=1, size=48).split(0.75, seed=0)
    torch.manual_seed(0)
    model = bm.Segmenter("sfa", width=8)
    bm.fit(model, train, epochs=8, progress=False, device="cpu")
    report = bm.evaluate(model, test)
    assert report.dice.value > report.dice_candidates + 0.06
    assert report.r.value > 0.9


def test_a_segmenter_is_saved_as_what_it_is(cohort, tmp_path):
    torch.manual_seed(0)
    model = bm.Segmenter("sfa", width=2)
    model.prepare(cohort)
    model.save(tmp_path / "model")
    a, b = model.locate(cohort[0]), bm.load(tmp_path / "model").locate(cohort[0])
    assert a.value == b.value == pytest.approx(float((cohort.weights[0] * a.map).sum()), rel=1e-5)
    np.testing.assert_array_equal(a.map, b.map)
    assert type(bm.load(tmp_path / "model")) is bm.Segmenter


def test_a_known_size_counts_all_pixels(cohort):
    """Also those that are no candidates, each by its own image's pixel area, and also when locating one case."""
    torch.manual_seed(0)
    model = bm.SizeConstrained("sfa", width=2).eval()
    images, weights = torch.as_tensor(cohort.images[:4, None]), torch.as_tensor(cohort.weights[:4])
    sizes = torch.as_tensor(cohort.spacing_mm[:4].prod(1)).float()
    out = model(images, weights, sizes)
    torch.testing.assert_close(out.value, out.map.sum((1, 2)) * sizes / 100)
    torch.testing.assert_close(model(images, weights.flip(-1), sizes).value, out.value)
    assert model.locate(cohort[0]).value == pytest.approx(out.value[0].item(), rel=1e-5)
    assert model.locate(cohort.voxels(0), boxes=cohort.regions(0)[2]).value == pytest.approx(
        out.value[0].item(), rel=1e-5
    )
    np.testing.assert_allclose(bm.predict(model, cohort[:4])[0], out.value.detach(), rtol=1e-5)
    model.trained_spacing_mm.fill_(2.0)
    torch.testing.assert_close(model(images, weights).value, out.map.sum((1, 2)) * 4 / 100)


def test_a_known_size_starts_from_the_prior_over_all_pixels(cohort):
    model = bm.SizeConstrained("sfa", torch.nn.Conv2d(1, 1, 1))
    torch.nn.init.zeros_(model.backbone.weight)
    torch.nn.init.zeros_(model.backbone.bias)
    model.prepare(cohort)
    sizes = torch.as_tensor(cohort.spacing_mm.prod(1)).float()
    out = model(torch.as_tensor(cohort.images[:, None]), torch.as_tensor(cohort.weights), sizes)
    assert out.value.sum().item() == pytest.approx(cohort.values.sum(), rel=1e-4)
    assert out.map.std() < 1e-6


def test_a_known_size_is_an_area():
    with pytest.raises(ValueError, match="'cac' measures no area in a slice"):
        bm.SizeConstrained("cac")


def test_a_backbone_without_an_encoder_is_refused():
    with pytest.raises(ValueError, match="Conv2d has no attribute 'encoder'"):
        bm.DirectRegressor("sfa", torch.nn.Conv2d(1, 1, 3, padding=1))


def test_a_regressor_that_was_trained_keeps_what_it_learned(cohort):
    """Prepared for other patients, or trained on at no rate at all, it says what it said before."""
    settings = {"batch_size": 8, "progress": False, "device": "cpu", "precision": "32"}
    torch.manual_seed(0)
    model = bm.DirectRegressor("sfa", width=4)
    bm.fit(model, cohort, epochs=6, **settings)
    before = bm.predict(model, cohort)[0]
    model.prepare(cohort[np.argsort(cohort.values)[-8:]])
    np.testing.assert_array_equal(bm.predict(model, cohort)[0], before)


@pytest.mark.parametrize(("key", "size"), [("sfa", 32), ("cac", 24)])
def test_a_regressor_is_told_the_size_of_a_box(key, size):
    """An image does not show it: the same picture with boxes twice as long on two sides has four times the value."""
    torch.manual_seed(0)
    cohort, model = bm.phantoms.draw(key, 4, seed=4, size=size), bm.DirectRegressor(key, width=4)
    model.prepare(cohort)
    assert float(model.size) == pytest.approx(cohort.spacing_mm.prod(1).mean(), rel=1e-5)
    images, sizes = torch.as_tensor(cohort.images[:, None]), torch.as_tensor(cohort.spacing_mm.prod(1)).float()
    model.eval()
    with torch.no_grad():
        told, wider, untold = (model(images, None, *given).value for given in ((sizes,), (4 * sizes,), ()))
    torch.testing.assert_close(wider, 4 * told)
    torch.testing.assert_close(told / untold, sizes / model.size)
    np.testing.assert_allclose(bm.predict(model, cohort)[0], told, rtol=1e-5)


@pytest.mark.parametrize("kind", [bm.Localizer, bm.Segmenter, bm.DirectRegressor, bm.SizeConstrained])
def test_each_comes_with_what_it_learns_by(kind):
    model = kind("liver", width=2) if kind is not bm.SizeConstrained else kind("sfa", width=2)
    loss, optimizer, epochs, batch_size = choose_settings(
        model, bm.phantoms.draw(model.task.key, 1, 0, size=24), None, None, None, None
    )
    assert loss == (kind.own_loss or model.task.settings.loss)
    assert optimizer == (AdamW(0.003) if kind is bm.DirectRegressor else model.task.settings.optimizer)
    assert (epochs, batch_size) == (model.task.settings.epochs, model.task.settings.batch_size)
