"""`python -m biomark` is the command `biomark`."""

import sys

from biomark.cli import main

sys.exit(main())
