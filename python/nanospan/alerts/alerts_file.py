"""Rules, sinks and silences in a TOML file."""

from __future__ import annotations

import sys
from dataclasses import MISSING, dataclass, fields, replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanospan.alerts.fields import RuleError
from nanospan.alerts.rules import ChangeRule, RegressionRule, Rule, StatisticRule
from nanospan.alerts.silences import Silence
from nanospan.alerts.sinks import AlertmanagerSink, JsonLinesSink, LogSink, Sink, WebhookSink
from nanospan.alerts.toml_lines import Path as KeyPath
from nanospan.alerts.toml_lines import locate

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Mapping

    from nanospan.alerts.sinks.secret import Origin

__all__ = ["AlertsFile", "AlertsFileError", "Problem", "load"]

LARGEST_FILE = 1 << 20  # bytes: a rules file is written by hand

_RULES: dict[str, type[Rule]] = {
    "statistic": StatisticRule,
    "regression": RegressionRule,
    "change": ChangeRule,
}
_COMMON = ("states", "min_severity")
_HTTP = ("url", "headers", "timeout", "attempts")


@dataclass(frozen=True)
class _Maker:
    """What a table becomes, the keys that it may have, and those that it must."""

    make: Callable[..., Any]
    known: tuple[str, ...]
    needed: tuple[str, ...] = ()


_SINKS = {
    "log": _Maker(LogSink, ("logger", *_COMMON)),
    "json_lines": _Maker(JsonLinesSink, ("path", *_COMMON), ("path",)),
    "webhook": _Maker(WebhookSink, (*_HTTP, *_COMMON), ("url",)),
    "alertmanager": _Maker(AlertmanagerSink, (*_HTTP, "repeat", "min_severity"), ("url",)),
}


def _of_fields(class_: Any) -> _Maker:
    every = fields(class_)
    needed = [f for f in every if f.default is MISSING and f.default_factory is MISSING]
    return _Maker(class_, tuple(f.name for f in every), tuple(f.name for f in needed))


_SILENCE = _of_fields(Silence)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a file.

    Attributes:
        line: Where, from 1; 0 if it is of no one line.
        key: The key, as a path like ``rule[0].above``; empty if it is of no one key.
        message: What is wrong, with the value.
    """

    line: int
    key: str
    message: str


class AlertsFileError(ValueError):
    """A file of alert rules cannot be used.

    Attributes:
        path: The file.
        problems: Everything that is wrong in it.
    """

    def __init__(self, path: Path, problems: list[Problem]) -> None:
        self.path = path
        self.problems = tuple(sorted(problems, key=lambda problem: problem.line))
        places = (f"{path}:{p.line}" if p.line else f"{path}" for p in self.problems)
        lines = zip(places, self.problems, strict=True)
        super().__init__("\n".join(f"{place}: {p.message}" for place, p in lines))


@dataclass(frozen=True)
class AlertsFile:
    """What a file of alert rules says.

    Attributes:
        path: The file.
        rules: Its rules.
        sinks: Its sinks.
        silences: Its silences.
    """

    path: Path
    rules: tuple[Rule, ...]
    sinks: tuple[Sink, ...]
    silences: tuple[Silence, ...]


def load(path: str | os.PathLike[str], *, check: bool = True) -> AlertsFile:
    """Read a file of alert rules.

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
        path: The file: TOML with the arrays of tables ``rule``, ``sink`` and ``silence``.
        check: Whether to refuse what could not be used here and now: environment variables that
            are not set, baselines that are not there, and a missing httpx.

    Returns:
        What it says.

    Raises:
        AlertsFileError: (a `ValueError`) If something is wrong in it; names the line, key and value
            of everything that is.
        OSError: If it cannot be read.
        ImportError: On Python 3.10, if `tomli` is not installed.
    """
    path = Path(path)
    with path.open("rb") as file:
        data = file.read(LARGEST_FILE + 1)
    if len(data) > LARGEST_FILE:
        raise AlertsFileError(path, [Problem(0, "", f"is larger than {LARGEST_FILE} bytes")])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise AlertsFileError(path, [Problem(line, "", f"is not UTF-8: {exc.reason}")]) from None
    return _Reader(path, text, check=check).read()


def _toml_parser() -> Any:
    if sys.version_info >= (3, 11):
        import tomllib  # noqa: PLC0415 - for those who load a file only

        return tomllib
    else:  # noqa: RET505 - which mypy understands
        try:
            import tomli  # noqa: PLC0415 - optional
        except ModuleNotFoundError:
            raise ImportError(
                "rules files need tomli on Python 3.10: pip install 'nanospan[alerts]'"
            ) from None
        return tomli


class _Reader:
    """Reads one file, collecting what is wrong."""

    def __init__(self, path: Path, text: str, *, check: bool) -> None:
        self._path = path
        self._origin: Origin = "file" if check else "unchecked file"
        self._problems: list[Problem] = []
        self._lines: dict[KeyPath, int] = {}
        self._text = text

    def read(self) -> AlertsFile:
        parser = _toml_parser()
        try:
            document = parser.loads(self._text)
        except parser.TOMLDecodeError as exc:
            message, _, place = str(exc).partition(" (at line ")
            line = place.partition(",")[0]  # without one, it is the end of the document
            number = int(line) if line.isdecimal() else len(self._text.splitlines())
            problem = Problem(number, "", message)
            raise AlertsFileError(self._path, [problem]) from None
        self._lines = locate(self._text)
        self._refuse_unknown((), document, ("rule", "sink", "silence"))
        rules = [rule for each in self._tables(document, "rule") if (rule := self._rule(*each))]
        sinks = [sink for each in self._tables(document, "sink") if (sink := self._sink(*each))]
        silences = [
            silence
            for each in self._tables(document, "silence")
            if (silence := self._make(_SILENCE, *each))
        ]
        self._refuse_twins(rules)
        if self._problems:
            raise AlertsFileError(self._path, self._problems)
        return AlertsFile(self._path, tuple(rules), tuple(sinks), tuple(silences))

    def _tables(
        self, document: Mapping[str, Any], key: str
    ) -> Iterator[tuple[KeyPath, dict[str, Any]]]:
        tables = document.get(key, [])
        if not isinstance(tables, list) or not all(isinstance(each, dict) for each in tables):
            shown = "..." if key == "sink" else repr(tables)  # a sink's values may be secret
            self._problem((key,), f"{key} = {shown}: must be tables, each headed [[{key}]]")
            return
        for number, table in enumerate(tables):
            yield (key, number), table

    def _rule(self, place: KeyPath, table: dict[str, Any]) -> Rule | None:
        kind = self._kind(place, table, "kind", _RULES, "statistic")
        if kind is None:
            return None
        class_ = _RULES[kind]
        values = {key: value for key, value in table.items() if key != "kind"}
        if "baseline" in values and class_ is RegressionRule:
            baseline = values["baseline"]
            if not isinstance(baseline, str):
                self._problem((*place, "baseline"), f"baseline = {baseline!r}: must be a string")
                return None
            # A path in a file is relative to that file, wherever the program runs.
            values["baseline"] = self._path.absolute().parent / baseline
            if self._origin == "file" and not values["baseline"].is_file():
                self._problem(
                    (*place, "baseline"), f"baseline = {baseline!r}: there is no such file"
                )
                return None
        rule: Rule | None = self._make(_of_fields(class_), place, values)
        return rule

    def _sink(self, place: KeyPath, table: dict[str, Any]) -> Sink | None:
        kind = self._kind(place, table, "type", _SINKS, None)
        if kind is None:
            return None
        maker = _SINKS[kind]
        values = {key: value for key, value in table.items() if key != "type"}
        if not self._has_strings(place, values, ("path", "logger")):
            return None
        if "states" in values and not isinstance(values["states"], list):
            self._problem((*place, "states"), f"states = {values['states']!r}: must be an array")
            return None
        if kind == "json_lines" and "path" in values:
            values["path"] = self._path.absolute().parent / values["path"]
        if "url" in maker.known:
            maker = replace(maker, make=partial(maker.make, origin=self._origin))
        sink: Sink | None = self._make(maker, place, values)
        return sink

    def _has_strings(
        self, place: KeyPath, values: Mapping[str, Any], names: tuple[str, ...]
    ) -> bool:
        wrong = [n for n in names if n in values and not (isinstance(values[n], str) and values[n])]
        for name in wrong:
            self._problem((*place, name), f"{name} = {values[name]!r}: must be a non-empty string")
        return not wrong

    def _kind(
        self,
        place: KeyPath,
        table: Mapping[str, Any],
        key: str,
        kinds: Mapping[str, Any],
        default: str | None,
    ) -> str | None:
        kind = table.get(key, default)
        if isinstance(kind, str) and kind in kinds:
            return kind
        choices = ", ".join(kinds)
        if kind is None:
            self._problem(place, f"{_name(place)} lacks {key}: one of {choices}")
        else:
            self._problem((*place, key), f"{key} = {kind!r}: must be one of {choices}")
        return None

    def _make(self, maker: _Maker, place: KeyPath, values: Mapping[str, Any]) -> Any:
        """What the values of a table make; `None` where they do not."""
        before = len(self._problems)
        self._refuse_unknown(place, values, maker.known)
        for key in maker.needed:
            if key not in values:
                self._problem(place, f"{_name(place)} lacks {key}")
        if len(self._problems) > before:
            return None
        try:
            return maker.make(**values)
        except RuleError as exc:
            self._problem((*place, *exc.field.split(".")), f"{_name(place)}: {exc}")
        except (ImportError, TypeError, ValueError) as exc:
            self._problem(place, f"{_name(place)}: {exc}")
        return None

    def _refuse_unknown(
        self, place: KeyPath, table: Mapping[str, Any], known: tuple[str, ...]
    ) -> None:
        for key, value in table.items():
            if key not in known:
                close = get_close_matches(key, known, n=1)
                hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
                # Where a key is misspelt nobody knows whether its value is secret.
                shown = repr(value) if place[:1] in {("rule",), ("silence",)} else "..."
                self._problem((*place, key), f"{key} = {shown}: unknown key; {hint}")

    def _refuse_twins(self, rules: list[Rule]) -> None:
        seen = set[str]()
        for number, rule in enumerate(rules):
            if rule.name in seen:
                self._problem(
                    ("rule", number, "name"), f"name = {rule.name!r}: another rule has this name"
                )
            seen.add(rule.name)

    def _problem(self, place: KeyPath, message: str) -> None:
        self._problems.append(Problem(self._line(place), _name(place), message))

    def _line(self, place: KeyPath) -> int:
        # A key of an inline table, or one that is missing, is found by what it belongs to, and an
        # array of tables by its first.
        while place and place not in self._lines and (*place, 0) not in self._lines:
            place = place[:-1]
        return self._lines.get(place, self._lines.get((*place, 0), 0))


def _name(place: KeyPath) -> str:
    name = ""
    for part in place:
        name += f"[{part}]" if isinstance(part, int) else f"{'.' if name else ''}{part}"
    return name
