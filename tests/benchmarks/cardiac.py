"""Where the seconds go between a file and a calcium score. Not a test.

    python tests/benchmarks/cardiac.py
    python tests/benchmarks/cardiac.py --quick

Phantoms of heart boxes, 32 slices of 256 x 256 voxels, written as .nii.gz, and a localizer of the chapters' size with
the weights it starts from: seconds do not depend on what it has learned. Each stage is timed for each heart: reading
the file, weighing its voxels and laying a grid over them, the network, and bringing the map back to the file's voxels
and scoring it there. A whole CT, of which the heart is cut out, takes longer to read.
"""

import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from turns import command, keep, peak_mib

import biomark as bm
from biomark import agatston, scans
from biomark.manifests.preparation import take

STAGES = ("read", "weigh and grid", "network", "back and score")


def main() -> None:
    asked = command(__doc__, hearts=6)
    hearts, size = (2, 24) if asked.quick else (asked.hearts, 128)
    cohort = bm.phantoms.draw("cac", hearts, seed=0, size=size)
    grid, task = scans.Grid((48, 96, 96), (3.0, 2.0, 2.0)), bm.TASKS["cac"]
    torch.manual_seed(0)
    model = bm.Localizer(task).to(asked.device).eval()
    stages: dict[str, list[float]] = {}
    paths = []
    with tempfile.TemporaryDirectory() as folder:
        for case in map(cohort.voxels, range(hearts)):
            paths.append(Path(folder) / f"{case.id}.nii.gz")
            affine = np.diag([*case.spacing_mm[::-1], 1.0])
            nib.save(nib.Nifti1Image(case.image.transpose(2, 1, 0).astype(np.int16), affine), paths[-1])

        def measure(path: Path) -> None:
            times = [time.perf_counter()]
            scan = scans.read(path)
            times.append(time.perf_counter())
            heart = take(scan, task, grid, crop=False)
            heart.in_boxes()
            times.append(time.perf_counter())
            found = model.locate(heart.case, boxes=heart.boxes)
            times.append(time.perf_counter())
            agatston.score(scan.hu, heart.whole(found.mask), scan.spacing_mm)
            times.append(time.perf_counter())
            for stage, seconds in zip(STAGES, np.diff(times), strict=True):
                stages.setdefault(stage, []).append(float(seconds))

        peak = peak_mib(lambda: measure(paths[0]))
        stages.clear()  # that was the warm-up
        for path in paths * 3:
            measure(path)
    rows = []
    for stage, seconds in (stages | {"all of it": np.sum(list(stages.values()), axis=0).tolist()}).items():
        low, middle, high = np.quantile(seconds, (0.25, 0.5, 0.75)).tolist()
        rows.append({"who": stage, "median_s": middle, "quartiles_s": [low, high], "n": len(seconds)})
    shape = " x ".join(map(str, case.image.shape))
    keep(asked, "cardiac", rows, peers=("nibabel",), shape=shape, peak_mib=peak)


if __name__ == "__main__":
    main()
