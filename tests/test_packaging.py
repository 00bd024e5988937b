"""Tests that build the wheel, inspect it, and run it outside this checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Return the path of the wheel that pip builds from this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder, ROOT],
        check=True,
    )
    [wheel] = folder.glob("*.whl")
    return wheel


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    """The wheel contains the package and its licences, but no tests and no Rust sources."""
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "nanospan/__init__.py",
        "nanospan/_core.pyi",
        "nanospan/py.typed",
        "nanospan/demo/data/shakespeare.txt.xz",
    } <= names
    assert sum(name.startswith("nanospan/_core.") and name.endswith(".so") for name in names) == 1
    assert {n.rsplit("/")[-1] for n in names if "/licenses/" in n} >= {
        "LICENSE-APACHE",
        "LICENSE-MIT",
    }
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"nanospan"}
    assert not [name for name in names if name.endswith((".rs", ".toml"))]


def test_the_wheel_works_by_itself(wheel, tmp_path):
    """The monitor and the `nanospan` command work in an environment without other packages."""
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    python = environment / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python]
    subprocess.run([*pip, "install", "--quiet", "--no-index", wheel], check=True)
    code = (
        "import nanospan\n"
        "with nanospan.get_performance_monitor().track_operation('op'): pass\n"
        "print(nanospan.get_performance_monitor().get_stats('op').count, nanospan.__file__)"
    )
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    ran = subprocess.run(
        [python, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path, env=clean
    )
    count, place = ran.stdout.split()
    assert count == "1"
    assert Path(place).is_relative_to(environment)
    version = subprocess.run(
        [environment / "bin" / "nanospan", "version"], capture_output=True, text=True, check=True
    )
    assert "nanospan" in version.stdout
    demo = subprocess.run(
        [environment / "bin" / "nanospan", "demo"], capture_output=True, text=True, check=False
    )
    assert demo.returncode != 0
    assert "nanospan[demo]" in demo.stderr
