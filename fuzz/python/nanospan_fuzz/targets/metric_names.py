"""Names of operations, metrics and labels, from texts of any kind."""

from __future__ import annotations

import re

from nanospan._core import escape_name, unescape_name
from nanospan.export.prometheus.naming import family_name, label_pairs
from nanospan.values.units import printable
from nanospan_fuzz.inputs import as_lines, as_text


def target(data: bytes) -> None:
    """A name comes back from its text; names for Prometheus are letters, digits and ``_``."""
    name = as_text(data)
    text = escape_name(name)
    text.encode()
    assert unescape_name(text) == name
    assert printable(name).isprintable()
    metric, unit, label = as_lines(data, 3)
    for kind in ("counter", "gauge", "histogram"):
        found, _ = family_name(metric, unit, kind)
        assert re.fullmatch(r"[A-Za-z0-9_]*", found), found
    for found, value in label_pairs({label: unit, metric: label}):
        assert re.fullmatch(r"[A-Za-z0-9_]*", found), found
        value.encode()
