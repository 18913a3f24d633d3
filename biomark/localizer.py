"""The localizer: a network says which voxels, arithmetic says how much."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

from .backbones import build
from .cohort import Case, Cohort, refuse_broken
from .losses import aggregate, indecision, outline, prior_logit, share_mismatch, value_loss
from .model import Localization, Model, tensor
from .tasks import Task
from .windows import blended

_POINTS = 2**20  # interpolated at a time: 40 MB


class Localizer(Model):
    """An encoder-decoder whose map, summed over the candidates, is the biomarker.

    Args:
        task: What is measured: a :class:`~biomark.tasks.Task` or a key of ``TASKS``.
        backbone: Name of a backbone, or a module ``(N, 1, *S) -> (N, 1, *S)``.
        width: Channels of a named backbone at full resolution.
    """

    def __init__(self, task: Task | str, backbone: str | nn.Module = "unet", width: int = 16) -> None:
        super().__init__(task, backbone, width)
        self.backbone = build(backbone, self.task.ndim, width)
        # One number added to every logit: where training starts (see losses.prior_logit).
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, images_hu: Tensor, weights: Tensor) -> Localization:
        """Locate and measure.

        Args:
            images_hu: Hounsfield units, ``(N, 1, *S)``.
            weights: From ``task.weigh``, ``(N, *S)``.

        Returns:
            Values ``(N,)`` and maps ``(N, *S)``, float32. A value is exactly the weighted sum of its map.
        """
        map = torch.sigmoid(self.logits(images_hu))
        return Localization(self.measured(map, weights), map)

    def logits(self, images_hu: Tensor) -> Tensor:
        """The map before its sigmoid, float32: ``(N, 1, *S) -> (N, *S)``."""
        found = self.backbone(self.normalised(images_hu))
        if found.shape != images_hu.shape:
            raise ValueError(
                f"the backbone gives {tuple(found.shape)} for images {tuple(images_hu.shape)}: one logit a voxel is "
                "needed."
            )
        return found[:, 0].float() + self.bias

    def measured(self, map: Tensor, weights: Tensor) -> Tensor:
        """The values ``(N,)`` of maps ``(N, *S)``: here the weighted sum. A rival may measure otherwise."""
        return aggregate(map, weights)

    def prepare(self, cohort: Cohort, *, prior: bool = True) -> None:
        """Take from the training numbers what the network starts with: the prior, the typical value and the spacing.

        A model that was trained before has learned better than the prior, and keeps its bias.
        """
        untrained = bool(self.trained_spacing_mm.isnan().any())
        super().prepare(cohort)
        if prior and untrained:
            # Row by row: the weights may lie on disk, and be more than memory holds.
            totals = np.array([self.most(weights) for weights in cohort.weights])
            with torch.no_grad():
                self.bias.copy_(prior_logit(torch.as_tensor(cohort.values), torch.as_tensor(totals)))

    def most(self, weights: NDArray) -> float:
        """What a map of ones would add up to in one case: the prior is the known values' share of it."""
        return float(weights.sum(dtype=float))

    def loss(
        self,
        images_hu: Tensor,
        weights: Tensor,
        values: Tensor,
        *,
        value_scale: str = "linear",
        decide: float = 0.0,
        smooth: float = 0.0,
        shares: float = 0.0,
    ) -> Tensor:
        """What training minimises: the distance between sum and number on ``value_scale``, plus ``decide`` times the
        map's indecision, ``smooth`` times the length of its outline through like tissue, and ``shares`` times the
        mismatch of its shares of the candidates.

        No mask is an argument.
        """
        found = self(images_hu, weights)
        total = value_loss(found.value, values, self.scale, value_scale)
        if decide:
            total = total + decide * indecision(found.map, weights, self.scale)
        if smooth:
            total = total + smooth * outline(found.map, weights, images_hu[:, 0], self.scale)
        if shares:
            total = total + shares * share_mismatch(found.value, values, weights)
        return total

    @torch.no_grad()
    def locate(self, case: Case, *, window: Sequence[int] | None = None) -> Localization:
        """Locate in one case, at any voxel spacing and of any size.

        A network sees structures at the size in voxels at which it learned them. A case whose spacing differs by
        more than a quarter from the training set's is therefore looked at on a grid of the training spacing
        (block-averaged or linear), and the map is brought back to the case's own grid, where the case's own weights
        measure it.

        Args:
            case: The case; its value and mask are not read.
            window: Voxels on each side of what the network looks at at a time, such as ``(48, 128, 128)``, on the grid
                of the training spacing; the whole image by default, for which a network of width 16 takes about 100
                bytes a voxel, 10 GiB for 400 slices of 512 x 512. Windows overlap by a quarter or more and their maps
                are blended (:func:`biomark.windows.blended`); the value is still exactly the weighted sum of the whole
                map.

        Returns:
            Value and map as a float and a numpy array of the case's shape.

        Raises:
            ValueError: The case has other dimensions than the task, or the window another number of sides than the
                case, or one below 32 voxels; or the case holds voxels that are no numbers.
        """
        if np.ndim(case.image) != self.task.ndim:
            shape = np.shape(case.image)
            raise ValueError(f"the model reads {self.task.ndim}-D images, but case {case.id!r} has shape {shape}.")
        zoom = np.asarray(case.spacing_mm) / self.trained_spacing_mm.cpu().numpy()
        if np.isnan(zoom).any() or np.all((zoom > 0.8) & (zoom < 1.25)):
            zoom = np.ones_like(zoom)
        device = self.scale.device
        image = tensor(resampled(case.image, zoom))[None, None]
        training = self.training
        self.eval()
        try:
            map = blended(
                lambda part: self(part.to(device), torch.zeros_like(part[:, 0], device=device)).map, image, window
            )
        finally:
            self.train(training)
        map = onto(map[0].cpu().numpy(), zoom, case.image.shape)
        value = self.measured(tensor(map)[None], tensor(case.weights)[None]).item()
        if not np.isfinite(value):
            refuse_broken([case])
        return Localization(value, map)


def resampled(image: NDArray, zoom: NDArray) -> NDArray[np.float32]:
    """The image on a grid ``zoom`` times as fine over the same extent; coarser voxels take the mean there."""
    image, zoom = np.asarray(image, np.float32), np.asarray(zoom, float)
    if np.all(zoom == 1):
        return image
    shape = np.maximum(np.round(np.array(image.shape) * zoom), 1).astype(int)
    parts = np.maximum(np.ceil(1 / zoom), 1).astype(int)  # points on a side of a new voxel, as dense as the old ones
    fine = onto(image, 1 / (zoom * parts), shape * parts)
    sides = [n for pair in zip(shape, parts, strict=True) for n in pair]
    return fine.reshape(sides).mean(axis=tuple(range(1, 2 * image.ndim, 2)))


def onto(array: NDArray, zoom: NDArray, shape: tuple[int, ...] | NDArray) -> NDArray[np.float32]:
    """Linear interpolation onto a grid of ``shape`` whose voxels are ``zoom`` times as large; corners coincide."""
    if np.all(np.asarray(zoom) == 1):
        return np.asarray(array, np.float32)
    first, *rest = ((np.arange(n) + 0.5) * z - 0.5 for n, z in zip(shape, zoom, strict=True))
    array, found = np.asarray(array, np.float32), np.empty(shape, np.float32)
    # Some planes at a time: the places of all voxels take many times the memory of the image.
    step = max(1, _POINTS // found[0].size)
    for i in range(0, len(first), step):
        grid = np.meshgrid(first[i : i + step], *rest, indexing="ij", sparse=False)
        ndimage.map_coordinates(array, grid, output=found[i : i + step], order=1, mode="nearest")
    return found
