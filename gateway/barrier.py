"""The one place where somebody else's crash stops.

Around each connection and around each call: what fails inside ends that one and is logged, and
the nursery that serves the others never hears of it.
"""

from __future__ import annotations

from collections.abc import Callable
from traceback import format_exception
from types import TracebackType
from typing import Self

import attrs
import structlog

log: structlog.stdlib.BoundLogger = structlog.get_logger()


@attrs.define(eq=False)
class Barrier:
    """A context manager that lets cancellation through and keeps every `Exception` back.

    Args:
        event: What to log, with the traceback, when something was kept back.
        tell: Is told of it instead: of what is no bug of ours, a traceback is not wanted.

    """

    event: str
    tell: Callable[[Exception], None] | None = None
    failure: Exception | None = attrs.field(default=None, init=False)
    """What was kept back, if anything."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if isinstance(error, BaseExceptionGroup):
            # A nursery reports a crash and the cancellation it caused together.
            failures, others = error.split(Exception)
            if failures is None:
                return False
            self._keep(failures)
            if others is not None:
                raise others
            return True
        if isinstance(error, Exception):
            self._keep(error)
            return True
        return False

    def _keep(self, failure: Exception) -> None:
        self.failure = failure
        if self.tell is not None:
            self.tell(failure)
            return
        # As text: a logger with a mind of its own would print variables, keys and words among them.
        log.error(self.event, traceback="".join(format_exception(failure)))
