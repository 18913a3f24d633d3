"""Devices and precisions: what is chosen, and what is refused with a sentence."""

import pytest
import torch

from biomark import devices


def test_auto_takes_what_is_there():
    assert devices.available("auto") in ("cpu", "mps", "cuda")
    assert devices.available("cpu") == "cpu"
    assert devices.arithmetic("auto", "cpu") in ("32-true", "bf16-mixed")
    assert devices.arithmetic("auto", "mps") == "32-true"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: devices.available("tpu"), "not available here: choose one of cpu"),
        (lambda: devices.arithmetic("8", "cpu"), "is not known: choose 'auto', '32'"),
        (lambda: devices.arithmetic("16", "cpu"), "needs a GPU"),
    ],
)
def test_what_is_not_there_is_said(call, words):
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.parametrize(("threads", "said"), [(1, "cpu, 1 thread"), (3, "cpu, 3 threads")])
def test_a_cpu_says_how_many_threads(monkeypatch, threads, said):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert devices.name(torch.device("cpu")) == said
