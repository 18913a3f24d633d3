"""Several trained models as one: the mean of their maps, and how far they differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from biomark.cohort import Case
from biomark.localizer import Localization, Localizer, tensor


@dataclass(frozen=True, eq=False)
class Consensus(Localization):
    """What an ensemble finds: value and map of the whole, and the standard deviation over its members.

    Attributes:
        value_spread: SD of the members' values, in the task's unit, ``(N,)``; a float for one case.
        map_spread: SD of the members' maps, ``(N, *S)``; ``S`` for one case.
    """

    value_spread: Tensor | float
    map_spread: Tensor | NDArray[np.float32]


class Ensemble(nn.Module):
    """Models that were trained alike from different seeds, asked together (Lakshminarayanan et al., NeurIPS 2017).

    Its map is the mean of theirs, and its value is measured on that map as each member does on its own. The spread says
    how much depends on the seed, not how far off the value is (on chest phantoms r with the error was 0.1 to 0.2).

    Args:
        models: Two or more trained localizers, or rivals with a map, of one kind and task.

    Raises:
        ValueError: Fewer than two models, without maps, or of different kinds or tasks.
    """

    def __init__(self, models: Sequence[Localizer]) -> None:
        super().__init__()
        kinds = sorted({type(m).__name__ for m in models})
        if len(models) < 2 or len(kinds) > 1 or not isinstance(models[0], Localizer):
            raise ValueError(
                f"an ensemble of {len(models)} models ({', '.join(kinds) or 'none'}) cannot be formed: give two or "
                "more of one kind that has a map."
            )
        tasks = sorted({m.task.key for m in models})
        if len(tasks) > 1:
            raise ValueError(f"the models measure different things ({', '.join(tasks)}): give models of one task.")
        self.models = nn.ModuleList(models)
        self.task = models[0].task
        self.eval()

    def forward(self, images_hu: Tensor, weights: Tensor) -> Consensus:
        """Locate and measure in images ``(N, 1, *S)`` in HU with their weights ``(N, *S)``."""
        return self._consensus([model(images_hu, weights) for model in self.models], weights)

    @torch.no_grad()
    def locate(self, case: Case, *, window: Sequence[int] | None = None) -> Consensus:
        """Floats and numpy arrays of one case at any voxel spacing, as :meth:`biomark.Localizer.locate` gives them."""
        members = [model.locate(case, window=window) for model in self.models]
        found = [Localization(torch.tensor([m.value]), tensor(m.map)[None]) for m in members]
        both = self._consensus(found, tensor(case.weights)[None])
        return Consensus(both.value.item(), both.map[0].numpy(), both.value_spread.item(), both.map_spread[0].numpy())

    def _consensus(self, found: list[Localization], weights: Tensor) -> Consensus:
        values, maps = torch.stack([f.value for f in found]), torch.stack([f.map for f in found])
        mean = maps.mean(0)
        return Consensus(self.models[0].aggregate(mean, weights), mean, values.std(0), maps.std(0))
