"""How long DICOM takes to read, beside bare pydicom. Not a test.

    python tests/benchmarks/reading.py [FOLDER ...]
    python tests/benchmarks/reading.py --quick

The files are mock slices of 512 x 512 pixels, and whatever folders of uncompressed CT slices are named. "Bare" is what
one writes by oneself: ``dcmread``, ``pixel_array``, slope and intercept, float32; for a series also sorted by position
and stacked. Ours also checks that the slices are a CT in HU, finds where they lie, and looks for what a careful reader
would want to know. Both first have to give the same bits; files come from the cache of the disk.
"""

import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import pydicom
from turns import OURS, command, keep, take

from biomark import scans

sys.path.append(str(Path(__file__).resolve().parents[1]))
from dicom_files import body_hu, ct_slice, save  # noqa: E402


def bare(path: Path) -> np.ndarray:
    data = pydicom.dcmread(path)
    return data.pixel_array.astype(np.float32) * np.float32(data.RescaleSlope) + np.float32(data.RescaleIntercept)


def bare_series(folder: Path) -> np.ndarray:
    slices = sorted(map(pydicom.dcmread, folder.iterdir()), key=lambda data: data.ImagePositionPatient[2])
    pixels = np.stack([data.pixel_array for data in slices]).astype(np.float32)
    return pixels * np.float32(slices[0].RescaleSlope) + np.float32(slices[0].RescaleIntercept)


def each(function, paths: list[Path]) -> None:
    for path in paths:
        function(path)


def mock(folder: Path, slices: int, size: int) -> list[Path]:
    """A series whose slices are also read one by one."""
    pixel = {"PixelSpacing": [str(336 / size)] * 2}
    for k in range(slices):
        data = ct_slice(body_hu(k, (size, size)), (-168.0, -168.0, 2.0 * k), **pixel)
        save(data, folder / f"{k}.dcm")
    return sorted(folder.iterdir())


def main() -> None:
    asked = command(__doc__, folders=True)
    slices, size = (4, 64) if asked.quick else (40, 512)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sets = {"mock slices": mock(folder, slices, size)}
        for number, own in enumerate(asked.folders, 1):
            sets[f"folder {number}"] = sorted(path for path in own.rglob("*") if path.is_file())
        for what, paths in sets.items():
            if not all(np.array_equal(scans.read(path).hu[0], bare(path)) for path in paths):
                raise SystemExit(f"of {what}, biomark and pydicom read different values: nothing was measured.")
            ways = {OURS: partial(each, scans.read, paths), "bare pydicom": partial(each, bare, paths)}
            rows += [{"what": what, "files": len(paths)} | row for row in take(ways, turns=9)]
        if not np.array_equal(scans.read(folder).hu, bare_series(folder)):
            raise SystemExit("biomark and pydicom read different volumes: nothing was measured.")
        ways = {OURS: partial(scans.read, folder), "bare pydicom": partial(bare_series, folder)}
        rows += [{"what": "mock series", "files": slices} | row for row in take(ways, turns=9)]
    keep(asked, "reading", rows, peers=("pydicom",))


if __name__ == "__main__":
    main()
