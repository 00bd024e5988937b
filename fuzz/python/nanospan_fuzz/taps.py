"""Save what the tests pass to nanospan's readers as inputs for fuzz targets.

``pytest --extend-corpus`` installs these taps, so that each hostile file or text that a test has is
also where fuzzing begins.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import importlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST = 64 * 1024
"""The longest input to save, in bytes."""

MOST = 500
"""The most inputs of a target to have; property tests make thousands."""


def _file(path: Any, *_args: object, **_kwargs: object) -> bytes:
    given = Path(path)
    # Reading a pipe would take its content away from the test, and a device never ends.
    if not given.is_file() or given.stat().st_size > LONGEST:
        raise ValueError("only short regular files are inputs")
    return given.read_bytes()


def _text(text: Any, *_args: object, **_kwargs: object) -> bytes:
    return str(text).encode("utf-8", "surrogateescape")


def _json(value: Any, *_args: object, **_kwargs: object) -> bytes:
    return json.dumps(value).encode()


def _literal(value: Any) -> bytes:
    text = repr(value)
    ast.literal_eval(text)
    return text.encode()


def _scrape_config(targets: Any, job: str, interval: str, *_args: object) -> bytes:
    return "\n".join([job, interval, "3.8", *targets]).encode()


TAPS: list[tuple[str, str, str, Callable[..., bytes]]] = [
    ("alert_templates", "nanospan.alerts.templates", "check_template", _text),
    ("alerts_file", "nanospan.alerts.alerts_file", "load", _file),
    ("baselines", "nanospan.values.baselines", "Baseline.load", _file),
    (
        "cli_arguments",
        "nanospan.cli",
        "main",
        lambda argv=(): "\n".join(Path(each).name for each in argv).encode(),
    ),
    ("conninfo", "nanospan.pool.conninfo", "Target.parse", _text),
    ("http_headers", "nanospan.export.prometheus.negotiation", "choose_format", _text),
    (
        "http_headers",
        "nanospan.export.prometheus.negotiation",
        "choose_coding",
        lambda header: f"\n{header}".encode(),
    ),
    ("metadata_json", "nanospan.export.safe_json", "to_json", _literal),
    ("metric_names", "nanospan._core", "escape_name", _text),
    (
        "metric_names",
        "nanospan.export.prometheus.naming",
        "family_name",
        lambda name, unit, _kind: f"{name}\n{unit}".encode(),
    ),
    ("pool_settings", "nanospan.pool.settings", "read_sections", _json),
    (
        "prometheus_config",
        "nanospan.export.prometheus.scrape_config",
        "scrape_config",
        _scrape_config,
    ),
    ("recordings", "nanospan.export.recording_files", "read_recording", _file),
    ("sample_files", "nanospan.export.sample_files", "read_samples", _file),
    (
        "sink_responses",
        "nanospan.alerts.sinks.http",
        "_seconds",
        lambda retry_after: f"503\n{retry_after}".encode(),
    ),
]
"""For each tap: the target, the module, the function in it, and what turns the arguments into an
input."""


def install(corpus: Path) -> None:
    """Install the taps; the inputs go to folders in ``corpus``, named after the targets."""
    for target, module, name, to_input in TAPS:
        owner: Any = importlib.import_module(module)
        class_name, _, function_name = name.rpartition(".")
        folder = corpus / target
        folder.mkdir(parents=True, exist_ok=True)
        if class_name:
            owner = getattr(owner, class_name)
            # All of these are class methods.
            bound = getattr(owner, function_name)
            setattr(owner, function_name, staticmethod(_tapped(bound, folder, to_input)))
            continue
        original = getattr(owner, function_name)
        tapped = _tapped(original, folder, to_input)
        for each in [m for n, m in sys.modules.items() if n.partition(".")[0] == "nanospan"]:
            if getattr(each, function_name, None) is original:
                setattr(each, function_name, tapped)


def _tapped(function: Callable[..., Any], folder: Path, to_input: Callable[..., bytes]) -> Any:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        # Not every call has what a target takes, and some tests leave no room for a file.
        with contextlib.suppress(Exception):
            _save(folder, to_input(*args, **kwargs))
        return function(*args, **kwargs)

    return call


def _save(folder: Path, data: bytes) -> None:
    path = folder / f"test-{hashlib.sha256(data).hexdigest()[:12]}"
    if len(data) <= LONGEST and not path.exists() and len(list(folder.iterdir())) < MOST:
        path.write_bytes(data)
