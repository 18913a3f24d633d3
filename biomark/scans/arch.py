"""The slice at the aortic arch in a chest CT, proposed by a stated rule: the windpipe's fork, the lungs' tops."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from biomark import candidates
from biomark.scans.heart import LUNG_HU
from biomark.scans.scan import Scan, ScanError

SHARE = 1 / 3
"""How far the arch lies on the way from the windpipe's fork to the lungs' tops. Ours, from two patients, in whom the
arch's own slices are 0.33 to 0.55 and 0.2 to 0.4 of the way."""

_COARSE_MM = (2.5, 1.6, 1.6)  # a windpipe is 12 to 25 mm wide
_PIPE_MM2 = (60.0, 700.0)  # its area
_FROM_MIDLINE_MM = 40.0
_TOP_MM2 = 300.0  # air beside the windpipe, where the lungs begin
_TOP_MM = 10.0  # along the body, that it goes on for
_GAP_MM = 15.0  # over which its thin wall may not be seen, so that it is one with a lung
_ASIDE_MM = 8.0  # how far it may come out of that gap beside where it went in
_SURE_MM = (50.0, 120.0)  # from the fork to the tops, in adults; ours


@dataclass(frozen=True)
class ArchSlice:
    """A proposal.

    Attributes:
        index: Slice of the scan, from 0 at the feet.
        fork: Highest slice in which the windpipe has forked.
        top: Highest slice with lung.
        findings: Why it may be wrong; empty where nothing speaks against it.
    """

    index: int
    fork: int
    top: int
    findings: tuple[str, ...]

    def __str__(self) -> str:
        return f"number {self.index} was taken, a third of the way from the windpipe's fork to the lungs' tops"


def arch_slice(scan: Scan) -> ArchSlice:
    """Propose the slice at the aortic arch, at which ``pma`` and ``sfa`` are measured. Look at it.

    The rule: from the slice in which the lungs begin, the windpipe (air near the middle between the lungs' outer edges,
    in a part of 60 to 700 mm2) is followed down to where it is no longer one part; the arch is taken to lie a third of
    the way back.

    Raises:
        ScanError: There are no lungs, no windpipe, or its fork or the lungs' tops are not in the scan.
    """
    if len(scan) == 1 or not np.isfinite(scan.spacing_mm).all():
        raise ScanError("One slice has no level: name the slice to measure.")
    step = tuple(max(1, round(c / s)) for c, s in zip(_COARSE_MM, scan.spacing_mm, strict=True))
    dz, *pixel_mm = (k * s for k, s in zip(step, scan.spacing_mm, strict=True))
    airs = [_air(image, tuple(pixel_mm)) for image in scan.hu[tuple(slice(None, None, k) for k in step)]]
    middle = _middle(np.sum(airs, axis=(0, 1)))
    pipes = [_pipes(air, tuple(pixel_mm), middle) for air in airs]
    lungs = np.array([air.sum() for air in airs]) - [sum(map(np.sum, parts)) for parts in pipes]
    begun = lungs * np.prod(pixel_mm) >= _TOP_MM2
    deep = 1 + round(_TOP_MM / dz)
    tops = [k for k in range(deep - 1, len(begun)) if begun[k - deep + 1 : k + 1].all()]
    if not tops:
        raise ScanError("No lungs were found, so there is no rule for the slice: name it.")
    top = tops[-1]
    if top == len(airs) - 1:
        raise ScanError("The lungs' tops are not in this scan, so there is no rule for the slice: name it.")
    fork = _fork(pipes, top, tuple(pixel_mm), 1 + round(_GAP_MM / dz))
    if fork >= top:
        raise ScanError("The windpipe forks above the lungs' tops (upside down?): check the header or name the slice.")
    way_mm = (top - fork) * dz
    findings = []
    if not _SURE_MM[0] <= way_mm <= _SURE_MM[1]:
        findings.append(f"From fork to lungs' tops it is {way_mm:.0f} mm, which is unusual: look at the slice.")
    index, fork, top = (min(round(k * step[0]), len(scan) - 1) for k in (fork + SHARE * (top - fork), fork, top))
    return ArchSlice(index, fork, top, tuple(findings))


def _air(image_hu: NDArray, pixel_mm: tuple[float, ...]) -> NDArray[np.bool_]:
    """Lungs and airway of a slice."""
    return (image_hu < LUNG_HU) & candidates.body(image_hu, pixel_mm)


def _middle(columns: NDArray) -> float:
    """The column half way between the outer edges of both lungs, by the air in each column of the whole scan."""
    return float(np.mean(np.interp((0.02, 0.98), np.cumsum(columns) / max(columns.sum(), 1), np.arange(len(columns)))))


def _pipes(air: NDArray[np.bool_], pixel_mm: tuple[float, ...], middle: float) -> list[NDArray[np.bool_]]:
    """What of a slice could be windpipe, nearest to the column ``middle`` first."""
    labels, count = ndimage.label(air)
    if not count:
        return []
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:] * np.prod(pixel_mm)
    fits = np.flatnonzero((areas >= _PIPE_MM2[0]) & (areas <= _PIPE_MM2[1])) + 1
    columns = np.array([column for _, column in ndimage.center_of_mass(air, labels, fits)])
    away_mm = np.abs(columns - middle) * pixel_mm[1]
    return [labels == fits[i] for i in np.argsort(away_mm) if away_mm[i] <= _FROM_MIDLINE_MM]


def _fork(pipes: list[list[NDArray[np.bool_]]], top: int, pixel_mm: tuple[float, ...], gap: int) -> int:
    """The slice below ``top`` in which the windpipe is no longer one part, nor again one within ``gap`` slices."""
    starts = [k for k in range(min(top + 2, len(pipes) - 1), max(top - 6, -1), -1) if pipes[k]]
    if not starts:
        raise ScanError("No windpipe was found between the lungs' tops, so there is no rule for the slice: name it.")
    last, now = starts[0], pipes[starts[0]][0]
    while last > 0:
        below = [part for part in pipes[last - 1] if (part & now).any()]
        if len(below) > 1:
            return last - 1
        for k in range(last - 1, max(last - 1 - gap, -1), -1):
            same = [part for part in pipes[k] if _continues(part, now, pixel_mm)]
            if len(same) == 1:
                last, now = k, same[0]
                break
        else:
            return last - 1
    raise ScanError("The windpipe's fork is not in this scan, so there is no rule for the slice: name it.")


def _continues(part: NDArray[np.bool_], pipe: NDArray[np.bool_], pixel_mm: tuple[float, ...]) -> bool:
    """Whether a part has the size and the place of the windpipe above."""
    moved = np.subtract(ndimage.center_of_mass(part), ndimage.center_of_mass(pipe)) * pixel_mm
    return bool(np.hypot(*moved) <= _ASIDE_MM and 0.5 <= part.sum() / pipe.sum() <= 2)
