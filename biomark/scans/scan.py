"""A CT scan in memory: Hounsfield units, spacing, and where each voxel lies in the patient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from nibabel import orientations as turns
from numpy.typing import NDArray

from biomark.cohort import Case
from biomark.scans.quality import examine, not_hu
from biomark.tasks import Task

# Beyond any clinical scanner; other values are in metres or micrometres, or damaged.
_SPACING_MM = (0.01, 100.0)
# Far beyond metal, but what 32 bits may hold.
_FARTHEST_HU = 1e9
_SPL = turns.axcodes2ornt(("S", "P", "L"))
_PLANES = {"S": "axial", "I": "axial", "P": "coronal", "A": "coronal", "L": "sagittal", "R": "sagittal"}


class ScanError(ValueError):
    """A scan that cannot be read as Hounsfield units; the sentence names the file and what to do.

    It is one line, also where it repeats what a damaged header holds.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__("".join(c if c.isprintable() else "?" for c in sentence))


@dataclass(frozen=True, eq=False, repr=False)
class Scan:
    """One CT volume in Hounsfield units.

    Attributes:
        hu: Hounsfield units, float32, shape (D, H, W): slices from feet to head, rows from front to back,
            columns from the patient's right to the left, so that `imshow(scan.hu[k])` looks as in radiology.
        spacing_mm: Distance between voxel centres in mm, (dz, dy, dx); nan across a lone slice.
        affine: float64 (4, 4), from the index (d, h, w) to RAS mm (right, anterior, superior are positive). The
            step across a lone slice is set to 1 mm.
        meta: What the header says of the acquisition; nothing that identifies the patient.
        findings: One sentence for each thing that a careful reader would want to know.
        axes: Where the axes of the file's array (of a DICOM series: slices, rows, columns) point to.
        place: Where a NIfTI file's own header puts its voxels, for maps over it; None of DICOM, and of a part.
    """

    hu: NDArray[np.float32]
    spacing_mm: tuple[float, float, float]
    affine: NDArray[np.float64]
    meta: dict[str, Any]
    findings: tuple[str, ...]
    axes: tuple[str, ...] = ("S", "P", "L")
    place: Any = None

    @property
    def z_mm(self) -> NDArray[np.float64]:
        """Position of each slice towards the head, mm, shape (D,): z of the voxel (d, 0, 0)."""
        return self.affine[2, 3] + self.affine[2, 0] * np.arange(len(self))

    def __len__(self) -> int:
        """Number of slices."""
        return len(self.hu)

    def case(self, task: Task, slice: int) -> Case:
        """Slice ``slice`` (0 at the feet) as a case for a task in 2-D, with the task's weights, no value and no mask.

        Raises:
            ScanError: There is no such slice; the sentence names the valid range.
            ValueError: The task needs a volume, or the pixel size in the slice is unknown.
        """
        if task.ndim != 2:
            raise ValueError(f"The task '{task.key}' measures volumes, not slices: cut one out, as heart_box does.")
        check_slice(slice, len(self))
        pixel_mm = self.spacing_mm[1:]
        if not np.isfinite(pixel_mm).all():
            raise ValueError("The pixel size in the axial plane is unknown, for the source is one slice.")
        image = self.hu[slice]
        return Case(f"slice {slice}", image, task.weigh(image, pixel_mm), None, None, pixel_mm)

    def only(self, slice: int) -> Scan:
        """Slice ``slice`` (0 at the feet) as a scan of its own, in its place; a ScanError where there is none."""
        check_slice(slice, len(self))
        affine = self.affine.copy()
        affine[:3, 3] += slice * affine[:3, 0]
        place = self.place if len(self) == 1 else None
        meta = {**self.meta, "n_slices": 1}
        return replace(self, hu=self.hu[slice : slice + 1].copy(), affine=affine, meta=meta, place=place)

    def as_stored(self, volume: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.float64]]:
        """An array of the shape of ``hu``, turned to the order of the file's own array, and its affine."""
        if np.shape(volume) != self.hu.shape:
            raise ValueError(f"the array has shape {np.shape(volume)}, the scan {self.hu.shape}: they must be alike.")
        data, affine = restore(volume, self.affine, self.axes)
        return data, affine + 0.0  # -0.0 becomes 0.0

    def __repr__(self) -> str:
        d, h, w = self.hu.shape
        spacing = " x ".join("unknown" if np.isnan(s) else f"{s:.4g}" for s in self.spacing_mm)
        maker = " ".join(str(self.meta[k]) for k in ("manufacturer", "model") if self.meta.get(k))
        lines = [
            f"CT scan from {self.meta['source']}" + (f", {maker}" if maker else ""),
            f"  {d} slice{'s' if d > 1 else ''} of {h} x {w} pixels, spacing {spacing} mm (z, y, x)",
            f"  z {self.z_mm[0]:.1f} to {self.z_mm[-1]:.1f} mm",
            f"  {self.hu.min():.0f} to {self.hu.max():.0f} HU",
        ]
        return "\n".join(lines + [f"  - {sentence}" for sentence in self.findings])


def check_slice(index: int, count: int) -> None:
    """Raise a ScanError where a scan of ``count`` slices has no slice ``index``."""
    if not 0 <= index < count:
        raise ScanError(f"There is no slice {index}: this scan has the slices 0 (feet) to {count - 1} (head).")


def assemble(
    name: str,
    data: NDArray[Any],
    affine: NDArray[np.float64],
    spacing_mm: Sequence[float],
    meta: dict[str, Any],
    notes: list[str],
    *,
    slice_axis: int,
    padding_hu: float | None = None,
) -> Scan:
    """Check a volume in the order of its file and turn it into a `Scan`; a ScanError where it is no CT in HU.

    ``name`` is the path in an error, ``affine`` orthogonal with a step of 1 mm where the spacing is unknown (nan),
    ``slice_axis`` that along which the source's slices are stacked, ``padding_hu`` what the header calls padding.
    """
    known = [s for s in spacing_mm if not np.isnan(s)]
    if min(known) < _SPACING_MM[0] or max(known) > _SPACING_MM[1]:
        sizes = " x ".join(f"{s:g}" for s in known)
        raise ScanError(f"{name}: a voxel spacing of {sizes} mm is not that of a patient's CT; check its unit.")
    low, high = float(data.min()), float(data.max())
    if not np.isfinite((low, high)).all():
        raise ScanError(f"{name}: some values are NaN or infinite, so this is not a whole CT image.")
    if low == high:
        raise ScanError(f"{name}: every pixel has the same value ({low:g}), so there is no image in it.")
    # A CT slice always holds fat or air, both far below water (0 HU).
    if low >= 0 or high - low <= 10:
        raise ScanError(f"{name}: the values run from {low:g} to {high:g}: grey values or labels, not HU. Use the CT.")
    if max(-low, high) > _FARTHEST_HU:
        raise ScanError(f"{name}: the values run from {low:g} to {high:g}, which no CT has; export it again.")
    turned, affine, axes = reorient(data, affine)
    hu, affine = np.ascontiguousarray(turned, dtype=np.float32), affine + 0.0  # -0.0 becomes 0.0
    if why := not_hu(hu, (low, high)):
        raise ScanError(f"{name}: {why}; these are not HU (air is -1000 HU). Use the original CT.")
    planes = [_PLANES[axis] for axis in axes]
    dz, dy, dx = (float(spacing_mm[planes.index(plane)]) for plane in ("axial", "coronal", "sagittal"))
    spacing = dz, dy, dx
    meta = {**meta, "orientation": planes[slice_axis], "n_slices": data.shape[slice_axis]}
    notes = notes + _geometry(affine, spacing, meta)
    notes += examine(hu, spacing, meta, (low, high), padding_hu)
    return Scan(hu, spacing, affine, meta, tuple(notes), axes)


def _geometry(affine: NDArray[np.float64], spacing: tuple[float, ...], meta: dict[str, Any]) -> list[str]:
    """Findings about how the volume lies in the scanner."""
    notes = []
    if np.isnan(spacing).any():
        notes.append("This is one slice alone, so the distance between slices is unknown.")
    if meta["orientation"] != "axial":
        notes.append(f"The source slices are {meta['orientation']}; the axes were permuted to axial slices.")
    if np.count_nonzero(affine[:3, :3]) == 3:
        return notes  # each axis runs along one of the scanner's
    steps = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    straight = np.array([[0, 0, -1], [0, -1, 0], [1, 0, 0]])
    # The angle of a rotation matrix follows from its trace, 1 + 2 cos(angle).
    angle = np.degrees(np.arccos(np.clip((np.sum(steps * straight) - 1) / 2, -1, 1)))
    if angle > 0.1:
        notes.append(f"The volume is rotated by {angle:.1f} degrees against the scanner's axes; it keeps its own grid.")
    return notes


def reorient(
    data: NDArray[Any], affine: NDArray[np.float64]
) -> tuple[NDArray[Any], NDArray[np.float64], tuple[str, ...]]:
    """Permute and flip the axes of a 3-D volume from the order of its file to (S, P, L); nothing is copied.

    Returns:
        The volume (D, H, W), its affine from the index to RAS mm, and the file's axes, such as ``("R", "A", "S")``.
    """
    source = turns.io_orientation(affine)
    turn, axes = turns.ornt_transform(source, _SPL), turns.ornt2axcodes(source)
    return turns.apply_orientation(data, turn), affine @ turns.inv_ornt_aff(turn, data.shape), axes


def restore(
    volume: NDArray[Any], affine: NDArray[np.float64], axes: tuple[str, ...]
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Undo :func:`reorient`: the volume in the order of the file whose axes point to ``axes``, and its affine."""
    turn = turns.ornt_transform(_SPL, turns.axcodes2ornt(axes))
    return turns.apply_orientation(volume, turn), affine @ turns.inv_ornt_aff(turn, volume.shape)
