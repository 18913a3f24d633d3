"""`python -m biomark` is the command `biomark`."""

import sys

from biomark.cli import main

if __name__ == "__main__":
    sys.exit(main())
