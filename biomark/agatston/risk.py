"""Groups that a score is reported in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RiskScheme:
    """Named groups of scores, from low to high.

    Attributes:
        groups: Names, as the source prints them for whole scores.
        upper: Upper limit of each group but the last.
        upper_included: Whether a score of exactly that limit belongs to the group below it.
        source: Where the groups are defined.
    """

    groups: tuple[str, ...]
    upper: tuple[float, ...]
    upper_included: tuple[bool, ...]
    source: str


RISK_SCHEMES: dict[str, RiskScheme] = {
    "standard": RiskScheme(
        ("0", "1-10", "11-100", "101-400", ">400"),
        (0.0, 10.0, 100.0, 400.0),
        (True, True, True, True),
        "Rumberger et al., Mayo Clin Proc 1999;74:243-52 [from memory]; the commonest grouping.",
    ),
    "deepcac": RiskScheme(
        ("0", "1-100", "101-300", ">300"),
        (0.0, 100.0, 300.0),
        (True, True, True),
        "AIM-Harvard/DeepCAC, src/run_step4_cac_scoring.py, which also takes limits as included.",
    ),
    "qurai": RiskScheme(
        ("0-10", "11-100", "101-1000", ">1000"),
        (10.0, 100.0, 1000.0),
        (True, True, True),
        "qurAI-amsterdam/calcium-scoring [from our notes on it].",
    ),
    "cac-drs": RiskScheme(
        ("0", "1-99", "100-299", ">=300"),
        (0.0, 100.0, 300.0),
        (True, False, False),
        "CAC-DRS, Hecht et al., J Cardiovasc Comput Tomogr 2018;12:185-91 [limits from memory].",
    ),
}
"""Groupings in use, by name."""


def risk_group(score: float, scheme: str = "standard") -> str:
    """The group of a score.

    Sources print whole numbers and leave scores between them open; here every score of 0 or more has a group. A group
    reaches up to its own upper limit and includes it: in the standard scheme 100 is in "11-100" and 100.2 in
    "101-400", and any score above 0 is at least in "1-10", because calcium was found. CAC-DRS prints the lower limits
    100 and 300, so there 99.9 is in "1-99" and 100 in "100-299".

    Args:
        score: Agatston score, not rounded.
        scheme: A name in :data:`RISK_SCHEMES`.

    Returns:
        One of ``RISK_SCHEMES[scheme].groups``, whose order is from low to high.

    Raises:
        ValueError: The scheme is unknown, or the score is negative or not a number.

    >>> risk_group(100.2), risk_group(99.9, "cac-drs")
    ('101-400', '1-99')
    """
    if scheme not in RISK_SCHEMES:
        raise ValueError(f"there is no risk scheme {scheme!r}; choose one of {', '.join(RISK_SCHEMES)}.")
    if not score >= 0:
        raise ValueError(f"a score of {score} has no risk group: scores are 0 or more.")
    groups = RISK_SCHEMES[scheme]
    for group, upper, included in zip(groups.groups, groups.upper, groups.upper_included, strict=False):
        if score < upper or (included and score == upper):
            return group
    return groups.groups[-1]
