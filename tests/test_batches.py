"""Every case once, in the order of the seed, divided without loss."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from biomark.machine.batches import MicroBatch, epoch_batches
from biomark.machine.moves import Moves

CPU = torch.device("cpu")
MOVES = Moves(True, 0.12, 15.0)


def epoch(cases, batch_size, **settings):
    return list(epoch_batches(cases, batch_size, seed=3, epoch=1, moves=MOVES, device=CPU, **settings))


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
                seen |= dict(zip(part.rows.tolist(), part.moves.tolist(), strict=True))
        assert seen == dict(zip(everything.rows.tolist(), everything.moves.tolist(), strict=True))
        shares = [sum(part.share for part in taken) for taken in mine]
        assert np.mean(shares) == pytest.approx(1) and everything.share == 1.0
        assert all(part.share * len(everything.rows) == pytest.approx(len(part.rows) * processes) for part in taken)


def test_the_order_and_the_moves_are_those_of_the_seed_and_the_epoch():
    first, again = epoch(30, 8), epoch(30, 8)
    assert all(
        torch.equal(a.rows, b.rows) and torch.equal(a.moves, b.moves) for (a,), (b,) in zip(first, again, strict=True)
    )
    moves = {row: move for (part,) in first for row, move in zip(part.rows.tolist(), part.moves.tolist(), strict=True)}
    for other in ({"seed": 4, "epoch": 1}, {"seed": 3, "epoch": 2}):
        (part,) = next(epoch_batches(30, 8, **other, moves=MOVES, device=CPU))
        assert not torch.equal(part.rows, first[0][0].rows)
        assert all(move != moves[row] for row, move in zip(part.rows.tolist(), part.moves.tolist(), strict=True))
    assert 0 < sum(part.moves[:, 0].sum() for (part,) in first) < 30
    assert all(part.moves is None for (part,) in epoch_batches(30, 8, seed=3, epoch=1, moves=Moves(), device=CPU))
    (few,) = next(epoch_batches(5, 8, seed=3, epoch=1, moves=MOVES, device=CPU))
    assert all(move == moves[row] for row, move in zip(few.rows.tolist(), few.moves.tolist(), strict=True)), "its own"


def test_what_is_moved():
    """Images, weights and truth, one as the other; numbers are taken as they are."""
    images, numbers = torch.arange(12.0).view(3, 2, 2), torch.arange(3.0)
    part = MicroBatch(torch.tensor([2, 0]), torch.tensor([[1.0, 0, 0, 0, 0], [0.0, 0, 0, 0, 0]]), 1.0)
    mirrored = [[[9, 8], [11, 10]], [[0, 1], [2, 3]]]
    found = part.of(images, images + 1, numbers, 2 * numbers, images + 2)
    assert found[0].tolist() == mirrored
    assert (found[1] - 1).tolist() == (found[4] - 2).tolist() == mirrored
    assert found[2].tolist() == [2, 0] and found[3].tolist() == [4, 0]
    plain = MicroBatch(torch.tensor([2, 0]), None, 1.0).of(images, images, numbers)
    assert plain[0].tolist() == plain[1].tolist() == [[[8, 9], [10, 11]], [[0, 1], [2, 3]]]
    for moves in (None, torch.zeros(0, 5)):
        nobody = MicroBatch(torch.tensor([], dtype=torch.long), moves, 0.0).of(images, images, numbers)
        assert [tuple(array.shape) for array in nobody] == [(0, 2, 2), (0, 2, 2), (0,)]
