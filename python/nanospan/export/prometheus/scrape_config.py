"""Write the configuration with which a Prometheus server scrapes nanospan's metrics."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urlsplit

from nanospan.values.messages import shorten, shown

if TYPE_CHECKING:
    from collections.abc import Iterable

Version: TypeAlias = tuple[int, int]
"""The first two numbers of a version of Prometheus."""

FIRST_WITH_SETTING: Version = (3, 8)
"""The first version of Prometheus that has the setting ``scrape_native_histograms``.

Versions before it need a feature flag on the command line, which has no effect from 3.9 on.
"""

FEATURE_FLAG = "--enable-feature=native-histograms"

_DURATION = re.compile(
    r"(?:\d+y)?(?:\d+w)?(?:\d+d)?(?:\d+h)?(?:\d+m)?(?:\d+s)?(?:\d+ms)?", re.ASCII
)


def scrape_config(
    targets: Iterable[str], job: str, interval: str, version: Version = FIRST_WITH_SETTING
) -> str:
    """Return a Prometheus configuration in YAML with one scrape job.

    Args:
        targets: Where the metrics are: ``HOST:PORT``, or a URL such as
            ``http://127.0.0.1:9464/metrics``. There is at least one.
        job: The job's name, which becomes the label ``job``.
        interval: The time between scrapes, in Prometheus' notation, such as ``15s``.
        version: The version of Prometheus to write for, as in ``(3, 8)``.

    Raises:
        ValueError: If a target, the name or the interval is invalid, or the targets differ in
            scheme or path, which one job cannot express.
    """
    places = [_split(target) for target in targets]
    [(scheme, path), *others] = dict.fromkeys(place[:2] for place in places)
    if others:
        raise ValueError(
            "the targets of a job must have the same scheme and path, got "
            f"{scheme}://...{shorten(path)} and {others[0][0]}://...{shorten(others[0][1])}; "
            "write a job for each"
        )
    if not job or not job.isprintable():
        raise ValueError(f"the job's name must be printable and not empty, got {shown(job)}")
    if not _DURATION.fullmatch(interval) or not re.search("[1-9]", interval):
        raise ValueError(
            f"the interval must be a duration such as 15s or 1m30s, got {shown(interval)}"
        )
    lines = [f"  - job_name: {_quoted(job)}", f"    scrape_interval: {interval}"]
    if version >= FIRST_WITH_SETTING:
        lines.append("    scrape_native_histograms: true")
    if scheme != "http":
        lines.append(f"    scheme: {scheme}")
    if path != "/metrics":
        lines.append(f"    metrics_path: {_quoted(path)}")
    lines += ["    static_configs:", "      - targets:"]
    lines += [f"          - {_quoted(address)}" for _, _, address in places]
    note = [] if version >= FIRST_WITH_SETTING else [f"# Start Prometheus with {FEATURE_FLAG}."]
    return "\n".join([*note, "scrape_configs:", *lines, ""])


def version_of(text: str) -> Version:
    """Parse a version of Prometheus, such as ``3.8`` or ``v3.9.1``.

    Raises:
        ValueError: If the text is not a version.
    """
    found = re.fullmatch(r"v?(\d+)\.(\d+)(?:[.+~-].*)?", text, re.ASCII)
    if found is None:
        raise ValueError(f"the version must have the form 3.8 or 3.8.1, got {shown(text)}")
    return int(found[1]), int(found[2])


def _split(target: str) -> tuple[str, str, str]:
    """Return a target's scheme, path and address."""
    problem = ValueError(
        f"a target must be HOST:PORT or a URL of the metrics, without a query, got {shown(target)}"
    )
    try:
        url = urlsplit(target if "://" in target else f"http://{target}")
        is_valid = url.scheme in {"http", "https"} and url.hostname and url.port != 0
    except ValueError:
        raise problem from None
    if not is_valid or "@" in url.netloc or url.query or url.fragment or not target.isprintable():
        raise problem
    return url.scheme, url.path if url.path not in {"", "/"} else "/metrics", url.netloc


def _quoted(text: str) -> str:
    """Return ``text`` as a string of YAML, in which JSON's strings are valid."""
    return json.dumps(text, ensure_ascii=False)
