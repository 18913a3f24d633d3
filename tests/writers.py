"""Every writer of the library, for tests of what all must keep; one line in ``WRITERS`` lets a new one join.

Run as a program it writes in children that may be killed: a line ``[name, folder, version]`` starts one, whose number
is printed, and "gone" when it has ended.
"""

from __future__ import annotations

import copy
import json
import os
import runpy
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pandas as pd
import torch
from dicom_files import body_hu, ct_slice, save
from test_datasets import metaimage

import biomark as bm
from biomark import datasets
from biomark.datasets.table import mask_cell
from biomark.delivery import dicom_objects, outcome
from biomark.grids import Boxes
from biomark.machine.checkpoints import Checkpoint
from biomark.manifests import cache as case_cache
from biomark.manifests.preparation import Excerpt

GATHER = runpy.run_path(str(Path(__file__).resolve().parent.parent / "workflow" / "gather.py"))
SHAPE = (4, 48, 48)


@dataclass(frozen=True)
class Writer:
    """What writes version 0 or 1 into a folder, and what tells which is there (None: none); both fail on a broken one.

    ``replaces``: whether the old version stays until the new one is whole; else there may be none in between.
    """

    write: Callable[[Path, int], object]
    read: Callable[[Path], int | None]
    replaces: bool = True


@cache
def cohort() -> bm.Cohort:
    return bm.phantoms.draw("sfa", 60, seed=3, size=32)


@cache
def model(version: int) -> bm.Localizer:
    made = bm.Localizer("sfa", width=4).eval()
    made.prepare(cohort())
    made.scale.fill_(version + 1)
    return made


@cache
def inspector(version: int) -> bm.Inspector:
    if not version:
        return bm.Inspector(model(0), cohort())
    made = copy.copy(inspector(0))
    made.model, made.softening = model(1), 2.0
    return made


def inspected(folder: Path) -> int:
    found = bm.Inspector.load(folder)
    version = int(found.model.scale) - 1
    assert (found.softening == 2) == bool(version), "the model of one and the intervals of the other"
    return version


def checkpoint(folder: Path, version: int | None = None) -> Checkpoint:
    network = torch.nn.Linear(200, 200)
    optimizer = torch.optim.AdamW(network.parameters())
    schedule = torch.optim.lr_scheduler.ConstantLR(optimizer)
    if version is not None:
        for parameter in network.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        torch.nn.init.constant_(network.weight, version)
    one = SimpleNamespace(is_global_zero=True, barrier=lambda: None, all_reduce=lambda x, reduce_op: x, world_size=1)
    state = {"model": network, "optimizer": optimizer, "schedule": schedule}
    state["history"] = {"loss": [1.0] * ((version or 0) + 1), "seconds": [1.0]}
    return Checkpoint(folder / "checkpoint", one, state, "call", "start")


def resumed(folder: Path) -> int:
    found = checkpoint(folder)
    found.resume()
    version = len(found.state["history"]["loss"]) - 1
    assert (found.state["model"].weight == version).all()
    return version


class Table:
    """A report with many cases of one known value."""

    def __init__(self, version: int) -> None:
        self.version = version

    def to_dict(self) -> dict[str, int]:
        return {"n": 500}

    def to_frame(self) -> pd.DataFrame:
        return pd.DataFrame({"id": [str(i) for i in range(500)], "known": [float(self.version)] * 500})


def record(folder: Path, version: int, report: Table | None) -> None:
    bm.records.write(folder, parameters={"version": version}, report=report, overwrite=True)


def recorded(folder: Path) -> int:
    version = bm.records.read(folder)["parameters"]["version"]
    assert (bm.records.predictions(folder).known == version).all()
    return version


def recorded_in_turn(folder: Path) -> int:
    """Version 1 has no predictions."""
    version = bm.records.read(folder)["parameters"]["version"]
    try:
        bm.records.predictions(folder)
    except FileNotFoundError:
        assert version
    else:
        assert not version
    return version


@cache
def volume(version: int) -> np.ndarray:
    return np.full(SHAPE, version > 0)


def source(folder: Path) -> Path:
    """A series that stays as it is, for what lies over one."""
    series = folder.with_name(f"{folder.name}-source")
    for k in range(SHAPE[0] if not series.exists() else 0):
        save(ct_slice(body_hu(k), (0, 0, 2.0 * k), StudyInstanceUID="1.2.3"), series / f"{k}.dcm")
    return series


def nifti_version(path: Path) -> int:
    (version,) = np.unique(np.asarray(nib.load(path).dataobj))
    return int(version)


def write_series(folder: Path, version: int) -> None:
    shutil.rmtree(folder / "series", ignore_errors=True)
    bm.scans.write_dicom(folder / "series", body_hu(0) + 100.0 * volume(version), (2, 1, 1))


def series_version(folder: Path) -> int | None:
    if not (folder / "series").exists():
        return None
    scan = bm.scans.read(folder / "series")
    assert scan.hu.shape == SHAPE
    return round(float((scan.hu - body_hu(0)).mean()) / 100)


def write_segmentation(folder: Path, version: int) -> None:
    mask = np.zeros(SHAPE, bool)
    mask[: version + 1, 10:20] = True
    dicom_objects.write_segmentation(folder / "mask.dcm", mask, source(folder), bm.TASKS["sfa"])


def segmentation_version(folder: Path) -> int:
    import pydicom

    data = pydicom.dcmread(folder / "mask.dcm")
    assert data.pixel_array.any()
    return int(data.NumberOfFrames) - 1


def write_parametric_map(folder: Path, version: int) -> None:
    membership = np.full(SHAPE, 0.25 + version / 2, np.float32)
    dicom_objects.write_parametric_map(folder / "map.dcm", membership, source(folder), bm.TASKS["sfa"])


def parametric_map_version(folder: Path) -> int:
    import pydicom

    values = np.frombuffer(pydicom.dcmread(folder / "map.dcm").FloatPixelData, np.float32)
    assert values.size == np.prod(SHAPE) and values.min() == values.max()
    return round(2 * float(values[0]) - 0.5)


def convert(folder: Path, version: int) -> None:
    root = folder.with_name(f"{folder.name}-download-{version}")
    if not root.exists():
        labels = np.zeros(SHAPE, np.uint8)
        labels[0, 20 : 23 + version, 10:14] = 3
        metaimage(root / "aCTI.mhd", np.where(labels, 250, body_hu(0)).astype(np.int16), "MET_SHORT")
        metaimage(root / "aR.mhd", labels, "MET_UCHAR")
    datasets.orcascore(root, folder, progress=False)


def converted(folder: Path) -> int:
    assert nib.load(folder / "orcascore-a.nii.gz").get_fdata().shape == SHAPE[::-1]
    mask = nib.load(folder / "orcascore-a-mask.nii.gz").get_fdata()
    assert set(np.unique(mask)) == {0, 1}, "the labels of three arteries in place of the mask"
    return int(mask.sum()) // 4 - 3


def prepared(version: int) -> Excerpt:
    image = np.full((300, 300), version, np.float32)
    case = bm.Case("", image, image, None, image > 0, (1.0, 1.0))
    return Excerpt(None, (0,), case, Boxes(image.shape, (1, 1), image.shape), 0, ())


def prepared_version(path: Path) -> int:
    image, truth = (case_cache.load_array(name, path) for name in ("image", "truth"))
    version, voxels = int(case_cache.about(path)["total"]) // 300**2, case_cache.load_voxels(False, (path, path))
    assert all((array == version).all() for array in (image, truth, voxels.weights.unpack()))
    assert (voxels.mask.unpack() == bool(version)).all()
    return version


WRITERS = {
    "model": Writer(lambda f, v: model(v).save(f / "m"), lambda f: int(bm.load(f / "m").scale) - 1),
    "cohort": Writer(
        lambda f, v: bm.records.save_cohort(cohort()[v:], f / "c"), lambda f: 60 - len(bm.records.load_cohort(f / "c"))
    ),
    "checkpoint": Writer(lambda f, v: checkpoint(f, v).write(), resumed),
    "inspector": Writer(lambda f, v: inspector(v).save(f), inspected),
    "record": Writer(lambda f, v: record(f, v, Table(v)), recorded),
    "record without predictions": Writer(lambda f, v: record(f, v, None if v else Table(v)), recorded_in_turn),
    "gathered table": Writer(
        lambda f, v: GATHER["write"](f / "t", str(v) * 10**6), lambda f: int((f / "t").read_text()[:1])
    ),
    "prepared case": Writer(lambda f, v: case_cache.save(f / "p", prepared(v)), lambda f: prepared_version(f / "p")),
    "result": Writer(
        lambda f, v: outcome.write_result(f, "key", {"version": v}, []),
        lambda f: outcome.read_result(f, "key")["version"],
    ),
    "mask": Writer(lambda f, v: mask_cell(f, "m", volume(v), np.eye(4), f), lambda f: nifti_version(f / "m.nii.gz")),
    "orcascore": Writer(convert, converted),
    "map": Writer(
        lambda f, v: bm.scans.write_nifti(f / "m.nii.gz", volume(v), bm.scans.read(source(f))),
        lambda f: nifti_version(f / "m.nii.gz"),
    ),
    "series": Writer(write_series, series_version, replaces=False),
    "segmentation": Writer(write_segmentation, segmentation_version),
    "parametric map": Writer(write_parametric_map, parametric_map_version),
}


def serve() -> None:
    torch.set_num_threads(1)
    warm = set()
    for line in sys.stdin:
        name, folder, version = json.loads(line)
        if name not in warm:  # what is loaded late is loaded before the forks
            with tempfile.TemporaryDirectory() as place:
                WRITERS[name].write(Path(place) / "x", 0)
            warm.add(name)
        child = os.fork()
        if not child:
            try:
                WRITERS[name].write(Path(folder), version)
                os._exit(0)
            finally:
                os._exit(1)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print("gone", status, flush=True)


if __name__ == "__main__":
    import warnings

    warnings.simplefilter("ignore")
    for made in (inspector(0), inspector(1), volume(0), volume(1)):
        assert made is not None
    serve()
