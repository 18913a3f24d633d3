"""Encoder-decoders that turn an image into one logit a voxel, written once for slices and volumes."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CONV = {2: nn.Conv2d, 3: nn.Conv3d}
NORM = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
POOL = {2: F.max_pool2d, 3: F.max_pool3d}


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


class UNet(nn.Module):
    """A U-Net (Ronneberger 2015): what is where, read at four scales, and fine detail passed across.

    Args:
        ndim: 2 for slices, 3 for volumes.
        width: Channels at full resolution; doubled at each coarser scale.
        depth: Number of scales.

    Shape:
        ``(N, 1, *S) -> (N, 1, *S)`` logits. Any ``S``: sides that the scales do not divide are padded inside and
        cropped again.
    """

    def __init__(self, ndim: int = 2, width: int = 16, depth: int = 4) -> None:
        super().__init__()
        self.ndim, self.depth = ndim, depth
        channels = [width * 2**i for i in range(depth)]
        self.down = nn.ModuleList(Block(ndim, a, b) for a, b in zip([1, *channels], channels, strict=False))
        pairs = list(zip(channels[:0:-1], channels[-2::-1], strict=True))
        # Halving the channels before the picture is doubled costs a quarter of halving them after.
        self.narrow = nn.ModuleList(CONV[ndim](coarse, fine, 1) for coarse, fine in pairs)
        self.up = nn.ModuleList(Block(ndim, 2 * fine, fine) for _, fine in pairs)
        self.head = CONV[ndim](width, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        shape = image.shape[2:]
        x, skips = pad_to_multiple(image, 2 ** (self.depth - 1)), []
        for i, block in enumerate(self.down):
            if i:
                x = POOL[self.ndim](x, 2)
            x = block(x)
            skips.append(x)
        skips.pop()
        for narrow, block in zip(self.narrow, self.up, strict=True):
            # Nearest neighbour: the convolutions after it smooth as they learn to.
            x = F.interpolate(narrow(x), scale_factor=2)
            x = block(torch.cat([skips.pop(), x], dim=1))
        return self.head(x)[(..., *(slice(n) for n in shape))]


def pad_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Repeat the far edges until every side is a multiple: outside a slice there is more of what is at its edge."""
    pad: list[int] = []
    for n in reversed(image.shape[2:]):
        pad += [0, -n % multiple]
    return F.pad(image, pad, mode="replicate") if any(pad) else image


BACKBONES: dict[str, Callable[[int, int], nn.Module]] = {"unet": UNet}
"""Builders by name: ``BACKBONES[name](ndim, width)``. Any module with the same shapes can stand in their place."""


def build(backbone: str | nn.Module, ndim: int, width: int) -> nn.Module:
    """A backbone by name, or the given module as it is.

    Raises:
        ValueError: No backbone of that name.
    """
    if isinstance(backbone, nn.Module):
        return backbone
    if backbone not in BACKBONES:
        raise ValueError(
            f"no backbone is called {backbone!r}: choose one of {', '.join(BACKBONES)}, or pass an nn.Module."
        )
    return BACKBONES[backbone](ndim, width)
