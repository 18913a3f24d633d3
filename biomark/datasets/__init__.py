"""Manifests of public data sets, from the folders in which they are downloaded.

Nothing is downloaded, and each function names licence, access and citation. Read the owner's page before use: terms
change. All give a manifest with the columns id, image, value (cm2 or Agatston), group (the patient, or the case where
none is named) and, as far as the set has them, slice, split and mask. Paths begin at ``root``; ``masks`` is a folder in
which masks of what was measured are written, one NIfTI file a case (outside the root, :func:`biomark.manifests.read`
needs ``allow_outside=True``); cases that could not be used stand with the reason in ``.attrs["set_aside"]``;
``progress`` shows a bar.

>>> table = bm.datasets.msd_liver("Task03_Liver")  # doctest: +SKIP
>>> table.to_csv("liver.csv", index=False)  # doctest: +SKIP
>>> cohort = bm.manifests.read("liver.csv", "liver", root="Task03_Liver")  # doctest: +SKIP
"""

from biomark.datasets.calcium import coca_gated, coca_nongated
from biomark.datasets.fat import saros, totalsegmentator
from biomark.datasets.liver import ircadb, lits, msd_liver
from biomark.datasets.orcascore import orcascore
from biomark.datasets.tcia import tcia

__all__ = ["coca_gated", "coca_nongated", "ircadb", "lits", "msd_liver", "orcascore", "saros", "tcia"]
__all__ += ["totalsegmentator"]
