"""Replies of OpenTelemetry collectors over HTTP: headers and bodies."""

from __future__ import annotations

import io
from typing import Any

import requests
from requests.adapters import BaseAdapter
from urllib3 import HTTPResponse

from nanospan.export.otlp.timed_session import MAX_RESPONSE, TimedSession
from nanospan_fuzz.inputs import check_message

STATUSES = (200, 204, 301, 400, 429, 503)
CODINGS = ("", "gzip", "deflate", "gzip, deflate", "br", "zstd")


class _FakeAdapter(BaseAdapter):
    """Gives the reply that a target has set, without a network."""

    status = 200
    headers: dict[str, str]
    body = b""

    def send(self, request: requests.PreparedRequest, **_kwargs: Any) -> requests.Response:  # type: ignore[override]
        response = requests.Response()
        response.status_code = self.status
        response.url = request.url or ""
        response.request = request
        response.headers.update(self.headers)
        response.raw = HTTPResponse(
            io.BytesIO(self.body), self.headers, self.status, preload_content=False
        )
        return response

    def close(self) -> None:
        pass


ADAPTER = _FakeAdapter()


def target(data: bytes) -> None:
    """Any reply gives an error of requests, or a response that is not longer than the limit."""
    kind, _, body = data.partition(b"\n")
    status, coding = [*kind, 0, 0][:2]
    ADAPTER.status = STATUSES[status % len(STATUSES)]
    ADAPTER.headers = {"Content-Type": "text/plain; charset=x", "Retry-After": "1"}
    if name := CODINGS[coding % len(CODINGS)]:
        ADAPTER.headers["Content-Encoding"] = name
    ADAPTER.body = body
    with TimedSession() as session:
        session.mount("http://", ADAPTER)
        try:
            response = session.post(
                "http://127.0.0.1:4318/v1/metrics", b"x", timeout=60, allow_redirects=False
            )
        except requests.RequestException as error:
            check_message(error)
            return
        assert len(response.content) <= MAX_RESPONSE
        assert isinstance(response.text, str)
