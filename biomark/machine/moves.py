"""Position taken away: cases mirrored, shifted and turned on the device, each with the same number as before."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

KEPT = 0.99
"""A case is moved only where this share of its candidates' weight stays in the picture. Ours."""

AIR_HU = -1000.0
"""Air, by the definition of the scale, which is what lies outside of a picture."""


@dataclass(frozen=True)
class Moves:
    """How far cases are moved in training.

    Attributes:
        mirror: Whether a mirror image, left to right, may stand for another patient.
        shift: Largest shift along each axis, as a share of half a side of the picture. Along the slices of a volume,
            and where a case is not turned, it is by whole voxels: interpolation would blur what is small.
        turn_deg: Largest rotation in the plane of a slice.
    """

    mirror: bool = False
    shift: float = 0.0
    turn_deg: float = 0.0

    def __bool__(self) -> bool:
        return self.mirror or self.shift > 0 or self.turn_deg > 0

    def draw(self, cases: int, seed: Sequence[int], device: torch.device) -> Tensor:
        """One move a case, ``(cases, 5)``: mirrored (1 or 0), turn in radians, shifts along z, y and x as shares."""
        random = np.random.default_rng(seed).random((cases, 5))
        drawn = (2 * random - 1) * [1, math.radians(self.turn_deg), *[self.shift] * 3]
        drawn[:, 0] = random[:, 0] < 0.5 * self.mirror
        return torch.as_tensor(drawn, dtype=torch.float32, device=device)


def moved(moves: Tensor, images: Tensor, weights: Tensor, truth: Tensor | None = None) -> list[Tensor]:
    """Cases after their moves; a case of which too much would leave the picture is mirrored at most.

    Around a slice there is air; a volume is cut out of a body, so that there its edge is repeated. Pixels are taken to
    be square. Weights are multiplied so that each case keeps their sum, and the truth likewise.

    Args:
        moves: From :meth:`Moves.draw`, ``(N, 5)``.
        images: Hounsfield units, ``(N, *S)``.
        weights: ``(N, *S)``.
        truth: What of the weights belongs, ``(N, *S)``, or None.

    Returns:
        Images, weights and, where given, truth.
    """
    arrays = [a for a in (images, weights, truth) if a is not None]
    each = (-1, *[1] * (images.ndim - 1))
    mirror = moves[:, 0].view(each) > 0
    plain = [torch.where(mirror, a.flip(-1), a) for a in arrays]
    if not moves[:, 1:].any():
        return plain
    grid = _places(_limited(moves, weights), images.shape[1:])
    inside = (grid.abs() <= 1).all(-1)
    image, *maps = (F.grid_sample(a[:, None], grid, padding_mode="border", align_corners=False)[:, 0] for a in arrays)
    image = torch.where(inside, image, AIR_HU) if images.ndim == 3 else image
    maps = [a * inside for a in maps]
    before, after = weights.flatten(1).sum(1), maps[0].flatten(1).sum(1)
    keep = ((after >= KEPT * before) & (before > 0)).view(each)
    factor = (before / after.clamp_min(1e-9)).view(each)
    new = [image, *(a * factor for a in maps)]
    return [torch.where(keep, *pair) for pair in zip(new, plain, strict=True)]


def _limited(moves: Tensor, weights: Tensor) -> Tensor:
    """The moves, with shifts that leave :data:`KEPT` of the weights in the picture."""
    moves, axes = moves.clone(), range(1, weights.ndim)
    for axis in axes:
        others = [a for a in axes if a != axis]
        along, side = weights.float().sum(others), weights.shape[axis]
        passed = along.cumsum(1) / along.sum(1, keepdim=True).clamp_min(1e-9)
        free = (1 - KEPT) / len(axes)
        first, last = (passed < free).sum(1), ((1 - passed < free).sum(1) - 1).clamp_min(0)
        column = moves[:, 5 - weights.ndim + axis]
        column.copy_(torch.minimum(torch.maximum(column, -last * 2 / side), first * 2 / side))
    return moves


def _places(moves: Tensor, shape: Sequence[int]) -> Tensor:
    """Where in the old pictures each voxel of the new ones comes from, as ``grid_sample`` takes it."""
    mirror, turn, *shifts = moves.T
    sign, cos, sin = 1 - 2 * mirror, turn.cos(), turn.sin()
    ndim, high, wide = len(shape), shape[-2], shape[-1]
    theta = torch.zeros(len(moves), ndim, ndim + 1, device=moves.device)
    # Places run from -1 to 1 along each side, so that a turn of a picture that is not square needs their ratio.
    theta[:, 0, 0], theta[:, 0, 1] = cos * sign, -sin * (high / wide)
    theta[:, 1, 0], theta[:, 1, 1] = sin * sign * (wide / high), cos
    if ndim == 3:
        theta[:, 2, 2] = 1
    for axis, side in enumerate(reversed(shape)):
        shift, whole = shifts[2 - axis] * side / 2, (turn == 0) | (axis == 2)
        theta[:, axis, -1] = torch.where(whole, shift.round(), shift) * 2 / side
    return F.affine_grid(theta, [len(moves), 1, *shape], align_corners=False)
