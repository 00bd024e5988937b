"""Run one target for a given time: ``python -m nanospan_fuzz.session --help``.

Inputs come from atheris, which prefers those that reach new code, or from Hypothesis, which alters
saved ones blindly. Failing inputs are saved, one for each cause, and do not end the session.
"""

from __future__ import annotations

import argparse
import hashlib
import shlex
import subprocess
import sys
import time
import traceback
import tracemalloc
from pathlib import Path
from random import Random

from nanospan_fuzz import limits
from nanospan_fuzz.inputs import InvalidInput
from nanospan_fuzz.mutations import alter, repeat
from nanospan_fuzz.replay import prepare, warm_up
from nanospan_fuzz.targets import Target, load

LONGEST_FILE = 256 * 1024
"""The longest input of targets that read files, in bytes: long enough that values which take
fifteen times as much memory as the file exceed the limit."""

LONGEST_TEXT = 8 * 1024
"""The longest input of other targets: long enough that quadratic code takes seconds."""

TRACED = 10
"""One input in this many has its memory traced, which makes it several times slower."""

HANG = 60
"""The time after which an input is a hang that ends the session, in seconds."""

MOST_MEMORY = 2048
"""The memory of the process that ends the session, in MB."""

LONGEST_LINE = 300
"""The number of characters to show of a line of a traceback, which may quote the input."""

MOST_FAILURES = 10
"""The number of different failures after which the session ends."""


def longest(target: Target) -> int:
    """Return the number of bytes of the longest input of a target."""
    return LONGEST_FILE if target.reads_files else LONGEST_TEXT


class Session:
    """Runs a target on inputs, and saves those that fail."""

    def __init__(self, target: Target, failures: Path) -> None:
        self.target = target
        self.runs = 0
        self._failures = failures
        self._seen: set[object] = set()

    def run(self, data: bytes) -> None:
        """Run the target on an input; save the input if it fails in a new way."""
        self.runs += 1
        traced = self.target.reads_files and self.runs % TRACED == 0
        if traced:
            tracemalloc.start()
        try:
            limits.run(self.target, data)
        except InvalidInput:
            pass
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - a panic of the extension is no Exception
            self._record(data, error)
        finally:
            if traced:
                tracemalloc.stop()

    def _record(self, data: bytes, error: BaseException) -> None:
        frames = traceback.extract_tb(error.__traceback__)
        is_memory = isinstance(error, limits.LimitError) and "memory" in str(error)
        places = ((frame.filename, frame.lineno) for frame in frames[-3:])
        cause = type(error), is_memory, *places
        if cause in self._seen:
            return
        path = self._failures / f"{self.target.name}-{hashlib.sha256(data).hexdigest()[:12]}"
        self._failures.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        # Instrumented and traced code is slower than the code that users run.
        if isinstance(error, limits.LimitError) and self._passes(path):
            path.unlink()
            return
        self._seen.add(cause)
        print(f"FAILED: {path}", flush=True)
        for line in "".join(traceback.format_exception(error)).splitlines():
            print(line[:LONGEST_LINE], flush=True)
        if len(self._seen) >= MOST_FAILURES:
            raise SystemExit("too many failures")

    def _passes(self, path: Path) -> bool:
        command = [sys.executable, "-m", "nanospan_fuzz.replay", self.target.name, str(path)]
        try:
            done = subprocess.run(  # noqa: S603 - our own command
                command, capture_output=True, check=False, timeout=HANG
            )
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0


def _use_atheris(arguments: argparse.Namespace, more: list[str]) -> None:
    import atheris  # noqa: PLC0415 - optional

    with atheris.instrument_imports(include=["nanospan", "tomllib", "tomli"]):
        target = load(arguments.target)
    warm_up(target)
    session = Session(target, arguments.failures)
    seeds = [path.read_bytes() for path in arguments.seeds.iterdir()]

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        random = Random(seed)
        choice = random.random()
        if choice < 0.02:
            return repeat(data, random, most)[:most]
        if choice < (0.6 if target.is_json else 0.1):
            return alter(data, random, seeds, is_json=target.is_json)[:most]
        return bytes(atheris.Mutate(data, len(data)))[:most]

    options: dict[str, object] = {
        "max_total_time": arguments.seconds,
        "max_len": longest(target),
        "timeout": HANG,
        "report_slow_units": HANG,  # which is real time; targets measure that of the processor
        "rss_limit_mb": MOST_MEMORY,
        "print_final_stats": 1,
        "artifact_prefix": f"{arguments.failures}/{target.name}-",
    }
    program = sys.argv[0]
    if arguments.engine == "merge":
        options |= {"merge": 1, "timeout": 4 * HANG}
        # libFuzzer runs this in a shell, with further options, so that a crash ends only a part.
        program = shlex.join([sys.executable, "-m", "nanospan_fuzz.session", *sys.argv[1:]])
    given = [f"-{name}={value}" for name, value in options.items()]
    folders = [str(arguments.corpus), str(arguments.seeds)]
    atheris.Setup(
        [program, *(more or [*given, *folders])],
        session.run,
        custom_mutator=mutate,
    )
    atheris.Fuzz()


def _use_hypothesis(arguments: argparse.Namespace) -> None:
    from hypothesis import HealthCheck, Phase, given, settings  # noqa: PLC0415 - optional
    from hypothesis import strategies as st  # noqa: PLC0415 - as above

    target = load(arguments.target)
    warm_up(target)
    session = Session(target, arguments.failures)
    folders = (arguments.seeds, arguments.corpus)
    seeds = [path.read_bytes() for folder in folders for path in sorted(folder.iterdir())] or [b""]
    end = time.monotonic() + arguments.seconds

    @settings(
        max_examples=1000,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.sampled_from(seeds), st.randoms(use_true_random=True), st.integers(0, 50))
    def try_inputs(seed: bytes, random: Random, choice: int) -> None:
        if time.monotonic() < end:
            data = alter(seed, random, seeds, is_json=target.is_json)
            session.run(repeat(data, random, longest(target)) if choice == 0 else data)

    for seed in seeds:
        session.run(seed)
    while time.monotonic() < end:
        try_inputs()
    print(f"stat::number_of_executed_units: {session.runs}")


def main() -> None:
    """Run the session that the command line describes."""
    parser = argparse.ArgumentParser(
        description="Run a fuzz target for a given time.", allow_abbrev=False
    )
    parser.add_argument("target", help="the target's name")
    parser.add_argument("--engine", choices=("atheris", "hypothesis", "merge"), required=True)
    parser.add_argument("--seconds", type=int, required=True, help="how long to run")
    parser.add_argument("--corpus", type=Path, required=True, help="folder for new inputs")
    parser.add_argument("--seeds", type=Path, required=True, help="folder with saved inputs")
    parser.add_argument("--failures", type=Path, required=True, help="folder for failing inputs")
    arguments, more = parser.parse_known_args()
    prepare()
    if arguments.engine == "hypothesis":
        _use_hypothesis(arguments)
    else:
        _use_atheris(arguments, more)


if __name__ == "__main__":
    main()
