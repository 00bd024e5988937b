"""Combine several runs of the benchmarks into one table of ratios, optionally in the README.

python benches/report.py RESULTS.json ... [--output TABLE.md] [--readme]

Each time in the table is a subject's fastest round across all runs, and each ratio divides two such
times. Medians would be less repeatable: the speed of a shared machine varies during a run, so that
a median may compare the slow moments of one subject with the fast moments of another.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MARKERS = re.compile(r"(<!-- overhead -->\n).*?(<!-- /overhead -->)", re.DOTALL)


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Show pytest-benchmark results as ratios.")
    parser.add_argument(
        "results", type=Path, nargs="+", help="the files that --benchmark-json wrote, one per run"
    )
    parser.add_argument("--output", type=Path, help="write the table to this file, too")
    parser.add_argument("--readme", action="store_true", help="replace the table in the README")
    arguments = parser.parse_args()
    fastest: dict[tuple[str, str], float] = {}
    for path in arguments.results:
        try:
            results = json.loads(path.read_text())
            times = times_of(results)
            made_by = machine(results)
        except (OSError, ValueError, KeyError, TypeError) as error:
            parser.error(f"{path} holds no benchmark results: {error!r}")
        if fastest and times.keys() != fastest.keys():
            parser.error(f"{path} measures different subjects from the preceding files")
        fastest = {key: min(ns, fastest.get(key, ns)) for key, ns in times.items()}
    said = f"Fastest rounds of {len(arguments.results)} runs by `make bench` on {made_by}."
    try:
        text = f"{table(fastest)}\n{said}\n"
    except KeyError as error:
        parser.error(f"the results hold no time for {error}")
    sys.stdout.write(text)
    if arguments.output:
        arguments.output.write_text(text)
    if arguments.readme:
        readme = ROOT / "README.md"
        replaced, count = MARKERS.subn(lambda m: m[1] + text + m[2], readme.read_text())
        if count != 1:
            parser.error("README.md must have one pair of markers around the table")
        readme.write_text(replaced)
    return 0


def times_of(results: dict) -> dict[tuple[str, str], float]:
    """Return one run's fastest times per call, in nanoseconds, keyed by group and subject."""
    times = {}
    for bench in results["benchmarks"]:
        info = bench["extra_info"]
        if "subject" in info:
            ns = bench["stats"]["min"] / info["calls"] * 1e9
            times[bench["group"], info["subject"]] = ns
    return times


def machine(results: dict) -> str:
    """Return a description of the machine and the Python version of a run."""
    info = results["machine_info"]
    cpu = info["cpu"]
    return (
        f"{cpu.get('brand_raw', 'an unknown CPU')}, {cpu.get('count', '?')} cores, "
        f"{info['python_implementation']} {info['python_version']}, {info['system']}"
    )


def table(times: dict[tuple[str, str], float]) -> str:
    """Return a Markdown table of the times, with ratios to nanospan's time in the same group."""
    lines = [
        "| what | subject | time per call | relative to nanospan |",
        "| --- | --- | ---: | ---: |",
    ]
    for group in dict.fromkeys(group for group, _ in times):
        ours = times[group, "nanospan"]
        rows = [(ns, subject) for (of, subject), ns in times.items() if of == group]
        for ns, subject in sorted(rows):
            ratio = "" if subject == "nanospan" else f"{ns / ours:.2f} x"
            lines.append(f"| {group} | {subject} | {duration(ns)} | {ratio} |")
    return "\n".join([*lines, ""])


def duration(ns: float) -> str:
    """Format a duration in nanoseconds, as ns or µs."""
    return f"{ns:.0f} ns" if ns < 10_000 else f"{ns / 1000:.1f} µs"


if __name__ == "__main__":
    sys.exit(main())
