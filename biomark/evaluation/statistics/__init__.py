"""How well predicted values agree with known ones, whether one model is better than another, and how sure that is.

An interval is part of its number: an :class:`Estimate` is a float that also knows its ``low`` and ``high``. What cannot
be said (the correlation of a constant, say) is nan, and a nan among the values makes everything nan that rests on them.

>>> from biomark import statistics
>>> statistics.williams(predicted, by_another_model, known).pvalue  # doctest: +SKIP
0.0021
"""

from biomark.evaluation.statistics import vectorised
from biomark.evaluation.statistics.agreement import Agreement, bland_altman, bland_altman_ratio, concordance, icc, kappa
from biomark.evaluation.statistics.correlation import pearson, spearman, steiger, williams, zou
from biomark.evaluation.statistics.resampling import bootstrap, holm, mean, permutation
from biomark.evaluation.statistics.results import Estimate, Significance

__all__ = [
    "Agreement",
    "Estimate",
    "Significance",
    "vectorised",
    "bland_altman",
    "bland_altman_ratio",
    "bootstrap",
    "concordance",
    "holm",
    "icc",
    "kappa",
    "mean",
    "pearson",
    "permutation",
    "spearman",
    "steiger",
    "williams",
    "zou",
]
