"""Turns runs of the benchmarks into one table of ratios, and puts it into the README.

python benches/report.py RESULTS.json ... [--output TABLE.md] [--readme]

A ratio is the median of those within each run, where the two subjects were measured seconds apart:
a machine that changes its speed between runs, or amid one, moves times far more than ratios. A time
is that of the subject's fastest run.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import defaultdict
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
MARKERS = re.compile(r"(<!-- overhead -->\n).*?(<!-- /overhead -->)", re.DOTALL)


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Show pytest-benchmark results as ratios.")
    parser.add_argument(
        "results", type=Path, nargs="+", help="what --benchmark-json wrote, a file for each run"
    )
    parser.add_argument("--output", type=Path, help="write the table there, too")
    parser.add_argument("--readme", action="store_true", help="replace the README's table")
    arguments = parser.parse_args()
    runs = []
    for path in arguments.results:
        try:
            runs.append(json.loads(path.read_text()))
            times(runs[-1])
        except (OSError, ValueError, KeyError, TypeError) as error:
            parser.error(f"{path} holds no benchmark results: {error!r}")
    try:
        text = table(runs)
    except ValueError as error:
        parser.error(str(error))
    sys.stdout.write(text)
    if arguments.output:
        arguments.output.write_text(text)
    if arguments.readme:
        readme = ROOT / "README.md"
        replaced, count = MARKERS.subn(lambda m: m[1] + text + m[2], readme.read_text())
        if count != 1:
            parser.error("README.md has no place for the table")
        readme.write_text(replaced)
    return 0


def times(run: dict) -> dict[str, dict[str, float]]:
    """The nanoseconds per call of one run, by group and subject."""
    groups: dict[str, dict[str, float]] = defaultdict(dict)
    for bench in run["benchmarks"]:
        info = bench["extra_info"]
        if "subject" in info:
            groups[bench["group"]][info["subject"]] = bench["stats"]["median"] / info["calls"] * 1e9
    return groups


def table(runs: list[dict]) -> str:
    """The runs as one Markdown table, each group compared with perfuse.

    Raises ValueError if they do not measure the same subjects.
    """
    measured = [times(run) for run in runs]
    if len({frozenset((group, *of) for group, of in groups.items()) for groups in measured}) != 1:
        raise ValueError("the runs measure different subjects: give runs of the same benches")
    lines = [
        "| what | subject | time per call | beside perfuse |",
        "| --- | --- | ---: | ---: |",
    ]
    for group, subjects in measured[0].items():
        rows = []
        for subject in subjects:
            ns = min(groups[group][subject] for groups in measured)
            beside = median(of[group][subject] / of[group]["perfuse"] for of in measured)
            rows.append((beside, subject, ns))
        for beside, subject, ns in sorted(rows):
            ratio = "" if subject == "perfuse" else f"{beside:.2f} x"
            lines.append(f"| {group} | {subject} | {duration(ns)} | {ratio} |")
    machine = runs[0]["machine_info"]
    cpu = machine["cpu"]
    lines += [
        "",
        (
            f"{len(runs)} runs by `make bench`: medians of the ratios within each, times of the "
            f"fastest, on {cpu.get('brand_raw', 'an unknown CPU')}, {cpu.get('count', '?')} cores, "
            f"{machine['python_implementation']} {machine['python_version']}, {machine['system']}."
        ),
        "",
    ]
    return "\n".join(lines)


def duration(ns: float) -> str:
    """Nanoseconds in a unit that reads well."""
    return f"{ns:.0f} ns" if ns < 10_000 else f"{ns / 1000:.1f} µs"


if __name__ == "__main__":
    sys.exit(main())
