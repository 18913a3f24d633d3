"""The sum against a plain loop, the loss against its unit, the prior against algebra."""

import math

import numpy as np
import pytest
import torch

import biomark as bm
from biomark import baselines, losses


@pytest.mark.parametrize("shape", [(3, 5, 4), (2, 3, 4, 5)])
def test_aggregate_equals_a_loop(shape):
    generator = torch.Generator().manual_seed(0)
    map, weights = torch.rand(shape, generator=generator), torch.rand(shape, generator=generator)
    for value, m, w in zip(losses.aggregate(map, weights), map, weights, strict=True):
        total = sum(a.item() * b.item() for a, b in zip(m.flatten(), w.flatten(), strict=True))
        assert value.item() == pytest.approx(total, rel=1e-6)


def test_half_precision_maps_are_summed_in_float32():
    map = torch.full((1, 512, 512), 1.0, dtype=torch.float16)
    assert losses.aggregate(map, torch.ones(1, 512, 512)).item() == 512 * 512  # float16 ends at 65504


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="one shape"):
        losses.aggregate(torch.zeros(2, 3, 3), torch.zeros(2, 1, 3, 3))


def test_loss_does_not_depend_on_the_unit():
    predicted, known = torch.tensor([1.0, 4.0]), torch.tensor([2.0, 2.0])
    one = losses.value_loss(predicted, known, 2.0)
    assert one.item() == pytest.approx(0.75)
    assert losses.value_loss(100 * predicted, 100 * known, 200.0).item() == pytest.approx(one.item())


@pytest.mark.parametrize("value_scale", losses.SCALES)
def test_no_scale_depends_on_the_unit(value_scale):
    predicted, known = torch.tensor([1.0, 40.0, 0.0]), torch.tensor([2.0, 20.0, 0.0])
    one, other = (losses.value_loss(f * predicted, f * known, f * 10.0, value_scale) for f in (1, 100))
    assert one.item() == pytest.approx(other.item(), rel=1e-5)


def test_a_logarithm_hears_ratios():
    """Twice too much weighs the same at 100 and at 10,000; on a linear scale the second drowns the first."""
    low, high = (losses.value_loss(torch.tensor([2 * v]), torch.tensor([v]), 10.0, "log").item() for v in (100.0, 1e4))
    assert low == pytest.approx(high, rel=0.01) and high == pytest.approx(math.log(2), rel=0.01)


def test_scales_by_hand():
    """In units of the typical value 2: |1 - 4|, and roots and logarithms of 1.02 and 4.02."""
    predicted, known = torch.tensor([2.0]), torch.tensor([8.0])
    found = [losses.value_loss(predicted, known, 2.0, s).item() for s in ("linear", "sqrt", "log")]
    assert found == pytest.approx([3, math.sqrt(4.02) - math.sqrt(1.02), math.log(4.02 / 1.02)], rel=1e-5)


def test_the_squared_difference_ends_in_a_straight_line():
    """In units of the typical value 2: half of 3 squared; and beyond 5, the line that goes on with slope 5."""
    found = [losses.value_loss(torch.tensor([2.0]), torch.tensor([k]), 2.0, "squared").item() for k in (8.0, 24.0)]
    assert found == pytest.approx([4.5, 5 * (11 - 2.5)])


def test_scales_add_up():
    predicted, known = torch.tensor([1.0, 40.0]), torch.tensor([2.0, 20.0])
    both, linear, log = (losses.value_loss(predicted, known, 9.0, s).item() for s in ("linear+log", "linear", "log"))
    assert both == pytest.approx(linear + log, rel=1e-6)


def test_unknown_scale():
    with pytest.raises(ValueError, match="'cube': choose from linear, sqrt, log"):
        losses.SumLoss("log+cube")


def test_indecision_by_hand():
    map, weights = torch.tensor([[[0.0, 1.0], [0.5, 0.1]]]), torch.tensor([[[3.0, 3.0], [4.0, 0.0]]])
    assert losses.binarity(map, weights, 2.0).item() == pytest.approx(4 * 0.25 / 2)


def test_outline_by_hand():
    """Two by three pixels: the edge between like pixels costs a weight, the one along a step in HU next to nothing,
    the one to a pixel that is no candidate nothing."""
    map = torch.tensor([[[1.0, 0.0, 0.0], [1.0, 0.5, 1.0]]])
    weights = torch.tensor([[[2.0, 2.0, 2.0], [2.0, 2.0, 0.0]]])
    image = torch.tensor([[[-100.0, -100.0, 80.0], [-100.0, 80.0, 80.0]]])
    across = 2 * 1.0  # the upper left pair; the lower left pair has 0.5 over a step of 180 HU, a 4.5-fold ALIKE_HU
    step = 2 * 0.5 * torch.tensor(-(4.5**2) / 2).exp().item()
    down = 2 * 0.5 * torch.tensor(-(4.5**2) / 2).exp().item()
    assert losses.edges(map, weights, image, 4.0).item() == pytest.approx((across + step + down) / 4, rel=1e-6)


def test_outline_of_a_cube_is_its_surface():
    map = torch.zeros(2, 6, 6, 6)
    map[:, 1:4, 2:5, 1:5] = 1
    flat = torch.zeros_like(map)
    surface = 2 * (3 * 3 + 3 * 4 + 3 * 4)
    assert losses.edges(map, torch.ones_like(map), flat, 1.0).item() == pytest.approx(surface)


def test_prior_makes_a_uniform_map_sum_to_the_total():
    weights, values = torch.rand(6, 8, 8), torch.tensor([3.0, 5, 2, 8, 1, 4])
    share = torch.sigmoid(losses.prior_logit(values, weights))
    assert (share * weights).sum().item() == pytest.approx(values.sum().item(), rel=1e-4)


def test_no_candidates_at_all_is_said():
    with pytest.raises(ValueError, match="no training case has a candidate"):
        losses.prior_logit(torch.ones(2), torch.zeros(2, 4, 4))


def test_mask_loss_by_hand():
    """Two candidates at 1/2, one of them true, and a voxel outside that is not asked."""
    logits = torch.tensor([[0.0, 0.0, 9.0]])
    masks, weights = torch.tensor([[True, False, False]]), torch.tensor([[0.2, 5.0, 0.0]])
    entropy, overlap = math.log(2), 2 * 0.5 / (1 + 1)
    assert baselines.mask_loss(logits, masks, weights).item() == pytest.approx(entropy + 1 - overlap, rel=1e-4)
    # Certain and right: nothing left to learn.
    sure = torch.tensor([[40.0, -40.0, 9.0]])
    assert baselines.mask_loss(sure, masks, weights).item() == pytest.approx(0, abs=1e-4)
    assert baselines.mask_loss(sure, ~masks, weights).item() > 20


def test_mask_loss_without_candidates_or_truth_is_finite():
    nothing = torch.zeros(1, 3)
    assert baselines.mask_loss(nothing, nothing.bool(), nothing).isfinite()
    assert baselines.mask_loss(nothing, nothing.bool(), nothing + 1).isfinite()


def test_size_penalty_by_hand():
    """Known sizes of 10 allow 9 to 11; two of four lie outside by 1, half a typical size."""
    predicted, known = torch.tensor([9.5, 11.0, 12.0, 8.0]), torch.full((4,), 10.0)
    assert baselines.size_penalty(predicted, known, 2.0).item() == pytest.approx((0 + 0 + 0.25 + 0.25) / 4, rel=1e-4)
    assert baselines.size_penalty(torch.tensor([3.0]), torch.tensor([0.0]), 1.0).item() == pytest.approx(9)


def test_a_map_that_takes_one_share_of_all_candidates_earns_nothing():
    weights = torch.rand(6, 5, 5)
    share = torch.linspace(0.1, 0.6, 6)
    known = share * weights.sum((1, 2))
    # A quarter of a sum is exact in binary. Other shares differ by rounding, whose correlation eps holds below 5%.
    assert losses.shares(0.25 * weights.sum((1, 2)), known, weights) == pytest.approx(1, abs=1e-6)
    assert losses.shares(0.3 * weights.sum((1, 2)), known, weights) == pytest.approx(1, abs=0.05)
    assert losses.shares(known, known, weights) == pytest.approx(0, abs=1e-5)
    assert losses.shares(2 * known, known, weights) == pytest.approx(0, abs=1e-5)  # a size is not its business
    opposite = (0.7 - share) * weights.sum((1, 2))
    assert losses.shares(opposite, known, weights) == pytest.approx(2, abs=1e-5)


def test_share_mismatch_is_one_minus_r_and_its_gradient_raises_the_larger_share():
    weights = torch.tensor([[[1.0, 1.0]], [[2.0, 2.0]], [[0.0, 0.0]], [[3.0, 1.0]]])
    known = torch.tensor([1.0, 1.0, 5.0, 3.0])
    predicted = torch.tensor([0.9, 1.2, 0.0, 2.0], requires_grad=True)
    mismatch = losses.shares(predicted, known, weights)
    shares = np.array([[0.45, 0.3, 0.5], [0.5, 0.25, 0.75]])  # the third case has no candidates
    assert mismatch.item() == pytest.approx(1 - np.corrcoef(shares)[0, 1], abs=1e-5)
    mismatch.backward()
    assert predicted.grad[3] < 0 and predicted.grad[2] == 0 and torch.isfinite(predicted.grad).all()


@pytest.mark.parametrize("n", [0, 1, 3])
def test_share_mismatch_of_alike_or_too_few_cases_pushes_nowhere(n):
    weights = torch.ones(n, 2, 2)
    predicted = torch.full((n,), 2.0, requires_grad=True)
    mismatch = losses.shares(predicted, torch.full((n,), 1.0), weights)
    assert mismatch.item() == pytest.approx(1)
    mismatch.backward()
    assert torch.isfinite(predicted.grad).all()


def test_terms_come_in_when_they_are_due():
    """The distance alone at first, then each term by its own course; a model without a map is asked for none."""
    torch.manual_seed(0)
    images, weights, values = 100 * torch.randn(2, 1, 6, 6), torch.rand(2, 6, 6), torch.tensor([9.0, 7.0])
    maps, typical = torch.rand(2, 6, 6), torch.tensor(8.0)

    class Known(torch.nn.Module):
        scale = typical

        def forward(self, images_hu, weights):
            return bm.Localization(losses.aggregate(maps, weights), maps)

    predicted = losses.aggregate(maps, weights)
    distance = losses.value_loss(predicted, values, typical, "log")
    binarity, edges = losses.binarity(maps, weights, typical), losses.edges(maps, weights, images[:, 0], typical)
    shares = losses.shares(predicted, values, weights)
    loss = losses.SumLoss("log", binarity=0.2, edges=0.1, shares=0.3)
    for progress, expected in (
        (0.0, distance + 0.3 * shares),
        (0.25, distance + 0.3 * shares + 0.05 * binarity + 0.025 * edges),
        (1.0, distance + 0.3 * shares + 0.2 * binarity + 0.1 * edges),
    ):
        found = loss(Known(), images, weights, values, progress=progress)
        assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    assert losses.SumLoss("log")(Known(), images, weights, values).item() == pytest.approx(distance.item(), rel=1e-6)
