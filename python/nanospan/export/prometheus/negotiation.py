"""Choose a response's format and content coding from the request's headers.

Section 12.5 of RFC 9110 defines ``Accept`` and ``Accept-Encoding``. Prometheus adds parameters to
media types: ``version`` for the text formats, ``proto`` and ``encoding`` for protobuf, and
``escaping`` for non-ASCII names. All our names are ASCII, so every escaping scheme leaves them
unchanged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nanospan.export.prometheus.exposition import Format

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


def choose_format(accept: str) -> Format:
    """Return the format preferred by an ``Accept`` header.

    If several formats have the highest quality (``q=``), return the one listed first, as
    Prometheus' official clients do. If the header accepts no known format, return ``text``, which
    is at least human-readable.
    """
    ranges = [
        (quality, _formats(name, parameters)) for name, parameters, quality in _ranges(accept)
    ]
    refused = {formats[0] for quality, formats in ranges if quality == 0 and len(formats) == 1}
    # The sort is stable, so formats of equal quality keep their order.
    for quality, formats in sorted(ranges, key=lambda each: -each[0]):
        acceptable = [each for each in formats if each not in refused]
        if quality > 0 and acceptable:
            return acceptable[0]
    return "text"


def accepts_gzip(accept_encoding: str) -> bool:
    """Return True if an ``Accept-Encoding`` header allows gzip."""
    qualities = {name: quality for name, _, quality in _ranges(accept_encoding)}
    for name in ("gzip", "x-gzip", "*"):
        if name in qualities:
            return qualities[name] > 0
    return False


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
