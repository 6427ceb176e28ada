"""One end of a memory line, and somebody who keeps what passes there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import attrs
import trio
from trio_websocket import CloseReason, ConnectionClosed

from gateway.lab.memory_line import MemorySocket

Trace = Callable[[str], None]
"""Is given one line for everything that happens."""


class Watch(Protocol):
    """Whoever keeps what passes one end of a line."""

    def received(self, frame: str | bytes, now_s: float) -> None:
        """This end took a frame in."""

    def sent(self, frame: str | bytes, began_s: float) -> None:
        """This end sent a frame off, and began to at that moment."""

    def refused(self, frame: str | bytes) -> None:
        """This end could not send a frame off: the line is closed."""

    def waited(self, lasted_s: float) -> None:
        """This end sent a frame off, or gave up sending it, after so long."""

    def lost(self, now_s: float) -> None:
        """This end found the line closed."""

    def closing(self, now_s: float) -> None:
        """This end closes the line."""


@attrs.define(eq=False)
class WatchedSocket:
    """One end of a memory line, and somebody who keeps what passes."""

    socket: MemorySocket
    watch: Watch
    name: str
    """For the trace: whose end it is."""
    trace: Trace | None = None

    @property
    def closed(self) -> CloseReason | None:
        """Why it is closed; `None` while it is open."""
        return self.socket.closed

    async def send_message(self, message: str | bytes) -> None:
        """See `MemorySocket`."""
        began_s = trio.current_time()
        try:
            await self.socket.send_message(message)
        except ConnectionClosed:
            self.watch.refused(message)
            raise
        finally:
            self.watch.waited(trio.current_time() - began_s)
        self.watch.sent(message, began_s)
        self._tell("<", message)

    async def get_message(self) -> str | bytes:
        """See `MemorySocket`."""
        try:
            message = await self.socket.get_message()
        except ConnectionClosed:
            self.watch.lost(trio.current_time())
            self._tell(">", "closed")
            raise
        self.watch.received(message, trio.current_time())
        self._tell(">", message)
        return message

    async def ping(self) -> None:
        """See `MemorySocket`."""
        await self.socket.ping()

    async def aclose(self, code: int = 1000, reason: str | None = None) -> None:
        """See `MemorySocket`."""
        self._close(f"close {code}")
        await self.socket.aclose(code, reason)

    def abort(self) -> None:
        """See `MemorySocket`."""
        self._close("abort")
        self.socket.abort()

    def _close(self, how: str) -> None:
        if self.socket.closed is None:
            self.watch.closing(trio.current_time())
            self._tell("<", how)

    def _tell(self, direction: str, what: str | bytes) -> None:
        if self.trace is not None:
            self.trace(f"{trio.current_time():.6f} {self.name} {direction} {what!s}")
