"""Orthogonalised steps: what they are by hand, who takes them, and that nothing about a training depends on them."""

import numpy as np
import pytest
import torch

import biomark as bm
from biomark.machine import optimizers

SETTINGS = {"epochs": 2, "batch_size": 8, "seed": 3, "progress": False, "device": "cpu", "precision": "32"}


@pytest.mark.parametrize("shape", [(8, 8), (4, 30), (30, 4)])
def test_singular_values_become_nearly_one(shape):
    torch.manual_seed(0)
    left, _, right = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    matrix = left @ torch.diag(torch.logspace(0, -1.5, min(shape))) @ right
    found = optimizers.orthogonalise(1000 * matrix)
    assert found.shape == shape
    values = torch.linalg.svdvals(found)
    assert 0.65 < values.min() and values.max() < 1.25
    # The singular vectors stay: only the values change.
    np.testing.assert_allclose(
        (left.T @ found @ right.T).diagonal(), values.sort(descending=False).values.flip(0), atol=0.6
    )
    off = left.T @ found @ right.T
    assert (off - torch.diag(off.diagonal())).abs().max() < 1e-3


def test_a_step_by_hand():
    """Nesterov's look ahead of the momentum, orthogonalised, longer for a tall filter; the rest as AdamW."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 6, 3), torch.nn.Conv2d(6, 60, 3), torch.nn.Conv2d(60, 1, 1))
    twin = [p.detach().clone() for p in net.parameters()]
    optimizer = bm.Muon(lr=0.1, rest=0.01)(net)
    rest = [p.clone().requires_grad_() for i, p in enumerate(twin) if i != 2]
    adamw, momentum = torch.optim.AdamW(rest, lr=0.01, weight_decay=1e-4), torch.zeros(60, 54)
    for _ in range(2):
        net(torch.randn(2, 1, 12, 12)).square().mean().backward()
        gradient = net[1].weight.grad.reshape(60, 54)
        momentum = 0.95 * momentum + 0.05 * gradient
        update = optimizers.orthogonalise(0.05 * gradient + 0.95 * momentum) * (60 / 54) ** 0.5
        twin[2] -= 0.1 * update.reshape(60, 6, 3, 3)
        for ours, theirs in zip([p for i, p in enumerate(net.parameters()) if i != 2], rest, strict=True):
            theirs.grad = ours.grad.clone()
        optimizer.step()
        adamw.step()
        optimizer.zero_grad()
        torch.testing.assert_close(net[1].weight.detach(), twin[2], rtol=1e-5, atol=1e-6)
        for ours, theirs in zip([p for i, p in enumerate(net.parameters()) if i != 2], rest, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("maker", [bm.Muon(0.1, 0.1), optimizers.AdamW(0.1)])
def test_weights_decay_slowly(maker):
    """Where no gradient pulls, a step of rate .1 takes a hundred-thousandth, and of orthogonalised filters nothing."""
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 6, 3), torch.nn.Conv2d(6, 6, 3), torch.nn.Conv2d(6, 1, 1))
    before = [p.detach().clone() for p in net.parameters()]
    optimizer = maker(net)
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for i, (old, new) in enumerate(zip(before, net.parameters(), strict=True)):
        kept = 1 if i == 2 and isinstance(maker, bm.Muon) else 1 - 0.1 * 1e-4
        torch.testing.assert_close(new.detach(), kept * old, rtol=1e-6, atol=0)


@pytest.mark.parametrize("key", ["sfa", "cac"])
def test_inner_convolutions_take_orthogonalised_steps_and_nothing_else(key):
    model = bm.Localizer(key, "resunet", width=4)
    convolutions, rest = (group["params"] for group in bm.Muon()(model).param_groups)
    assert all(p.ndim == model.task.ndim + 2 and min(p.shape[:2]) > 1 for p in convolutions)
    names = {id(p): name for name, p in model.named_parameters()}
    others = {names[id(p)] for p in rest}
    assert {"bias", "backbone.head.weight", "backbone.encoder.blocks.0.change.0.weight"} <= others
    assert len(convolutions) + len(rest) == len(list(model.parameters()))


def test_rates_rise_and_fall_once():
    weight = torch.nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([{"params": [weight], "lr": 0.4}])
    schedule, rates = optimizers.one_cycle(optimizer, 100), []
    for _ in range(100):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert max(rates) == pytest.approx(0.4) and int(np.argmax(rates)) in (20, 21)
    assert (np.diff(rates[:20]) > 0).all() and (np.diff(rates[22:]) < 0).all() and rates[-1] < 0.001


@pytest.fixture(scope="module")
def cohort():
    return bm.phantoms.draw("sfa", 24, seed=4, size=32)


def trained(cohort, **settings):
    torch.manual_seed(0)
    model = bm.Localizer("sfa", width=4)
    return bm.fit(model, cohort, **SETTINGS | settings).loss, model.state_dict()


@pytest.mark.parametrize("optimizer", [bm.Muon(), lambda model: torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)])
def test_a_training_is_resumed_to_the_same_bits(cohort, tmp_path, monkeypatch, optimizer):
    from biomark.machine.checkpoints import Checkpoint

    loss, whole = trained(cohort, optimizer=optimizer)
    keep = Checkpoint.write

    def keep_and_stop(self):
        keep(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "write", keep_and_stop)
    with pytest.raises(KeyboardInterrupt):
        trained(cohort, optimizer=optimizer, checkpoint=tmp_path / "c")
    monkeypatch.setattr(Checkpoint, "write", keep)
    again, resumed = trained(cohort, optimizer=optimizer, checkpoint=tmp_path / "c")
    assert again == loss and all(torch.equal(whole[name], resumed[name]) for name in whole)
    with pytest.raises(ValueError, match="belongs to another model, other data or settings"):
        trained(cohort, optimizer=bm.Muon(lr=0.5), checkpoint=tmp_path / "c")


def test_it_learns_in_few_steps(cohort):
    """Of the same passes it makes more than AdamW at its usual rate."""
    (adamw, _), (muon, _) = (
        trained(cohort, epochs=6, optimizer=optimizers.AdamW(0.003)),
        trained(cohort, epochs=6, optimizer=bm.Muon()),
    )
    assert muon[-1] < 0.9 * muon[0] and muon[-1] < 1.1 * adamw[-1]


@pytest.mark.parametrize(
    ("optimizer", "said"),
    [
        (0.1, "does not make an optimizer of a model"),
        (0, "does not make an optimizer of a model"),
        ("muon", "does not make an optimizer of a model"),
        (bm.Muon, "does not make an optimizer of a model"),
        (torch.optim.SGD, "does not make an optimizer of a model"),
        (torch.optim.SGD([torch.zeros(1)], 0.1), "does not make an optimizer of a model"),
        (lambda model: None, "made a NoneType of the model"),
        (lambda model: model.parameters(), "made a generator of the model"),
        (lambda model: torch.optim.SGD([torch.zeros(1)], 0.1), "made a SGD of nothing in this model"),
    ],
)
def test_what_makes_no_optimizer_of_the_model_is_refused(optimizer, said):
    cohort = bm.phantoms.draw("sfa", n=2, seed=0, size=32)
    with pytest.raises(ValueError, match=said):
        bm.fit(bm.Localizer("sfa", width=2), cohort, optimizer=optimizer, **SETTINGS)


@pytest.mark.parametrize("rates", [{"lr": -1}, {"rest": float("nan")}, {"lr": float("inf")}, {"lr": "0.1"}])
def test_learning_rates_that_lead_away_are_refused(rates):
    with pytest.raises(ValueError, match=f"Muon needs a learning rate {next(iter(rates))} >= 0"):
        bm.Muon(**rates)


@pytest.mark.parametrize(
    ("change", "rate"), [({"optimizer": bm.Muon(lr=0.05)}, 0.05), ({"optimizer": optimizers.AdamW(0.004)}, 0.004)]
)
def test_a_loss_that_explodes_names_the_learning_rate_that_was_used(change, rate):
    cohort = bm.phantoms.draw("sfa", n=2, seed=0, size=32)
    with pytest.raises(ValueError, match=rf"lower its learning rate \(now {rate}\)"):
        bm.fit(
            bm.Localizer("sfa", width=2),
            cohort,
            loss=lambda model, *batch, progress: model.bias * torch.nan,
            **SETTINGS | change,
        )
