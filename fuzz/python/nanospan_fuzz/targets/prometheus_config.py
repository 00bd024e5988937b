"""Arguments from which a configuration of Prometheus is written."""

from __future__ import annotations

from nanospan.export.prometheus.scrape_config import scrape_config, version_of
from nanospan_fuzz.inputs import as_lines, check_message


def target(data: bytes) -> None:
    """Any arguments give a ValueError, or a configuration with one line for each setting."""
    job, interval, version, rest = as_lines(data, 4)
    targets = rest.split("\n")
    try:
        config = scrape_config(targets, job, interval, version_of(version))
    except ValueError as error:
        check_message(error)
        return
    lines = config.splitlines()
    assert all(line.isprintable() for line in lines), config
    assert len(lines) <= 8 + len(targets)
