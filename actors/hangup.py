"""The mark and hang-up tracker: ends the call when its goodbye was heard to the last mark."""

from __future__ import annotations

from typing import Final

import attrs
import trio

from actors.exits import AgentHungUp, Transferred
from actors.lanes import Lane
from actors.messages import (
    HangupAsked,
    HangupFact,
    OutputsReturned,
    PlayoutIdle,
    PlayoutStarted,
    ResponseFinished,
    ResponseStarted,
    ReturnToolOutput,
    SessionOrder,
    SpeechStarted,
    SpeechStopped,
    StreamLeft,
    StreamMoved,
    ToolFinished,
    ToolOutcome,
    TransferEnded,
    TurnFact,
)
from actors.notes import Notes
from actors.policy.hangup import GRACE_MS, Answer, Farewell

QUIET_S: Final = GRACE_MS / 1000
"""For what was heard by its mark to be heard by a person; also the longest that what a response
said can be under way to here, after it has been told to the tools."""

HUNG_UP = '{"hung_up":true}'
CALLED_OFF = '{"hung_up":false,"because":"the caller spoke; the call goes on"}'
NOT_CONNECTED = (
    '{"hung_up":false,"because":"the caller was not connected to anybody; the call goes on"}'
)
ALREADY = '{"hung_up":false,"because":"already hanging up as soon as the goodbye has been heard"}'


@attrs.define(eq=False)
class Hangup:
    """Waits for the goodbye, bounded; lets the caller call it off; returns the ending.

    It hears of everything in the order of the audio, and so it is also who knows when all that was
    said has been heard.
    """

    inbox: Lane[HangupFact]
    session: Lane[SessionOrder]
    turns: Lane[TurnFact]
    notes: Notes
    _farewell: Farewell = attrs.field(factory=Farewell, init=False)
    _quiet: trio.Event = attrs.field(factory=trio.Event, init=False)
    """Set while nothing is generated, played or held back."""
    _has_left: bool = attrs.field(default=False, init=False)
    """The caller is somebody else's."""
    _because: str = attrs.field(default=CALLED_OFF, init=False)
    """What to say of a hang-up that is called off."""

    def __attrs_post_init__(self) -> None:
        self._quiet.set()

    async def when_quiet(self) -> None:
        """Wait until all that was said has been heard. From any task; cancellable; unbounded."""
        while True:
            quiet = self._quiet
            await quiet.wait()
            await trio.sleep(QUIET_S)
            if quiet is self._quiet:
                return

    async def run(self) -> AgentHungUp | Transferred:
        """Serve the inbox until the agent has hung up, or the caller was connected elsewhere."""
        while True:
            due_ms = self._farewell.due_ms()
            due_s = float("inf") if due_ms is None else self.notes.trio_s(due_ms)
            with trio.move_on_at(due_s) as wait:
                self._follow(await self.inbox.take())
                self._keep_quiet()
            if self._has_left:
                return Transferred()
            asked = self._farewell.asked
            if wait.cancelled_caught and asked is not None:
                if asked.tool_call_id:
                    self.notes.note(ToolFinished(asked.tool_call_id, "hangup", "returned", HUNG_UP))
                heard = self._farewell.goodbye_heard()
                return AgentHungUp(asked.reason, heard, asked.tool_call_id)

    def _follow(self, fact: HangupFact) -> None:
        now_ms = self.notes.now_ms()
        match fact:
            case HangupAsked():
                self.notes.note(fact)
                match self._farewell.asks(fact, now_ms=now_ms):
                    case Answer.ALREADY:
                        self._answer(fact, ALREADY)
                    case Answer.CALLED_OFF:
                        self._call_off(fact)
                    case Answer.WAITING:
                        pass
            case SpeechStarted():
                self._because = CALLED_OFF
                self._call_off(self._farewell.called_off())
            case SpeechStopped():
                self._farewell.caller_stopped()
            case ResponseStarted(response_id):
                self._farewell.response_started(response_id)
            case ResponseFinished(response_id):
                self._farewell.response_finished(response_id, now_ms=now_ms)
            case PlayoutStarted():
                self._farewell.playout_started()
            case PlayoutIdle(by_mark):
                self._farewell.playout_idle(by_mark=by_mark, now_ms=now_ms)
            case StreamLeft() | StreamMoved():
                self._farewell.moved(is_away=isinstance(fact, StreamLeft), now_ms=now_ms)
            case TransferEnded(outcome):
                self._has_left = outcome == "answered"
                if not self._has_left:
                    self._because = NOT_CONNECTED
                    self._call_off(self._farewell.caller_stayed())

    def _keep_quiet(self) -> None:
        if not self._farewell.is_quiet:
            if self._quiet.is_set():
                self._quiet = trio.Event()
        else:
            self._quiet.set()

    def _call_off(self, asked: HangupAsked | None) -> None:
        """The call goes on, and so does what was done beside the goodbye."""
        if asked is None:
            return
        self._answer(asked, self._because)
        if asked.beside:
            self.turns.put(OutputsReturned(asked.beside))

    def _answer(self, asked: HangupAsked, output: str) -> None:
        if not asked.tool_call_id:
            return  # Nobody asked but the call itself, and it hears that the caller spoke.
        outcome: ToolOutcome = "returned" if output is ALREADY else "interrupted"
        self.session.put(ReturnToolOutput(asked.tool_call_id, output))
        self.notes.note(ToolFinished(asked.tool_call_id, "hangup", outcome, output))
