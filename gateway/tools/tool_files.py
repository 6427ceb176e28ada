"""Tools from Python files of the user's: every function with `@tool` above it.

from gateway import tool

@tool(risk="low")
async def look_up(order: int) -> str:
\"\"\"Look up where an order is.\"\"\"
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Final, TypeVar, get_args, overload

import attrs

from actors.policy.risk import Risk
from actors.toolbox import MARK, ReadBack, Terms, Toolbox, ToolFunction

Marked = TypeVar("Marked", bound=ToolFunction)

LONGEST_S: Final = 300.0
"""Whoever is on the phone does not wait longer."""

_NUMBERS: Final = count(1)


@attrs.frozen
class ToolFileError(Exception):
    """A file of tools cannot be used. Says which, and where in it."""

    path: Path
    line: int | None
    what: str

    def __str__(self) -> str:
        where = f"{self.path}" if self.line is None else f"{self.path}:{self.line}"
        return f"{where}: {self.what}"


@overload
def tool(function: Marked) -> Marked: ...
@overload
def tool(
    *, risk: Risk = ..., read_back: ReadBack | None = ..., longest_s: float | None = ...
) -> Callable[[Marked], Marked]: ...
def tool(
    function: Marked | None = None,
    *,
    risk: Risk = "high",
    read_back: ReadBack | None = None,
    longest_s: float | None = None,
) -> Marked | Callable[[Marked], Marked]:
    """Mark a function as one that the model may call. Changes nothing else about it.

    Args:
        function: Whose decorator this is; without it, the terms come first: `@tool(risk="low")`.
        risk: `low`: anybody who calls may have it run. `high`: the verified owner, who confirms it.
        read_back: What is confirmed, as a sentence with `{argument}` in it, or made of arguments.
        longest_s: How long it may take.

    Raises:
        TypeError: It has no name, by which a model could call it.
        ValueError: There is no such risk, or no such time.

    """
    if risk not in get_args(Risk):
        raise ValueError(f"risk is 'low' or 'high', not {risk!r}")
    if not isinstance(longest_s, int | float | None):
        raise TypeError(f"longest_s is in seconds, not {longest_s!r}")
    if longest_s is not None and not 0 < longest_s <= LONGEST_S:
        raise ValueError(f"longest_s is up to {LONGEST_S:g} seconds, not {longest_s!r}")
    terms = Terms(risk, read_back, longest_s)

    def mark(marked: Marked) -> Marked:
        if not isinstance(getattr(marked, "__name__", None), str):
            raise TypeError(
                f"@tool goes above a function, and a {type(marked).__name__} has no name"
            )
        setattr(marked, MARK, terms)
        return marked

    return mark if function is None else mark(function)


def load_tools(paths: Iterable[Path]) -> Toolbox:
    """Run these files, in order, and collect their tools; the last of a name wins.

    The files are read anew every time. Blocking; what they do when they are run is theirs.

    Raises:
        ToolFileError: A file cannot be read or run, has no tools, or has one that cannot be used.

    """
    found: dict[str, tuple[Path, ToolFunction]] = {}
    for path in paths:
        functions = _marked(_run(path))
        if not functions:
            raise ToolFileError(path, None, "has no tools: put `@tool` above a function")
        found |= {function.__name__: (path, function) for function in functions}
    box = Toolbox()
    for path, function in found.values():
        try:
            box.add(function)
        except TypeError as error:
            code = getattr(function, "__code__", None)
            line = None if code is None else code.co_firstlineno
            raise ToolFileError(path, line, str(error)) from error
    return box


def _run(path: Path) -> ModuleType:
    """Run one file as a module of its own, which stays known: its annotations are looked up."""
    name = f"offhook_tools_{next(_NUMBERS)}_{path.stem}"
    module = ModuleType(name)
    module.__file__ = str(path)
    try:
        # Not by an importer: that would find yesterday's bytecode of a file edited in the same
        # second, and leave a folder behind.
        code = compile(path.read_bytes(), str(path), "exec")
    except OSError as error:
        raise ToolFileError(path, None, error.strerror or type(error).__name__) from error
    except SyntaxError as error:
        raise ToolFileError(path, error.lineno, error.msg) from error
    except (ValueError, RecursionError, MemoryError) as error:
        # What is nested too deep for the parser, it says so in these two ways.
        raise ToolFileError(path, None, f"{type(error).__name__}: {error}") from error
    sys.modules[name] = module
    try:
        exec(code, module.__dict__)  # noqa: S102 - that is what the user's file is for.
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise ToolFileError(path, _line(error, path), f"{type(error).__name__}: {error}") from error
    return module


def _line(error: BaseException, path: Path) -> int | None:
    """The innermost line of the file that led to the error."""
    frames = traceback.extract_tb(error.__traceback__)
    return next((one.lineno for one in reversed(frames) if one.filename == str(path)), None)


def _marked(module: ModuleType) -> Sequence[ToolFunction]:
    return [value for value in vars(module).values() if _is_marked(value)]


def _is_marked(value: object) -> bool:
    """Whether `tool` was here. A proxy answers to any name, or raises whatever it likes."""
    try:
        return callable(value) and isinstance(getattr(value, MARK, None), Terms)
    except Exception:  # noqa: BLE001 - somebody else's object, which is no tool then.
        return False
