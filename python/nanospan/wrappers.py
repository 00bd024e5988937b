"""Generate the functions that take the place of decorated ones.

A generated function has the parameters of the original, so that the interpreter, ``inspect`` and
libraries treat it like a function written by hand.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import inspect
import types
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class _Parameters(NamedTuple):
    """The names of a function's parameters, by kind."""

    positional_only: tuple[str, ...] = ()
    positional_or_keyword: tuple[str, ...] = ()
    var_positional: str | None = "args"
    keyword_only: tuple[str, ...] = ()
    var_keyword: str | None = "kwargs"

    @classmethod
    def of(cls, function: Callable[..., Any]) -> _Parameters:
        """Return the parameters of ``function``; for other callables, ``(*args, **kwargs)``."""
        if type(function) is not types.FunctionType:
            return cls()
        code = function.__code__
        names = iter(code.co_varnames)

        def take(count: int) -> tuple[str, ...]:
            return tuple(next(names) for _ in range(count))

        positional_only = take(code.co_posonlyargcount)
        positional_or_keyword = take(code.co_argcount - code.co_posonlyargcount)
        keyword_only = take(code.co_kwonlyargcount)
        return cls(
            positional_only,
            positional_or_keyword,
            next(names) if code.co_flags & inspect.CO_VARARGS else None,
            keyword_only,
            next(names) if code.co_flags & inspect.CO_VARKEYWORDS else None,
        )


def generate(
    source: str,
    function: Callable[..., Any],
    values: Mapping[str, object],
    flags: int = 0,
) -> types.FunctionType:
    """Create a function with the parameters, defaults and metadata of ``function``.

    Its code claims the file and the first line of ``function``. Tracebacks and debuggers thus
    show the line where ``function`` is defined.

    Args:
        source: The definition of a function without parameters. In it, ``original()`` stands for a
            call that passes on all arguments, and each name that is not assigned for one of the
            ``values``.
        function: The function to take the place of, or another callable.
        values: The values of the names in ``source``, which become the closure.
        flags: ``inspect.CO_...`` flags to add to the code.
    """
    code = _compile(source, _Parameters.of(function))
    code = code.replace(co_flags=code.co_flags | flags, **_origin(function))
    namespace = getattr(function, "__globals__", None)
    wrapper = types.FunctionType(
        code,
        namespace if isinstance(namespace, dict) else globals(),
        closure=tuple(types.CellType(values[name[1:]]) for name in code.co_freevars),
    )
    if type(function) is types.FunctionType:
        wrapper.__defaults__ = function.__defaults__
        wrapper.__kwdefaults__ = function.__kwdefaults__
    for name in functools.WRAPPER_ASSIGNMENTS:
        # An object that is not a function may have values that no function can have, or none.
        with contextlib.suppress(AttributeError, TypeError):
            setattr(wrapper, name, getattr(function, name))
    functools.update_wrapper(wrapper, function, assigned=())
    return wrapper


def _origin(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the names and the place that the code of ``function`` has, if it is Python code."""
    code = getattr(function, "__code__", None)
    if type(code) is not types.CodeType:  # a mock claims to be an instance
        return {}
    fields = ["co_name", "co_qualname", "co_filename", "co_firstlineno"]
    return {field: getattr(code, field) for field in fields if hasattr(code, field)}


@functools.lru_cache(maxsize=256)
def _compile(source: str, parameters: _Parameters) -> types.CodeType:
    """Compile the definition in ``source`` for a function with the given parameters."""
    module = ast.parse(source)
    definition = module.body[0]
    assert isinstance(definition, (ast.FunctionDef, ast.AsyncFunctionDef))  # noqa: S101 - for mypy
    nodes = list(ast.walk(definition))
    names: set[str] = set()
    assigned: set[str] = set()
    # The names get a dot, which no parameter has, because no name in a program can have one.
    for node in nodes:
        if isinstance(node, ast.Name):
            (assigned if isinstance(node.ctx, ast.Store) else names).add(node.id)
            node.id = f".{node.id}"
        elif isinstance(node, ast.ExceptHandler) and node.name:
            assigned.add(node.name)
            node.name = f".{node.name}"
    for node in nodes:
        if isinstance(node, ast.Call) and ast.unparse(node.func) == ".original":
            node.args, node.keywords = _arguments(parameters)
    definition.args = _declared(parameters)
    # Names that an enclosing function has are read from the closure.
    enclosing = ast.parse("def enclosing(): pass").body[0]
    assert isinstance(enclosing, ast.FunctionDef)  # noqa: S101 - for mypy
    enclosing.args.args = [ast.arg(f".{name}") for name in sorted(names - assigned)]
    enclosing.body = [definition]
    module.body = [enclosing]
    for node in ast.walk(module):
        if isinstance(node, (ast.stmt, ast.expr, ast.arg, ast.keyword, ast.ExceptHandler)):
            # The whole code is on the first line, at no particular column.
            node.lineno = node.end_lineno = 1
            node.col_offset = node.end_col_offset = -1
    compiled = compile(module, "<nanospan>", "exec", dont_inherit=True)
    return _constant(_constant(compiled))


def _declared(parameters: _Parameters) -> ast.arguments:
    """Return the declaration of the parameters, without defaults."""

    def declare(names: tuple[str, ...]) -> list[ast.arg]:
        return [ast.arg(name) for name in names]

    return ast.arguments(
        posonlyargs=declare(parameters.positional_only),
        args=declare(parameters.positional_or_keyword),
        vararg=ast.arg(parameters.var_positional) if parameters.var_positional else None,
        kwonlyargs=declare(parameters.keyword_only),
        kw_defaults=[None] * len(parameters.keyword_only),
        kwarg=ast.arg(parameters.var_keyword) if parameters.var_keyword else None,
        defaults=[],
    )


def _arguments(parameters: _Parameters) -> tuple[list[ast.expr], list[ast.keyword]]:
    """Return the arguments of a call that passes on all parameters."""

    def load(name: str) -> ast.Name:
        return ast.Name(name, ast.Load())

    positional: list[ast.expr] = [
        load(name) for name in parameters.positional_only + parameters.positional_or_keyword
    ]
    keywords = [ast.keyword(name, load(name)) for name in parameters.keyword_only]
    if parameters.var_positional:
        positional.append(ast.Starred(load(parameters.var_positional), ast.Load()))
    if parameters.var_keyword:
        keywords.append(ast.keyword(None, load(parameters.var_keyword)))
    return positional, keywords


def _constant(code: types.CodeType) -> types.CodeType:
    """Return the code of the only function that ``code`` defines."""
    return next(value for value in code.co_consts if isinstance(value, types.CodeType))
