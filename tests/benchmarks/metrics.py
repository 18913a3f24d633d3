"""How long Dice, HD95 and surface Dice take, beside MONAI, surface-distance and MedPy, and where they disagree.

    python tests/benchmarks/metrics.py            # two minutes
    python tests/benchmarks/metrics.py --quick

Truths are masks of phantoms; what was found is the truth moved and with ragged edges. Two tenths of the pairs are left
out of times and disagreements, because programs do not agree on what they mean: truths that are empty, and truths of
which nothing was found. What each program answers there is reported as it is.

Values are compared before times. MONAI measures as biomark does and has to agree; the others define a surface or a
percentile in their own way, and by how much their figures differ is part of the result.
"""

from functools import partial

import numpy as np
import torch
from scipy import ndimage
from turns import OURS, command, keep, take

import biomark as bm

try:
    import surface_distance
    from medpy.metric import binary
    from monai.metrics import compute_dice, compute_hausdorff_distance, compute_surface_dice
except ImportError as error:
    raise SystemExit(f"this benchmark needs {error.name}: pip install 'biomark[peers]'.") from error

TOLERANCE_MM = 3.0


def pairs(key: str, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What was found, the truth and the spacing of one case for all, on the measuring grid; the first tenth has empty
    truths, the second nothing found."""
    cohort = bm.phantoms.draw(key, n, seed=0)
    rng = np.random.default_rng(0)
    truth = np.stack([cohort.regions(i)[1] for i in range(n)])
    axes = tuple(range(1, truth.ndim))
    truth[~truth.any(axes)] = truth[truth.any(axes)][0]
    found = np.stack([np.roll(mask, rng.integers(0, 3, mask.ndim), tuple(range(mask.ndim))) for mask in truth])
    found ^= ndimage.binary_dilation(found, np.ones((1, *[3] * len(axes)))) & (rng.random(found.shape) < 0.2)
    tenth = n // 10
    truth[:tenth], found[tenth : 2 * tenth] = False, False
    return found, truth, np.array(cohort.fine[0].spacing_mm)


def one_hot(masks: np.ndarray) -> torch.Tensor:
    return torch.as_tensor(masks)[:, None]


def monai_hd95(found: np.ndarray, truth: np.ndarray, spacing_mm: np.ndarray) -> np.ndarray:
    spacing = spacing_mm.tolist()
    result = compute_hausdorff_distance(one_hot(found), one_hot(truth), True, percentile=95, spacing=spacing)
    return result[:, 0].numpy()


def monai_surface_dice(found: np.ndarray, truth: np.ndarray, spacing_mm: np.ndarray) -> np.ndarray:
    spacing = spacing_mm.tolist()
    return compute_surface_dice(one_hot(found), one_hot(truth), [TOLERANCE_MM], True, spacing=spacing)[:, 0].numpy()


def distances(found: np.ndarray, truth: np.ndarray, spacing_mm: np.ndarray) -> list[dict]:
    return [surface_distance.compute_surface_distances(t, f, spacing_mm) for f, t in zip(found, truth, strict=True)]


METRICS = {
    "dice": {
        OURS: lambda found, truth, spacing_mm: bm.metrics.dice(found, truth),
        "MONAI": lambda found, truth, spacing_mm: compute_dice(one_hot(found), one_hot(truth))[:, 0].numpy(),
        "MedPy": lambda found, truth, spacing_mm: np.array(list(map(binary.dc, found, truth))),
    },
    "hd95": {
        OURS: bm.metrics.hd95,
        "MONAI": monai_hd95,
        "surface-distance": lambda *case: np.array(
            [surface_distance.compute_robust_hausdorff(d, 95) for d in distances(*case)]
        ),
        "MedPy": lambda found, truth, spacing_mm: np.array(
            [binary.hd95(f, t, spacing_mm) for f, t in zip(found, truth, strict=True)]
        ),
    },
    "surface_dice": {
        OURS: lambda *case: bm.metrics.surface_dice(*case, tolerance_mm=TOLERANCE_MM),
        "MONAI": monai_surface_dice,
        "surface-distance": lambda *case: np.array(
            [surface_distance.compute_surface_dice_at_tolerance(d, TOLERANCE_MM) for d in distances(*case)]
        ),
    },
}


def answer(function, *case: np.ndarray) -> str:
    """What a program says of one case, in words."""
    try:
        return f"{float(function(*case)[0]):.4g}"
    except Exception as error:  # whatever it raises is its answer
        return type(error).__name__


def main() -> None:
    asked = command(__doc__)
    rows, apart, odd = [], {}, {}
    for key, n in ({"pma": 20, "cac": 10} if asked.quick else {"pma": 200, "cac": 40}).items():
        found, truth, spacing_mm = pairs(key, n)
        tenth = n // 10
        usual = (found[2 * tenth :], truth[2 * tenth :], spacing_mm)
        unusual = {"empty truth": slice(0, 1), "nothing found": slice(tenth, tenth + 1)}
        for name, functions in METRICS.items():
            of = {"images": "slices" if truth.ndim == 3 else "volumes", "metric": name}
            values = {who: function(*usual) for who, function in functions.items()}
            if not np.allclose(values[OURS], values["MONAI"], atol=1e-4):
                worst = np.abs(values[OURS] - values["MONAI"]).max()
                raise SystemExit(f"{name} of {key}: biomark and MONAI differ by {worst}: nothing was measured.")
            label = f"{of['images']}, {name}"
            apart[label] = {who: float(np.abs(v - values[OURS]).max()) for who, v in values.items() if who != OURS}
            odd[label] = {
                what: {who: answer(f, found[rows_], truth[rows_], spacing_mm) for who, f in functions.items()}
                for what, rows_ in unusual.items()
            }
            timed = take({who: partial(function, *usual) for who, function in functions.items()}, turns=5)
            rows += [of | {"pairs": n - 2 * tenth} | row for row in timed]
    peers = ("monai", "surface-distance", "MedPy")
    keep(asked, "metrics", rows, peers=peers, largest_difference=apart, where_undefined=odd)


if __name__ == "__main__":
    main()
