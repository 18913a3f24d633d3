"""Manifests of public data sets, from the folders in which they are downloaded.

Nothing is downloaded, and each function names licence, access and citation. Read the owner's page before use: terms
change. Paths in a manifest begin at ``root``; cases that could not be used stand with the reason in
``.attrs["set_aside"]``; ``progress`` shows a bar.

>>> table = bm.datasets.msd_liver("Task03_Liver")  # doctest: +SKIP
>>> table.to_csv("liver.csv", index=False)  # doctest: +SKIP
>>> cohort = bm.manifests.read("liver.csv", "liver", root="Task03_Liver")  # doctest: +SKIP
"""

from biomark.datasets.calcium import coca_gated, coca_nongated
from biomark.datasets.fat import saros, totalsegmentator
from biomark.datasets.ircadb import ircadb
from biomark.datasets.liver import lits, msd_liver
from biomark.datasets.orcascore import orcascore
from biomark.datasets.tcia import tcia

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
