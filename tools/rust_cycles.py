#!/usr/bin/env python3
"""Print every cycle of Rust files that import each other, and exit with 1 if there is one.

usage: tools/rust_cycles.py [FOLDER]

The crates are those in FOLDER/rust (this checkout by default). A file imports another if its
code names the other's module, or an item in that module, by a path that begins with ``crate``,
``super``, ``self``, another crate of the workspace or one of the file's submodules, in a ``use`` or
elsewhere. Comments, strings, tests (``#[cfg(test)]``, files called tests) and declarations
(``mod name;``) do not count.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

Module = tuple[str, ...]
Graph = dict[Path, set[Path]]

NOISE = re.compile(
    r"""//[^\n]*
    | /\*.*?\*/
    | b?r(?P<hashes>\#*)".*?"(?P=hashes)
    | [bc]?"(?:\\.|[^"\\])*"
    | b?'(?:\\.[^']*|[^'\\])'""",
    re.DOTALL | re.VERBOSE,
)
TEST = re.compile(r"#\[cfg\((?:all\()?test\b[^\]]*\]")
USE = re.compile(r"\buse\s+([^;]+);")
PATH = re.compile(r"(?<![\w:.$])\w+(?:\s*::\s*\w+)+")


def code_of(text: str) -> str:
    """Return the source without comments, strings, character literals and test modules."""
    code = NOISE.sub(" ", text)
    while test := TEST.search(code):
        end = len(code)
        depth = 0
        for at in range(test.end(), len(code)):
            depth += {"{": 1, "}": -1}.get(code[at], 0)
            if depth == 0 and code[at] in "};":
                end = at + 1
                break
        code = code[: test.start()] + code[end:]
    return code


def leaves(tree: str, prefix: Module = ()) -> Iterator[Module]:
    """Yield the full path of each leaf in a ``use`` tree such as ``a::{b, c::d}``."""
    depth = start = 0
    for at, char in enumerate(f"{tree},"):
        depth += {"{": 1, "}": -1}.get(char, 0)
        if char != "," or depth:
            continue
        branch, start = tree[start:at], at + 1
        if not branch.strip():
            continue  # after a trailing comma
        head, brace, rest = branch.partition("{")
        path = (*prefix, *(part.strip() for part in head.split("::") if part.strip()))
        if brace:
            yield from leaves(rest.rpartition("}")[0], path)
        else:
            yield (*path[:-1], path[-1].split()[0])


def modules(root: Path) -> dict[Module, Path]:
    """Return the files of all crates, keyed by module path, which begins with the crate's name."""
    found: dict[Module, Path] = {}
    for manifest in sorted(root.glob("rust/*/Cargo.toml")):
        name = re.search(r'^name\s*=\s*"([^"]+)"', manifest.read_text(), re.MULTILINE)
        crate = name[1].replace("-", "_") if name else manifest.parent.name
        source = manifest.parent / "src"
        for file in sorted(source.rglob("*.rs")):
            parts = file.relative_to(source).with_suffix("").parts
            if "tests" not in parts:
                found[(crate, *(part for part in parts if part not in {"lib", "mod"}))] = file
    return found


def imports(root: Path) -> Graph:
    """Return the set of files that each file imports, keyed by the importing file."""
    known = modules(root)
    graph: Graph = {}
    for module, file in known.items():
        code = code_of(file.read_text())
        named = [path for use in USE.findall(code) for path in leaves(use)]
        rest = USE.sub(" ", code)
        named += [tuple(re.split(r"\s*::\s*", path)) for path in PATH.findall(rest)]
        graph[file] = set()
        for path in named:
            target = _absolute(path, module, known)
            while target and target not in known:
                target = target[:-1]
            if target and known[target] != file:
                graph[file].add(known[target])
    return graph


def _absolute(path: Module, module: Module, known: dict[Module, Path]) -> Module:
    """Return ``path`` in absolute form, from its crate; empty if it leads outside the workspace."""
    if path[0] == "crate":
        return (module[0], *path[1:])
    if path[0] in {"super", "self"}:
        base = module
        while path and path[0] in {"super", "self"}:
            base = base[:-1] if path[0] == "super" else base
            path = path[1:]
        return (*base, *path)
    if (path[0],) in known:
        return path
    return (*module, *path) if (*module, path[0]) in known else ()


def circles(graph: Graph) -> list[list[Path]]:
    """Return the sorted groups of files that import each other, directly or indirectly."""
    reached: Graph = {}
    for start in graph:
        seen: set[Path] = set()
        waiting = [start]
        while waiting:
            for file in graph[waiting.pop()] - seen:
                seen.add(file)
                waiting.append(file)
        reached[start] = seen
    groups = {
        tuple(sorted(other for other in reached[file] if file in reached[other]))
        for file in graph
        if file in reached[file]
    }
    return [list(group) for group in sorted(groups)]


def main(arguments: list[str]) -> int:
    """Print the import cycles and return the exit status."""
    root = Path(arguments[0]) if arguments else Path(__file__).resolve().parents[1]
    graph = imports(root)
    if not graph:
        print(f"{root}: no Rust files under rust/*/src; pass the root of the workspace")
        return 2
    found = circles(graph)
    for number, group in enumerate(found, 1):
        print(f"cycle {number}:")
        for file in group:
            others = sorted(str(other.relative_to(root)) for other in graph[file] & set(group))
            print(f"  {file.relative_to(root)} imports {', '.join(others)}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
