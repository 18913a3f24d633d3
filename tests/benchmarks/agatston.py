"""How fast the calcium scorer is, beside the patterns in use. Not a test: run it by hand.

    OMP_NUM_THREADS=1 python tests/benchmarks/agatston.py          # four minutes
    OMP_NUM_THREADS=1 python tests/benchmarks/agatston.py --full   # all nine sizes, a quarter of an hour

The patterns are written here from reading how others do it; none is their code. In each size, every pattern first has
to give our score. Then they take turns, so that what else the machine does hits all alike. A pattern that takes
seconds runs fewer than five times; the number stands beside it. Memory is what a fresh process needs on top of the
volume and the mask (read from Linux). cc3d (connected-components-3d) is no dependency of biomark; when it is absent,
the first lines say so and its rows are left out.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import scipy
from scipy import ndimage

from biomark import agatston

try:
    import cc3d
except ImportError:
    cc3d = None

SPACING_MM = (1.0, 0.7, 0.7)
AREA_MM2 = SPACING_MM[1] * SPACING_MM[2]
SIZES = [(slices, lesions) for slices in (48, 120, 400) for lesions in (10, 40, 200)]
QUICK = [(48, 10), (48, 40), (48, 200), (120, 10), (120, 40), (400, 10)]
IN_PLANE = np.zeros((3, 3, 3), bool)
IN_PLANE[1] = True


def scan(slices, lesions):
    """Noise of SD 30 HU around 40 HU (int16), ellipsoids of calcium in the cells of a grid, and a mask of them."""
    rng = np.random.default_rng(slices * 1000 + lesions)
    hu = np.empty((slices, 512, 512), np.int16)
    for image in hu:
        image[:] = rng.normal(40, 30, image.shape)
    hu[:, :60] = -1000
    mask = np.zeros(hu.shape, bool)
    cells = [(z, y, x) for z in range(6, slices - 6, 12) for y in range(150, 400, 30) for x in range(150, 400, 30)]
    for z, y, x in rng.permutation(cells)[:lesions]:
        box = np.s_[z - 5 : z + 6, y - 9 : y + 10, x - 9 : x + 10]
        radii = rng.uniform((1.5, 3, 3), (4, 8, 8))
        inside = sum((g / r) ** 2 for g, r in zip(np.mgrid[-5:6, -9:10, -9:10], radii, strict=True)) <= 1
        hu[box][inside] = rng.uniform(180, 900) * rng.uniform(0.9, 1.1, inside.sum())
        mask[box] |= inside & (hu[box] >= 130)
    return hu, mask


def factor(peak):
    return min(int(peak) // 100, 4) if peak >= 200 else int(peak >= 130)


# --- lesions through the volume, the convention ai_cac ---------------------------------------------------


def mask_per_lesion(hu, mask):
    """As in AI-CAC: for every lesion a mask of the full volume, and the volume times the mask."""
    labels, count = ndimage.label(mask)
    score = 0
    for label in range(1, count + 1):
        lesion = np.zeros(mask.shape)
        lesion[labels == label] = 1
        voxels = lesion.sum()
        if voxels > 1:
            score += round(float(voxels * np.prod(SPACING_MM) / 3 * factor((hu * lesion).max())))
    return score


def from_labels(hu, labels, value, smallest):
    """Sizes and peaks of all labels at once."""
    index = np.flatnonzero(labels)
    found = labels.reshape(-1)[index]
    voxels = np.bincount(found)[1:]
    peaks = ndimage.maximum(hu.reshape(-1)[index], found, np.arange(1, len(voxels) + 1)) if len(voxels) else []
    return [float(n * value * factor(peak)) for n, peak in zip(voxels, peaks, strict=True) if n >= smallest]


def cc3d_volume(hu, mask):
    value = np.prod(SPACING_MM) / 3
    return sum(round(s) for s in from_labels(hu, cc3d.connected_components(mask, connectivity=6), value, 2))


# --- lesions within a slice, the convention agatston1990 --------------------------------------------------


def mask_per_slice(hu, mask):
    """As in DeepCAC and Comp2Comp: slice by slice, for every lesion a mask of the slice."""
    score = 0.0
    for image, inside in zip(hu, mask, strict=True):
        labels, count = ndimage.label(inside, np.ones((3, 3)))
        for label in range(1, count + 1):
            lesion = labels == label
            area = lesion.sum() * AREA_MM2
            if area >= 1:
                score += area * factor(image[lesion].max())
    return score


def label_once(hu, mask):
    return sum(from_labels(hu, ndimage.label(mask, IN_PLANE)[0], AREA_MM2, 3))


def boxes(hu, mask):
    labels, _ = ndimage.label(mask, IN_PLANE)
    score = 0.0
    for label, box in enumerate(ndimage.find_objects(labels), 1):
        lesion = labels[box] == label
        area = lesion.sum() * AREA_MM2
        if area >= 1:
            score += area * factor(hu[box][lesion].max())
    return score


def cc3d_slices(hu, mask):
    score = 0.0
    for image, inside in zip(hu, mask, strict=True):
        if inside.any():
            score += sum(from_labels(image, cc3d.connected_components(inside, connectivity=8), AREA_MM2, 3))
    return score


PATTERNS = {
    "ai_cac": {
        "biomark": lambda hu, mask: agatston.score(hu, mask, SPACING_MM, "ai_cac"),
        "mask per lesion": mask_per_lesion,
        "cc3d": cc3d_volume,
    },
    "agatston1990": {
        "biomark": lambda hu, mask: agatston.score(hu, mask, SPACING_MM),
        "mask per lesion and slice": mask_per_slice,
        "scipy label, once": label_once,
        "scipy label, boxes": boxes,
        "cc3d, slice by slice": cc3d_slices,
    },
    "no mask, agatston1990": {
        "biomark": lambda hu, mask: agatston.score(hu, None, SPACING_MM),
        "biomark weights": lambda hu, mask: np.sum(agatston.weights(hu, SPACING_MM), dtype=float),
        "scipy label, once": lambda hu, mask: label_once(hu, hu >= 130),
    },
}


def timed(function, hu, mask):
    start = time.perf_counter()
    function(hu, mask)
    return time.perf_counter() - start


def compare(hu, mask, patterns):
    """Seconds of each pattern, a list each, after checking that all give one score."""
    present = {name: f for name, f in patterns.items() if cc3d is not None or not name.startswith("cc3d")}
    expected, first = None, {}
    for name, function in present.items():  # also the warm-up
        start = time.perf_counter()
        score = float(function(hu, mask))
        first[name] = time.perf_counter() - start
        expected = score if expected is None else expected
        if not np.isclose(score, expected, rtol=1e-6):
            raise SystemExit(f"{name} scores {score}, biomark {expected}: nothing was measured.")
    seconds = {name: [] for name in present}
    for turn in range(7):
        for name, function in present.items():
            if turn < max(1, min(7, 25 / first[name])):
                seconds[name].append(timed(function, hu, mask))
    return expected, seconds


def peak_bytes(folder, group, name):
    """What one call needs beyond its input, in a process of its own."""
    command = [sys.executable, __file__, "--child", str(folder), group, name]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def child(folder, group, name):
    hu, mask = np.load(Path(folder) / "hu.npy"), np.load(Path(folder) / "mask.npy")
    PATTERNS[group][name](hu[:1], mask[:1])  # what imports and first calls need does not count
    before = peak_of_this_process()
    PATTERNS[group][name](hu, mask)
    print(peak_of_this_process() - before)


def peak_of_this_process():
    """Bytes, from Linux; resource.getrusage would give the parent's peak where that is higher."""
    return 1024 * int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="all nine sizes")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        return child(*arguments.child)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"Python {platform.python_version()}, numpy {np.__version__}, scipy {scipy.__version__}")
    print("cc3d: " + ("ABSENT, its rows are left out (pip install connected-components-3d)" if cc3d is None else "yes"))
    for slices, lesions in SIZES if arguments.full else QUICK:
        hu, mask = scan(slices, lesions)
        print(f"\n512 x 512 x {slices}, {lesions} lesions; volume {hu.nbytes / 2**20:.0f} MiB, mask half of it")
        for group, patterns in PATTERNS.items():
            score, seconds = compare(hu, mask, patterns)
            ours = np.median(seconds["biomark"])
            print(f"  {group}: all score {score:.1f}")
            for name, values in seconds.items():
                low, middle, high = np.quantile(values, (0.25, 0.5, 0.75)) * 1000
                print(
                    f"    {name:26s} {middle:10.1f} ms (quartiles {low:.1f} to {high:.1f}, n = {len(values)})"
                    f" {middle / 1000 / ours:9.1f} x biomark"
                )
        if (slices, lesions) == (120, 40):
            with tempfile.TemporaryDirectory() as folder:
                np.save(Path(folder) / "hu.npy", hu)
                np.save(Path(folder) / "mask.npy", mask)
                print("  peak memory beyond the input, as multiples of the volume (int16):")
                for group, patterns in PATTERNS.items():
                    for name in patterns:
                        if cc3d is not None or not name.startswith("cc3d"):
                            share = peak_bytes(folder, group, name) / hu.nbytes
                            print(f"    {group}, {name:26s} {share:6.2f}")


if __name__ == "__main__":
    main()
