"""Tests for ``tools/rust_cycles.py``, which finds circular Rust imports in ``make lint``."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "rust_cycles.py"


@pytest.fixture
def check(tmp_path):
    """Return a function that runs the tool on a workspace whose crate ``a`` has the given files."""

    def run(files):
        for name, text in files.items():
            file = tmp_path / "rust" / "a" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            (tmp_path / "rust" / "a" / "Cargo.toml").write_text('[package]\nname = "the-a"\n')
        command = [sys.executable, TOOL, tmp_path]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    return run


def test_files_that_import_one_way_pass(check):
    """A one-way chain of imports is accepted, whatever the crate's root re-exports."""
    done = check(
        {
            "src/lib.rs": "mod x;\nmod y;\npub use x::X;\npub use y::Y;\n",
            "src/x.rs": "use crate::y::Y;\npub struct X(Y);\n",
            "src/y.rs": "use std::fmt::{\n    self,\n    Debug,\n};\npub struct Y;\n",
        }
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_circle_is_printed_with_what_ties_it(check):
    """Each file in a circle is printed with its imports from other files in the circle."""
    done = check(
        {
            "src/lib.rs": "mod x;\nmod y;\nmod z;\n",
            "src/x.rs": "use crate::{\n    y::Y,\n    z::{Z, more},\n};\n",
            "src/y.rs": "use super::x::X as Renamed;\n",
            "src/z.rs": "",
        }
    )
    assert done.returncode == 1
    assert done.stdout == (
        "cycle 1:\n"
        "  rust/a/src/x.rs imports rust/a/src/y.rs\n"
        "  rust/a/src/y.rs imports rust/a/src/x.rs\n"
    )


@pytest.mark.parametrize(
    "child",
    [
        "use super::Parent;\n",
        "fn f() -> crate::parent::Parent { todo!() }\n",
        "use the_a::parent::{child::Other, Parent};\n",
    ],
)
def test_a_child_that_imports_what_its_parent_defines_is_a_circle(check, child):
    """Parent and child modules that use each other are a circle; ``mod child;`` alone is not."""
    parent = "mod child;\npub struct Parent;\n"
    lib = "pub mod parent;\n"
    files = {"src/lib.rs": lib, "src/parent/mod.rs": parent, "src/parent/child.rs": child}
    assert check(files).returncode == 0
    files["src/parent/mod.rs"] += "pub use child::Child;\n"
    done = check(files)
    assert (done.returncode, len(done.stdout.splitlines())) == (1, 3)


def test_an_item_at_the_root_counts_as_the_root(check):
    """A file that imports from ``lib.rs`` is in a circle if ``lib.rs`` re-exports the file."""
    done = check({"src/lib.rs": "mod x;\npub use x::X;\n", "src/x.rs": "use crate::Other;\n"})
    assert done.returncode == 1


def test_comments_strings_and_tests_do_not_count(check):
    """Paths in comments, strings and test code do not count as imports."""
    done = check(
        {
            "src/lib.rs": "mod x;\nmod y;\n",
            "src/x.rs": "use crate::y::Y;\n#[cfg(test)]\nmod tests;\n",
            "src/x/tests.rs": "use crate::y::Y;\n",
            "src/y.rs": (
                "//! See [`X`](crate::x::X). /* crate::x */\n"
                "/* use crate::x::X; */\n"
                'const TEXT: &str = "crate::x::X and \\" crate::x";\n'
                'const RAW: &str = r#"crate::x::X""#;\n'
                "fn f<'a>(text: &'a str) -> char { '\"' }\n"
                "#[cfg(all(test, not(loom)))]\nmod tests {\n    use crate::x::X;\n}\n"
            ),
        }
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_code_behind_a_test_module_counts(check):
    """A test module is ignored, but code after the test module is not."""
    done = check(
        {
            "src/lib.rs": "mod x;\nmod y;\n",
            "src/x.rs": "use crate::y::Y;\n",
            "src/y.rs": "#[cfg(test)]\nmod tests {\n    fn t() {}\n}\nuse crate::x::X;\n",
        }
    )
    assert done.returncode == 1


def test_a_folder_without_crates_is_an_error(check):
    """A folder without crates is an error, so that a mistyped path is noticed."""
    assert check({}).returncode == 2
