"""Read a CT series from DICOM files."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.orientations import io_orientation
from numpy.typing import NDArray
from scipy import ndimage

from biomark.scans.header import MODALITY, NUMBERS, UID, Header, check, files_of, known, open_header, read_pixels
from biomark.scans.nifti import is_nifti
from biomark.scans.scan import Scan, ScanError, assemble, check_slice
from biomark.scans.stack import stack

# Padding that is darker lies below every window that a task measures in.
_DARK_HU = -500
# What takes the place of brighter padding, as GE's scanners have it; a part of a slice that is smaller is noise.
_FILL_HU, _LEAST_SHARE = -3024, 0.001
_PROJECTION = re.compile(r"(?<![A-Z])(M(AX|IN)?[ _]?IP|PROJECTION|VRT|VOLUME[ _]?REND)")


def read_file(path: Path) -> Scan:
    """Read one DICOM file as a scan of one slice; a ScanError where it is no CT image in HU, or is damaged."""
    return _read(str(path), [single(path, pixels=True)], [])


def read_folder(folder: Path, series: str | None = None, index: int | None = None) -> Scan:
    """Read the DICOM series in a folder, without subfolders; a ScanError where it is no complete CT volume.

    Args:
        folder: The folder.
        series: The SeriesInstanceUID to read when there are several.
        index: The slice to read alone, from 0 at the feet. Of axial series only its pixels are unpacked.
    """
    return _read(str(folder), *_select(folder, series), index)


def in_order(path: Path) -> list[Header]:
    """The headers of a file or of the one series in a folder, in the order in which a scan's array holds the slices."""
    headers = _select(path, None)[0] if path.is_dir() else [single(path)]
    for header in headers:
        check(header)
    return stack(str(path), headers).headers


def single(path: Path, *, pixels: bool = False) -> Header:
    """The header of a file that must be a slice."""
    header = open_header(path, pixels=pixels)
    if header is None:
        raise ScanError(f"{path} is neither DICOM nor NIfTI (.nii, .nii.gz); convert it to one of them.")
    if not header.is_image:
        raise ScanError(f"{path} is DICOM but holds no image; pass a slice of the CT series.")
    if header.is_scout:
        raise ScanError(f"{path} is a scout (localizer) image; pass a slice of the CT series.")
    return header


def _select(folder: Path, series: str | None) -> tuple[list[Header], list[str]]:
    """The headers of the series in a folder, and findings."""
    try:
        files = files_of(folder)
    except OSError as error:
        raise ScanError(f"{folder} may not be listed; change its permissions.") from error
    headers = [header for path in files if (header := open_header(path)) is not None]
    images = [header for header in headers if header.is_image]
    if not images:
        raise ScanError(_nothing(folder, files))
    slices = [header for header in images if not header.is_scout]
    if not slices:
        raise ScanError(f"{folder} holds only scout (localizer) images; pass the folder of the CT series.")

    groups: dict[tuple[str, ...], list[Header]] = defaultdict(list)
    for header in slices:
        groups[header.series].append(header)
    if series is not None:
        listing, groups = _listing(groups), {key: group for key, group in groups.items() if key == (series,)}
        if not groups:
            raise ScanError(f"{folder} holds no series {series}; it holds {listing}.")
    if len(groups) > 1:
        raise ScanError(f"{folder} holds {len(groups)} series: {_listing(groups)}. Pick one: read(path, series=UID).")
    notes = []
    if others := len(files) - len(images):
        notes.append(f"{others} file{'s' * (others > 1)} in the folder without a DICOM image: ignored.")
    if scouts := len(images) - len(slices):
        notes.append(f"{scouts} scout (localizer) image{'s' * (scouts > 1)} in the folder: set aside.")
    return next(iter(groups.values())), notes


def _listing(groups: dict[tuple[str, ...], list[Header]]) -> str:
    """Every series with its modality and number of files."""
    parts = []
    for key, group in sorted(groups.items()):
        name = known(key[0], UID) if key[0] else f"one without UID, series number {known(key[1], NUMBERS)}"
        count = f"{len(group)} file{'s' * (len(group) > 1)}"
        parts.append(f"{name} ({known(group[0].text('Modality'), MODALITY)}, {count})")
    return "; ".join(parts)


def _nothing(folder: Path, files: list[Path]) -> str:
    """A sentence on what a folder without a DICOM image holds instead."""
    if nifti := [path.name for path in files if is_nifti(path)]:
        return f"{folder} holds no DICOM image but NIfTI; pass the file itself, such as {nifti[0]}."
    below = sorted(path.name for path in folder.iterdir() if path.is_dir())
    such = f", such as {below[0]}" if below else ""
    return f"{folder} holds no DICOM image among its {len(files)} files; pass the folder of a CT series{such}."


def _read(name: str, headers: list[Header], notes: list[str], index: int | None = None) -> Scan:
    """Check, sort and read the slices of one series."""
    for header in headers:
        check(header)
    headers, affine, spacing_mm, more = stack(name, headers)
    axis, sign = io_orientation(affine)[0]
    if index is not None and axis == 2:  # slices are stacked from feet to head or down
        check_slice(index, len(headers))
        place = index if sign > 0 else len(headers) - 1 - index
        affine[:3, 3] += place * affine[:3, 0]
        headers, index = [headers[place]], None
    first = headers[0]
    data = np.empty((len(headers), *first.plane), dtype=np.float32)
    taken = 0
    for header, plane in zip(headers, data, strict=True):
        read_pixels(header, plane)
        taken += _take_out_padding(header, plane)
    meta, on_series = _describe(headers)
    padding = _padding_hu(first)[0]
    notes = notes + more + on_series
    if padding is not None and padding >= _DARK_HU:
        if taken:
            notes.append(
                f"The header calls {padding:g} HU padding: {taken} such voxels at the edge of the slices are set to "
                f"{_FILL_HU} HU, since no task may measure them; within the image they are kept."
            )
        padding = None
    scan = assemble(name, data, affine, spacing_mm, meta, notes, slice_axis=0, padding_hu=padding)
    return scan if index is None else scan.only(index)


def _padding_hu(header: Header) -> tuple[float | None, float | None]:
    """The lowest and highest value that the header calls padding, in HU; None where it names none."""
    stored = header.number("PixelPaddingValue")
    if stored is None:
        return None, None
    slope, intercept = header.rescale
    limit = header.number("PixelPaddingRangeLimit")
    ends = (end * slope + intercept for end in (stored, stored if limit is None else limit))
    low, high = sorted(ends)
    return low, high


def _take_out_padding(header: Header, plane: NDArray[np.float32]) -> int:
    """Darken padding as bright as tissue, where it reaches the slice's edge; in how many voxels."""
    low, high = _padding_hu(header)
    if low is None or low < _DARK_HU:
        return 0
    padding = (plane >= np.float32(low)) & (plane <= np.float32(high))
    if not padding.any():
        return 0
    labels, count = ndimage.label(padding)
    edge = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    outer = np.bincount(labels.ravel(), minlength=count + 1) >= _LEAST_SHARE * plane.size
    outer &= np.isin(np.arange(count + 1), edge)
    outer[0] = False
    outside = outer[labels]
    plane[outside] = _FILL_HU
    return int(outside.sum())


def _describe(headers: list[Header]) -> tuple[dict[str, Any], list[str]]:
    """What the headers of a series say of the acquisition, and findings."""
    first, notes = headers[0], []
    thicknesses = {t for header in headers if (t := header.number("SliceThickness"))}
    frames = {header.text("FrameOfReferenceUID") for header in headers}
    meta = {
        "source": "DICOM",
        "modality": "CT",
        "manufacturer": first.text("Manufacturer"),
        "model": first.text("ManufacturerModelName"),
        "kernel": first.text("ConvolutionKernel"),
        "kVp": first.number("KVP"),
        "slice_thickness_mm": next(iter(thicknesses)) if len(thicknesses) == 1 else None,
        "contrast_agent": first.text("ContrastBolusAgent"),
    }
    if len(thicknesses) > 1:
        notes.append(f"The slice thickness varies from {min(thicknesses):g} to {max(thicknesses):g} mm.")
    if len(frames) > 1:
        notes.append(
            f"The {len(headers)} slices name {len(frames)} frames of reference, as some anonymisers leave "
            "them; they are read as one volume by their positions."
        )
    if projections := sum(bool(_PROJECTION.search((h.text("ImageType") or "").upper())) for h in headers):
        many = "The images are" if projections == len(headers) else f"{projections} of the {len(headers)} images are"
        notes.append(
            f"{many} projections, such as MIP, by the header's ImageType: they show several depths at once, so areas, "
            "volumes and scores are not those of slices."
        )
    if (first.text("RescaleType") or "").upper() == "US":
        notes.append("The header calls the unit of the values unspecified (US); they are taken as HU.")
    return meta, notes
