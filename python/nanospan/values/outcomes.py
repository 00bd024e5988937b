"""The outcomes of executions."""

OUTCOMES = ("ok", "error", "cancelled")
"""The outcomes, each at the index that is its number in columns of outcomes."""
