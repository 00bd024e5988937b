"""Draws histories as an image. Imported only when needed, because it requires matplotlib."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from nanospan.values.units import printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nanospan.export.sample_files import History
    from nanospan.regression import ChangePoint

MOST_PLOTS = 50
"""The maximum number of histories in one image; many programs cannot show larger images."""


def plot_histories(
    histories: Mapping[str, History], changes: Mapping[str, Sequence[ChangePoint]]
) -> bytes:
    """Draw each history with its levels and change points.

    Args:
        histories: The histories to draw, keyed by operation: at least one, at most ``MOST_PLOTS``.
        changes: The change points of each history, keyed by operation.

    Returns:
        The image in PNG format.
    """
    figure = Figure(figsize=(10, 3 * len(histories)), layout="constrained")
    axes = figure.subplots(len(histories), squeeze=False)[:, 0]
    for axis, (name, history) in zip(axes, histories.items(), strict=True):
        axis.plot(history.values, ".", markersize=3, color="tab:gray")
        points = changes[name]
        edges = [0, *(point.index for point in points), len(history.values)]
        levels = [points[0].before, *(point.after for point in points)] if points else []
        for begin, end, level in zip(edges, edges[1:], levels, strict=False):
            axis.hlines(level, begin, end - 1, color="tab:blue")
        for point in points:
            axis.axvline(point.index, color="tab:red", linestyle="--")
        # Without parse_math=False, dollar signs in a name would mark formulas.
        axis.set_title(printable(name), parse_math=False)
        axis.set_ylabel("seconds" if history.in_seconds else "value")
    axes[-1].set_xlabel("file" if next(iter(histories.values())).files else "number")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=100)
    return picture.getvalue()
