"""What was seen of a simulated call's media stream, at the gateway's end of it. No judgement."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final

import attrs

from actors.messages import ULAW_BYTES_PER_MS
from gateway.lab.judges.seen_audio import Audio, decoded, parsed

FRAME_MOST: Final = 16 * 1024
"""Characters. Twilio's frames have 400."""


@attrs.define(eq=False, kw_only=True)
class StreamSeen:
    """One media stream, seen from the gateway."""

    opened_s: float
    stream_sid: str = ""
    """As it said itself."""
    done_s: float | None = None
    """The gateway was done with its socket."""
    told_s: float | None = None
    """The gateway was told, or noticed, that the stream is over."""
    stopped_s: float | None = None
    """It was told so by Twilio's `stop`."""
    closing_s: float | None = None
    """The gateway began to close it."""
    latest_s: float | None = None
    """When the gateway received the latest frame."""
    unreadable_s: list[float] = attrs.field(factory=list[float], init=False)
    """When the gateway received a frame that is no JSON object, once the stream had started."""
    nonsense_s: float | None = None
    """When it received what no stream may contain: bytes, far too much, another stream's start."""
    longest_wait_s: float = 0.0
    """That the gateway waited for the phone to take a frame."""
    caller_bytes: int = 0
    """Received in frames that are well-formed, from `start` until the gateway began to close."""
    played: Audio = attrs.field(factory=Audio, init=False)
    refused_bytes: int = 0
    """Of audio sent to a peer that had just left: it goes nowhere, and no server says so."""
    clears_s: list[float] = attrs.field(factory=list[float], init=False)
    clears_bytes: list[int] = attrs.field(factory=list[int], init=False)
    """How many bytes had been played when each `clear` was sent."""
    _started: bool = attrs.field(default=False, init=False)

    def queue_ends(self) -> Iterator[tuple[float, float]]:
        """When something was sent, and when the carrier has played all it has, each time.

        As if it began at once. A `clear` empties what it holds.
        """
        ends_s = 0.0
        clears = deque(zip(self.clears_s, self.clears_bytes, strict=True))
        for at_s, begin, size in self.played.pieces():
            while clears and clears[0][1] <= begin:
                ends_s = clears.popleft()[0]
                yield ends_s, ends_s
            ends_s = max(ends_s, at_s) + size / ULAW_BYTES_PER_MS / 1000
            yield at_s, ends_s
        for cleared_s, _ in clears:
            yield cleared_s, cleared_s

    def received(self, frame: str | bytes, now_s: float) -> None:
        """The gateway took this in."""
        self.latest_s = now_s
        message = parsed(frame)
        if self._started and not message:
            self.unreadable_s.append(now_s)
        other = message.get("event") == "start" and message.get("streamSid") != self.stream_sid
        if self._started and (isinstance(frame, bytes) or len(frame) > FRAME_MOST or other):
            self.nonsense_s = self.nonsense_s or now_s
        match message.get("event"):
            case "start" if not self._started:
                self._started = True
                self.stream_sid = str(message.get("streamSid"))
            case "media" if self._started and self.closing_s is None and self.told_s is None:
                self.caller_bytes += len(decoded(message.get("media"), "payload"))
            case "stop" if self._started:
                self.told_s = self.told_s or now_s
                self.stopped_s = self.stopped_s or now_s
            case _:
                pass

    def sent(self, frame: str | bytes, began_s: float) -> None:
        """The gateway sent this off, and began to at that moment."""
        message = parsed(frame)
        match message.get("event"):
            case "media":
                self.played.add(decoded(message.get("media"), "payload"), began_s)
            case "clear":
                self.clears_s.append(began_s)
                self.clears_bytes.append(self.played.count)
            case _:
                pass

    def refused(self, frame: str | bytes) -> None:
        """The gateway could not send this off: the peer has left."""
        message = parsed(frame)
        if message.get("event") == "media":
            self.refused_bytes += len(decoded(message.get("media"), "payload"))

    def waited(self, lasted_s: float) -> None:
        """The gateway sent something off, or gave up sending it, after so long."""
        self.longest_wait_s = max(self.longest_wait_s, lasted_s)

    def lost(self, now_s: float) -> None:
        """The gateway found it closed."""
        if self.closing_s is None:
            self.told_s = self.told_s or now_s

    def closing(self, now_s: float) -> None:
        """The gateway closes it."""
        self.closing_s = self.closing_s or now_s
