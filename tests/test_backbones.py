"""Backbones: same shape in and out, in both dimensions, at any size."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

import biomark as bm
from biomark.backbones import (
    BACKBONES,
    Block,
    Encoder,
    EncoderDecoder,
    ResidualBlock,
    build,
    fold_blocks,
    unfold_blocks,
)
from biomark.evaluation import networks
from biomark.grids import Boxes

BLOCKS = [Block, ResidualBlock]


@pytest.mark.parametrize("name", sorted(BACKBONES))
@pytest.mark.parametrize(
    ("shape", "fold"),
    [
        *(((32, 32), ()), ((17, 30), ()), ((17, 30), (2, 2)), ((17, 30), (3, 4)), ((1, 5), (2, 2))),
        *(
            ((8, 16, 16), ()),
            ((5, 9, 12), ()),
            ((5, 9, 12), (1, 2, 2)),
            ((5, 9, 12), (2, 3, 2)),
            ((5, 9, 12), (2, 2, 2)),
            ((5, 9, 12), (1, 1, 1)),
        ),
    ],
)
@pytest.mark.parametrize("depth", [None, 2])
def test_one_logit_a_voxel(name, shape, fold, depth):
    net = build(name, len(shape), 4, depth, fold).eval()
    with torch.no_grad():
        assert net(torch.randn(2, 1, *shape)).shape == (2, 1, *shape)
    assert len(net.encoder.channels) == (depth or {2: 4, 3: 3}[len(shape)])


@pytest.mark.parametrize(("fold", "ndim"), [((2, 2), 2), ((3, 1), 2), ((1, 2, 2), 3)])
def test_one_logit_a_block_is_brought_to_its_voxels_by_linear_interpolation(fold, ndim):
    """Constant at the rim, and half way between two blocks the mean of both; its own gives each voxel what it says."""
    sides = tuple(12 * f for f in fold)
    net, image = EncoderDecoder(ndim, 2, 2, fold).eval(), torch.randn(1, 1, *sides)
    coarse = []
    net.head.register_forward_hook(lambda module, inputs, output: coarse.append(output))
    with torch.no_grad():
        logits = net(image)[0, 0].numpy()
    boxes = Boxes(coarse[0].shape[2:], fold, sides)
    np.testing.assert_allclose(logits, boxes.interpolate(coarse[0][0, 0].numpy()), atol=1e-5)
    assert coarse[0].shape[1] == 1 and build("unet", 3, 2).head.out_channels == 8


def test_blocks_that_do_not_fit_the_image_are_said():
    for fold in ((2,), (2, 2, 2), (0, 2)):
        with pytest.raises(ValueError, match=r"does not divide images of 2 axes: give 2 whole numbers"):
            bm.Localizer("sfa", width=4, fold=fold)
    with pytest.raises(ValueError, match="width 4 and depth 0 make no network: take numbers of 1 or more"):
        bm.Localizer("sfa", width=4, depth=0)


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_every_weight_learns(name):
    net = build(name, 2, 4)
    net(torch.randn(2, 1, 32, 32)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters() if p.ndim > 1)


@pytest.mark.parametrize("name", sorted(BACKBONES))
@pytest.mark.parametrize(("task", "size"), [("sfa", 17), ("cac", 24)])
def test_models_take_every_backbone_in_both_dimensions(name, task, size):
    """With one logit a block, as areas by default, and with one a voxel."""
    cohort = bm.phantoms.draw(task, 3, seed=0, size=size)
    blocks = {"sfa": (2, 2), "cac": (2, 2, 2)}[task]
    for kind, fold in ((bm.Localizer, ()), (bm.Localizer, blocks), (bm.DirectRegressor, ())):
        torch.manual_seed(0)
        model = kind(task, backbone=name, width=2, fold=fold)
        before = copy.deepcopy(list(model.parameters()))
        bm.fit(model, cohort.without_masks(), epochs=2, batch_size=2, device="cpu", progress=False)
        assert not any(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
        assert np.isfinite(bm.predict(model, cohort)[0]).all()


@pytest.mark.parametrize(("name", "passes_detail"), [("fcn", False), ("unet", True), ("resunet", True)])
def test_only_skips_bring_detail_past_the_coarsest_scale(name, passes_detail):
    torch.manual_seed(0)
    net = build(name, 2, 4).eval()
    net.encoder.register_forward_hook(lambda module, image, scales: [*scales[:-1], torch.zeros_like(scales[-1])])
    with torch.no_grad():
        a, b = net(torch.randn(2, 1, 32, 32))
    assert torch.equal(a, b) != passes_detail


def test_a_residual_block_that_adds_nothing_passes_its_input():
    block, x = ResidualBlock(2, 4, 4).eval(), torch.randn(1, 4, 5, 6)
    nn.init.zeros_(block.change[-1].weight)
    assert torch.equal(block(x), x.relu())


@pytest.mark.parametrize(("name", "block"), [("fcn", Block), ("unet", Block), ("resunet", ResidualBlock)])
@pytest.mark.parametrize("task", ["sfa", "cac"])
def test_the_direct_regressor_has_the_encoder_of_its_backbone(name, block, task):
    encoder, usual = bm.DirectRegressor(task, backbone=name, width=4).encoder, bm.TASKS[task].settings
    usual = usual.depth, usual.fold
    assert all(type(scale) is block for scale in encoder.blocks)
    assert [p.shape for p in encoder.parameters()] == [
        p.shape for p in build(name, encoder.ndim, 4, *usual).encoder.parameters()
    ]


def test_padding_does_not_reach_what_it_should_not():
    """A side that the scales divide is not padded: the same picture inside a longer batch gives the same logits."""
    net = build("unet", 2, 4).eval()
    image = torch.randn(1, 1, 24, 24)
    with torch.no_grad():
        torch.testing.assert_close(net(image), net(image.repeat(2, 1, 1, 1))[:1])


@pytest.mark.parametrize(("shape", "fold"), [((6, 8), (2, 4)), ((3, 4, 6), (1, 2, 2)), ((4, 6, 8), (2, 3, 4))])
def test_folding_loses_nothing(shape, fold):
    image = torch.randn(2, 3, *shape)
    blocks = fold_blocks(image, fold)
    assert blocks.shape == (2, 3 * math.prod(fold), *(s // f for s, f in zip(shape, fold, strict=True)))
    assert torch.equal(unfold_blocks(blocks, fold), image)


def test_a_folded_voxel_holds_its_block():
    image = torch.arange(16.0).view(1, 1, 4, 4)
    assert fold_blocks(image, (2, 2))[0, :, 1, 0].tolist() == [8, 9, 12, 13]


@pytest.mark.parametrize("block", BLOCKS)
def test_encoder_halves_and_doubles(block):
    scales = Encoder(3, 4, 3, (1, 2, 2), block=block)(torch.randn(1, 1, 8, 16, 24))
    assert [tuple(s.shape) for s in scales] == [(1, 4, 8, 8, 12), (1, 8, 4, 4, 6), (1, 16, 2, 2, 3)]


def test_any_size_when_folded():
    net = EncoderDecoder(3, 4, depth=2, fold=(1, 2, 2)).eval()
    with torch.no_grad():
        assert net(torch.randn(1, 1, 3, 7, 10)).shape == (1, 1, 3, 7, 10)


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_small_volumes_are_learned_in_bfloat16(name):
    """The gradient of a volume two voxels deep at the coarsest scale is finite and that of float32."""
    torch.manual_seed(0)
    net, image = build(name, 3, 8), torch.randn(2, 1, 8, 16, 16)
    gradients = []
    for precise in (True, False):
        net.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=not precise):
            net(image).float().square().mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in net.encoder.blocks[-1].parameters()]))
    exact, rounded = gradients
    assert (exact - rounded).norm() < 0.2 * exact.norm()


def conv(**how):
    return nn.Conv2d(1, 1, 3, **how)


@pytest.mark.parametrize(
    ("net", "field"),
    [
        (conv(padding=1), 3),
        (nn.Sequential(conv(padding=1), conv(padding=1)), 5),
        (nn.Sequential(conv(padding=1), nn.ReLU(), conv(padding=2, dilation=2)), 7),
        # A pixel of the doubled picture: 3 of the halved one, which are 6 of the whole, and 1 more on either side.
        (nn.Sequential(conv(padding=1), nn.MaxPool2d(2), conv(padding=1), nn.Upsample(scale_factor=2)), 8),
        (nn.Sequential(conv(padding=1), nn.InstanceNorm2d(1)), 32),  # a mean over the image sees all of it
    ],
)
def test_receptive_fields_worked_by_hand(net, field):
    torch.manual_seed(0)
    assert networks.receptive_field(net, (32, 32)) == (field, field)


def test_a_receptive_field_has_its_length_along_each_axis():
    assert networks.receptive_field(nn.Conv3d(1, 1, (1, 3, 5), padding=(0, 1, 2)), (9, 9, 9)) == (1, 3, 5)


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_nothing_beyond_the_receptive_field_matters(name):
    """And training leaves the field as it is: neither weights nor running statistics open or close it."""
    torch.manual_seed(0)
    net = build(name, 2, 4)
    net(torch.randn(4, 1, 64, 64))  # running statistics that differ from those of the start
    field, _ = networks.receptive_field(net.eval(), (160, 160))
    assert field == networks.receptive_field(build(name, 2, 1), (160, 160))[0] < 110
    image = torch.randn(1, 1, 160, 160, dtype=torch.float64)
    far, reach = (
        image.clone(),
        field // 2 + 8,
    )  # the field lies off the middle by less than a voxel of the coarsest scale
    far[..., : 80 - reach] += 100
    far[..., 80 + reach :] += 100
    near = image.clone()
    near[..., 80 - field // 4] += 100
    with torch.no_grad():
        expected, beyond, within = (net.double()(x)[0, 0, 80, 80] for x in (image, far, near))
    assert torch.equal(expected, beyond) and not torch.equal(expected, within)


def test_a_description_worked_by_hand():
    net = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 1, 1))
    found = networks.describe(net, 2, 16, (10, 20))
    assert found.parameters == (9 * 6 + 6) + (6 + 1)
    assert found.multiply_adds == 10 * 20 * (9 * 6 + 6)  # biases are additions only
    assert found.receptive_field == (3, 3)


def test_describing_changes_nothing():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.BatchNorm2d(1))
    torch.manual_seed(0)
    state = copy.deepcopy(net.state_dict())
    networks.describe("fcn", 2, 2, (16, 16))
    networks.describe(net, 2, 2, (16, 16))
    assert torch.equal(torch.rand(1), expected)
    assert net.training and all(torch.equal(state[k], v) for k, v in net.state_dict().items())


def test_a_shape_of_another_dimension_is_refused():
    with pytest.raises(ValueError, match="has 2 sides, and ndim is 3"):
        networks.describe("unet", 3, 4, (16, 16))


def plain():
    return nn.Conv2d(1, 1, 3, padding=1)


def of_monai():
    nets = pytest.importorskip("monai.networks.nets", reason="MONAI is not installed (extra `peers`)")
    return nets.BasicUNet(spatial_dims=2, in_channels=1, out_channels=1, features=(4, 4, 4, 4, 4, 4))


@pytest.mark.parametrize("make", [plain, of_monai])
@pytest.mark.parametrize("size", [32, 37])
def test_any_module_plugs_in(make, size, tmp_path):
    """It is taken as it is, learns, and is saved and loaded."""
    cohort, net = bm.phantoms.draw("sfa", 4, seed=0, size=size), make()
    assert build(net, 2, 16) is net
    before = copy.deepcopy(list(net.parameters()))
    model = bm.Localizer("sfa", backbone=net)
    bm.fit(model, cohort.without_masks(), epochs=2, batch_size=2, device="cpu", progress=False)
    assert not all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
    model.save(tmp_path / "model.safetensors")
    again = bm.load(tmp_path / "model.safetensors", backbone=make())
    # Training leaves the weights in another memory layout, whose sums round differently.
    np.testing.assert_allclose(bm.predict(again, cohort)[1], bm.predict(model, cohort)[1], atol=1e-5)


def test_unknown_name():
    with pytest.raises(ValueError, match="choose one of fcn, unet, resunet"):
        build("vnet", 2, 16)


@pytest.mark.parametrize("width", [0, -4])
def test_a_width_that_there_is_not_is_said(width):
    with pytest.raises(ValueError, match=f"width {width} and depth 3 make no network: take numbers of 1 or more"):
        bm.Localizer("sfa", width=width)
