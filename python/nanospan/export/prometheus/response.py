"""The answer to a request, whatever protocol it came by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nanospan.export.prometheus.exposition import compressed
from nanospan.export.prometheus.negotiation import CONTENT_TYPES, accepts_gzip, choose_format

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from nanospan.export.prometheus.exposition import Exposition

METRICS_PATH = "/metrics"


@dataclass(frozen=True)
class Request:
    """What matters of a request.

    Attributes:
        method: ``HEAD`` gets the headers and no body.
        place: The path, without what a framework mounted the application at.
        accept: The header of that name, or ``""``.
        accept_encoding: Likewise.
    """

    method: str
    place: str
    accept: str
    accept_encoding: str


@dataclass(frozen=True)
class Response:
    """The answer to a request.

    Attributes:
        status: The status line.
        headers: Names and values.
        body: In pieces, to be iterated over once.
        close: Gives the memory of what was encoded back, which may take milliseconds.
    """

    status: str
    headers: list[tuple[str, str]]
    body: Iterable[bytes]
    close: Callable[[], None]


def respond(exposition: Exposition, path: str, request: Request) -> Response:
    """Return the answer to a request. It may take milliseconds of work, most of it without the GIL.

    Args:
        exposition: What is scraped.
        path: Where it is.
        request: What was asked.
    """
    if request.place not in {"", "/", path}:
        return _plain(request, "404 Not Found", f"Metrics are at {path}.\n")
    if request.method not in {"GET", "HEAD"}:
        text = "Metrics are read with GET.\n"
        return _plain(request, "405 Method Not Allowed", text, ("Allow", "GET, HEAD"))
    chosen = choose_format(request.accept)
    body: Iterable[bytes]
    body = chunks = exposition.encode(chosen)
    length = len(chunks)
    headers = [("Content-Type", CONTENT_TYPES[chosen]), ("Vary", "Accept, Accept-Encoding")]
    if accepts_gzip(request.accept_encoding):
        body = pieces = compressed(chunks)
        length = sum(map(len, pieces))
        headers.append(("Content-Encoding", "gzip"))
    headers.append(("Content-Length", str(length)))
    return Response("200 OK", headers, () if request.method == "HEAD" else body, chunks.close)


def _plain(request: Request, status: str, text: str, *headers: tuple[str, str]) -> Response:
    body = text.encode()
    common = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
    pieces = () if request.method == "HEAD" else (body,)
    return Response(status, [*common, *headers], pieces, lambda: None)
