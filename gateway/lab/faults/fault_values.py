"""The errors and odd results that a fault's `detail` names.

Pure.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from typing import Final

ERRORS: Final[Mapping[str, Callable[[], BaseException]]] = {
    "ENOSPC": lambda: _os_error(errno.ENOSPC),
    "EIO": lambda: _os_error(errno.EIO),
    "EROFS": lambda: _os_error(errno.EROFS),
    "EMFILE": lambda: _os_error(errno.EMFILE),
    "RuntimeError": lambda: RuntimeError("a bug"),
    "ValueError": lambda: ValueError("a bug"),
    "MemoryError": MemoryError,
    "RecursionError": lambda: RecursionError("a bug"),
    "ExceptionGroup": lambda: ExceptionGroup("two bugs", [ValueError("one"), KeyError("two")]),
    "BaseExceptionGroup": lambda: BaseExceptionGroup("worse", [SystemExit(1), ValueError("two")]),
    "SystemExit": lambda: SystemExit(1),
}
"""Each call makes a new one: an error that is raised carries its traceback."""

REFUSALS: Final[Mapping[str, tuple[str, int | None]]] = {
    "401": ("HTTP 401", 401),
    "403": ("HTTP 403", 403),
    "429": ("HTTP 429", 429),
    "500": ("HTTP 500", 500),
    "503": ("HTTP 503", 503),
    "refused": ("connection refused", None),
    "tls": ("the certificate is not trusted", None),
    "dns": ("no such host", None),
    "EMFILE": (os.strerror(errno.EMFILE), None),
}
"""Why a server cannot be connected to: what a `CannotOpen` says, and its HTTP status."""

REST_ANSWERS: Final[Mapping[str, tuple[int, int | None, bool]]] = {
    "429": (429, 20429, False),
    "500": (500, None, False),
    "503": (503, None, False),
    "500, and obeyed": (500, None, True),
    "nothing": (0, None, False),
    "nothing, and obeyed": (0, None, True),
}
"""What Twilio answers by REST in place of what it should: HTTP status (0: never any), its own
code, and whether it has done what it was asked."""


def _os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def _cyclic() -> object:
    cycle: list[object] = []
    cycle.append(cycle)
    return cycle


RESULTS: Final[Mapping[str, Callable[[], object]]] = {
    "10 MB": lambda: "x" * 10_000_000,
    "bytes": lambda: bytes(range(256)) * 4,
    "cyclic": _cyclic,
    "100000 keys": lambda: {f"key {number}": number for number in range(100_000)},
    "not a number": lambda: float("nan"),
    "half a character": lambda: "\ud800",
    "nothing": lambda: None,
}
"""What a function may return that is no sensible answer. None shows an address of memory."""
