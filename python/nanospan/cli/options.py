"""Options that several commands have, and the checks of their values."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING

from nanospan.regression.effects import MIN_EFFECT, TAIL_MIN_EFFECT

if TYPE_CHECKING:
    from collections.abc import Callable

FORMATS = ("text", "json", "markdown")


def add_min_effect(parser: argparse.ArgumentParser) -> None:
    """Add ``--min-effect``."""
    parser.add_argument(
        "--min-effect",
        type=non_negative,
        default=MIN_EFFECT,
        metavar="SHARE",
        help="least change of the median that counts, as a share of it; changes of the tails count "
        f"from {TAIL_MIN_EFFECT:g} on, or from SHARE if that is more (default: {MIN_EFFECT:g})",
    )


def add_format(parser: argparse.ArgumentParser) -> None:
    """Add ``--format``."""
    parser.add_argument(
        "--format", choices=FORMATS, default="text", help="how to print the result (default: text)"
    )


def share(text: str) -> float:
    """Read a number between 0 and 1."""
    value = _number(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"expected a number between 0 and 1, got {text}")
    return value


def positive(text: str) -> float:
    """Read a number over 0."""
    value = _number(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"expected a number over 0, got {text}")
    return value


def non_negative(text: str) -> float:
    """Read a number of at least 0."""
    value = _number(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"expected a number, 0 or more, got {text}")
    return value


def whole(least: int, most: int) -> Callable[[str], int]:
    """Make a reader of whole numbers in a range."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(
                f"expected a whole number from {least:,} to {most:,}, got {text}"
            )
        return value

    return read


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"expected a finite number, got {text}")
    return value
