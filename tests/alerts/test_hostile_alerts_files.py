"""Tests that any text is judged as an alerts file, briefly and within a bounded time.

Properties:

- a text is either loaded, or an ``AlertsFileError`` is raised; no other exception is;
- no line of the error message is long, and there is a bounded number of lines;
- the command ``nanospan alerts check`` returns 0 or 2 accordingly.
"""

import time

import pytest
from hostile_toml import HOOK, NO_OPERATION, RULE, hostile_texts
from hypothesis import given, settings
from hypothesis import strategies as st

from nanospan import PerformanceMonitor
from nanospan.alerts import AlertsFileError, Silence, StatisticRule, load
from nanospan.alerts.fields import RuleError
from nanospan.cli import main

LONGEST_LINE = 1000
"""The length of a line of an error message: a file's path, a key, a value and some words."""

MOST_LINES = 101

WHOLE = f"""\
# a comment
{RULE}summary = "{{operation}}: {{value:.3f}} of {{team}}"
labels = {{ team = "memory", 'quoted' = "x" }}
resolve_below = 0.5
window = 30.0
[[silence]]
until = 2100-01-01T00:00:00Z
rule = '''
slow *'''
{HOOK}headers = {{ X = "env:TOKEN" }}
states = ["firing", "resolved"]
"""

# Fragments of TOML that mutations insert.
FRAGMENTS = st.sampled_from(
    [
        *('"', "'", '"""', "'''", "[", "]", "[[", "]]", "{", "}", "=", ".", ",", "#", "\n", "\r\n"),
        *("\\", "\\u0000", "\\ud800", "\0", "\x1b", "\u202e", "\ufeff", "{0}", "{value!r}", "env:"),
        *("9" * 400, "9" * 5000, "1e999", "-inf", "nan", "0x" + "f" * 5000, "0001-01-01T00:00:00"),
        *("9999-12-31", "07:32:00", "[" * 600, "{a=" * 600, "a." * 600, "x" * 5000, "*" * 2000),
        *("[[rule]]\n", "[[sink]]\n", "[[silence]]\n", "[rule]\n", "kind = 'change'\n"),
    ]
)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Return the path of a file that tests may overwrite."""
    return tmp_path_factory.mktemp("hostile") / "alerts.toml"


def judge(path, text):
    """Return whether the text is a valid alerts file, and check the form of the error if not."""
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    valid = []
    for check in (False, True):
        try:
            load(path, check=check)
        except AlertsFileError as exc:
            lines = str(exc).split("\n")
            assert len(lines) <= MOST_LINES
            assert all(len(line) <= LONGEST_LINE for line in lines)
            assert all(line.isprintable() for line in lines)
            valid.append(False)
        else:
            valid.append(True)
    return valid[0]


@pytest.mark.parametrize("size", [0, 1, 3_000, 12_000])
def test_hostile_texts_are_judged(path, size):
    """Nesting, long keys, numbers and names, and many of anything are judged, not failed on."""
    for name, text in hostile_texts(size):
        assert judge(path, text) in {True, False}, name


def test_the_largest_hostile_texts_are_judged_within_a_bounded_time(path):
    """The texts that were quadratic for the parser or the validation are so no longer."""
    begin = time.process_time()
    chosen = {
        "dotted key",
        "dotted table",
        "header of dots",
        "logger",
        "unclosed string of escapes",
    }
    for name, text in hostile_texts(1 << 20):
        if name in chosen:
            judge(path, text)
            chosen.remove(name)
    assert not chosen
    # It is about 2 s; a single one of these texts would take an hour if it were quadratic.
    assert time.process_time() - begin < 60


@settings(max_examples=150)
@given(
    st.lists(st.tuples(st.integers(0, len(WHOLE)), st.integers(0, 12), FRAGMENTS), max_size=4),
    st.integers(0, 3),
)
def test_mutated_files_are_judged(path, mutations, repeat):
    """A valid file with pieces removed, replaced or inserted is loaded or rejected."""
    text = WHOLE
    for at, removed, inserted in mutations:
        text = text[:at] + inserted + text[at + removed :]
    judge(path, text * repeat if repeat else text)


@settings(max_examples=60)
@given(st.binary(max_size=60) | st.text(max_size=60) | st.lists(FRAGMENTS, max_size=8).map("".join))
def test_arbitrary_content_is_judged(path, content):
    """Any bytes are loaded or rejected."""
    judge(path, content)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (NO_OPERATION + "operation = 'o'\nresolve_below = " + "9" * 400, "must be a finite number"),
        ("a = " + "9" * 5000, "must not contain numbers of thousands of digits"),
        ("a = 0x" + "f" * 20_000, "a number or bare key must be at most 10,000 characters long"),
        ("a = " + "[" * 2000, "values must be nested at most 16 levels deep"),
        ("a" + ".a" * 50_000 + " = 1", "a key must have at most 8 names"),
        ("a = [" + "1," * 80_000 + "]", "at most 150,000 names"),
        (
            RULE.replace("above = 1\n", f'kind = "regression"\nbaseline = "{"x" * 5000}"'),
            "there is no such file",
        ),
        (NO_OPERATION + f"operation = '{'[' * 1001}'", "must be at most 1,000 characters long"),
        ("[[silence]]\nuntil = " + "9" * 400, "must be a time that a float can represent"),
        ("[[sink]]\ntype = 'log'\nlogger = '" + "a." * 300 + "'", "must have at most 200 char"),
        ("[[sink]]\ntype = 'json_lines'\npath = \"a\\u0000\"", "none of them NUL"),
        (HOOK + "attempts = 10000000000", "must be at most 1,000,000,000"),
    ],
)
def test_each_limit_has_its_message(path, text, message):
    """Each limit that a file exceeds has its own error message."""
    path.write_text(text)
    with pytest.raises(AlertsFileError, match=message):
        load(path)


def test_only_the_first_errors_are_shown(path):
    """A file with very many errors is rejected with the first hundred of them."""
    path.write_text("".join(f"a{n} = 1\n" for n in range(5000)))
    with pytest.raises(AlertsFileError) as raised:
        load(path)
    assert len(raised.value.problems) == MOST_LINES
    assert "only the first 100 errors are shown" in str(raised.value)


def test_a_file_of_thousands_of_rules_is_loaded(path):
    """The limits leave room for thousands of rules."""
    rules = "".join(RULE.replace('"r"', f'"r{n}"') for n in range(3000))
    path.write_text(rules)
    assert len(load(path).rules) == 3000


def test_the_command_exits_with_2_and_a_line(path, capsys):
    """``alerts check`` reports hostile files, and paths that are too long, in one short line."""
    for text in ("a = " + "9" * 400, "a = " + "[" * 2000, "a" + ".a" * 9999 + " = 1"):
        path.write_text(text)
        assert main(["alerts", "check", str(path)]) == 2
        assert main(["alerts", "check", "x" * 5000]) == 2
        shown, too_long = capsys.readouterr().err.splitlines()
        assert len(shown) < LONGEST_LINE
        assert "File name too long" in too_long


def test_the_command_accepts_a_baseline_with_a_long_path(path, capsys):
    """``alerts check`` says that a baseline with an impossible path does not exist."""
    rule = RULE.replace('statistic = "p95"\nabove = 1\n', 'kind = "regression"\n')
    path.write_text(f'{rule}baseline = "{"x" * 5000}"')
    assert main(["alerts", "check", str(path)]) == 0
    counts, missing = capsys.readouterr().out.splitlines()
    assert "1 rule" in counts
    assert "does not exist" in missing
    assert len(missing) < LONGEST_LINE


def test_a_hostile_file_changes_no_alerts(path):
    """``monitor.alerts.load`` raises an AlertsFileError for a hostile file, and changes nothing."""
    monitor = PerformanceMonitor()
    for text in ("a = " + "9" * 400, "a = " + "[" * 2000, RULE + "a" + ".a" * 9999 + " = 1"):
        path.write_text(text)
        with pytest.raises(AlertsFileError):
            monitor.alerts.load(path)
    assert monitor.alerts.rules() == []
    monitor.alerts.close()


@pytest.mark.parametrize("until", [10**400, -(10**400), float("inf")])
def test_a_silence_must_end_at_a_time_that_a_float_can_hold(until):
    """A silence with an end out of range is rejected with a RuleError."""
    with pytest.raises(RuleError, match="until = "):
        Silence(until=until)


def test_the_message_of_a_rule_error_is_short():
    """The message of a RuleError shows the start of a long value; the exception has all of it."""
    with pytest.raises(RuleError) as raised:
        StatisticRule(name="r", operation="o", statistic="p" * 10**6, above=1)
    assert len(str(raised.value)) < LONGEST_LINE
    assert len(raised.value.value) == 10**6
