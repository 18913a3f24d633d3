"""Order the slices of a DICOM series in space, and refuse what is no straight, complete stack."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from biomark.scans.header import Header
from biomark.scans.scan import ScanError

# Positions are decimal strings that scanners round, and tables move by small errors.
_JITTER_MM, _JITTER_SHARE = 0.1, 0.01
_SAME_PLACE_MM = 0.01
# Sideways shift by length of the stack: 0.2 % is 0.1 degrees.
_SHEAR_SHARE = 0.002


class Stack(NamedTuple):
    """How the slices of a series lie in the patient."""

    headers: list[Header]  # ascending along the normal of their plane
    affine: NDArray[np.float64]  # from (slice, row, column) to RAS mm, (4, 4)
    spacing_mm: tuple[float, float, float]  # between slices, rows and columns; the first is nan for a lone slice
    notes: list[str]  # findings


def stack(name: str, headers: list[Header]) -> Stack:
    """Sort slices by position along their normal and find their common grid; ``name`` is the path in an error.

    A ScanError where slices differ in size, pixel spacing or orientation, repeat, are missing, uneven or sheared.
    """
    _same("size", headers, [h.plane for h in headers], 0)
    pixel_mm = _same("PixelSpacing", headers, [h.numbers("PixelSpacing", 2) for h in headers], 1e-4)
    if min(pixel_mm) <= 0:
        raise ScanError(f"{headers[0].path} has the PixelSpacing {pixel_mm}, which must be above zero.")
    cosines = [h.numbers("ImageOrientationPatient", 6) for h in headers]
    both = _same("ImageOrientationPatient", headers, cosines, 1e-3)
    along_row, along_column = both[:3], both[3:]
    axes = np.array([along_row, along_column])
    if np.abs(axes @ axes.T - np.eye(2)).max() > 1e-3:
        raise ScanError(f"{headers[0].path} has an ImageOrientationPatient that is no pair of unit directions.")

    normal = np.cross(along_row, along_column)
    corners = np.array([h.numbers("ImagePositionPatient", 3) for h in headers])
    step_mm = float("nan")
    if len(headers) > 1:
        order = np.argsort(corners @ normal, kind="stable")
        headers, corners = [headers[i] for i in order], corners[order]
        places = corners @ normal
        step_mm = _step(name, headers, places)
        _straight(name, corners, places, normal)

    affine = np.eye(4)
    affine[:3, 0] = normal * (1.0 if np.isnan(step_mm) else step_mm)
    # PixelSpacing names the distance between rows first, then that between columns.
    affine[:3, 1] = np.multiply(along_column, pixel_mm[0])
    affine[:3, 2] = np.multiply(along_row, pixel_mm[1])
    affine[:3, 3] = corners[0]
    # DICOM's axes point to the patient's left and back (LPS), ours to the right and front (RAS).
    affine[:2] *= -1
    notes = []
    if tilt := headers[0].number("GantryDetectorTilt"):  # `_straight` has seen that the slices do not show it
        straight = ", but the slices lie straight: corrected" if len(headers) > 1 else ""
        notes = [f"The header names a gantry tilt of {tilt:g} degrees{straight}."]
    return Stack(headers, affine, (step_mm, *pixel_mm), notes)


def _same(what: str, headers: list[Header], values: list[tuple], tolerance: float) -> tuple:
    """The value that all slices share."""
    off = np.abs(np.subtract(values, values[0])).max(axis=1) > tolerance
    if off.any():
        i = int(off.argmax())
        both = f"{headers[i].path} and {headers[0].path.name}"
        raise ScanError(f"{both} differ in {what} ({values[i]} and {values[0]}); keep one volume in the folder.")
    return values[0]


def _step(name: str, headers: list[Header], places: NDArray[np.float64]) -> float:
    """The distance between slices, mm; a ScanError where slices repeat, are missing or uneven."""
    steps = np.diff(places)
    doubled = np.flatnonzero(steps < _SAME_PLACE_MM)
    if len(doubled):
        i = int(doubled[0])
        both = f"{headers[i].path} and {headers[i + 1].path.name} lie at the same position ({places[i]:g} mm)"
        raise ScanError(f"{both}; {len(doubled)} positions repeat. Keep one file for each position.")

    # The usual step is the one that most steps agree with, the smallest of them in a tie.
    candidates = np.unique(steps)
    agree = [np.count_nonzero(np.abs(steps - c) <= _tolerance(c)) for c in candidates]
    usual = float(candidates[int(np.argmax(agree))])
    usual = float(np.median(steps[np.abs(steps - usual) <= _tolerance(usual)]))
    off = np.flatnonzero(np.abs(steps - usual) > _tolerance(usual))
    if len(off) == 0:
        return round(float((places[-1] - places[0]) / len(steps)), 6)

    absent = np.rint(steps[off] / usual).astype(int) - 1
    i = int(off[0])
    where = f"between {places[i]:g} mm ({headers[i].path.name}) and {places[i + 1]:g} mm ({headers[i + 1].path.name})"
    gaps = np.abs(steps[off] - (absent + 1) * usual) <= np.maximum(_tolerance(usual), 0.1 * usual)
    if gaps.all() and (absent > 0).all():
        many = f"{absent.sum()} slice{'s are' if absent.sum() > 1 else ' is'} missing"
        raise ScanError(f"{name}: {many} at a spacing of {usual:g} mm, first {where}. Fetch the whole series.")
    raise ScanError(f"{name}: the slices are unevenly spaced around {usual:g} mm, first {where}.")


def _tolerance(step_mm: float) -> float:
    return max(_JITTER_MM, _JITTER_SHARE * step_mm)


def _straight(
    name: str, corners: NDArray[np.float64], places: NDArray[np.float64], normal: NDArray[np.float64]
) -> None:
    """Raise a ScanError for a sheared stack."""
    length = float(places[-1] - places[0])
    sideways = corners - corners[0] - np.outer(places - places[0], normal)
    shift = float(np.linalg.norm(sideways, axis=1).max())
    if shift > max(_JITTER_MM, _SHEAR_SHARE * length):
        angle = np.degrees(np.arctan2(np.linalg.norm(sideways[-1]), length))
        raise ScanError(
            f"{name}: the slices are shifted sideways by up to {shift:.3g} mm against one another (a gantry "
            f"tilt of {angle:.1f} degrees or a moved image centre); have it resampled upright."
        )
