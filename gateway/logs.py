"""Logs: events with values, for a person on a terminal and as JSON for everything else.

Events are `noun.past_verb`; what a value is called decides whether it may be shown.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final, TextIO

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

SECRET_KEYS: Final = frozenset(
    {
        "api_key",
        "api_secret",
        "arguments",
        "audio",
        "auth_token",
        "authorization",
        "body",
        "caller",
        "called",
        "digit",
        "digits",
        "from_number",
        "headers",
        "parameters",
        "password",
        "payload",
        "secret",
        "signature",
        "text",
        "to_number",
        "token",
        "transcript",
        "ulaw",
    }
)
"""Names of values that are not for logs. Whoever logs should not pass them; this is in case."""


def configure(stream: TextIO, *, level: int = logging.INFO) -> None:
    """Decide how this process logs. Once, at its start."""
    # Tracebacks without local variables: those hold keys, numbers and what was said.
    render: tuple[Processor, ...]
    if stream.isatty():
        plain = structlog.dev.plain_traceback
        render = (structlog.dev.ConsoleRenderer(exception_formatter=plain),)
    else:
        render = (
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(_json, default=repr),
        )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            redact,
            *render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Hide every value whose name says that it is not for logs, at any depth."""
    return {key: _redacted(key, value) for key, value in event.items()}


def _redacted(key: str, value: Any) -> Any:  # noqa: ANN401 (logs take any value)
    if key.lower() in SECRET_KEYS:
        return "(hidden)"
    if isinstance(value, Mapping):
        return {inner: _redacted(str(inner), deeper) for inner, deeper in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted("", deeper) for deeper in value]
    return value


def _json(event: EventDict, default: Callable[[Any], Any]) -> str:
    return orjson.dumps(event, default=default).decode()
