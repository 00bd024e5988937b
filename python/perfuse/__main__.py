"""`python -m perfuse` is the command `perfuse`."""

from __future__ import annotations

import sys

from perfuse.cli import main

if __name__ == "__main__":
    sys.exit(main())
