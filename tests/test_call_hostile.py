"""Peers at their worst: legs that drop at any event, and goodbyes that never come to an end."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from typing import Literal

import attrs
import pytest
import trio
from structlog.testing import capture_logs

from actors.call import Limits, Plan, run_call
from actors.errors import PeerGone
from actors.exits import AgentHungUp, CallerHungUp, Exit, Killed, PeerLost
from actors.messages import (
    FRAME_BYTES,
    FRAME_MS,
    CallerAudio,
    CallerTranscript,
    CarrierFact,
    CarrierOrder,
    Clear,
    CreateResponse,
    ItemAudio,
    ItemAudioDone,
    ItemTranscript,
    Mark,
    MarkEchoed,
    Play,
    ResponseFinished,
    ResponseStarted,
    SessionFact,
    SessionLive,
    SessionOrder,
    SpeechStarted,
    SpeechStopped,
    StreamStopped,
    ToolCall,
    ToolOutputAccepted,
)
from actors.policy.journal import CallFacts
from actors.policy.record import CallRecord
from actors.ports import CallStore
from actors.toolbox import Toolbox
from gateway.records.recording import MemoryRecorder
from gateway.records.store import MemoryStore
from tests.worlds import Straight

Manner = Literal["well", "never", "raises"]

SPEECH = b"\x90" * FRAME_BYTES
LEG_S = 0.25
"""When either leg drops, all of it is gone within this."""


def audio(item: str, response: str, ms: int) -> ItemAudio:
    return ItemAudio(response, item, b"\x90" * (8 * ms))


GOODBYE = ToolCall("t2", "hangup", '{"reason":"done"}')
SESSION_SCRIPT: list[tuple[int, SessionFact]] = [
    (50, SessionLive("sess_1")),
    (100, ResponseStarted("r1", "greeting")),
    (110, ItemTranscript("i1", "Hello, and welcome.")),
    (120, audio("i1", "r1", 500)),
    (130, audio("i1", "r1", 500)),
    (140, ItemAudioDone("r1", "i1")),
    (150, ResponseFinished("r1", "completed")),
    (600, SpeechStarted("c1", 500)),
    (900, SpeechStopped("c1", 800)),
    (920, CallerTranscript("c1", "No.")),
    (950, ResponseStarted("r2")),
    (960, ResponseFinished("r2", "completed", None, (ToolCall("t1", "look_up", "{}"),))),
    (1100, ToolOutputAccepted("t1")),
    (1110, ResponseStarted("r3", "tools")),
    (1120, audio("i3", "r3", 200)),
    (1130, ItemAudioDone("r3", "i3")),
    (
        1140,
        ResponseFinished("r3", "completed", None, (ToolCall("t2", "hangup", '{"reason":"done"}'),)),
    ),
]
"""A greeting, a barge-in, a tool, a goodbye and a hang-up. When in ms, and what."""


async def act(manner: Manner, well_s: float = 0.0) -> None:
    """Do something well, not at all, or badly."""
    match manner:
        case "well":
            await trio.sleep(well_s)
        case "never":
            await trio.sleep_forever()
        case "raises":
            raise OSError(5, "Input/output error")


@attrs.define(eq=False)
class Phone(Straight):
    """Stands for a carrier that plays, echoes marks, and is as bad as it is told to be.

    Its goodbye takes as long as that of a real one whose peer is dead.
    """

    stops_ms: int = 10_000
    drops_at: int | None = None
    """Before its fact with this number."""
    sends: Manner = "well"
    closes: Manner = "well"
    hangs_up: Manner = "well"
    facts: int = 0
    frames: int = 0
    closed: bool = False
    hung_up: int = 0
    dropped_s: float | None = None
    _played_s: float = 0.0
    _echoes: list[tuple[float, str]] = attrs.field(factory=list)
    _changed: trio.Event = attrs.field(factory=trio.Event)
    _began_s: float = attrs.field(factory=trio.current_time)

    async def receive(self) -> CarrierFact:
        if self.facts == self.drops_at:
            self.dropped_s = trio.current_time()
            raise PeerGone("carrier", 1006, "left without stop")
        self.facts += 1
        while True:
            frame_s = self._began_s + (self.frames + 1) * FRAME_MS / 1000
            echo_s = self._echoes[0][0] if self._echoes else frame_s
            self._changed = trio.Event()
            with trio.move_on_at(min(frame_s, echo_s)):
                await self._changed.wait()
                continue
            if self._echoes and self._echoes[0][0] <= trio.current_time():
                return MarkEchoed(self._echoes.pop(0)[1])
            self.frames += 1
            if self.frames * FRAME_MS > self.stops_ms:
                return StreamStopped()
            payload = base64.b64encode(SPEECH).decode()
            return CallerAudio(payload, SPEECH, (self.frames - 1) * FRAME_MS)

    async def send(self, order: CarrierOrder) -> None:
        await act(self.sends)
        now_s = trio.current_time()
        match order:
            case Play(ulaw):
                self._played_s = max(now_s, self._played_s) + len(ulaw) / 8000
            case Mark(name):
                self._echoes.append((max(now_s, self._played_s), name))
            case Clear():
                self._played_s = now_s
                self._echoes = [(now_s, name) for _, name in self._echoes]
        self._changed.set()

    async def hang_up(self) -> None:
        self.hung_up += 1
        await act(self.hangs_up)

    async def aclose(self) -> None:
        await act(self.closes, 0.2)
        self.closed = True


@attrs.define(eq=False)
class Model:
    """Stands for a session that says what is in the script, and is as bad as it is told to be."""

    drops_at: int | None = None
    """Before its fact with this number."""
    sends: Manner = "well"
    closes: Manner = "well"
    facts: int = 0
    closed: bool = False
    dropped_s: float | None = None
    _began_s: float = attrs.field(factory=trio.current_time)

    async def receive(self) -> SessionFact:
        if self.facts == len(SESSION_SCRIPT):
            await trio.sleep_forever()
        at_ms, fact = SESSION_SCRIPT[self.facts]
        await trio.sleep_until(self._began_s + at_ms / 1000)
        if self.facts == self.drops_at:
            self.dropped_s = trio.current_time()
            raise PeerGone("session", 1011, "restart")
        self.facts += 1
        return fact

    async def send(self, order: SessionOrder) -> None:
        await act(self.sends)

    async def aclose(self) -> None:
        await act(self.closes, 0.15)
        self.closed = True


@attrs.define(eq=False)
class Disk:
    """Stands for a disk that is slow beyond measure, or broken."""

    manner: Manner

    async def finish(self, record: CallRecord) -> None:
        await act(self.manner)


@attrs.define(eq=False)
class Tape:
    """Stands for a recorder on such a disk."""

    manner: Manner

    async def caller(self, at_ms: int, ulaw: bytes) -> None:
        await trio.lowlevel.checkpoint()

    async def agent(self, at_ms: int, ulaw: bytes) -> None:
        await trio.lowlevel.checkpoint()

    async def cut(self, at_ms: int) -> None:
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        await act(self.manner)


@attrs.define(eq=False)
class Outcome:
    """One call that is over."""

    phone: Phone
    model: Model
    why: Exit
    ended_s: float
    store: MemoryStore = attrs.field(factory=MemoryStore)


async def outcome(
    phone: Phone,
    model: Model,
    *,
    disk: CallStore | None = None,
    tape: Tape | None = None,
    limits: Limits | None = None,
) -> Outcome:
    """Run the scripted call with these peers."""
    toolbox = Toolbox()

    @toolbox.add
    async def look_up() -> str:
        """Takes its time."""
        await trio.sleep(0.05)
        return "found"

    facts = CallFacts(
        call_sid="CA1",
        stream_sid="MZ1",
        account_sid="AC1",
        from_number="+1555",
        to_number="+1666",
        agent="test",
        model="test",
        voice="marin",
        started_at="2026-01-01T00:00:00.000+00:00",
    )
    store = MemoryStore()
    with trio.fail_after(60):
        why = await run_call(
            Plan(facts, CreateResponse("greeting")),
            phone,
            model,
            tools=toolbox,
            recorder=tape or MemoryRecorder(),
            store=disk or store,
            limits=limits,
        )
    return Outcome(phone, model, why, trio.current_time(), store)


async def test_the_scripted_call_comes_to_its_hang_up(autojump_clock: trio.abc.Clock) -> None:
    """Else nothing below would prove much."""
    over = await outcome(Phone(), Model())

    assert over.why == AgentHungUp("done", goodbye_heard=True)
    (record,) = over.store.records
    assert len(record.barge_ins) == 1
    assert [tool.name for tool in record.tool_calls] == ["look_up", "hangup"]
    assert over.phone.hung_up == 1


async def test_a_session_that_drops_at_any_event_takes_the_call_with_it(
    autojump_clock: trio.abc.Clock,
) -> None:
    for index in range(len(SESSION_SCRIPT)):
        over = await outcome(Phone(), Model(drops_at=index))

        assert over.why == PeerLost("session", 1011, "restart"), index
        assert over.model.dropped_s is not None
        assert over.ended_s - over.model.dropped_s <= LEG_S, index
        assert [record.ending.side for record in over.store.records] == ["session"], index
        assert (over.phone.closed, over.model.closed, over.phone.hung_up) == (True, True, 0), index


async def test_a_carrier_that_drops_at_any_event_takes_the_call_with_it(
    autojump_clock: trio.abc.Clock,
) -> None:
    whole = await outcome(Phone(), Model())
    for index in range(whole.phone.facts):
        over = await outcome(Phone(drops_at=index), Model())

        assert over.why == PeerLost("carrier", 1006, "left without stop"), index
        assert over.phone.dropped_s is not None
        assert over.ended_s - over.phone.dropped_s <= LEG_S, index
        assert [record.ending.side for record in over.store.records] == ["carrier"], index
        assert (over.phone.closed, over.model.closed, over.phone.hung_up) == (True, True, 0), index


@pytest.mark.parametrize("leg", ["carrier", "session"])
async def test_a_send_that_never_returns_does_not_keep_the_call_from_ending(
    leg: str, autojump_clock: trio.abc.Clock
) -> None:
    phone = Phone(stops_ms=800, sends="never" if leg == "carrier" else "well")
    over = await outcome(phone, Model(sends="never" if leg == "session" else "well"))

    assert over.why == CallerHungUp()
    assert over.ended_s == pytest.approx(0.82 + 0.2, abs=0.001)
    assert (over.phone.closed, over.model.closed) == (True, True)


GOODBYES: list[tuple[str, Callable[[Manner], Awaitable[Outcome]]]] = [
    ("carrier", lambda manner: outcome(Phone(stops_ms=800, closes=manner), Model())),
    ("session", lambda manner: outcome(Phone(stops_ms=800), Model(closes=manner))),
    ("recording", lambda manner: outcome(Phone(stops_ms=800), Model(), tape=Tape(manner))),
    ("store", lambda manner: outcome(Phone(stops_ms=800), Model(), disk=Disk(manner))),
]


@pytest.mark.parametrize(("part", "call"), GOODBYES, ids=[name for name, _ in GOODBYES])
async def test_a_goodbye_that_never_ends_costs_its_bound_and_no_other_goodbye(
    part: str, call: Callable[[Manner], Awaitable[Outcome]], autojump_clock: trio.abc.Clock
) -> None:
    with capture_logs() as logs:
        over = await call("never")

    assert over.why == CallerHungUp()
    assert over.ended_s == pytest.approx(0.82 + Limits().cleanup_s, abs=0.001)
    assert over.phone.closed == (part != "carrier")
    assert over.model.closed == (part != "session")
    assert len(over.store.records) == (part != "store")
    assert [line["after_s"] for line in logs if line["event"] == "call.cleanup_abandoned"] == [2.0]


@pytest.mark.parametrize(("part", "call"), GOODBYES, ids=[name for name, _ in GOODBYES])
async def test_a_goodbye_that_fails_costs_no_other_goodbye(
    part: str, call: Callable[[Manner], Awaitable[Outcome]], autojump_clock: trio.abc.Clock
) -> None:
    with capture_logs() as logs:
        over = await call("raises")

    assert over.why == CallerHungUp()
    assert over.ended_s <= 0.82 + LEG_S
    assert over.phone.closed == (part != "carrier")
    assert over.model.closed == (part != "session")
    assert len(over.store.records) == (part != "store")
    failed = [line for line in logs if line["log_level"] in {"error", "warning"}]
    assert failed


async def test_when_nobody_says_goodbye_the_call_still_ends(
    autojump_clock: trio.abc.Clock,
) -> None:
    phone, model = Phone(stops_ms=800, closes="never"), Model(closes="never")
    over = await outcome(
        phone, model, disk=Disk("never"), tape=Tape("never"), limits=Limits(cleanup_s=0.5)
    )

    assert over.why == CallerHungUp()
    assert over.ended_s == pytest.approx(0.82 + 0.5, abs=0.001)


async def test_a_cancelled_call_with_such_peers_ends_within_its_bound_too(
    autojump_clock: trio.abc.Clock,
) -> None:
    phone, model = Phone(closes="never"), Model(closes="never")
    with trio.move_on_after(0.5) as scope:
        await outcome(phone, model)

    assert scope.cancelled_caught
    assert trio.current_time() == pytest.approx(0.5 + Limits().cleanup_s, abs=0.001)


async def test_a_cancelled_call_still_has_its_one_record(autojump_clock: trio.abc.Clock) -> None:
    store = MemoryStore()
    with trio.move_on_after(0.5):
        await outcome(Phone(closes="never"), Model(), disk=store)

    assert [record.ending for record in store.records] == [Killed()]


@pytest.mark.parametrize("manner", ["never", "raises"])
async def test_a_hang_up_that_fails_costs_its_bound_and_no_other_goodbye(
    manner: Manner, autojump_clock: trio.abc.Clock
) -> None:
    over = await outcome(Phone(hangs_up=manner), Model())

    assert over.why == AgentHungUp("done", goodbye_heard=True)
    assert (over.phone.hung_up, over.model.closed) == (1, True)
    (record,) = over.store.records
    assert over.ended_s - record.duration_ms / 1000 <= Limits().cleanup_s + 0.001
