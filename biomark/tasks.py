"""Tasks: what each voxel would add to a biomarker if it belonged.

This module holds the one definition of the voxel weight ``w`` in biomark. Candidate region, voxel size and the density
factors of calcium live in ``w``; the value is always ``sum(map * w)``, in every task and dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from biomark import agatston, candidates
from biomark.grids import Boxes, highest
from biomark.losses import SumLoss
from biomark.machine import fingerprints
from biomark.machine.masks import inside as marked
from biomark.machine.moves import Moves
from biomark.machine.optimizers import Muon


def area_cm2(image_hu: NDArray, spacing_mm: Sequence[float]) -> np.float32:
    """Pixel area in cm2."""
    return np.float32(np.prod(np.asarray(spacing_mm, float)) / 100)  # mm2 to cm2


def agatston_dz3(image_hu: NDArray, spacing_mm: Sequence[float]) -> NDArray[np.float32]:
    """What a voxel adds to the Agatston score, by the rules ``dz3`` of :mod:`biomark.agatston`.

    Its area in mm2, times the density factor (1 to 4) of its lesion, times the distance of slices over 3 mm.
    """
    return agatston.weights(image_hu, spacing_mm, "dz3")


@dataclass(frozen=True)
class Settings:
    """How a task's models are built and trained where nothing else is asked for; chapters and sweep start from here.

    Attributes:
        loss: For :func:`biomark.fit`.
        optimizer: For :func:`biomark.fit`.
        epochs: Passes over the training cases; None where :func:`biomark.fit` must be told.
        batch_size: Cases a step.
        shift: How far cases are shifted in training (:class:`biomark.machine.moves.Moves`).
        turn_deg: How far they are turned.
        backbone: Name of the backbone.
        width: Its channels at the finest scale.
        depth: Number of its scales.
        fold: Boxes on the sides of a block that gets one logit; () gives one to every box.
    """

    loss: SumLoss = SumLoss()
    optimizer: Callable[[Any], Any] = Muon()
    epochs: int | None = None
    batch_size: int = 8
    shift: float = 0.12
    turn_deg: float = 15.0
    backbone: str = "unet"
    width: int = 24
    depth: int = 3
    fold: tuple[int, ...] = ()


@dataclass(frozen=True)
class Task:
    """A biomarker that is a sum over voxels, such as an area of a tissue in one slice.

    Attributes:
        key: Short name, as in ``TASKS[key]``.
        name: The biomarker in words.
        unit: Its unit.
        hu_window: Lowest and highest Hounsfield value of a candidate voxel.
        ndim: Dimensions of an image, 2 for a slice and 3 for a volume.
        input_hu: Values outside are clipped before the network sees them; the range is mapped to -1..1.
        skin_mm: What lies nearer than this to the surface of the region, such as skin, is no candidate.
        smooth_mm: SD of the Gaussian that smooths each slice before its values are held against the window.
        region: Rule that narrows the candidates, called with image and spacing. The default is the patient's body.
        voxel_weight: What a candidate adds to the biomarker, called with image and spacing: one number, or one a voxel.
            Where it is 0 there is no candidate. The default is the area in cm2.
        risk_groups: Upper bounds of clinical groups of the value, where such groups exist.
        negligible: What is below this counts as nothing where cases are put into groups; a sum of map values is never
            exactly 0.
        lesions: Whether the region is separate lesions: evaluation counts them, and a mask holds each whole.
        mirrored: Whether a mirror image may stand for another patient; not where an organ lies on one side.
        plausible: Lowest and highest value that a patient can have, generously: a value in a spreadsheet that lies
            outside is taken for a slip, such as mm2 for cm2.
        settings: How its models are built and trained by default.
    """

    key: str
    name: str
    unit: str
    hu_window: tuple[float, float]
    ndim: int = 2
    input_hu: tuple[float, float] = (-250.0, 250.0)
    skin_mm: float = 0.0
    smooth_mm: float = 0.0
    region: Callable[[NDArray, Sequence[float]], NDArray] = candidates.body
    voxel_weight: Callable[[NDArray, Sequence[float]], np.float32 | NDArray[np.float32]] = area_cm2
    risk_groups: tuple[float, ...] = ()
    negligible: float = 0.0
    lesions: bool = False
    mirrored: bool = True
    plausible: tuple[float, float] = (0.0, np.inf)
    settings: Settings = Settings()

    def __post_init__(self) -> None:
        of_volumes = f"task {self.key!r} is of volumes, and the default"
        if self.ndim == 3 and self.voxel_weight is area_cm2:
            raise ValueError(f"{of_volumes} weight is an area: give a voxel_weight.")
        if self.ndim == 3 and self.region is candidates.body:
            raise ValueError(f"{of_volumes} region, the body, is found in slices: give a region.")

    def candidates(self, image_hu: NDArray, spacing_mm: Sequence[float]) -> NDArray[np.bool_]:
        """Voxels that could belong, those that :meth:`weigh` something: boolean, shape ``S``."""
        return self.weigh(image_hu, spacing_mm) > 0

    def weigh(self, image_hu: NDArray, spacing_mm: Sequence[float]) -> NDArray[np.float32]:
        """What each voxel would add to the biomarker, in its unit, if it belonged; 0 outside the candidates.

        Args:
            image_hu: Hounsfield units, shape ``S``.
            spacing_mm: Voxel spacing in the order of the array's axes.

        Returns:
            float32 array of shape ``S``.

        Raises:
            ValueError: Image or spacing do not fit the task, or a rule of its own answers what no rule may.

        >>> body_hu = np.full((40, 40), -1000.0)
        >>> body_hu[10:30, 10:30] = 50  # muscle, in air; a pixel of 5 x 5 mm is 0.25 cm2, the outermost count as skin
        >>> weights = TASKS["pma"].weigh(body_hu, (5.0, 5.0))
        >>> float(weights[20, 20]), float(weights.sum())
        (0.25, 81.0)
        """
        image_hu, spacing_mm = self._checked(image_hu, spacing_mm)
        region = np.asarray(self.region(image_hu, spacing_mm))
        if region.shape != image_hu.shape:
            shapes = f"{region.shape} on an image of {image_hu.shape}"
            raise ValueError(f"the region of task {self.key!r} has shape {shapes}: one answer a voxel is needed.")
        # Labels of parts, 1 and 2 and so on, are all inside.
        region = candidates.below(region > 0, spacing_mm, self.skin_mm) if self.skin_mm else region > 0
        seen_hu = candidates.smooth(image_hu, spacing_mm, self.smooth_mm) if self.smooth_mm else image_hu
        inside = candidates.window(seen_hu, self.hu_window) & region
        weights = np.where(inside, self.voxel_weight(image_hu, spacing_mm), 0).astype(np.float32, copy=False)
        if not (np.isfinite(weights).all() and weights.min(initial=0) >= 0):
            raise ValueError(f"the voxel_weight of task {self.key!r} is negative or no number in a candidate: mend it.")
        return weights

    def measure(self, image_hu: NDArray, mask: NDArray, spacing_mm: Sequence[float]) -> float:
        """The biomarker of a drawn mask: the sum of the weights inside it.

        Args:
            image_hu: Hounsfield units, shape ``S``.
            mask: Booleans or labels from 0, shape ``S``; what is above 0 is inside.
            spacing_mm: Voxel spacing in the order of the array's axes.

        Raises:
            ValueError: As :meth:`weigh`; or the mask does not fit the image, or holds probabilities.
        """
        if np.shape(mask) != np.shape(image_hu):
            shapes = f"mask has shape {np.shape(mask)}, but the image has {np.shape(image_hu)}"
            raise ValueError(f"{shapes}: give them one shape.")
        return float(np.sum(self.weigh(image_hu, spacing_mm), where=marked(mask, "the mask"), dtype=float))

    def membership(self, found: NDArray, boxes: Boxes, weights: NDArray) -> NDArray[np.float32]:
        """The map of boxes read at each voxel: linearly between boxes, of which those without a candidate count as 0.

        Separate lesions, as in calcium, may be smaller than a box, with nothing beside them: each voxel gets its box's.

        Args:
            found: In [0, 1], one value a box.
            boxes: How they lie over the voxels.
            weights: Of the voxels, as from :meth:`weigh`, shape ``S``.
        """
        if self.lesions:
            return boxes.spread(found)
        return boxes.interpolate(np.where(boxes.sums(weights) > 0, found, 0))

    def outline(self, found: NDArray, boxes: Boxes, weights: NDArray, value: float) -> NDArray[np.bool_]:
        """The mask of a value: the voxels of highest :meth:`membership` that add up to it, to one voxel.

        Of separate lesions it holds those whole, slice by slice, of whose weight more than half belongs.

        Args:
            found, boxes, weights: As for :meth:`membership`.
            value: What the map adds up to; below ``negligible`` the mask is empty.
        """
        if value < self.negligible or value <= 0:
            return np.zeros(np.shape(weights), bool)
        membership = self.membership(found, boxes, weights)
        if not self.lesions:
            return highest(membership, weights, value)
        touching = np.zeros((3,) * np.ndim(weights), bool)
        touching[1 if np.ndim(weights) == 3 else ...] = True
        inside = np.asarray(weights) > 0
        labels, count = ndimage.label(inside, touching)
        labels, weights = labels[inside], weights[inside]  # few voxels of a volume
        belongs, total = (np.bincount(labels, a, count + 1) for a in (membership[inside] * weights, weights))
        mask = np.zeros(inside.shape, bool)
        mask[inside] = (belongs > total / 2)[labels]
        return mask

    def group(self, values: ArrayLike) -> NDArray:
        """The number of each value's risk group, from 0; the upper bound of a group belongs to it.

        Raises:
            ValueError: A value is no number.
        """
        values = np.asarray(values, float)
        if np.isnan(values).any():
            raise ValueError(f"a value that is no number has no risk group of {self.name}: leave it out.")
        return np.digitize(np.where(values < self.negligible, 0, values), self.risk_groups, right=True)

    def rules(self) -> str:
        """A fingerprint of what decides which voxels a model sees and counts, and what each adds."""
        numbers = self.hu_window, self.ndim, self.input_hu, self.skin_mm, self.smooth_mm
        return fingerprints.of_rule((*numbers, self.region, self.voxel_weight))

    @property
    def moves(self) -> Moves:
        """How far cases are moved in training."""
        return Moves(self.mirrored, self.settings.shift, self.settings.turn_deg)

    def _checked(self, image_hu: NDArray, spacing_mm: Sequence[float]) -> tuple[NDArray, tuple[float, ...]]:
        image_hu, spacing = np.asarray(image_hu), tuple(float(s) for s in spacing_mm)
        if image_hu.ndim != self.ndim:
            raise ValueError(f"task {self.key!r} reads {self.ndim}-D images, but this one has shape {image_hu.shape}.")
        if len(spacing) != self.ndim or not all(np.isfinite(s) and s > 0 for s in spacing):
            raise ValueError(f"task {self.key!r} needs {self.ndim} spacings in mm, all above 0, but got {spacing}.")
        return image_hu, spacing


class _Tasks(dict):
    def __missing__(self, key: str) -> Task:
        raise KeyError(f"no task is called {key!r}: take one of {', '.join(self)}, or make a Task of your own.")


TASKS: dict[str, Task] = _Tasks(
    {
        # Window: skeletal muscle as in body composition (Mitsiopoulos et al. 1998, from -29 HU). The lab of the paper
        # takes -50 to 90 (ChestImagingPlatform, body_composition_phenotypes.py).
        # Skin is 1.3 to 2.6 mm thick; a voxel of it is half air, and has the HU of muscle or fat by chance.
        # Plausible: means of 24 to 38 cm2 are reported, with a SD of 7 (434 healthy adults, men and women with lung
        # cancer: PMC5116279); a fifth of the least and four times the largest mean, ours.
        "pma": Task(
            "pma",
            "pectoralis muscle area",
            "cm2",
            hu_window=(-29.0, 150.0),
            skin_mm=2.5,
            plausible=(4.0, 150.0),
            settings=Settings(backbone="resunet", epochs=10, fold=(2, 2)),
        ),
        # Window: adipose tissue as in body composition (Kvist et al. 1988: -190 to -30 HU). The lab of the paper takes
        # -200 to 0 (SlicerCIP, BodyCompositionParameters.py).
        # Plausible: from half a millimetre of fat around a chest of 1 m to 8 cm around one of 1.5 m, ours.
        "sfa": Task(
            "sfa",
            "subcutaneous fat area",
            "cm2",
            hu_window=(-190.0, -30.0),
            skin_mm=2.5,
            plausible=(5.0, 1200.0),
            settings=Settings(epochs=10, fold=(2, 2)),
        ),
        # Window: from necrotic or mucinous tumour to just below liver in the portal-venous phase (100 to 120 HU).
        # Plausible: up to a slice through a large liver, all of it tumour. Both ours.
        "liver": Task(
            "liver",
            "liver tumour area",
            "cm2",
            hu_window=(10.0, 110.0),
            # Narrow, so that the 20 to 60 HU between tumour and liver are a large difference to the network. Ours.
            input_hu=(0.0, 150.0),
            mirrored=False,
            plausible=(0.0, 300.0),
            negligible=0.3,  # a tumour 6 mm across; ours
            skin_mm=2.5,
            smooth_mm=1.5,
            settings=Settings(SumLoss("squared+sqrt"), epochs=5, shift=0.08, turn_deg=10, width=16, depth=4),
        ),
        # The network is shown what tells an artery from a valve or a bone: fat (-100 HU) beside muscle (45 HU) and the
        # brightness of calcium, whose density factors end at 400 HU; metal (2000 HU) still differs at 800. Ours.
        "cac": Task(
            "cac",
            "coronary calcium score",
            "Agatston",
            hu_window=(candidates.CALCIUM_HU, np.inf),
            ndim=3,
            input_hu=(-200.0, 800.0),
            region=candidates.calcium,
            voxel_weight=agatston_dz3,
            # None, minimal, mild, moderate, severe: the commonest grouping (agatston.RISK_SCHEMES has others).
            risk_groups=(0.0, 10.0, 100.0, 400.0),
            # The least lesion, 1 mm2 at factor 1 in a slice of 3 mm, scores 1; in thinner slices one alone scores less.
            negligible=1.0,
            lesions=True,
            mirrored=False,
            # Scores above 10,000 are rare; ours.
            plausible=(0.0, 20000.0),
            settings=Settings(SumLoss("linear+sqrt"), Muon(0.01, 0.002), 6, 2, shift=0.15, turn_deg=0, width=16),
        ),
    }
)
"""The biomarkers of this book by key."""
