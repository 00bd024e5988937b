"""Rules and silences that are built from mappings, as programs with their own files do."""

from __future__ import annotations

from typing import Any

from nanospan.alerts import ChangeRule, RegressionRule, Silence, StatisticRule
from nanospan.alerts.alert import describe
from nanospan_fuzz.inputs import InvalidInput, as_json, check_message

IS_JSON = True
KINDS: dict[str, type[Any]] = {
    "statistic": StatisticRule,
    "change": ChangeRule,
    "regression": RegressionRule,
    "silence": Silence,
}


def target(data: bytes) -> None:
    """Any fields give a ValueError or TypeError, or a rule that can be matched and described."""
    given = as_json(data)
    if not isinstance(given, list) or len(given) < 2 or not isinstance(given[1], dict):
        raise InvalidInput
    kind = KINDS.get(str(given[0]))
    if kind is None:
        raise InvalidInput
    value = 1.5 if len(given) < 3 or not isinstance(given[2], float) else given[2]
    try:
        rule = kind(**given[1])
    except TypeError:
        return  # a missing or unknown field, in Python's own words
    except ValueError as error:
        check_message(error)
        return
    if isinstance(rule, Silence):
        some_rule = StatisticRule(name="slow", operation="*", statistic="p50", above=1.0)
        rule.covers(some_rule, "operation", value)
        return
    rule.matches("operation " * 10)
    for each in (value, None):
        describe(rule, "operation", each)
