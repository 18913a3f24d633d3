"""Backbones: same shape in and out, in both dimensions, at any size."""

import pytest
import torch
from torch import nn

from biomark.backbones import BACKBONES, build


@pytest.mark.parametrize("name", sorted(BACKBONES))
@pytest.mark.parametrize("shape", [(32, 32), (17, 30), (8, 16, 16), (5, 9, 12)])
def test_one_logit_a_voxel(name, shape):
    net = build(name, len(shape), 4).eval()
    with torch.no_grad():
        assert net(torch.randn(2, 1, *shape)).shape == (2, 1, *shape)


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_every_weight_learns(name):
    net = build(name, 2, 4)
    net(torch.randn(2, 1, 32, 32)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters() if p.ndim > 1)


def test_padding_does_not_reach_what_it_should_not():
    """A side that the scales divide is not padded: the same picture inside a longer batch gives the same logits."""
    net = build("unet", 2, 4).eval()
    image = torch.randn(1, 1, 24, 24)
    with torch.no_grad():
        torch.testing.assert_close(net(image), net(image.repeat(2, 1, 1, 1))[:1])


def test_any_module_plugs_in():
    net = nn.Conv2d(1, 1, 3, padding=1)
    assert build(net, 2, 16) is net


def test_unknown_name():
    with pytest.raises(ValueError, match="choose one of unet"):
        build("vnet", 2, 16)
