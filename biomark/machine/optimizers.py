"""A step of training: a model under its loss, orthogonalised momentum for convolutions, and the rates' course."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic iteration that brings all singular values near 1 (Jordan et al., Muon, 2024)."""

ITERATIONS = 5
"""After so many, singular values from 0.01 of the largest on lie between 0.7 and 1.2 (the same source)."""

RISE = 0.21
"""Share of the training in which learning rates rise. Ours."""


def orthogonalise(matrix: Tensor) -> Tensor:
    """The matrix with its singular values brought near 1, in float32: ``(M, N) -> (M, N)``."""
    a, b, c = NEWTON_SCHULZ
    wide = matrix.float() / (torch.linalg.matrix_norm(matrix.float()) + 1e-7)
    if tall := matrix.shape[0] > matrix.shape[1]:
        wide = wide.T
    for _ in range(ITERATIONS):
        gram = wide @ wide.T
        wide = a * wide + (b * gram + c * gram @ gram) @ wide
    return wide.T if tall else wide


class Orthogonalised(torch.optim.AdamW):
    """AdamW whose first group of parameters, convolutions, takes orthogonalised steps instead; made by :class:`Muon`.

    The update of a convolution is that of its matrix ``(out, in * kernel)``, so that what few cases say is heard as
    well as what all say. Ours, because the known implementations iterate in bfloat16 or refuse convolutions.
    """

    def __init__(self, convolutions: list[nn.Parameter], rest: list[nn.Parameter], lr: float, rest_lr: float) -> None:
        groups = [{"params": convolutions, "lr": lr, "momentum": 0.95}, {"params": rest, "lr": rest_lr}]
        super().__init__(groups, weight_decay=1e-4, fused=all(p.device.type != "mps" for p in rest))
        # A gradient scaler must skip the whole step where a gradient is infinite, not the fused half of it.
        self._step_supports_amp_scaling = False

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # nobody here gives a closure
        """One step of both groups."""
        groups = self.param_groups
        for parameter in groups[0]["params"]:
            if parameter.grad is None:
                continue
            # `reshape`, for filters lie in memory with their channels last.
            gradient, state = parameter.grad.reshape(len(parameter), -1), self.state[parameter]
            if not state:
                # AdamW looks for a step in every state that it is given back.
                state |= {"step": torch.zeros(()), "momentum": torch.zeros_like(gradient)}
            momentum = groups[0]["momentum"]
            state["momentum"].lerp_(gradient, 1 - momentum)
            update = orthogonalise(gradient.lerp(state["momentum"], momentum))  # Nesterov's look ahead
            longer = max(1.0, update.shape[0] / update.shape[1]) ** 0.5
            parameter.sub_((groups[0]["lr"] * longer * update).reshape(parameter.shape))
        self.param_groups = groups[1:]
        try:
            super().step()
        finally:
            self.param_groups = groups


@dataclass(frozen=True)
class AdamW:
    """Makes the optimizer of a model: AdamW for all of it (Loshchilov and Hutter 2019), decay 1e-4.

    Attributes:
        lr: Highest learning rate.
    """

    lr: float = 0.003

    def __post_init__(self) -> None:
        for name, rate in vars(self).items():
            if not (isinstance(rate, (int, float)) and 0 <= rate < math.inf):
                raise ValueError(f"{type(self).__name__} needs a learning rate {name} >= 0, got {rate!r}.")

    def __call__(self, model: nn.Module) -> torch.optim.Optimizer:
        """The optimizer of a model's parameters."""
        parameters = list(model.parameters())
        on_mps = any(p.device.type == "mps" for p in parameters)
        return torch.optim.AdamW(parameters, lr=self.lr, weight_decay=1e-4, fused=not on_mps)


@dataclass(frozen=True)
class Muon(AdamW):
    """Makes the optimizer of a model: orthogonalised steps for its convolutions, AdamW for all else.

    The first convolution, which sees the image, and the last, the head, are of the rest, as are biases and norms.

    Attributes:
        lr: Highest learning rate of the convolutions.
        rest: Highest learning rate of the rest.
    """

    lr: float = 0.02
    rest: float = 0.003

    def __call__(self, model: nn.Module) -> torch.optim.Optimizer:
        """The optimizer of a model's parameters."""
        filters = [m.weight for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Conv3d))]
        inner = {id(w) for w in filters[1:-1] if min(w.shape[:2]) > 1}
        convolutions = [p for p in model.parameters() if id(p) in inner]
        rest = [p for p in model.parameters() if id(p) not in inner]
        return Orthogonalised(convolutions, rest, self.lr, self.rest)


def one_cycle(optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    """Rates that rise linearly to the optimizer's, and fall to 0 by a cosine, in the steps of the whole training."""

    def share(step: int) -> float:
        rise = RISE * steps
        if step < rise:
            return min(1.0, (step + 1) / rise)
        return (1 + math.cos(math.pi * (step - rise) / (steps - rise))) / 2

    return torch.optim.lr_scheduler.LambdaLR(optimizer, share)


def highest_lr(optimizer: Any) -> float:
    """The highest learning rate that an optimizer with a schedule comes to."""
    return max(float(group["initial_lr"]) for group in optimizer.param_groups)


def set_up(fabric: Any, objective: Objective, optimizer: Any, steps: int) -> tuple[Any, Any, Any]:
    """What is trained, its optimizer and the schedule of its learning rates, on the device and joined over processes.

    Args:
        fabric: What trains.
        objective: The model with its loss.
        optimizer: Makes one of the model.
        steps: Of the whole training.

    Raises:
        ValueError: ``optimizer`` makes none, or one of another model.
    """
    if fabric.device.type == "mps":  # which is no faster with channels last
        objective.model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # torch's stub lacks it
    joined, made = fabric.setup(objective, _made_by(optimizer, objective.model))
    return joined, made, one_cycle(made, steps)


def _made_by(optimizer: Any, model: nn.Module) -> torch.optim.Optimizer:
    """The optimizer that a callable makes of a model, if it is one and of that model."""
    advice = "give one such as Muon(), or lambda model: torch.optim.SGD(model.parameters(), 0.01)."
    if not callable(optimizer) or optimizer in (AdamW, Muon, *vars(torch.optim).values()):
        raise ValueError(f"optimizer={optimizer!r} does not make an optimizer of a model: {advice}")
    made = optimizer(model)
    if not isinstance(made, torch.optim.Optimizer):
        raise ValueError(f"optimizer made a {type(made).__name__} of the model, not a torch optimizer: {advice}")
    known = {id(parameter) for parameter in model.parameters()}
    if not any(id(parameter) in known for group in made.param_groups for parameter in group["params"]):
        raise ValueError(f"optimizer made a {type(made).__name__} of nothing in this model: {advice}")
    return made


def call(model: nn.Module, images_hu: Tensor, weights: Tensor, sizes: Tensor | None) -> Any:
    """What a model finds, told the sizes of the boxes where it asks for them."""
    more = (sizes,) if getattr(model, "needs_sizes", False) else ()
    return model(images_hu, weights, *more)


class _Told:
    """A model as a loss sees it, which calls it with images and weights: the sizes of the boxes go along."""

    def __init__(self, model: nn.Module, sizes: Tensor) -> None:
        self._model, self._sizes = model, sizes

    def __call__(self, images_hu: Tensor, weights: Tensor) -> Any:
        return call(self._model, images_hu, weights, self._sizes)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


class Objective(nn.Module):
    """A model with its loss, so that what one step computes is one forward pass, on however many processes."""

    model: nn.Module

    def __init__(self, model: nn.Module, loss: Any) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(
        self, images_hu: Tensor, weights: Tensor, values: Tensor, sizes: Tensor, *truth: Tensor, progress: float
    ) -> Tensor:
        """The loss of a batch; arguments as of :class:`biomark.SumLoss`, with the sizes of the boxes, ``(N,)``.

        Raises:
            ValueError: It is not one number with a gradient.
        """
        model = _Told(self.model, sizes) if getattr(self.model, "needs_sizes", False) else self.model
        found = self.loss(model, images_hu, weights, values, *truth, progress=progress)
        if not (isinstance(found, Tensor) and found.ndim == 0 and found.requires_grad):
            raise ValueError("the loss of a batch is not one number with a gradient: give fit a loss for such a model.")
        return found
