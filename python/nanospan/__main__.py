"""`python -m nanospan` is the command `nanospan`."""

from __future__ import annotations

import sys

from nanospan.cli import main

if __name__ == "__main__":
    sys.exit(main())
