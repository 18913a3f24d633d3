"""Post hoc maps: what a trained regressor is said to have looked at, and how well that lies on the truth.

A direct regressor gives a number and no place. The usual remedy asks it afterwards, by its gradients or by covering
parts of the image. Three such methods, by captum, are scored like the localizer's own map.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from biomark.backbones import pad_to_multiple
from biomark.baselines import DirectRegressor
from biomark.cohort import Cohort
from biomark.evaluation.metrics import energy_in_mask
from biomark.localizer import tensor

METHODS = ("grad_cam", "integrated_gradients", "occlusion")
"""Names for ``method`` of :func:`explain`."""


def explain(
    model: DirectRegressor,
    cohort: Cohort,
    method: str,
    *,
    layer: int | None = None,
    absent_hu: float | None = None,
    steps: int = 16,
    window_mm: float = 48.0,
    batch_size: int = 16,
) -> NDArray[np.float32]:
    """Where a regressor found its number: ``"grad_cam"`` (Selvaraju et al. 2017), ``"integrated_gradients"``
    (Sundararajan et al. 2017) or ``"occlusion"`` (Zeiler and Fergus 2014).

    What is explained is the value itself. A map keeps what speaks for a higher value.

    Args:
        model: A trained regressor.
        cohort: Cases to explain. Neither their values nor their masks are read.
        method: One of :data:`METHODS`.
        layer: For Grad-CAM, the scale of the encoder: 0 is the finest; by default the coarsest, as its authors do.
        absent_hu: For the other two, how the absence of the biomarker looks. By default like air: the lower end of
            ``task.input_hu``. Tissue darker than its surroundings, such as fat, is often better explained against
            water, 0.
        steps: For integrated gradients, Gauss-Legendre points on the way. Ours: for the pectoralis muscle, 64 points
            change the Dice by less than 0.01.
        window_mm: For occlusion, the side of the box, which moves by half of it. Ours, for the cost.
        batch_size: Images that pass the model at once.

    Returns:
        Maps ``(N, *S)``, float32, not negative. Those of one method can be compared with each other, no more.

    Raises:
        ValueError: No such method or layer, or a model that is no direct regressor.
    """
    if not isinstance(model, DirectRegressor):
        raise ValueError(f"a {type(model).__name__} is not explained post hoc: give a trained DirectRegressor.")
    if method not in METHODS:
        raise ValueError(f"no method is called {method!r}: choose one of {', '.join(METHODS)}.")
    scales = range(len(model.encoder.channels))
    if method == "grad_cam":
        if layer not in (None, *scales):
            raise ValueError(f"this encoder has no scale {layer}: choose a layer from 0 to {scales[-1]}.")
    absent_hu = model.task.input_hu[0] if absent_hu is None else absent_hu
    window = window_mm / np.median(cohort.spacing_mm, axis=0)
    training, device = model.training, next(model.parameters()).device
    model.eval()
    maps = np.empty(cohort.images.shape, np.float32)
    for start in range(0, len(cohort), batch_size):
        rows = slice(start, start + batch_size)
        images = tensor(cohort.images[rows])[:, None].to(device)
        # As the model will clip them: what lies beyond would only lengthen the way of the integrated gradients.
        images = images.clamp(*model.task.input_hu)
        if method == "grad_cam":
            found = _grad_cam(model, images, scales[-1] if layer is None else layer)
        elif method == "integrated_gradients":
            found = _integrated_gradients(model, images, absent_hu, steps)
        else:
            found = _occlusion(model, images, absent_hu, window)
        maps[rows] = found[:, 0].detach().clamp_min(0).cpu().numpy()
    model.train(training)
    return maps


# captum is imported where it is used: it takes a second and brings matplotlib, which `import biomark` does without.


def _grad_cam(model: DirectRegressor, images: Tensor, layer: int) -> Tensor:
    from captum.attr import LayerAttribution, LayerGradCam

    cam = LayerGradCam(lambda x: model(x).value, model.encoder.blocks[layer])
    found = cam.attribute(images, relu_attributions=True)
    # The features are those of the padded image.
    padded = pad_to_multiple(images, model.encoder.multiple).shape[2:]
    found = LayerAttribution.interpolate(found, padded, {2: "bilinear", 3: "trilinear"}[len(padded)])
    return found[(..., *(slice(n) for n in images.shape[2:]))]


def _integrated_gradients(model: DirectRegressor, images: Tensor, absent_hu: float, steps: int) -> Tensor:
    from captum.attr import IntegratedGradients

    gradients = IntegratedGradients(lambda x: model(x).value)
    return gradients.attribute(images, absent_hu, n_steps=steps, internal_batch_size=len(images))


def _occlusion(model: DirectRegressor, images: Tensor, absent_hu: float, window: NDArray) -> Tensor:
    from captum.attr import Occlusion

    box = [min(max(round(w), 1), n) for w, n in zip(window, images.shape[2:], strict=True)]
    step = [math.ceil(n / 2) for n in box]
    return Occlusion(lambda x: model(x).value).attribute(images, (1, *box), (1, *step), absent_hu)


@dataclass(frozen=True, eq=False)
class PostHoc:
    """How well post hoc maps lie on the truth, at their best.

    Attributes:
        dice: Mean Dice over cases with a truth, at the best threshold.
        energy_in_mask: Share of all map times weight that lies inside the truth.
        threshold: That threshold: in units of the maps, or of each map's largest value where ``by_case``.
        by_case: Whether each map was divided by its largest value among its candidates before.
        dices: The Dice of each case, ``(N,)``; nan where the truth is empty.
    """

    dice: float
    energy_in_mask: float
    threshold: float
    by_case: bool
    dices: NDArray[np.float64] = field(repr=False)


def score(maps: NDArray, cohort: Cohort, *, thresholds: Sequence[float] | None = None) -> PostHoc:
    """Score post hoc maps by Dice and energy, with every doubt decided in their favour.

    Such a map has no unit and no natural threshold. It is given the candidates; the one threshold that is best *on
    these very cases*; and the better of two scalings, as it is or divided by each map's largest value. It is judged as
    a localizer's is, on the measuring grid; but a localizer's outline follows from its
    own value.

    Args:
        maps: Not negative, one value a box, ``(N, *S)``.
        cohort: The cases, with truth.
        thresholds: Where to cut, as quantiles in [0, 1] of all map values among candidates; by default 200 from 0,
            which marks all candidates, to 0.995. What reaches the cut is marked.

    Raises:
        ValueError: No truth, nothing but empty ones, no candidates, or maps that do not fit.
    """
    if cohort.truth is None:
        raise ValueError("maps are scored against the truth, and this cohort has none: give one with masks.")
    if np.shape(maps) != cohort.images.shape or not (np.min(maps) >= 0 and np.max(maps) < np.inf):
        raise ValueError(
            f"maps must be finite, not negative and of shape {cohort.images.shape}: take those of explain."
        )
    at_quantiles = np.arange(200) / 200 if thresholds is None else np.asarray(thresholds)
    cases = [_in_order(maps[i], cohort, i) for i in range(len(cohort))]
    some = np.array([hits[-1] > 0 for _, hits in cases])
    if not some.any():
        raise ValueError("maps are scored on candidates and true regions, and no case has any: check the cohort.")
    tried = []
    for by_case in (False, True):
        scaled = [(v / max(v.max(initial=0), np.finfo(v.dtype).tiny) if by_case else v, hits) for v, hits in cases]
        cuts = np.unique(np.quantile(np.concatenate([values for values, _ in scaled]), at_quantiles))
        dices = np.stack([_dices(*case, cuts) for case in scaled])
        means = dices[some].mean(0)
        at = int(np.argmax(means))
        tried.append((float(means[at]), float(cuts[at]), by_case, dices[:, at]))
    dice, threshold, by_case, dices = max(tried, key=lambda result: result[0])
    energy = energy_in_mask(maps, np.asarray(cohort.truth), np.asarray(cohort.weights))
    return PostHoc(dice, energy, threshold, by_case, dices)


def _in_order(one: NDArray, cohort: Cohort, i: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The map values of a case's candidates from the lowest on; and how many of its highest 0, 1, 2 ... are true."""
    weights, mask, boxes = cohort.regions(i)
    inside = weights > 0
    values = cohort.task.membership(one, boxes, weights)[inside]
    order = np.argsort(values)
    return values[order], np.concatenate([[0], np.cumsum(mask[inside][order][::-1])])


def _dices(values: NDArray, hits: NDArray, cuts: NDArray) -> NDArray[np.float64]:
    """Dice of one case at each cut, as ``metrics.dice`` gives it, without a mask for every cut."""
    if not hits[-1]:
        return np.full(len(cuts), np.nan)
    marked = len(values) - np.searchsorted(values, cuts)
    return 2 * hits[marked] / (marked + hits[-1])
