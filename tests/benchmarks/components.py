"""How long connected components take, beside SciPy, cc3d, scikit-image and SimpleITK. Not a test.

    python tests/benchmarks/components.py          # three minutes
    python tests/benchmarks/components.py --quick

The task is what a calcium scorer needs of a CT: of all voxels from 130 HU, the size and the highest value of each
component, within slices (8 neighbours) or in the volume (6 neighbours). The volumes are a scan with bones and calcium,
and noise in which one voxel in eight is a candidate: the first is what happens, the second the worst that can.
Sizes and peaks of all components have to agree before anything is timed. Beside the times stand millions of voxels a
second and, as the limit, one pass of comparing every voxel with 130.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
from scipy import ndimage
from turns import OURS, command, keep, peak_mib, take

from biomark.agatston.components import find_runs, join
from biomark.agatston.rules import Rules

try:
    import cc3d
    import SimpleITK
    from skimage import measure
except ImportError as error:
    raise SystemExit(f"this benchmark needs {error.name}: pip install 'biomark[peers]'.") from error

SPACING_MM = (1.0, 0.7, 0.7)
IN_PLANE = np.zeros((3, 3, 3), bool)
IN_PLANE[1] = True
Found = tuple[np.ndarray, np.ndarray]  # voxels and highest value of each component


def scan(slices: int, size: int) -> np.ndarray:
    """Soft tissue with noise, ribs and a spine that run through the slices, and flecks of calcium."""
    rng = np.random.default_rng(slices)
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    hu = np.empty((slices, size, size), np.int16)
    for z, image in enumerate(hu):
        image[:] = rng.normal(40, 25, image.shape)
        image[x**2 + (y / 0.7) ** 2 > 0.9] = -1000
        image[x**2 + ((y - 0.5) / 1.2) ** 2 < 0.006] = 400
        for angle in np.arange(0, 2 * np.pi, np.pi / 7) + z / 40:
            image[(x - 0.85 * np.cos(angle)) ** 2 + (y - 0.6 * np.sin(angle)) ** 2 < 0.002] = 500
    for _ in range(60):
        z, y0, x0 = rng.integers(0, slices - 3), *rng.integers(size // 3, 2 * size // 3, 2)
        hu[z : z + 3, y0 : y0 + 4, x0 : x0 + 4] = rng.integers(150, 900)
    return hu


def noise(slices: int, size: int) -> np.ndarray:
    """One voxel in eight from 130 HU, anywhere."""
    return np.random.default_rng(0).integers(-780, 260, (slices, size, size)).astype(np.int16)


def ours(hu: np.ndarray, connectivity: int) -> Found:
    rules = Rules(connectivity=connectivity, minimum_area_mm2=0)
    runs = find_runs(hu, None, SPACING_MM, rules)
    component = join(runs, hu.shape, SPACING_MM, rules)
    peaks = np.full(component.max(initial=-1) + 1, -32768, hu.dtype)
    np.maximum.at(peaks, component, runs.peak_hu)
    return np.bincount(component, runs.length), peaks


def measured(hu: np.ndarray, labels: np.ndarray) -> Found:
    """Sizes and peaks from an image of labels."""
    where = np.flatnonzero(labels)
    label, values = labels.reshape(-1)[where], hu.reshape(-1)[where]
    peaks = np.full(label.max(initial=0) + 1, -32768, hu.dtype)
    np.maximum.at(peaks, label, values)
    return np.bincount(label)[1:], peaks[1:]


def by_slice(label: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], Found]:
    """Slice by slice, for what has no neighbourhood within slices of a volume."""

    def find(hu: np.ndarray) -> Found:
        found = [measured(image, label(image >= 130)) for image in hu]
        return np.concatenate([f[0] for f in found]), np.concatenate([f[1] for f in found])

    return find


def itk(mask: np.ndarray, fully: bool = False) -> np.ndarray:
    image = SimpleITK.GetImageFromArray(mask.astype(np.uint8))
    return SimpleITK.GetArrayFromImage(SimpleITK.ConnectedComponent(image, fully))


WAYS = {
    "within slices": {
        OURS: lambda hu: ours(hu, 8),
        "SciPy": lambda hu: measured(hu, ndimage.label(hu >= 130, IN_PLANE)[0]),
        "cc3d": by_slice(lambda mask: cc3d.connected_components(mask, connectivity=8)),
        "scikit-image": by_slice(lambda mask: measure.label(mask, connectivity=2)),
        "SimpleITK": by_slice(lambda mask: itk(mask, True)),
    },
    "in the volume": {
        OURS: lambda hu: ours(hu, 6),
        "SciPy": lambda hu: measured(hu, ndimage.label(hu >= 130)[0]),
        "cc3d": lambda hu: measured(hu, cc3d.connected_components(hu >= 130, connectivity=6)),
        "scikit-image": lambda hu: measured(hu, measure.label(hu >= 130, connectivity=1)),
        "SimpleITK": lambda hu: measured(hu, itk(hu >= 130)),
    },
}


def in_order(found: Found) -> np.ndarray:
    """As a table that does not depend on how components are numbered."""
    return np.array(sorted(zip(*found, strict=True)))


def main() -> None:
    asked = command(__doc__)
    slices, size = (8, 96) if asked.quick else (120, 512)
    rows = []
    for kind, hu in {"scan": scan(slices, size), "noise": noise(slices, size)}.items():
        for group, functions in WAYS.items():
            ways = {who: partial(function, hu) for who, function in functions.items()}
            memory = {who: peak_mib(way) for who, way in ways.items()}
            expected = in_order(ways[OURS]())
            for who, way in ways.items():
                if not np.array_equal(in_order(way()), expected):
                    raise SystemExit(f"{who} finds other components {group} of the {kind}: nothing was measured.")
            ways["(limit: compare once)"] = partial(np.greater_equal, hu, 130)
            of = {"image": kind, "components": group, "number": len(expected)}
            for row in take(ways, turns=5):
                peak = memory.get(row["who"])
                share = None if peak is None else round(peak * 2**20 / hu.size, 2)
                speed = {"mvoxel_a_second": round(hu.size / row["median_s"] / 1e6, 1), "bytes_a_voxel": share}
                rows.append(of | speed | row)
    keep(asked, "components", rows, peers=("scipy", "connected-components-3d", "scikit-image", "SimpleITK"))


if __name__ == "__main__":
    main()
