"""The fuzzing engines that this machine has, and how to start each for a target."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from nanospan_fuzz.session import HANG, MOST_MEMORY
from nanospan_fuzz.targets import names

ROOT = Path(__file__).resolve().parents[3]
SEEDS = ROOT / "tests" / "corpus"
WORK = ROOT / "target" / "fuzz"
FAILURES = ROOT / "fuzz" / "failures"
RUST = ROOT / "fuzz" / "rust"
LONGEST = 64 * 1024
"""The longest input of targets in Rust, in bytes."""

CARGO_FUZZ = WORK / "tools" / "bin"
"""Where cargo-fuzz is installed if it is not on the path."""

# Without these, the compiler would optimise across crates for minutes, and strip what names the
# place of a failure.
PROFILE = {
    "CARGO_PROFILE_RELEASE_CODEGEN_UNITS": "16",
    "CARGO_PROFILE_RELEASE_LTO": "off",
    "CARGO_PROFILE_RELEASE_STRIP": "none",
}


@dataclass(frozen=True)
class Job:
    """A target and the engine that runs it.

    Attributes:
        target: The target's name.
        engine: ``libFuzzer``, ``proptest``, ``atheris`` or ``hypothesis``.
        command: The command, which ends by itself, with a status other than 0 after a failure.
        environment: Variables to add to the environment.
    """

    target: str
    engine: str
    command: list[str]
    environment: dict[str, str]


def rust_targets() -> list[str]:
    """Return the names of the targets in Rust."""
    return sorted(path.stem for path in (RUST / "fuzz_targets").glob("*.rs"))


def all_targets() -> list[str]:
    """Return the names of all targets."""
    return sorted([*rust_targets(), *names()])


def jobs(targets: list[str], seconds: int, rust: str, python: str) -> list[Job]:
    """Return a job for each target.

    Args:
        targets: The targets' names.
        seconds: For how long to run each.
        rust: The engine for targets in Rust.
        python: The engine for targets in Python.
    """
    in_rust = set(rust_targets())
    return [
        _python_job(name, seconds, python)
        if name not in in_rust
        else _libfuzzer_job(name, seconds)
        if rust == "libFuzzer"
        else _proptest_job(name, seconds)
        for name in targets
    ]


def merge_command(job: Job, into: Path, found: Path) -> list[str]:
    """Return the command that adds the inputs in ``found`` that reach new code to ``into``."""
    if job.engine == "libFuzzer":
        return [job.command[0], "-merge=1", str(into), str(found)]
    return [
        *(sys.executable, "-m", "nanospan_fuzz.session", job.target, "--engine", "merge"),
        *("--seconds", "0", "--corpus", str(into), "--seeds", str(found)),
        *("--failures", str(into.parent)),
    ]


def corpus(target: str) -> Path:
    """Return the folder for a target's new inputs."""
    folder = WORK / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def libfuzzer(target: str) -> str:
    """Return the path of a target's program for libFuzzer."""
    [program] = WORK.glob(f"*-unknown-linux-gnu/release/{target}")
    return str(program)


def rust_engine() -> str:
    """Build the targets in Rust; return ``libFuzzer``, or ``proptest`` where there is no nightly.

    Raises:
        subprocess.CalledProcessError: If the targets cannot be compiled.
    """
    if _has_cargo_fuzz():
        command = ["cargo", "+nightly", "fuzz", "build", "--features", "libfuzzer"]
        command += ["--fuzz-dir", str(RUST), "--target-dir", str(WORK)]
        environment = {**_environment(), **PROFILE}
        subprocess.run(command, check=True, cwd=ROOT, env=environment)  # noqa: S603 - our own
        return "libFuzzer"
    environment = {**os.environ, **PROFILE}
    subprocess.run([*_PROPTEST, "--no-run"], check=True, cwd=ROOT, env=environment)  # noqa: S603
    return "proptest"


def python_engine() -> str:
    """Return ``atheris``, or ``hypothesis`` where atheris is not installed."""
    return "hypothesis" if importlib.util.find_spec("atheris") is None else "atheris"


def _has_cargo_fuzz() -> bool:
    """Return whether cargo-fuzz and a nightly toolchain are there; install the former if needed."""
    if not _succeeds("cargo", "+nightly", "--version"):
        return False
    if _succeeds("cargo", "fuzz", "--version"):
        return True
    print("installing cargo-fuzz", flush=True)
    return _succeeds("cargo", "install", "--quiet", "--root", str(CARGO_FUZZ.parent), "cargo-fuzz")


def _succeeds(*command: str) -> bool:
    if shutil.which(command[0]) is None:
        return False
    done = subprocess.run(command, capture_output=True, check=False, cwd=ROOT, env=_environment())  # noqa: S603
    return done.returncode == 0


def _environment() -> dict[str, str]:
    return {**os.environ, "PATH": f"{os.environ['PATH']}:{CARGO_FUZZ}"}


def _libfuzzer_job(target: str, seconds: int) -> Job:
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={LONGEST}",
        f"-timeout={HANG}",
        f"-report_slow_units={HANG}",
        f"-rss_limit_mb={MOST_MEMORY}",
        f"-artifact_prefix={FAILURES}/{target}-",
        "-print_final_stats=1",
    ]
    folders = [str(corpus(target)), str(SEEDS / target)]
    return Job(target, "libFuzzer", [libfuzzer(target), *options, *folders], {})


_PROPTEST = [
    "cargo",
    "test",
    "--quiet",
    "--release",
    "--package",
    "nanospan-fuzz",
    "--test",
    "corpus",
]


def _proptest_job(target: str, seconds: int) -> Job:
    environment = {
        **PROFILE,
        "NANOSPAN_FUZZ_FAILURES": str(FAILURES),
        "NANOSPAN_FUZZ_SECONDS": str(seconds),
        "NANOSPAN_FUZZ_TARGETS": target,
    }
    return Job(target, "proptest", [*_PROPTEST, "--", "--nocapture"], environment)


def _python_job(target: str, seconds: int, engine: str) -> Job:
    command = [
        *(sys.executable, "-m", "nanospan_fuzz.session", target),
        *("--engine", engine, "--seconds", str(seconds)),
        *("--corpus", str(corpus(target)), "--seeds", str(SEEDS / target)),
        *("--failures", str(FAILURES)),
    ]
    return Job(target, engine, command, {"PYTHONPATH": str(ROOT / "fuzz" / "python")})
