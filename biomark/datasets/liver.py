"""Liver tumours by label volumes: LiTS and task 3 of the Medical Segmentation Decathlon."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from biomark.datasets.labels import Labels, read_labels, write_mask
from biomark.datasets.table import folder, place, table
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
      (2022), and LiTS (:func:`lits`), from which the images come. Read the owner's page before use: terms change.
    - Layout: ``Task03_Liver/imagesTr/liver_N.nii.gz`` and ``labelsTr/liver_N.nii.gz``: 0, 1 liver, 2 tumour. Images
      without labels (``imagesTs``) are not used.
    - Traps: the images are those of LiTS, and LiTS holds those of 3D-IRCADb-01: never train on one of the three and
      test on another. The archive has hidden files named ``._liver_N.nii.gz``; they are passed over. The set does not
      name patients, so the group is the volume.

    Which slices: of those with at least ``least_liver_cm2`` of liver (tumour included), counted from the feet, the
    first and then one every ``every_mm``; and the one with the largest tumour. Values of one patient's slices are much
    alike: split by group, as :meth:`biomark.Cohort.split` does. With ``largest``, large tumours are more common in
    the sample than in the livers; without it the sample is of evenly spaced slices.

    Args:
        root: ``Task03_Liver``, or the folder that holds it.
        every_mm: Distance of the slices taken. Ours.
        least_liver_cm2: Least liver, with tumour, in a slice taken by distance. Ours.
        largest: Take the slice with the largest tumour too.
        masks: Folder to write the tumours to, as one NIfTI file a volume, since a manifest's masks have one label. With
            None there is no column ``mask``. A folder outside the root needs ``allow_outside=True`` later.
        progress: Show a bar.

    Returns:
        A manifest with the columns id, image, value (cm2), slice, group and, with ``masks``, mask; paths begin at
        ``root``: write it with ``to_csv(..., index=False)`` and give :func:`biomark.manifests.read` the same
        ``root``. Volumes that could not be used stand with the reason in ``.attrs["set_aside"]``.

    Raises:
        ScanError: The folder has another layout, or no volume could be used.
    """
    images = folder(root, "Task03_Liver/imagesTr", "imagesTr", layout=_MSD)
    pairs = {
        f"msd-{number(path)}": (path, images.parent / "labelsTr" / path.name)
        for path in sorted(images.glob("liver_*.nii.gz"), key=number)
    }
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

    - Licence: not for commercial use; sources name CC BY-NC-ND 4.0 or CC BY-NC-SA 4.0, so ask the owner. Access:
      registration at competitions.codalab.org/competitions/17094. Cite Bilic et al., Medical Image Analysis 84:102680
      (2023).
    - Layout: anywhere below the root ``volume-N.nii`` and ``segmentation-N.nii`` (or ``.nii.gz``), in one folder or
      two: 0, 1 liver, 2 tumour. ``test-volume-N.nii`` has no labels and is not used.
    - Traps: as for :func:`msd_liver`; and headers of a volume and its segmentation need not agree. Where they
      do not, the volume is set aside, for a mask could lie mirrored on its image.

    Args:
        root: The folder that holds both batches.
        every_mm: This and all else as for :func:`msd_liver`.
        least_liver_cm2: Least liver, with tumour, in a slice taken by distance.
        largest: Take the slice with the largest tumour too.
        masks: Folder to write the tumours to.
        progress: Show a bar.

    Returns:
        A manifest, as :func:`msd_liver` does.

    Raises:
        ScanError: The folder has another layout, or no volume could be used.
    """
    top = folder(root, "", layout=_LITS)
    labels = {number(path): path for path in sorted(top.rglob("segmentation-*.nii*"))}
    pairs = {
        f"lits-{number(path)}": (path, labels.get(number(path), path.with_name(f"segmentation-{number(path)}.nii")))
        for path in sorted(top.rglob("volume-*.nii*"), key=number)
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
        """The rows of one volume whose labels are 1 for liver and 2 for tumour.

        Raises:
            ScanError: No slice is to be taken.
        """
        tumour = labels.areas_cm2(TUMOUR)
        chosen = self._slices(labels.areas_cm2(LIVER, TUMOUR), tumour, labels.steps_mm[0])
        if not chosen:
            raise ScanError(f"no slice has {self.least_liver_cm2:g} cm2 of liver")
        drawn = {}
        if self.masks is not None:
            path = Path(self.masks).expanduser() / f"{name}.nii.gz"
            drawn = {"mask": place(write_mask(path, labels.voxels == TUMOUR, labels.affine), self.root)}
        image = place(image, self.root)
        return [
            {"id": f"{name}-{k}", "image": image, "value": tumour[k], "slice": k, "group": name} | drawn for k in chosen
        ]

    def _slices(self, liver_cm2: NDArray, tumour_cm2: NDArray, step_mm: float) -> list[int]:
        inside = np.flatnonzero(liver_cm2 >= self.least_liver_cm2)
        chosen = {int(k) for k in inside[:: max(1, round(self.every_mm / step_mm))]}
        if self.largest and tumour_cm2.max() > 0:
            chosen.add(int(tumour_cm2.argmax()))
        return sorted(chosen)


def number(path: Path) -> int:
    """The last number in the name of a file or folder."""
    return int(re.findall(r"\d+", path.name)[-1])


def _volumes(sampling: Sampling, pairs: dict[str, tuple[Path, Path]], what: str, progress: bool) -> pd.DataFrame:
    """The manifest of pairs of an image and a label file."""

    def rows(name: str) -> list[dict]:
        image, labels = pairs[name]
        return sampling.rows(name, image, read_labels(labels, image))

    return table(((name, partial(rows, name)) for name in pairs), what, progress)
