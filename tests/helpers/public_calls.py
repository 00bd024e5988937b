"""Finds every public function and method, and calls it with arguments from a table."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

SPECIAL = ("__call__", "__enter__", "__iter__", "__len__", "__repr__")


@dataclasses.dataclass(frozen=True)
class Api:
    """A public interface, and how its functions are called.

    Attributes:
        modules: The names of the modules. Public are the names in ``__all__``, or else those that
            do not begin with an underscore and are defined there.
        subjects: Functions that return an object of a class, keyed by the class's name.
        arguments: Functions that call a function, or a method of the object that they are given,
            keyed by the names of the class and the method. Others are called without arguments.
        excluded: The reasons for not calling a class, function or method.
        run: Runs the coroutine that a coroutine function returns.
    """

    modules: tuple[str, ...]
    subjects: Mapping[str, Callable[[], Any]]
    arguments: Mapping[str, Callable[..., object]]
    excluded: Mapping[str, str]
    run: Callable[[Any], object]


@dataclasses.dataclass
class Found:
    """The calls of a public interface.

    Attributes:
        calls: The calls, keyed by name.
        awaited: The names of those calls that run an event loop.
        complaints: Names that no table mentions, and those that are mentioned and do not exist.
    """

    calls: dict[str, Callable[[], object]] = dataclasses.field(default_factory=dict)
    awaited: set[str] = dataclasses.field(default_factory=set)
    complaints: list[str] = dataclasses.field(default_factory=list)


def _public(module: str) -> Iterator[tuple[str, Any]]:
    imported = importlib.import_module(module)
    for name in getattr(imported, "__all__", dir(imported)):
        member = getattr(imported, name)
        defined_here = getattr(member, "__module__", None) == module
        if not name.startswith("_") and (hasattr(imported, "__all__") or defined_here):
            yield name, member


def _members(api: Api) -> Iterator[tuple[str, Any, Callable[[], Any] | None]]:
    """Yield each function and method: its name, itself, and a function that returns its object."""
    for module in api.modules:
        for name, member in _public(module):
            if not isinstance(member, type):
                if inspect.isroutine(member):
                    yield name, member, None
                continue
            # Dataclasses and exceptions are values, which share nothing.
            is_value = dataclasses.is_dataclass(member) or issubclass(member, BaseException)
            get = api.subjects.get(name)
            if get is None or name in api.excluded:
                if not is_value:
                    yield name, member, None
                continue
            defined = {each for base in member.__mro__[:-1] for each in vars(base)}
            for each in [*dir(member), *SPECIAL]:
                if not each.startswith("_") or (each in SPECIAL and each in defined):
                    yield f"{name}.{each}", inspect.getattr_static(member, each), get


def _takes_nothing(function: Callable[..., object]) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:
        return False
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return all(p.default is not p.empty or p.kind in optional for p in parameters)


def call_member(subject: Any, member: str) -> object:
    return getattr(subject, member)()


def _call(api: Api, name: str, function: Any, get: Any) -> Callable[[], object] | None:
    """Return a function that makes the call, or None if no table says how."""
    if isinstance(function, type):
        return None
    if (call := api.arguments.get(name)) is not None:
        return call if get is None else lambda: call(get())
    if get is None:
        return function if _takes_nothing(function) else None
    member = name.rpartition(".")[2]
    if not callable(function) and not isinstance(function, (classmethod, staticmethod)):
        return lambda: getattr(get(), member)
    return (lambda: call_member(get(), member)) if _takes_nothing(getattr(get(), member)) else None


def public_calls(api: Api) -> Found:
    """Return the calls of a public interface."""
    found = Found()
    used = set(api.subjects) & {name for module in api.modules for name, _ in _public(module)}
    for name, function, get in _members(api):
        used.add(name)
        if name in api.excluded:
            continue
        call = _call(api, name, function, get)
        if call is None:
            found.complaints.append(f"{name}: say how to call or create it, or exclude it")
        elif inspect.iscoroutinefunction(getattr(function, "__func__", function)):
            found.awaited.add(name)
            found.calls[name] = lambda call=call: api.run(call())
        else:
            found.calls[name] = call
    gone = {*api.arguments, *api.excluded, *api.subjects} - used
    found.complaints += [f"{name}: is not public any more" for name in gone]
    return found
