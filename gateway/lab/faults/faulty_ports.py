"""What a call reaches for beside its two legs, in memory, with the faults of a plan.

No threads and no files, so that it lives in virtual time.
"""

from __future__ import annotations

from typing import Final

import attrs
import trio

from actors.control import CallControl
from actors.policy.record import CallRecord
from actors.toolbox import Toolbox, ToolSchema
from gateway.lab.faults.fault_plan import Fault, Place, Striker
from gateway.lab.faults.fault_values import ERRORS, REFUSALS, RESULTS
from gateway.tools.toolset import Toolset
from gateway.web.client_socket import CannotOpen

FOR_EVER_S: Final = 3600.0
"""Longer than every bound there is. It ends all the same, so that a gateway which waits for it is
found out instead of being waited for."""


@attrs.define(eq=False)
class FaultyTools:
    """The tools of one call."""

    tools: Toolset
    striker: Striker
    call: int
    runs: list[str] = attrs.field(factory=list[str], init=False)
    """The name of every tool that was run, once for each time."""
    done_s: list[float] = attrs.field(factory=list[float], init=False)
    """When each of those runs was over, cancelled ones included."""

    def schemas(self) -> tuple[ToolSchema, ...]:
        """What the model is told."""
        return self.tools.schemas()

    async def run(self, name: str, arguments: str, call: CallControl | None = None) -> str:
        """See the `Tools` port."""
        self.runs.append(name)
        try:
            return await self._run(name, arguments, call)
        finally:
            self.done_s.append(trio.current_time())

    async def _run(self, name: str, arguments: str, call: CallControl | None) -> str:
        odd: str | None = None
        for fault in self.striker.strikes("tool", self.call, name):
            match fault.do:
                case "delay":
                    await trio.sleep(fault.ms / 1000)
                case "hang":
                    await trio.sleep(FOR_EVER_S)
                case "raise":
                    raise _error(fault)
                case _:
                    odd = fault.detail
        if odd is not None:
            return await _odd_result(odd)
        return await self.tools.run(name, arguments, call)

    def longest_s(self, name: str) -> float | None:
        """See the `Tools` port."""
        return self.tools.longest_s(name)


async def _odd_result(which: str) -> str:
    """What becomes of the result of a function that does not return what it should."""
    box = Toolbox()

    @box.add
    async def odd() -> object:
        await trio.lowlevel.checkpoint()
        return RESULTS[which]()

    return await box.run("odd", "{}")


@attrs.define(eq=False)
class FaultyStore:
    """The store of a whole gateway."""

    striker: Striker
    numbers: dict[str, int]
    """Number of a call, by its CallSid."""
    records: dict[str, list[CallRecord]] = attrs.field(factory=dict, init=False)
    """Every record that was written, by CallSid."""

    def has(self, call_sid: str) -> bool:
        """Whether there is a record of this call."""
        return call_sid in self.records

    async def finish(self, record: CallRecord) -> None:
        """See the `CallStore` port."""
        # As a thread is not begun for somebody who was cancelled already.
        await trio.lowlevel.checkpoint_if_cancelled()
        await _befall(self.striker, "store", self.numbers[record.call_sid])
        self.records.setdefault(record.call_sid, []).append(record)
        await trio.lowlevel.checkpoint()


@attrs.define(eq=False)
class FaultyRecorder:
    """The recorder of one call, which only counts."""

    striker: Striker
    call: int
    caller_bytes: int = attrs.field(default=0, init=False)
    agent_bytes: int = attrs.field(default=0, init=False)
    cuts: int = attrs.field(default=0, init=False)
    closed: bool = attrs.field(default=False, init=False)

    async def caller(self, at_ms: int, ulaw: bytes) -> None:
        """See the `Recorder` port."""
        del at_ms
        await self._write()
        self.caller_bytes += len(ulaw)

    async def agent(self, at_ms: int, ulaw: bytes) -> None:
        """See the `Recorder` port."""
        del at_ms
        await self._write()
        self.agent_bytes += len(ulaw)

    async def cut(self, at_ms: int) -> None:
        """See the `Recorder` port."""
        del at_ms
        await self._write()
        self.cuts += 1

    async def aclose(self) -> None:
        """See the `Recorder` port."""
        await trio.lowlevel.checkpoint_if_cancelled()
        self.closed = True
        await trio.lowlevel.checkpoint()

    async def _write(self) -> None:
        if self.striker.concerns("recorder", self.call):
            await _befall(self.striker, "recorder", self.call)


async def before_connecting(striker: Striker, call: int) -> None:
    """Let happen what happens to one attempt to connect to the model.

    Raises:
        CannotOpen: It comes to nothing.

    """
    for fault in striker.strikes("model.open", call):
        match fault.do:
            case "delay":
                await trio.sleep(fault.ms / 1000)
            case "hang":
                await trio.sleep(FOR_EVER_S)
            case _ if fault.detail in REFUSALS:
                raise CannotOpen(*REFUSALS[fault.detail])
            case _:
                raise _error(fault)


async def _befall(striker: Striker, place: Place, call: int) -> None:
    for fault in striker.strikes(place, call):
        match fault.do:
            case "delay":
                await trio.sleep(fault.ms / 1000)
            case "hang":
                await trio.sleep(FOR_EVER_S)
            case _:
                raise _error(fault)


def _error(fault: Fault) -> BaseException:
    return ERRORS[fault.detail]()
