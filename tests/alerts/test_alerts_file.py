"""Tests for files of alert rules: their contents, and how errors in them are reported."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanospan.alerts import (
    AlertmanagerSink,
    AlertsFileError,
    ChangeRule,
    JsonLinesSink,
    LogSink,
    RegressionRule,
    StatisticRule,
    WebhookSink,
    load,
)
from nanospan.alerts.alerts_file import _toml_parser
from nanospan.alerts.toml_lines import locate, statements

tomllib = _toml_parser()

WHOLE = """\
[[rule]]
name = "slow stores"
operation = "m1_*"
statistic = "p95"
above = 0.150
resolve_below = 0.120
window = 30
for_seconds = 10
cooldown = 60
severity = "critical"
labels = { team = "memory" }
summary = "{operation} is slow: {value}"

[[rule]]
name = "regressed"
kind = "regression"
operation = "*"
baseline = "baseline.json"

[[rule]]
name = "changed"
kind = "change"
operation = "query"

[[sink]]
type = "log"
min_severity = "critical"

[[sink]]
type = "json_lines"
path = "alerts.jsonl"

[[sink]]
type = "webhook"
url = "env:TEST_HOOK_URL"
headers = { Authorization = "Bearer env:TEST_HOOK_TOKEN" }
states = ["pending", "firing", "resolved"]

[[sink]]
type = "alertmanager"
url = "http://127.0.0.1:9093"
repeat = 30

[[silence]]
rule = "slow *"
until = 2100-01-01T00:00:00Z
comment = "until the next century"
"""


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a file of alert rules."""

    def write(text, name="alerts.toml"):
        path = tmp_path / name
        path.write_text(text) if isinstance(text, str) else path.write_bytes(text)
        return path

    return write


def problems(path, **options):
    """Return the errors that ``load`` reports, as (line, key, message)."""
    with pytest.raises(AlertsFileError) as raised:
        load(path, **options)
    assert isinstance(raised.value, ValueError)
    for problem in raised.value.problems:
        assert f"{path}:{problem.line}: {problem.message}" in str(raised.value)
    return [(problem.line, problem.key, problem.message) for problem in raised.value.problems]


def test_a_file_defines_rules_sinks_and_silences(write, monkeypatch, tmp_path):
    """An alerts file supports every setting that the Python API supports."""
    monkeypatch.setenv("TEST_HOOK_URL", "https://hooks.example/secret-path")
    monkeypatch.setenv("TEST_HOOK_TOKEN", "secret-token")
    (tmp_path / "baseline.json").touch()
    loaded = load(write(WHOLE))
    assert loaded.rules == (
        StatisticRule(
            name="slow stores",
            operation="m1_*",
            statistic="p95",
            above=0.150,
            resolve_below=0.120,
            window=30,
            for_seconds=10,
            cooldown=60,
            severity="critical",
            labels={"team": "memory"},
            summary="{operation} is slow: {value}",
        ),
        RegressionRule(name="regressed", operation="*", baseline=tmp_path / "baseline.json"),
        ChangeRule(name="changed", operation="query"),
    )
    kinds = [type(sink) for sink in loaded.sinks]
    assert kinds == [LogSink, JsonLinesSink, WebhookSink, AlertmanagerSink]
    assert str(loaded.sinks[1]) == f"JsonLinesSink({str(tmp_path / 'alerts.jsonl')!r})"
    [silence] = loaded.silences
    assert (silence.rule, silence.until) == ("slow *", 4102444800.0)
    assert "secret" not in repr(loaded)


def test_checking_needs_neither_variables_nor_baselines(write):
    """Checking a file needs neither the variables nor the baseline files that it refers to."""
    loaded = load(write(WHOLE), check=False)
    assert loaded.sinks[2].unset_variables == ["TEST_HOOK_URL", "TEST_HOOK_TOKEN"]


def test_missing_variables_and_baselines_are_errors(write):
    """Unset variables and missing baseline files are reported with their line numbers."""
    assert problems(write(WHOLE)) == [
        (18, "rule[1].baseline", "baseline = 'baseline.json': there is no such file"),
        (
            35,
            "sink[2].url",
            (
                "sink[2]: url = 'env:TEST_HOOK_URL': "
                "the environment variable TEST_HOOK_URL is unset or empty"
            ),
        ),
    ]


RULE = '[[rule]]\nname = "r"\noperation = "op"\nstatistic = "p95"\n'


@pytest.mark.parametrize(
    ("text", "line", "key", "message"),
    [
        (RULE + 'above = "fast"', 5, "rule[0].above", "above = 'fast': must be a finite number"),
        (RULE + "above = 1\nwindw = 3", 6, "rule[0].windw", "windw = 3: unknown key; did you mean"),
        (RULE, 1, "rule[0].above", "p95 needs a limit; set above or below"),
        ("# hello\n" + RULE.replace('name = "r"\n', ""), 2, "rule[0]", "rule[0] lacks name"),
        (RULE + 'above = 1\nkind = "odd"', 6, "rule[0].kind", "kind = 'odd': must be one of"),
        (RULE + "above = 1\n" + RULE + "above = 1", 7, "rule[1].name", "another rule has this"),
        (RULE + "above = 1\n[rule.labels]\nteam = 3", 6, "rule[0].labels", "must be a string"),
        ('rule = "slow"', 1, "rule", "must be tables, each headed [[rule]]"),
        ("[rule]\nname = 3", 1, "rule", "must be tables, each headed [[rule]]"),
        ("[[rules]]\nname = 3", 1, "rules", "unknown key; did you mean rule?"),
        ("[[sink]]\n", 1, "sink[0]", "sink[0] lacks type: one of log, json_lines, webhook"),
        ('[[sink]]\ntype = "pigeon"', 2, "sink[0].type", "type = 'pigeon': must be one of"),
        ('[[sink]]\ntype = "webhook"', 1, "sink[0]", "sink[0] lacks url"),
        ('[[sink]]\ntype = "json_lines"\npath = 3', 3, "sink[0].path", "path = 3"),
        ('[[sink]]\ntype = "log"\nstates = "all"', 3, "sink[0].states", "must be an array"),
        ('[[sink]]\ntype = "log"\nstates = ["odd"]', 3, "sink[0].states", "one of pending"),
        ('[[sink]]\ntype = "log"\nmin_severity = 1', 3, "sink[0].min_severity", "one of info"),
        (
            '[[sink]]\ntype = "webhook"\nurl = "http://h"\nattempts = 0',
            4,
            "sink[0].attempts",
            "attempts = 0",
        ),
        ("[[silence]]\nuntil = 2100-01-01", 2, "silence[0].until", "must be a date and time"),
        ("[[silence]]\nrule = 'r'", 1, "silence[0]", "silence[0] lacks until"),
        ("[[rule]\n", 1, "", "Expected"),
        ("a = 1\nb = [1,\n", 2, "", "at end of document"),
    ],
)
def test_errors_name_line_key_and_value(write, text, line, key, message):
    """Every kind of error in a file is reported with its line, key and value."""
    [(found_line, found_key, found_message), *_] = problems(write(text))
    assert found_key == key
    assert message in found_message
    assert found_line == line


def test_all_errors_are_reported_at_once(write):
    """A file with three mistakes is rejected with three errors, not only the first."""
    text = RULE + "above = -1\n[[sink]]\ntype = 'odd'\n[[silence]]\nuntil = 'soon'\n"
    assert [line for line, _, _ in problems(write(text))] == [5, 7, 9]


@pytest.mark.parametrize(
    "sink",
    [
        "url = 'https://h/'\nheaders = { Authorization = 'Bearer s3cret' }",
        "url = 'https://h/'\nheaders = { X-Api-Key = 's3cret' }",
        "url = 'ftp://user:s3cret@h/'",
        "url = 'https://h:s3cret/'",
        "url = 'https://h/s3cret'\nheader = 's3cret'",
        "url = 'https://h/s3cret'\nheaders = { X = 3 }",
        "url = 's3cret'",
    ],
)
def test_errors_show_no_secret(write, sink):
    """Error messages contain no URLs or header values, even if a key is misspelt."""
    path = write(f"[[sink]]\ntype = 'webhook'\n{sink}\n")
    told = problems(path)
    assert told
    assert "s3cret" not in str(told)


def test_a_sink_with_single_brackets_shows_no_secret(write):
    """If ``[[sink]]`` is mistyped as ``[sink]``, the error does not reveal the sink's URL."""
    [(line, key, message)] = problems(write("[sink]\ntype = 'webhook'\nurl = 'https://h/s3cret'\n"))
    assert (line, key) == (1, "sink")
    assert message == "sink = ...: must be tables, each headed [[sink]]"


def test_a_byte_order_mark_is_ignored(write):
    """A file that starts with a UTF-8 byte order mark, as some editors write, is accepted."""
    assert load(write(b"\xef\xbb\xbf" + (RULE + "above = 1").encode())).rules


def test_binary_and_oversized_files_are_rejected(write):
    """Invalid UTF-8 is reported with its line; files over the size limit are rejected."""
    [(line, _, message)] = problems(write(b"a = 1\nb = '\xff'\n"))
    assert (line, message) == (2, "the file must be encoded in UTF-8: invalid start byte")
    with pytest.raises(AlertsFileError, match="must be at most 1048576 bytes"):
        load(write(b"#" * (1 << 21)))
    with pytest.raises(FileNotFoundError):
        load("absent.toml")


HARD = '''\
a.b = 1  # [[not.a.header]]
"quoted key" = """
[[rule]]
fake = 1 \\""" still in
"""
c = [
  { x = 1 }, # comment with ] and }
  'it''s' ]
'''.replace("'it''s' ]", "'it' ]")


def test_keys_are_found_in_difficult_documents():
    """Errors have the right line despite multi-line strings, arrays, comments and quoted keys."""
    text = HARD + "[t . 'u.v']\nk = 1\n[[t.w]]\n[[t.w]]\nm = '[x]'\n[t.w.n]\no = 1\n"
    tomllib.loads(text)
    assert locate(statements(text)) == {
        ("a", "b"): 1,
        ("quoted key",): 2,
        ("c",): 6,
        ("t", "u.v"): 9,
        ("t", "u.v", "k"): 10,
        ("t", "w", 0): 11,
        ("t", "w", 1): 12,
        ("t", "w", 1, "m"): 13,
        ("t", "w", 1, "n"): 14,
        ("t", "w", 1, "n", "o"): 15,
    }


VALUES = st.sampled_from(
    ["1", "true", '"a = 1"', "'[b]'", '"""\nc = 1\n"""', "[1,\n 2]", "[[1], [\n2]]", "{ d = 1 }"]
)


@given(st.lists(st.tuples(st.booleans(), VALUES, st.sampled_from(["", "\n", "# x = [\n"]))))
def test_every_key_is_found_on_its_line(chosen):
    """In any TOML document, the line reported for a key is the line that begins with it."""
    text = ""
    for number, (is_table, value, blank) in enumerate(chosen):
        text += f"[[t]]\n{blank}" if is_table else f"k{number} = {value}\n{blank}"
    tomllib.loads(text)
    lines = text.split("\n")
    found = locate(statements(text))
    keys = {path[-1] for path in found if isinstance(path[-1], str)}
    assert keys == {f"k{n}" for n, (is_table, _, _) in enumerate(chosen) if not is_table}
    for path, line in found.items():
        expected = f"{path[-1]} = " if isinstance(path[-1], str) else "[[t]]"
        assert lines[line - 1].startswith(expected)


def test_paths_in_a_file_are_relative_to_it(write, monkeypatch, tmp_path):
    """Paths in an alerts file are relative to the file, not to the working directory."""
    (tmp_path / "b.json").touch()
    path = write(
        "[[rule]]\nname = 'r'\nkind = 'regression'\noperation = '*'\nbaseline = 'b.json'\n"
    )
    monkeypatch.chdir("/")
    [rule] = load(path).rules
    assert Path(rule.baseline) == tmp_path / "b.json"
