"""Several trained models as one: the mean of their maps, and how far they differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from biomark.cohort import Case
from biomark.grids import Boxes
from biomark.localizer import Localization, Localizer, tensor
from biomark.machine.optimizers import call


@dataclass(frozen=True, eq=False, kw_only=True)
class Consensus(Localization):
    """What an ensemble finds: value, map and mask of the whole, and the standard deviation over its members.

    Attributes:
        value_spread: SD of the members' values, in the task's unit, ``(N,)``; a float for one case.
        map_spread: SD of the members' maps, ``(N, *S)``; ``S`` for one case.
    """

    value_spread: Tensor | float
    map_spread: Tensor | NDArray[np.float32]


class Ensemble(nn.Module):
    """Models that were trained alike from different seeds, asked together (Lakshminarayanan et al., NeurIPS 2017).

    Its map is the mean of theirs, and its value is measured on that map. The spread says how much depends on the seed,
    not how far off the value is (on chest phantoms r with the error was 0.1 to 0.2).

    Args:
        models: Two or more trained localizers, or rivals with a map, of one kind and task.

    Raises:
        ValueError: Fewer than two models, without maps, or of different kinds or tasks.
    """

    models: Any

    def __init__(self, models: Sequence[Any]) -> None:
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
        if any(m.task != models[0].task and m.task.rules() != models[0].task.rules() for m in models):
            raise ValueError(f"the models measure {tasks[0]!r} by different rules: give models of one.")
        self.models = nn.ModuleList(models)
        self.task, self.needs_sizes = models[0].task, models[0].needs_sizes
        self.eval()

    def forward(self, images_hu: Tensor, weights: Tensor, sizes: Tensor | None = None) -> Consensus:
        """Locate and measure in images ``(N, 1, *S)`` in HU, with weights and ``sizes`` as for a member."""
        return self._consensus([call(model, images_hu, weights, sizes) for model in self.models], weights, sizes)

    @torch.no_grad()
    def locate(self, case: Case, *, boxes: Boxes | None = None, window: Sequence[int] | None = None) -> Consensus:
        """Floats and numpy arrays of one case on any grid, as :meth:`biomark.Localizer.locate` gives them."""
        members = [self.models[0].locate(case, boxes=boxes, window=window)]
        boxes = boxes or usual_boxes(self, case)
        members += [model.locate(case, boxes=boxes, window=window) for model in self.models[1:]]
        found = [Localization(torch.tensor([m.value]), tensor(boxes.means(m.map, 0))[None]) for m in members]
        size = tensor(np.array([np.prod(boxes.spacing_mm(case.spacing_mm))]))
        both = self._consensus(found, tensor(boxes.sums(case.weights))[None], size)
        value, spread = float(both.value), float(both.value_spread)
        map, map_spread = np.asarray(both.map)[0], np.asarray(both.map_spread)[0]
        mask = self.task.outline(map, boxes, case.weights, value)
        return Consensus(value, boxes.spread(map), mask, value_spread=spread, map_spread=boxes.spread(map_spread))

    def _consensus(self, found: list[Any], weights: Tensor, sizes: Tensor | None) -> Consensus:
        values, maps = torch.stack([f.value for f in found]), torch.stack([f.map for f in found])
        mean = maps.mean(0)
        value = self.models[0].aggregate(mean, weights, sizes)
        return Consensus(value, mean, value_spread=values.std(0), map_spread=maps.std(0))


def box_mm(model: nn.Module) -> list[float] | None:
    """Sides of the boxes that a model, or the first member of an ensemble, was trained on; None if it was not."""
    known = [b for name, b in model.named_buffers() if name.endswith("trained_spacing_mm") and not b.isnan().any()]
    return known[0].tolist() if known else None


def usual_boxes(model: nn.Module, case: Case) -> Boxes:
    """The boxes through which a model looks at a case where none are given."""
    return Boxes.over(case.image.shape, case.spacing_mm, box_mm(model) or case.spacing_mm)
