"""Weak references to the objects that use a pool."""

from __future__ import annotations

import weakref

__all__ = ["References"]


class References:
    """Weak references to the objects that use a pool, compared by identity.

    Unlike in a ``WeakSet``, objects need not be hashable, so any dataclass can use a pool. Adding
    an object that is already included costs only one dictionary look-up. Thread-safe.
    """

    __slots__ = ("__weakref__", "_by_id")

    def __init__(self) -> None:
        self._by_id: dict[int, weakref.ref[object]] = {}

    def __len__(self) -> int:
        """Return the number of objects that are still alive."""
        return len(self._by_id)

    def add(self, store: object) -> None:
        """Count ``store`` as a user of the pool until ``store`` is freed.

        Raises:
            TypeError: If ``store`` cannot be weakly referenced.
        """
        identity = id(store)
        by_id = self._by_id
        if identity in by_id:
            return

        def forget(_: weakref.ref[object]) -> None:
            by_id.pop(identity, None)

        try:
            by_id[identity] = weakref.ref(store, forget)
        except TypeError:
            kind = type(store).__name__
            msg = (
                f"store_ref must be weakly referenceable, got {kind}; pass the object that uses "
                "the pool, or add '__weakref__' to its __slots__"
            )
            raise TypeError(msg) from None
