"""Post hoc maps lie where a regressor looks, and their score is the best that could be given to them."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import biomark as bm
from biomark.evaluation.post_hoc import METHODS, explain, score

TASK = dataclasses.replace(
    bm.TASKS["sfa"],
    hu_window=(-np.inf, np.inf),
    region=lambda image, spacing: image > -np.inf,
    voxel_weight=lambda image, spacing: np.float32(1),
    skin_mm=0.0,
    settings=bm.tasks.Settings(),
)


class Part(nn.Module):
    """An encoder of one scale that sees a part of the image alone, averaged over blocks of four."""

    def __init__(self, part):
        super().__init__()
        self.channels, self.multiple = [1], [4] * len(part)
        self.blocks = nn.ModuleList([nn.Identity()])
        self.part = part

    def forward(self, image):
        seen = torch.zeros_like(image)
        seen[:, :, *self.part] = image[:, :, *self.part] + 1
        pool = {2: nn.functional.avg_pool2d, 3: nn.functional.avg_pool3d}[len(self.part)]
        return [self.blocks[0](pool(seen, 4))]


class Mean(bm.DirectRegressor):
    """A regressor whose value is the mean of what that encoder sees."""

    def __init__(self, part):
        backbone = nn.Module()
        backbone.encoder = Part(part)
        super().__init__(dataclasses.replace(TASK, ndim=len(part)), backbone)

    def forward(self, images_hu, weights=None):
        seen = self.encoder(bm.backbones.pad_to_multiple(self.normalise(images_hu), self.encoder.multiple))[-1]
        return bm.Localization(seen.flatten(1).mean(1), None)


def made(task, images, masks=None):
    n, spacing = len(images), np.full((len(images), task.ndim), 10.0)
    weights = np.stack([task.weigh(*case) for case in zip(images, spacing, strict=True)])
    return bm.Cohort(task, images, weights, np.ones(n), masks, spacing, tuple(map(str, range(n))))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("shape", "part"), [((22, 27), np.s_[4:12, 16:24]), ((9, 14, 18), np.s_[4:8, 4:12, 8:16])])
def test_the_map_lies_on_what_is_looked_at(method, shape, part):
    images = np.random.default_rng(0).normal(0, 50, (3, *shape)).astype(np.float32)
    masks = np.zeros(images.shape, bool)
    masks[:, *part] = True
    model = Mean(part)
    maps = explain(model, made(model.task, images), method, window_mm=40, batch_size=2)
    assert maps.dtype == np.float32 and maps.shape == images.shape and maps.min() >= 0
    found = score(maps, made(model.task, images, masks))
    assert found.dice > 0.75
    assert found.energy_in_mask > 0.5 > 2 * masks.mean()


def test_integrated_gradients_add_up_to_the_value():
    """All is positive here, so that the attributions sum to the value less that of the empty image, 0."""
    model = Mean(np.s_[4:12, 16:24])
    images = np.random.default_rng(0).normal(0, 50, (3, 22, 27)).astype(np.float32)
    maps = explain(model, made(TASK, images), "integrated_gradients")
    value = model(torch.as_tensor(images[:, None])).value
    np.testing.assert_allclose(maps.sum((1, 2)), value, rtol=1e-4)


@pytest.mark.parametrize("backbone", sorted(bm.backbones.BACKBONES))
@pytest.mark.parametrize("ndim", [2, 3])
def test_every_encoder_is_explained_at_every_scale(backbone, ndim):
    torch.manual_seed(0)
    task = dataclasses.replace(TASK, ndim=ndim)
    model = bm.DirectRegressor(task, backbone, width=2).train()
    cohort = made(task, np.random.default_rng(0).normal(0, 50, (2, *(10, 21, 27)[-ndim:])).astype(np.float32))
    model.prepare(cohort)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    last = len(model.encoder.channels) - 1
    maps = [explain(model, cohort, "grad_cam", layer=layer) for layer in range(last + 1)]
    assert all(m.shape == cohort.images.shape and np.isfinite(m).all() and m.min() >= 0 for m in maps)
    np.testing.assert_array_equal(explain(model, cohort, "grad_cam"), maps[-1])
    assert model.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    with pytest.raises(ValueError, match=f"choose a layer from 0 to {last}"):
        explain(model, cohort, "grad_cam", layer=last + 1)


def test_what_cannot_be_explained_is_said():
    cohort = made(TASK, np.zeros((1, 12, 12), np.float32))
    with pytest.raises(ValueError, match="no method is called 'lime': choose one of grad_cam"):
        explain(bm.DirectRegressor("sfa", width=2), cohort, "lime")
    with pytest.raises(ValueError, match="a Localizer is not explained post hoc"):
        explain(bm.Localizer("sfa", width=2), cohort, "occlusion")


@pytest.fixture(scope="module")
def cohort():
    return bm.phantoms.draw("sfa", 6, seed=6, size=32)


@pytest.fixture(scope="module")
def voxels(cohort):
    """The same cases, whose boxes are their voxels."""
    found = [cohort.voxels(i) for i in range(len(cohort))]
    arrays = [np.stack([getattr(case, name) for case in found]) for name in ("image", "weights", "mask")]
    spacing = np.array([case.spacing_mm for case in found])
    return bm.Cohort(cohort.task, *arrays[:2], cohort.values, arrays[2], spacing, cohort.ids)


def test_the_truth_scores_one_and_nothing_scores_as_the_candidates(cohort, voxels):
    best = score(voxels.truth > 0, voxels)
    assert (best.dice, best.energy_in_mask) == (1, 1)
    for one in (cohort, voxels):
        floor = score(np.zeros(one.images.shape), one)
        assert floor.dice == pytest.approx(np.mean(bm.metrics.dice(voxels.weights > 0, voxels.truth > 0)))


@pytest.mark.parametrize("grid", ["boxes", "voxels"])
def test_the_threshold_is_the_best_of_all(grid, cohort, voxels):
    """Against the plain way: cut all maps at every value, on the measuring grid, and take Dice."""
    rng, some, truth = np.random.default_rng(0), cohort if grid == "boxes" else voxels, voxels.truth > 0
    maps = np.round(rng.random(some.images.shape) + (some.truth > some.weights / 2), 1).astype(np.float32)
    boxes = [some.regions(i)[2] for i in range(len(some))]
    near = np.stack([some.task.membership(m, b, w) for m, b, w in zip(maps, boxes, voxels.weights, strict=True)])
    found = score(maps, some, thresholds=np.linspace(0, 1, 500))
    candidates = voxels.weights > 0
    scaled = near / near.max((1, 2), keepdims=True, where=candidates, initial=0)
    plain = []
    for values in (near, scaled):
        cuts = np.unique(np.quantile(values[candidates], np.linspace(0, 1, 500)))
        plain.append(max(np.mean(bm.metrics.dice((values >= t) & candidates, truth)) for t in cuts))
    assert found.dice == pytest.approx(max(plain)) and found.by_case == (plain[1] > plain[0])
    cut = bm.metrics.dice(((scaled if found.by_case else near) >= found.threshold) & candidates, truth)
    np.testing.assert_allclose(found.dices, cut)
    spread = np.stack([b.spread(m) for b, m in zip(boxes, maps, strict=True)])
    assert found.energy_in_mask == pytest.approx(bm.metrics.energy_in_mask(spread, truth, voxels.weights), rel=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(1e-3, 1e3), min_size=6, max_size=6))
def test_maps_of_unlike_size_are_made_alike(cohort, sizes):
    """A factor a case cannot spoil a score, and one factor for all changes nothing."""
    maps = np.random.default_rng(0).random(cohort.images.shape) + (cohort.truth > 0)
    plain = score(maps / maps.max((1, 2), keepdims=True, where=cohort.weights > 0, initial=0), cohort)
    assert score(maps * np.array(sizes)[:, None, None], cohort).dice >= plain.dice - 0.01
    assert score(maps * sizes[0], cohort).dice == pytest.approx(score(maps, cohort).dice, abs=0.01)


def test_cases_without_a_truth_are_left_out(voxels):
    truth = voxels.truth.copy()
    truth[0] = 0
    found = score(voxels.truth, dataclasses.replace(voxels, truth=truth))
    assert np.isnan(found.dices[0]) and found.dice == pytest.approx(found.dices[1:].mean())


@pytest.mark.parametrize(
    ("change", "maps", "words"),
    [
        ({"truth": None}, 1.0, "this cohort has none"),
        ({}, -1.0, "not negative"),
        ({}, np.nan, "finite"),
        ({"weights": 0, "truth": 0}, 1.0, "no case has any"),
        ({"truth": 0}, 1.0, "no case has any"),
    ],
)
def test_what_cannot_be_scored_is_said(voxels, change, maps, words):
    change = {k: v if v is None else np.full_like(getattr(voxels, k), v) for k, v in change.items()}
    with pytest.raises(ValueError, match=words):
        score(np.full(voxels.images.shape, maps), dataclasses.replace(voxels, **change))
