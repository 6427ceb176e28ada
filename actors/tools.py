"""The tool executor: runs what the model asks for beside the conversation, never inside it."""

from __future__ import annotations

import json
import traceback
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Final, NoReturn, Self

import attrs
import structlog
import trio

from actors.approvals import Approvals
from actors.control import CallControl, OwnTime
from actors.errors import CarrierRefused, ToolRefused
from actors.lanes import Lane
from actors.messages import (
    HANGUP,
    HangupAsked,
    HangupFact,
    OutputsReturned,
    RanElsewhere,
    ResponseFinished,
    SessionLost,
    ToolCall,
    ToolFact,
    ToolFinished,
    ToolOutcome,
    ToolsAsked,
    ToolStarted,
    TurnFact,
)
from actors.notes import Notes
from actors.policy.result_text import RESULT_MAX_CHARS
from actors.ports import Tools

log: structlog.stdlib.BoundLogger = structlog.get_logger()

RanUnasked = Callable[[RanElsewhere], Awaitable[None]]
"""Is told what was run without asking us."""

AT_ONCE_MAX: Final = 16
"""Tools of one call that run side by side. A model that asks for more is running away."""

OUTPUT_MAX_CHARS: Final = 16 * 1024
"""What the model is given of one result. More would crowd the conversation out of its context."""


@attrs.frozen
class _Batch:
    """The tool calls of one response, and what comes when all of them have their output."""

    tool_call_ids: tuple[str, ...]
    hangups: tuple[HangupAsked, ...]
    """What comes then, if the response asked to hang up; otherwise one more response is wanted."""


@attrs.define(eq=False)
class _Barrier:
    """Keeps back whatever a tool raises, also that it wants to end the process.

    It is the tool's own affair: the call goes on, and the model is told. Cancellation passes.
    """

    failure: BaseException | None = attrs.field(default=None, init=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> bool:
        if isinstance(error, BaseExceptionGroup):
            # A tool's own nursery brings its failures and our cancellation together.
            self.failure, ours = error.split(is_its_own)
            if ours is not None:
                raise ours
        elif error is not None and is_its_own(error):
            self.failure = error
        return self.failure is not None


def is_its_own(error: BaseException) -> bool:
    """Whether it is the tool's own affair: `SystemExit`, another library's cancellation, ..."""
    if isinstance(error, BaseExceptionGroup):
        return False  # Its members are.
    return not isinstance(error, trio.Cancelled | KeyboardInterrupt | GeneratorExit)


@attrs.define(eq=False)
class ToolExecutor:
    """Gives every tool call exactly one output, whatever becomes of the tool.

    Args:
        inbox: Finished responses, whose tools are run only if they were completed; what an engine
            without responses asks for; and what the session has run by itself.
        approvals: Where outputs go, and leave for what the session runs by itself.
        turns: Is told when a response's last output is on its way.
        hangup: Is given the calls of `hangup`.
        tools: The functions.
        notes: The call's clock and journal.
        tool_s: The longest a tool may take that does not say itself. Cancelled then, and the
            model is told. What it waits for the carrier or for the caller is not counted.
        control: What a tool may do to the call.
        ran_unasked: See `RanUnasked`.

    """

    inbox: Lane[ToolFact]
    approvals: Approvals
    turns: Lane[TurnFact]
    hangup: Lane[HangupFact]
    tools: Tools
    notes: Notes
    tool_s: float
    control: CallControl
    ran_unasked: RanUnasked | None = None
    _seen: set[str] = attrs.field(factory=set[str], init=False)
    _waiting: dict[str, _Batch] = attrs.field(factory=dict[str, _Batch], init=False)
    """Calls without an output yet, and the batch each belongs to."""
    _running: int = attrs.field(default=0, init=False)
    """Tools whose tasks have not ended, those that were given up on included."""
    _ran: set[str] = attrs.field(factory=set[str], init=False)
    """What the session has run by itself."""
    _unspoken: set[str] = attrs.field(factory=set[str], init=False)
    """What it still runs, and has said nothing after."""

    async def run(self) -> NoReturn:
        """Serve the inbox until cancelled, and the tools with it."""
        async with trio.open_nursery() as running:
            async for fact in self.inbox:
                match fact:
                    case ResponseFinished() | ToolsAsked():
                        self._take_up(fact, running)
                    case RanElsewhere():
                        self._take_note(fact, running)
                    case SessionLost():
                        self.approvals.lost()
        raise AssertionError("a lane outlives its reader")

    def _take_up(self, response: ResponseFinished | ToolsAsked, running: trio.Nursery) -> None:
        asked: list[ToolCall] = []
        # What it asked leave for may have been told ahead of it, and is its affair all the same.
        early = [
            one.tool_call_id for one in response.tool_calls if one.tool_call_id in self._waiting
        ]
        for one in response.tool_calls:
            # An id that comes twice is the same call, and was run or refused already.
            if one.tool_call_id not in self._seen:
                self._seen.add(one.tool_call_id)
                asked.append(one)
                if one.needs_approval:
                    self.approvals.asked(one)
        response_id = None
        if isinstance(response, ResponseFinished):
            response_id = response.response_id
            if response.status != "completed":
                self._decline(asked, response)
                return
            self._await_runs(response.runs)
        ours = [one for one in asked if one.name != HANGUP]
        ids = (*early, *(one.tool_call_id for one in ours))
        hangups = tuple(
            HangupAsked(one.tool_call_id, _reason(one.arguments), response_id, ids)
            for one in asked
            if one.name == HANGUP
        )
        batch = _Batch(ids, hangups)
        for hangup in hangups:
            self.notes.note(ToolStarted(hangup.tool_call_id, HANGUP))
        self._waiting.update(dict.fromkeys(ids, batch))
        for one in ours:
            if self._running >= AT_ONCE_MAX:
                self._finish(one, "refused", _error("too many tools are running"))
            else:
                self._running += 1
                running.start_soon(self._run, one)
        if not ids:
            self._complete(batch)

    def _await_runs(self, run_ids: tuple[str, ...]) -> None:
        """The model has said nothing of these yet, and is to when they have ended."""
        for run_id in run_ids:
            if run_id in self._ran:
                self.turns.put(OutputsReturned((run_id,)))
            else:
                self._unspoken.add(run_id)

    def _take_note(self, fact: RanElsewhere, running: trio.Nursery) -> None:
        """Something was run by the session itself, with our leave or without."""
        if fact.run_id in self._ran:
            return
        self._ran.add(fact.run_id)
        if self.approvals.ran(fact):
            return  # Whoever gave leave waits for it, and sees to the rest.
        if fact.run_id in self._unspoken:
            self._unspoken.remove(fact.run_id)
            self.turns.put(OutputsReturned((fact.run_id,)))
        if self.ran_unasked is not None:
            running.start_soon(self._tell, self.ran_unasked, fact)

    async def _tell(self, ran_unasked: RanUnasked, fact: RanElsewhere) -> None:
        with _Barrier() as barrier:
            await ran_unasked(fact)
        if barrier.failure is not None:
            log.error("tool.not_told", tool=fact.name, error=type(barrier.failure).__name__)

    def _decline(self, asked: list[ToolCall], response: ResponseFinished) -> None:
        """Answer what a response asked for that was not completed: nothing of it is run."""
        if response.status == "cancelled":
            for one in asked:
                self._return(one, "interrupted", _error("not run: the caller interrupted"))
            return
        for one in asked:
            self._return(one, "refused", _error("not run: the response was cut short"))
        if asked and response.status == "incomplete":  # A failed one is made again anyway.
            self.turns.put(OutputsReturned(tuple(one.tool_call_id for one in asked)))

    async def _run(self, asked: ToolCall) -> None:
        """Run one tool to its output, inside its own bounds."""
        self.notes.note(ToolStarted(asked.tool_call_id, asked.name))
        longest_s = self.tools.longest_s(asked.name) or self.tool_s
        try:
            with trio.move_on_after(longest_s) as patience:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._give_up, asked, patience)
                    control = OwnTime(self.control, patience, asked.tool_call_id, self.notes)
                    outcome, output = await self._outcome(asked, control)
                    self._finish(asked, outcome, output)
                    nursery.cancel_scope.cancel("it has its output")
        finally:
            self._running -= 1

    async def _outcome(self, asked: ToolCall, control: CallControl) -> tuple[ToolOutcome, str]:
        """Run a tool, and say what became of it. Cancellable."""
        output = ""
        with _Barrier() as barrier:
            output = await self.tools.run(asked.name, asked.arguments, control)
        match barrier.failure:
            case None:
                return "returned", output
            case ToolRefused(reason) | CarrierRefused(reason):
                return "refused", _error(reason)
            case error:
                return _failed(asked, error)

    async def _give_up(self, asked: ToolCall, patience: trio.CancelScope) -> None:
        """Answer for a tool at its deadline, and not when it has deigned to end.

        It is cancelled then, and may be shielded for a while: nobody waits for that.
        """
        try:
            await trio.sleep_forever()
        finally:
            if patience.cancel_called:
                output = _error("timed out; whether it took effect is not known")
                self._finish(asked, "timed_out", output)

    def _finish(self, asked: ToolCall, outcome: ToolOutcome, output: str) -> None:
        if asked.tool_call_id not in self._waiting:
            return  # It was given up on, or has answered just before.
        self._return(asked, outcome, _shortened(output))
        batch = self._waiting.pop(asked.tool_call_id)
        if not any(tool_call_id in self._waiting for tool_call_id in batch.tool_call_ids):
            self._complete(batch)

    def _complete(self, batch: _Batch) -> None:
        """All outputs are on their way: say goodbye, or let the model speak about them."""
        for hangup in batch.hangups:
            self.hangup.put(hangup)
        if batch.tool_call_ids and not batch.hangups:
            self.turns.put(OutputsReturned(batch.tool_call_ids))

    def _return(self, asked: ToolCall, outcome: ToolOutcome, output: str) -> None:
        self.approvals.answer(asked.tool_call_id, output)
        self.notes.note(ToolFinished(asked.tool_call_id, asked.name, outcome, output))


def _failed(asked: ToolCall, error: BaseException) -> tuple[ToolOutcome, str]:
    # Where it failed is for the log; its words may quote what somebody said.
    where = "".join(traceback.format_tb(error.__traceback__))
    log.error("tool.failed", tool=asked.name, error=type(error).__name__, where=where)
    return "failed", _error(f"the tool failed: {type(error).__name__}")


def _error(what: str) -> str:
    return json.dumps({"error": what})


def _shortened(output: str) -> str:
    """The output itself, or its beginning inside valid JSON that says so."""
    if len(output) <= OUTPUT_MAX_CHARS:
        return output
    # A registry reads no result to its end that is longer still.
    length = len(output) if len(output) < RESULT_MAX_CHARS else f"{RESULT_MAX_CHARS} or more"
    return json.dumps({"truncated": output[: OUTPUT_MAX_CHARS // 2], "characters": length})


def _reason(arguments: str) -> str:
    """Why the model hangs up. That it wants to is clear even when the reason is not."""
    try:
        parsed = json.loads(arguments)
    except (ValueError, RecursionError):
        return ""
    reason = parsed.get("reason") if isinstance(parsed, dict) else None
    return reason[:200] if isinstance(reason, str) else ""
