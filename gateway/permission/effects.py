"""What tools do, outside of the calls that wanted it: it is finished although the caller hung up.

A caller may leave while an appointment is on its way to the calendar. Cutting that off would leave
nobody knowing whether there is one; so it has a few seconds more, and then that is written down.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Final, Self, TypeVar

import attrs
import structlog
import trio

from actors.control import CONFIRM_S, CallControl, Reply
from actors.errors import CarrierRefused
from actors.guard import Effect, Ended, InCall, outcome_of
from actors.policy.audit import AuditEvent
from actors.policy.record import CallFacts
from actors.ports import Transfer, TransferOutcome
from actors.tools import is_its_own
from gateway.barrier import Barrier

log: structlog.stdlib.BoundLogger = structlog.get_logger()

Result = TypeVar("Result")

GRACE_S: Final = 5.0
"""For an effect whose call is over. Much longer, and a stopping process would not wait for it."""
WRITE_S: Final = 1.0
"""For the row that says how it ended, when the process is stopping too."""
OVER: Final = "the call is over"
LEFT: Final = "the call ended first"


@attrs.define(eq=False)
class Effects:
    """Runs effects beside all calls. Fits `actors.guard.Effects`.

    One per process: `serve` is their parent. Before that, and after `aclose`, effects run in their
    calls.
    """

    grace_s: float = GRACE_S
    _nursery: trio.Nursery | None = attrs.field(default=None, init=False)
    _running: int = attrs.field(default=0, init=False)
    _idle: trio.Event = attrs.field(factory=trio.Event, init=False)

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Be the parent of all effects, until cancelled or closed."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                task_status.started()
                await trio.sleep_forever()
        finally:
            self._nursery = None

    async def aclose(self) -> None:
        """Wait for what still runs, as long as each may, and end the rest. The end of `serve`."""
        nursery = self._nursery
        if nursery is None:
            await trio.lowlevel.checkpoint()
            return
        with trio.move_on_after(self.grace_s):
            while self._running:
                await self._idle.wait()
        nursery.cancel_scope.cancel("the gateway stops")

    async def run(self, effect: Effect, call: CallControl | None, ended: Ended) -> str:
        """See `actors.guard.Effects`. Cancelled, the effect goes on for `grace_s`."""
        nursery = self._nursery
        if nursery is None or nursery.cancel_scope.cancel_called:
            return await InCall().run(effect, call, ended)
        one = _Running(effect, None if call is None else LentCall(call), ended)
        nursery.start_soon(self._count, one.run, name="effect")
        try:
            await one.done.wait()
        finally:
            one.leave(self.grace_s)
        return one.result()

    async def afterwards(self, write: Callable[[], Awaitable[None]]) -> None:
        """See `actors.guard.Effects`."""
        nursery = self._nursery
        if nursery is None or nursery.cancel_scope.cancel_called:
            await InCall().afterwards(write)
            return
        nursery.start_soon(self._count, to_the_end(write), name="effect.row")
        await trio.lowlevel.checkpoint()

    async def _count(self, run: Callable[[], Awaitable[None]]) -> None:
        self._running += 1
        try:
            await run()
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()
                self._idle = trio.Event()


def to_the_end(write: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
    """The same, bounded, and done although its nursery is cancelled meanwhile."""

    async def bounded() -> None:
        with Barrier("effect.row_crashed"), trio.move_on_after(WRITE_S, shield=True):
            await write()

    return bounded


@attrs.define(eq=False)
class _Running:
    """One effect."""

    effect: Effect
    call: LentCall | None
    ended: Ended
    done: trio.Event = attrs.field(factory=trio.Event)
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _text: str | None = attrs.field(default=None, init=False)
    _failure: BaseException | None = attrs.field(default=None, init=False)
    _is_left: bool = attrs.field(default=False, init=False)
    """Nobody waits for it any more."""

    async def run(self) -> None:
        """Have the effect, and write down how it ended, whatever ends it."""
        try:
            with self._scope, _Kept() as kept:
                self._text = await self.effect(self.call)
            self._failure = kept.failure
        finally:
            event, detail = self._outcome()
            try:
                with (
                    Barrier("effect.row_crashed"),
                    trio.move_on_after(WRITE_S, shield=True),
                ):
                    await self.ended(event, detail)
            finally:
                self.done.set()

    def leave(self, grace_s: float) -> None:
        """Nobody waits any more. If it is not done: the call is none of its business now."""
        if self.call is not None:
            self.call.end()
        if not self.done.is_set():
            self._is_left = True
            self._scope.deadline = trio.current_time() + grace_s

    def result(self) -> str:
        """What it returned, once it is done. Raises what it raised."""
        if self._failure is not None:
            raise self._failure
        if self._text is None:
            raise CarrierRefused("the gateway stops; whether it took effect is not known")
        return self._text

    def _outcome(self) -> tuple[AuditEvent, str]:
        if self._text is not None:
            return "finished", ""
        if self._failure is None:
            return "unknown", "it was cancelled"
        if self._is_left and isinstance(self._failure, CarrierRefused):
            return "unknown", LEFT
        return outcome_of(self._failure)


@attrs.define(eq=False)
class _Kept:
    """Keeps whatever a tool raises for whoever waits for it: no other call's business."""

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
            self.failure, others = error.split(is_its_own)
            if others is not None:
                raise others
        elif error is not None and is_its_own(error):
            self.failure = error
        return self.failure is not None


@attrs.define(eq=False)
class LentCall:
    """A call as an effect sees it, which may outlive it. Fits `CallControl`.

    When the call is over, whatever the effect waits for in it is refused, and all it asks then.
    """

    call: CallControl
    _is_over: bool = attrs.field(default=False, init=False)
    _waits: set[trio.CancelScope] = attrs.field(factory=set[trio.CancelScope], init=False)

    def end(self) -> None:
        """The call is over, or waits for the effect no longer. Idempotent."""
        self._is_over = True
        for scope in self._waits:
            scope.cancel(OVER)

    @property
    def facts(self) -> CallFacts:
        """See `CallControl`."""
        return self.call.facts

    @property
    def tool_call_id(self) -> str:
        """See `CallControl`."""
        return self.call.tool_call_id

    async def say(self, words: str) -> bool:
        """See `CallControl`."""
        return await self._while_it_lasts(lambda: self.call.say(words))

    async def confirm(self, question: str, *, within_s: float = CONFIRM_S) -> Reply:
        """See `CallControl`."""
        return await self._while_it_lasts(lambda: self.call.confirm(question, within_s=within_s))

    async def press(self, digits: str) -> None:
        """See `CallControl`."""
        await self._while_it_lasts(lambda: self.call.press(digits))

    async def transfer(self, to: Transfer) -> TransferOutcome:
        """See `CallControl`."""
        return await self._while_it_lasts(lambda: self.call.transfer(to))

    async def collect_digits(
        self,
        *,
        most: int,
        end_key: str | None = "#",
        first_s: float = 10.0,
        between_s: float = 4.0,
        private: bool = False,
        fresh: bool = False,
    ) -> str:
        """See `CallControl`."""
        return await self._while_it_lasts(
            lambda: self.call.collect_digits(
                most=most,
                end_key=end_key,
                first_s=first_s,
                between_s=between_s,
                private=private,
                fresh=fresh,
            )
        )

    async def approve(self, tool_call_id: str) -> str:
        """See `CallControl`."""
        return await self._while_it_lasts(lambda: self.call.approve(tool_call_id))

    def change(self, *, instructions: str | None = None, language: str | None = None) -> None:
        """See `CallControl`. Of a call that is over, it is refused as by the carrier."""
        if self._is_over:
            raise CarrierRefused(OVER)
        self.call.change(instructions=instructions, language=language)

    async def _while_it_lasts(self, wait: Callable[[], Awaitable[Result]]) -> Result:
        if self._is_over:
            raise CarrierRefused(OVER)
        with trio.CancelScope() as scope:
            self._waits.add(scope)
            try:
                return await wait()
            finally:
                self._waits.discard(scope)
        raise CarrierRefused(OVER)
