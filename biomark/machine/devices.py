"""Where training runs, and in which arithmetic."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.distributed as dist

if TYPE_CHECKING:
    import lightning_fabric as lf

PRECISIONS: dict[str, Any] = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}
"""Short names of what lightning-fabric calls a precision."""

_WITHOUT_BF16 = {"SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX512_CORE", "AVX512_CORE_VNNI"}
"""Instructions to which a user may limit oneDNN, which multiplies for PyTorch, that have none for bfloat16."""


def available(device: str) -> str:
    """The device to use, of those that are here: ``"auto"`` takes CUDA, then Apple's MPS, then the CPU."""
    backends = {"cpu": torch.cpu, "mps": torch.backends.mps, "cuda": torch.cuda}
    here = [name for name, backend in backends.items() if backend.is_available()]
    if device == "auto":
        return here[-1]
    if device not in here:
        raise ValueError(f"device {device!r} is not available here: choose one of {', '.join(here)}, or 'auto'.")
    return device


def resolve_precision(precision: str, device: str) -> str:
    """The precision to use: ``"auto"`` takes bfloat16 where the hardware multiplies it fast, else float32."""
    if precision == "auto":
        return PRECISIONS["bf16" if _multiplies_bf16(device) else "32"]
    if precision not in PRECISIONS:
        raise ValueError(f"precision {precision!r} is not known: choose 'auto', {', '.join(map(repr, PRECISIONS))}.")
    if precision == "16" and device == "cpu":
        raise ValueError("half precision ('16') needs a GPU: on a CPU choose 'bf16', '32' or 'auto'.")
    return PRECISIONS[precision]


def name(device: torch.device) -> str:
    """The device in words, for records."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{device.type}, {threads} thread{'s' * (threads > 1)}"


def start(device: str, precision: Any) -> lf.Fabric:
    """A launched Fabric on this process's device; of a process that ``torchrun`` started, joined with the others."""
    # Loaded here, for it takes a second and only training needs it.
    import lightning_fabric as lf
    from lightning_fabric.plugins import MixedPrecision
    from lightning_fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment

    # A precision given as a plugin is used without a line on stderr.
    plugins: list[Any] = [] if precision == "32-true" else [MixedPrecision(precision, device)]
    several = TorchElasticEnvironment.detect()
    # Only torchrun says that a process is one of several: a batch system's variables, which Fabric would heed, do not.
    plugins.append(TorchElasticEnvironment() if several else LightningEnvironment())
    here, everywhere = (int(os.environ[n]) if several else 1 for n in ("LOCAL_WORLD_SIZE", "WORLD_SIZE"))
    fabric = lf.Fabric(accelerator=device, devices=here, num_nodes=everywhere // here, plugins=plugins)
    fabric.launch()
    return fabric


@contextmanager
def seeded(device: torch.device, *seed: int) -> Iterator[None]:
    """Inside, torch draws what these seeds decide; afterwards it goes on where it was."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
        yield


def is_main_process() -> bool:
    """Whether this is the only process, or the one that writes files for all."""
    return not (dist.is_available() and dist.is_initialized()) or dist.get_rank() == 0


def wait() -> None:
    """Until every process has come this far."""
    if dist.is_available() and dist.is_initialized():
        dist.barrier()


def _multiplies_bf16(device: str) -> bool:
    """Whether bfloat16 has instructions of its own; emulation would be slower than float32."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper() in _WITHOUT_BF16:
        return False
    known: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # PyTorch 2.9 does not tell yet
    return device == "cpu" and bool(known.get("avx512_bf16") or known.get("amx_bf16"))
