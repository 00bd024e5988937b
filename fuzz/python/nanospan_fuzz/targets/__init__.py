"""The targets: each module has a function ``target`` that passes an input to the code under test.

A target raises an exception if the code under test raises one that its documentation does not
name, or breaks a property that the target's docstring states.
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Target:
    """A fuzz target.

    Attributes:
        name: The name, which is also that of the folder with its saved inputs.
        run: The function that takes an input.
        reads_files: Whether the input is the content of a file, so that the memory that reading it
            takes must be in proportion.
        memory_factor: The memory that a reader of files may take, in multiples of the input.
        is_json: Whether an input is read as JSON by the target itself, so that it is best altered
            as JSON.
    """

    name: str
    run: Callable[[bytes], None]
    reads_files: bool
    is_json: bool
    memory_factor: int = 3


def names() -> list[str]:
    """Return the names of all targets."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str) -> Target:
    """Import a target."""
    module = importlib.import_module(f"{__name__}.{name}")
    return Target(
        name,
        module.target,
        reads_files=getattr(module, "READS_FILES", False),
        is_json=getattr(module, "IS_JSON", False),
        memory_factor=getattr(module, "MEMORY_FACTOR", 3),
    )
