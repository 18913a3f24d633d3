"""A cohort as another scanner, another protocol or a careless spreadsheet would have made it: where does a model fail?

Every function returns a changed cohort and leaves the one it was given. Images are changed on the measuring grid, in
Hounsfield units and millimetres, weighed again there, and put into the same boxes; masks and values follow where a
change moves or cuts the anatomy. Only :func:`label_noise` makes a value wrong, and only :func:`wrong_spacing` a
spacing. Voxels are drawn or read again for it (:meth:`biomark.Cohort.voxels`). A cohort whose weights are not those of
its images, because they were narrowed to an organ, is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from biomark.cohort import Case, Cohort, Voxels
from biomark.grids import Boxes
from biomark.machine.moves import AIR_HU
from biomark.tasks import Task


def shift_hu(cohort: Cohort, by_hu: float) -> Cohort:
    """A scanner whose calibration is off: ``by_hu`` is added to every voxel."""
    return _change(cohort, lambda hu, mm, i: hu + np.float32(by_hu))


def noise(cohort: Cohort, sd_hu: float, *, seed: int = 0) -> Cohort:
    """A lower dose: independent normal noise of ``sd_hu`` is added to each voxel of the measuring grid.

    A box is the mean of several, and its noise is less: in a box of 3 x 3 pixels, a third.
    """

    def grainy(hu: NDArray, mm: Sequence[float], i: int) -> NDArray:
        return hu + np.float32(sd_hu) * np.random.default_rng([seed, i]).standard_normal(hu.shape, np.float32)

    return _change(cohort, grainy)


def blur(cohort: Cohort, sd_mm: float) -> Cohort:
    """A softer kernel: each slice is convolved with a Gaussian of ``sd_mm``."""
    return _change(cohort, lambda hu, mm, i: _blur(hu, mm, sd_mm))


def sharpen(cohort: Cohort, amount: float, sd_mm: float = 3.0) -> Cohort:
    """A harder kernel: ``amount`` times the difference from the image blurred by ``sd_mm`` is added."""
    return _change(cohort, lambda hu, mm, i: hu + np.float32(amount) * (hu - _blur(hu, mm, sd_mm)))


def rotate(cohort: Cohort, degrees: float) -> Cohort:
    """A patient lying askew: each slice is turned about its middle; what comes in from outside is air.

    Raises:
        ValueError: The pixels of a case are not square.
    """
    spacings = cohort.spacing_mm if cohort.fine is None else [voxels.spacing_mm for voxels in cohort.fine]
    for name, (*_, dy, dx) in zip(cohort.ids, spacings, strict=True):
        if not np.isclose(dy, dx, rtol=1e-3):
            raise ValueError(f"case {name!r} has pixels that are not square: resample it (scans.Grid) to rotate it.")
    turn = partial(ndimage.rotate, angle=degrees, axes=(-2, -1), reshape=False)
    return _change(
        cohort,
        lambda hu, mm, i: turn(hu, order=1, cval=AIR_HU),
        mask=lambda mask, i: turn(mask.astype(np.uint8), order=0) > 0,
    )


def crop(cohort: Cohort, share: float) -> Cohort:
    """A smaller field of view: of each slice the middle ``share`` of its boxes along each side is left.

    The value keeps the share of the mask's weight that is still in the image.

    Raises:
        ValueError: ``share`` is not above 0 and at most 1 or leaves no box, or the cohort has no truth.
    """
    sides = np.shape(cohort.images)[-2:]
    if not 0 < share <= 1 or cohort.truth is None or round(share * min(sides)) < 1:
        raise ValueError(f"the middle {share} can be kept of cases with masks only, for a share above 0, 1 at most.")
    lengths = [round(share * n) for n in sides]
    middle = [((n - length) // 2, length) for n, length in zip(sides, lengths, strict=True)]
    truth = np.asarray(cohort.truth)
    inside: Any = (..., *(slice(first, first + length) for first, length in middle))
    left = _total(truth[inside])
    cuts = [_cut(cohort.regions(i)[2], middle) for i in range(len(cohort))]
    return _change(
        cohort,
        lambda hu, mm, part: hu[..., *part],
        mask=lambda mask, part: mask[..., *part],
        details=[part for _, part in cuts],
        boxes=[boxes for boxes, _ in cuts],
        values=cohort.values * (left / np.maximum(_total(truth), 1e-9)),
    )


def wrong_spacing(cohort: Cohort, factor: float) -> Cohort:
    """A wrong header: it gives ``factor`` times the true distance of pixels in a slice. Values stay true."""
    return _change(cohort, lambda hu, mm, i: hu, stretch=factor)


def label_noise(cohort: Cohort, share: float, *, seed: int = 0) -> Cohort:
    """Careless readings: each value is multiplied by a normal number of mean 1 and SD ``share``, and is not below 0."""
    factor = 1 + share * np.random.default_rng(seed).standard_normal(len(cohort))
    return replace(cohort, values=cohort.values * np.maximum(factor, 0))


def reweigh(cohort: Cohort, task: Task) -> Cohort:
    """The same cases under another candidate rule, such as ``dataclasses.replace(task, hu_window=(-1024, 3071))``."""
    return _change(cohort, lambda hu, mm, i: hu, task=task)


def confound(cohort: Cohort, keep: float) -> Cohort:
    """The cases in which the total weight of all candidates predicts the value, as among patients of one kind.

    Kept are the share ``keep`` of the cases whose ratio of total weight to value is nearest to the median; the smaller
    it is, the nearer to 1 is the correlation of target and other candidates. No image is changed.

    Raises:
        ValueError: ``keep`` leaves no case.
    """
    n = round(keep * len(cohort))
    if not 1 <= n <= len(cohort):
        raise ValueError(f"keeping {keep} of {len(cohort)} cases leaves {n}: choose a share above 0, at most 1.")
    times = _total(np.asarray(cohort.weights)) / np.maximum(cohort.values, 1e-9)
    return cohort[np.sort(np.argsort(np.abs(times - np.median(times)), kind="stable")[:n])]


def _change(
    cohort: Cohort,
    image: Callable[[NDArray, Sequence[float], Any], NDArray],
    *,
    mask: Callable[[NDArray, Any], NDArray] = lambda mask, i: mask,
    details: Sequence[Any] | None = None,
    boxes: Sequence[Boxes] | None = None,
    stretch: float = 1.0,
    task: Task | None = None,
    values: NDArray | None = None,
) -> Cohort:
    """The cohort with its voxels changed, weighed again, and in boxes again.

    Args:
        cohort: The cases.
        image: Gives the new image of an old one, its spacing, and its case's of ``details``.
        mask: Gives the new mask of an old one, and its case's of ``details``.
        details: What both are told of each case; its number by default.
        boxes: Over the new image of each case; as before by default.
        stretch: Factor of the spacing in a slice.
        task: By which they are weighed; the cohort's by default.
        values: The new values.

    Raises:
        ValueError: The weights of a case were not those of its image before, or it has no voxels any more.
    """
    task = task or cohort.task
    workers = max(1, min(joblib.cpu_count(), len(cohort) // 100))  # as many as draw phantoms
    jobs = (
        joblib.delayed(_change_case)(_alone(cohort, i), detail, image, mask, boxes and boxes[i], stretch, task)
        for i, detail in enumerate(details or range(len(cohort)))
    )
    images, weights, truth, spacing, fine = zip(*joblib.Parallel(n_jobs=workers)(jobs), strict=True)
    return replace(
        cohort,
        task=task,
        images=np.stack(images),
        weights=np.stack(weights),
        truth=None if cohort.truth is None else np.stack(truth),
        spacing_mm=np.array(spacing),
        values=cohort.values if values is None else values,
        fine=None if cohort.fine is None else list(fine),
    )


def _alone(cohort: Cohort, i: int) -> Cohort:
    """One case that holds nothing of the others."""
    return replace(cohort[[i]], fine=None if cohort.fine is None else [cohort.fine[i]])


def _change_case(
    one: Cohort, detail: Any, image: Callable, mask: Callable, boxes: Boxes | None, stretch: float, task: Task
) -> tuple:
    """Image, weights and truth of the boxes of a changed case, their sides, and its voxels."""
    case = one.voxels(0)
    plain = one.task.weigh(case.image, case.spacing_mm)
    if np.abs(plain - case.weights).sum() > 0.01 * plain.sum():
        raise ValueError(
            f"the weights of case {case.id!r} are not those that the rules of {one.task.key!r} give its voxels: change "
            "the whole cohort, and narrow it to a region (within) afterwards."
        )
    hu = np.asarray(image(case.image, case.spacing_mm, detail), np.float32)
    spacing = tuple(np.multiply(case.spacing_mm, [1.0, stretch, stretch][-hu.ndim :]))
    inside = None if case.mask is None else mask(case.mask, detail)
    new = Case(case.id, hu, task.weigh(hu, spacing), case.value, inside, spacing)
    boxes = boxes or one.regions(0)[2]
    truth = None if inside is None else boxes.sums(new.weights * inside)
    # Kept as what draws it again: the images of many hearts would fill the memory.
    before: Any = one.fine[0].image if one.fine else None
    mm = case.spacing_mm
    fine = one.fine and Voxels.of(new, boxes, lambda: np.asarray(image(before(), mm, detail), np.float32))
    return boxes.means(hu, AIR_HU), boxes.sums(new.weights), truth, boxes.spacing_mm(spacing), fine


def _cut(boxes: Boxes, middle: Sequence[tuple[int, int]]) -> tuple[Boxes, list[slice]]:
    """The middle boxes, first and number along each axis of a slice, and the part of the image that they lie over."""
    starts, sides, parts = list(boxes.starts), list(boxes.image_shape), []
    for axis, (first, length) in enumerate(middle, start=len(sides) - 2):
        edges = [starts[axis] + round(k * boxes.voxels[axis]) for k in (first, first + length)]
        part = slice(*np.clip(edges, 0, sides[axis]).tolist())
        starts[axis], sides[axis] = edges[0] - part.start, part.stop - part.start
        parts.append(part)
    shape = (*boxes.shape[:-2], *(length for _, length in middle))
    return Boxes(shape, boxes.voxels, tuple(sides), tuple(starts)), parts


def _blur(image_hu: NDArray, spacing_mm: Sequence[float], sd_mm: float) -> NDArray[np.float32]:
    """Each slice by its own pixels: the same millimetres in every case."""
    pixels = [sd_mm / mm for mm in spacing_mm[-2:]]
    return ndimage.gaussian_filter(image_hu, pixels, mode="nearest", axes=(-2, -1))


def _total(array: NDArray) -> NDArray[np.float64]:
    return array.reshape(len(array), -1).sum(1, dtype=float)
