"""Messages that an agent took: where they are kept, so that none is lost or written over."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

import attrs
import orjson
import trio

from gateway.records.store import UnsafeCallId, call_folder, make_private

PER_CALL: Final = 5
"""More is no message any more, and a disk is not there for whoever calls to fill."""


@attrs.frozen(kw_only=True)
class TakenMessage:
    """What somebody asked to be told to the owner."""

    call_sid: str
    tool_call_id: str
    """Which of the model's calls it came by: one that comes twice is the same message."""
    at: str
    """UTC, ISO 8601."""
    agent: str
    caller: str = attrs.field(repr=False)
    """The number that the carrier named."""
    called: str = attrs.field(repr=False)
    name: str | None = attrs.field(repr=False)
    """As they said it. Likewise the number."""
    number: str | None = attrs.field(repr=False)
    text: str = attrs.field(repr=False)


@attrs.frozen
class NotKept(Exception):
    """A message is in no safe place. The reason is for the model."""

    reason: str

    def __str__(self) -> str:
        return self.reason


FULL: Final = f"a call can leave {PER_CALL} messages, and has"
LOST: Final = "the message could not be kept; say so, and ask the caller to call again"


class TakenMessages(Protocol):
    """Where they are kept."""

    async def keep(self, message: TakenMessage) -> None:
        """Return when it is safe. Cancelled, it may be safe all the same.

        Raises:
            NotKept: There are too many of this call, or there is no room.

        """


@attrs.define(eq=False)
class MessagesInMemory:
    """Messages that are only remembered. Fits `TakenMessages`."""

    messages: list[TakenMessage] = attrs.field(factory=list[TakenMessage])

    async def keep(self, message: TakenMessage) -> None:
        """See `TakenMessages`."""
        await trio.lowlevel.checkpoint()
        others = [one for one in self.messages if one.call_sid == message.call_sid]
        if any(one.tool_call_id == message.tool_call_id for one in others):
            return
        if len(others) >= PER_CALL:
            raise NotKept(FULL)
        self.messages.append(message)


@attrs.define(eq=False)
class MessagesInFolders:
    """Messages as `message-1.json` to `message-5.json` in their call's folder.

    What a caller spoke to a machine is beside them, as `message.json`: `calls/*/message*.json` is
    every message there is. Fits `TakenMessages`.
    """

    root: Path
    _threads: trio.CapacityLimiter = attrs.field(
        factory=lambda: trio.CapacityLimiter(4), init=False
    )
    """Its own, so that a stuck disk does not use up everybody's."""

    async def keep(self, message: TakenMessage) -> None:
        """See `TakenMessages`. Cancelled, it ends in its thread."""
        try:
            is_kept = await trio.to_thread.run_sync(
                _write, self.root, message, abandon_on_cancel=True, limiter=self._threads
            )
        except (OSError, UnsafeCallId) as error:
            raise NotKept(LOST) from error
        if not is_kept:
            raise NotKept(FULL)


def _write(root: Path, message: TakenMessage) -> bool:
    """Write it under the first name that is free; `False`: there is none. Runs in a thread."""
    folder = call_folder(root, message.call_sid)
    make_private(folder)
    option = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    text = orjson.dumps(attrs.asdict(message), option=option)
    # A name of this thread's own: a call may leave two messages at once.
    part = folder / f".message.{os.getpid()}.{id(message)}.part"
    try:
        file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(file, "wb") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        for number in range(1, PER_CALL + 1):
            path = folder / f"message-{number}.json"
            try:
                # Unlike a rename, this takes no name that somebody has.
                os.link(part, path)
            except FileExistsError:
                if _is_of(path, message.tool_call_id):
                    return True
            else:
                _sync(folder)
                return True
    finally:
        with suppress(FileNotFoundError):
            part.unlink()
    return False


def _is_of(path: Path, tool_call_id: str) -> bool:
    try:
        return bool(orjson.loads(path.read_bytes())["tool_call_id"] == tool_call_id)
    except (ValueError, KeyError, TypeError):
        return False


def _sync(folder: Path) -> None:
    """A file's name is not safe before its folder is."""
    opened = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
