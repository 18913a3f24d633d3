"""A map from windows is the map of the whole, but near the seams, and its value is the sum over the whole."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import biomark as bm
from biomark.evaluation import networks
from biomark.machine import windows


class Constant(nn.Module):
    def forward(self, image):
        return torch.full_like(image, 0.3)


def case_of(shape, task="cac"):
    rng = np.random.default_rng(0)
    image = rng.normal(0, 200, shape).astype(np.float32)
    weights = rng.uniform(0, 2, shape).astype(np.float32) * (image > 130)
    return bm.Case("x", image, weights, None, None, (1.0,) * len(shape))


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 300), window=st.integers(32, 200))
def test_windows_cover_an_axis_overlap_and_count_one_in_every_voxel(n, window):
    spans = windows._spans(n, window)
    total = torch.zeros(n)
    for share, (first, last) in zip(windows._shares(n, spans), spans, strict=True):
        assert last - first <= window and len(share) == last - first and (share > 0).all()
        total[first:last] += share
    torch.testing.assert_close(total, torch.ones(n))
    assert spans[0][0] == 0 and spans[-1][1] == n and all(first % 16 == 0 for first, _ in spans)
    # Of the part of a window that is whole blocks of 16; the last one ends with the image.
    wide = window // 16 * 16
    assert all(a[0] + wide - b[0] >= wide / 4 for a, b in zip(spans, spans[1:], strict=False))


@pytest.mark.parametrize("shape, window", [((70, 90), (32, 48)), ((40, 50, 70), (32, 32, 48))])
def test_a_constant_map_stays_so_and_the_value_is_the_sum(shape, window):
    model = bm.Localizer("cac" if len(shape) == 3 else "pma", backbone=Constant())
    case = case_of(shape)
    whole, parts = model.locate(case), model.locate(case, window=window)
    np.testing.assert_allclose(parts.map, whole.map, rtol=1e-6)
    assert parts.value == pytest.approx(whole.value, rel=1e-6)
    assert parts.value == pytest.approx(float((parts.map.astype(float) * case.weights).sum()), rel=1e-6)


def test_a_window_as_large_as_the_image_changes_no_bit():
    torch.manual_seed(0)
    model, case = bm.Localizer("cac", width=2), case_of((20, 40, 44))
    for window in ((32, 40, 44), (100, 100, 100)):
        found, whole = model.locate(case, window=window), model.locate(case)
        assert found.value == whole.value
        np.testing.assert_array_equal(found.map, whole.map)


@pytest.fixture(scope="module", params=["unet", "fcn"])
def decided(request):
    """A network whose map is far from flat, and a strip of a chest: running statistics and scale are the strip's."""
    chest = bm.phantoms.draw("pma", 1, seed=0, size=150).voxels(0)
    case = bm.Case("strip", chest.image[160:224, :448], chest.weights[160:224, :448], None, None, (1.0, 1.0))
    torch.manual_seed(0)
    model, image = bm.Localizer("pma", backbone=request.param, width=4), torch.as_tensor(case.image)[None, None]
    last = [module for module in model.modules() if isinstance(module, nn.Conv2d)][-1]
    with torch.no_grad():
        for _ in range(30):
            model.train().logits(image)
        last.weight *= 3 / model.eval().logits(image).std()
        model.bias -= model.logits(image).mean()
    return model, case


def test_away_from_the_seams_the_map_is_that_of_the_whole_and_at_them_near_it(decided):
    model, case = decided
    whole, parts = model.locate(case), model.locate(case, window=(64, 224))
    assert whole.map.std() > 0.2
    (_, end), (begin, _), *_ = windows._spans(448, 224)
    reach = networks.receptive_field(model.backbone, (64, 384))[1] // 2 + 8
    alone = slice(0, min(begin, end - reach))
    assert alone.stop > 100
    np.testing.assert_allclose(parts.map[:, alone], whole.map[:, alone], atol=1e-5)
    # Beside each other and not blended, the same windows miss by far more.
    halves = [(case.image[:, i : i + 224], case.weights[:, i : i + 224]) for i in (0, 224)]
    halves = [model.locate(bm.Case("", *half, None, None, (1.0, 1.0))).map for half in halves]
    off, off_halves = np.abs(parts.map - whole.map), np.abs(np.concatenate(halves, 1) - whole.map)
    assert 0 < off.max() < 0.2 < 0.5 < off_halves.max()
    assert off.mean() < off_halves.mean() / 3
    assert parts.value == pytest.approx(whole.value, rel=0.02)


def test_windows_lie_on_boxes_of_the_training_set():
    torch.manual_seed(0)
    model = bm.Localizer("pma", width=4)
    model.trained_spacing_mm.fill_(2.0)
    seen = []
    model.backbone.register_forward_pre_hook(lambda _, arguments: seen.append(tuple(arguments[0].shape[2:])))
    found = model.locate(case_of((144, 176)), window=(48, 64))  # at 1 mm: 72 x 88 boxes of 2 mm
    assert found.map.shape == (144, 176) and len(seen) == 4
    assert max(a for a, _ in seen) <= 48 and max(b for _, b in seen) <= 64


def test_rivals_and_ensembles_look_through_windows_too():
    torch.manual_seed(0)
    members, case = [bm.Segmenter("pma", width=2) for _ in range(2)], case_of((64, 80))
    whole, parts = (bm.Ensemble(members).locate(case, window=window) for window in (None, (48, 48)))
    assert np.abs(whole.map - parts.map).max() < 0.1
    assert parts.value == pytest.approx(float((parts.map * case.weights).sum()), rel=1e-5)


def test_a_window_that_does_not_fit_is_refused_and_nothing_changes():
    model = bm.Localizer("pma", width=2).train()
    for window in ((32, 32, 32), (64, 24)):
        with pytest.raises(ValueError, match="does not suit images of 2 axes: give 2 sides of 32 voxels or more"):
            model.locate(case_of((64, 80)), window=window)
    assert model.training
