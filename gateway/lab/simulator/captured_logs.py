"""Everything that is logged meanwhile, kept instead of printed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import structlog
from structlog.typing import EventDict, WrappedLogger


@contextmanager
def captured_logs() -> Iterator[list[EventDict]]:
    """Keep every event, whatever its level, before anything in it is hidden.

    What libraries log by way of `logging` becomes an event of the name `library.logged`. For one
    thread at a time: how a process logs belongs to the process.
    """
    events: list[EventDict] = []

    def keep(_logger: WrappedLogger, _method: str, event: EventDict) -> NoReturn:
        events.append(event)
        raise structlog.DropEvent

    before = structlog.get_config()
    handler = _Keeper(events)
    logging.getLogger().addHandler(handler)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            keep,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET),
        cache_logger_on_first_use=False,
    )
    try:
        yield events
    finally:
        structlog.configure(**before)
        logging.getLogger().removeHandler(handler)


class _Keeper(logging.Handler):
    def __init__(self, events: list[EventDict]) -> None:
        super().__init__()
        self.events = events

    def emit(self, record: logging.LogRecord) -> None:
        self.events.append(
            {
                "event": "library.logged",
                "level": record.levelname.lower(),
                "logger": record.name,
                "message": self.format(record),
            }
        )
