"""Encoder-decoders that turn an image into one logit a voxel or a block of them, once for slices and volumes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from biomark.machine.layers import NORM, fold_blocks, pad_to_multiple, unfold_blocks

CONV = {2: nn.Conv2d, 3: nn.Conv3d}
POOL = {2: F.max_pool2d, 3: F.max_pool3d}
LINEAR = {2: "bilinear", 3: "trilinear"}


class Block(nn.Sequential):
    """Two 3x3(x3) convolutions, each normalised and rectified. ``(N, C, *S) -> (N, D, *S)``."""

    def __init__(self, ndim: int, channels_in: int, channels_out: int) -> None:
        conv, norm = CONV[ndim], NORM[ndim]
        super().__init__(
            conv(channels_in, channels_out, 3, padding=1, bias=False),
            norm(channels_out),
            nn.ReLU(inplace=True),
            conv(channels_out, channels_out, 3, padding=1, bias=False),
            norm(channels_out),
            nn.ReLU(inplace=True),
        )


class ResidualBlock(nn.Module):
    """A :class:`Block` that says what to add to its input (He 2016); a 1x1(x1) convolution fits the channels."""

    def __init__(self, ndim: int, channels_in: int, channels_out: int) -> None:
        super().__init__()
        *layers, _ = Block(ndim, channels_in, channels_out)  # without the last rectifier, which comes after the sum
        self.change = nn.Sequential(*layers)
        fit = CONV[ndim](channels_in, channels_out, 1, bias=False), NORM[ndim](channels_out)
        self.shortcut = nn.Sequential(*fit if channels_in != channels_out else ())

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.shortcut(x) + self.change(x))


class Encoder(nn.Module):
    """The way down: an image read at ever coarser scales. Arguments as :class:`EncoderDecoder`.

    Shape:
        ``(N, 1, *S)`` -> a list of ``depth`` feature maps, from fine to coarse. Sides must be multiples of
        ``multiple``.
    """

    def __init__(
        self, ndim: int, width: int, depth: int, fold: Sequence[int] = (), *, block: type[nn.Module] = Block
    ) -> None:
        super().__init__()
        self.ndim, self.fold = ndim, tuple(fold) or (1,) * ndim
        self.channels = [width * 2**i for i in range(depth)]
        self.multiple = [f * 2 ** (depth - 1) for f in self.fold]
        into = [math.prod(self.fold), *self.channels]
        self.blocks = nn.ModuleList(block(ndim, a, b) for a, b in zip(into, self.channels, strict=False))

    def forward(self, image: Tensor) -> list[Tensor]:
        scales: list[Tensor] = []
        for block in self.blocks:
            x = POOL[self.ndim](scales[-1], 2) if scales else fold_blocks(image, self.fold)
            scales.append(block(x))
        return scales


class EncoderDecoder(nn.Module):
    """What is where, read at several scales, and brought back to every voxel. As it stands, a U-Net (Ronneberger 2015).

    Args:
        ndim: 2 for slices, 3 for volumes.
        width: Channels at the finest scale; doubled at each coarser one.
        depth: Number of scales.
        fold: Voxels on each side of a block that is read as one voxel with a channel for each of its parts (space to
            depth), one number an axis.
        one_logit: Give one logit for a block, brought to its voxels by linear interpolation: where the network looks is
            coarse, and what is candidate there is fine. False gives each voxel of a block its own.
        block: What reads each scale, on the way down and up: :class:`Block` or :class:`ResidualBlock`.
        skips: Pass the fine detail of the way down across to the way up.

    Shape:
        ``(N, 1, *S) -> (N, 1, *S)`` logits; any ``S``, padded inside and cropped again.
    """

    def __init__(
        self,
        ndim: int = 2,
        width: int = 16,
        depth: int = 4,
        fold: Sequence[int] = (),
        *,
        block: type[nn.Module] = Block,
        one_logit: bool = True,
        skips: bool = True,
    ) -> None:
        super().__init__()
        self.one_logit, self.skips = one_logit, skips
        self.encoder = Encoder(ndim, width, depth, fold, block=block)
        channels = self.encoder.channels
        pairs = list(zip(channels[:0:-1], channels[-2::-1], strict=True))
        # Halving the channels before the picture is doubled costs a quarter of halving them after.
        self.narrow = nn.ModuleList(CONV[ndim](coarse, fine, 1) for coarse, fine in pairs)
        self.up = nn.ModuleList(block(ndim, 2 * fine if skips else fine, fine) for _, fine in pairs)
        self.head = CONV[ndim](width, 1 if one_logit else math.prod(self.encoder.fold), 1)

    def forward(self, image: Tensor) -> Tensor:
        scales = self.encoder(pad_to_multiple(image, self.encoder.multiple))
        x = scales.pop()
        for narrow, block in zip(self.narrow, self.up, strict=True):
            # Nearest neighbour: the convolutions after it smooth as they learn to.
            x = F.interpolate(narrow(x), scale_factor=2)
            x = block(torch.cat([scales.pop(), x], dim=1) if self.skips else x)
        logits, fold = self.head(x), self.encoder.fold
        if self.one_logit and max(fold) > 1:  # in full precision: between two blocks every step counts
            scale, mode = tuple(map(float, fold)), LINEAR[self.encoder.ndim]
            logits = F.interpolate(logits.float(), scale_factor=scale, mode=mode, align_corners=False)
        elif not self.one_logit:
            logits = unfold_blocks(logits, fold)
        return logits[(..., *(slice(n) for n in image.shape[2:]))]


def _builder(**variant) -> Callable[..., nn.Module]:
    def make(ndim: int, width: int, depth: int | None = None, fold: Sequence[int] = ()) -> nn.Module:
        # In volumes blocks of two boxes on a side are read at once: a step of training costs a quarter.
        usual = {2: (4, (1, 1)), 3: (3, (2, 2, 2))}[ndim]
        return EncoderDecoder(ndim, width, depth or usual[0], tuple(fold) or usual[1], one_logit=bool(fold), **variant)

    return make


BACKBONES: dict[str, Callable[..., nn.Module]] = {
    "fcn": _builder(skips=False),
    "unet": _builder(),
    "resunet": _builder(block=ResidualBlock),
}
"""Builders by name, as in ``BACKBONES[name](ndim, width)``, with the number of scales and, where one logit stands for a
block of voxels, its sides as third and fourth. Any module with the same shapes will do as well."""


def build(
    backbone: str | nn.Module, ndim: int, width: int, depth: int | None = None, fold: Sequence[int] = ()
) -> nn.Module:
    """A backbone by name, or the given module as it is."""
    if isinstance(backbone, nn.Module):
        return backbone
    if backbone not in BACKBONES:
        known = ", ".join(BACKBONES)
        raise ValueError(f"no backbone is called {backbone!r}: choose one of {known}, or pass an nn.Module.")
    if min(width, 1 if depth is None else depth) < 1:
        raise ValueError(f"width {width} and depth {depth} make no network: take numbers of 1 or more.")
    if len(fold) not in (0, ndim) or min(fold, default=1) < 1:
        raise ValueError(f"a block of {tuple(fold)} does not divide images of {ndim} axes: give {ndim} whole numbers.")
    return BACKBONES[backbone](ndim, width, depth, fold)
