"""Learn where a biomarker comes from when only its number is known.

The method is loaded here, the wings (`biomark.scans`, `biomark.evaluation` ...) when they are first named.
"""

from importlib import import_module
from typing import Any

from biomark import agatston, backbones, candidates, losses
from biomark.baselines import DirectRegressor, Segmenter, SizeConstrained
from biomark.cohort import Case, Cohort
from biomark.localizer import Localization, Localizer, load, predict
from biomark.losses import SumLoss
from biomark.tasks import TASKS, Task
from biomark.training import History, fit, fit_once
from biomark.version import __version__

# Name: the module that it is, or the module that has it.
_MODULES = {
    "conformal": "uncertainty.conformal",
    "datasets": "datasets",
    "delivery": "delivery",
    "evaluation": "evaluation",
    "manifests": "manifests",
    "metrics": "evaluation.metrics",
    "perturbations": "evaluation.perturbations",
    "phantoms": "phantoms",
    "post_hoc": "evaluation.post_hoc",
    "records": "records",
    "scans": "scans",
    "statistics": "evaluation.statistics",
    "uncertainty": "uncertainty",
    "viz": "viz",
}
_MEMBERS = {
    "Comparison": "evaluation.comparison",
    "Consensus": "uncertainty.ensemble",
    "Ensemble": "uncertainty.ensemble",
    "Inspection": "uncertainty.inspector",
    "Inspector": "uncertainty.inspector",
    "Reliability": "evaluation.calibration",
    "Report": "evaluation.report",
    "compare": "evaluation.comparison",
    "evaluate": "evaluation.report",
    "reliability": "evaluation.calibration",
}

__all__ = [
    "TASKS",
    "Case",
    "Cohort",
    "DirectRegressor",
    "History",
    "Localization",
    "Localizer",
    "Segmenter",
    "SizeConstrained",
    "SumLoss",
    "Task",
    "__version__",
    "agatston",
    "backbones",
    "candidates",
    "fit",
    "fit_once",
    "load",
    "losses",
    "predict",
    *_MODULES,
    *_MEMBERS,
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"biomark.{_MODULES[name]}")
    if name in _MEMBERS:
        return getattr(import_module(f"biomark.{_MEMBERS[name]}"), name)
    raise AttributeError(f"module 'biomark' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
