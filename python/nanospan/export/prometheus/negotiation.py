"""Choose a response's format and content coding from the request's headers.

Section 12.5 of RFC 9110 defines ``Accept`` and ``Accept-Encoding``. Prometheus adds parameters to
media types: ``version`` for the text formats, ``proto`` and ``encoding`` for protobuf, and
``escaping`` for non-ASCII names. All our names are ASCII, so every escaping scheme leaves them
unchanged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nanospan.export.prometheus.exposition import Format

Coding: TypeAlias = Literal["gzip", "identity"]
"""A content coding of responses."""

CONTENT_TYPES: dict[Format, str] = {
    "text": "text/plain; version=0.0.4; charset=utf-8",
    "openmetrics": "application/openmetrics-text; version=1.0.0; charset=utf-8",
    "protobuf": (
        "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; "
        "encoding=delimited"
    ),
}

_WILDCARDS: dict[str, tuple[Format, ...]] = {
    "*/*": ("text", "openmetrics", "protobuf"),
    "text/*": ("text",),
    "application/*": ("openmetrics", "protobuf"),
}


def choose_format(accept: str) -> Format | None:
    """Return the format preferred by an ``Accept`` header.

    The quality (``q=``) of a format is that of the most specific media range that matches it, even
    if a wildcard has a higher one. If several formats have the highest quality, return the one
    listed first, as Prometheus' official clients do. If the header accepts no known format, return
    ``text``, which is at least human-readable, or None if the header refuses ``text`` (``q=0``).
    """
    # For each format: how specific the range is, its quality, and its place in the header.
    found: dict[Format, tuple[tuple[int, int], float, int]] = {}
    for place, (name, parameters, quality) in enumerate(_ranges(accept)):
        specific = (-name.count("*"), len(parameters))
        for each in _formats(name, parameters):
            if each not in found or (specific, quality) > found[each][:2]:
                found[each] = specific, quality, place
    # max() returns the first of equal formats, which are in the order of our preference.
    acceptable = [each for each in _WILDCARDS["*/*"] if each in found and found[each][1] > 0]
    if acceptable:
        return max(acceptable, key=lambda each: (found[each][1], -found[each][2]))
    return None if "text" in found else "text"


def choose_coding(accept_encoding: str) -> Coding | None:
    """Return the content coding preferred by an ``Accept-Encoding`` header.

    Return the coding with the highest quality (``q=``), and gzip if both have the same. A coding
    that is not listed has the quality of ``*``, if that is listed. Otherwise, gzip is not
    acceptable, and ``identity`` is acceptable but everything listed is preferred to it. Return None
    if neither is acceptable.
    """
    qualities = {name: quality for name, _, quality in _ranges(accept_encoding)}
    rest = qualities.get("*")
    gzip = qualities.get("gzip", qualities.get("x-gzip", rest or 0.0))
    identity = qualities.get("identity", _LAST_RESORT if rest is None else rest)
    if gzip == identity == 0:
        return None
    return "gzip" if gzip >= identity else "identity"


_LAST_RESORT = 1e-9
"""The quality of a coding that is acceptable but not preferred to any other; a header's smallest is
0.001."""


def _formats(name: str, parameters: dict[str, str]) -> tuple[Format, ...]:
    """Return the formats that a media range matches, best first; a wildcard may match several."""
    version = parameters.get("version", "")
    if name == "text/plain" and version in {"", "0.0.4", "1.0.0"}:
        # Version 1.0.0 only allows more names, so its readers can read 0.0.4 as well.
        return ("text",)
    if name == "application/openmetrics-text" and version in {"", "1.0.0"}:
        return ("openmetrics",)
    if (
        name == "application/vnd.google.protobuf"
        and parameters.get("proto") == "io.prometheus.client.MetricFamily"
        and parameters.get("encoding") == "delimited"
    ):
        return ("protobuf",)
    return _WILDCARDS.get(name, ())


def _ranges(header: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """Yield the name, parameters and quality of each valid element of an ``Accept*`` header."""
    for element in header.split(","):
        name, *rest = (part.strip() for part in element.split(";"))
        parameters = {}
        for parameter in rest:
            key, _, value = parameter.partition("=")
            parameters[key.strip().lower()] = value.strip().strip('"')
        try:
            quality = float(parameters.pop("q", "1"))
        except ValueError:
            continue
        if name and 0 <= quality <= 1:
            yield name.lower(), parameters, quality
