"""Tests for the Prometheus exposition: formats, names and unusual input."""

from __future__ import annotations

import gzip
import logging
import subprocess
import sys
import threading

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

import nanospan
from nanospan import PerformanceMonitor
from nanospan.export.prometheus import DEFAULT_BUCKETS, Exposition
from nanospan.export.prometheus.exposition import compressed
from nanospan.export.prometheus.naming import family_name, label_pairs
from nanospan.export.prometheus.negotiation import choose_coding, choose_format
from nanospan.values.measurements import Measurement

DURATION = "nanospan_operation_duration_seconds"
NAMES = ("op", 'quotes " and \\ and\nnewline\r', "süß 🦀", "lone \ud800", r"lone \ud800", "a\0b")


def _values(families, name):
    """Return the values of the samples called ``name``, keyed by labels."""
    samples = [s for family in families for s in family.samples if s.name == name]
    values = {tuple(sorted(sample.labels.items())): sample.value for sample in samples}
    assert len(values) == len(samples)
    return values


@pytest.fixture
def filled(monitor: PerformanceMonitor) -> PerformanceMonitor:
    """Return a monitor with unusual names, successes and failures."""
    for name in NAMES:
        for duration in (0.0, 1e-9, 0.002, 0.5, 3.0, 100.0):
            monitor.record_metric(name, duration)
    monitor.record_metric("op", 0.25, success=False)
    monitor.set_threshold("op", 1.0)
    monitor.record_metric("op", 1.5)
    return monitor


@pytest.mark.parametrize("parse", [parse_text, parse_openmetrics])
def test_the_official_parser_reads_both_text_formats(filled, parse):
    """``prometheus_client`` parses both text formats with every operation, outcome and count."""
    form = "text" if parse is parse_text else "openmetrics"
    families = list(parse(Exposition(filled).render(form).decode()))
    counts = _values(families, f"{DURATION}_count")
    shown = {"lone \ud800": r"lone \ud800", r"lone \ud800": r"lone \\ud800"}
    for name in NAMES:
        recorded = filled.snapshot().operations[name]
        for outcome in ("ok", "error"):
            labels = (("operation", shown.get(name, name)), ("outcome", outcome))
            assert counts[labels] == getattr(recorded, outcome).count
            assert _values(families, f"{DURATION}_sum")[labels] == getattr(recorded, outcome).sum
    assert len(counts) == 2 * len(NAMES)
    assert _values(families, "nanospan_operation_violations_total") == {(("operation", "op"),): 1}
    assert _values(families, "nanospan_operation_threshold_seconds") == {
        (("operation", "op"),): 1.0
    }
    assert set(_values(families, "nanospan_operation_in_flight").values()) == {0}
    [build] = _values(families, "nanospan_build_info")
    assert dict(build)["version"] == nanospan.__version__


def test_classic_buckets_are_cumulative_and_end_in_the_count(filled):
    """Every bound has a bucket, bucket counts never decrease, and ``+Inf`` counts all samples."""
    [family] = [f for f in parse_text(Exposition(filled).render().decode()) if f.name == DURATION]
    buckets = {
        float(sample.labels["le"]): sample.value
        for sample in family.samples
        if sample.name.endswith("_bucket")
        and (sample.labels["operation"], sample.labels["outcome"]) == ("op", "ok")
    }
    assert tuple(buckets) == (*DEFAULT_BUCKETS, float("inf"))
    assert list(buckets.values()) == sorted(buckets.values())
    assert (buckets[1e-6], buckets[0.0025], buckets[0.5], buckets[60.0]) == (2, 3, 4, 6)
    assert buckets[float("inf")] == 7


def test_openmetrics_has_the_creation_time_of_an_operation(monitor):
    """OpenMetrics output has each operation's creation time, so rates include the first sample."""
    monitor.record_metric("op", 0.1)
    created = monitor.snapshot().operations["op"].created
    families = list(parse_openmetrics(Exposition(monitor).render("openmetrics").decode()))
    labels = (("operation", "op"), ("outcome", "ok"))
    assert _values(families, f"{DURATION}_created")[labels] == pytest.approx(created, abs=1e-3)


def test_cancellations_have_series_once_there_are_some(monitor):
    """The ok and error series always exist; the cancelled series starts with its first sample."""
    monitor.record_metric("op", 0.1)
    assert b'outcome="error"' in Exposition(monitor).render()
    assert b"cancelled" not in Exposition(monitor).render()
    with pytest.raises(KeyboardInterrupt), monitor.track_operation("op"):
        raise KeyboardInterrupt
    assert b'_count{operation="op",outcome="cancelled"} 1' in Exposition(monitor).render()


def test_executions_under_way_are_counted(monitor):
    """The in-flight gauge counts open spans."""
    with monitor.track_operation("op"):
        assert b'nanospan_operation_in_flight{operation="op"} 1\n' in Exposition(monitor).render()
    assert b'nanospan_operation_in_flight{operation="op"} 0\n' in Exposition(monitor).render()


def test_an_empty_monitor_is_a_valid_exposition(monitor):
    """Without operations, the build information and OpenMetrics' end marker are still written."""
    for form in ("text", "openmetrics"):
        text = Exposition(monitor).render(form)
        assert b"nanospan_operation" not in text
        assert b"nanospan_build_info" in text
    assert text.endswith(b"# EOF\n")
    assert Exposition(monitor).render("protobuf")


def test_the_process_wide_monitor_is_the_default():
    """If no monitor is given, the process-wide one is looked up at each scrape."""
    exposition = Exposition()
    nanospan.get_performance_monitor().record_metric("of the process", 0.1)
    try:
        assert b'operation="of the process"' in exposition.render()
    finally:
        nanospan.get_performance_monitor().clear_metrics("of the process")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"buckets": [0.0]}, "got 0"),
        ({"buckets": [1.0, 0.5]}, "got 0.5"),
        ({"buckets": [float("nan")]}, "got NaN"),
        ({"buckets": [float("inf")]}, "got inf"),
        ({"max_native_buckets": 4}, "max_native_buckets must be at least 5, got 4"),
    ],
)
def test_invalid_buckets_are_rejected(arguments, message):
    """Bucket bounds must be positive and ascending; native histograms need at least 5 buckets."""
    with pytest.raises(ValueError, match=message):
        Exposition(**arguments)


def test_an_unknown_format_is_rejected(monitor):
    """The error for an unknown format lists the valid ones."""
    with pytest.raises(ValueError, match='text, openmetrics or protobuf, got "html"'):
        Exposition(monitor).render("html")


def test_buckets_may_be_chosen_or_left_out(filled):
    """Explicit bucket bounds replace the defaults; an empty list leaves only ``+Inf``."""
    text = Exposition(filled, buckets=(0.25, 4)).render().decode()
    assert {
        line.split('le="')[1].split('"')[0] for line in text.splitlines() if 'le="' in line
    } == {
        "0.25",
        "4",
        "+Inf",
    }
    assert b'le="+Inf"' in Exposition(filled, buckets=()).render()


def test_every_piece_is_taken_exactly_once(filled):
    """Threads that share an encoded exposition's iterator get each 64 KiB chunk exactly once."""
    for i in range(300):
        filled.record_metric(f"operation {i}", 0.1)
    exposition = Exposition(filled)
    chunks = exposition.encode()
    assert len(chunks) > 3 * 65536
    taken: list[bytes] = []
    threads = [threading.Thread(target=lambda: taken.extend(chunks)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(map(len, taken)) == len(chunks)
    assert max(map(len, taken)) == 65536
    assert list(chunks) == []
    assert gzip.decompress(b"".join(compressed(exposition.encode()))) == exposition.render()


def test_closing_an_exposition_ends_its_iteration(monitor):
    """Closing an encoded exposition ends an iteration over it but does not change its length."""
    monitor.record_metric("x" * 100_000, 0.1)
    chunks = Exposition(monitor).encode()
    length = len(chunks)
    assert len(next(chunks)) == 65536
    chunks.close()
    chunks.close()
    assert list(chunks) == []
    assert len(chunks) == length


def test_measurements_follow_the_naming_rules(monitor):
    """Dots in names become underscores, units are spelled out, and counters get ``_total``."""
    monitor.record_metric("wait", 0.5)
    waited = monitor.operation("wait").snapshot()
    pool = {"db.client.connection.pool.name": "postgresql://u:***@h/d"}
    idle = pool | {"db.client.connection.state": "idle"}
    prefix = "db.client.connection."
    monitor.add_source(
        lambda: [
            Measurement(prefix + "count", "up_down_counter", 3, "{connection}", "Open.", idle),
            Measurement(prefix + "timeouts", "counter", 2, "{timeout}", "Late.", pool),
            Measurement(prefix + "wait_time", "histogram", waited, "s", "Waited.", pool),
        ]
    )
    families = list(parse_openmetrics(Exposition(monitor).render("openmetrics").decode()))
    kinds = {family.name: (family.type, family.unit, family.documentation) for family in families}
    assert kinds["db_client_connection_count_current"] == ("gauge", "", "Open.")
    assert kinds["db_client_connection_timeouts"] == ("counter", "", "Late.")
    assert kinds["db_client_connection_wait_time_seconds"] == ("histogram", "seconds", "Waited.")
    name = ("db_client_connection_pool_name", "postgresql://u:***@h/d")
    assert _values(families, "db_client_connection_timeouts_total") == {(name,): 2}
    state = ("db_client_connection_state", "idle")
    assert _values(families, "db_client_connection_count_current") == {(name, state): 3}
    assert _values(families, "db_client_connection_wait_time_seconds_count") == {(name,): 1}


@pytest.mark.parametrize(
    ("measurement", "expected"),
    [
        (("wait.time", "ms", "histogram"), ("wait_time_milliseconds", "milliseconds")),
        (("process.memory", "By", "gauge"), ("process_memory_bytes", "bytes")),
        (("io", "By/s", "gauge"), ("io_bytes_per_second", "bytes_per_second")),
        (("load", "1", "gauge"), ("load_ratio", "ratio")),
        (("load", "1", "counter"), ("load", "")),
        (("jobs.total", "", "counter"), ("jobs", "")),
        (("time.seconds", "s", "gauge"), ("time_seconds", "seconds")),
        (("requests", "{request}/s", "gauge"), ("requests_per_second", "per_second")),
        (("1st.a--b", "", "gauge"), ("_1st_a_b", "")),
        (("größe", "", "gauge"), ("gr_e", "")),
        (("open.count", "{file}", "up_down_counter"), ("open_count_current", "")),
        (("open", "count", "gauge"), ("open_count_current", "")),
        (("open.count", "{file}", "counter"), ("open_count", "")),
        (("seconds", "s", "gauge"), ("seconds", "")),
        (("\0", "\udced", "gauge"), ("_", "")),
    ],
)  # fmt: skip
def test_names_and_units(measurement, expected):
    """Names and units are converted by OpenTelemetry's rules for Prometheus."""
    assert family_name(*measurement) == expected


def test_labels_that_coincide_are_joined():
    """If two attributes map to the same label, their values are joined."""
    assert label_pairs({"a.b": "1", "a_b": "2", "c": "3"}) == (("a_b", "1;2"), ("c", "3"))
    assert label_pairs({"le": "x", "1": "\ud800"}) == (("_1", "\\ud800"), ("key_le", "x"))


@pytest.mark.parametrize(
    ("form", "escaped"),
    [
        ("text", rb"\\ud800"),
        ("openmetrics", rb"\\ud800"),
        ("protobuf", rb"\ud800"),
    ],
)
def test_a_lone_surrogate_in_a_description_is_escaped(monitor, form, escaped):
    """Lone surrogates in help texts and names are escaped, so the exposition stays valid."""
    monitor.add_source(
        lambda: [
            Measurement("a", "gauge", 1.0, description="\ud800"),
            Measurement("\ud800b", "gauge", 2.0),
        ]
    )
    assert Exposition(monitor).render(form).count(escaped) == 2


def test_contradictory_measurements_are_left_out_and_logged_once(monitor, caplog):
    """Measurements that would invalidate the scrape are left out and logged once."""
    monitor.add_source(
        lambda: [
            Measurement("a.b", "gauge", 1.0),
            Measurement("a_b", "counter", 2.0),
            Measurement("a.b", "gauge", 3.0),
            Measurement("nanospan.operation.in_flight", "gauge", 4.0),
            Measurement("still.there", "gauge", float("inf")),
        ]
    )
    exposition = Exposition(monitor)
    with caplog.at_level(logging.WARNING, "nanospan"):
        for _ in range(3):
            text = exposition.render().decode()
    assert [line for line in text.splitlines() if line[:1] != "#"][:2] == [
        "a_b 1",
        "still_there +Inf",
    ]
    assert [record.message.count("a_b") for record in caplog.records] == [2, 0, 0]
    assert "reported twice" in caplog.messages[1]
    assert "must not have the name of a nanospan metric" in caplog.messages[2]


@pytest.fixture
def colliding(monitor) -> PerformanceMonitor:
    """Return a monitor whose measurements have names that are the same in Prometheus' spelling."""
    monitor.record_metric("wait", 0.5)
    waited = monitor.operation("wait").snapshot()
    monitor.add_source(
        lambda: [
            Measurement("cache.hits", "counter", 2, attributes={"shard.id": "1"}),
            Measurement("cache_hits", "counter", 3, attributes={"shard_id": "1"}),
            Measurement("größe", "up_down_counter", 5, attributes={"a": ""}),
            Measurement("grüße", "up_down_counter", 7),
            Measurement("grüße", "up_down_counter", 9),
            Measurement("io.time", "histogram", waited, "s"),
            Measurement("io-time", "histogram", waited, "s"),
            Measurement("heat.now", "gauge", 1.5),
            Measurement("heat_now", "gauge", 2.5),
            Measurement("io.time.seconds.count", "counter", 1),
            Measurement("nanospan.build.info", "counter", 1),
        ]
    )
    return monitor


@pytest.mark.parametrize("parse", [parse_text, parse_openmetrics])
def test_measurements_whose_names_coincide_are_added(colliding, parse, caplog):
    """Measurements that Prometheus could not tell apart are added, and of gauges one is kept."""
    form = "text" if parse is parse_text else "openmetrics"
    exposition = Exposition(colliding)
    with caplog.at_level(logging.WARNING, "nanospan"):
        families = list(parse(exposition.render(form).decode()))
        exposition.render(form)
    assert _values(families, "cache_hits_total") == {(("shard_id", "1"),): 5}
    assert _values(families, "gr_e") == {(): 12}
    assert _values(families, "io_time_seconds_count") == {(): 2}
    assert _values(families, "io_time_seconds_sum") == {(): 1.0}
    assert _values(families, "heat_now") == {(): 1.5}
    same = "have the same name and labels in Prometheus"
    left_out = "the measurement is left out"
    expected = [
        (
            f"measurements 'cache.hits' and 'cache_hits' {same}, cache_hits {{'shard_id': '1'}}; "
            "they are added together"
        ),
        f"measurements 'größe' and 'grüße' {same}, gr_e {{}}; they are added together",
        f"measurement 'grüße' was reported twice: (); {left_out}",
        (
            f"measurements 'io.time' and 'io-time' {same}, io_time_seconds {{}}; "
            "they are added together"
        ),
        (
            f"measurements 'heat.now' and 'heat_now' {same}, and gauges cannot be added; "
            "'heat_now' is left out"
        ),
        (
            "measurement 'io.time.seconds.count' must not have the name of a series of "
            f"io_time_seconds, got io_time_seconds_count; {left_out}"
        ),
        (
            "measurement 'nanospan.build.info' must not have the name of a nanospan metric; "
            f"{left_out}"
        ),
    ]
    assert [each.removeprefix("Prometheus export: ") for each in caplog.messages] == expected


PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROTOBUF = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", "text"),
        ("*/*", "text"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text"),
        (PROMETHEUS_3, "openmetrics"),
        (f"{PROTOBUF};q=0.7,{PROMETHEUS_3}", "protobuf"),
        (f"{PROMETHEUS_3},{PROTOBUF};escaping=underscores;q=0.7", "protobuf"),
        (f"{PROTOBUF};q=0.1,text/plain;q=0.2", "text"),
        ("application/vnd.google.protobuf;proto=other.Message;encoding=delimited", "text"),
        ("application/openmetrics-text; version=2.0.0, text/plain;q=0.1", "text"),
        ('application/openmetrics-text; version="1.0.0"', "openmetrics"),
        ("APPLICATION/OPENMETRICS-TEXT", "openmetrics"),
        ("application/openmetrics-text;q=0, */*", "text"),
        ("text/plain;q=0, */*;q=0.1", "openmetrics"),
        ("application/json", "text"),
        ("application/*", "openmetrics"),
        (";;;,,q=,text/plain;q=nan,application/openmetrics-text;q=x", "text"),
        ("text/*;q=0.9, text/plain;q=0.1, application/openmetrics-text;q=0.5", "openmetrics"),
        ("*/*;q=0.9, application/openmetrics-text;q=0.5, text/plain;q=0.1", "protobuf"),
        ("text/plain;q=0.9, text/plain;version=0.0.4;q=0.1, application/*;q=0.5", "openmetrics"),
        ("application/openmetrics-text, text/plain", "openmetrics"),
        ("*/*;q=0.1, text/*;q=0", "openmetrics"),
        ("text/plain;q=0", None),
        ("*/*;q=0", None),
        ("text/*;q=0, application/json", None),
        ("application/openmetrics-text;q=0", "text"),
    ],
)
def test_the_preferred_format_is_chosen(accept, expected):
    """The format whose most specific range has the highest quality wins, then the first."""
    assert choose_format(accept) == expected


@pytest.mark.parametrize(
    ("accept_encoding", "expected"),
    [
        ("", "identity"),
        ("gzip", "gzip"),
        ("x-gzip", "gzip"),
        ("gzip;q=0", "identity"),
        ("identity, *;q=0.5", "identity"),
        ("identity;q=0.5, *", "gzip"),
        ("gzip;q=0.1, identity;q=1", "identity"),
        ("gzip;q=0.5, identity;q=0.5", "gzip"),
        ("gzip;q=0.001", "gzip"),
        ("*", "gzip"),
        ("*;q=0", None),
        ("*;q=0, gzip", "gzip"),
        ("*;q=0, identity;q=0.1", "identity"),
        ("identity;q=0", None),
        ("identity;q=0, gzip;q=0.1", "gzip"),
        ("identity;q=0, *;q=0.1", "gzip"),
        ("br, GZIP;q=0.1", "gzip"),
        ("deflate", "identity"),
        ("deflate, identity;q=0", None),
        ("gzip;q=0, *", "identity"),
        ("gzip;q=0, *;q=0", None),
    ],
)
def test_the_preferred_coding_is_chosen(accept_encoding, expected):
    """The coding of highest quality wins, then gzip; a coding with quality 0 is never used."""
    assert choose_coding(accept_encoding) == expected


def test_the_exporter_needs_no_third_party_package():
    """Importing and using the exporter loads only nanospan and the standard library."""
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('prometheus_client', 'starlette', 'rich')));"
        "from nanospan.export.prometheus import Exposition, metrics_app;"
        "metrics_app(); print(len(Exposition().render()) > 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("True\n", "")
