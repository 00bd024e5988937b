"""Read alert rules, sinks and silences from a TOML file."""

from __future__ import annotations

import os
import sys
from dataclasses import MISSING, dataclass, fields, replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from nanospan.alerts.fields import RuleError
from nanospan.alerts.rules import ChangeRule, RegressionRule, Rule, StatisticRule
from nanospan.alerts.silences import Silence
from nanospan.alerts.sinks import AlertmanagerSink, JsonLinesSink, LogSink, Sink, WebhookSink
from nanospan.alerts.toml_lines import ComplexityError, locate, statements
from nanospan.alerts.toml_lines import Path as KeyPath
from nanospan.values.extras import needs
from nanospan.values.inputs import open_input
from nanospan.values.messages import shorten, shown
from nanospan.values.units import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from types import ModuleType

    from _typeshed import DataclassInstance

    from nanospan.alerts.sinks.secret import Origin

__all__ = ["AlertsFile", "AlertsFileError", "Problem", "load"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
D = TypeVar("D", bound="DataclassInstance")

LARGEST_FILE = 1 << 20
"""The maximum size of an alerts file, in bytes: far more than anyone would write by hand."""

MOST_PROBLEMS = 100
"""The maximum number of errors to report; a file with more of them is probably of another kind."""

LONGEST_GUESSED = 100
"""The length in characters up to which a similar known key is sought for an unknown key."""


@dataclass(frozen=True)
class _TableType(Generic[T_co]):
    """The constructor for one kind of TOML table, and the table's known and required keys."""

    make: Callable[..., T_co]
    known: tuple[str, ...]
    required: tuple[str, ...] = ()


def _dataclass_table(class_: type[D]) -> _TableType[D]:
    every = fields(class_)
    required = [f for f in every if f.default is MISSING and f.default_factory is MISSING]
    return _TableType(class_, tuple(f.name for f in every), tuple(f.name for f in required))


_RULES: dict[str, _TableType[Rule]] = {
    "statistic": _dataclass_table(StatisticRule),
    "regression": _dataclass_table(RegressionRule),
    "change": _dataclass_table(ChangeRule),
}
_SILENCE = _dataclass_table(Silence)
_FILTERS = ("states", "min_severity")
_HTTP = ("url", "headers", "timeout", "attempts")
_SINKS: dict[str, _TableType[Sink]] = {
    "log": _TableType(LogSink, ("logger", *_FILTERS)),
    "json_lines": _TableType(JsonLinesSink, ("path", *_FILTERS), ("path",)),
    "webhook": _TableType(WebhookSink, (*_HTTP, *_FILTERS), ("url",)),
    "alertmanager": _TableType(AlertmanagerSink, (*_HTTP, "repeat", "min_severity"), ("url",)),
}


# The limit of paths is the system's. The time to get a logger grows with the square of its name.
_LONGEST = {"path": 4096, "logger": 200}


@dataclass(frozen=True, slots=True)
class Problem:
    """One error in an alerts file.

    Attributes:
        line: The line number, counted from 1; 0 if the error concerns no particular line.
        key: The key, as a path like ``rule[0].above``; empty if the error concerns no particular
            key.
        message: A description of the error, including the offending value.
    """

    line: int
    key: str
    message: str


class AlertsFileError(ValueError):
    """Raised when an alerts file contains errors.

    Attributes:
        path: The path of the file.
        problems: All errors in the file, sorted by line.
    """

    def __init__(self, path: Path, problems: list[Problem]) -> None:
        self.path = path
        self.problems = tuple(sorted(problems, key=lambda problem: problem.line))
        places = (f"{path}:{p.line}" if p.line else f"{path}" for p in self.problems)
        lines = zip(places, self.problems, strict=True)
        super().__init__("\n".join(f"{place}: {p.message}" for place, p in lines))


@dataclass(frozen=True)
class AlertsFile:
    """The contents of an alerts file.

    Attributes:
        path: The path of the file.
        rules: The rules, in file order.
        sinks: The sinks, in file order.
        silences: The silences, in file order.
    """

    path: Path
    rules: tuple[Rule, ...]
    sinks: tuple[Sink, ...]
    silences: tuple[Silence, ...]


def load(path: str | os.PathLike[str], *, check: bool = True) -> AlertsFile:
    """Read alert rules, sinks and silences from a TOML file.

    ```toml
    [[rule]]
    name = "slow stores"
    operation = "m1_*"
    statistic = "p95"
    above = 0.150

    [[sink]]
    type = "webhook"
    url = "env:HOOK_URL"
    ```

    Args:
        path: A TOML file with the arrays of tables ``rule``, ``sink`` and ``silence``.
        check: Whether to also report errors that depend on this machine: environment variables
            that are not set, baseline files that do not exist, and httpx not being installed if a
            sink needs it.

    Returns:
        The contents of the file.

    Raises:
        AlertsFileError: (a ``ValueError``) If the file contains errors; the message gives the line,
            key and value of each.
        OSError: If the file cannot be read, or is not a regular file.
        ImportError: On Python 3.10, if ``tomli`` is not installed.
    """
    path = Path(path)
    with open_input(path) as file:
        data = file.read(LARGEST_FILE + 1)
    if len(data) > LARGEST_FILE:
        raise AlertsFileError(
            path, [Problem(0, "", f"the file must be at most {LARGEST_FILE} bytes long")]
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        problem = Problem(line, "", f"the file must be encoded in UTF-8: {exc.reason}")
        raise AlertsFileError(path, [problem]) from None
    return _Reader(path, text, check=check).read()


def _toml_parser() -> ModuleType:
    if sys.version_info >= (3, 11):
        import tomllib  # noqa: PLC0415 - imported only if a file is loaded

        return tomllib
    else:  # noqa: RET505 - mypy needs the else to skip this branch
        try:
            import tomli  # noqa: PLC0415 - optional
        except ModuleNotFoundError:
            raise ImportError(
                f"an alerts file, on Python 3.10, {needs('tomli', 'alerts')}"
            ) from None
        return tomli


class _TooManyProblemsError(Exception):
    """Ends the reading of a file that has too many errors to report them all."""


class _Reader:
    """Parses one alerts file and collects all errors in the file."""

    def __init__(self, path: Path, text: str, *, check: bool) -> None:
        self._path = path
        self._origin: Origin = "file" if check else "unchecked file"
        self._problems: list[Problem] = []
        self._lines: dict[KeyPath, int] = {}
        self._text = text

    def read(self) -> AlertsFile:
        document = self._parse()
        try:
            return self._interpret(document)
        except _TooManyProblemsError:
            raise AlertsFileError(self._path, self._problems) from None

    def _parse(self) -> dict[str, object]:
        parser = _toml_parser()
        try:
            # This comes first, because it bounds the time and depth of the parser.
            found = list(statements(self._text))
            document: dict[str, object] = parser.loads(self._text)
        except ComplexityError as exc:
            problem = Problem(exc.line, "", str(exc))
        except parser.TOMLDecodeError as exc:
            message, _, place = str(exc).partition(" (at line ")
            line = place.partition(",")[0]  # the end of the file has no number
            number = int(line) if line.isdecimal() else len(self._text.splitlines())
            problem = Problem(number, "", shorten(printable(message)))
        except ValueError:
            # Python limits the number of digits, and tomllib does not say where it found them.
            problem = Problem(0, "", "the file must not contain numbers of thousands of digits")
        except RecursionError:
            problem = Problem(0, "", "there is no room left on the stack to read the file")
        else:
            self._lines = locate(found)
            return document
        raise AlertsFileError(self._path, [problem])

    def _interpret(self, document: dict[str, object]) -> AlertsFile:
        self._report_unknown_keys((), document, ("rule", "sink", "silence"))
        rules = [rule for each in self._tables(document, "rule") if (rule := self._rule(*each))]
        sinks = [sink for each in self._tables(document, "sink") if (sink := self._sink(*each))]
        silences = [
            silence
            for each in self._tables(document, "silence")
            if (silence := self._make(_SILENCE, *each))
        ]
        self._report_duplicate_names(rules)
        if self._problems:
            raise AlertsFileError(self._path, self._problems)
        return AlertsFile(self._path, tuple(rules), tuple(sinks), tuple(silences))

    def _tables(
        self, document: Mapping[str, object], key: str
    ) -> Iterator[tuple[KeyPath, dict[str, object]]]:
        tables = document.get(key, [])
        if not isinstance(tables, list) or not all(isinstance(each, dict) for each in tables):
            text = "..." if key == "sink" else shown(tables)  # a sink's values may be secrets
            self._report((key,), f"{key} = {text}: must be tables, each headed [[{key}]]")
            return
        for number, table in enumerate(tables):
            yield (key, number), table

    def _rule(self, place: KeyPath, table: dict[str, object]) -> Rule | None:
        kind = self._kind(place, table, "kind", _RULES, "statistic")
        if kind is None:
            return None
        values = {key: value for key, value in table.items() if key != "kind"}
        if "baseline" in values and kind == "regression":
            baseline = values["baseline"]
            if not isinstance(baseline, str):
                problem = f"baseline = {shown(baseline)}: must be a string"
                self._report((*place, "baseline"), problem)
                return None
            # Relative paths are relative to the alerts file, not to the working directory.
            path = self._path.absolute().parent / baseline
            # Unlike Path.is_file, it returns False if the path is too long.
            if self._origin == "file" and not os.path.isfile(path):  # noqa: PTH113
                self._report(
                    (*place, "baseline"), f"baseline = {shown(baseline)}: there is no such file"
                )
                return None
            values["baseline"] = path
        return self._make(_RULES[kind], place, values)

    def _sink(self, place: KeyPath, table: dict[str, object]) -> Sink | None:
        kind = self._kind(place, table, "type", _SINKS, None)
        if kind is None:
            return None
        table_type = _SINKS[kind]
        values = {key: value for key, value in table.items() if key != "type"}
        if not self._check_strings(place, values, ("path", "logger")):
            return None
        if "states" in values and not isinstance(values["states"], list):
            self._report(
                (*place, "states"), f"states = {shown(values['states'])}: must be an array"
            )
            return None
        if kind == "json_lines" and "path" in values:
            values["path"] = self._path.absolute().parent / str(values["path"])
        if "url" in table_type.known:
            table_type = replace(table_type, make=partial(table_type.make, origin=self._origin))
        return self._make(table_type, place, values)

    def _check_strings(
        self, place: KeyPath, values: Mapping[str, object], names: tuple[str, ...]
    ) -> bool:
        wrong = [n for n in names if n in values and not (isinstance(values[n], str) and values[n])]
        for name in wrong:
            value = shown(values[name])
            self._report((*place, name), f"{name} = {value}: must be a non-empty string")
        if wrong:
            return False
        for name in (n for n in names if n in values):
            text, most = str(values[name]), _LONGEST[name]
            if len(text) > most or "\0" in text:
                problem = f"must have at most {most:,} characters, none of them NUL"
                self._report((*place, name), f"{name} = {shown(text)}: {problem}")
                return False
        return True

    def _kind(
        self,
        place: KeyPath,
        table: Mapping[str, object],
        key: str,
        kinds: Collection[str],
        default: str | None,
    ) -> str | None:
        kind = table.get(key, default)
        if isinstance(kind, str) and kind in kinds:
            return kind
        choices = ", ".join(kinds)
        if kind is None:
            self._report(place, f"{_name(place)} lacks {key}: one of {choices}")
        else:
            self._report((*place, key), f"{key} = {shown(kind)}: must be one of {choices}")
        return None

    def _make(
        self, table_type: _TableType[T], place: KeyPath, values: Mapping[str, object]
    ) -> T | None:
        """Build the object that a TOML table describes, or report the errors and return None."""
        before = len(self._problems)
        self._report_unknown_keys(place, values, table_type.known)
        for key in table_type.required:
            if key not in values:
                self._report(place, f"{_name(place)} lacks {key}")
        if len(self._problems) > before:
            return None
        try:
            return table_type.make(**values)
        except RuleError as exc:
            self._report((*place, *exc.field.split(".", 1)), f"{_name(place)}: {exc}")
        except (ImportError, TypeError, ValueError) as exc:
            self._report(place, f"{_name(place)}: {shorten(exc)}")
        return None

    def _report_unknown_keys(
        self, place: KeyPath, table: Mapping[str, object], known: tuple[str, ...]
    ) -> None:
        for key, value in table.items():
            if key not in known:
                close = get_close_matches(key[:LONGEST_GUESSED], known, n=1)
                hint = f"did you mean {close[0]}?" if close else f"use one of {', '.join(known)}"
                # The value of an unknown key may be a secret, except in rules and silences.
                text = shown(value) if place[:1] in {("rule",), ("silence",)} else "..."
                self._report((*place, key), f"{_name((key,))} = {text}: unknown key; {hint}")

    def _report_duplicate_names(self, rules: list[Rule]) -> None:
        seen = set[str]()
        for number, rule in enumerate(rules):
            if rule.name in seen:
                self._report(
                    ("rule", number, "name"),
                    f"name = {shown(rule.name)}: another rule has this name",
                )
            seen.add(rule.name)

    def _report(self, place: KeyPath, message: str) -> None:
        if len(self._problems) == MOST_PROBLEMS:
            message = f"only the first {MOST_PROBLEMS} errors are shown"
            self._problems.append(Problem(0, "", message))
            raise _TooManyProblemsError
        self._problems.append(Problem(self._line(place), _name(place), message))

    def _line(self, place: KeyPath) -> int:
        # A key that is missing or inside an inline table is reported at the line of the enclosing
        # table, and an array of tables at the line of its first table.
        while place and place not in self._lines and (*place, 0) not in self._lines:
            place = place[:-1]
        return self._lines.get(place, self._lines.get((*place, 0), 0))


def _name(place: KeyPath) -> str:
    name = ""
    for part in place:
        if isinstance(part, int):
            name += f"[{part}]"
        else:
            name += f"{'.' if name else ''}{shorten(printable(part))}"
    return name
