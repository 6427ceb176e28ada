"""A WebSocket that exists in memory, so that both its ends live in one virtual time."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final

import attrs
import trio
from trio_websocket import CloseReason, ConnectionClosed

__all__ = ["CloseReason", "ConnectionClosed", "Delay", "MemorySocket", "memory_line"]

Delay = int | Callable[[], int]
"""Ms that a frame is under way: always the same, or drawn anew for each frame."""

_FRAMES: Final = 4096
"""Frames under way in one direction before a sender has to wait: 80 s of audio frames."""

_Sent = tuple[float, str | bytes | CloseReason]
"""A frame and when it arrives."""


def memory_line(*, up_ms: Delay = 0, down_ms: Delay = 0) -> tuple[MemorySocket, MemorySocket]:
    """Make a line. Returns its client's end and its server's end.

    Args:
        up_ms: From client to server, one way.
        down_ms: From server to client, one way.

    """
    up_send, up_receive = trio.open_memory_channel[_Sent](_FRAMES)
    down_send, down_receive = trio.open_memory_channel[_Sent](_FRAMES)
    client = MemorySocket(up_ms, down_ms, up_send, down_receive)
    return client, MemorySocket(down_ms, up_ms, down_send, up_receive)


@attrs.define(eq=False)
class MemorySocket:
    """One end. Stands in for `trio_websocket.WebSocketConnection`, as far as a session goes.

    Frames stay in order, whatever their delays. Unlike the real one, `aclose` does not wait for
    the peer's answer, and pings are answered by the line itself.
    """

    _delay: Delay
    _way_back: Delay
    _outbound: trio.MemorySendChannel[_Sent]
    _inbound: trio.MemoryReceiveChannel[_Sent]
    closed: CloseReason | None = attrs.field(default=None, init=False)
    """Why it is closed; `None` while it is open."""
    _arriving: _Sent | None = attrs.field(default=None, init=False)
    _last_arrival_s: float = attrs.field(default=0.0, init=False)

    async def send_message(self, message: str | bytes) -> None:
        """Send one message. Waits, cancellably, when the peer has long not read.

        Raises:
            ConnectionClosed: This end has closed, or the peer's goodbye has arrived.

        """
        if self.closed is not None:
            raise ConnectionClosed(self.closed)
        try:
            await self._outbound.send(self._dated(message))
        except trio.BrokenResourceError:
            # The peer has closed and its goodbye is still under way: nobody knows of it here yet.
            await trio.lowlevel.checkpoint()
        except trio.ClosedResourceError:
            raise ConnectionClosed(self.closed) from None

    async def get_message(self) -> str | bytes:
        """Wait for the next message. Cancellable, and a cancelled wait loses nothing.

        Raises:
            ConnectionClosed: Either end has closed.

        """
        if self.closed is not None:
            raise ConnectionClosed(self.closed)
        try:
            if self._arriving is None:
                self._arriving = await self._inbound.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError):
            self._end(CloseReason(1006, None))  # Unless this end closed while it waited.
            raise ConnectionClosed(self.closed) from None
        await trio.sleep_until(self._arriving[0])
        frame, self._arriving = self._arriving[1], None
        if isinstance(frame, CloseReason):
            self._end(frame)
        if isinstance(frame, CloseReason) or self.closed is not None:
            raise ConnectionClosed(self.closed)
        return frame

    async def ping(self, payload: bytes | None = None) -> None:
        """Wait for as long as a ping and its pong are under way.

        Raises:
            ConnectionClosed: This end closed meanwhile, or had closed before.

        """
        del payload
        await trio.sleep((_draw(self._delay) + _draw(self._way_back)) / 1000)
        if self.closed is not None:
            raise ConnectionClosed(self.closed)

    async def aclose(self, code: int = 1000, reason: str | None = None) -> None:
        """Say goodbye and close. Idempotent. 1006 stands for a connection that just breaks."""
        await trio.lowlevel.checkpoint()
        if self.closed is None:
            # A peer that does not read, or has closed too, finds out by itself.
            with suppress(trio.WouldBlock, trio.BrokenResourceError):
                self._outbound.send_nowait(self._dated(CloseReason(code, reason)))
            self._end(CloseReason(code, reason))

    def abort(self) -> None:
        """Break the line without a goodbye. Idempotent."""
        if self.closed is None:
            with suppress(trio.WouldBlock, trio.BrokenResourceError):
                self._outbound.send_nowait(self._dated(CloseReason(1006, None)))
            self._end(CloseReason(1006, None))

    def _dated(self, frame: str | bytes | CloseReason) -> _Sent:
        arrival_s = trio.current_time() + _draw(self._delay) / 1000
        self._last_arrival_s = max(self._last_arrival_s, arrival_s)
        return self._last_arrival_s, frame

    def _end(self, reason: CloseReason) -> None:
        self.closed = self.closed or reason
        self._outbound.close()
        self._inbound.close()


def _draw(delay: Delay) -> int:
    return delay if isinstance(delay, int) else delay()
