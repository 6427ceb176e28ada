"""The barge-in controller while its call has no stream: it plays nothing and forgets nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
import trio.testing

from actors.bargein import BargeIn
from actors.lanes import Lane
from actors.messages import (
    BargeInFact,
    CarrierOrder,
    Clear,
    DeleteItem,
    HangupFact,
    ItemAudio,
    ItemsAmended,
    Mark,
    MarkEchoed,
    Play,
    PlayoutIdle,
    PlayoutStarted,
    ResponseFinished,
    ResponseStarted,
    SpeechStarted,
    StreamLeft,
    StreamMoved,
    TruncateItem,
    TurnFact,
)
from actors.notes import Notes
from actors.policy.journal import CallFacts, Journal
from actors.recording import RecordingFact

FACTS = CallFacts(
    call_sid="CA1",
    stream_sid="MZ1",
    account_sid="AC1",
    from_number="",
    to_number="",
    agent="a",
    model="m",
    voice="v",
    started_at="2026-01-01T00:00:00.000+00:00",
)
SECOND = b"\x10" * 8000


@attrs.define(eq=False)
class Bench:
    """The actor alone, with lanes to look into."""

    inbox: Lane[BargeInFact] = attrs.field(factory=lambda: Lane("in", 100))
    carrier: Lane[CarrierOrder] = attrs.field(factory=lambda: Lane("carrier", 1000))
    turns: Lane[TurnFact] = attrs.field(factory=lambda: Lane("turns", 100))
    hangup: Lane[HangupFact] = attrs.field(factory=lambda: Lane("hangup", 100))

    async def after(self, seconds: float, *facts: BargeInFact) -> list[CarrierOrder]:
        """Say these facts, let time pass, and return what the carrier was ordered."""
        for fact in facts:
            self.inbox.put(fact)
        await trio.sleep(seconds)
        return self.carrier.drain()

    def says(self, number: int = 1) -> tuple[BargeInFact, ...]:
        """A second of a finished response."""
        response = f"resp_{number}"
        return (
            ResponseStarted(response),
            ItemAudio(response, f"item_{number}", SECOND),
            ResponseFinished(response, "completed"),
        )


@asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    one = Bench()
    recording = Lane[RecordingFact]("recording", 1000)
    notes = Notes(Journal(FACTS))
    actor = BargeIn(one.inbox, one.carrier, one.turns, one.hangup, recording, notes)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(actor.run)
        yield one
        nursery.cancel_scope.cancel()


def played(orders: list[CarrierOrder]) -> int:
    return sum(len(order.ulaw) for order in orders if isinstance(order, Play))


async def test_while_away_nothing_is_ordered_and_then_all_of_it_is_played(
    autojump_clock: trio.abc.Clock,
) -> None:
    async with bench() as one:
        await one.after(1, StreamLeft())
        assert await one.after(30, *one.says()) == []
        orders = await one.after(2, StreamMoved("MZ2"))

    assert played(orders) == len(SECOND)
    assert any(isinstance(order, Mark) for order in orders)
    assert one.turns.drain() == []


async def test_whoever_hangs_up_hears_that_there_is_no_stream_and_then_what_plays_on_the_next(
    autojump_clock: trio.abc.Clock,
) -> None:
    async with bench() as one:
        await one.after(1, StreamLeft())
        await one.after(5, *one.says())
        facts = one.hangup.drain()
        assert facts[0] == StreamLeft()
        assert not any(isinstance(fact, PlayoutStarted | PlayoutIdle) for fact in facts)
        await one.after(0.1, StreamMoved("MZ2"))
        facts = one.hangup.drain()

    # In this order: else there is a moment in which all seems to have been heard.
    assert [type(fact) for fact in facts] == [PlayoutStarted, StreamMoved]


async def test_what_was_playing_when_the_stream_was_left_is_cut_where_it_was_heard(
    autojump_clock: trio.abc.Clock,
) -> None:
    async with bench() as one:
        await one.after(1)
        orders = await one.after(0.4, *one.says())
        assert played(orders) == pytest.approx(8 * 600, abs=400)
        await one.after(0.1, StreamLeft())
        orders = await one.after(2, StreamMoved("MZ2"))

    assert played(orders) == 0
    (amended,) = one.turns.drain()
    assert isinstance(amended, ItemsAmended)
    (order,) = amended.orders
    assert isinstance(order, TruncateItem)
    assert order.audio_end_ms == pytest.approx(400, abs=30)
    assert PlayoutIdle(by_mark=False) in one.hangup.drain()


async def test_a_caller_who_speaks_meanwhile_unsays_what_is_held_back(
    autojump_clock: trio.abc.Clock,
) -> None:
    async with bench() as one:
        await one.after(1, StreamLeft())
        await one.after(1, *one.says(), SpeechStarted("item_caller", 0))
        orders = await one.after(2, StreamMoved("MZ2"))

    assert played(orders) == 0
    assert one.turns.drain() == [ItemsAmended((DeleteItem("item_1"),))]


async def test_on_the_new_stream_the_round_trip_is_measured_anew_and_old_marks_mean_nothing(
    autojump_clock: trio.abc.Clock,
) -> None:
    async with bench() as one:
        (probe, *_) = [order for order in await one.after(0.1) if isinstance(order, Mark)]
        await one.after(0.1, StreamLeft())
        probes = await one.after(1, StreamMoved("MZ2"), MarkEchoed(probe.name))
        await one.after(0.3, *one.says())
        orders = await one.after(0.1, SpeechStarted("item_caller", 0))

    assert len([order for order in probes if isinstance(order, Mark)]) == 4
    assert Clear() in orders
    (amended,) = one.turns.drain()
    assert isinstance(amended, ItemsAmended)
    (order,) = amended.orders
    assert isinstance(order, TruncateItem)
    assert order.audio_end_ms == pytest.approx(300, abs=25)
