"""Drives a rehearsal line: in real time over a socket, in virtual time over memory channels."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Final

import attrs
import trio

from gateway.lab.twilio.line import RehearsalLine
from gateway.lab.twilio.line_facts import LineEnding
from gateway.lab.virtual_time import Nap

SEND_LIMIT_S: Final = 5.0
"""How long a server may stop reading. Twilio discards audio then, and gives up some time later."""

READ_OUT_S: Final = 1.0
"""How long the last words of a server that takes no more may take to be read."""

MEDIA_OVERFLOW: Final = 31930
"""Warning "media buffer overflow", Twilio docs: the server reads too slowly."""

_ROUNDING_MS: Final = 1e-3


@attrs.define(eq=False)
class CutOff:
    """How the carrier takes a stream away, on somebody else's word."""

    ending: LineEnding = attrs.field(default="redirected", init=False)
    due: trio.Event = attrs.field(factory=trio.Event, init=False)

    def now(self, ending: LineEnding) -> None:
        """Do it. Only the first word counts."""
        if not self.due.is_set():
            self.ending = ending
            self.due.set()


async def run_line(
    line: RehearsalLine,
    send_text: Callable[[str], Awaitable[None]],
    receive_text: Callable[[], Awaitable[str | bytes]],
    *,
    limit_s: float = math.inf,
    origin_s: float | None = None,
    cut_off: CutOff | None = None,
) -> None:
    """Open the line and return when it is done. Cancellable; nothing keeps running.

    Args:
        line: Not opened yet.
        send_text: Hands one message to the server, from one task only. May raise what a trio
            channel raises when nobody is left to read.
        receive_text: Waits for one from the server. Raises `trio.EndOfChannel`, or another of
            the errors of a trio channel, when the server closed the stream.
        limit_s: The phone hangs up after this long, whatever is being said.
        origin_s: On trio's clock, when the line's clock was at 0; `None`: now.
        cut_off: Lets the carrier take the stream away.

    """
    driver = _Driver(line, send_text, receive_text, limit_s, origin_s)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(driver.read)
        if cut_off is not None:
            nursery.start_soon(driver.watch, cut_off)
        await driver.write()
        nursery.cancel_scope.cancel()


_GONE: Final = (trio.EndOfChannel, trio.BrokenResourceError, trio.ClosedResourceError)


class _Driver:
    def __init__(
        self,
        line: RehearsalLine,
        send_text: Callable[[str], Awaitable[None]],
        receive_text: Callable[[], Awaitable[str | bytes]],
        limit_s: float,
        origin_s: float | None,
    ) -> None:
        self._line = line
        self._send_text = send_text
        self._receive_text = receive_text
        self._origin_s = trio.current_time() if origin_s is None else origin_s
        self._limit_s = limit_s
        self._nap = Nap()
        self._sending = trio.CancelScope()
        self._read_out = trio.Event()

    async def read(self) -> None:
        """Give the line what the server sends, with the time at which it came."""
        while True:  # noqa: ASYNC913 (it awaits a message)
            try:
                frame = await self._receive_text()
            except _GONE:
                self._line.closed(self._now_ms())
                self._nap.wake()
                self._read_out.set()
                return
            self._line.receive(frame, self._now_ms())
            self._nap.wake()

    async def watch(self, cut_off: CutOff) -> None:
        """End the line when the carrier wants it."""
        await cut_off.due.wait()
        self._line.hang_up(self._now_ms(), cut_off.ending)
        self._nap.wake()

    async def write(self) -> None:
        """Let time pass for the line and send what it says, until it is done."""
        # One scope for all sends, whose deadline moves: a scope for each of 50 frames a second
        # would cost more than the frames.
        with self._sending:
            await self._write()
        if self._sending.cancelled_caught:
            self._line.warn(MEDIA_OVERFLOW, "the server stopped reading", self._now_ms())
            self._line.closed(self._now_ms())

    async def _write(self) -> None:
        self._line.open(self._now_ms())
        while True:
            now_ms = self._now_ms()
            self._line.tick(now_ms)
            if now_ms >= self._limit_s * 1000:
                self._line.hang_up(now_ms, "ended_by_carrier")
            await self._flush()
            self._sending.deadline = math.inf
            wake_ms = self._line.next_wake_ms()
            if wake_ms is None:
                return
            # Deadlines are absolute, so that lateness never adds up.
            await self._nap.until(self._origin_s + min(wake_ms / 1000, self._limit_s))

    async def _flush(self) -> None:
        while messages := self._line.take():
            for message in messages:
                if self._line.ending == "closed_by_server":
                    return
                await self._send(message)

    async def _send(self, message: str) -> None:
        self._sending.deadline = trio.current_time() + SEND_LIMIT_S
        try:
            await self._send_text(message)
        except _GONE:
            # What the server said before it left is still to be read; the reader ends the line.
            with trio.move_on_after(READ_OUT_S):
                await self._read_out.wait()
            self._line.closed(self._now_ms())

    def _now_ms(self) -> int:
        return math.floor((trio.current_time() - self._origin_s) * 1000 + _ROUNDING_MS)
