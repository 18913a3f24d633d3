"""Manifests of public data sets, from the folders in which they are downloaded.

Nothing is downloaded, and each function names licence, access and citation: read the owner's page first.

>>> table = public_sets.msd_liver("Task03_Liver")  # doctest: +SKIP
>>> table.to_csv("liver.csv", index=False)  # doctest: +SKIP
>>> cohort = bm.scans.read_manifest("liver.csv", "liver", root="Task03_Liver")  # doctest: +SKIP
"""

from biomark.scans.public_sets.calcium import coca_gated, coca_nongated
from biomark.scans.public_sets.fat import saros, totalsegmentator
from biomark.scans.public_sets.ircadb import ircadb
from biomark.scans.public_sets.liver import lits, msd_liver
from biomark.scans.public_sets.orcascore import orcascore
from biomark.scans.public_sets.tcia import tcia

__all__ = [
    "coca_gated",
    "coca_nongated",
    "ircadb",
    "lits",
    "msd_liver",
    "orcascore",
    "saros",
    "tcia",
    "totalsegmentator",
]
