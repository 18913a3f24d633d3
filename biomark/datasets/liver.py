"""Liver tumours by label volumes: LiTS and task 3 of the Medical Segmentation Decathlon."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from biomark.datasets.labels import Labels, mask_cell, read_labels
from biomark.datasets.table import folder, relative, table
from biomark.scans.scan import ScanError

LIVER, TUMOUR = 1, 2
_MSD = "it should hold imagesTr/liver_N.nii.gz and labelsTr/liver_N.nii.gz, as Task03_Liver.tar unpacks"
_LITS = "it should hold volume-N.nii and segmentation-N.nii, as Training_Batch1.zip and Training_Batch2.zip unpack"


def msd_liver(
    root: str | Path,
    *,
    every_mm: float = 15.0,
    least_liver_cm2: float = 20.0,
    largest: bool = True,
    masks: str | Path | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Medical Segmentation Decathlon, task 3: liver tumour area in slices of 131 CTs, for the task ``liver``.

    - Licence: CC BY-SA 4.0. Access: open, medicaldecathlon.com. Cite Antonelli et al., Nature Communications 13:4128
      (2022), and LiTS (:func:`lits`), from which the images come.
    - Layout: ``Task03_Liver/imagesTr/liver_N.nii.gz`` and ``labelsTr/liver_N.nii.gz``: 0, 1 liver, 2 tumour.
    - Traps: the images are those of LiTS, and LiTS holds those of 3D-IRCADb-01: never train on one of the three and
      test on another. The archive has hidden files named ``._liver_N.nii.gz``; they are skipped. The set names no
      patients, so the group is the volume.

    Args:
        root: ``Task03_Liver``, or the folder that holds it.
        every_mm: Distance of the slices taken, from the lowest with enough liver. Ours.
        least_liver_cm2: Least liver, with tumour, in such a slice. Ours.
        largest: Take the slice with the largest tumour too; large tumours are then more common than in the livers.
        masks: Folder for masks of the tumours, one NIfTI file a volume; outside the root,
            :func:`biomark.manifests.read` needs ``allow_outside=True``.
        progress: Show a bar.

    Returns:
        A manifest with the columns id, image, value (cm2), slice, group and, with ``masks``, mask.
    """
    images = folder(root, "Task03_Liver/imagesTr", "imagesTr", layout=_MSD)
    volumes = numbered("msd", images.glob("liver_*.nii.gz"), r"liver_(\d+)\.nii\.gz")
    pairs = {name: (path, images.parent / "labelsTr" / path.name) for name, path in volumes.items()}
    return _volumes(Sampling(root, every_mm, least_liver_cm2, largest, masks), pairs, "Task03_Liver", progress)


def lits(
    root: str | Path,
    *,
    every_mm: float = 15.0,
    least_liver_cm2: float = 20.0,
    largest: bool = True,
    masks: str | Path | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """LiTS, the Liver Tumor Segmentation Benchmark: tumour area in slices of 131 CTs, for the task ``liver``.

    Other arguments and the result are as for :func:`msd_liver`.

    - Licence: not for commercial use; sources name CC BY-NC-ND 4.0 or CC BY-NC-SA 4.0, so ask the owner. Access:
      registration at competitions.codalab.org/competitions/17094. Cite Bilic et al., Medical Image Analysis 84:102680
      (2023).
    - Layout: anywhere below the root ``volume-N.nii`` and ``segmentation-N.nii`` (or ``.nii.gz``), in one folder or
      two: 0, 1 liver, 2 tumour. ``test-volume-N.nii`` has no labels and is not used.
    - Traps: as for :func:`msd_liver`. Where the headers of a volume and its segmentation do not agree, the volume is
      set aside, for the mask could lie mirrored on its image.

    Args:
        root: The folder that holds both batches.
    """
    top = folder(root, "", layout=_LITS)
    labels = numbered("lits", top.rglob("segmentation-*.nii*"), r"segmentation-(\d+)\.nii(?:\.gz)?")
    volumes = numbered("lits", top.rglob("volume-*.nii*"), r"volume-(\d+)\.nii(?:\.gz)?")
    pairs = {
        name: (path, labels.get(name, path.with_name(path.name.replace("volume", "segmentation"))))
        for name, path in volumes.items()
    }
    if not pairs:
        raise ScanError(f"{top} holds no volume-N.nii: {_LITS}")
    return _volumes(Sampling(root, every_mm, least_liver_cm2, largest, masks), pairs, "LiTS", progress)


class Sampling(NamedTuple):
    """Which slices of a liver are taken, and where their masks go; fields as the arguments of :func:`msd_liver`."""

    root: str | Path
    every_mm: float
    least_liver_cm2: float
    largest: bool
    masks: str | Path | None

    def rows(self, name: str, image: Path, labels: Labels) -> list[dict]:
        """The rows of one volume, labelled 1 for liver and 2 for tumour; a ScanError where no slice is taken."""
        tumour = labels.areas_cm2(TUMOUR)
        chosen = self._slices(labels.areas_cm2(LIVER, TUMOUR), tumour, labels.steps_mm[0])
        if not chosen:
            raise ScanError(f"no slice has {self.least_liver_cm2:g} cm2 of liver")
        common = {"image": relative(image, self.root), "group": name}
        common |= mask_cell(self.masks, name, labels.voxels == TUMOUR, labels.affine, self.root)
        return [{"id": f"{name}-{k}", "value": tumour[k], "slice": k} | common for k in chosen]

    def _slices(self, liver_cm2: NDArray, tumour_cm2: NDArray, step_mm: float) -> list[int]:
        inside = np.flatnonzero(liver_cm2 >= self.least_liver_cm2)
        chosen = {int(k) for k in inside[:: max(1, round(self.every_mm / step_mm))]}
        if self.largest and tumour_cm2.max() > 0:
            chosen.add(int(tumour_cm2.argmax()))
        return sorted(chosen)


def numbered(prefix: str, paths: Iterable[Path], pattern: str) -> dict[str, Path]:
    """Files or folders as ``prefix-N``, in order; by its whole path one without a number, or with that of another."""
    found: dict[str, list[Path]] = {}
    for path in sorted(paths):
        match = re.fullmatch(pattern, path.name)
        found.setdefault(f"{prefix}-{int(match[1])}" if match else "", []).append(path)
    alone = {name: same[0] for name, same in found.items() if name and len(same) == 1}
    others = [path for name, same in found.items() if name not in alone for path in same]
    return dict(sorted(alone.items(), key=lambda item: int(item[0].rpartition("-")[2]))) | {str(p): p for p in others}


def refuse_unnumbered(name: str, path: Path) -> None:
    """Set aside what :func:`numbered` could not name."""
    if name == str(path):
        raise ScanError(f"{path} has no number, or that of another file: name it as the download does")


def _volumes(sampling: Sampling, pairs: dict[str, tuple[Path, Path]], what: str, progress: bool) -> pd.DataFrame:
    """The manifest of pairs of an image and a label file."""

    def rows(name: str) -> list[dict]:
        image, labels = pairs[name]
        refuse_unnumbered(name, image)
        return sampling.rows(name, image, read_labels(labels, image))

    return table(rows, {name: name for name in pairs}, what, progress)
