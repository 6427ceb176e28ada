"""The actor that keeps a recording of the call, off everybody else's way.

Whoever hears or plays audio puts a message into its lane and goes on: a slow disk costs frames of
the recording, never of the call.
"""

from __future__ import annotations

from typing import Final, NoReturn

import attrs
import structlog
import trio

from actors.lanes import Lane
from actors.ports import Recorder

EVERY_S: Final = 0.1
"""How often the recorder is given what came meanwhile: nobody listens to a recording live."""

log: structlog.stdlib.BoundLogger = structlog.get_logger()


@attrs.frozen
class CallerHeard:
    """The caller's voice, as it came off the line."""

    at_ms: int
    """On the call's clock."""
    ulaw: bytes


@attrs.frozen
class AgentSent:
    """The agent's voice, as it was given to the carrier."""

    at_ms: int
    """On the call's clock. It is heard from here on, or behind what is still being played."""
    ulaw: bytes


@attrs.frozen
class AgentCut:
    """The carrier was told to forget what it has not played yet."""

    at_ms: int
    """On the call's clock: the caller hears nothing of the agent from here on."""


RecordingFact = CallerHeard | AgentSent | AgentCut


@attrs.define(eq=False)
class Recording:
    """Feeds the recorder. Its lane should drop the oldest: every message names its own moment."""

    inbox: Lane[RecordingFact]
    recorder: Recorder
    _broken: bool = attrs.field(default=False, init=False)

    async def run(self) -> NoReturn:
        """Serve the inbox until cancelled. Never ends a call: a broken recorder only goes quiet."""
        async for fact in self.inbox:
            for one in [fact, *self.inbox.drain()]:
                await self._write(one)
            await trio.sleep(EVERY_S)
        raise AssertionError("a lane outlives its reader")

    async def finish(self) -> None:
        """Write what is still in the lane and close the recorder.

        To be awaited once, when `run` is over, under a deadline. Never raises but `Cancelled`.
        """
        for fact in self.inbox.drain():
            await self._write(fact)
        try:
            await self.recorder.aclose()
        except Exception as error:
            self._give_up(error)

    async def _write(self, fact: RecordingFact) -> None:
        if self._broken:
            return
        try:
            match fact:
                case CallerHeard(at_ms, ulaw):
                    await self.recorder.caller(at_ms, ulaw)
                case AgentSent(at_ms, ulaw):
                    await self.recorder.agent(at_ms, ulaw)
                case AgentCut(at_ms):
                    await self.recorder.cut(at_ms)
        except Exception as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        if not self._broken:
            self._broken = True
            log.warning("recording.abandoned", error=f"{type(error).__name__}: {error}")
