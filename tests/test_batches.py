"""Every case once, in the order of the seed, divided without loss."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from biomark.machine.batches import MicroBatch, epoch_batches

CPU = torch.device("cpu")


def epoch(cases, batch_size, **settings):
    return list(epoch_batches(cases, batch_size, seed=3, epoch=1, mirrored=True, device=CPU, **settings))


@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 4), st.integers(1, 5))
def test_the_steps_of_all_processes_are_those_of_one(cases, batch_size, parts, processes):
    whole = epoch(cases, batch_size)
    divided = [epoch(cases, batch_size, parts=parts, rank=rank, processes=processes) for rank in range(processes)]
    assert sorted(torch.cat([part.rows for (part,) in whole]).tolist()) == list(range(cases))
    for step, (everything,) in enumerate(whole):
        mine = [ranks[step] for ranks in divided]
        assert len({len(taken) for taken in mine}) == 1, "as many parts on every process, or they wait for each other"
        seen = {}
        for taken in mine:
            for part in taken:
                seen |= dict(zip(part.rows.tolist(), part.mirror.tolist(), strict=True))
        assert seen == dict(zip(everything.rows.tolist(), everything.mirror.tolist(), strict=True))
        shares = [sum(part.share for part in taken) for taken in mine]
        assert np.mean(shares) == pytest.approx(1) and everything.share == 1.0
        assert all(part.share * len(everything.rows) == pytest.approx(len(part.rows) * processes) for part in taken)


def test_the_order_is_that_of_the_seed_and_the_epoch():
    first, again = epoch(30, 8), epoch(30, 8)
    assert all(
        torch.equal(a.rows, b.rows) and torch.equal(a.mirror, b.mirror) for (a,), (b,) in zip(first, again, strict=True)
    )
    for other in ({"seed": 4, "epoch": 1}, {"seed": 3, "epoch": 2}):
        (part,) = next(epoch_batches(30, 8, **other, mirrored=True, device=CPU))
        assert not torch.equal(part.rows, first[0][0].rows)
    assert 0 < sum(part.mirror.sum() for (part,) in first) < 30
    assert not any(part.mirror.any() for (part,) in epoch_batches(30, 8, seed=3, epoch=1, mirrored=False, device=CPU))


def test_what_is_mirrored():
    images, numbers = torch.arange(12.0).view(3, 2, 2), torch.arange(3.0)
    part = MicroBatch(torch.tensor([2, 0]), torch.tensor([True, False]), 1.0)
    assert part.of(images).tolist() == [[[9, 8], [11, 10]], [[0, 1], [2, 3]]]
    assert part.of(numbers).tolist() == [2, 0]
    nobody = MicroBatch(torch.tensor([], dtype=torch.long), torch.tensor([], dtype=torch.bool), 0.0)
    assert nobody.of(images).shape == (0, 2, 2)
