"""A WebSocket that exists in memory, so that both its ends live in one virtual time."""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Callable, Sequence
from itertools import count
from typing import Final

import attrs
import trio
from trio_websocket import CloseReason, ConnectionClosed

from gateway.lab.virtual_time import Nap

__all__ = [
    "Arrival",
    "CloseReason",
    "ConnectionClosed",
    "Delay",
    "Frame",
    "MemorySocket",
    "Tamper",
    "memory_line",
]

Delay = int | Callable[[], int]
"""Ms that a frame is under way: always the same, or drawn anew for each frame."""

Frame = str | bytes | CloseReason
"""What is under way; a `CloseReason` is the goodbye, or with code 1006 the break."""

_FRAMES: Final = 4096
"""Frames under way in one direction before a sender has to wait: 80 s of audio frames."""


@attrs.frozen
class Arrival:
    """What becomes of a frame under way."""

    frame: Frame
    late_ms: int = 0
    """Added to the network's own delay."""
    overtakes: bool = False
    """May arrive before what was sent earlier, and what is sent later may arrive before it."""


Tamper = Callable[[Frame], Sequence[Arrival]]
"""What a network does to each frame given to it: nothing arrives, or one, or several."""


def memory_line(
    *,
    up_ms: Delay = 0,
    down_ms: Delay = 0,
    tamper_up: Tamper | None = None,
    tamper_down: Tamper | None = None,
) -> tuple[MemorySocket, MemorySocket]:
    """Make a line. Returns its client's end and its server's end.

    Args:
        up_ms: From client to server, one way.
        down_ms: From server to client, one way.
        tamper_up: What happens to frames from client to server; `None`: they arrive.
        tamper_down: Likewise, from server to client.

    """
    client = MemorySocket(up_ms, down_ms, tamper_up)
    server = MemorySocket(down_ms, up_ms, tamper_down)
    client._peer, server._peer = server, client  # noqa: SLF001 - both are being made here.
    return client, server


@attrs.define(eq=False)
class MemorySocket:
    """One end. Stands in for `trio_websocket.WebSocketConnection`, as far as a session goes.

    Frames stay in order, whatever their delays, unless somebody tampers. Unlike the real one,
    `aclose` does not wait for the peer's answer, and pings are answered by the line itself.

    Written for speed, since a simulated hour is a million frames: a frame wakes its reader once,
    when it arrives, and a send that has room costs no turn of the scheduler.
    """

    _delay: Delay
    _way_back: Delay
    _tamper: Tamper | None = None
    closed: CloseReason | None = attrs.field(default=None, init=False)
    """Why it is closed; `None` while it is open."""
    _peer: MemorySocket = attrs.field(init=False)
    _inbound: deque[tuple[float, int, Frame]] = attrs.field(
        factory=deque[tuple[float, int, Frame]], init=False
    )
    """Under way to this end, by arrival on trio's clock."""
    _order: count[int] = attrs.field(factory=count, init=False)
    _nap: Nap = attrs.field(factory=Nap, init=False)
    """Of the one who waits for the next message."""
    _moved: trio.Event = attrs.field(factory=trio.Event, init=False)
    """Set, and replaced, when a sender that had to wait may look again."""
    _stalled: bool = attrs.field(default=False, init=False)
    _last_arrival_s: float = attrs.field(default=0.0, init=False)

    @property
    def stalled(self) -> bool:
        """While true, this end takes nothing in: the peer's sends wait, as on a full window."""
        return self._stalled

    @stalled.setter
    def stalled(self, stalled: bool) -> None:
        self._stalled = stalled
        self._stir()

    async def send_message(self, message: str | bytes) -> None:
        """Send one message. Waits, cancellably, when the peer has long not read.

        Raises:
            ConnectionClosed: This end has closed, or the peer's goodbye has arrived.

        """
        await trio.lowlevel.checkpoint_if_cancelled()
        peer = self._peer
        while self.closed is None and (peer._stalled or len(peer._inbound) >= _FRAMES):  # noqa: ASYNC910, SLF001
            await peer._moved.wait()  # noqa: SLF001 - the other end of one line.
        if self.closed is not None:
            raise ConnectionClosed(self.closed)
        self._give(message)

    async def get_message(self) -> str | bytes:
        """Wait for the next message. One task only; cancellable, and then nothing is lost.

        Raises:
            ConnectionClosed: Either end has closed.

        """
        await trio.lowlevel.checkpoint_if_cancelled()
        while self.closed is None:
            due_s = self._inbound[0][0] if self._inbound else float("inf")
            if due_s <= trio.current_time():
                frame = self._inbound.popleft()[2]
                if len(self._inbound) == _FRAMES - 1:
                    self._stir()
                if not isinstance(frame, CloseReason):
                    return frame
                self._end(frame)
                break
            await self._nap.until(due_s)
        raise ConnectionClosed(self.closed)

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
        self._part(CloseReason(code, reason))

    def abort(self) -> None:
        """Break the line without a goodbye. Idempotent."""
        self._part(CloseReason(1006, None))

    def break_off(self) -> None:
        """Let the network between both ends break: each finds out at once. Idempotent."""
        broken = CloseReason(1006, None)
        self._end(broken)
        self._peer._end(broken)  # noqa: SLF001

    def _part(self, reason: CloseReason) -> None:
        if self.closed is None:
            self._give(reason)
            self._end(reason)

    def _give(self, frame: Frame) -> None:
        """Put a frame on its way. To a peer that has closed, it arrives nowhere."""
        if self._tamper is None:
            self._send_off(frame, 0, overtakes=False)
            return
        for arrival in self._tamper(frame):
            self._send_off(arrival.frame, arrival.late_ms, overtakes=arrival.overtakes)

    def _send_off(self, frame: Frame, late_ms: int, *, overtakes: bool) -> None:
        peer = self._peer
        if peer.closed is not None:
            return
        arrival_s = trio.current_time() + (_draw(self._delay) + late_ms) / 1000
        sent = (arrival_s, next(self._order), frame)
        if overtakes:
            insort(peer._inbound, sent)  # noqa: SLF001
        else:
            arrival_s = self._last_arrival_s = max(self._last_arrival_s, arrival_s)
            sent = (arrival_s, sent[1], frame)
            if peer._inbound and peer._inbound[-1] > sent:  # noqa: SLF001
                insort(peer._inbound, sent)  # noqa: SLF001 - behind one that was overtaken.
            else:
                peer._inbound.append(sent)  # noqa: SLF001
        peer._nap.move(arrival_s)  # noqa: SLF001

    def _end(self, reason: CloseReason) -> None:
        if self.closed is None:
            self.closed = reason
            self._inbound.clear()
            self._nap.wake()
            self._stir()
            self._peer._stir()  # noqa: SLF001 - our own sender waits there.

    def _stir(self) -> None:
        self._moved.set()
        self._moved = trio.Event()


def _draw(delay: Delay) -> int:
    return delay if isinstance(delay, int) else delay()
