"""What a result came from: which code, which data, which machine."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch

from biomark.machine import fingerprints

_PACKAGES = ("biomark", "torch", "numpy", "scipy", "lightning-fabric", "pydicom", "nibabel")


def code_digest() -> str:
    """Fingerprint of the code that decides a run: phantoms, method and evaluation."""
    return fingerprints.of_code(*fingerprints.METHOD, "grids.py", "phantoms", "evaluation")


def data_digest(*cohorts: Any) -> str:
    """Fingerprint of images and values of cohorts, in their order, read case by case: 16 hexadecimal digits.

    Masks and weights are left out: it is the same for methods that do and do not learn from masks.
    """
    digest = hashlib.sha256()
    for cohort in cohorts:
        for array in (*cohort.images, cohort.values):
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16] if cohorts else ""


def git_commit() -> str | None:
    """The commit of this library's clone, with ``-dirty`` if its code was changed since; None outside of a clone."""
    # An installed biomark may lie within a repository of its user's, which does not know its files.
    known = _git("ls-files", "--error-unmatch", "__init__.py")
    commit = known and _git("rev-parse", "HEAD")
    return commit and commit.strip() + "-dirty" * bool(_git("status", "--porcelain", "--", "."))


def versions() -> dict[str, str | None]:
    """Versions of Python and of the packages that decide a result; None for one that is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def machine() -> dict[str, Any]:
    """The platform, its processors, and the peak memory of this process, on the GPU too if it used one."""
    gpu = torch.cuda.max_memory_allocated() if torch.cuda.is_initialized() else None
    return {
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "peak_memory_mib": _peak_memory_mib(),
        "peak_gpu_memory_mib": gpu and round(gpu / 2**20, 1),
    }


def _git(*arguments: str) -> str | None:
    try:
        return subprocess.check_output(
            ["git", *arguments], cwd=fingerprints.PACKAGE, stderr=subprocess.DEVNULL, text=True, timeout=5
        )
    except (OSError, subprocess.SubprocessError):
        return None


def _peak_memory_mib() -> float | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1 if sys.platform != "darwin" else 1024) / 1024, 1)
