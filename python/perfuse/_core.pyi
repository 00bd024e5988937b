"""Types of the compiled core. Durations are seconds, timestamps Unix seconds."""

from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Final, Protocol, TypeVar, final

from typing_extensions import disjoint_base

__all__ = ["OVERFLOW_OPERATION", "Monitor", "Span", "__version__"]

_F = TypeVar("_F", bound=Callable[..., Any])
_Self = TypeVar("_Self", bound=Monitor)

__version__: Final[str]
OVERFLOW_OPERATION: Final[str]

class _Events(Protocol):
    def violation(
        self,
        operation: str,
        duration: float,
        timestamp: float,
        success: bool,
        metadata: dict[str, Any] | None,
        /,
    ) -> None: ...
    def overflow(self, operation: str, max_operations: int, /) -> None: ...

@final
class Span:
    def __enter__(self) -> Span: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...
    def __aenter__(self) -> Awaitable[Span]: ...
    def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> Awaitable[None]: ...
    def __call__(self, function: _F, /) -> _F: ...
    def set(self, **metadata: Any) -> None: ...
    def fail(self, error: object = None) -> None: ...
    @property
    def elapsed(self) -> float: ...
    @property
    def operation(self) -> str: ...
    def _fresh(self) -> Span: ...

@disjoint_base
class Monitor:
    def __new__(cls: type[_Self], *_args: Any, **_kwargs: Any) -> _Self: ...  # noqa: PYI019 - 3.10
    def __init__(
        self, max_metrics_per_operation: int, max_operations: int, events: _Events
    ) -> None: ...
    def track_operation(
        self, operation: str, metadata: Mapping[str, Any] | None = None
    ) -> Span: ...
    def record_metric(
        self,
        operation: str,
        duration: float,
        success: bool = True,
        metadata: Mapping[str, Any] | None = None,
    ) -> None: ...
    def enable(self) -> None: ...
    def disable(self) -> None: ...
    def set_threshold(self, operation: str, seconds: float | None) -> None: ...
    def clear_metrics(self, operation: str | None = None) -> None: ...
    @property
    def enabled(self) -> bool: ...
    @property
    def max_metrics_per_operation(self) -> int: ...
    @property
    def max_operations(self) -> int: ...
    @property
    def refused_names(self) -> int: ...
    @property
    def thresholds(self) -> dict[str, float]: ...
    def _names(self) -> list[str]: ...
    def _statistics(
        self, operation: str
    ) -> (
        tuple[
            tuple[int, float, float, float, float, float, float, float],
            tuple[float, float, float, int, int, int, int],
        ]
        | None
    ): ...
    def _samples(self, operation: str) -> list[tuple[float, float, bool, dict[str, Any]]]: ...
