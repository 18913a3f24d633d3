"""Read a CT series from DICOM files."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from biomark.scans.header import Header, files_of, open_header
from biomark.scans.orientation import orientation
from biomark.scans.scan import Scan, ScanError, assemble, check_slice
from biomark.scans.slices import check, read_pixels
from biomark.scans.stack import stack


def read_file(path: Path) -> Scan:
    """Read one DICOM file as a scan of one slice; a ScanError where it is no CT image in HU, or is damaged."""
    return _read(str(path), [_single(path, pixels=True)], [])


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
    headers = _select(path, None)[0] if path.is_dir() else [_single(path)]
    for header in headers:
        check(header)
    return stack(str(path), headers).headers


def _single(path: Path, *, pixels: bool = False) -> Header:
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

    groups = defaultdict(list)
    for header in slices:
        groups[header.series].append(header)
    if series is not None:
        listing, groups = _listing(groups), {key: group for key, group in groups.items() if key == (series,)}
        if not groups:
            raise ScanError(f"{folder} holds no series {series}; it holds {listing}.")
    if len(groups) > 1:
        raise ScanError(
            f"{folder} holds {len(groups)} series: {_listing(groups)}. Pass a folder with one of them, or "
            "read(path, series=UID)."
        )
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
        name = key[0] or f"one without UID, series number {key[1] or 'unknown'}"
        count = f"{len(group)} file{'s' * (len(group) > 1)}"
        parts.append(f"{name} ({group[0].text('Modality') or 'no modality'}, {count})")
    return "; ".join(parts)


def _nothing(folder: Path, files: list[Path]) -> str:
    """A sentence on what a folder without a DICOM image holds instead."""
    if nifti := [p.name for p in files if p.name.lower().endswith((".nii", ".nii.gz"))]:
        return f"{folder} holds no DICOM image but NIfTI; pass the file itself, such as {nifti[0]}."
    if below := sorted(p.name for p in folder.iterdir() if p.is_dir()):
        return f"{folder} holds no DICOM image but folders; pass one series' folder, such as {below[0]}."
    if not files:
        return f"{folder} is empty; pass the folder that holds the files of a CT series."
    return f"{folder} holds no DICOM image among its {len(files)} files; pass the folder of a CT series."


def _read(name: str, headers: list[Header], notes: list[str], index: int | None = None) -> Scan:
    """Check, sort and read the slices of one series."""
    for header in headers:
        check(header)
    headers, affine, spacing_mm, more = stack(name, headers)
    axis, sign = orientation(affine)[0]
    if index is not None and axis == 2:  # slices are stacked from feet to head or down
        check_slice(index, len(headers))
        place = index if sign > 0 else len(headers) - 1 - index
        affine[:3, 3] += place * affine[:3, 0]
        headers, index = [headers[place]], None
    first = headers[0]
    data = np.empty((len(headers), *first.plane), dtype=np.float32)
    for header, plane in zip(headers, data, strict=True):
        read_pixels(header, plane)
    meta, on_series = _describe(headers)
    padding = first.number("PixelPaddingValue")
    if padding is not None:
        padding = padding * first.rescale[0] + first.rescale[1]
    notes = notes + more + on_series
    scan = assemble(name, data, affine, spacing_mm, meta, notes, slice_axis=0, padding_hu=padding)
    return scan if index is None else scan.only(index)


def _describe(headers: list[Header]) -> tuple[dict[str, Any], list[str]]:
    """What the headers of a series say of the acquisition, and findings."""
    first, notes = headers[0], []
    rescales = {header.rescale for header in headers}
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
        "photometric": first.text("PhotometricInterpretation"),
        "rescale": "slope {:g}, intercept {:g}".format(*first.rescale)
        if len(rescales) == 1
        else f"{len(rescales)} pairs of slope and intercept",
    }
    if len(thicknesses) > 1:
        notes.append(f"The slice thickness varies from {min(thicknesses):g} to {max(thicknesses):g} mm.")
    if len(frames) > 1:
        notes.append(
            f"The {len(headers)} slices name {len(frames)} frames of reference, as some anonymisers leave "
            "them; they are read as one volume by their positions."
        )
    if first.text("RescaleType") == "US":
        notes.append("The header calls the unit of the values unspecified (US); they are taken as HU.")
    return meta, notes
