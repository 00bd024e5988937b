#!/usr/bin/env python3
"""Print every cycle of Python files that import each other, and exit with 1 if there is one.

usage: tools/python_cycles.py [FOLDER PACKAGE]

By default the package is ``nanospan`` in the folder ``python`` of this checkout. Imports inside
functions and for type checking count. import-linter's contract ``acyclic_siblings`` compares only
siblings; this tool also finds a file that imports the package that contains it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import grimp
from rust_cycles import circles


def main(arguments: list[str]) -> int:
    """Print the import cycles and return the exit status."""
    folder, package = arguments or [str(Path(__file__).resolve().parents[1] / "python"), "nanospan"]
    sys.path.insert(0, folder)
    graph = grimp.build_graph(package, cache_dir=None)
    files = {
        Path(module): {Path(other) for other in graph.find_modules_directly_imported_by(module)}
        for module in graph.modules
    }
    found = circles(files)
    for number, group in enumerate(found, 1):
        print(f"cycle {number}:")
        for module in group:
            print(f"  {module} imports {', '.join(map(str, sorted(files[module] & set(group))))}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
