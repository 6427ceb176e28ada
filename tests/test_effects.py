"""What tools do, beside the calls that wanted it: finished after a hang-up, or given up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import attrs
import pytest
import trio

from actors.control import CallControl
from actors.errors import CarrierRefused, ToolRefused
from actors.policy.audit import AuditEvent
from gateway.permission.audit_log import MemoryAudit
from gateway.permission.effects import GRACE_S, OVER, Effects, LentCall
from tests.guards import AskedCall, Done, events, guard_of, utc_now


@attrs.define(eq=False)
class Book:
    """What was written of how effects ended."""

    rows: list[tuple[str, str]] = attrs.field(factory=list[tuple[str, str]])
    wait_s: float = 0.0

    async def ended(self, event: AuditEvent, detail: str) -> None:
        await trio.sleep(self.wait_s)
        self.rows.append((event, detail))


@asynccontextmanager
async def serving() -> AsyncIterator[Effects]:
    effects = Effects()
    async with trio.open_nursery() as nursery:
        await nursery.start(effects.serve)
        yield effects
        await effects.aclose()


def takes(seconds: float, done: list[str]) -> Callable[[CallControl | None], Awaitable[str]]:
    async def effect(_: CallControl | None) -> str:
        await trio.sleep(seconds)
        done.append("done")
        return "text"

    return effect


async def test_what_it_returns_comes_back_and_is_written(autojump_clock: trio.abc.Clock) -> None:
    book, done = Book(), list[str]()
    async with serving() as effects:
        assert await effects.run(takes(1, done), None, book.ended) == "text"
        assert book.rows == [("finished", "")]


@pytest.mark.parametrize(
    ("error", "row"),
    [
        (LookupError("x"), ("failed", "LookupError")),
        (SystemExit(2), ("failed", "SystemExit")),
        (MemoryError(), ("failed", "MemoryError")),
        (ToolRefused("no"), ("failed", "refused")),
        (BaseExceptionGroup("", [SystemExit(1)]), ("failed", "BaseExceptionGroup")),
        (asyncio.CancelledError(), ("failed", "CancelledError")),
        (BaseExceptionGroup("", [asyncio.CancelledError()]), ("failed", "BaseExceptionGroup")),
    ],
)
async def test_what_it_raises_is_raised_here_and_harms_nobody_else(
    error: BaseException, row: tuple[str, str], autojump_clock: trio.abc.Clock
) -> None:
    async def effect(_: CallControl | None) -> str:
        await trio.lowlevel.checkpoint()
        raise error

    book, done = Book(), list[str]()
    async with serving() as effects, trio.open_nursery() as nursery:
        nursery.start_soon(effects.run, takes(1, done), None, book.ended)
        with pytest.raises(type(error)):
            await effects.run(effect, None, book.ended)

    assert book.rows == [row, ("finished", "")]


@pytest.mark.parametrize(
    ("takes_s", "row"),
    [(3, ("finished", "")), (1 + GRACE_S + 0.1, ("unknown", "it was cancelled"))],
)
async def test_who_hangs_up_is_gone_at_once_and_the_effect_has_its_time(
    takes_s: float, row: tuple[str, str], autojump_clock: trio.abc.Clock
) -> None:
    book, done = Book(), list[str]()
    async with serving() as effects:
        began_s = trio.current_time()
        with trio.move_on_after(1):
            await effects.run(takes(takes_s, done), None, book.ended)
        assert trio.current_time() - began_s == pytest.approx(1)
        assert book.rows == []
        await trio.sleep(GRACE_S + 1)
        assert book.rows == [row]
        assert bool(done) == (row[0] == "finished")


async def test_a_process_that_stops_waits_for_what_is_on_its_way(
    autojump_clock: trio.abc.Clock,
) -> None:
    book, done = Book(), list[str]()
    began_s = trio.current_time()
    async with serving() as effects:
        for takes_s in (2, 100):
            with trio.move_on_after(0.1):
                await effects.run(takes(takes_s, done), None, book.ended)

    assert trio.current_time() - began_s < GRACE_S + 1
    assert book.rows == [("finished", ""), ("unknown", "it was cancelled")]


async def test_a_process_that_is_killed_writes_that_nobody_knows(
    autojump_clock: trio.abc.Clock,
) -> None:
    book, done, effects = Book(wait_s=0.1), list[str](), Effects()
    async with trio.open_nursery() as nursery:
        await nursery.start(effects.serve)
        nursery.start_soon(effects.run, takes(10, done), None, book.ended)
        await trio.sleep(1)
        nursery.cancel_scope.cancel()

    assert book.rows == [("unknown", "it was cancelled")]


async def test_without_a_parent_effects_end_with_their_call(autojump_clock: trio.abc.Clock) -> None:
    book, done, effects = Book(), list[str](), Effects()
    assert await effects.run(takes(1, done), None, book.ended) == "text"
    with trio.move_on_after(1):
        await effects.run(takes(2, done), None, book.ended)

    assert book.rows == [("finished", ""), ("unknown", "it was cancelled")]


async def test_a_call_that_is_over_lets_nothing_be_done_to_it(
    autojump_clock: trio.abc.Clock,
) -> None:
    call = LentCall(AskedCall())
    assert await call.say("x")
    call.end()
    for deed in (
        partial(call.say, "x"),
        partial(call.confirm, "x"),
        partial(call.press, "1"),
        partial(call.collect_digits, most=1, private=True, fresh=True),
    ):
        with pytest.raises(CarrierRefused, match=OVER):
            await deed()
    with pytest.raises(CarrierRefused, match=OVER):
        call.change(language="de")
    assert call.tool_call_id == "call_1"
    assert call.facts.call_sid == "CA1"


async def test_what_an_effect_waits_for_in_a_call_ends_with_it(
    autojump_clock: trio.abc.Clock,
) -> None:
    async def effect(call: CallControl | None) -> str:
        assert call is not None
        await call.say("Something long.")
        raise AssertionError("nobody is there to hear it")

    book = Book()
    async with serving() as effects:
        with trio.move_on_after(1):
            await effects.run(effect, AskedCall(wait_s=100), book.ended)
        await trio.sleep(0.01)
        assert book.rows == [("unknown", "the call ended first")]


async def test_a_guarded_effect_outlives_its_call_and_is_written_once(
    autojump_clock: trio.abc.Clock,
) -> None:
    done, audit = Done(wait_s=2), MemoryAudit(utc_now)
    async with serving() as effects:
        with trio.move_on_after(1):
            await guard_of(done, audit, effects=effects).run("pay", PAY, AskedCall())
        assert events(audit)[-1] == "began"

    assert events(audit) == ["asked", "verified", "confirmed", "began", "finished"]
    assert len(done.runs) == 1


async def test_who_hangs_up_while_being_asked_leaves_a_refusal(
    autojump_clock: trio.abc.Clock,
) -> None:
    done, audit = Done(), MemoryAudit(utc_now)
    async with serving() as effects:
        with trio.move_on_after(1):
            await guard_of(done, audit, effects=effects).run("pay", PAY, AskedCall(wait_s=5))

    assert events(audit) == ["asked", "verified", "refused"]
    assert done.runs == []


PAY = '{"to": "Anna", "amount": 5}'
