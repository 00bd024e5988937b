"""Tests for duration budgets, and for the pytest fixture that provides them."""

import asyncio
import os
import random
import subprocess
import sys
import threading

import pytest

from nanospan import _core, get_performance_monitor
from nanospan.regression import Baseline
from nanospan.regression.budget import BudgetExceededError, PerfBudget


@pytest.fixture
def process_monitor():
    """Return a process-wide monitor that exists for a single test."""
    before = _core.process_monitor()
    _core.set_process_monitor(None)
    yield get_performance_monitor()
    _core.set_process_monitor(before)


@pytest.fixture
def budget(tmp_path, process_monitor):
    """Return what the ``perf_budget`` fixture returns, with a temporary root folder."""
    return PerfBudget(tmp_path)


def _record(operation, *durations):
    for duration in durations:
        get_performance_monitor().record_metric(operation, duration)


def _durations(median, count=200, seed=0):
    draw = random.Random(seed)
    return [median * draw.lognormvariate(0, 0.2) for _ in range(count)]


def test_only_samples_of_the_block_are_checked(budget):
    """Only the operation's samples from within the block are checked."""
    _record("search", 5, 5, 5)
    with budget("search", max=0.2, p50=0.16, mean=0.16, p95=0.2, p99=0.2, p999=0.2):
        _record("search", 0.1, 0.2)
        _record("other", 5)
    _record("search", 5)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"p50": 0.02}, "p50 is 30 ms, the limit is 20 ms"),
        ({"mean": 0.029}, "mean is 30 ms, the limit is 29 ms"),
        ({"max": 0.049}, "max is 50 ms, the limit is 49 ms"),
        ({"p95": 0.047}, "p95 is 48 ms, the limit is 47 ms"),
        ({"p99": 0.049, "p999": 0.0499}, "p999 is 50 ms, the limit is 49.9 ms"),
    ],
)
def test_exceeding_a_limit_raises_with_the_figures(budget, limits, message):
    """The error message names the operation, statistic, value and limit."""
    with (
        pytest.raises(BudgetExceededError, match=message) as caught,
        budget("search", **limits),
    ):
        _record("search", 0.01, 0.02, 0.03, 0.04, 0.05)
    assert str(caught.value).startswith(
        "search is over its budget (5 samples recorded in the block):\n  "
    )


def test_all_exceeded_limits_are_reported_at_once(budget):
    """Each exceeded limit has its own line in the error message."""
    with pytest.raises(BudgetExceededError) as caught, budget("a", p50=0.1, p95=0.1, max=9):
        _record("a", 1)
    assert str(caught.value).count("\n") == 2


def test_a_block_that_records_nothing_counts_as_one_execution(budget, process_monitor):
    """A block without samples is timed and recorded as a whole, as the message states."""
    with budget("block", max=60):
        pass
    assert process_monitor.get_stats("block").count == 1
    with (
        pytest.raises(BudgetExceededError, match="the whole block, because nothing"),
        budget("block", max=1e-9),
    ):
        pass


def test_a_disabled_monitor_does_not_disable_budgets(budget, process_monitor):
    """With a disabled monitor, the block is still timed and checked."""
    process_monitor.disable()
    with (
        pytest.raises(BudgetExceededError, match="the whole block"),
        budget("block", max=1e-9),
    ):
        _record("block", 1e-10)


def test_the_monitor_may_be_cleared_within_the_block(budget, process_monitor):
    """If the monitor is cleared within the block, later samples are still checked."""
    _record("a", 1, 1, 1)
    with budget("a", max=0.1):
        process_monitor.clear_metrics("a")
        _record("a", 0.1, 0.1)


def test_only_the_latest_samples_that_fit_the_window_are_checked(budget):
    """If a block records more samples than the window holds, the oldest are not checked."""
    with budget("a", max=0.1):
        _record("a", *[5] * 10, *[0.1] * 1000)


async def test_samples_of_other_threads_and_tasks_are_checked(budget):
    """Samples are checked regardless of which thread or task records them."""

    async def task():
        await asyncio.sleep(0)
        _record("a", 0.1)
        thread = threading.Thread(target=_record, args=("a", 0.3))
        thread.start()
        thread.join()

    with pytest.raises(BudgetExceededError, match="2 samples"), budget("a", p50=0.1):
        await task()


def test_an_exception_in_the_block_is_not_replaced(budget):
    """An exception raised in the block propagates instead of a budget error."""
    with pytest.raises(ZeroDivisionError), budget("a", max=1e-9):
        raise ZeroDivisionError


def test_samples_are_compared_with_a_baseline(budget, tmp_path):
    """A regression over ``max_increase`` raises an error that shows the comparison."""
    Baseline.from_samples({"search": _durations(0.01)}).save(tmp_path / "search.json")
    with budget("search", baseline="search.json"):
        _record("search", *_durations(0.01, seed=1))
    with budget("search", baseline=tmp_path / "search.json", max_increase=0.5):
        _record("search", *_durations(0.012, seed=1))
    with budget("search", baseline=Baseline.load(tmp_path / "search.json")):
        _record("search", *_durations(0.005, seed=1))
    with (
        pytest.raises(BudgetExceededError) as caught,
        budget("search", baseline="search.json", max_increase=0.05),
    ):
        _record("search", *_durations(0.012, seed=1))
    assert "regressed from the baseline by more than 5%: <Comparison regressed: shift +" in str(
        caught.value
    )


def test_too_few_samples_exceed_the_budget(budget):
    """If there are too few samples to judge a regression, the block raises an error saying so."""
    with (
        pytest.raises(BudgetExceededError, match="too few independent samples"),
        budget("a", baseline=Baseline.from_samples({"a": [0.1]})),
    ):
        _record("a", 0.1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "the budget of 'a' must have a limit or a baseline"),
        (
            {"p95": 0},
            "the budget of 'a': p95 must be a positive number of seconds, at most .*, got 0",
        ),
        ({"p95": "1"}, "p95 must be a positive number of seconds.*, got '1'"),
        ({"mean": -1}, "mean must be a positive number of seconds.*, got -1"),
        ({"max": 2e10}, r"max must be .* at most 18446744073.709553 \(584 years\), got 2"),
        ({"max": float("nan")}, "max must be a positive number of seconds.*, got nan"),
        ({"p50": 1, "max_increase": 0.1}, "max_increase requires a baseline"),
        (
            {"baseline": "b.json", "max_increase": -0.1},
            "must be finite and at least 0, got -0.1",
        ),
        ({"baseline": "b.json"}, "the baseline has no operation 'a'; it has 'b'"),
        ({"baseline": "damaged.json"}, "damaged.json: the file is empty"),
    ],
)
def test_an_invalid_budget_is_rejected_before_the_block(budget, tmp_path, arguments, message):
    """An invalid budget raises an error before the block runs."""
    Baseline.from_samples({"b": [0.1]}).save(tmp_path / "b.json")
    (tmp_path / "damaged.json").touch()
    with pytest.raises(ValueError, match=message), budget("a", **arguments):
        pytest.fail("the block ran")


def test_a_missing_baseline_file_is_reported_with_the_remedy(budget):
    """The error for a missing baseline file explains how to write it."""
    with (
        pytest.raises(FileNotFoundError, match=r"pytest --perf-update"),
        budget("a", baseline="absent.json"),
    ):
        pytest.fail("the block ran")


def test_an_update_writes_the_baseline(tmp_path, process_monitor):
    """Updating a baseline file keeps its labels and the operations of other tests."""
    Baseline.from_samples({"a": [1.0], "b": [2.0]}, {"by": "hand"}).save(tmp_path / "b.json")
    budget = PerfBudget(tmp_path, update=True)
    with budget("a", baseline="b.json"):
        _record("a", 0.25, 0.5)
    with budget("c", baseline="new/c.json"):
        _record("c", 0.125)
    updated = Baseline.load(tmp_path / "b.json")
    assert {name: list(each) for name, each in updated.samples().items()} == {
        "a": [0.25, 0.5],
        "b": [2.0],
    }
    assert updated.labels == {"by": "hand"}
    assert list(Baseline.load(tmp_path / "new" / "c.json").samples()["c"]) == [0.125]
    with pytest.raises(BudgetExceededError), budget("a", p50=0.1, baseline="b.json"):
        _record("a", 0.75)


SUITE = """
from nanospan import get_performance_monitor

def _record(scale):
    for number in range(100):
        get_performance_monitor().record_metric("op", scale * (1 + number % 10 / 100))

def test_limit(perf_budget):
    with perf_budget("op", p95={limit}):
        _record(0.001)

def test_baseline(perf_budget):
    with perf_budget("op", baseline="perf/op.json", max_increase=0.10):
        _record({scale})
"""


@pytest.fixture
def pytest_run(tmp_path):
    """Return a function that runs pytest on a temporary test suite that uses the fixture."""
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")

    def run(*arguments, limit=0.002, scale=0.001):
        (tmp_path / "test_it.py").write_text(SUITE.format(limit=limit, scale=scale))
        # Load no installed plugin except nanospan's.
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "nanospan.pytest_plugin", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        )

    return run


def test_the_fixture_works_in_a_project(pytest_run, tmp_path):
    """Baselines are written on request, and a regression fails the test and shows the figures."""
    missing = pytest_run("-k", "baseline")
    assert missing.returncode == 1
    assert "pytest --perf-update" in missing.stdout
    assert pytest_run("--perf-update").returncode == 0
    assert list(Baseline.load(tmp_path / "perf" / "op.json").operations) == ["op"]
    assert pytest_run().returncode == 0
    failed = pytest_run(limit=0.0005, scale=0.002)
    assert failed.returncode == 1
    assert "op is over its budget (100 samples recorded in the block):" in failed.stdout
    assert "p95 is 1.09 ms, the limit is 500 µs" in failed.stdout
    assert "<Comparison regressed: shift +100.0 %" in failed.stdout
    # The traceback ends in the test and omits nanospan's own frames.
    assert "budget.py" not in failed.stdout


def test_the_plugin_is_found_and_loads_nothing_until_used(tmp_path):
    """The installed plugin provides the fixture without importing ``nanospan.regression``."""
    (tmp_path / "test_it.py").write_text(
        "import sys\n"
        "def test_it(pytestconfig):\n"
        "    assert pytestconfig.pluginmanager.has_plugin('nanospan')\n"
        "    assert 'nanospan.pytest_plugin' in sys.modules\n"
        "    assert 'nanospan.regression' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
