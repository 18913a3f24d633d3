"""Devices and precisions: what is chosen, and what is refused with a sentence."""

import pytest
import torch

from biomark.machine import devices


def test_auto_takes_what_is_there():
    assert devices.available("auto") in ("cpu", "mps", "cuda")
    assert devices.available("cpu") == "cpu"
    assert devices.resolve_precision("auto", "cpu") in ("32-true", "bf16-mixed")
    assert devices.resolve_precision("auto", "mps") == "32-true"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: devices.available("tpu"), "not available here: choose one of cpu"),
        (lambda: devices.resolve_precision("8", "cpu"), "is not known: choose 'auto', '32'"),
        (lambda: devices.resolve_precision("16", "cpu"), "needs a GPU"),
    ],
)
def test_what_is_not_there_is_said(call, words):
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.parametrize(("threads", "said"), [(1, "cpu, 1 thread"), (3, "cpu, 3 threads")])
def test_a_cpu_says_how_many_threads(monkeypatch, threads, said):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert devices.name(torch.device("cpu")) == said


@pytest.mark.parametrize("tasks", ["SLURM_NTASKS", "SLURM_NTASKS_PER_NODE"])
def test_what_a_batch_system_says_of_itself_makes_no_processes(monkeypatch, tasks):
    """`sbatch -n 4` is a way to get four cores; only torchrun starts several processes that train one model."""
    for name, value in {tasks: "4", "SLURM_PROCID": "1", "SLURM_LOCALID": "1", "SLURM_NODEID": "0"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SLURM_JOB_NAME", "train")
    fabric = devices.start("cpu", "32-true")
    assert (fabric.world_size, fabric.global_rank) == (1, 0)


def test_seeded_draws_leave_the_others_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    drawn = []
    for seed in ((1, 2), (1, 2), (2, 1)):
        with devices.seeded(torch.device("cpu"), *seed):
            drawn.append(torch.rand(2))
    assert torch.equal(torch.rand(2), expected)
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize("limit", ["AVX512_CORE", "avx2"])
def test_who_limits_the_instructions_to_those_without_bfloat16_gets_float32(monkeypatch, limit):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    assert devices.resolve_precision("auto", "cpu") == "bf16-mixed"
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    assert devices.resolve_precision("auto", "cpu") == "32-true"
