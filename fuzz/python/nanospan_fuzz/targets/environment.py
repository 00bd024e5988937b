"""Settings from environment variables: of pools, and of OpenTelemetry's exporter."""

from __future__ import annotations

import os

import psycopg

from nanospan.export.otlp import exporter
from nanospan.pool.conninfo import default_conninfo, mask_conninfo
from nanospan.pool.settings import read_environment
from nanospan_fuzz.inputs import InvalidInput, as_object, check_message

IS_JSON = True
VARIABLES = frozenset(
    {
        "DATABASE_URL",
        "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
        "OTEL_EXPORTER_OTLP_PROTOCOL",
        "OTEL_METRICS_EXPORTER",
        "OTEL_METRIC_EXPORT_INTERVAL",
        "OTEL_METRIC_EXPORT_TIMEOUT",
        "OTEL_SDK_DISABLED",
        "PGDATABASE",
        "PGSERVICE",
        "POSTGRES_CONNECTION_TIMEOUT",
        "POSTGRES_DB",
        "POSTGRES_HOST",
        "POSTGRES_MAX_OVERFLOW",
        "POSTGRES_PASSWORD",
        "POSTGRES_POOL_SIZE",
        "POSTGRES_POOL_TIMEOUT",
        "POSTGRES_PORT",
        "POSTGRES_USER",
    }
)


def target(data: bytes) -> None:
    """Any variables give a ValueError that names the variable, or valid settings."""
    given = {key: value for key, value in as_object(data).items() if key in VARIABLES}
    before = {name: os.environ.get(name) for name in VARIABLES}
    try:
        _set(given)
        _read()
    finally:
        _set(before)


def _set(variables: dict[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
            continue
        try:
            os.environ[name] = value
        except (TypeError, ValueError):  # UnicodeEncodeError is a ValueError
            raise InvalidInput from None


def _read() -> None:
    try:
        read_environment()
    except ValueError as error:
        check_message(error)
        assert "POSTGRES_" in str(error)
    try:
        conninfo = default_conninfo()
    except (psycopg.ProgrammingError, ValueError) as error:
        check_message(error)
    else:
        assert conninfo is None or mask_conninfo(conninfo)
    for name in ("OTEL_METRIC_EXPORT_INTERVAL", "OTEL_METRIC_EXPORT_TIMEOUT"):
        assert exporter._milliseconds(name, 5.0) > 0  # noqa: SLF001 - it reads the variable
    disabled = exporter._disabling_variable()  # noqa: SLF001 - it reads the variables
    assert disabled is None or disabled.startswith("OTEL_")
    protocol = os.environ.get("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL") or os.environ.get(
        "OTEL_EXPORTER_OTLP_PROTOCOL"
    )
    if protocol and protocol not in exporter.PROTOCOLS:
        try:
            exporter.exporter_from_environment()
        except ValueError as error:
            check_message(error)
        else:
            raise AssertionError(f"the protocol {protocol!r} is unknown")
