"""Whether many small models train faster together than one after the other. Not a test.

    python tests/benchmarks/together.py                 # minutes
    python tests/benchmarks/together.py --models 8 --device cuda
    python tests/benchmarks/together.py --quick

Several seeds of one localizer on one cohort: in turn, and stacked, where ``torch.func`` runs all networks as one with a
further axis. Before anything is timed, the first steps of the stacked models have to give what they give in turn.
"""

import copy
import math
from collections.abc import Callable

import torch
from torch import nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap
from turns import OURS, command, keep, take

import biomark as bm

LR = 1e-4
Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class Loss(nn.Module):
    """The localizer's loss as a forward pass, which is what ``functional_call`` calls."""

    def __init__(self, localizer: bm.Localizer) -> None:
        super().__init__()
        self.localizer = localizer

    def forward(self, *batch: torch.Tensor) -> torch.Tensor:
        return bm.SumLoss()(self.localizer, *batch)


def localizers(cohort: bm.Cohort, n: int, device: str) -> list[Loss]:
    made = []
    for seed in range(n):
        torch.manual_seed(seed)
        localizer = bm.Localizer(cohort.task)
        localizer.prepare(cohort)
        made.append(Loss(localizer).to(device).train())
    return made


def in_turn(models: list[Loss], batches: list[Batch], dtype: torch.dtype) -> Callable[[], list[float]]:
    optimizers = [torch.optim.AdamW(model.parameters(), lr=LR) for model in models]

    def train() -> list[float]:
        last = []
        for model, optimizer in zip(models, optimizers, strict=True):
            for batch in batches:
                optimizer.zero_grad(set_to_none=True)
                with torch.autocast(batch[0].device.type, dtype, enabled=dtype != torch.float32):
                    loss = model(*batch)
                loss.backward()
                optimizer.step()
            last.append(loss.item())
        return last

    return train


def stacked(models: list[Loss], batches: list[Batch], dtype: torch.dtype) -> Callable[[], list[float]]:
    parameters, buffers = stack_module_state(models)
    shell = copy.deepcopy(models[0]).to("meta")
    optimizer = torch.optim.AdamW(parameters.values(), lr=LR)

    def loss(one: dict, its_buffers: dict, batch: Batch) -> torch.Tensor:
        return functional_call(shell, (one, its_buffers), batch)

    gradients = vmap(grad_and_value(loss), in_dims=(0, 0, None))

    def train() -> list[float]:
        for batch in batches:
            with torch.autocast(batch[0].device.type, dtype, enabled=dtype != torch.float32):
                found, losses = gradients(parameters, buffers, batch)
            for name, parameter in parameters.items():
                parameter.grad = found[name]
            optimizer.step()
        return losses.tolist()

    return train


def some(cohort: bm.Cohort, batch_size: int, steps: int, device: str) -> list[Batch]:
    arrays = (cohort.images[:, None], cohort.weights, cohort.values)
    data = [torch.as_tensor(a, dtype=torch.float32, device=device) for a in arrays]
    whole = len(cohort) // batch_size
    rows = [slice(i % whole * batch_size, (i % whole + 1) * batch_size) for i in range(steps)]
    return [tuple(a[r] for a in data) for r in rows]


def main() -> None:
    asked = command(__doc__, models=4)
    device, models = asked.device, 2 if asked.quick else asked.models
    size, batch_size, steps = (48, 4, 2) if asked.quick else (128, 8, 12)
    finish = getattr(torch, device).synchronize if device != "cpu" else int
    cohort = bm.phantoms.draw("pma", 2 * batch_size, seed=0, size=size)
    batches = some(cohort, batch_size, steps, device)
    first = [f(localizers(cohort, models, device), batches[:2], torch.float32)() for f in (in_turn, stacked)]
    if not all(math.isclose(a, b, rel_tol=1e-3) for a, b in zip(*first, strict=True)):
        raise SystemExit(f"stacked models differ from models in turn ({first}): nothing was measured.")
    rows, impossible = [], {}
    for name, dtype in {"fp32": torch.float32, "bf16": torch.bfloat16}.items():
        ways = {
            OURS: in_turn(localizers(cohort, models, device), batches, dtype),
            "stacked by torch.func": stacked(localizers(cohort, models, device), batches, dtype),
        }
        try:
            ways["stacked by torch.func"]()
        except RuntimeError as error:  # PyTorch's batch normalisation, stacked and in mixed precision, on CPUs
            impossible[name] = str(error).splitlines()[0]
            continue
        of = {"models": models, "precision": name, "steps": steps}
        rows += [of | row for row in take(ways, turns=5, finish=finish)]
    keep(asked, "together", rows, impossible=impossible)


if __name__ == "__main__":
    main()
