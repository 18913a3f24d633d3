"""The sum against a plain loop, the loss against its unit, the prior against algebra."""

import math

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


def test_prior_makes_a_uniform_map_sum_to_the_total():
    weights, values = torch.rand(6, 8, 8), torch.tensor([3.0, 5, 2, 8, 1, 4])
    share = torch.sigmoid(losses.prior_logit(values, weights))
    assert (share * weights).sum().item() == pytest.approx(values.sum().item(), rel=1e-4)


def test_no_candidates_at_all_is_said():
    with pytest.raises(ValueError, match="no training case has a candidate"):
        losses.prior_logit(torch.ones(2), torch.zeros(2, 4, 4))


def test_mask_loss_by_hand():
    """Two candidates at 1/2, of weights 1 and 3, the second true; and a voxel outside that is not asked."""
    logits, weights = torch.tensor([[0.0, 0.0, 9.0]]), torch.tensor([[1.0, 3.0, 0.0]])
    truth = torch.tensor([[0.0, 3.0, 0.0]])
    entropy, overlap = math.log(2), 2 * 1.5 / (2 + 3)
    assert baselines.mask_loss(logits, truth, weights).item() == pytest.approx(entropy + 1 - overlap, rel=1e-4)
    # Certain and right: nothing left to learn.
    sure = torch.tensor([[-40.0, 40.0, 9.0]])
    assert baselines.mask_loss(sure, truth, weights).item() == pytest.approx(0, abs=1e-4)
    assert baselines.mask_loss(sure, weights - truth, weights).item() > 20


def test_mask_loss_asks_of_a_box_what_share_belongs():
    """Of a box that lies in the mask by a quarter, the map should say a quarter; its weight says how loudly."""
    weights, truth = torch.tensor([[2.0, 6.0]]), torch.tensor([[0.5, 6.0]])
    logits = torch.zeros(1, 2, requires_grad=True)
    shares = torch.tensor([0.25, 1.0])
    entropy = (torch.tensor([2.0, 6.0]) * math.log(2)).sum() / 8
    overlap = 2 * (2 * 0.5 * 0.25 + 6 * 0.5) / (2 * 0.75 + 6 * 1.5)
    assert baselines.mask_loss(logits, truth, weights).item() == pytest.approx((entropy + 1 - overlap).item(), rel=1e-4)
    for scale in (0.01, 100.0):
        assert baselines.mask_loss(logits, scale * truth, scale * weights).item() == pytest.approx(
            baselines.mask_loss(logits, truth, weights).item(), rel=1e-5
        )
    at_shares = torch.logit(shares, 1e-6)[None].requires_grad_()
    torch.nn.functional.binary_cross_entropy_with_logits(at_shares, shares[None], weights).backward()
    assert at_shares.grad.abs().max() < 1e-5


def test_mask_loss_without_candidates_or_truth_is_finite():
    nothing = torch.zeros(1, 3)
    assert baselines.mask_loss(nothing, nothing, nothing).isfinite()
    assert baselines.mask_loss(nothing, nothing, nothing + 1).isfinite()


def test_size_penalty_by_hand():
    """Known sizes of 10 allow 9 to 11; two of four lie outside by 1, half a typical size."""
    predicted, known = torch.tensor([9.5, 11.0, 12.0, 8.0]), torch.full((4,), 10.0)
    assert baselines.size_penalty(predicted, known, 2.0).item() == pytest.approx((0 + 0 + 0.25 + 0.25) / 4, rel=1e-4)
    assert baselines.size_penalty(torch.tensor([3.0]), torch.tensor([0.0]), 1.0).item() == pytest.approx(9)


@pytest.mark.parametrize("maps", [None, torch.rand(2, 6, 6)])
def test_the_loss_is_the_distance_alone(maps):
    """Early and late, with a map and without."""
    values, typical = torch.tensor([9.0, 7.0]), torch.tensor(8.0)
    predicted = torch.tensor([11.0, 3.0])

    class Known(torch.nn.Module):
        scale = typical

        def forward(self, images_hu, weights):
            return bm.Localization(predicted, maps)

    distance = losses.value_loss(predicted, values, typical, "log").item()
    for progress in (0.0, 0.25, 1.0):
        assert losses.SumLoss("log")(Known(), None, None, values, progress=progress).item() == pytest.approx(distance)
