"""Keep new inputs that reach new code: ``make fuzz-keep``.

Of the inputs that fuzzing and the tests have found, those that reach code that no saved input
reaches are copied to ``tests/corpus``, which every run of the tests replays.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from nanospan_fuzz import tools

LONGEST = 300
"""The longest input to keep, in bytes, so that the repository stays small."""

MOST = 8
"""The most inputs to keep of a target in one run."""


def main() -> None:
    """Keep inputs of the targets on the command line, or of all targets."""
    targets = sys.argv[1:] or tools.all_targets()
    rust = tools.rust_engine() if set(targets) & set(tools.rust_targets()) else ""
    if tools.python_engine() != "atheris" or rust not in {"", "libFuzzer"}:
        sys.exit("make fuzz-keep: only libFuzzer and atheris know what code an input reaches")
    for job in tools.jobs(targets, 0, rust, "atheris"):
        print(f"{job.target}: {_keep(job)} inputs kept", flush=True)


def _keep(job: tools.Job) -> int:
    """Copy inputs that reach new code to the saved ones; return how many there are."""
    saved = tools.SEEDS / job.target
    with tempfile.TemporaryDirectory(prefix="nanospan-fuzz-") as folder:
        merged, found = Path(folder) / "merged", Path(folder) / "found"
        shutil.copytree(saved, merged)
        found.mkdir()
        for path in tools.corpus(job.target).iterdir():
            if path.stat().st_size <= LONGEST:
                shutil.copy(path, found)
        before = {path.name for path in merged.iterdir()}
        command = tools.merge_command(job, merged, found)
        environment = {**os.environ, **job.environment, "TMPDIR": folder}
        subprocess.run(  # noqa: S603 - our own command
            command, check=True, cwd=tools.ROOT, env=environment, capture_output=True
        )
        new = sorted(
            (path for path in merged.iterdir() if path.name not in before),
            key=lambda path: path.stat().st_size,
        )
        for path in new[:MOST]:
            shutil.copy(path, saved / path.name[:16])
    return len(new[:MOST])


if __name__ == "__main__":
    main()
