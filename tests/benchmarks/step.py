"""How long one step of training takes, beside networks of MONAI with as many parameters. Not a test.

    python tests/benchmarks/step.py            # minutes
    python tests/benchmarks/step.py --quick

A step is: images, weights and numbers are there; forward, loss, backward, gradients clipped, AdamW (with
orthogonalised steps too, as ``fit`` takes them, it is a row of its own). Before anything is
timed, the localizer's loss has to equal the one written out by hand on its network's output.
"Its network alone" is the same network with the mean of its output as loss: what it lacks is the aggregation. Beside
each time stand the multiplications and additions of the step and the share of what a large matrix product reaches here.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from turns import OURS, command, keep, take

import biomark as bm

try:
    from monai.losses import DiceCELoss
    from monai.networks.nets import BasicUNet
except ImportError as error:
    raise SystemExit("this benchmark needs MONAI: pip install 'biomark[peers]'.") from error


WITH_MUON = "biomark, orthogonalised steps"

COMPILED = (128, 512)
"""Sizes at which the compiled network is measured too; compiling takes a minute for each precision."""


def basic_unet(parameters: int, channels: int = 1) -> BasicUNet:
    """MONAI's BasicUNet with its default proportions, so many input channels and about so many parameters."""

    def build(f: int) -> BasicUNet:
        return BasicUNet(spatial_dims=2, in_channels=channels, out_channels=1, features=(f, f, 2 * f, 4 * f, 8 * f, f))

    return min(map(build, range(8, 65)), key=lambda net: abs(count(net) - parameters))


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def prepared(model: bm.Localizer | bm.DirectRegressor, cohort: bm.Cohort) -> nn.Module:
    """As ``fit`` starts: the prior is taken, and the weights are laid out channels last."""
    model.prepare(cohort)
    return model


class Alone(nn.Module):
    """A network whose loss asks for nothing but its output."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def loss(self, images: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
        return self.net(images / 1000).float().mean()


class DiceCE(Alone):
    """A network taught with masks by MONAI's loss."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__(net)
        self.criterion = DiceCELoss(sigmoid=True)

    def loss(self, images: torch.Tensor, weights: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        return self.criterion(self.net(images / 1000), (weights > 0)[:, None].float())


def stepper(
    model: nn.Module, dtype: torch.dtype, optimizer: Callable[[nn.Module], torch.optim.Optimizer] | None = None
) -> Callable[[Sequence[torch.Tensor]], None]:
    """A step on a batch of images, weights and values, by AdamW unless another optimizer is given."""
    kind = next(model.parameters()).device.type
    if optimizer is None:
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=kind != "mps")
    else:
        optimizer = optimizer(model)

    def step(batch: Sequence[torch.Tensor]) -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(kind, dtype, enabled=dtype != torch.float32):
            loss = model.loss(*batch) if hasattr(model, "loss") else bm.SumLoss()(model, *batch)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


def same_loss(model: bm.Localizer, batch: list[torch.Tensor]) -> None:
    """The localizer's loss is what is written here."""
    images, weights, values = batch
    model.train()
    ours = bm.SumLoss()(model, *batch)
    m = torch.sigmoid(model.backbone(model.normalise(images))[:, 0] + model.bias)
    by_hand = ((m * weights).sum((1, 2)) - values).abs().mean() / model.scale
    if not torch.allclose(ours, by_hand, rtol=1e-4):
        raise SystemExit(f"the losses differ ({ours.item()} and {by_hand.item()}): nothing was measured.")


def counted(step: Callable[[], None]) -> int:
    """FLOPs of convolutions and matrix products."""
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


def timed(step: Callable[[], None]) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def roof(device: str, dtype: torch.dtype, side: int, finish: Callable[[], object]) -> float:
    """FLOP/s of a square matrix product."""
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    return 2 * side**3 / take({"product": lambda: a @ b}, turns=9, finish=finish)[0]["median_s"]


def main() -> None:
    asked = command(__doc__)
    device = asked.device
    finish = getattr(torch, device).synchronize if device != "cpu" else int
    sizes = [(64, 2, 8)] if asked.quick else [(96, 8, 16), (128, 8, 16), (256, 4, 32)]
    if device == "cuda":
        sizes = [(96, 64, 16), (256, 16, 32), (256, 64, 32), (512, 16, 32)]
    precisions = {"fp32": torch.float32, "bf16": torch.bfloat16}
    side = 256 if asked.quick else 8192 if device == "cuda" else 3072
    roofs = {name: roof(device, dtype, side, finish) for name, dtype in precisions.items()}
    rows, compile_s = [], {}
    for size, batch_size, width in sizes:
        cohort = bm.phantoms.draw("pma", batch_size, seed=0, size=size)
        arrays = (cohort.images[:, None], cohort.weights, cohort.values)
        batch = [torch.as_tensor(a, dtype=torch.float32, device=device) for a in arrays]

        torch.manual_seed(0)
        ours, muon, compiled, alone = (prepared(bm.Localizer("pma", width=width), cohort) for _ in range(4))
        same_loss(ours.to(device), batch)
        parameters = count(ours)
        models = {
            OURS: ours,
            WITH_MUON: muon,
            "biomark, weights not channels last": bm.Localizer("pma", width=width),
            "its network alone": Alone(alone.backbone),
            "direct regressor": prepared(bm.DirectRegressor("pma", width=width), cohort),
            "MONAI BasicUNet, our loss": prepared(bm.Localizer("pma", basic_unet(parameters)), cohort),
            "MONAI BasicUNet, DiceCE": DiceCE(basic_unet(parameters)),
        }
        if size in COMPILED and not asked.quick:
            compiled.backbone.compile()
            models["biomark, compiled"] = compiled
        for name, dtype in precisions.items():
            ways, flops = {}, {}
            for who, model in models.items():
                orthogonalised = bm.Muon(1e-4, 1e-4) if model is muon else None
                ways[who] = partial(stepper(model.to(device).train(), dtype, orthogonalised), batch)
                if model is compiled:
                    flops[who] = flops[OURS]  # the counter does not see into what is compiled
                    compile_s[f"{size}, {name}"] = round(timed(ways[who]), 1)
                else:
                    flops[who] = counted(ways[who])
            for row in take(ways, finish=finish):
                who = row["who"]
                rate = flops[who] / row["median_s"]
                of = {"size": size, "batch": batch_size, "width": width, "precision": name}
                amount = {"parameters": count(models[who]), "gflop_an_image": round(flops[who] / batch_size / 1e9, 2)}
                rows.append(of | amount | {"share_of_roof": round(rate / roofs[name], 3)} | row)
    rates = {name: round(rate / 1e9, 1) for name, rate in roofs.items()}
    found = {"matrix_product_gflop_a_second": rates, "matrix_side": side, "compile_s": compile_s}
    keep(asked, "step", rows, peers=("monai",), **found)


if __name__ == "__main__":
    main()
