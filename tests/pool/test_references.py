"""Weak references to the users of a pool."""

from __future__ import annotations

import gc
from dataclasses import dataclass

import pytest

from nanospan.pool.references import References


@dataclass
class Store:
    """A dataclass with equality, hence without a hash."""

    name: str = "store"


def test_counts_living_objects() -> None:
    """An object counts once and as long as it lives, also if it equals another."""
    references = References()
    first, second = Store(), Store()
    for store in (first, second, first):
        references.add(store)
    assert len(references) == 2
    del first, store
    gc.collect()
    assert len(references) == 1


@pytest.mark.parametrize("store", [1, "text", (1,), object()])
def test_refuses_what_it_cannot_watch(store: object) -> None:
    """An object that cannot be weakly referenced is a `TypeError` that names its type."""
    with pytest.raises(TypeError, match=type(store).__name__):
        References().add(store)
