"""The Agatston score of coronary calcium, with every convention a parameter and a name.

The score is a sum over lesions of area times a density factor, and so it is a sum over voxels: :func:`weights` says
what each would add. What a lesion is differs between scanners, papers and programs, and so do scores: see
:class:`Rules` and :data:`PRESETS`, and :func:`findings` for what the acquisition itself does to a score.
"""

from biomark.agatston.checks import findings
from biomark.agatston.rules import PRESETS, RISK_SCHEMES, RiskScheme, Rules, risk_group, threshold_hu
from biomark.agatston.scoring import lesions, mass_score, score, weights

__all__ = [
    "PRESETS",
    "RISK_SCHEMES",
    "RiskScheme",
    "Rules",
    "findings",
    "lesions",
    "mass_score",
    "risk_group",
    "score",
    "threshold_hu",
    "weights",
]
