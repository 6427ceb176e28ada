"""The message a caller left when no agent could talk to them: where Twilio keeps it.

Source: "TwiML: Record" and "Recordings resource", Twilio docs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import attrs
import orjson
import structlog
import trio

from gateway.records.store import call_folder, make_private

log: structlog.stdlib.BoundLogger = structlog.get_logger()

FILE_NAME: Final = "message.json"
LONGEST_URL: Final = 500

_CALL_SID: Final = re.compile(r"CA[0-9a-f]{32}")
_RECORDING_SID: Final = re.compile(r"RE[0-9a-f]{32}")
_URL: Final = re.compile(rf"[!-~]{{1,{LONGEST_URL}}}")
_STATUSES: Final = frozenset({"in-progress", "completed", "absent", "failed"})


@attrs.frozen
class LeftMessage:
    """What Twilio says about a recording."""

    call_sid: str
    recording_sid: str
    status: str
    """`in-progress`, `completed`, `absent`, `failed`."""
    url: str | None
    """Where it is, behind the account's credentials; `None`: not at the carrier's own address."""
    duration_s: int | None


KeepMessage = Callable[[LeftMessage], Awaitable[None]]
"""Keep what is known of a message, in place of what was known of it. Raises nothing of its own."""


def left_message(values: Mapping[str, str], api_url: str) -> LeftMessage | None:
    """Read a recording's callback; `None` when it is none.

    Args:
        values: Its fields.
        api_url: Of the carrier's REST interface. An address elsewhere is not kept: whoever
            fetches a recording sends credentials along.

    """
    call_sid, sid = values.get("CallSid", ""), values.get("RecordingSid", "")
    status = values.get("RecordingStatus", "completed")
    if not (_CALL_SID.fullmatch(call_sid) and _RECORDING_SID.fullmatch(sid)):
        return None
    if status not in _STATUSES:
        return None
    url, duration = values.get("RecordingUrl", ""), values.get("RecordingDuration", "")
    is_number = duration.isascii() and duration.isdigit() and len(duration) < 7
    return LeftMessage(
        call_sid,
        sid,
        status,
        url if _is_at(url, api_url) else None,
        int(duration) if is_number else None,
    )


def _is_at(url: str, api_url: str) -> bool:
    try:
        found, wanted = urlsplit(url), urlsplit(api_url)
    except ValueError:
        return False
    return (
        # Also what a reader of URLs drops without a word, as line breaks: nobody else might.
        _URL.fullmatch(url) is not None
        and (found.scheme, found.netloc) == (wanted.scheme, wanted.netloc)
    )


def keep_in_folders(root: Path) -> KeepMessage:
    """Keep messages as `message.json` in the folders of their calls."""
    return partial(_keep, root)


async def _keep(root: Path, message: LeftMessage) -> None:
    try:
        await trio.to_thread.run_sync(_write, root, message)
    except OSError as error:
        log.warning("recording.not_kept", error=f"{type(error).__name__}: {error.strerror}")


def _write(root: Path, message: LeftMessage) -> None:
    folder = call_folder(root, message.call_sid)
    make_private(folder)
    text = orjson.dumps(attrs.asdict(message), option=orjson.OPT_INDENT_2)
    part = folder / f".{FILE_NAME}.part"
    with suppress(FileNotFoundError):
        part.unlink()
    file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(file, "wb") as out:
        out.write(text + b"\n")
    part.replace(folder / FILE_NAME)
