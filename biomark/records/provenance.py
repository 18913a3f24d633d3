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
        for case in range(len(cohort.values)):
            digest.update(np.ascontiguousarray(cohort.images[case]))
        digest.update(np.ascontiguousarray(cohort.values))
    return digest.hexdigest()[:16] if cohorts else ""


def git_commit() -> str | None:
    """The commit of this library's clone, with ``-dirty`` if its code was changed since; None outside of a clone."""
    # An installed biomark may lie within a repository of its user's, which does not know its files.
    known = _git("ls-files", "--error-unmatch", "__init__.py")
    commit = known and _git("rev-parse", "HEAD")
    return commit and commit.strip() + "-dirty" * bool(_git("status", "--porcelain", "--", "."))


def versions() -> dict[str, str | None]:
    """Versions of Python and of the packages that decide a result; None for one that is not installed."""
    return {"python": platform.python_version(), **{package: _version(package) for package in _PACKAGES}}


def machine() -> dict[str, Any]:
    """The platform, its processors, and the peak memory of this process, on the GPU too if it used one."""
    gpu = torch.cuda.max_memory_allocated() if torch.cuda.is_initialized() else None
    return {
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "peak_memory_mib": _peak_memory_mib(),
        "peak_gpu_memory_mib": gpu and round(gpu / 2**20, 1),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    command = ["git", *arguments]
    try:
        found = subprocess.run(
            command, cwd=fingerprints.PACKAGE, capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout if found.returncode == 0 else None


def _peak_memory_mib() -> float | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1 if sys.platform != "darwin" else 1024) / 1024, 1)
