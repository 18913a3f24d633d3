"""Draw the picture of the README and the front page: the method in one look. Run it as `make hero`.

The model is that of chapter 7 with its default parameters, taken from the runs folder when it has been trained before.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import torch

import biomark as bm
from biomark import viz

BOOK = Path(__file__).resolve().parent


def defaults(chapter: str) -> dict:
    """Return the parameters that a chapter declares."""
    cells = nbformat.read(BOOK / f"{chapter}.ipynb", as_version=4).cells
    namespace: dict = {}
    exec(
        next(c.source for c in cells if "parameters" in c.metadata.get("tags", [])),
        namespace,
    )
    return namespace


def main() -> None:
    """Train or take the model, and write `_static/hero.png`."""
    p = defaults("07-subcutaneous-fat")
    task = bm.TASKS["sfa"]
    train = bm.phantoms.draw(
        task.key, p["n_train"], seed=p["seed"], size=p["size"]
    ).without_masks()
    torch.manual_seed(p["seed"])
    model = bm.Localizer(task, backbone=p["backbone"], width=p["width"])
    settings = {k: p[k] for k in ("epochs", "batch_size", "seed", "device")}
    bm.fit_once(
        model,
        train,
        loss=bm.SumLoss(),
        optimizer=bm.Muon(p["lr"], p["rest"]),
        **settings,
    )
    case = bm.phantoms.draw(task.key, 12, seed=77, size=p["size"]).voxels(7)
    found = model.locate(case)

    viz.use_style()
    figure, axes = plt.subplots(1, 3, figsize=(9.0, 2.85))
    viz.localization(axes, case, found, task.unit)
    titles = (
        "an image",
        "what could count",
        f"found {found.value:.0f}, true {case.value:.0f} {viz.pretty(task.unit)}",
    )
    for ax, title in zip(axes, titles, strict=True):
        ax.set_title(title, fontsize=16)  # read on a phone too
    figure.savefig(BOOK / "_static" / "hero.png", dpi=150, facecolor="white")


if __name__ == "__main__":
    main()
