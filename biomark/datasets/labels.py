"""Label volumes, turned as scans are, and masks made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from biomark.datasets.table import relative
from biomark.machine.files import atomic_write, expand
from biomark.scans.nifti import SAME_PLACE, nifti_errors, read_voxels, whole_numbers
from biomark.scans.orientation import reorient
from biomark.scans.scan import ScanError


class Labels(NamedTuple):
    """A label volume on the voxels of its scan."""

    voxels: NDArray[Any]  # whole numbers, (D, H, W), in the order of `Scan.hu`
    affine: NDArray[np.float64]  # from the index (d, h, w) to RAS mm

    def areas_cm2(self, *labels: int) -> NDArray[np.float64]:
        """Area of some labels together, slice by slice, shape (D,)."""
        inside = np.isin(self.voxels, labels).sum(axis=(1, 2))
        return inside * float(np.prod(self.steps_mm[1:])) / 100

    @property
    def steps_mm(self) -> NDArray[np.float64]:
        """Distance between voxel centres, (dz, dy, dx)."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)


def read_labels(path: Path, image: Path) -> Labels:
    """Read labels on the voxels of an image, both NIfTI; a ScanError where one is damaged or they do not match."""
    for file in (path, image):
        if not file.is_file():
            raise ScanError(f"there is no file {file}")
    with nifti_errors(path):
        labels = nib.load(path)
    with nifti_errors(image):
        scan = nib.load(image)
    shape = labels.shape
    if len(shape) != 3 or 0 in shape or shape != scan.shape[:3]:
        raise ScanError(f"{path} has the shape {shape} and its image {scan.shape}: they do not belong together")
    corners = np.array([[0, 0, 0, 1], [*np.subtract(shape, 1), 1]]).T
    with nifti_errors(image):  # an affine without an inverse
        off = np.linalg.solve(scan.affine, labels.affine @ corners) - corners
    if not np.abs(off).max() <= SAME_PLACE:  # true for nan
        raise ScanError(f"{path} does not lie on the voxels of its image, by their headers")
    voxels = whole_numbers(path, read_voxels(path, labels))
    if voxels.dtype.kind == "f":
        voxels = voxels.astype(np.int64)
    return Labels(*reorient(voxels, scan.affine)[:2])


def mask_cell(
    masks: str | Path | None, name: str, mask: NDArray[np.bool_], affine: NDArray[np.float64], root: str | Path
) -> dict[str, str]:
    """Write a mask (D, H, W) to ``masks/<name>.nii.gz``: its cell in a manifest; none where ``masks`` is None."""
    if masks is None:
        return {}
    return {"mask": relative(write_mask(expand(masks) / f"{name}.nii.gz", mask, affine), root)}


def write_mask(path: Path, mask: NDArray[np.bool_], affine: NDArray[np.float64]) -> Path:
    """Write a mask of shape (D, H, W) as NIfTI on its scan's voxels, as a manifest needs it."""
    image = nib.Nifti1Image(mask.astype(np.uint8), affine)
    image.header.set_xyzt_units("mm")
    with atomic_write(path) as partial:
        nib.save(image, partial)
    return path
