"""Coronary calcium: orCaScore, whose MetaImage files are converted to NIfTI."""

from __future__ import annotations

import math
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from biomark import agatston
from biomark.datasets.table import folder, mask_cell, relative, table
from biomark.machine.files import atomic_write, expand, sweep
from biomark.scans.nifti import read_nifti
from biomark.scans.scan import ScanError, reorient

_LAYOUT = "it should hold scans TRV1P1CTI.mhd and references TRV1P1R.mhd, anywhere below, each with its raw file"
_SCAN = "CTI"
_ARTERIES = (1, 2, 3)
_SAME_MM = 1e-3  # of a step or a corner; programs round differently. Ours.
_TYPES = {"MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2"}
_TYPES |= {"MET_INT": "i4", "MET_FLOAT": "f4"}


def orcascore(
    root: str | Path, converted: str | Path, *, rules: str | agatston.Rules = "dz3", progress: bool = True
) -> pd.DataFrame:
    """orCaScore: calcium scores of cardiac CTs of four vendors, from the labelled lesions, for the task ``cac``.

    - Licence: the challenge's own terms. Access: registration at orcascore.grand-challenge.org. Cite Wolterink et al.,
      Medical Physics 43:2361 (2016).
    - Layout: ``Challenge_data/Training_set/Images/TRV<vendor>P<patient>CTI.mhd`` (scan without contrast) and
      ``...CTAI.mhd`` (with contrast, not used); the reference is whichever other ``.mhd`` file below the root has the
      patient's name in front, such as ``TRV1P1R.mhd``: 1 left anterior descending and left main, 2 circumflex, 3 right
      coronary artery.
    - Traps: a label 4, 'unknown', stands in submissions only and is not counted. The challenge joins lesions in 3-D
      from 130 HU on, so its own scores differ from those by other rules. The test set has no reference, and its scans
      are set aside. Nothing else reads MetaImage here, so scans and masks are written as NIfTI.

    Args:
        root: The folder of the download.
        converted: Folder for scans and masks, as ``<id>.nii.gz`` and ``<id>-mask.nii.gz``; outside the root,
            :func:`biomark.manifests.read` needs ``allow_outside=True``.
        rules: Of the score. ``dz3`` are those of the task ``cac``.
    """
    top, out = folder(root, "", layout=_LAYOUT), expand(converted)
    sweep(out)
    files = sorted(top.rglob("*.mhd"))
    scans = {path.stem.removesuffix(_SCAN): path for path in files if path.stem.endswith(_SCAN)}
    if not scans:
        raise ScanError(f"{top} holds no file named *{_SCAN}.mhd: {_LAYOUT}")

    def rows(patient: str) -> list[dict]:
        # TRV1P1 begins TRV1P10, too.
        ends = {path: path.stem.removeprefix(patient) for path in files if path.stem.startswith(patient)}
        references = [path for path, end in ends.items() if end not in ("CTI", "CTAI") and not end[:1].isdigit()]
        if len(references) != 1:
            raise ScanError(f"{len(references)} reference files (.mhd) are named after {patient}: one is needed")
        name = f"orcascore-{patient}"
        image, labels = _volume(scans[patient]), _volume(references[0])
        if image.shape != labels.shape or not np.allclose(image.affine, labels.affine, atol=_SAME_MM):
            raise ScanError(f"{references[0]} does not lie on the voxels of its image, by their headers")
        path = out / f"{name}.nii.gz"
        with atomic_write(path) as partial:
            nib.save(image, partial)
        scan = read_nifti(path)
        drawn = reorient(np.isin(np.asanyarray(labels.dataobj), _ARTERIES), np.asarray(labels.affine, np.float64))[0]
        cells = mask_cell(out, f"{name}-mask", drawn, scan.affine, root)
        value = agatston.score(scan.hu, drawn, scan.spacing_mm, rules)
        return [{"id": name, "value": value, "group": name, "image": relative(path, root)} | cells]

    return table(rows, {patient: patient for patient in sorted(scans)}, "orCaScore", progress)


def _unpack(packed: bytes, size: int) -> bytes:
    """The bytes of a deflated file; a ValueError where they are not ``size``, before many more are unpacked."""
    unpacker = zlib.decompressobj()
    raw = unpacker.decompress(packed, size + 1)
    if len(raw) != size or not unpacker.eof:  # the checksum stands at the end
        raise ValueError(f"it does not hold {size} bytes of voxels")
    return raw


def _volume(path: Path) -> nib.Nifti1Image:
    """A MetaImage volume as NIfTI; a ScanError where the header or the voxels are incomplete."""
    lines = path.read_text(encoding="latin-1").splitlines()
    header = {key.strip(): value.strip() for key, sign, value in (line.partition("=") for line in lines) if sign}
    try:
        shape = tuple(int(n) for n in header["DimSize"].split())
        dtype = np.dtype(_TYPES[header["ElementType"]])
        spacing = np.array(header["ElementSpacing"].split(), float)
        corner = np.array(header.get("Offset", header.get("Position", "0 0 0")).split(), float)
        # Each row is the direction of one axis, in DICOM's axes: to the left and the back.
        axes = np.array(header.get("TransformMatrix", "1 0 0 0 1 0 0 0 1").split(), float).reshape(3, 3).T
        affine = np.eye(4)
        affine[:3, :3], affine[:3, 3] = axes * spacing, corner
        raw = (path.parent / Path(header["ElementDataFile"]).name).read_bytes()
        if header.get("CompressedData", "False").lower() == "true":
            raw = _unpack(raw, math.prod(shape) * dtype.itemsize)
        big = header.get("BinaryDataByteOrderMSB", header.get("ElementByteOrderMSB", "False")).lower() == "true"
        voxels = np.frombuffer(raw, dtype.newbyteorder(">" if big else "<")).reshape(shape, order="F")
    except (KeyError, ValueError, zlib.error) as error:
        raise ScanError(f"{path} or its raw file is damaged or no 3-D MetaImage volume ({error})") from error
    image = nib.Nifti1Image(voxels.astype(dtype), np.diag([-1.0, -1, 1, 1]) @ affine)
    image.header.set_xyzt_units("mm")
    return image
