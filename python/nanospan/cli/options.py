"""Options shared by several commands, and functions that parse and check option values."""

from __future__ import annotations

import argparse
import math
import sys
from typing import TYPE_CHECKING

from nanospan.regression.effects import MIN_EFFECT, TAIL_MIN_EFFECT
from nanospan.values.data_files import MAX_BYTES, VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable

FORMATS = ("text", "json", "markdown")


def add_min_effect(parser: argparse.ArgumentParser) -> None:
    """Add the option ``--min-effect``."""
    parser.add_argument(
        "--min-effect",
        type=non_negative,
        default=MIN_EFFECT,
        metavar="SHARE",
        help="smallest change to report in the median, as a share of the median; "
        f"for tail quantiles, {TAIL_MIN_EFFECT:g} or SHARE, whichever is greater "
        "(default: %(default)s)",
    )


def add_format(parser: argparse.ArgumentParser) -> None:
    """Add the option ``--format``."""
    parser.add_argument(
        "--format", choices=FORMATS, default="text", help="output format (default: text)"
    )


def add_max_bytes(parser: argparse.ArgumentParser) -> None:
    """Add the option ``--max-bytes``."""
    parser.add_argument(
        "--max-bytes",
        type=whole_number(1, sys.maxsize),
        metavar="N",
        help="maximum size of each file to read, in bytes; its values may take 3 times the file's "
        f"size in memory, or N/16 (default: the variable {VARIABLE}, or {MAX_BYTES:,})",
    )


def share(text: str) -> float:
    """Parse a number greater than 0 and less than 1."""
    value = _number(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"must be greater than 0 and less than 1, got {text}")
    return value


def positive(text: str) -> float:
    """Parse a number greater than 0."""
    value = _number(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"must be greater than 0, got {text}")
    return value


def non_negative(text: str) -> float:
    """Parse a number greater than or equal to 0."""
    value = _number(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must be at least 0, got {text}")
    return value


def whole_number(least: int, most: int) -> Callable[[str], int]:
    """Return a function that parses a whole number between ``least`` and ``most`` inclusive."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(
                f"must be a whole number from {least:,} to {most:,}, got {text}"
            )
        return value

    return read


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"must be a finite number, got {text}")
    return value
