"""Whatever stops a writer, and whenever: what is found afterwards is the old or the new, whole."""

import contextlib
import json
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from writers import WRITERS

from biomark.machine import files

KILLS = int(os.environ.get("BIOMARK_KILLS", "20"))
EACH = pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS)
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.name.startswith(".partial-")]


@pytest.fixture(scope="module")
def children():
    """Starts a writer in a child of its own, kills it after some seconds, and gives its status and time."""
    if os.name != "posix":
        pytest.skip("no forks here")
    command, one_core = [sys.executable, Path(__file__).with_name("writers.py")], os.environ | {"OMP_NUM_THREADS": "1"}
    server = subprocess.Popen(command, env=one_core, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def start(name: str, folder: Path, version: int, after_s: float | None = None) -> tuple[int, float]:
        server.stdin.write(json.dumps([name, str(folder), version]) + "\n")
        server.stdin.flush()
        child = int(server.stdout.readline())
        began = time.perf_counter()
        if after_s is not None:
            time.sleep(after_s)
            with contextlib.suppress(ProcessLookupError):  # it was faster
                os.kill(child, signal.SIGKILL)
        gone, status = server.stdout.readline().split()
        assert gone == "gone"
        return int(status), time.perf_counter() - began

    with server:
        yield start
        server.stdin.close()
        assert server.wait(30) == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITERS)
def test_a_killed_writer_leaves_the_old_or_the_new(name, children, tmp_path):
    """Set BIOMARK_KILLS to kill more often than 20 times."""
    writer, folder = WRITERS[name], tmp_path / "x"
    assert children(name, folder, 1)[0] == 0
    status, seconds = children(name, folder, 0)
    assert status == 0
    old, draw, kills = 0, random.Random(name), 0
    for _ in range(20 * KILLS):
        killed = children(name, folder, 1 - old, draw.uniform(0, seconds))[0] == signal.SIGKILL
        kills += killed
        seconds *= 1.1 if killed else 0.9  # about half of them end before
        found = writer.read(folder)
        assert found in ((0, 1) if writer.replaces else (0, 1, None)), f"neither the old nor the new: {found}"
        old = found or 0
        if kills == KILLS:
            break
    assert kills == KILLS, "most were faster than their end"
    assert children(name, folder, 1 - old)[0] == 0 and writer.read(folder) == 1 - old


@EACH
def test_a_full_disk_leaves_the_old_and_no_litter(writer, tmp_path, monkeypatch):
    folder = tmp_path / "x"
    writer.write(folder, 0)
    for stopped in (1, 2):  # at the first file, or at the second
        count = iter(range(1, 100))
        replace = os.replace

        def full(*paths, count=count, stopped=stopped, replace=replace):
            if next(count) >= stopped:
                raise OSError(28, "No space left on device")
            return replace(*paths)

        with monkeypatch.context() as patched:
            patched.setattr(os, "replace", full)
            try:
                writer.write(folder, 1)
            except (OSError, ValueError) as error:  # a set's one case, set aside, leaves none
                assert "No space left" in str(error)
        assert writer.read(folder) in ((0, 1) if writer.replaces else (0, 1, None)) and not leftovers(tmp_path)
        assert stopped > 1 or not writer.replaces or writer.read(folder) == 0


@EACH
@pytest.mark.parametrize("place", ["http:/x", "s3:/x"])
def test_files_are_written_where_they_are_asked_for_and_hold_nothing_that_is_executed(
    writer, place, tmp_path, monkeypatch
):
    """Through no other folder, whatever the path begins with, and never by pickle."""
    monkeypatch.chdir(tmp_path)
    writer.write(Path("before"), 0)  # what is loaded late is loaded now
    monkeypatch.setenv("TMPDIR", str(tmp_path / "none"))
    monkeypatch.setattr("tempfile.tempdir", None)

    def refuse(*_args, **_kwargs):
        pytest.fail("pickle")

    for module, names in {
        pickle: ("dump", "dumps", "load", "loads", "Pickler", "Unpickler"),
        torch: ("save", "load"),
        np: ("save", "load"),
    }.items():
        for name in names:
            monkeypatch.setattr(module, name, refuse)
    writer.write(Path(place), 0)
    writer.write(Path(place), 1)
    assert writer.read(Path(place)) == 1
    assert Path(place).is_dir() and not leftovers(tmp_path)
    allowed = {"before", "before-source", "before-download-0", place.split("/")[0]}
    assert {path.name for path in tmp_path.iterdir()} <= allowed


@EACH
def test_files_may_be_read_by_whom_the_folder_lets(writer, tmp_path):
    """Not by their owner alone: they are there to be handed on."""
    before = os.umask(0o022)
    try:
        writer.write(tmp_path / "x", 0)
    finally:
        os.umask(before)
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in (tmp_path / "x").rglob("*") if path.is_file())


def test_no_two_processes_take_one_name(tmp_path):
    names = {files.partial_name(tmp_path / "a.nii.gz").name for _ in range(1000)}
    assert len(names) == 1000 and all(n.startswith(".partial-") and n.endswith("-a.nii.gz") for n in names)


def test_what_was_left_is_swept_when_it_is_old(tmp_path):
    old, young, folder = (files.partial_name(tmp_path / name) for name in "abc")
    old.touch(), young.touch(), folder.mkdir()
    (folder / "0000.dcm").touch()
    (tmp_path / "kept").touch()
    for path in (old, folder, tmp_path / "kept"):
        os.utime(path, (0, 0))
    files.sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {young.name, "kept"}
    files.sweep(tmp_path / "none")


@pytest.mark.parametrize("name", ["inspector", "record", "orcascore"])
def test_whoever_replaces_files_sweeps_their_folder(name, tmp_path):
    WRITERS[name].write(tmp_path / "x", 0)
    left = files.partial_name(tmp_path / "x" / "a")
    left.touch()
    os.utime(left, (0, 0))
    WRITERS[name].write(tmp_path / "x", 1)
    assert not left.exists() and WRITERS[name].read(tmp_path / "x") == 1
