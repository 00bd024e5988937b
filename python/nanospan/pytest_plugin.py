"""The pytest fixture ``perf_budget``, which imports the rest of nanospan only when used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from nanospan.regression.budget import PerfBudget


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option ``--perf-update``, which rewrites baseline files."""
    parser.getgroup("nanospan").addoption(
        "--perf-update",
        action="store_true",
        help="make perf_budget rewrite its baseline files instead of comparing with them",
    )


@pytest.fixture
def perf_budget(request: pytest.FixtureRequest) -> PerfBudget:
    """Return a ``PerfBudget``, which fails the test if an operation exceeds its budget.

    ```python
    def test_search(perf_budget):
        with perf_budget("search", p95=0.002, baseline="perf/search.json", max_increase=0.10):
            for question in QUESTIONS:
                search(question)  # records the operation "search"
    ```

    The fixture checks the samples that the process-wide monitor records for the operation during
    the block. If there are none, it checks the duration of the whole block. Paths of baseline files
    are relative to pytest's root folder; ``pytest --perf-update`` writes the files.
    """
    from nanospan.regression.budget import PerfBudget  # noqa: PLC0415 - unused costs nothing

    return PerfBudget(request.config.rootpath, update=request.config.getoption("perf_update"))
