"""Tools that the session runs by itself: whether it has our leave, and what came of it."""

from __future__ import annotations

from typing import Final

import attrs
import trio

from actors.errors import EffectUnknown, ToolRefused
from actors.lanes import Lane
from actors.messages import (
    AddText,
    ApproveRun,
    RanElsewhere,
    ReturnToolOutput,
    SessionOrder,
    ToolCall,
)

NOT_ASKED: Final = "not run: it does not wait for leave"
GONE: Final = "not run: the connection broke meanwhile. Ask for it again if it is still wanted"
LOST: Final = "the connection broke while it ran; whether it took effect is not known"
FAILED: Final = "it failed, and says why"
UNCLEAR: Final = "it gave no answer that can be used; whether it took effect is not known"


@attrs.define(eq=False)
class _Request:
    """One tool call that waits for our leave, or got it."""

    name: str
    is_void: bool = False
    """Whoever asked for leave is gone, or has not waited for it."""
    ran: RanElsewhere | None = None
    over: trio.Event = attrs.field(factory=trio.Event)


@attrs.define(eq=False)
class Approvals:
    """Gives leave once per call, and tells the session how each call ended, if it does not know."""

    session: Lane[SessionOrder]
    _requests: dict[str, _Request] = attrs.field(factory=dict[str, _Request], init=False)
    """Those that have no output yet."""
    _approved: set[str] = attrs.field(factory=set[str], init=False)
    _losses: int = attrs.field(default=0, init=False)

    def asked(self, call: ToolCall) -> None:
        """The session waits for leave."""
        self._requests[call.tool_call_id] = _Request(call.name)

    async def approve(self, tool_call_id: str) -> str:
        """Give leave, and wait for what comes of it. Its output, JSON text. Cancellable.

        Raises:
            ToolRefused: It does not wait for leave, or has failed.
            EffectUnknown: Nobody knows whether it took effect.

        """
        request = self._requests.get(tool_call_id)
        if request is None or tool_call_id in self._approved:
            raise ToolRefused(NOT_ASKED)
        if request.is_void:
            raise ToolRefused(GONE)
        self._approved.add(tool_call_id)
        self.session.put(ApproveRun(tool_call_id, self._losses))
        await request.over.wait()
        match request.ran:
            case None:
                raise EffectUnknown(LOST)
            case RanElsewhere(outcome="returned", output=output):
                return output
            case RanElsewhere(is_certain=True):
                raise ToolRefused(FAILED)
            case _:
                raise EffectUnknown(UNCLEAR)

    def answer(self, tool_call_id: str, output: str) -> None:
        """A tool call has its output. Tell the session, unless it was the one to tell us."""
        request = self._requests.pop(tool_call_id, None)
        if request is None:
            self.session.put(ReturnToolOutput(tool_call_id, output))
        elif tool_call_id not in self._approved:
            self.session.put(ReturnToolOutput(tool_call_id, output, refuses=True))
        elif request.is_void:
            self.session.put(ReturnToolOutput(tool_call_id, output))
        elif request.ran is None:
            # It has no end yet, and the conversation goes on. There is no output but its own.
            self.session.put(AddText("system", f"{request.name}: {output}"))

    def ran(self, fact: RanElsewhere) -> bool:
        """Something was run. Returns whether it had our leave."""
        tool_call_id = fact.tool_call_id or ""
        request, is_ours = self._requests.get(tool_call_id), tool_call_id in self._approved
        if request is not None:
            request.ran, request.is_void = request.ran or fact, request.is_void or not is_ours
            request.over.set()
        return is_ours

    def lost(self) -> None:
        """The session is gone, and with it whatever it waited for."""
        self._losses += 1
        for request in self._requests.values():
            request.is_void = True
            request.over.set()
