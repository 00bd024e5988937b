"""Load vectors as NumPy arrays or lists, where pgvector's own values are not wanted."""

from __future__ import annotations

import struct
from array import array
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from psycopg.adapt import Loader
from psycopg.pq import Format

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg.abc import Buffer
    from psycopg.adapt import AdaptersMap

__all__ = ["VectorValues", "require", "use_values"]

VectorValues: TypeAlias = Literal["pgvector", "numpy", "list"]
"""What a vector arrives as: what the installed pgvector gives, a NumPy array, or a list."""

HEADER = 4
"""Bytes before the elements in the binary format: the number of dimensions, and two zero bytes."""
ELEMENTS = {"vector": "f", "halfvec": "e"}
"""The element types by type name, as `struct` and NumPy call them. Sparse vectors have no array."""


def require(values: VectorValues) -> None:
    """Raise ImportError, with the command to run, if a package for ``values`` is missing."""
    if values == "numpy":
        try:
            import numpy  # noqa: F401, ICN001, PLC0415 - only checked
        except ImportError as exc:
            raise ImportError("vector_values='numpy' needs NumPy: pip install numpy") from exc


def use_values(adapters: AdaptersMap, values: VectorValues, oids: dict[str, int]) -> None:
    """Register loaders for ``values``, after and in place of pgvector's.

    Sparse vectors always arrive as the installed pgvector gives them, as an array of all their
    dimensions can be very large.

    Args:
        adapters: The adapters map, which no other connection may share.
        values: What vectors arrive as; with ``pgvector``, nothing is registered.
        oids: The identifiers of the database's types, keyed by name.
    """
    if values == "pgvector":
        return
    for name, element in ELEMENTS.items():
        if name in oids:
            for loader in _LOADERS[values](element):
                adapters.register_loader(oids[name], loader)


@cache
def _list_loaders(element: str) -> tuple[type[Loader], type[Loader]]:
    size = struct.calcsize(element)

    class ListLoader(Loader):
        format = Format.TEXT

        def load(self, data: Buffer) -> list[float]:
            # Rounded to the 32 bits the server has, so that both formats give equal lists.
            return array("f", _numbers(data)).tolist()

    class ListBinaryLoader(Loader):
        format = Format.BINARY

        def load(self, data: Buffer) -> list[float]:
            count = (len(data) - HEADER) // size
            return list(struct.unpack_from(f">{count}{element}", data, HEADER))

    return ListLoader, ListBinaryLoader


@cache
def _numpy_loaders(element: str) -> tuple[type[Loader], type[Loader]]:
    import numpy as np  # noqa: PLC0415 - not loaded unless used

    class ArrayLoader(Loader):
        format = Format.TEXT

        def load(self, data: Buffer) -> Any:
            return np.array(_numbers(data), dtype=element)

    class ArrayBinaryLoader(Loader):
        format = Format.BINARY

        def load(self, data: Buffer) -> Any:
            return np.frombuffer(data, dtype=f">{element}", offset=HEADER).astype(element)

    return ArrayLoader, ArrayBinaryLoader


def _numbers(data: Buffer) -> list[float]:
    """Return the numbers in the text format: ``[1,2.5,3]``."""
    return list(map(float, bytes(data)[1:-1].split(b",")))


_LOADERS: dict[VectorValues, Callable[[str], tuple[type[Loader], type[Loader]]]] = {
    "list": _list_loaders,
    "numpy": _numpy_loaders,
}
