"""Alerts files that cost parsers and validators much time, memory or depth, in any size."""

from collections.abc import Iterator

RULE = '[[rule]]\nname = "r"\noperation = "o"\nstatistic = "p95"\nabove = 1\n'
NO_OPERATION = RULE.replace('operation = "o"\n', "")
HOOK = "[[sink]]\ntype = 'webhook'\nurl = 'http://h'\n"

# What is repeated; %d stands for the number of the repetition.
REPEATED = {
    "keys": "a%d = 1\n",
    "tables": "[a%d]\n",
    "elements": "[[a]]\n",
    "arrays": "[[a%d]]\n",
    "rules": RULE,
    "named rules": RULE.replace('"r"', '"r%d"'),
    "empty rules": "[[rule]]\n",
    "log sinks": "[[sink]]\ntype = 'log'\n",
    "webhooks": HOOK,
    "silences": "[[silence]]\nuntil = 1\n",
    "headers of eight names": "[a%d.b.c.d.e.f.g.h]\n",
    "keys of eight names": "a%d.b.c.d.e.f.g.h = 1\n",
    "comments": "#\n",
    "comments after junk": "$#\n",
    "line breaks": "\n",
    "CRLF": "\r\n",
    "CR": "\r",
    "spaces": " ",
    "NUL": "\0",
    "unclosed strings": '"\n',
    "unclosed long strings": '"""\n',
    "quotes": '"',
    "apostrophes": "'",
    "escaped quotes": '\\"',
    "brackets": "[",
    "closing brackets": "]",
    "braces": "{",
    "dots": ".",
    "equals signs": "=",
    "commas": ",",
    "names": "a.",
    "bidi": "\u202e",
    "BOM": "\ufeff",
}

# What is before, repeated, and after.
SURROUNDED = {
    "integer": ("a = ", "1", ""),
    "fraction": ("a = 0.", "0", "1"),
    "exponent": ("a = 1e", "1", ""),
    "hexadecimal": ("a = 0x", "f", ""),
    "integers": ("a = [", "1,", "]"),
    "dates": ("a = [", "2000-01-01,", "]"),
    "empty arrays": ("a = [", "[],", "]"),
    "empty tables": ("a = [", "{},", "]"),
    "empty strings": ("a = [", '"",', "]"),
    "deep arrays": ("a = ", "[", ""),
    "deep tables": ("a = ", "{a = ", ""),
    "deep tables of dotted keys": ("a = ", "{a.a.a.a.a.a.a.a = ", ""),
    "dotted key": ("a", ".a", " = 1"),
    "dotted table": ("[a", ".a", "]"),
    "dotted key in a table": ("a = {a", ".a", " = 1}"),
    "quoted dotted key": ("a", '."\\"b"', " = 1"),
    "spaced dotted key": ("a", " . a", " = 1"),
    "bare key": ("", "a", " = 1"),
    "quoted key": ('"', "a", '" = 1'),
    "key of backslashes": ('"', "\\\\", '" = 1'),
    "key of escapes": ('"', "\\u001b", '" = 1'),
    "string": ('a = "', "x", '"'),
    "string of escapes": ('a = "', "\\n", '"'),
    "unclosed string of escapes": ('a = "', '\\"', ""),
    "long string of quotes": ('a = """', '""x', '"""'),
    "unclosed long string": ('a = """', '\\"', ""),
    "literal": ("a = '''", "x'", "'''"),
    "surrogates": ('a = "', "\\ud800", '"'),
    "comment": ("#", "x", ""),
    "array of comments": ("a = [", "#\n", "]"),
    "unknown keys": (RULE, "%d = 1\n", ""),
    "pattern": (NO_OPERATION + 'operation = "', "*a", '"'),
    "pattern of brackets": (NO_OPERATION + 'operation = "', "[", '"'),
    "limit": (RULE.replace("1\n", "0x"), "f", ""),
    "summary": (RULE + 'summary = "', "{value}", '"'),
    "summary of braces": (RULE + 'summary = "', "{", '"'),
    "format": (RULE + 'summary = "{value:', "0", '}"'),
    "placeholder": (RULE + 'summary = "{', "x", '}"'),
    "placeholder of items": (RULE + 'summary = "{value', "[0]", '}"'),
    "label": (RULE + "labels = {", "a", " = 1}"),
    "invalid label": (RULE + "labels = {'", "-", "' = ''}"),
    "pattern of a label": ("[[silence]]\nuntil = 1\nlabels = {a = '", "*a", "'}"),
    "baseline": (RULE + 'kind = "regression"\nbaseline = "', "x", '"'),
    "kind": (RULE + 'kind = "', "x", '"'),
    "min_count": (RULE + "min_count = 0x", "f", ""),
    "until": ("[[silence]]\nuntil = 0x", "f", ""),
    "path": ("[[sink]]\ntype = 'json_lines'\npath = '", "x/", "'"),
    "logger": ("[[sink]]\ntype = 'log'\nlogger = '", "a.", "'"),
    "states": ("[[sink]]\ntype = 'log'\nstates = [", "'firing',", "]"),
    "host": ("[[sink]]\ntype = 'webhook'\nurl = 'http://", "h", "'"),
    "variable": ("[[sink]]\ntype = 'webhook'\nurl = 'env:", "A", "'"),
    "variables": ("[[sink]]\ntype = 'webhook'\nurl = '", "env:A ", "'"),
    "header of dots": (HOOK + "headers = {'", "a.", "' = 1}"),
    "attempts": (HOOK + "attempts = 0x", "f", ""),
    "timeout": (HOOK + "timeout = 0x", "f", ""),
}


def hostile_texts(size: int) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each alerts file; all have about ``size`` bytes."""
    parts = {name: ("", part, "") for name, part in REPEATED.items()} | SURROUNDED
    for name, (before, part, after) in parts.items():
        room = max(size - len(before) - len(after), 0)
        times = room // (len(part.encode()) + 4 * ("%d" in part))
        middle = "".join(part % n for n in range(times)) if "%d" in part else part * times
        yield name, before + middle + after
