"""Learn where a biomarker comes from when only its number is known."""

from . import agatston, attribution, backbones, candidates, losses, metrics, phantoms, records, scans, statistics
from .baselines import DirectRegressor, Segmenter, SizeConstrained
from .cohort import Case, Cohort
from .comparison import Comparison, compare
from .evaluation import Report, evaluate, predict
from .localizer import Localizer
from .model import Localization
from .tasks import TASKS, Task
from .training import History, fit, fit_once
from .version import __version__

__all__ = [
    "TASKS",
    "Case",
    "Cohort",
    "Comparison",
    "DirectRegressor",
    "History",
    "Localization",
    "Localizer",
    "Report",
    "Segmenter",
    "SizeConstrained",
    "Task",
    "__version__",
    "agatston",
    "attribution",
    "backbones",
    "candidates",
    "compare",
    "evaluate",
    "fit",
    "fit_once",
    "losses",
    "metrics",
    "phantoms",
    "predict",
    "records",
    "scans",
    "statistics",
]
