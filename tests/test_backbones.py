"""Backbones: same shape in and out, in both dimensions, at any size."""

import math

import pytest
import torch
from torch import nn

from biomark.backbones import BACKBONES, Encoder, UNet, build, folded, unfolded


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


@pytest.mark.parametrize(("shape", "fold"), [((6, 8), (2, 4)), ((3, 4, 6), (1, 2, 2)), ((4, 6, 8), (2, 3, 4))])
def test_folding_loses_nothing(shape, fold):
    image = torch.randn(2, 3, *shape)
    blocks = folded(image, fold)
    assert blocks.shape == (2, 3 * math.prod(fold), *(s // f for s, f in zip(shape, fold, strict=True)))
    assert torch.equal(unfolded(blocks, fold), image)


def test_a_folded_voxel_holds_its_block():
    image = torch.arange(16.0).view(1, 1, 4, 4)
    assert folded(image, (2, 2))[0, :, 1, 0].tolist() == [8, 9, 12, 13]


def test_encoder_halves_and_doubles():
    scales = Encoder(3, 4, 3, (1, 2, 2))(torch.randn(1, 1, 8, 16, 24))
    assert [tuple(s.shape) for s in scales] == [(1, 4, 8, 8, 12), (1, 8, 4, 4, 6), (1, 16, 2, 2, 3)]


def test_any_size_when_folded():
    net = UNet(3, 4, depth=2, fold=(1, 2, 2)).eval()
    with torch.no_grad():
        assert net(torch.randn(1, 1, 3, 7, 10)).shape == (1, 1, 3, 7, 10)


def test_small_volumes_are_learned_in_bfloat16():
    """The gradient of a volume two voxels deep at the coarsest scale is finite and that of float32."""
    torch.manual_seed(0)
    net, image = UNet(3, 8, depth=3, fold=(1, 2, 2)), torch.randn(2, 1, 8, 16, 16)
    gradients = []
    for precise in (True, False):
        net.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=not precise):
            net(image).float().square().mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in net.encoder.blocks[-1].parameters()]))
    exact, rounded = gradients
    assert (exact - rounded).norm() < 0.2 * exact.norm()


def test_any_module_plugs_in():
    net = nn.Conv2d(1, 1, 3, padding=1)
    assert build(net, 2, 16) is net


def test_unknown_name():
    with pytest.raises(ValueError, match="choose one of unet"):
        build("vnet", 2, 16)
