"""Tests for the weak references that count a pool's users."""

from __future__ import annotations

import gc
from dataclasses import dataclass

import pytest

from nanospan.pool.references import References


@dataclass
class Store:
    """A dataclass that compares by value and is therefore not hashable."""

    name: str = "store"


def test_counts_living_objects() -> None:
    """Each live object is counted exactly once, even if it equals another object."""
    references = References()
    first, second = Store(), Store()
    for store in (first, second, first):
        references.add(store)
    assert len(references) == 2
    del first, store
    gc.collect()
    assert len(references) == 1


@pytest.mark.parametrize("store", [1, "text", (1,), object()])
def test_objects_without_weak_references_are_rejected(store: object) -> None:
    """If an object cannot be weakly referenced, the error names the object's type."""
    with pytest.raises(TypeError, match=type(store).__name__):
        References().add(store)
