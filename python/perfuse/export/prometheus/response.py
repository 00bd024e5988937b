"""The answer to a request, whatever protocol it came by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from perfuse.export.prometheus.exposition import compressed
from perfuse.export.prometheus.negotiation import CONTENT_TYPES, accepts_gzip, choose_format

if TYPE_CHECKING:
    from collections.abc import Iterable

    from perfuse.export.prometheus.exposition import Exposition

METRICS_PATH = "/metrics"


@dataclass(frozen=True)
class Response:
    """Status line, headers, and the body in pieces, to be iterated over once."""

    status: str
    headers: list[tuple[str, str]]
    body: Iterable[bytes]


def respond(
    exposition: Exposition, method: str, place: str, path: str, accept: str, accept_encoding: str
) -> Response:
    """Return the answer to a request. It may take milliseconds of work, most of it without the GIL.

    Args:
        exposition: What is scraped.
        method: Of the request; ``HEAD`` gets the headers and no body.
        place: The request's path, without what a framework mounted the application at.
        path: Where the metrics are.
        accept: The header of that name, or ``""``.
        accept_encoding: Likewise.
    """
    if place not in {"", "/", path}:
        return _plain("404 Not Found", f"Metrics are at {path}.\n", method)
    if method not in {"GET", "HEAD"}:
        text = "Metrics are read with GET.\n"
        return _plain("405 Method Not Allowed", text, method, ("Allow", "GET, HEAD"))
    chosen = choose_format(accept)
    body: Iterable[bytes]
    body = chunks = exposition.encode(chosen)
    length = len(chunks)
    headers = [("Content-Type", CONTENT_TYPES[chosen]), ("Vary", "Accept, Accept-Encoding")]
    if accepts_gzip(accept_encoding):
        body = pieces = compressed(chunks)
        length = sum(map(len, pieces))
        headers.append(("Content-Encoding", "gzip"))
    headers.append(("Content-Length", str(length)))
    return Response("200 OK", headers, () if method == "HEAD" else body)


def _plain(status: str, text: str, method: str, *headers: tuple[str, str]) -> Response:
    body = text.encode()
    common = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
    return Response(status, [*common, *headers], () if method == "HEAD" else (body,))
