"""Read a CT series from DICOM files."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np

from biomark.scans.header import Header, files_of, open_header
from biomark.scans.scan import Scan, ScanError, assemble, check_slice, orientation
from biomark.scans.slices import check, read_pixels
from biomark.scans.stack import stack


def read_file(path: Path) -> Scan:
    """Read one DICOM file as a scan of one slice.

    Raises:
        ScanError: The file is no CT image in Hounsfield units, or is damaged.
    """
    return _read(str(path), [_alone(path, pixels=True)], [])


def read_folder(folder: Path, series: str | None = None, slice: int | None = None) -> Scan:
    """Read the DICOM series in a folder; its subfolders are not entered.

    Args:
        folder: The folder.
        series: The SeriesInstanceUID to read when there are several.
        slice: The slice to read alone, from 0 at the feet. Of axial series only this one's pixels are unpacked.

    Raises:
        ScanError: The folder holds no series, several, or one that is no complete CT volume.
    """
    headers, notes = _chosen(folder, series)
    return _read(str(folder), headers, notes, slice)


def in_order(path: Path) -> list[Header]:
    """The headers of a file or of the one series in a folder, in the order in which a scan's array holds the slices.

    Raises:
        ScanError: As for :func:`read_file` and :func:`read_folder`.
    """
    headers = _chosen(path, None)[0] if path.is_dir() else [_alone(path)]
    for header in headers:
        check(header)
    return stack(str(path), headers).headers


def _alone(path: Path, *, pixels: bool = False) -> Header:
    """The header of a file that is to be a slice."""
    header = open_header(path, pixels=pixels)
    if header is None:
        raise ScanError(f"{path} is neither DICOM nor NIfTI (.nii, .nii.gz); convert it to one of them.")
    if not header.is_image:
        raise ScanError(f"{path} is DICOM but holds no image; pass a slice of the CT series.")
    if header.is_scout:
        raise ScanError(f"{path} is a scout (localizer) image; pass a slice of the CT series.")
    return header


def _chosen(folder: Path, series: str | None) -> tuple[list[Header], list[str]]:
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
    chosen = list(groups.values()) if series is None else [groups[(series,)]] if (series,) in groups else []
    if not chosen:
        raise ScanError(f"{folder} holds no series {series}; it holds {_listing(groups)}.")
    if len(chosen) > 1:
        raise ScanError(
            f"{folder} holds {len(chosen)} series: {_listing(groups)}. Pass a folder with one of them, or "
            "read(path, series=UID)."
        )
    notes = []
    if others := len(files) - len(images):
        notes.append(f"{others} file{'s' * (others > 1)} in the folder without a DICOM image: ignored.")
    if scouts := len(images) - len(slices):
        notes.append(f"{scouts} scout (localizer) image{'s' * (scouts > 1)} in the folder: set aside.")
    return chosen[0], notes


def _listing(groups: dict[tuple[str, ...], list[Header]]) -> str:
    """Every series with its modality and number of files."""
    parts = []
    for key, group in sorted(groups.items()):
        name = key[0] or f"one without UID, series number {key[1] or 'unknown'}"
        count = f"{len(group)} file{'s' * (len(group) > 1)}"
        parts.append(f"{name} ({group[0].text('Modality') or 'no modality'}, {count})")
    return "; ".join(parts)


def _nothing(folder: Path, files: list[Path]) -> str:
    """Says what a folder without a DICOM image holds instead."""
    if nifti := [p.name for p in files if p.name.lower().endswith((".nii", ".nii.gz"))]:
        return f"{folder} holds no DICOM image but NIfTI; pass the file itself, such as {nifti[0]}."
    if below := sorted(p.name for p in folder.iterdir() if p.is_dir()):
        return f"{folder} holds no DICOM image but folders; pass one series' folder, such as {below[0]}."
    if not files:
        return f"{folder} is empty; pass the folder that holds the files of a CT series."
    return f"{folder} holds no DICOM image among its {len(files)} files; pass the folder of a CT series."


def _read(name: str, headers: list[Header], notes: list[str], slice: int | None = None) -> Scan:
    """Check, sort and read the slices of one series."""
    for header in headers:
        check(header)
    headers, affine, spacing_mm, more = stack(name, headers)
    if slice is not None and (along := orientation(affine)[0])[0] == 2:
        check_slice(slice, len(headers))
        place = slice if along[1] > 0 else len(headers) - 1 - slice
        affine[:3, 3] += place * affine[:3, 0]
        headers, slice = [headers[place]], None
    first = headers[0]
    data = np.empty((len(headers), *first.plane), dtype=np.float32)
    for header, plane in zip(headers, data, strict=True):
        read_pixels(header, plane)

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
        "slice_thickness_mm": thicknesses.pop() if len(thicknesses) == 1 else None,
        "contrast_agent": first.text("ContrastBolusAgent"),
        "photometric": first.text("PhotometricInterpretation"),
        "rescale": "slope {:g}, intercept {:g}".format(*first.rescale)
        if len(rescales) == 1
        else f"{len(rescales)} pairs of slope and intercept",
    }
    notes = notes + more
    if thicknesses:
        notes.append(f"The slice thickness varies from {min(thicknesses):g} to {max(thicknesses):g} mm.")
    if len(frames) > 1:
        notes.append(
            f"The {len(headers)} slices name {len(frames)} frames of reference, as some anonymisers leave "
            "them; they are read as one volume by their positions."
        )
    if first.text("RescaleType") == "US":
        notes.append("The header calls the unit of the values unspecified (US); they are taken as HU.")
    padding = first.number("PixelPaddingValue")
    if padding is not None:
        padding = padding * first.rescale[0] + first.rescale[1]
    scan = assemble(name, data, affine, spacing_mm, meta, notes, slice_axis=0, padding_hu=padding)
    return scan if slice is None else scan.only(slice)
