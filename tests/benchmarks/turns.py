"""What the benchmarks share: ways to do one thing take turns, and what was measured becomes a run record.

A machine's speed drifts. So each way runs once a turn, after a warm-up, and what is reported is the median of the
turns with its quartiles, and the ratio to ours within each turn. How fast one run *can* be is not reported.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from biomark import records
from biomark.machine import devices

OURS = "biomark"
_RATIOS = ("ratio", "ratio_quartiles")
INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")


def command(doc: str, *, folders: bool = False, **further: int) -> argparse.Namespace:
    """The options of a benchmark, with the number of threads set.

    Args:
        doc: Its docstring; the first line is the help.
        folders: Whether folders of one's own may follow.
        **further: Defaults of whole numbers that this benchmark also takes.
    """
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--into", type=Path, default=Path("runs/bench"), help="folder of the record")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of PyTorch")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--quick", action="store_true", help="a try-out in seconds; its times say nothing")
    for name, default in further.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default)
    if folders:
        parser.add_argument("folders", type=Path, nargs="*", help="folders of your own to measure as well")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    asked.device = devices.available(asked.device)
    return asked


def take(
    ways: Mapping[str, Callable[[], Any]], *, turns: int = 7, budget_s: float = 40, finish: Callable[[], Any] = int
) -> list[dict]:
    """Seconds of each way, in turns.

    Args:
        ways: What to call, by name. Those that a check has called before are warm; each is called once more uncounted.
        turns: How often each is called.
        budget_s: A way that takes longer than this in all gets fewer turns, but at least one; ``n`` says how many.
        finish: Called after each, inside its time: waits for a GPU.

    Returns:
        For each way ``who``, ``median_s``, ``quartiles_s``, ``n``, and where there is a way called "biomark", ``ratio``
        and ``ratio_quartiles``: its seconds over ours, turn by turn.
    """

    def seconds(way: Callable[[], Any]) -> float:
        finish()
        start = time.perf_counter()
        way()
        finish()
        return time.perf_counter() - start

    first = {who: seconds(way) for who, way in ways.items()}
    took: dict[str, list[float]] = {who: [] for who in ways}
    for turn in range(turns):
        for who, way in ways.items():
            if turn < max(1, budget_s / first[who]):
                took[who].append(seconds(way))
    return [_row(who, times, took.get(OURS)) for who, times in took.items()]


def _row(who: str, times: Sequence[float], ours: Sequence[float] | None) -> dict:
    low, middle, high = np.quantile(times, (0.25, 0.5, 0.75)).tolist()
    row: dict[str, Any] = {"who": who, "median_s": middle, "quartiles_s": [low, high], "n": len(times)}
    if ours:
        ratios = np.divide(times[: len(ours)], ours[: len(times)])
        low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75)).tolist()
        row |= {"ratio": middle, "ratio_quartiles": [low, high]}
    return row


def peak_mib(way: Callable[[], Any]) -> float | None:
    """What a call needs at its peak beyond what the process holds, in MiB; None where the system does not tell (Linux
    with glibc does)."""
    try:
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # else a call takes what an earlier one gave back, and seems to need nothing
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        before = _status("VmRSS")
        way()
        return max(0.0, (_status("VmHWM") - before) / 1024)
    except (OSError, AttributeError):
        return None


def _status(key: str) -> int:
    """Kibibytes, from Linux."""
    return int(Path("/proc/self/status").read_text().split(f"{key}:")[1].split()[0])


def keep(asked: argparse.Namespace, name: str, rows: list[dict], *, peers: Sequence[str] = (), **found: Any) -> None:
    """Print the rows and write the record ``INTO/DEVICE/NAME/run.json``.

    Args:
        asked: The options.
        name: Of the benchmark.
        rows: What :func:`take` returned, each with what tells it from the others; or other rows.
        peers: Packages whose versions count.
        **found: What else was measured.
    """
    for row in rows:
        told = ", ".join(f"{k} {v}" for k, v in row.items() if k not in ("median_s", "quartiles_s", *_RATIOS))
        ratio = f"{row['ratio']:8.2f} x" if "ratio" in row else ""
        print((f"{1000 * row['median_s']:12.2f} ms {ratio}   " if "median_s" in row else "") + told)
    for key, value in found.items():
        print(f"{key}: {value}")
    # Where it was kept, and whose files were read, is nobody's business.
    parameters = {key: value for key, value in vars(asked).items() if key not in ("into", "folders")}
    machine = {
        "device": devices.name(torch.device(asked.device)),
        "processor": processor(),
        "instructions": [name for name in INSTRUCTIONS if name in _flags()],
        "load_before": round(_LOAD, 2),
    }
    extra = {"rows": rows, **found, "peers": {peer: _version(peer) for peer in peers}, "machine": machine}
    folder = asked.into / asked.device / name
    print(records.write(folder, parameters=parameters, extra=extra, overwrite=True))


def processor() -> str:
    """Name of the CPU."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _flags() -> list[str]:
    return _cpuinfo("flags").split()


def _cpuinfo(key: str) -> str:
    """A line of what Linux tells of the first processor; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), "")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


_LOAD = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
