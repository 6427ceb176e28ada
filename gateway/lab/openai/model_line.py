"""Where a rehearsal model meets a socket: one task reads, one sends what is due.

The socket may be a real WebSocket, or one end of a `memory_line`, on which a whole call runs in
virtual time.
"""

from __future__ import annotations

import math
from typing import Final, Protocol

import attrs
import trio

from gateway.lab.memory_line import ConnectionClosed
from gateway.lab.openai.model import Close, RehearsalModel
from gateway.lab.virtual_time import Nap

_MOST_UNSENT: Final = 2000
"""Frames a model may owe a client that does not read. An answer of a minute is about 700."""


class Socket(Protocol):
    """The part of `trio_websocket.WebSocketConnection` that a session needs."""

    async def send_message(self, message: str | bytes) -> None:
        """Send one message; `ConnectionClosed` when there is no connection any more."""

    async def get_message(self) -> str | bytes:
        """Wait for the next message; `ConnectionClosed` when there will be none."""

    async def aclose(self, code: int = 1000, reason: str | None = None) -> None:
        """Say goodbye and close. Idempotent."""


async def serve_session(model: RehearsalModel, socket: Socket) -> None:
    """Let a model talk over a socket until either side closes it. Cancellable.

    Closes the socket when the model ends the session; otherwise that is for the caller to do.
    """
    line = _Line(model, socket, trio.current_time())
    model.connect(0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(line.read, nursery.cancel_scope)
        await line.write()
        nursery.cancel_scope.cancel()


@attrs.define(eq=False)
class _Line:
    """The two tasks of a session, and what they tell each other."""

    model: RehearsalModel
    socket: Socket
    began_s: float
    nap: Nap = attrs.field(factory=Nap)
    """The writer's."""
    wakes_ms: float = 0
    """When it ends by itself."""
    sent: trio.Event = attrs.field(factory=trio.Event)

    def now_ms(self) -> int:
        return round((trio.current_time() - self.began_s) * 1000)

    async def read(self, scope: trio.CancelScope) -> None:
        """Feed the model until the peer closes; then cancel `scope`."""
        while True:  # noqa: ASYNC913 (it awaits a message)
            while self.model.backlog > _MOST_UNSENT:  # Who asks and never reads has to wait.
                await self.sent.wait()
            try:
                text = await self.socket.get_message()
            except ConnectionClosed:
                scope.cancel()
                return
            self.model.receive(text, self.now_ms())
            wake_ms = self.model.next_wake_ms()
            # The writer sleeps through what changes nothing for it: 50 frames a second.
            if self.model.backlog or (wake_ms is not None and wake_ms < self.wakes_ms):
                self.nap.wake()

    async def write(self) -> None:
        """Send what is due until the model, or the peer, has closed."""
        while True:
            self.model.tick(self.now_ms())
            for frame in self.model.take():
                try:
                    if isinstance(frame, Close):
                        await self.socket.aclose(frame.code, frame.reason)
                        return
                    await self.socket.send_message(frame.text)
                except ConnectionClosed:
                    return
            self.sent.set()
            self.sent = trio.Event()
            await self._wait()

    async def _wait(self) -> None:
        """Wait until something is due or something was received."""
        wake_ms = self.model.next_wake_ms()
        self.wakes_ms = math.inf if wake_ms is None else wake_ms
        await self.nap.until(self.began_s + self.wakes_ms / 1000)
