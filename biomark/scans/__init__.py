"""Read CT from DICOM or NIfTI as Hounsfield units in one orientation, or refuse in one clear sentence.

>>> from biomark import scans
>>> scan = scans.read("a/folder/with/one/series")  # doctest: +SKIP
>>> scan.hu.shape, scan.spacing_mm  # doctest: +SKIP
((41, 512, 512), (1.0, 0.78125, 0.78125))
"""

from __future__ import annotations

from biomark.scans import public_sets
from biomark.scans.derived import write_parametric_map, write_segmentation
from biomark.scans.export import write_dicom, write_nifti
from biomark.scans.grid import Grid
from biomark.scans.heart import HeartBox, heart_box
from biomark.scans.manifest import ManifestError, cache_folder, check_manifest, read_manifest
from biomark.scans.reader import read
from biomark.scans.scan import Scan, ScanError

__all__ = [
    "Grid",
    "HeartBox",
    "ManifestError",
    "Scan",
    "ScanError",
    "cache_folder",
    "check_manifest",
    "heart_box",
    "public_sets",
    "read",
    "read_manifest",
    "write_dicom",
    "write_nifti",
    "write_parametric_map",
    "write_segmentation",
]
