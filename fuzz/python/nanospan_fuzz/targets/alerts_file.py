"""The alerts file: rules, sinks and silences in TOML."""

from __future__ import annotations

from nanospan.alerts.alert import describe
from nanospan.alerts.alerts_file import AlertsFileError, load
from nanospan_fuzz.inputs import as_file, check_message

READS_FILES = True
MEMORY_FACTOR = 512
"""The TOML parser makes a dictionary of each name in a heading; the limit on names in an alerts
file keeps that below 100 MB."""


def target(data: bytes) -> None:
    """Any file gives an AlertsFileError with places in the file, or rules that can be used."""
    path = as_file(data)
    lines = data.count(b"\n") + data.count(b"\r") + 2
    for check in (True, False):
        try:
            file = load(path, check=check)
        except AlertsFileError as error:
            check_message(error)
            assert error.problems
            assert all(0 <= problem.line <= lines for problem in error.problems)
            continue
        for rule in file.rules:
            rule.matches("operation")
            describe(rule, "operation", 1.5)
            for silence in file.silences:
                silence.covers(rule, "operation", 0.0)
        for sink in file.sinks:
            str(sink)
            sink.close()
