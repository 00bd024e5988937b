"""The pytest fixture `perf_budget`. It imports the rest of nanospan when a test asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from nanospan.regression.budget import PerfBudget


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that writes baselines."""
    parser.getgroup("nanospan").addoption(
        "--perf-update",
        action="store_true",
        help="have perf_budget write its baseline files anew instead of comparing with them",
    )


@pytest.fixture
def perf_budget(request: pytest.FixtureRequest) -> PerfBudget:
    """Fail the test if an operation takes longer in a block than its budget allows.

    ```python
    def test_search(perf_budget):
        with perf_budget("search", p95=0.002, baseline="perf/search.json", max_increase=0.10):
            for question in QUESTIONS:
                search(question)  # records the operation "search"
    ```

    Judged are the executions of the operation that the process's monitor records during the block;
    if there are none, the block as a whole. Baseline files start from pytest's root folder, and are
    written with ``pytest --perf-update``.
    """
    from nanospan.regression.budget import PerfBudget  # noqa: PLC0415 - cheap unless used

    return PerfBudget(request.config.rootpath, update=request.config.getoption("perf_update"))
