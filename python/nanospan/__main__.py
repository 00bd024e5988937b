"""Run the command ``nanospan`` as ``python -m nanospan``."""

from __future__ import annotations

import sys

from nanospan.cli import main

if __name__ == "__main__":
    sys.exit(main())
