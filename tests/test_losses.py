"""The sum against a plain loop, the loss against its unit, the prior against algebra."""

import pytest
import torch

from biomark import losses


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


def test_prior_makes_a_uniform_map_sum_to_the_total():
    weights, values = torch.rand(6, 8, 8), torch.tensor([3.0, 5, 2, 8, 1, 4])
    share = torch.sigmoid(losses.prior_logit(values, weights))
    assert (share * weights).sum().item() == pytest.approx(values.sum().item(), rel=1e-4)


def test_no_candidates_at_all_is_said():
    with pytest.raises(ValueError, match="no training case has a candidate"):
        losses.prior_logit(torch.ones(2), torch.zeros(2, 4, 4))
