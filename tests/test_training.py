"""Training learns, from numbers alone, and loses nothing when it is stopped."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

import biomark as bm
from biomark import tasks
from biomark.machine.checkpoints import Checkpoint
from biomark.machine.optimizers import AdamW
from biomark.records import trained


@pytest.fixture(scope="module")
def cohort():
    return bm.phantoms.draw("sfa", 24, seed=4, size=32)


def new(seed=0, width=4):
    torch.manual_seed(seed)
    return bm.Localizer("sfa", width=width)


def weights_of(model):
    return {k: v.clone() for k, v in model.state_dict().items()}


def assert_same(a, b):
    assert a.keys() == b.keys()
    for key in a:
        assert torch.equal(a[key], b[key]), key


SETTINGS = {"epochs": 4, "batch_size": 8, "seed": 7, "progress": False, "device": "cpu", "precision": "32"}


@pytest.mark.parametrize("kind", [bm.Localizer, bm.DirectRegressor, bm.SizeConstrained])
@pytest.mark.parametrize("key", ["sfa", "cac"])
def test_masks_are_never_read(cohort, tiny, kind, key):
    """With the truth, without it, and with one that is wrong everywhere: the same bits."""
    if kind is bm.SizeConstrained and key == "cac":
        pytest.skip("areas only")
    trained, cohort = [], cohort if key == "sfa" else tiny[3]
    wrong = dataclasses.replace(cohort, truth=cohort.weights - cohort.truth)
    for data in (cohort, cohort.without_masks(), wrong, dataclasses.replace(cohort.without_masks(), fine=None)):
        torch.manual_seed(0)
        model = kind(key, width=4)
        bm.fit(model, data, **SETTINGS | {"epochs": 2})
        trained.append(weights_of(model))
    for others in trained[1:]:
        assert_same(trained[0], others)


def test_masks_are_read_where_a_model_learns_from_them(cohort, tmp_path):
    """Other masks give another model, are told apart from those of a checkpoint, and must not be missing."""
    drawn, inverted = bm.Segmenter("sfa", width=4), bm.Segmenter("sfa", width=4)
    inverted.load_state_dict(drawn.state_dict())
    other = dataclasses.replace(cohort, truth=cohort.weights - cohort.truth)
    bm.fit(drawn, cohort, **SETTINGS, checkpoint=tmp_path / "checkpoint.safetensors")
    with pytest.raises(ValueError, match="belongs to another model, other data"):
        bm.fit(inverted, other, **SETTINGS, checkpoint=tmp_path / "checkpoint.safetensors")
    bm.fit(inverted, other, **SETTINGS)
    assert not torch.equal(drawn.bias, inverted.bias)
    for fit in (bm.fit, bm.fit_once):
        with pytest.raises(ValueError, match="MaskLoss needs the truth, and this cohort has none: give one with masks"):
            fit(drawn, cohort.without_masks(), **SETTINGS)


@pytest.fixture(scope="module")
def tiny():
    return {2: bm.phantoms.draw("sfa", 8, seed=4, size=32), 3: bm.phantoms.draw("cac", 4, seed=2, size=24)}


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("backbone", sorted(bm.backbones.BACKBONES))
@pytest.mark.parametrize("kind", [bm.Localizer, bm.DirectRegressor, bm.Segmenter, bm.SizeConstrained])
def test_every_combination_learns(tiny, kind, backbone, ndim):
    if kind is bm.SizeConstrained and ndim == 3:
        pytest.skip("areas only")
    cohort, epochs = tiny[ndim], {2: 8, 3: 24}[ndim]
    if ndim == 3:
        # Four hearts of 24 boxes stand still: by chance of their shifts the loss of a step changes by more than 24
        # steps gain. (With shifts, 60 passes lower it too.)
        still = dataclasses.replace(cohort.task.settings, shift=0.0)
        cohort = dataclasses.replace(cohort, task=dataclasses.replace(cohort.task, settings=still))
    torch.manual_seed(0)
    model = kind(cohort.task, backbone, width=4)
    loss = bm.fit(model, cohort, **SETTINGS | {"epochs": epochs, "batch_size": 4}).loss
    assert np.isfinite(loss).all()
    assert np.mean(loss[-epochs // 4 :]) < 0.97 * np.mean(loss[: epochs // 4])


def test_bf16_computes_in_bf16(cohort):
    """The history's word for the precision is what the convolutions really did."""
    model, seen = new(), set()
    model.backbone.encoder.blocks[1][0].register_forward_hook(lambda module, inputs, output: seen.add(output.dtype))
    history = bm.fit(model, cohort, **SETTINGS | {"precision": "bf16", "epochs": 1})
    assert (history.precision, seen) == ("bf16-mixed", {torch.bfloat16})


def test_a_loss_of_ones_own_knows_how_far_training_is(cohort):
    """A term that comes in with training, as chapter 12 has one, leaves less undecided than there is without."""
    undecided, seen = [], []
    for weight in (0.0, 30.0):

        def decided(model, images, weights, values, *, progress, weight=weight):
            found = model(images, weights)
            seen.append(progress)
            open_cm2 = bm.losses.aggregate(found.map * (1 - found.map), weights).mean() / model.scale
            return bm.losses.value_loss(found.value, values, model.scale) + progress * weight * open_cm2

        model = new(width=8)
        bm.fit(model, cohort, **SETTINGS | {"epochs": 20, "loss": decided})
        maps = bm.predict(model, cohort)[1]
        undecided.append((maps * (1 - maps) * cohort.weights).sum())
    assert undecided[1] < 0.8 * undecided[0]
    assert seen[: len(seen) // 2] == sorted(seen[: len(seen) // 2]) and min(seen) == 0 and 0.8 < max(seen) <= 1


@pytest.mark.parametrize("ndim", [2, 3])
def test_same_seed_same_bits_other_seed_other_bits(tiny, ndim):
    models = []
    for seed in (1, 1, 2):
        torch.manual_seed(0)
        models.append(bm.Localizer(tiny[ndim].task, width=4))
        bm.fit(models[-1], tiny[ndim], **SETTINGS | {"seed": seed, "batch_size": 3})
    assert_same(weights_of(models[0]), weights_of(models[1]))
    assert not torch.equal(models[0].bias, models[2].bias)


def test_parts_of_a_step_add_up_to_it(cohort):
    """Without batch normalisation, which sees a part at a time, gradients in parts are those of the whole."""
    trained = []
    for accumulate in (1, 3, 20):
        torch.manual_seed(0)
        model = bm.Localizer("sfa", torch.nn.Conv2d(1, 1, 5, padding=2))
        settings = SETTINGS | {"batch_size": 10, "accumulate": accumulate}
        history = bm.fit(model, cohort, **settings)
        trained.append((history.loss, weights_of(model)["backbone.weight"]))
    for loss, weight in trained[1:]:
        assert loss == pytest.approx(trained[0][0], rel=1e-5)
        torch.testing.assert_close(weight, trained[0][1], rtol=1e-4, atol=1e-6)
    assert np.isfinite(bm.fit(new(), cohort, **SETTINGS, accumulate=4).loss).all()


@pytest.mark.parametrize(
    ("ndim", "settings"),
    [
        (2, {}),
        (2, {"precision": "bf16"}),
        (2, {"optimizer": AdamW(0.003)}),
        (2, {"augment": False, "accumulate": 2}),
        (3, {}),
    ],
)
def test_stopped_and_resumed_equals_uninterrupted(cohort, tiny, tmp_path, monkeypatch, ndim, settings):
    """Mirrored, shifted and turned, by orthogonalised steps or others."""
    cohort = cohort if ndim == 2 else tiny[3]

    def new(seed=0):
        torch.manual_seed(seed)
        return bm.Localizer(cohort.task, width=4)

    settings = SETTINGS | {"batch_size": 8 if ndim == 2 else 2} | settings
    whole, halved = new(), new()
    history = bm.fit(whole, cohort, **settings)

    keep, file = Checkpoint.write, tmp_path / "checkpoint.safetensors"

    def keep_then_die(self):
        keep(self)
        if len(self.state["history"]["loss"]) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "write", keep_then_die)
    with pytest.raises(KeyboardInterrupt):
        bm.fit(halved, cohort, **settings, checkpoint=file)
    monkeypatch.setattr(Checkpoint, "write", keep)
    resumed = new(seed=99)  # whatever is in memory is replaced by the checkpoint
    again = bm.fit(resumed, cohort, **settings, checkpoint=file)
    assert again.loss == history.loss
    assert_same(weights_of(whole), weights_of(resumed))


def test_a_checkpoint_is_written_where_it_is_asked_for(cohort, tmp_path, monkeypatch):
    """Whatever its path begins with, through no other folder, and as numbers alone."""
    monkeypatch.setenv("TMPDIR", str(tmp_path / "none"))
    monkeypatch.chdir(tmp_path)
    for name in ("http:/checkpoint", "s3/checkpoint"):
        Path(name).parent.mkdir()
        assert len(bm.fit(new(), cohort, **SETTINGS | {"epochs": 1}, checkpoint=name).loss) == 1
        with safe_open(name, framework="pt") as file:
            assert "biomark checkpoint" in file.metadata()
        assert [path.name for path in Path(name).parent.iterdir()] == ["checkpoint"]
        monkeypatch.setattr(Checkpoint, "write", lambda self: pytest.fail("trained again"))
        bm.fit(new(), cohort, **SETTINGS | {"epochs": 1}, checkpoint=name)
        monkeypatch.undo()
        monkeypatch.chdir(tmp_path)


def test_a_checkpoint_of_another_run_is_refused(cohort, tmp_path):
    file = tmp_path / "checkpoint.safetensors"
    bm.fit(new(), cohort, **SETTINGS | {"epochs": 1}, checkpoint=file)
    with pytest.raises(ValueError, match="belongs to another model, other data or settings"):
        bm.fit(new(), cohort, **SETTINGS | {"epochs": 1, "optimizer": bm.Muon(1e-4)}, checkpoint=file)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ValueError, match="is damaged"):
        bm.fit(new(), cohort, **SETTINGS | {"epochs": 1}, checkpoint=file)


def test_fit_once_trains_once(cohort, tmp_path, monkeypatch):
    first, second = new(), new()
    story = bm.fit_once(first, cohort, folder=tmp_path, **SETTINGS)
    monkeypatch.setattr(trained, "fit", lambda *a, **k: pytest.fail("trained twice"))
    again = bm.fit_once(second, cohort, folder=tmp_path, **SETTINGS)
    assert_same(weights_of(first), weights_of(second))
    assert again.loss == story.loss and again.seconds == story.seconds
    np.testing.assert_array_equal(bm.predict(first, cohort)[1], bm.predict(second, cohort)[1])
    assert sorted(p.name for p in next((tmp_path / "trained").iterdir()).iterdir()) == [
        "history.json",
        "model.safetensors",
    ]


def test_a_trained_model_predicts_the_same_bits_after_a_file(cohort, tmp_path):
    model = new()
    bm.fit(model, cohort, **SETTINGS)
    model.save(tmp_path / "model")
    again = bm.load(tmp_path / "model", task=cohort.task)
    np.testing.assert_array_equal(bm.predict(model, cohort)[1], bm.predict(again, cohort)[1])


@pytest.mark.parametrize("epochs", [1, 2, 3, 4, 5, 6])
def test_any_number_of_steps_trains(cohort, epochs):
    assert len(bm.fit(new(width=2), cohort[:2], **SETTINGS | {"epochs": epochs}).loss) == epochs


@pytest.mark.parametrize("change", [{"epochs": 3}, {"seed": 8}])
def test_fit_once_tells_runs_apart(cohort, tmp_path, change):
    bm.fit_once(new(), cohort, folder=tmp_path, **SETTINGS)
    bm.fit_once(new(), cohort, folder=tmp_path, **SETTINGS | change)
    assert len(list((tmp_path / "trained").iterdir())) == 2


def test_fit_once_tells_modules_of_like_weights_apart(cohort, tmp_path):
    for dilation in (1, 2):
        torch.manual_seed(0)
        backbone = torch.nn.Conv2d(1, 1, 3, padding=dilation, dilation=dilation)
        bm.fit_once(bm.Localizer(cohort.task, backbone), cohort, folder=tmp_path, **SETTINGS)
    assert len(list((tmp_path / "trained").iterdir())) == 2


def test_it_finds_the_discs_from_their_area():
    """Discs among bars of the same brightness; a training set of numbers; the map lies on the discs."""
    rng = np.random.default_rng(0)
    n, size = 300, 32
    y, x = np.mgrid[:size, :size]
    images, masks = np.full((n, size, size), -500.0, np.float32), np.zeros((n, size, size), bool)
    for i in range(n):
        for _ in range(rng.integers(1, 4)):
            cy, cx, half = *rng.uniform(4, size - 4, 2), rng.uniform(5, 9)
            across, along = (y - cy, x - cx) if rng.random() < 0.5 else (x - cx, y - cy)
            images[i][(abs(across) < 1.6) & (abs(along) < half)] = -100.0
        for _ in range(rng.integers(0, 3)):
            disc = np.hypot(y - rng.uniform(6, size - 6), x - rng.uniform(6, size - 6)) < rng.uniform(3, 6)
            images[i][disc], masks[i][disc] = -100.0, True
    images += rng.normal(0, 10, images.shape).astype(np.float32)
    task = bm.Task("discs", "disc area", "cm2", hu_window=(-200, 0), region=lambda image, spacing: image > -400)
    spacing = np.ones((n, 2))
    weights = np.stack([task.weigh(image, (1, 1)) for image in images])
    values = masks.sum((1, 2)) / 100
    cohort = bm.Cohort(task, images, weights, values, masks, spacing, tuple(map(str, range(n))))
    train, test = cohort[:220], cohort[220:]
    torch.manual_seed(0)
    model = bm.Localizer(task, width=8)
    bm.fit(model, train.without_masks(), epochs=20, batch_size=8, seed=0, progress=False, device="cpu")
    report = bm.evaluate(model, test)
    assert report.r.value > 0.95
    assert report.dice > report.dice_candidates + 0.1


def test_it_finds_the_bright_balls_in_fat_from_their_score():
    """Volumes: spots of 300 HU, of which those in fat score and those in muscle do not; values from 0 to thousands."""
    rng = np.random.default_rng(0)
    n, shape = 160, (8, 24, 24)
    images, masks = np.full((n, *shape), 45.0, np.float32), np.zeros((n, *shape), bool)
    images[:, :, :, :12] = -100.0
    turned = rng.random(n) < 0.5
    images[turned] = images[turned, :, :, ::-1]
    for i in range(n):
        for _ in range(rng.poisson(4)):
            z, y, x = (int(rng.integers(1, s - 3)) for s in shape)
            spot = np.s_[z : z + rng.integers(1, 3), y : y + 2, x : x + rng.integers(1, 4)]
            masks[i][spot] = images[i, z, y - 1, x] == -100
            images[i][spot] = 300.0
    images += rng.normal(0, 10, images.shape).astype(np.float32)
    task, spacing = bm.TASKS["cac"], np.full((n, 3), (3.0, 2.0, 2.0))
    weights = np.stack([task.weigh(image, spacing[0]) for image in images])
    values = (weights * masks).sum((1, 2, 3))
    cohort = bm.Cohort(task, images, weights, values, masks, spacing, tuple(map(str, range(n))))
    train, test = cohort[:110], cohort[110:]
    torch.manual_seed(0)
    model = bm.Localizer(task, width=8)
    settings = {"epochs": 12, "batch_size": 4, "seed": 0, "progress": False, "device": "cpu"}
    bm.fit(model, train.without_masks(), loss=bm.SumLoss("linear+log"), **settings)
    report = bm.evaluate(model, test)
    assert report.r.value > 0.9
    assert report.energy_in_mask > 0.8
    assert report.lesion_f1 > 0.8


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"epochs": 0}, ">= 1"),
        ({"accumulate": 0}, ">= 1"),
        ({"device": "tpu"}, "not available here"),
        ({"precision": "8"}, "not known"),
        ({"precision": "16"}, "needs a GPU"),
        ({"epochs": 2.5}, "epochs >= 1, a whole number, got 2.5"),
        ({"batch_size": "8"}, "batch_size >= 1, a whole number, got '8'"),
    ],
)
def test_settings_that_cannot_be_used(cohort, change, words):
    with pytest.raises(ValueError, match=words):
        bm.fit(new(), cohort, **SETTINGS | change)


class Terms(list):
    """A loss of several terms, so far of none; Python takes it for false."""

    def __call__(self, model, images_hu, weights, values, *, progress):
        return 0.5 * bm.SumLoss()(model, images_hu, weights, values)


def test_a_loss_that_python_takes_for_false_is_a_loss(cohort):
    empty, full = (bm.fit(new(), cohort, **SETTINGS | {"epochs": 1, "loss": loss}) for loss in (Terms(), Terms([1])))
    assert empty.loss == full.loss


@pytest.mark.parametrize(
    ("kind", "loss"),
    [
        (bm.Localizer, lambda model, images, weights, values, progress: (model(images, weights).value - values).abs()),
        (bm.Localizer, lambda *batch, progress: 1.0),
        (bm.Localizer, lambda *batch, progress: torch.ones(())),
    ],
)
def test_a_loss_that_cannot_teach_the_model_is_said(cohort, kind, loss):
    with pytest.raises(ValueError, match="is not one number with a gradient"):
        bm.fit(kind("sfa", width=4), cohort, **SETTINGS | {"loss": loss})


def test_a_loss_that_explodes_is_said(cohort):
    def explode(model, *batch, progress):
        return model.bias * torch.nan

    with pytest.raises(ValueError, match="loss became nan in epoch 1: lower its learning rate"):
        bm.fit(new(), cohort, **SETTINGS | {"loss": explode})


def test_weights_that_become_no_numbers_in_the_last_step_are_said(cohort):
    def last_gradient(model, *batch, progress):
        """The loss stays a number; the last gradient of all is none."""
        total = bm.SumLoss()(model, *batch)
        return total + 0 * torch.sqrt(model.bias - model.bias) if progress >= 11 / 12 else total

    with pytest.raises(ValueError, match="loss became nan in epoch 4: lower its learning rate"):
        bm.fit(new(), cohort, **SETTINGS | {"loss": last_gradient})


class Dropping(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, image):
        return self.conv(torch.nn.functional.dropout(image, 0.5, self.training))


def test_a_network_that_draws_is_resumed_to_the_same_bits(cohort, tmp_path, monkeypatch):
    """What it draws hangs on seed and epoch alone, and leaves the caller's own draws as they were."""

    def trained(**more):
        torch.manual_seed(0)
        model = bm.Localizer("sfa", backbone=Dropping())
        torch.manual_seed(5)
        bm.fit(model, cohort, **SETTINGS | more)
        assert torch.equal(torch.rand(3), torch.rand(3, generator=torch.Generator().manual_seed(5)))
        return weights_of(model)

    whole, kept = trained(), tmp_path / "checkpoint.safetensors"
    keep, epochs = Checkpoint.write, []

    def keep_and_stop(self):
        keep(self)
        epochs.append(1)
        if len(epochs) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "write", keep_and_stop)
    with pytest.raises(KeyboardInterrupt):
        trained(checkpoint=kept)
    assert_same(trained(checkpoint=kept), whole)
    assert not torch.equal(trained(seed=8)["backbone.conv.weight"], whole["backbone.conv.weight"])


class Plain(torch.nn.Module):
    """The least that the loop asks for."""

    scale = 100.0

    def __init__(self):
        super().__init__()
        self.share = torch.nn.Parameter(torch.zeros(()))

    def forward(self, images, weights):
        return bm.Localization(self.share * weights.flatten(1).sum(1), None)


def test_a_module_of_ones_own_is_trained(cohort):
    losses = bm.fit(Plain(), cohort, **SETTINGS | {"loss": bm.SumLoss()}).loss
    assert len(losses) == 4 and losses[-1] < losses[0]


def test_no_step_is_longer_than_its_rate_allows(cohort):
    """A case with a number far off must not throw the model out of the valley: gradients have norm 1 at most."""
    norms = []

    class Steps(torch.optim.SGD):
        def step(self, closure=None):
            gradients = [p.grad.flatten() for group in self.param_groups for p in group["params"] if p.grad is not None]
            norms.append(torch.cat(gradients).norm().item())
            return super().step(closure)

    def steep(model, *batch, progress):
        return 1e4 * bm.SumLoss()(model, *batch, progress=progress)

    asked = {"epochs": 1, "loss": steep, "optimizer": lambda model: Steps(model.parameters(), lr=1e-6)}
    bm.fit(new(), cohort, **SETTINGS | asked)
    assert norms == pytest.approx([1.0] * 3, rel=1e-3)


def test_what_is_not_said_is_the_tasks_own(cohort, tmp_path):
    """And a task without settings of its own says what it needs."""
    seen, quick = [], dataclasses.replace(cohort.task.settings, epochs=2)
    task = dataclasses.replace(cohort.task, settings=quick)
    told = {"loss": quick.loss, "epochs": 2, "batch_size": quick.batch_size, "optimizer": quick.optimizer}
    for settings in ({}, told):
        torch.manual_seed(0)
        model = bm.Localizer(task, width=4)
        bm.fit(model, dataclasses.replace(cohort, task=task), seed=7, device="cpu", progress=False, **settings)
        seen.append(weights_of(model))
    assert_same(*seen)
    own = dataclasses.replace(cohort.task, settings=tasks.Settings())
    with pytest.raises(ValueError, match="task 'sfa' has no settings of its own: say how many epochs"):
        bm.fit(new(), dataclasses.replace(cohort, task=own), progress=False)


def test_weights_with_two_names_are_kept(cohort, tmp_path):
    class Tied(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = (torch.nn.Conv2d(1, 1, 3, padding=1) for _ in range(2))
            self.b.weight = self.a.weight

        def forward(self, image):
            return self.b(self.a(image))

    first = bm.Localizer("sfa", backbone=Tied())
    bm.fit_once(first, cohort, **SETTINGS, folder=tmp_path)
    first.save(tmp_path / "m.safetensors")
    again = bm.load(tmp_path / "m.safetensors", backbone=Tied())
    np.testing.assert_array_equal(bm.predict(first, cohort)[1], bm.predict(again, cohort)[1])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("precision", ["32", "bf16", "16"])
def test_cuda_trains_like_the_cpu(cohort, precision):
    model, reference = new(), new()
    history = bm.fit(model, cohort, **SETTINGS | {"device": "cuda", "precision": precision})
    assert history.loss[0] == pytest.approx(bm.fit(reference, cohort, **SETTINGS).loss[0], rel=0.1)


class Leaning:
    """A loss with a setting of its own."""

    def __init__(self, alpha):
        self.alpha = alpha

    def __call__(self, model, images_hu, weights, values, *, progress):
        return bm.SumLoss()(model, images_hu, weights, values) + self.alpha * model(images_hu, weights).map.mean()


def test_fit_once_tells_tasks_and_settings_of_ones_own_apart(cohort, tmp_path):
    seen = []
    unmirrored = dataclasses.replace(cohort, task=dataclasses.replace(cohort.task, mirrored=False))
    for alpha, data in ((0.0, cohort), (5.0, cohort), (0.0, unmirrored), (0.0, cohort)):
        model = new()
        bm.fit_once(model, data, folder=tmp_path, loss=Leaning(alpha), **SETTINGS)
        seen.append(model.bias.item())
    assert seen[0] == seen[3] and len(set(seen)) == 3


def test_fit_once_asks_before_training_whether_the_model_can_be_kept(cohort, tmp_path):
    with pytest.raises(ValueError, match="no save and restore"):
        bm.fit_once(torch.nn.Linear(1, 1), cohort, folder=tmp_path, **SETTINGS)


def test_a_checkpoint_that_not_all_processes_find_is_refused(tmp_path):
    """On a disk of one machine of several, the others would begin anew and all would learn from two models."""

    class Two:
        world_size = 2

        def all_reduce(self, value, reduce_op):
            return value + 1  # the other has it

    with pytest.raises(ValueError, match="only 1 of 2 processes find the checkpoint"):
        Checkpoint(tmp_path / "none.pt", Two(), {}, "", "").resume()


def test_a_checkpoint_knows_its_model(cohort, tmp_path):
    file = tmp_path / "checkpoint.safetensors"
    bm.fit(new(), cohort, **SETTINGS, checkpoint=file)
    torch.manual_seed(0)
    unmirrored = dataclasses.replace(cohort, task=dataclasses.replace(cohort.task, mirrored=False))
    for model, data in (
        (bm.SizeConstrained("sfa", width=4), cohort),
        (bm.DirectRegressor("sfa", width=4), cohort),
        (new(width=8), cohort),
        (new(), unmirrored),
    ):
        with pytest.raises(ValueError, match="belongs to another model"):
            bm.fit(model, data, **SETTINGS, checkpoint=file)
    with pytest.warns(UserWarning, match="began from other weights"):
        bm.fit(new(seed=1), cohort, **SETTINGS, checkpoint=file)


def test_a_case_that_is_no_number_is_named(cohort):
    broken = dataclasses.replace(cohort, images=cohort.images.copy())
    broken.images[5, 3, 4] = np.nan
    with pytest.raises(ValueError, match=f"image of case '{cohort.ids[5]}'"):
        bm.fit(new(), broken, **SETTINGS)


def test_a_model_of_another_task_is_refused(cohort):
    torch.manual_seed(0)
    for what in (lambda m: bm.fit(m, cohort, **SETTINGS), lambda m: bm.evaluate(m, cohort)):
        with pytest.raises(ValueError, match="measures 'pma' and the cohort 'sfa'"):
            what(bm.Localizer("pma", width=4))
    with pytest.raises(ValueError, match="without cases"):
        bm.evaluate(new(), cohort[:0])


def test_what_is_said_and_what_is_meant_are_one_training(cohort, tmp_path):
    settings = {"epochs": 1, "batch_size": 8, "progress": False, "device": "cpu", "folder": tmp_path}
    bm.fit_once(new(), cohort, **settings)
    bm.fit_once(new(), cohort, **settings, seed=0, loss=cohort.task.settings.loss, optimizer=bm.Muon())
    assert len(list((tmp_path / "trained").iterdir())) == 1


@pytest.mark.parametrize("name", ["model.safetensors", "history.json"])
@pytest.mark.parametrize("content", [b"", b"{}", b"[1]"])
def test_fit_once_trains_what_is_damaged_again(cohort, tmp_path, name, content):
    """Not to fail for ever."""
    quick = SETTINGS | {"epochs": 1}
    first = bm.fit_once(new(), cohort, folder=tmp_path, **quick)
    (place,) = (tmp_path / "trained").iterdir()
    (place / name).write_bytes(content)
    with pytest.warns(UserWarning, match="is damaged, and what it held is trained again"):
        again = bm.fit_once(new(), cohort, folder=tmp_path, **quick)
    assert again.loss == first.loss
    assert bm.fit_once(new(), cohort, folder=tmp_path, **quick).seconds == again.seconds


class Watching:
    """A loss that keeps what it is shown."""

    def __init__(self):
        self.seen = []

    def __call__(self, model, images_hu, weights, values, *, progress):
        self.seen += zip(images_hu[:, 0].clone(), weights.clone(), values.tolist(), strict=True)
        return bm.SumLoss()(model, images_hu, weights, values)


def test_cases_are_moved_with_their_numbers_the_same_way_in_any_parts(cohort):
    """Each with its own number and the sum of its weights, anew in every epoch, whatever the parts of a step."""
    task = dataclasses.replace(cohort.task, settings=dataclasses.replace(cohort.task.settings, optimizer=AdamW(0.0)))
    cohort, seen = dataclasses.replace(cohort, task=task), []
    for settings in ({}, {"accumulate": 3}, {"augment": False}):
        loss = Watching()
        bm.fit(bm.Localizer(task, width=2), cohort, **SETTINGS | {"epochs": 2, "loss": loss} | settings)
        assert len(loss.seen) == 48
        seen.append(loss.seen)
    changed, sums = 0, dict(zip(cohort.values.astype(np.float32), cohort.weights.sum((1, 2)), strict=True))
    for (image, weights, value), (image_2, weights_2, value_2), (plain, _, value_3) in zip(*seen, strict=True):
        assert value == value_2 == value_3 and torch.equal(image, image_2) and torch.equal(weights, weights_2)
        assert weights.sum().item() == pytest.approx(sums[np.float32(value)], rel=1e-4)
        changed += not torch.equal(image, plain)
    assert changed > 24, "but for those that would leave the picture"
    first, second = ({v: image for image, _, v in part} for part in (seen[0][:24], seen[0][24:]))
    assert first.keys() == second.keys() and sum(torch.equal(first[v], second[v]) for v in first) < 12
