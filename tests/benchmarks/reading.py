"""How long a scan of one DICOM file takes to read, beside bare pydicom. Not a test: run it by hand.

    OMP_NUM_THREADS=1 python tests/benchmarks/reading.py FOLDER [FOLDER ...]

Give it folders of uncompressed CT slices; files are looked for in their subfolders as well. "Bare" is what one writes
by oneself: `dcmread`, `pixel_array`, slope and intercept, float32. Ours also checks that the slice is a CT in HU, finds
where it lies, and looks for what a careful reader would want to know. Both first have to give the same bits. Then they
take turns, file by file, so that what else the machine does hits both alike; times are CPU time of this process, and
files come from the cache of the disk.
"""

import argparse
import os
import platform
import time
from pathlib import Path

import numpy as np
import pydicom

from biomark import scans


def bare(path):
    data = pydicom.dcmread(path)
    return data.pixel_array.astype(np.float32) * np.float32(data.RescaleSlope) + np.float32(data.RescaleIntercept)


def seconds(function, path):
    start = time.process_time()
    function(path)
    return time.process_time() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--rounds", type=int, default=20, help="how often each file is read")
    arguments = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"Python {platform.python_version()}, numpy {np.__version__}, pydicom {pydicom.__version__}")
    for folder in arguments.folders:
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        for path in paths:
            if not np.array_equal(scans.read(path).hu[0], bare(path)):
                raise SystemExit(f"{path}: the two differ, so nothing was measured.")
        # process_time counts in steps of a nanosecond on Linux and macOS.
        times = np.array(
            [[[seconds(f, path) for f in (bare, scans.read)] for path in paths] for _ in range(arguments.rounds)]
        ).reshape(-1, 2)
        low, middle, high = np.quantile(times[:, 1] / times[:, 0], (0.25, 0.5, 0.75))
        bare_ms, ours_ms = 1000 * np.median(times, axis=0)
        print(
            f"{folder}: {len(paths)} files, bare {bare_ms:.2f} ms, biomark {ours_ms:.2f} ms; "
            f"paired {middle:.2f} x (quartiles {low:.2f} to {high:.2f}, n = {len(times)})"
        )


if __name__ == "__main__":
    main()
