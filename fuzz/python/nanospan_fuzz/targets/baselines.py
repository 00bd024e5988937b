"""Baselines: ``Baseline.load``, and budgets that name a baseline's file."""

from __future__ import annotations

from nanospan.regression import Baseline
from nanospan.regression.budget import BudgetExceededError, PerfBudget
from nanospan.values.data_files import DataFileError
from nanospan_fuzz.inputs import as_file, check_message

READS_FILES = True
MEMORY_FACTOR = 32
"""Loading takes three times the file; this also saves it and compares the samples as floats, which
take ten times as much as the shortest number in a file."""


def target(data: bytes) -> None:
    """Any file gives a DataFileError, or a baseline that is equal once saved and loaded."""
    path = as_file(data)
    try:
        baseline = Baseline.load(path)
    except DataFileError as error:
        check_message(error)
        return
    repr(baseline)
    baseline.save(path)
    again = Baseline.load(path)
    assert again.samples() == baseline.samples()
    assert (again.time, again.host, again.labels) == (baseline.time, baseline.host, baseline.labels)
    try:
        with PerfBudget(path.parent)("op", baseline=path):
            pass
    except (BudgetExceededError, ValueError) as error:
        check_message(error)
