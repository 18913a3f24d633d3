"""Learn where a biomarker comes from when only its number is known."""

from . import (
    agatston,
    attribution,
    backbones,
    candidates,
    claim,
    conformal,
    losses,
    metrics,
    novelty,
    phantoms,
    provenance,
    records,
    scans,
    statistics,
    stress,
)
from .baselines import DirectRegressor, Segmenter, SizeConstrained
from .calibration import Reliability, reliability
from .cohort import Case, Cohort
from .comparison import Comparison, compare
from .ensemble import Consensus, Ensemble
from .evaluation import Report, evaluate
from .inspection import Inspection, Inspector
from .localizer import Localizer
from .model import Localization, predict
from .tasks import TASKS, Task
from .training import History, fit, fit_once
from .version import __version__

__all__ = [
    "TASKS",
    "Case",
    "Cohort",
    "Comparison",
    "Consensus",
    "DirectRegressor",
    "Ensemble",
    "History",
    "Inspection",
    "Inspector",
    "Localization",
    "Localizer",
    "Reliability",
    "Report",
    "Segmenter",
    "SizeConstrained",
    "Task",
    "__version__",
    "agatston",
    "attribution",
    "backbones",
    "candidates",
    "claim",
    "compare",
    "conformal",
    "evaluate",
    "fit",
    "fit_once",
    "losses",
    "metrics",
    "novelty",
    "phantoms",
    "predict",
    "provenance",
    "records",
    "reliability",
    "scans",
    "statistics",
    "stress",
]
