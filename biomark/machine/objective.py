"""What one step of training computes: a model under its loss."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


def call(model: nn.Module, images_hu: Tensor, weights: Tensor, sizes: Tensor) -> Any:
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
