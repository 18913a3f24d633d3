"""Learn where a biomarker comes from when only its number is known.

The method is loaded here, the wings (`biomark.scans`, `biomark.evaluation` ...) when they are first named.
"""

from importlib import import_module
from typing import Any

from biomark import agatston, backbones, candidates, grids, losses
from biomark.baselines import DirectRegressor, Segmenter, SizeConstrained
from biomark.cohort import Case, Cohort
from biomark.localizer import Localization, Localizer
from biomark.losses import SumLoss
from biomark.machine.optimizers import Muon
from biomark.tasks import TASKS, Task
from biomark.training import History, fit
from biomark.version import __version__

_EAGER = ("TASKS", "Case", "Cohort", "DirectRegressor", "History", "Localization", "Localizer", "Muon")
_EAGER += ("Segmenter", "SizeConstrained", "SumLoss", "Task", "agatston", "backbones", "candidates", "fit", "grids")
_EAGER += ("losses", "__version__")

# Public name: its module, and there the name that is meant, unless it is the module itself.
_LAZY = {
    "Comparison": "evaluation.comparison:Comparison",
    "Consensus": "uncertainty.ensemble:Consensus",
    "Ensemble": "uncertainty.ensemble:Ensemble",
    "Inspection": "uncertainty.inspector:Inspection",
    "Inspector": "uncertainty.inspector:Inspector",
    "Reliability": "evaluation.calibration:Reliability",
    "Report": "evaluation.report:Report",
    "compare": "evaluation.comparison:compare",
    "conformal": "uncertainty.conformal",
    "evaluate": "evaluation.report:evaluate",
    "fit_once": "records.trained:fit_once",
    "load": "records.trained:load",
    "metrics": "evaluation.metrics",
    "networks": "evaluation.networks",
    "perturbations": "evaluation.perturbations",
    "post_hoc": "evaluation.post_hoc",
    "predict": "evaluation.prediction:predict",
    "reliability": "evaluation.calibration:reliability",
    "statistics": "evaluation.statistics",
}
_WINGS = ("datasets", "delivery", "evaluation", "manifests", "phantoms", "records", "scans", "uncertainty", "viz")
_LAZY |= {name: name for name in _WINGS}

__all__ = [*_EAGER, *_LAZY]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'biomark' has no attribute {name!r}")
    module, _, member = _LAZY[name].partition(":")
    found = import_module(f"biomark.{module}")
    return getattr(found, member) if member else found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
