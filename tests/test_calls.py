from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from actors.errors import SessionRefused
from actors.exits import AgentHungUp, Crashed, Exit, Killed
from actors.messages import CarrierFact, CarrierOrder
from actors.ports import Carrier
from actors.wire.twilio import Start
from gateway.calls import Calls, IncomingCall, Offer
from gateway.twilio.tokens import StreamTokens
from tests.doors import SilentSession
from tests.worlds import Straight

BYE = AgentHungUp("bye", goodbye_heard=True)


class SilentCarrier(Straight):
    """Stands for a line on which nothing happens."""

    def __init__(self) -> None:
        self.released = trio.Event()

    def release(self) -> None:
        self.released.set()

    def caller_left(self) -> None:
        raise AssertionError

    def stream_failed(self, stream_sid: str | None) -> None:
        raise AssertionError

    async def receive(self) -> CarrierFact:
        await trio.sleep_forever()
        raise AssertionError

    async def send(self, order: CarrierOrder) -> None:
        await trio.lowlevel.checkpoint()

    async def hang_up(self) -> None:
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


@attrs.define(eq=False)
class World:
    """Stands for the engine and the agent: what they do is decided per call sid."""

    sessions: dict[str, SilentSession] = attrs.field(factory=dict)

    def open_session(self, incoming: IncomingCall, nursery: trio.Nursery) -> SilentSession:
        if incoming.call_sid == "CArefused":
            raise SessionRefused("invalid_api_key", "no")
        if incoming.call_sid == "CAbroken":
            raise RuntimeError("as asked")
        session = SilentSession(fails=incoming.call_sid == "CAsession")
        self.sessions[incoming.call_sid] = session
        nursery.start_soon(session.run)
        return session

    async def run_call(self, offer: Offer, carrier: Carrier) -> Exit:
        if offer.call_sid == "CAcrash":
            raise RuntimeError("as asked")
        if offer.call_sid == "CAgroup":
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                raise RuntimeError("as asked")
        if offer.call_sid in {"CAlong", "CAsession"}:
            await trio.sleep_forever()
        await trio.sleep(2)
        return BYE


@asynccontextmanager
async def calls(world: World, max_concurrent: int = 10) -> AsyncIterator[Calls]:
    found = Calls(
        world.open_session, world.run_call, StreamTokens(bytes), max_concurrent=max_concurrent
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(found.serve)
        yield found
        found.close()


@pytest.fixture
def world() -> World:
    return World()


def incoming(call_sid: str) -> IncomingCall:
    return IncomingCall(call_sid, "AC1")


def start(offer: Offer, **changes: str) -> Start:
    parameters = (("token", changes.pop("token", offer.token)),)
    call_sid = changes.pop("call_sid", offer.call_sid)
    account_sid = changes.pop("account_sid", "AC1")
    return Start("MZ1", account_sid, call_sid, "audio/x-mulaw", 8000, 1, parameters)


async def offered(found: Calls, call_sid: str) -> Offer:
    offer = await found.offer(incoming(call_sid))
    assert isinstance(offer, Offer)
    return offer


async def answered(found: Calls, call_sid: str) -> Offer:
    offer = found.answer(start(await offered(found, call_sid)))
    assert isinstance(offer, Offer)
    return offer


async def run(found: Calls, offer: Offer) -> Exit | None:
    """See an answered call to its end."""
    line = SilentCarrier()
    found.begin(offer, line)
    await line.released.wait()
    return await found.how_ended(offer.call_sid)


async def test_a_session_connects_when_the_call_is_announced(
    world: World, autojump_clock: trio.abc.Clock
) -> None:
    async with calls(world) as found:
        offer = await offered(found, "CA1")

        assert offer.session is world.sessions["CA1"]
        assert not world.sessions["CA1"].closed


async def test_a_call_runs_and_its_ending_is_remembered(
    world: World, autojump_clock: trio.abc.Clock
) -> None:
    async with calls(world) as found:
        offer = await answered(found, "CA1")
        assert await run(found, offer) == BYE
        assert await found.how_ended("CA1") == BYE
        await trio.testing.wait_all_tasks_blocked()

        assert len(found) == 0
        assert world.sessions["CA1"].closed
        assert world.sessions["CA1"].cancelled


async def test_a_stream_that_never_comes_costs_30_s_and_leaves_no_session(
    world: World, autojump_clock: trio.abc.Clock
) -> None:
    async with calls(world) as found:
        offer = await offered(found, "CA1")
        await trio.sleep(29.9)
        assert len(found) == 1
        await trio.sleep(0.2)

        assert world.sessions["CA1"].closed
        assert world.sessions["CA1"].cancelled
        assert len(found) == 0
        assert found.answer(start(offer)) == "the token is used"
        assert await found.offer(incoming("CA1")) == "over"


async def test_a_caller_who_gave_up_costs_no_30_s(
    world: World, autojump_clock: trio.abc.Clock
) -> None:
    async with calls(world) as found:
        await offered(found, "CA1")
        found.abandon("CA1")
        found.abandon("CA2")
        await trio.testing.wait_all_tasks_blocked()

        assert world.sessions["CA1"].cancelled
        assert len(found) == 0


async def test_a_repeated_webhook_gets_the_same_offer_until_the_call_is_over(
    world: World, autojump_clock: trio.abc.Clock
) -> None:
    async with calls(world) as found:
        offers: list[object] = []

        async def announce() -> None:
            offers.append(await found.offer(incoming("CA1")))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(announce)
            nursery.start_soon(announce)
        assert offers[0] is offers[1]
        assert len(world.sessions) == 1
        offer = await answered(found, "CA1")
        await run(found, offer)
        await trio.testing.wait_all_tasks_blocked()

        assert await found.offer(incoming("CA1")) == "over"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"token": "guess"}, "the token is foreign"),
        ({"call_sid": "CA2"}, "the token is unknown"),
        ({"account_sid": "AC2"}, "the token is foreign"),
    ],
)
async def test_a_stream_that_was_not_announced_like_this_is_refused(
    world: World, changes: dict[str, str], reason: str, autojump_clock: trio.abc.Clock
) -> None:
    async with calls(world) as found:
        offer = await offered(found, "CA1")

        assert found.answer(start(offer, **changes)) == reason
        answer = found.answer(start(offer))
        assert isinstance(answer, Offer)
        assert answer.stream_sid == "MZ1"
        assert found.answer(start(offer)) == "the token is used"


async def test_one_call_more_than_allowed_is_busy(
    world: World, autojump_clock: trio.abc.Clock
) -> None:
    async with calls(world, max_concurrent=2) as found:
        await offered(found, "CA1")
        await offered(found, "CA2")

        assert not found.ready
        with capture_logs():
            assert await found.offer(incoming("CA3")) == "busy"
        assert isinstance(await found.offer(incoming("CA2")), Offer)
        assert list(world.sessions) == ["CA1", "CA2"]


async def test_a_gateway_that_drains_takes_no_new_call_and_finishes_the_others(
    world: World, autojump_clock: trio.abc.Clock
) -> None:
    async with calls(world) as found:
        offer = await answered(found, "CA1")
        found.stop_admitting()

        assert not found.ready
        assert await found.offer(incoming("CA2")) == "closing"
        assert await run(found, offer) == BYE


@pytest.mark.parametrize("call_sid", ["CArefused", "CAbroken"])
async def test_a_session_that_cannot_be_opened_declines_its_call_only(
    world: World, call_sid: str, autojump_clock: trio.abc.Clock
) -> None:
    with capture_logs():
        async with calls(world) as found:
            assert await found.offer(incoming(call_sid)) == "refused"
            assert len(found) == 0
            await offered(found, "CA1")


@pytest.mark.parametrize("call_sid", ["CAcrash", "CAgroup"])
async def test_a_call_that_crashes_ends_alone_with_its_traceback(
    world: World, call_sid: str, autojump_clock: trio.abc.Clock
) -> None:
    with capture_logs() as logs:
        async with calls(world) as found:
            bystander = await answered(found, "CA1")
            why = await run(found, await answered(found, call_sid))

            assert isinstance(why, Crashed)
            assert await found.how_ended(call_sid) == why
            assert await run(found, bystander) == BYE
    (crash,) = [entry for entry in logs if entry["event"] == "call.crashed"]
    assert "Traceback" in crash["traceback"]


async def test_a_session_that_crashes_ends_its_call_only(
    world: World, autojump_clock: trio.abc.Clock
) -> None:
    with capture_logs():
        async with calls(world) as found:
            bystander = await answered(found, "CA1")
            why = await run(found, await answered(found, "CAsession"))

            assert isinstance(why, Crashed)
            assert await run(found, bystander) == BYE


async def test_closing_kills_what_runs(world: World, autojump_clock: trio.abc.Clock) -> None:
    exits: list[Exit | None] = []
    async with calls(world) as found, trio.open_nursery() as nursery:
        offer = await answered(found, "CAlong")

        async def see() -> None:
            exits.append(await run(found, offer))

        nursery.start_soon(see)
        await trio.sleep(1)
        found.close()

    assert exits == [Killed()]
    assert world.sessions["CAlong"].cancelled


async def test_whoever_asks_how_a_call_ended_waits_for_it_a_little(
    world: World, autojump_clock: trio.abc.Clock
) -> None:
    async with calls(world) as found:
        found.begin(await answered(found, "CA1"), SilentCarrier())
        assert await found.how_ended("CA1") == BYE
        assert trio.current_time() == pytest.approx(2)

        found.begin(await answered(found, "CAlong"), SilentCarrier())
        assert await found.how_ended("CAlong") is None
        assert await found.how_ended("CAnever") is None
        assert trio.current_time() == pytest.approx(5)


async def test_endings_are_forgotten_after_ten_minutes(
    world: World, autojump_clock: trio.abc.Clock
) -> None:
    async with calls(world) as found:
        await run(found, await answered(found, "CA1"))
        await trio.sleep(601)
        await run(found, await answered(found, "CA2"))

        assert await found.how_ended("CA1") is None
        assert await found.how_ended("CA2") == BYE


async def test_before_serving_nothing_is_taken(world: World) -> None:
    found = Calls(world.open_session, world.run_call, StreamTokens(bytes))

    assert not found.ready
    assert await found.offer(incoming("CA1")) == "closing"
