"""The localizer's promises: the value is the sum of its map, in every dimension, at every spacing, saved or not."""

import copy
import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

import biomark as bm
from biomark.grids import Boxes
from biomark.machine.moves import AIR_HU

VOLUME = dataclasses.replace(
    bm.TASKS["sfa"],
    key="volume",
    unit="cm3",
    ndim=3,
    region=lambda image, spacing: image > -500,
    voxel_weight=lambda image, spacing: np.float32(np.prod(spacing) / 1000),
    settings=bm.tasks.Settings(),
)


@pytest.fixture(scope="module")
def cohort():
    return bm.phantoms.draw("sfa", 6, seed=2, size=48)


@pytest.fixture(scope="module")
def model(cohort):
    torch.manual_seed(0)
    model = bm.Localizer("sfa", width=4)
    model.prepare(cohort)
    return model.eval()


@pytest.mark.parametrize("backbone", sorted(bm.backbones.BACKBONES))
@pytest.mark.parametrize(
    ("task", "shape", "fold"),
    [(bm.TASKS["pma"], (20, 28), ()), (bm.TASKS["pma"], (20, 28), (2, 2)), (VOLUME, (6, 12, 16), ())]
    + [(VOLUME, (6, 12, 16), (1, 2, 2)), (bm.TASKS["cac"], (6, 12, 16), (2, 2, 2))],
)
@pytest.mark.parametrize("kind", [bm.Localizer, bm.Segmenter])
def test_value_is_the_weighted_sum_of_the_map(kind, backbone, task, shape, fold):
    torch.manual_seed(1)
    model, weights = kind(task, backbone, width=4, fold=fold).eval(), torch.rand(2, *shape)
    out = model(torch.randn(2, 1, *shape) * 100, weights)
    assert out.map.shape == (2, *shape) and out.map.min() >= 0 and out.map.max() <= 1
    torch.testing.assert_close(out.value, (out.map * weights).flatten(1).sum(1))


def test_the_map_outside_the_candidates_never_matters(model, cohort):
    images, weights = torch.as_tensor(cohort.images[:, None]), torch.as_tensor(cohort.weights)
    out = model(images, weights)
    spoiled = torch.where(weights > 0, out.map, torch.rand_like(out.map))
    torch.testing.assert_close(bm.losses.aggregate(spoiled, weights), out.value)


def test_the_first_guess_has_the_right_size(cohort):
    torch.manual_seed(0)
    model = bm.Localizer("sfa", width=4)
    nn.init.zeros_(model.backbone.head.weight)
    nn.init.zeros_(model.backbone.head.bias)
    model.prepare(cohort)
    out = model(torch.as_tensor(cohort.images[:, None]), torch.as_tensor(cohort.weights))
    assert out.value.sum().item() == pytest.approx(cohort.values.sum(), rel=1e-4)


def test_a_trained_model_keeps_its_bias(model, cohort):
    halves, trained = dataclasses.replace(cohort, values=cohort.values / 2), copy.deepcopy(model)
    trained.prepare(halves)
    assert trained.bias.item() == model.bias.item()
    assert trained.scale.item() == pytest.approx(halves.values.mean())
    fresh = bm.Localizer(cohort.task, width=4)
    fresh.prepare(halves)
    assert fresh.bias.item() < model.bias.item()


def test_values_beyond_the_window_are_clipped(model, cohort):
    """Padding of -3024 and metal of 3000 HU look like air and bone."""
    image = torch.as_tensor(cohort.images[:1, None])
    low, high = model.task.input_hu
    weights = torch.as_tensor(cohort.weights[:1])
    extreme = torch.where(image < low, -3024.0, torch.where(image > high, 3071.0, image))
    torch.testing.assert_close(model(extreme, weights).map, model(image, weights).map)


SHAPES = [{}, {"depth": 2}, {"fold": ()}, {"fold": (4, 4), "depth": 2}, {"backbone": "fcn", "fold": (1, 2), "width": 3}]


@pytest.mark.parametrize("kind", [bm.Localizer, bm.Segmenter, bm.DirectRegressor, bm.SizeConstrained])
@pytest.mark.parametrize("shape", SHAPES)
def test_networks_of_any_shape_are_saved_and_loaded(cohort, tmp_path, kind, shape):
    torch.manual_seed(0)
    model = kind("sfa", **{"width": 4} | shape)
    bm.fit(model, cohort, epochs=1, batch_size=2, progress=False, device="cpu", precision="32")
    model.save(tmp_path / "m")
    again = bm.load(tmp_path / "m")
    assert (type(again), again.width, again.depth, again.fold) == (kind, model.width, model.depth, model.fold)
    for one, other in zip(bm.predict(model, cohort), bm.predict(again, cohort), strict=True):
        np.testing.assert_array_equal(one, other)


class Quiet(bm.Localizer):
    """Of one's own, built as the localizer is."""

    def logits(self, images_hu):
        return super().logits(images_hu) - 1


class Deep(bm.Localizer):
    """With a constructor of its own, which decides the shape."""

    def __init__(self, task, backbone=None, width=None):
        super().__init__(task, backbone, width, depth=2, fold=(4, 4))


@pytest.mark.parametrize("make", [lambda: Quiet("sfa", width=4, depth=2, fold=(4, 1)), lambda: Deep("sfa", width=4)])
def test_classes_of_ones_own_are_loaded_in_their_shape(cohort, tmp_path, make):
    torch.manual_seed(0)
    model = make()
    bm.fit(model, cohort, epochs=1, batch_size=2, progress=False, device="cpu", precision="32")
    model.save(tmp_path / "m")
    again = bm.load(tmp_path / "m")
    assert type(again) is type(model) and again.fold == model.fold and again.depth == 2
    np.testing.assert_array_equal(bm.predict(model, cohort)[1], bm.predict(again, cohort)[1])


def test_another_block_of_like_weights_is_not_taken_for_it(cohort, tmp_path):
    """Blocks of 4 x 1 and of 2 x 2 have the same filters."""
    model = Deep("sfa", width=4)
    model.fold = (2, 8)
    model.prepare(cohort)
    model.save(tmp_path / "m")
    with pytest.raises(ValueError, match=r"was saved with fold = \(2, 8\), and a Deep built from task.* has \(4, 4\)"):
        bm.load(tmp_path / "m")


def test_saved_and_loaded_predicts_the_same_bits(model, cohort, tmp_path):
    model.save(tmp_path / "deep" / "model.safetensors")
    again = bm.load(tmp_path / "deep" / "model.safetensors")
    a, b = model.locate(cohort[0]), again.locate(cohort[0])
    assert a.value == b.value
    np.testing.assert_array_equal(a.map, b.map)
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["model.safetensors"]
    with safe_open(tmp_path / "deep" / "model.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()["biomark"])["task"] == "sfa"


def test_others_may_read_a_saved_model(model, tmp_path):
    """It is there to be handed on: it gets the permissions that any new file gets."""
    model.save(tmp_path / "model.safetensors")
    (tmp_path / "any").touch()
    assert (tmp_path / "model.safetensors").stat().st_mode == (tmp_path / "any").stat().st_mode


def test_files_that_are_no_model(tmp_path):
    with pytest.raises(FileNotFoundError, match="no model at"):
        bm.load(tmp_path / "missing")
    (tmp_path / "text").write_text("weights")
    with pytest.raises(ValueError, match="no model that biomark wrote"):
        bm.load(tmp_path / "text")
    save_file({"a": torch.zeros(1)}, tmp_path / "other")
    with pytest.raises(ValueError, match="no model that biomark wrote"):
        bm.load(tmp_path / "other")


def test_weights_of_another_network_are_said(model, tmp_path):
    model.save(tmp_path / "model")
    with pytest.raises(ValueError, match="does not fit the unet of biomark"):
        bm.load(tmp_path / "model", backbone=nn.Conv2d(1, 1, 3, padding=1))


def test_unknown_task_must_be_given(tmp_path):
    bm.Localizer(VOLUME, width=2).save(tmp_path / "model")
    with pytest.raises(ValueError, match="pass it as task="):
        bm.load(tmp_path / "model")
    assert bm.load(tmp_path / "model", task=VOLUME).task is VOLUME


@pytest.mark.parametrize(("key", "fold"), [("sfa", ()), ("sfa", (2, 2)), ("cac", ()), ("cac", (1, 2, 2))])
@pytest.mark.parametrize("backbone", sorted(bm.backbones.BACKBONES))
def test_locate_on_the_scans_own_voxels_is_what_the_boxes_say(key, fold, backbone):
    """Value and map of the cohort's boxes, each voxel with the map of its box; the value is the sum on both grids."""
    cohort = bm.phantoms.draw(key, 2, seed=7, size=32)
    torch.manual_seed(0)
    model = bm.Localizer(key, backbone, width=2, fold=fold)
    bm.fit(model, cohort, epochs=2, batch_size=1, progress=False, device="cpu", precision="32")
    for i in range(2):
        case, (_, _, boxes) = cohort.voxels(i), cohort.regions(i)
        with torch.no_grad():
            out = model(torch.as_tensor(cohort.images[i : i + 1, None]), torch.as_tensor(cohort.weights[i : i + 1]))
        found = model.locate(case, boxes=boxes)
        np.testing.assert_allclose(found.map, boxes.spread(out.map[0].numpy()), atol=1e-6)
        assert found.value == pytest.approx(out.value.item(), rel=1e-5)
        in_voxels = (found.map.astype(float) * case.weights).sum()
        assert found.value == pytest.approx(in_voxels, rel=1e-5)
        assert found.map.shape == found.mask.shape == case.image.shape and found.mask.dtype == bool
        assert not found.mask[case.weights == 0].any()
        if key == "sfa":
            assert case.weights[found.mask].sum() == pytest.approx(found.value, abs=0.51 * float(case.weights.max()))
        blind = dataclasses.replace(case, value=None, mask=None)
        assert model.locate(blind, boxes=boxes).value == found.value


def test_boxes_are_about_those_of_training_and_by_default_cover_the_scan(cohort, model):
    case = cohort.voxels(1)
    found, boxes = model.locate(case), Boxes.over(case.image.shape, case.spacing_mm, model.trained_spacing_mm.tolist())
    assert max(boxes.voxels) in (2, 3) and found.value == model.locate(case, boxes=boxes).value
    fine = dataclasses.replace(
        case,
        image=case.image.repeat(2, 0).repeat(2, 1),
        weights=case.weights.repeat(2, 0).repeat(2, 1) / 4,
        spacing_mm=tuple(s / 2 for s in case.spacing_mm),
    )
    assert model.locate(fine).value == pytest.approx(found.value, rel=1e-5), "the same scan in finer voxels"
    moved = Boxes(tuple(n + 2 for n in boxes.shape), boxes.voxels, boxes.image_shape, (-3, -3))
    assert model.locate(case, boxes=moved).map.shape == case.image.shape
    seen = []
    hook = model.backbone.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    model.locate(case, boxes=moved)
    hook.remove()
    low, high = model.task.input_hu
    air = (max(AIR_HU, low) - low) * 2 / (high - low) - 1
    assert tuple(seen[0].shape[2:]) == moved.shape and (seen[0][0, 0, 0] == air).all(), "outside there is air"


@pytest.mark.parametrize(("key", "shape"), [("sfa", (50, 61)), ("cac", (5, 40, 33))])
def test_a_map_of_ones_weighs_all_of_the_scan_at_any_size_of_boxes(key, shape):
    class Everything(nn.Module):
        def forward(self, image):
            return torch.full_like(image, 40.0)

    rng = np.random.default_rng(0)
    weights = (rng.random(shape) * (rng.random(shape) < 0.3)).astype(np.float32)
    case = bm.Case("x", rng.normal(0, 100, shape).astype(np.float32), weights, None, None, (1.0,) * len(shape))
    model = bm.Localizer(key, Everything())
    for side in (0.5, 1.0, 1.7, 3.0, 4.4, 100.0):
        model.trained_spacing_mm.fill_(side)
        found = model.locate(case)
        assert found.value == pytest.approx(weights.sum(dtype=float), rel=1e-5)
        assert (found.map == 1).all() and (found.mask == (weights > 0)).all()


def test_nothing_is_outlined_below_what_counts(cohort):
    task = dataclasses.replace(cohort.task, negligible=1e6)
    model = bm.Localizer(task, width=4)
    model.prepare(dataclasses.replace(cohort, task=task))
    found = model.locate(cohort.voxels(0))
    assert found.value > 0 and not found.mask.any()


def test_a_module_of_ones_own(cohort):
    model = bm.Localizer("sfa", nn.Conv2d(1, 1, 5, padding=2))
    assert (
        model(torch.as_tensor(cohort.images[:, None]), torch.as_tensor(cohort.weights)).map.shape == cohort.images.shape
    )


def test_a_module_of_ones_own_must_be_given_again(tmp_path):
    bm.Localizer("sfa", nn.Conv2d(1, 1, 5, padding=2)).save(tmp_path / "model")
    with pytest.raises(ValueError, match="'Conv2d': pass such a module as backbone="):
        bm.load(tmp_path / "model")
    bm.load(tmp_path / "model", backbone=nn.Conv2d(1, 1, 5, padding=2))


def test_a_changed_task_is_not_forgotten(cohort, tmp_path):
    """Else a file would be read by the rules of the task whose name it has."""
    task = dataclasses.replace(bm.TASKS["sfa"], input_hu=(-1000.0, 1000.0))
    changed = bm.Localizer(task, width=4)
    changed.prepare(cohort)
    changed.save(tmp_path / "m.safetensors")
    with pytest.raises(ValueError, match="with rules that are not biomark's"):
        bm.load(tmp_path / "m.safetensors")
    again = bm.load(tmp_path / "m.safetensors", task=task)
    assert again.locate(cohort[0]).value == changed.eval().locate(cohort[0]).value


class Own(bm.Localizer):
    def __init__(self, alpha):
        super().__init__("sfa", "unet", 4)
        self.alpha = alpha


def test_a_class_that_load_cannot_build_says_so(cohort, tmp_path):
    own = Own(0.3)
    own.prepare(cohort)
    own.save(tmp_path / "m.safetensors")
    with pytest.raises(ValueError, match=r"m.safetensors is of a Own, which is not built .*load_file reads.$"):
        bm.load(tmp_path / "m.safetensors")


def test_a_class_that_files_would_take_for_biomarks_own_is_refused():
    with pytest.raises(ValueError, match="a file of this Segmenter would be read as biomark's own"):
        type("Segmenter", (bm.Localizer,), {"__module__": __name__})
    assert bm.Localizer.kinds["Segmenter"] is bm.Segmenter


class Sharp(bm.Localizer):
    def __init__(self, task, backbone="unet", width=4, sharpness=1.0):
        super().__init__(task, backbone, width)
        self.sharpness = sharpness

    def logits(self, images_hu):
        return self.sharpness * super().logits(images_hu)


def test_settings_that_load_cannot_know_are_not_forgotten(cohort, tmp_path):
    """A class or a backbone built otherwise would predict other values from the same weights."""
    sharp, dilated = Sharp("sfa", sharpness=5.0), bm.Localizer("sfa", nn.Conv2d(1, 1, 3, padding=4, dilation=4))
    for model in (sharp, dilated):
        model.prepare(cohort)
        model.save(tmp_path / f"{type(model).__name__}.safetensors")
    with pytest.raises(ValueError, match=r"saved with sharpness = 5.0, and a Sharp built from .* has 1.0: build it"):
        bm.load(tmp_path / "Sharp.safetensors")
    with pytest.raises(ValueError, match=r"saved with backbone.padding = \(4, 4\)"):
        bm.load(tmp_path / "Localizer.safetensors", backbone=nn.Conv2d(1, 1, 3, padding=1))
    again = Sharp("sfa", sharpness=5.0).restore(load_file(tmp_path / "Sharp.safetensors"))
    assert again.locate(cohort[0]).value == sharp.eval().locate(cohort[0]).value


class BySlice(nn.Module):
    """A network for volumes that reads them slice by slice."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x):
        n, _, d, *sides = x.shape
        return self.conv(x.transpose(1, 2).reshape(n * d, 1, *sides)).reshape(n, d, 1, *sides).transpose(1, 2)


def test_networks_for_volumes_may_have_parts_for_slices():
    volumes = bm.phantoms.draw("cac", 2, seed=0, size=24)
    model = bm.Localizer("cac", BySlice())
    bm.fit(model, volumes, epochs=1, batch_size=1, progress=False, device="cpu", precision="32")
    assert np.isfinite(model.locate(volumes[0]).value)


def test_a_backbone_gives_one_logit_a_voxel(cohort):
    images, weights = torch.as_tensor(cohort.images[:, None]), torch.as_tensor(cohort.weights)
    with pytest.raises(ValueError, match="one logit a voxel"):
        bm.Localizer("sfa", nn.Conv2d(1, 2, 3, padding=1))(images, weights)


def test_a_case_of_other_dimensions_is_refused(model):
    volume = bm.phantoms.draw("cac", 1, seed=0, size=24)[0]
    with pytest.raises(ValueError, match="reads 2-D images, but case 'cac-0-0'"):
        model.locate(volume)


def test_views_and_foreign_orders_of_bytes_are_read():
    torch.manual_seed(0)
    cohort = bm.phantoms.draw("sfa", 4, seed=0, size=32)
    model, case = bm.Localizer("sfa", width=2), cohort[0]
    model.prepare(cohort)
    turned = dataclasses.replace(case, image=case.image[:, ::-1], weights=case.weights[:, ::-1])
    assert (
        model.locate(turned).value
        == model.locate(dataclasses.replace(case, image=turned.image.copy(), weights=turned.weights.copy())).value
    )
    foreign = dataclasses.replace(case, image=case.image.astype(">f4"), weights=case.weights.astype(">f8"))
    foreign.image.flags.writeable = False
    assert model.locate(foreign).value == model.locate(case).value


def test_voxels_that_are_no_numbers_are_named():
    cohort = bm.phantoms.draw("sfa", 4, seed=0, size=32)
    images = cohort.images.copy()
    images[2, 5, 5] = np.nan
    broken, model = dataclasses.replace(cohort, images=images), bm.Localizer("sfa", width=2)
    model.prepare(cohort)
    for ask in (lambda: bm.evaluate(model, broken), lambda: model.locate(broken[2])):
        with pytest.raises(ValueError, match="the image of case 'sfa-0-2' holds values that are no numbers"):
            ask()


def test_a_model_is_not_loaded_for_another_task(tmp_path):
    bm.Localizer("sfa", width=2).save(tmp_path / "m")
    with pytest.raises(ValueError, match="is of task 'sfa', and the task given is 'pma'"):
        bm.load(tmp_path / "m", task=bm.TASKS["pma"])
    with pytest.raises(ValueError, match="is of task 'sfa', and the task given is 'pma'"):
        bm.load(tmp_path / "m", task="pma")
    assert bm.load(tmp_path / "m", task="sfa").task is bm.TASKS["sfa"]
    with pytest.warns(UserWarning, match="with rules other than those given"):
        bm.load(tmp_path / "m", task=dataclasses.replace(bm.TASKS["sfa"], input_hu=(0.0, 150.0)))


def test_weights_that_are_no_numbers_predict_nothing_in_silence(cohort, tmp_path):
    for name in ("bias", "scale", "backbone.head.weight"):
        broken = bm.Localizer(cohort.task, width=4).eval()
        broken.prepare(cohort)
        state = broken.state_dict()
        name = name if name in state else next(key for key in state if key.endswith("weight"))
        state[name].fill_(float("nan"))
        broken.save(tmp_path / "model")
        with pytest.raises(ValueError, match=rf"model holds weights that are no numbers \({name}\): train it again"):
            bm.load(tmp_path / "model", task=cohort.task)
        if name != "scale":  # which training alone reads
            for look in (
                lambda broken=broken: bm.predict(broken, cohort),
                lambda broken=broken: broken.locate(cohort[0]),
            ):
                with pytest.raises(ValueError, match="the model holds weights that are no numbers"):
                    look()
