"""Several GPUs in a machine: one Snakemake gives each run one of them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHOW = "import os; print(os.environ['CUDA_VISIBLE_DEVICES'], flush=True); input()"


@pytest.fixture
def start(tmp_path):
    """Starts runs side by side, which wait, and tells the GPU of each; in the end they are killed."""
    pytest.importorskip("fcntl")
    runs = []

    def begin(number, gpus=2, **environment):
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "TMPDIR": str(tmp_path)} | environment
        command = [sys.executable, ROOT / "workflow" / "gpu.py", str(gpus), sys.executable, "-c", SHOW]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        new = [subprocess.Popen(command, env=environment, **pipes) for _ in range(number)]
        runs.extend(new)
        return {run: run.stdout.readline().strip() for run in new}

    yield begin
    for run in runs:
        run.kill()
        run.communicate()


def test_each_run_has_a_gpu_until_there_are_more_runs(start):
    first = start(2)
    assert sorted(first.values()) == ["0", "1"]
    assert sorted(start(3).values()) == ["0", "0", "1"], "then two on each, and three"
    killed, gpu = first.popitem()
    killed.kill()
    killed.wait()
    assert [*start(1).values()] == [gpu], "a killed run gives its place back"


def test_of_gpus_that_were_left_visible_and_no_others(start):
    assert sorted(start(3, gpus=4, CUDA_VISIBLE_DEVICES="5,GPU-ab").values()) == ["5", "5", "GPU-ab"]


def test_one_snakemake_hands_them_out():
    pytest.importorskip("snakemake")
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--forceall", "--printshellcmds", "--nolock"]
    command += ["--cores", "4", "--resources", "gpu=4", "--config", "depth=quick", "device=cuda"]
    for gpus in (1, 4):
        ran = subprocess.run([*command, f"gpus={gpus}"], cwd=ROOT, capture_output=True, text=True, timeout=300)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        lines = [line for line in (ran.stdout + ran.stderr).splitlines() if "-m papermill" in line]
        assert lines and all(
            bool(re.search(r" workflow/gpu\.py 4 \S+ -m papermill", line)) == (gpus == 4) for line in lines
        )
    ran = subprocess.run([*command, "gpus=0"], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert ran.returncode and "say how many GPUs this machine has" in ran.stdout + ran.stderr
