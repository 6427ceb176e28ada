"""What a flight log says of those a call had to do with: what they said, and how they failed."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections import deque
from contextlib import suppress
from typing import Final, Literal

import attrs
import trio

from actors.messages import ULAW_SILENCE
from gateway.records.flight_log import Entry, FlightLog
from gateway.web.client_socket import MESSAGE_MAX_BYTES

APART_MS: Final = 100.0
"""How far from its time a peer fails, if it is sent fewer or more messages today."""


def word(entry: Entry, place: str) -> object:
    """The first word of an entry at this place."""
    content = entry.content
    return content[0] if entry.place == place and isinstance(content, list) and content else None


def recorded_audio(audio: object) -> str:
    """The recorded base64, or silence of the recorded length."""
    if isinstance(audio, int):
        size = max(0, min(audio, MESSAGE_MAX_BYTES))  # A log may come from anybody.
        return b64encode(ULAW_SILENCE * size).decode("ascii")
    return str(audio)


def raised(name: str) -> Exception:
    """An exception of that name: what a log keeps of one."""
    error: Exception = type(name, (Exception,), {})()
    return error


@attrs.define(eq=False)
class RecordedFiller:
    """The line that a call said itself, whenever it asked for one."""

    _lines: deque[tuple[bytes, str]]

    @classmethod
    def of(cls, log: FlightLog) -> RecordedFiller:
        """Read it off a log."""
        lines: deque[tuple[bytes, str]] = deque()
        for entry in log.entries:
            match entry.place, entry.content:
                case "line", ["is", int() | str() as audio, str(words)]:
                    with suppress(ValueError):  # A log may come from anybody.
                        lines.append((b64decode(recorded_audio(audio)), words))
                case _:
                    pass
        return cls(lines)

    def line(self) -> tuple[bytes, str] | None:
        """What it was, this time; the last one for every further time."""
        if len(self._lines) > 1:
            return self._lines.popleft()
        return self._lines[0] if self._lines else None


@attrs.define(eq=False)
class Troubles:
    """How sending to one peer came to an end, if it did: after how many messages, and when."""

    _taken: int = 0
    """Messages that were taken before."""
    _from_ms: float = float("inf")
    """When the first was sent that was not."""
    _error: Exception | None = None
    """What sending that one raised; `None`: it was never taken."""
    _sent: int = attrs.field(default=0, init=False)

    @classmethod
    def of(cls, log: FlightLog, leg: Literal["phone", "model"]) -> Troubles:
        """Read them off a log."""
        taken = 0
        for entry in log.entries:
            taken += entry.place == f"{leg}.out"
            match entry.place.removeprefix(leg), entry.content:
                case ".closed", ["stalled", float() | int() as waited_ms]:
                    return cls(taken, entry.at_ms - waited_ms)
                case ".closed", ["raised", str(name)]:
                    return cls(taken, entry.at_ms, raised(name))
                case ".closed", ["broken"] if leg == "phone":  # A model's is read, not found.
                    return cls(taken, entry.at_ms, BrokenPipeError())
                case _:
                    pass
        return cls()

    async def befall(self, now_ms: float) -> None:
        """Let one more message be taken, or wait for ever, or raise what was raised.

        Which one it is that fails goes by number, if the time is about right, else by time.
        """
        await trio.lowlevel.checkpoint()
        is_due = now_ms > self._from_ms - APART_MS and self._sent >= self._taken
        if not is_due and now_ms <= self._from_ms + APART_MS:
            self._sent += 1
        elif self._error is not None:
            raise self._error
        else:
            await trio.sleep_forever()
