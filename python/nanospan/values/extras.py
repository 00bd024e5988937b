"""The one sentence in which every part names a missing optional package."""

from __future__ import annotations

__all__ = ["needs"]


def needs(packages: str, extra: str) -> str:
    """Return ``needs PACKAGES: pip install 'nanospan[EXTRA]'``, to follow what needs them."""
    return f"needs {packages}: pip install 'nanospan[{extra}]'"
