"""A cohort as another scanner, another protocol or a careless spreadsheet would have made it: where does a model fail?

Every function takes a cohort and gives a changed one; the one it was given stays as it is. Images are changed in
Hounsfield units and millimetres and weighed anew, because a candidate rule sees the changed image too. Masks and values
go along where a change moves or cuts the anatomy; only :func:`label_noise` makes a value wrong, and only
:func:`wrong_spacing` a spacing. A cohort whose weights are not those of its images, because they were summed from finer
voxels or narrowed to an organ, is refused: weighing it anew would change its truth.

What is applied to test cases says what a trained model bears (``bm.evaluate(model, bm.perturbations.blur(test, 3))``); applied
to training cases, what training bears.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from biomark.cohort import Cohort
from biomark.tasks import Task

AIR_HU = -1000.0
"""What a scanner sees around a patient, by the definition of the scale."""


def shift_hu(cohort: Cohort, by_hu: float) -> Cohort:
    """A scanner whose calibration is off: ``by_hu`` is added to every voxel."""
    return _seen(cohort, np.asarray(cohort.images) + np.float32(by_hu))


def noise(cohort: Cohort, sd_hu: float, *, seed: int = 0) -> Cohort:
    """A lower dose: independent normal noise of ``sd_hu`` is added to the noise that is there."""
    draw = np.random.default_rng(seed).standard_normal(np.shape(cohort.images), np.float32)
    return _seen(cohort, np.asarray(cohort.images) + np.float32(sd_hu) * draw)


def blur(cohort: Cohort, sd_mm: float) -> Cohort:
    """A softer kernel: each slice is convolved with a Gaussian of ``sd_mm``."""
    return _seen(cohort, _blurred(cohort, sd_mm))


def sharpen(cohort: Cohort, amount: float, sd_mm: float = 3.0) -> Cohort:
    """A harder kernel: ``amount`` times the difference from the image blurred by ``sd_mm`` is added.

    Edges overshoot and noise grows, as with lung and bone kernels.
    """
    images = np.asarray(cohort.images)
    return _seen(cohort, images + np.float32(amount) * (images - _blurred(cohort, sd_mm)))


def thicken(cohort: Cohort, slices: int) -> Cohort:
    """Thicker slices: each is the mean of so many neighbours, which it takes the place of.

    Slices at the end that do not fill one are left out. A voxel belongs to the mask where at least half of what it
    averages does. Values stay: they are what a reader measured on thin slices.

    Raises:
        ValueError: The images are no volumes, or have fewer slices.
    """
    n, *shape = np.shape(cohort.images)
    if len(shape) != 3 or not 1 <= slices <= shape[0]:
        raise ValueError(f"images of shape {tuple(shape)} cannot be averaged over {slices} slices: give volumes.")
    groups = (n, shape[0] // slices, slices, *shape[1:])
    kept = slice(groups[1] * slices)
    images = np.asarray(cohort.images)[:, kept].reshape(groups).mean(2)
    masks = None if cohort.masks is None else np.asarray(cohort.masks)[:, kept].reshape(groups).mean(2) >= 0.5
    return _seen(cohort, images, masks=masks, spacing_mm=cohort.spacing_mm * [slices, 1, 1])


def rotate(cohort: Cohort, degrees: float) -> Cohort:
    """A patient lying askew: each slice is turned about its middle; what comes in from outside is air.

    Raises:
        ValueError: The pixels of a case are not square.
    """
    across = cohort.spacing_mm[:, -2:]
    if not np.allclose(across[:, 0], across[:, 1], rtol=1e-3):
        first = cohort.ids[int(np.argmax(np.abs(across[:, 0] / across[:, 1] - 1)))]
        raise ValueError(f"case {first!r} has pixels that are not square: bring it to such (scans.Grid) to turn it.")
    turned = {"axes": (-2, -1), "reshape": False}
    images = ndimage.rotate(np.asarray(cohort.images), degrees, order=1, cval=AIR_HU, **turned)
    masks = cohort.masks
    if masks is not None:
        masks = ndimage.rotate(np.asarray(masks, np.uint8), degrees, order=0, **turned).astype(bool)
    return _seen(cohort, images, masks=masks)


def crop(cohort: Cohort, share: float) -> Cohort:
    """A smaller field of view: of each slice the middle ``share`` of its sides is left.

    What is cut off is neither seen nor counted: the value keeps the share of the mask's worth that is still there.

    Raises:
        ValueError: ``share`` is not above 0 and at most 1 or leaves no pixel, or there are no masks to say what was cut
            off.
    """
    if not 0 < share <= 1 or cohort.masks is None or round(share * min(_sides(cohort))) < 1:
        raise ValueError(f"the middle {share} can be kept of cases with masks only, for a share above 0, 1 at most.")
    middle = [
        slice((n - round(share * n)) // 2, (n - round(share * n)) // 2 + round(share * n)) for n in _sides(cohort)
    ]
    masks, weights = np.asarray(cohort.masks), np.asarray(cohort.weights)
    inside = _total(weights[..., *middle] * masks[..., *middle])
    left = inside / np.maximum(_total(weights * masks), 1e-9)
    return _seen(
        cohort, np.asarray(cohort.images)[..., *middle], masks=masks[..., *middle], values=cohort.values * left
    )


def wrong_spacing(cohort: Cohort, factor: float) -> Cohort:
    """A header that lies: it gives ``factor`` times the true distance of pixels in a slice. Values stay true."""
    spacing = cohort.spacing_mm * ([1, factor, factor] if cohort.task.ndim == 3 else factor)
    return _seen(cohort, np.asarray(cohort.images), spacing_mm=spacing)


def label_noise(cohort: Cohort, share: float, *, seed: int = 0) -> Cohort:
    """Numbers read carelessly: each is multiplied by a normal number of mean 1 and SD ``share``, and not below 0."""
    factor = 1 + share * np.random.default_rng(seed).standard_normal(len(cohort))
    return replace(cohort, values=cohort.values * np.maximum(factor, 0))


def reweigh(cohort: Cohort, task: Task) -> Cohort:
    """The same cases under another candidate rule, such as ``dataclasses.replace(task, hu_window=(-1024, 3071))``."""
    return _seen(cohort, np.asarray(cohort.images), task=task)


def confound(cohort: Cohort, keep: float) -> Cohort:
    """The cases in which the tissue beside grows with the target: what all candidates weigh tells the value.

    Of each case it is asked how many times the value its other candidates weigh; kept are the cases nearest to the
    median of that. So a cohort of patients of one kind may look. Nothing in any image is changed.

    Args:
        cohort: Cases with values above 0.
        keep: Share of the cases to keep; the smaller, the nearer to 1 is the correlation of target and tissue beside.

    Raises:
        ValueError: ``keep`` leaves no case.
    """
    n = round(keep * len(cohort))
    if not 1 <= n <= len(cohort):
        raise ValueError(f"keeping {keep} of {len(cohort)} cases leaves {n}: choose a share above 0, at most 1.")
    times = _total(np.asarray(cohort.weights)) / np.maximum(cohort.values, 1e-9)
    return cohort[np.sort(np.argsort(np.abs(times - np.median(times)), kind="stable")[:n])]


def _seen(cohort: Cohort, images: NDArray, **changed) -> Cohort:
    """The cohort with these images, weighed anew.

    Raises:
        ValueError: Its weights were not those of its images before.
    """
    for case in cohort:
        plain = cohort.task.weigh(case.image, case.spacing_mm)
        if np.abs(plain - case.weights).sum() > 0.01 * plain.sum():
            raise ValueError(
                f"case {case.id!r} does not weigh what the rules of {cohort.task.key!r} make of its voxels: change "
                "cohorts on their scans' own voxels, and narrow them to a region (within) afterwards."
            )
    images = np.asarray(images, np.float32)
    task, spacing = changed.get("task", cohort.task), changed.get("spacing_mm", cohort.spacing_mm)
    weights = np.stack([task.weigh(image, mm) for image, mm in zip(images, spacing, strict=True)])
    return replace(cohort, images=images, weights=weights.astype(np.float32), **changed)


def _blurred(cohort: Cohort, sd_mm: float) -> NDArray[np.float32]:
    """Each slice by its own pixels: the same millimetres in every case."""
    return np.stack(
        [
            ndimage.gaussian_filter(image, sd_mm / mm[-2:], mode="nearest", axes=(-2, -1))
            for image, mm in zip(np.asarray(cohort.images), cohort.spacing_mm, strict=True)
        ]
    )


def _sides(cohort: Cohort) -> tuple[int, int]:
    return np.shape(cohort.images)[-2:]


def _total(array: NDArray) -> NDArray[np.float64]:
    return array.reshape(len(array), -1).sum(1, dtype=float)
