"""Read CT from DICOM or NIfTI as Hounsfield units in one orientation, or refuse in one clear sentence.

>>> scan = bm.scans.read("a/folder/with/one/series")  # doctest: +SKIP
>>> scan.hu.shape, scan.spacing_mm  # doctest: +SKIP
((41, 512, 512), (1.0, 0.78125, 0.78125))
"""

from importlib import import_module
from typing import Any

from biomark.scans.arch import ArchSlice, arch_slice
from biomark.scans.export import write_dicom, write_nifti
from biomark.scans.grid import Grid
from biomark.scans.heart import HeartBox, heart_box
from biomark.scans.reader import read
from biomark.scans.samples import SAMPLES, SampleUnavailable, sample
from biomark.scans.scan import Scan, ScanError

__all__ = ["SAMPLES", "ArchSlice", "Grid", "HeartBox", "SampleUnavailable", "Scan", "ScanError", "arch_slice"]
__all__ += ["heart_box", "read", "sample", "write_dicom", "write_nifti"]


def __getattr__(name: str) -> Any:
    # A spreadsheet of scans is read by a wing above this one, which is loaded when it is asked for.
    if name in ("read_manifest", "check_manifest"):
        return getattr(import_module("biomark.manifests"), name.removesuffix("_manifest"))
    raise AttributeError(f"module 'biomark.scans' has no attribute {name!r}")
