"""Build the HTTP response to a scrape, for use by ASGI, WSGI and ``http.server``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nanospan.export.prometheus.exposition import compressed
from nanospan.export.prometheus.hosts import split_target
from nanospan.export.prometheus.negotiation import CONTENT_TYPES, choose_coding, choose_format

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from nanospan.export.prometheus.exposition import Exposition

METRICS_PATH = "/metrics"


@dataclass(frozen=True)
class Request:
    """The parts of an HTTP request that determine the response.

    Attributes:
        method: The HTTP method; a ``HEAD`` request gets headers without a body.
        path: The request's path, relative to the path at which the application is mounted; may be
            in absolute form, as in ``http://localhost/metrics``.
        accept: The value of the ``Accept`` header, or ``""`` if it is missing.
        accept_encoding: The value of the ``Accept-Encoding`` header, or ``""`` if it is missing.
    """

    method: str
    path: str
    accept: str
    accept_encoding: str


@dataclass(frozen=True)
class Response:
    """An HTTP response to a request for metrics.

    Attributes:
        status: The status code and reason phrase, such as ``200 OK``.
        headers: Pairs of header name and value.
        body: The pieces of the body; they can be iterated over only once.
        close: A function that frees the encoded metrics; calling it may take milliseconds.
    """

    status: str
    headers: list[tuple[str, str]]
    body: Iterable[bytes]
    close: Callable[[], None]


def respond(exposition: Exposition, path: str, request: Request) -> Response:
    """Build the response to a request for metrics.

    Encoding the metrics may take milliseconds, mostly without the GIL.

    Args:
        exposition: Encodes the metrics.
        path: The path at which the metrics are served.
        request: The request to answer.
    """
    if split_target(request.path)[1].rstrip("/") not in {"", path.rstrip("/")}:
        return plain(request, "404 Not Found", f"Metrics are at {path}.\n")
    if request.method not in {"GET", "HEAD"}:
        text = "Use GET to read metrics.\n"
        return plain(request, "405 Method Not Allowed", text, ("Allow", "GET, HEAD"))
    chosen = choose_format(request.accept)
    coding = choose_coding(request.accept_encoding)
    vary = ("Vary", "Accept, Accept-Encoding")
    if chosen is None or coding is None:
        types = "\n".join(CONTENT_TYPES.values())
        text = f"Metrics are available with the codings gzip and identity, as\n{types}\n"
        return plain(request, "406 Not Acceptable", text, vary)
    body: Iterable[bytes]
    body = chunks = exposition.encode(chosen)
    length = len(chunks)
    headers = [("Content-Type", CONTENT_TYPES[chosen]), vary]
    if coding == "gzip":
        body = pieces = compressed(chunks)
        length = sum(map(len, pieces))
        headers.append(("Content-Encoding", "gzip"))
    headers.append(("Content-Length", str(length)))
    return Response("200 OK", headers, () if request.method == "HEAD" else body, chunks.close)


def plain(request: Request, status: str, text: str, *headers: tuple[str, str]) -> Response:
    """Build a response with a text for people, for a request that gets no metrics."""
    body = text.encode()
    common = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
    pieces = () if request.method == "HEAD" else (body,)
    return Response(status, [*common, *headers], pieces, lambda: None)
