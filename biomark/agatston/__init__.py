"""The Agatston score of coronary calcium, with every convention a parameter and a name.

The score is a sum over lesions of area times a density factor, and so it is a sum over voxels: :func:`weights` says
what each would add. What a lesion is differs between scanners, papers and programs, and so do scores: see
:class:`Rules` and :data:`PRESETS`, and :func:`findings` for what the acquisition itself does to a score.

>>> from biomark import agatston
>>> agatston.score(scan.hu, mask, scan.spacing_mm, rules="dz3")  # doctest: +SKIP
412.7
"""

from biomark.agatston.acquisition import findings
from biomark.agatston.risk import RISK_SCHEMES, RiskScheme, risk_group
from biomark.agatston.rules import PRESETS, Rules, threshold_hu
from biomark.agatston.scoring import mass_score, score, volume_score, weights
from biomark.agatston.table import lesions

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
    "volume_score",
    "weights",
]
