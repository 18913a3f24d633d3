"""Arrays with a header in a safetensors file: there whole or not at all, and nothing in it is ever executed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import torch

from biomark.machine.files import DAMAGE, atomic_write, expand


def write(path: str | os.PathLike, arrays: Mapping[str, Any], header: Mapping[str, Any], kind: str = "biomark") -> None:
    """Write arrays, all of numpy or all of torch, without gaps in memory, by name.

    ``header`` is what JSON can hold; ``kind`` its name in the file, by which :func:`read` knows what the file is.
    """
    import safetensors.numpy
    import safetensors.torch

    of_torch = all(isinstance(array, torch.Tensor) for array in arrays.values())
    save: Any = safetensors.torch.save if of_torch else safetensors.numpy.save
    with atomic_write(path) as partial:
        # Not `save_file`: its files may be read by their owner alone, and these are there to be handed on.
        partial.write_bytes(save(dict(arrays), {kind: json.dumps(header)}))


def read(
    path: str | os.PathLike, what: str, kind: str = "biomark", framework: str = "pt"
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and arrays.

    Args:
        path: The file.
        what: What it should hold, in words, for errors.
        kind: As given to :func:`write`.
        framework: ``"pt"`` for tensors, ``"np"`` for arrays.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It holds something else.
    """
    from safetensors import SafetensorError, safe_open

    path = expand(path)
    if not path.is_file():
        raise FileNotFoundError(f"no {what} at {path}: save one there first.")
    try:
        with safe_open(path, framework=framework) as file:
            header = json.loads((file.metadata() or {})[kind])
            if not isinstance(header, dict):
                raise ValueError("its header is no object")
            return header, {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    # A damaged file can make the parser raise nearly anything.
    except (SafetensorError, *DAMAGE) as error:
        raise ValueError(f"{path} is no {what} that biomark wrote ({error}).") from error


def refuse_broken(arrays: Mapping[str, Any], what: str) -> None:
    """Stop where the weights of ``what`` are no numbers; only the spacing of an untrained model is nan by design."""
    for name, weights in arrays.items():
        if name != "trained_spacing_mm" and not weights.isfinite().all():
            raise ValueError(f"{what} holds weights that are no numbers ({name}): train it again.")


def flatten(value: Any) -> tuple[Any, dict[str, Any]]:
    """Nested mappings and sequences, such as the state of an optimizer, as what JSON can hold and tensors by name."""
    tensors: dict[str, Any] = {}

    def part(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {"mapping": [[key, part(v)] for key, v in value.items()]}
        if isinstance(value, (list, tuple)):
            return {"sequence": [part(v) for v in value]}
        if isinstance(value, torch.Tensor):
            name, value = str(len(tensors)), value.detach().cpu().clone()
            # The format knows neither the order of axes in memory, by which an optimizer reads, nor shared values.
            tensors[name] = value.contiguous()
            return {"tensor": [name, value.stride()]}
        return value

    return part(value), tensors


def rebuild(tree: Any, tensors: Mapping[str, Any]) -> Any:
    """The inverse of :func:`flatten`; tuples come back as lists."""
    if not isinstance(tree, dict):
        return tree
    ((kind, content),) = tree.items()
    if kind == "mapping":
        return {key: rebuild(value, tensors) for key, value in content}
    if kind == "sequence":
        return [rebuild(value, tensors) for value in content]
    name, stride = content
    last = sum((n - 1) * step for n, step in zip(tensors[name].shape, stride, strict=True))
    if last >= max(tensors[name].numel(), 1):  # before memory is asked for
        raise ValueError(f"tensor {name} has other steps than places")
    return torch.empty_strided(tensors[name].shape, stride, dtype=tensors[name].dtype).copy_(tensors[name])
