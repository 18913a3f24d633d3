"""What a network with one logit a block costs, and how far it sees; those with one a voxel are with the backbones."""

import numpy as np
import pytest
import torch

import biomark as bm
from biomark.backbones import EncoderDecoder, build
from biomark.evaluation import networks


@pytest.mark.parametrize(("fold", "field"), [((2, 2), (12, 12)), ((4, 1), (24, 5))])
def test_a_logit_of_blocks_worked_by_hand(fold, field):
    """One scale: two filters of 3 see 5 blocks, and a logit is interpolated between two of them: 6 blocks."""
    net = EncoderDecoder(2, 3, depth=1, fold=fold)
    assert networks.receptive_field(net, (48, 48)) == field


@pytest.mark.parametrize(("ndim", "fold", "depth"), [(2, (2, 2), 3), (2, (), 2), (3, (1, 2, 2), 2)])
def test_scales_and_blocks_are_those_of_the_network_described(ndim, fold, depth):
    shape = (64,) * 2 if ndim == 2 else (16, 48, 48)
    found = networks.describe("unet", ndim, 4, shape, depth=depth, fold=fold)
    net = build("unet", ndim, 4, depth, fold)
    assert found.parameters == sum(p.numel() for p in net.parameters())
    assert found.receptive_field == networks.receptive_field(net, shape)
    usual = networks.describe("unet", ndim, 4, shape)
    assert found.parameters < usual.parameters and (not fold or found.multiply_adds < usual.multiply_adds)


def test_what_a_task_s_own_network_sees_is_what_changes_its_map():
    """Beyond the field of the block in the middle nothing matters to it."""
    torch.manual_seed(0)
    model = bm.Localizer("sfa", width=2).eval().double()
    shape = (128, 128)
    rows, _ = networks.describe("unet", 2, 2, shape, depth=model.depth, fold=model.fold).receptive_field
    image = torch.randn(1, 1, *shape, dtype=torch.float64) * 50
    far = image.clone()
    reach = rows // 2 + 2 * 2 ** (model.depth - 1)  # the field lies off the middle by less than a coarsest voxel
    far[..., : 64 - reach, :] += 100
    far[..., 64 + reach :, :] += 100
    with torch.no_grad():
        one, other = (model.backbone(x)[0, 0, 64] for x in (image, far))
    np.testing.assert_allclose(one, other, atol=1e-6)
