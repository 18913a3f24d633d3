"""A cohort as another scanner, another protocol or a careless spreadsheet would have made it: where does a model fail?

Every function returns a changed cohort and leaves the one it was given. Images are changed in Hounsfield units and
millimetres and weighed again; masks and values follow where a change moves or cuts the anatomy. Only
:func:`label_noise` makes a value wrong, and only :func:`wrong_spacing` a spacing. A cohort whose weights are not those
of its images, because they were summed from finer voxels or narrowed to an organ, is refused.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from biomark.cohort import Cohort
from biomark.tasks import Task

AIR_HU = -1000.0
"""Air, by the definition of the scale."""


def shift_hu(cohort: Cohort, by_hu: float) -> Cohort:
    """A scanner whose calibration is off: ``by_hu`` is added to every voxel."""
    return _with_images(cohort, np.asarray(cohort.images) + np.float32(by_hu))


def noise(cohort: Cohort, sd_hu: float, *, seed: int = 0) -> Cohort:
    """A lower dose: independent normal noise of ``sd_hu`` is added."""
    draw = np.random.default_rng(seed).standard_normal(np.shape(cohort.images), np.float32)
    return _with_images(cohort, np.asarray(cohort.images) + np.float32(sd_hu) * draw)


def blur(cohort: Cohort, sd_mm: float) -> Cohort:
    """A softer kernel: each slice is convolved with a Gaussian of ``sd_mm``."""
    return _with_images(cohort, _blurred(cohort, sd_mm))


def sharpen(cohort: Cohort, amount: float, sd_mm: float = 3.0) -> Cohort:
    """A harder kernel: ``amount`` times the difference from the image blurred by ``sd_mm`` is added."""
    images = np.asarray(cohort.images)
    return _with_images(cohort, images + np.float32(amount) * (images - _blurred(cohort, sd_mm)))


def rotate(cohort: Cohort, degrees: float) -> Cohort:
    """A patient lying askew: each slice is turned about its middle; what comes in from outside is air.

    Raises:
        ValueError: The pixels of a case are not square.
    """
    dy, dx = cohort.spacing_mm[:, -2:].T
    if not np.allclose(dy, dx, rtol=1e-3):
        first = cohort.ids[int(np.argmax(np.abs(dy / dx - 1)))]
        raise ValueError(f"case {first!r} has pixels that are not square: resample it (scans.Grid) to rotate it.")
    how = {"axes": (-2, -1), "reshape": False}
    images = ndimage.rotate(np.asarray(cohort.images), degrees, order=1, cval=AIR_HU, **how)
    masks = cohort.masks
    if masks is not None:
        masks = ndimage.rotate(np.asarray(masks, np.uint8), degrees, order=0, **how).astype(bool)
    return _with_images(cohort, images, masks=masks)


def crop(cohort: Cohort, share: float) -> Cohort:
    """A smaller field of view: of each slice the middle ``share`` of its sides is left.

    The value keeps the share of the mask's weight that is still in the image.

    Raises:
        ValueError: ``share`` is not above 0 and at most 1 or leaves no pixel, or the cohort has no masks.
    """
    sides = np.shape(cohort.images)[-2:]
    if not 0 < share <= 1 or cohort.masks is None or round(share * min(sides)) < 1:
        raise ValueError(f"the middle {share} can be kept of cases with masks only, for a share above 0, 1 at most.")
    lengths = [round(share * n) for n in sides]
    middle = [slice((n - length) // 2, (n - length) // 2 + length) for n, length in zip(sides, lengths, strict=True)]
    images, masks, weights = (np.asarray(a) for a in (cohort.images, cohort.masks, cohort.weights))
    inside = _total(weights[..., *middle] * masks[..., *middle])
    values = cohort.values * (inside / np.maximum(_total(weights * masks), 1e-9))
    return _with_images(cohort, images[..., *middle], masks=masks[..., *middle], values=values)


def wrong_spacing(cohort: Cohort, factor: float) -> Cohort:
    """A wrong header: it gives ``factor`` times the true distance of pixels in a slice. Values stay true."""
    spacing = cohort.spacing_mm * ([1, factor, factor] if cohort.task.ndim == 3 else factor)
    return _with_images(cohort, np.asarray(cohort.images), spacing_mm=spacing)


def label_noise(cohort: Cohort, share: float, *, seed: int = 0) -> Cohort:
    """Careless readings: each value is multiplied by a normal number of mean 1 and SD ``share``, and is not below 0."""
    factor = 1 + share * np.random.default_rng(seed).standard_normal(len(cohort))
    return replace(cohort, values=cohort.values * np.maximum(factor, 0))


def reweigh(cohort: Cohort, task: Task) -> Cohort:
    """The same cases under another candidate rule, such as ``dataclasses.replace(task, hu_window=(-1024, 3071))``."""
    return _with_images(cohort, np.asarray(cohort.images), task=task)


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


def _with_images(cohort: Cohort, images: NDArray, **changed) -> Cohort:
    """The cohort with these images, weighed again.

    Raises:
        ValueError: Its weights were not those of its images before.
    """
    for case in cohort:
        plain = cohort.task.weigh(case.image, case.spacing_mm)
        if np.abs(plain - case.weights).sum() > 0.01 * plain.sum():
            raise ValueError(
                f"the weights of case {case.id!r} are not those that the rules of {cohort.task.key!r} give its voxels: "
                "change cohorts on their scans' own voxels, and narrow them to a region (within) afterwards."
            )
    images = np.asarray(images, np.float32)
    task, spacing = changed.get("task", cohort.task), changed.get("spacing_mm", cohort.spacing_mm)
    weights = np.stack([task.weigh(image, mm) for image, mm in zip(images, spacing, strict=True)])
    return replace(cohort, images=images, weights=weights.astype(np.float32), **changed)


def _blurred(cohort: Cohort, sd_mm: float) -> NDArray[np.float32]:
    """Each slice by its own pixels: the same millimetres in every case."""
    cases = zip(np.asarray(cohort.images), cohort.spacing_mm, strict=True)
    return np.stack([ndimage.gaussian_filter(i, sd_mm / mm[-2:], mode="nearest", axes=(-2, -1)) for i, mm in cases])


def _total(array: NDArray) -> NDArray[np.float64]:
    return array.reshape(len(array), -1).sum(1, dtype=float)
