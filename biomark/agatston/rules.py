"""The conventions of an Agatston score, each a field; the sets of them in use; and the groups a score is reported in.

"Agatston score" is not one function: programs differ in what a lesion is, which lesions are too small, and whether they
correct for slices other than 3 mm. The scorer has no convention of its own: the caller names one.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass, replace
from typing import Any

_CHOICES = {
    "connectivity": (4, 8, 6, 18, 26),
    "area_comparison": ("at least", "more than", "rounded"),
    "peak": ("component", "slice"),
}
# Lowest peak, HU, of the factors 1, 2, 3 and 4 by tube voltage, as CalciumScoring.jl lists them (src/agatston.jl,
# 2024-03-18). It names Graeni et al., Eur Heart J Cardiovasc Imaging 2018;19:1362-71; not checked against the paper.
_DENSITY_CUTS_HU: dict[float, tuple[float, ...]] = {
    70: (207.0, 318.0, 477.0, 636.0),
    80: (177.0, 271.0, 408.0, 544.0),
    100: (145.0, 222.0, 334.0, 446.0),
    120: (130.0, 199.0, 299.0, 399.0),
    135: (119.0, 183.0, 274.0, 364.0),
}


def threshold_hu(kvp: float) -> float:
    """Lowest HU of calcium by tube voltage, ``round(378 exp(-0.009 kV))``: 128 at 120 kV, 154 at 100 kV.

    The formula is that of CalciumScoring.jl (src/agatston.jl), where a voxel must lie *above* it. Not checked against
    the paper it names (Graeni et al. 2018).

    Raises:
        ValueError: The voltage is not one of CT.
    """
    if not 40 <= kvp <= 160:
        raise ValueError(f"the tube voltage is {kvp}, but CT uses 70 to 150 kV: give it in kV.")
    return float(round(378 * math.exp(-0.009 * kvp)))


@dataclass(frozen=True)
class Rules:
    """One convention; the defaults are the definition of 1990.

    A *component* is a set of connected candidate voxels. It counts when it is large enough, and it then adds the area
    of its voxels, times a density factor that its peak decides, to the score.

    Attributes:
        name: Printed with results.
        threshold_hu: Lowest value of a candidate voxel.
        threshold_included: Whether a voxel of exactly ``threshold_hu`` is one.
        maximum_hu: Highest value of a candidate voxel, included; None for no limit.
        connectivity: Neighbours of a voxel: 4 or 8 for components within a slice, 6, 18 or 26 within the volume.
        minimum_area_mm2: Area of the smallest component; 0 for components within the volume.
        area_comparison: ``"at least"`` that area; ``"more than"`` it; or ``"rounded"``: at least that area divided by a
            pixel's, rounded to whole pixels, and where that is no more than one, every pixel is its own component.
        minimum_voxels: Voxels of the smallest component.
        minimum_volume_mm3: Volume of the smallest component.
        maximum_volume_mm3: Volume of the largest component; None for no limit.
        density_cuts_hu: Lowest peak of factor 1, 2, 3 and 4. A component whose peak is below the first adds nothing.
        peak: Highest value of the whole ``"component"``, or of its part in each ``"slice"``.
        reference_spacing_mm: The score is multiplied by slice spacing over this; None: it is not.
        voxel_decimals: Decimals that the value of a voxel (mm2, times the factor above) is rounded to, or None.
        lesion_decimals: Decimals that the score of a component is rounded to, or None. Halves go to the even side.
        kvp: Tube voltage that the HU limits hold for.
        source: Where the convention is written down.
    """

    name: str = "custom"
    threshold_hu: float = 130.0
    threshold_included: bool = True
    maximum_hu: float | None = None
    connectivity: int = 8
    minimum_area_mm2: float = 1.0
    area_comparison: str = "at least"
    minimum_voxels: int = 1
    minimum_volume_mm3: float = 0.0
    maximum_volume_mm3: float | None = None
    density_cuts_hu: tuple[float, ...] = (130.0, 200.0, 300.0, 400.0)
    peak: str = "component"
    reference_spacing_mm: float | None = None
    voxel_decimals: int | None = None
    lesion_decimals: int | None = None
    kvp: float = 120.0
    source: str = ""

    def __post_init__(self) -> None:
        for field, choices in _CHOICES.items():
            if getattr(self, field) not in choices:
                raise ValueError(f"{field} is {getattr(self, field)!r}: choose one of {', '.join(map(repr, choices))}.")
        if not math.isfinite(self.threshold_hu):
            raise ValueError(f"threshold_hu is {self.threshold_hu}: give a finite number of Hounsfield units.")
        if self.dimension == 3 and self.minimum_area_mm2:
            raise ValueError(
                f"minimum_area_mm2 is {self.minimum_area_mm2:g}, but components of connectivity {self.connectivity} "
                "are volumes: set it to 0 and give minimum_volume_mm3 or minimum_voxels."
            )
        if list(self.density_cuts_hu) != sorted(self.density_cuts_hu) or not self.density_cuts_hu:
            raise ValueError(f"density_cuts_hu must be increasing limits in HU, but they are {self.density_cuts_hu}.")
        if self.reference_spacing_mm is not None and not self.reference_spacing_mm > 0:
            raise ValueError(f"reference_spacing_mm is {self.reference_spacing_mm}: give mm above 0, or None.")

    @property
    def dimension(self) -> int:
        """2 when components lie within a slice, 3 when they reach through the volume."""
        return 2 if self.connectivity in (4, 8) else 3

    def at_kvp(self, kvp: float) -> Rules:
        """These rules for a tube voltage of 70, 80, 100, 120 or 135 kV; unchanged for their own voltage.

        As in CalciumScoring.jl, the threshold becomes :func:`threshold_hu`, which a voxel must exceed, and the density
        cuts are those of its table.

        Raises:
            ValueError: No limits are listed for this voltage.
        """
        if kvp not in _DENSITY_CUTS_HU:
            known = ", ".join(map(str, _DENSITY_CUTS_HU))
            raise ValueError(f"no HU limits are listed for {kvp} kV, only for {known}: write your own as Rules(...).")
        if kvp == self.kvp:
            return self
        limits: dict[str, Any] = {"threshold_hu": threshold_hu(kvp), "density_cuts_hu": _DENSITY_CUTS_HU[kvp]}
        return replace(self, name=f"{self.name} at {kvp:g} kV", kvp=float(kvp), threshold_included=False, **limits)


PRESETS: dict[str, Rules] = {
    rules.name: rules
    for rules in (
        Rules(
            "agatston1990",
            source="Agatston et al., J Am Coll Cardiol 1990;15:827-32, for 20 contiguous slices of 3 mm: >= 130 HU, "
            ">= 1 mm2, factors 1 to 4 from 130, 200, 300 and 400 HU. Known to us from quotations, none of which says "
            "what connected means: 8 neighbours is our choice, and it matters by about 3 %.",
        ),
        Rules(
            "dz3",
            reference_spacing_mm=3.0,
            source="agatston1990 times slice spacing / 3 mm: the usual equivalent score where slices are not 3 mm "
            "apart. Equal to agatston1990 where they are.",
        ),
        Rules(
            "deepcac",
            minimum_area_mm2=0.0,
            minimum_voxels=4,
            reference_spacing_mm=3.0,
            voxel_decimals=3,
            lesion_decimals=3,
            source="AIM-Harvard/DeepCAC, src/run_step4_cac_scoring.py (2021): objects of 3 pixels or fewer are "
            "dropped. It scores a mask as given, also below 130 HU; here such voxels are left out.",
        ),
        Rules(
            "qurai",
            connectivity=26,
            minimum_area_mm2=0.0,
            minimum_volume_mm3=1.5,
            peak="slice",
            reference_spacing_mm=3.0,
            source="qurAI-amsterdam/calcium-scoring, src/calciumscoring/scores.py (2022), of which we read a port by "
            "others; the smallest volume is from our notes on the original.",
        ),
        Rules(
            "slicercip",
            maximum_hu=1000.0,
            connectivity=26,
            minimum_area_mm2=0.0,
            minimum_volume_mm3=1.0,
            maximum_volume_mm3=500.0,
            source="acil-bwh/SlicerCIP, Scripted/CIP_CalciumScoring/CIP_CalciumScoring.py (2023), default settings.",
        ),
        Rules(
            "ai_cac",
            connectivity=6,
            minimum_area_mm2=0.0,
            minimum_voxels=2,
            reference_spacing_mm=3.0,
            lesion_decimals=0,
            source="Raffi-Hagopian/AI-CAC, processing.py, as its inference calls it (issue #8): single voxels are "
            "dropped. It multiplies by SliceThickness / 3, here by slice spacing / 3: they differ where slices "
            "overlap. It scores a mask as given, also below 130 HU; here such voxels are left out.",
        ),
        Rules(
            "calciumscoring_jl",
            threshold_hu=threshold_hu(120),
            threshold_included=False,
            area_comparison="rounded",
            density_cuts_hu=_DENSITY_CUTS_HU[120],
            source="MolloiLab/CalciumScoring.jl, src/agatston.jl (2024): above 128 HU, factors from 130, 199, 299 and "
            "399 HU, other limits at other tube voltages (Rules.at_kvp).",
        ),
        Rules(
            "comp2comp",
            connectivity=4,
            area_comparison="more than",
            source="StanfordMIMI/Comp2Comp, comp2comp/aortic_calcium/aortic_calcium.py (2026), the score itself; its "
            "mask is filtered beforehand, which is not repeated here.",
        ),
    )
}
"""Conventions in use, by name. Restated from reading each source, not the sources' own code."""


def resolve_rules(rules: str | Rules) -> Rules:
    """The rules of a name in :data:`PRESETS`, or the rules themselves; ValueError for an unknown name."""
    if isinstance(rules, Rules):
        return rules
    if rules not in PRESETS:
        raise ValueError(f"unknown rules {rules!r}: choose one of {', '.join(PRESETS)}, or give a Rules(...).")
    return PRESETS[rules]


@dataclass(frozen=True)
class RiskScheme:
    """Named groups of scores, from low to high.

    Attributes:
        groups: Names, as the source prints them for whole scores.
        upper: Highest score of each group but the last.
        source: Where the groups are defined.
    """

    groups: tuple[str, ...]
    upper: tuple[float, ...]
    source: str


RISK_SCHEMES: dict[str, RiskScheme] = {
    "standard": RiskScheme(
        ("0", "1-10", "11-100", "101-400", ">400"),
        (0.0, 10.0, 100.0, 400.0),
        "Rumberger et al., Mayo Clin Proc 1999;74:243-52 [from memory]; the commonest grouping.",
    ),
    "deepcac": RiskScheme(
        ("0", "1-100", "101-300", ">300"),
        (0.0, 100.0, 300.0),
        "AIM-Harvard/DeepCAC, src/run_step4_cac_scoring.py, which also includes the limits.",
    ),
    "qurai": RiskScheme(
        ("0-10", "11-100", "101-1000", ">1000"),
        (10.0, 100.0, 1000.0),
        "qurAI-amsterdam/calcium-scoring [from our notes on it].",
    ),
    "cac-drs": RiskScheme(
        ("0", "1-99", "100-299", ">=300"),
        (0.0, math.nextafter(100, 0), math.nextafter(300, 0)),  # 100 and 300 are in the group above
        "CAC-DRS, Hecht et al., J Cardiovasc Comput Tomogr 2018;12:185-91 [limits from memory].",
    ),
}
"""Groupings in use, by name."""


def risk_group(score: float, scheme: str = "standard") -> str:
    """The group of a score, one of ``RISK_SCHEMES[scheme].groups``.

    Sources print whole numbers and leave scores between them open. Here a group includes its own upper limit: in the
    standard scheme 100 is in "11-100" and 100.2 in "101-400", and any score above 0 is at least in "1-10", because
    calcium was found. CAC-DRS prints the lower limits 100 and 300, so there 99.9 is in "1-99" and 100 in "100-299".

    Args:
        score: Agatston score, not rounded.
        scheme: A name in :data:`RISK_SCHEMES`.

    Raises:
        ValueError: The scheme is unknown, or the score is negative or not a number.

    >>> risk_group(100.2), risk_group(99.9, "cac-drs")
    ('101-400', '1-99')
    """
    if scheme not in RISK_SCHEMES:
        raise ValueError(f"unknown risk scheme {scheme!r}: choose one of {', '.join(RISK_SCHEMES)}.")
    if not score >= 0:
        raise ValueError(f"a score of {score} has no risk group: scores are 0 or more.")
    return RISK_SCHEMES[scheme].groups[bisect_left(RISK_SCHEMES[scheme].upper, score)]
