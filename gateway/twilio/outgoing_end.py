"""How a call ended that we placed: kept beside its records, or in place of them."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

import attrs
import orjson
import structlog
import trio

from gateway.records.store import keep_beside
from gateway.twilio.outgoing import OutgoingCall

log: structlog.stdlib.BoundLogger = structlog.get_logger()

FILE_NAME: Final = "outgoing.json"
_NUMBER: Final = re.compile(r"[0-9]{1,6}", re.ASCII)
_STATUS: Final = re.compile(r"[a-z-]{1,20}", re.ASCII)


@attrs.frozen(kw_only=True)
class OutgoingEnd:
    """What became of one. Nobody answered: this is all there is of it."""

    call_sid: str
    placed_by: str
    from_number: str = attrs.field(repr=False)
    to_number: str = attrs.field(repr=False)
    task: str = attrs.field(repr=False)
    status: str
    """`completed`, `busy`, `no-answer`, `failed`, `canceled`."""
    duration_s: int | None
    sip_status: int | None
    """What the network behind the carrier said: 486 is busy, 404 is no such number."""


KeepOutgoing = Callable[[OutgoingEnd], Awaitable[None]]
"""Keep it. Raises nothing of its own."""


def outgoing_end(call: OutgoingCall, call_sid: str, values: Mapping[str, str]) -> OutgoingEnd:
    """Read the last status callback of a call.

    Args:
        call: What it was.
        call_sid: Of it.
        values: The callback's fields.

    """
    status = values.get("CallStatus", "")
    return OutgoingEnd(
        call_sid=call_sid,
        placed_by=call.placed_by,
        from_number=call.from_number,
        to_number=call.to,
        task=call.task,
        status=status if _STATUS.fullmatch(status) else "unknown",
        duration_s=_whole(values.get("CallDuration", "")),
        sip_status=_whole(values.get("SipResponseCode", "")),
    )


def keep_ends_in_folders(root: Path) -> KeepOutgoing:
    """Keep them as `outgoing.json` in the folders of their calls."""
    return partial(_keep, root)


async def keep_no_ends(end: OutgoingEnd) -> None:
    """Keep nothing: for calls in virtual time, which a thread would not fit."""
    del end
    await trio.lowlevel.checkpoint()


async def _keep(root: Path, end: OutgoingEnd) -> None:
    text = orjson.dumps(attrs.asdict(end), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    try:
        await trio.to_thread.run_sync(keep_beside, root, end.call_sid, FILE_NAME, text)
    except OSError as error:
        log.warning("outgoing.not_kept", error=f"{type(error).__name__}: {error.strerror}")


def _whole(text: str) -> int | None:
    return int(text) if _NUMBER.fullmatch(text) else None
