"""Tests for rules that the Rust sources follow but no compiler checks."""

import re
from pathlib import Path

RUST = Path(__file__).resolve().parents[2] / "rust"
HOT = RUST / "python" / "src" / "hot"
UNSAFE = re.compile(r"\bunsafe (?:\{|fn|impl|extern)")


def test_every_function_that_the_interpreter_calls_is_guarded():
    """Every ``extern "C"`` function of the native core runs its body in ``guarded``."""
    found = {}
    for path in sorted(HOT.glob("*.rs")):
        source = path.read_text(encoding="utf-8")
        functions = re.finditer(
            r'^(?:pub )?unsafe extern "C" fn (\w+)\(.*?^}', source, re.DOTALL | re.MULTILINE
        )
        for function in functions:
            found[f"{path.name}: {function[1]}"] = re.search(r"\bguarded\w*\(", function[0])
    assert len(found) > 30
    assert [name for name, guarded in found.items() if guarded is None] == []


def test_unsafe_code_of_the_binding_is_allowed_in_one_place():
    """Only one ``mod`` line of the binding allows unsafe code; no other file contains any."""
    sources = {path: path.read_text(encoding="utf-8") for path in HOT.parent.rglob("*.rs")}
    unsafe = {path for path, text in sources.items() if UNSAFE.search(text)}
    assert unsafe
    assert all(path.parent == HOT for path in unsafe)
    assert sum(text.count("unsafe_code,") for text in sources.values()) == 1


def test_unsafe_code_of_the_other_crates_is_in_the_mapped_memory():
    """Outside the binding, ``memory.rs`` is the only file with unsafe code."""
    crates = [RUST / name for name in ("fallible", "record", "stats", "format")]
    sources = [path for crate in crates for path in crate.glob("src/**/*.rs")]
    unsafe = [path for path in sources if UNSAFE.search(path.read_text(encoding="utf-8"))]
    assert unsafe == [RUST / "record" / "src" / "memory.rs"]
