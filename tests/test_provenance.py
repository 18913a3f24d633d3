"""What a result came from: the commit, the code, the data and the machine."""

import hashlib
import subprocess

import numpy as np
import torch

import biomark as bm
from biomark.records import provenance


def test_the_commit_is_that_of_the_library(tmp_path, monkeypatch):
    """Not that of a project in whose environment it happens to be installed."""

    def git(*arguments):
        who = ["-c", "user.name=n", "-c", "user.email=e"]
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True)

    package = tmp_path / ".venv" / "biomark"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    monkeypatch.setattr(provenance.fingerprints, "PACKAGE", package)
    git("init", "-q")
    (tmp_path / "his.py").write_text("")
    git("add", "his.py")
    git("commit", "-qm", "his")
    assert provenance.git_commit() is None
    git("add", "-f", ".venv")
    git("commit", "-qm", "ours")
    assert len(provenance.git_commit()) == 40
    (package / "__init__.py").write_text("changed")
    assert provenance.git_commit().endswith("-dirty")


def test_the_fingerprint_of_data_is_that_of_its_bytes(tmp_path):
    """The same from memory and from disk; another order, value or pixel is another."""
    train, test = (bm.phantoms.draw("sfa", 3, seed=seed, size=32) for seed in (0, 1))
    parts = [array.tobytes() for cohort in (train, test) for array in (cohort.images, cohort.values)]
    found = provenance.data_digest(train, test)
    assert found == hashlib.sha256(b"".join(parts)).hexdigest()[:16]
    bm.records.save_cohort(train, tmp_path / "train.npz")
    assert provenance.data_digest(bm.records.load_cohort(tmp_path / "train.npz"), test) == found
    assert provenance.data_digest(test, train) != found != provenance.data_digest(train[[1, 0, 2]], test)
    assert provenance.data_digest() == ""


def test_the_code_has_one_fingerprint():
    assert provenance.code_digest() == provenance.code_digest() and len(provenance.code_digest()) == 16


def test_memory_is_that_of_this_process(monkeypatch):
    held = np.ones(2**25)  # 256 MiB
    here = provenance.machine()
    assert here["peak_memory_mib"] is None or here["peak_memory_mib"] > held.nbytes / 2**20
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    assert provenance.machine()["peak_gpu_memory_mib"] is None
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 3 * 2**20)
    assert provenance.machine()["peak_gpu_memory_mib"] == 3.0


def test_versions_name_what_decides_a_result():
    assert {"python", "biomark", "torch", "numpy"} <= set(provenance.versions())
    assert provenance.versions()["torch"] == torch.__version__ and provenance.versions()["biomark"] == bm.__version__
