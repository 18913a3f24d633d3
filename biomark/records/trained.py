"""Nothing is trained twice: models kept by a fingerprint of all that decides them."""

from __future__ import annotations

import hashlib
import json
import os
from inspect import signature
from pathlib import Path
from typing import Any

from torch import nn

from biomark.cohort import Cohort
from biomark.machine import devices, fingerprints, tensor_files
from biomark.machine.files import atomic_write, runs_folder
from biomark.training import History, chosen, fit, read_arrays

_DEFAULTS = {name: p.default for name, p in signature(fit).parameters.items() if p.default is not p.empty}


def fit_once(model: nn.Module, cohort: Cohort, *, folder: str | os.PathLike | None = None, **settings: Any) -> History:
    """:func:`fit`, unless the same has been trained before: then its weights are taken from the folder.

    "The same" is judged by fingerprints of the library's code, the initial weights, the data and the settings.

    Args:
        model: The model, trained in place. If its training was interrupted before, it goes on there.
        cohort: Training cases.
        folder: Where trained models are kept; ``runs_folder()`` of :mod:`biomark.records` by default.
        **settings: As for :func:`fit`, without ``checkpoint``.

    Returns:
        Its history, now or then.
    """
    if not (hasattr(model, "save") and hasattr(model, "restore")):
        raise ValueError(f"a {type(model).__name__} has no save and restore, as a biomark model has: train it by fit.")
    asked = (settings.get(name) for name in ("loss", "epochs", "batch_size", "lr"))
    loss, *numbers = chosen(model, cohort, *asked, settings.get("accumulate", 1))
    meant = _DEFAULTS | settings | dict.fromkeys(("progress", "loss", "epochs", "batch_size", "lr"))
    # The printed model tells apart networks of like weights, such as two dilations.
    parts = [fingerprints.of_code(*fingerprints.METHOD), repr(model), *map(fingerprints.of_rule, (loss, cohort.task))]
    parts += [fingerprints.of_model(model), fingerprints.of_weights(model)]
    parts += [
        fingerprints.of_arrays(read_arrays(loss, cohort), numbers, sorted(meant.items()))
    ]
    place = (
        Path(folder or runs_folder()).expanduser()
        / "trained"
        / hashlib.sha256("".join(parts).encode()).hexdigest()[:24]
    )
    weights, story = place / "model.safetensors", place / "history.json"
    if weights.exists() and story.exists():
        model.restore(tensor_files.read(weights, "model")[1]).to(devices.available(meant["device"]))
        return History(**json.loads(story.read_text()))
    history = fit(model, cohort, **settings, checkpoint=place / "checkpoint.pt")
    if devices.is_main_process():
        model.save(weights)
        with atomic_write(story) as partial:  # last: a folder with a history is complete
            partial.write_text(json.dumps(vars(history)))
        (place / "checkpoint.pt").unlink(missing_ok=True)  # another process may have been as fast
    devices.wait()
    return history
