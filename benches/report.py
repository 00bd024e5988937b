"""Turns pytest-benchmark's JSON into one table of ratios, and puts it into the README.

python benches/report.py RESULTS.json            print the table, write it beside the JSON
python benches/report.py RESULTS.json --readme   and replace the table in README.md
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
    parser.add_argument("results", type=Path, help="what --benchmark-json wrote")
    parser.add_argument("--readme", action="store_true", help="replace the README's table")
    arguments = parser.parse_args()
    try:
        results = json.loads(arguments.results.read_text())
        text = table(results)
    except (OSError, ValueError, KeyError) as error:
        parser.error(f"{arguments.results} holds no benchmark results: {error!r}")
    sys.stdout.write(text)
    arguments.results.with_suffix(".md").write_text(text)
    if arguments.readme:
        readme = ROOT / "README.md"
        replaced, count = MARKERS.subn(lambda m: m[1] + text + m[2], readme.read_text())
        if count != 1:
            parser.error("README.md has no place for the table")
        readme.write_text(replaced)
    return 0


def table(results: dict) -> str:
    """The benches as a Markdown table, each group compared with perfuse."""
    groups: dict[str, dict[str, float]] = {}
    for bench in results["benchmarks"]:
        info = bench["extra_info"]
        if "subject" in info:
            ns = bench["stats"]["median"] / info["calls"] * 1e9
            groups.setdefault(bench["group"], {})[info["subject"]] = ns
    lines = [
        "| what | subject | time per call | beside perfuse |",
        "| --- | --- | ---: | ---: |",
    ]
    for group, subjects in groups.items():
        ours = subjects["perfuse"]
        for subject, ns in sorted(subjects.items(), key=lambda item: item[1]):
            ratio = "" if subject == "perfuse" else f"{ns / ours:.2f} x"
            lines.append(f"| {group} | {subject} | {duration(ns)} | {ratio} |")
    machine = results["machine_info"]
    cpu = machine["cpu"]
    lines += [
        "",
        (
            f"Medians of one run of `make bench` on {cpu.get('brand_raw', 'an unknown CPU')}, "
            f"{cpu.get('count', '?')} cores, {machine['python_implementation']} "
            f"{machine['python_version']}, {machine['system']}."
        ),
        "",
    ]
    return "\n".join(lines)


def duration(ns: float) -> str:
    """Nanoseconds in a unit that reads well."""
    return f"{ns:.0f} ns" if ns < 10_000 else f"{ns / 1000:.1f} µs"


if __name__ == "__main__":
    sys.exit(main())
