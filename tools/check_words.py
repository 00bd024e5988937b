#!/usr/bin/env python3
"""Find phrases that do not read as plain English, and single backticks in docstrings.

usage: tools/check_words.py [FOLDER]

Read the sources and pages of the Git checkout in FOLDER (this one by default), print each hit as
``file:line: "phrase"; write ... instead``, and exit with 1 if there are any. A line whose
comment contains ``words: allow`` is skipped; use that for quotations, or where a phrase is right.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
FILES = ["*.py", "*.pyi", "*.rs", "*.md", "*.toml", "*.sh", "Makefile", "tools/*"]
ALLOW = "words: allow"

# A space in a pattern also matches a line break and the comment marker that follows it.
GAP = r"\s+(?:[#/!*]+\s+)?"
# "is no longer", "is no slower than" and "there is no" are plain English.
NOT_A_NOUN = r"(?!(?:longer|more|less|better|worse|slower|faster|later|earlier|larger|smaller)\b)"
OPENING = "Return ..., or name the thing: an imperative or a noun"
PRESENT = "what the code does today"
PHRASES = {
    rf"(?<!here\s)\b(?:is|was) no {NOT_A_NOUN}[a-z]+": '"is not a ..." or "has no ..."',
    r"(?<!here\s)\b(?:is|are) none\b": '"there is no ..." or "is not a ..."',
    r"(?i:\bwhoever\b)": "the one who acts: the caller, the thread, the user",
    r"(?i:\b(?:no|any|some|every)body\b)": "who or what it is: the caller, a reader, a process",
    r"(?<!(?:one|any|all)\s)\bof (?:its|their|one's) own\b(?! accord)": '"its own ..."',
    r"\bmarks? to beat\b": "whose figure it is",
    r"\b[Tt]he replaced (?:system|monitor|pool|interface)\b": "what it is by its name",
    r"\banew\b": '"again"',
    r"\bat no moment\b": '"never"',
    r"\bsays which\b": '"Return True if ..."',
    r"\bhas a value it cannot have\b": '"has an invalid value"',
    r"\bor the like\b": "what exactly",
    r"\bdid not do what it should\b": '"failed"',
    r"\b(?:Measured|Judged|Shown|Counted|Compared|Meant) (?:is|are)\b": "the subject first",
    r"\ba (?:int|async|alert|event|operation|exception|empty|unknown|invalid)\b": '"an ..."',
    r"\bTO[D]O\b|\bFIX[M]E\b": PRESENT,
    r"\bfor now\b": PRESENT,
    r"\b[Pp]hase \d": PRESENT,
    r"\b[Tt]he (?:new|old|next) version of this\b": PRESENT,
    r"\b[Ff]ormerly\b": PRESENT,
    r"\b(?:(?:behavi|neighb)or|(?:summari|rasteri|seriali|synchroni)z)": "the British spelling",
}
DOCSTRING_OPENING = re.compile(r"(?:What|Who|Whose|How)\b")
SINGLE_BACKTICKS = re.compile(r":\w+:`[^`]+`|(?<!`)`[^`\n]+`(?!`)_?")


def main() -> int:
    """Check the folder named on the command line, and return the exit status."""
    arguments = sys.argv[1:]
    if len(arguments) > 1 or any(argument.startswith("-") for argument in arguments):
        print((__doc__ or "").strip())
        return 0 if arguments[0] in {"-h", "--help"} else 2
    folder = Path(arguments[0]) if arguments else ROOT
    hits = [hit for path in tracked(folder) for hit in check(path, path.relative_to(folder))]
    print(*hits, sep="\n", end="\n" if hits else "")
    return 1 if hits else 0


def tracked(folder: Path) -> list[Path]:
    """Return the files to check: those that Git tracks, or that are neither tracked nor ignored."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *FILES]
    listed = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)  # noqa: S603
    paths = (folder / name for name in sorted(listed.stdout.split("\0")) if name)
    return [path for path in paths if path.is_file()]


def check(path: Path, name: Path) -> list[str]:
    """Return a message for each hit in a file, ordered by line."""
    text = path.read_text(encoding="utf-8")
    found = list(phrases(text))
    if path.suffix == ".py":
        found += docstrings(text, tests=name.parts[0] == "tests")
    lines = text.splitlines()
    return [
        f'{name}:{line}: "{phrase}"; write {instead} instead'
        for line, phrase, instead in sorted(found)
        if ALLOW not in lines[line - 1]
    ]


def phrases(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield the line number, phrase and alternative for each hit in a text."""
    for pattern, instead in PHRASES.items():
        for match in re.finditer(pattern.replace(" ", GAP), text):
            yield text.count("\n", 0, match.start()) + 1, re.sub(GAP, " ", match[0]), instead


def docstrings(text: str, *, tests: bool) -> Iterator[tuple[int, str, str]]:
    """Yield the line number, text and alternative for each fault found only in docstrings."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, documented) or ast.get_docstring(node) is None:
            continue
        statement = node.body[0]
        docstring = ast.get_docstring(node, clean=False) or ""
        if match := DOCSTRING_OPENING.match(docstring):
            yield statement.lineno, match[0], OPENING
        for match in () if tests else SINGLE_BACKTICKS.finditer(docstring):
            if match[0][0] == ":" or match[0][-1] == "_":  # a role such as :class:, or a link
                continue
            line = statement.lineno + docstring.count("\n", 0, match.start())
            yield line, match[0], f"`{match[0]}`"


if __name__ == "__main__":
    sys.exit(main())
