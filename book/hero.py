"""Draw the pictures of README and front page, with the models that come with the library.

`make hero` draws the phantom, `_static/hero.png`, which is kept with the book. `make book` and `make preview` draw the
patient, `_static/patient.png`, which is not: whoever builds the book fetches the public chest. Where it cannot be had,
a phantom stands in, and the picture says so.
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt

import biomark as bm
from biomark import viz

STATIC = Path(__file__).resolve().parent / "_static"


def draw_phantom() -> None:
    """A phantom, its candidates, and the map of its fat; one of twelve, chosen because all three are seen well."""
    case = bm.phantoms.draw("sfa", 12, seed=77).voxels(7)
    found = bm.pretrained("sfa").locate(case)
    figure, axes = plt.subplots(1, 3, figsize=(9.0, 2.85))
    viz.localization(axes, case, found, "cm2")
    found_cm2 = (
        f"found {found.value:.0f}, true {case.value:.0f} {viz.pretty('cm2')}"
    )
    for ax, title in zip(
        axes, ("an image", "what could count", found_cm2), strict=True
    ):
        ax.set_title(title, fontsize=16)  # read on a phone too
    figure.savefig(STATIC / "hero.png", dpi=150, facecolor="white")


def draw_patient() -> None:
    """The public chest at the aortic arch: the slice, the pectoral muscle and the fat that the models find."""
    try:
        scan = bm.scans.read(bm.scans.sample("chest"))
        level = bm.scans.arch_slice(scan).index
        whose, cases = (
            "a patient",
            {key: scan.case(bm.TASKS[key], level) for key in ("pma", "sfa")},
        )
    except bm.scans.SampleUnavailable as error:
        print(error, "A phantom stands in.")
        whose, cases = (
            "a phantom",
            {
                key: bm.phantoms.draw(key, 1, seed=77).voxels(0)
                for key in ("pma", "sfa")
            },
        )
    figure, axes = plt.subplots(1, 3, figsize=(9.0, 2.85))
    titles = {"pma": "pectoral muscle", "sfa": "fat under the skin"}
    box = viz.body_box(cases["pma"])
    mm = cases["pma"].spacing_mm
    viz.show_slice(axes[0], cases["pma"].image[box], mm, title=whose)
    for ax, (key, case) in zip(axes[1:], cases.items(), strict=True):
        found = bm.pretrained(key).locate(case)
        viz.show_slice(
            ax,
            case.image[box],
            mm,
            title=f"{titles[key]}, {found.value:.0f} cm²",
            bar_cm=0,
        )
        viz.shade(ax, found.mask[box], mm)
    for ax in axes:
        ax.title.set_fontsize(14)
    figure.savefig(STATIC / "patient.png", dpi=150, facecolor="white")


if __name__ == "__main__":
    viz.use_style()
    draw_patient() if sys.argv[1:] == ["patient"] else draw_phantom()
