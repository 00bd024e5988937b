"""Headers and targets of requests for metrics: Accept, Accept-Encoding, Host."""

from __future__ import annotations

import contextlib

from nanospan.export.prometheus.hosts import AllowedHosts, split_target
from nanospan.export.prometheus.negotiation import CONTENT_TYPES, choose_coding, choose_format
from nanospan_fuzz.inputs import as_lines

HOSTS = AllowedHosts("127.0.0.1", "127.0.0.1", ["metrics.internal"])


def target(data: bytes) -> None:
    """Any header has a known format and coding or none, and any host an answer."""
    accept, encoding, target, *hosts = as_lines(data, 5)
    assert choose_format(accept) in {*CONTENT_TYPES, None}
    assert choose_coding(encoding) in {"gzip", "identity", None}
    authority, path = split_target(target)
    assert "?" not in path
    for version in ("HTTP/1.0", "HTTP/1.1"):
        for given in ((), hosts[:1], hosts):
            refusal = HOSTS.check(authority, given, version)
            assert refusal is None or refusal[0][:3] in {"400", "421"}
    with contextlib.suppress(ValueError):
        allowed = AllowedHosts("0.0.0.0", "0.0.0.0", [hosts[0]])  # noqa: S104 - only compared
        assert allowed.check(None, ["other.example"], "HTTP/1.1") or hosts[0].startswith("other")
