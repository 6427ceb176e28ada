"""What a tool does to its call: keys, transfers, another persona, each at its time."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Literal

import attrs
import pytest
import trio

from actors.call import Limits, Plan, run_call
from actors.control import QUIET_MAX_S, CallControl
from actors.errors import CarrierRefused
from actors.exits import CallerHungUp, Exit, Transferred
from actors.messages import (
    ULAW_BYTES_PER_MS,
    AddText,
    AppendAudio,
    CarrierFact,
    CarrierOrder,
    ChangeSession,
    Clear,
    CreateResponse,
    ItemAudio,
    ItemAudioDone,
    Mark,
    MarkEchoed,
    Play,
    ResponseFinished,
    ResponseStarted,
    ReturnToolOutput,
    SessionFact,
    SessionLive,
    StreamStopped,
    ToolCall,
)
from actors.policy.manners import Manners
from actors.policy.record import CallRecord
from actors.ports import Transfer, TransferOutcome
from actors.toolbox import Toolbox
from gateway.records.recording import MemoryRecorder
from gateway.records.store import MemoryStore
from tests.test_call_keys import outputs, purposes
from tests.test_legs import FACTS
from tests.test_tones import heard_key
from tests.worlds import Scripted, play, world

TO = Transfer("+4930111", whisper="It is about a bill.")
SECOND = b"\x90" * 1000 * ULAW_BYTES_PER_MS


@attrs.define(eq=False)
class Handset:
    """Stands for a carrier that plays what it is given, in real time, and can be moved about."""

    outcomes: list[TransferOutcome] = attrs.field(factory=list)
    refuses: str | None = None
    takes_s: float = 2.0
    hangs_up_s: float = 60.0
    pressed: list[tuple[float, str]] = attrs.field(factory=list)
    transfers: list[tuple[float, Transfer]] = attrs.field(factory=list)
    hung_up: bool = False
    moved_at_once: int = 0
    """How many pressed or transferred at a time, at most."""
    _moving: int = 0
    _empty_s: float = 0.0
    """When all that was given has been played."""
    _began_s: float = attrs.field(factory=trio.current_time)
    _echoes: list[tuple[float, str]] = attrs.field(factory=list)
    _news: trio.Event = attrs.field(factory=trio.Event)

    async def receive(self) -> CarrierFact:
        while True:
            ends_s = self._began_s + self.hangs_up_s
            due_s = min(ends_s, self._echoes[0][0] if self._echoes else math.inf)
            with trio.move_on_at(due_s) as wait:
                await self._news.wait()
            if not wait.cancelled_caught:
                self._news = trio.Event()
            elif due_s == ends_s:
                return StreamStopped()
            else:
                return MarkEchoed(self._echoes.pop(0)[1])

    async def send(self, order: CarrierOrder) -> None:
        await trio.lowlevel.checkpoint()
        now_s = trio.current_time()
        match order:
            case Play(ulaw):
                self._empty_s = max(now_s, self._empty_s) + len(ulaw) / ULAW_BYTES_PER_MS / 1000
            case Mark(name):
                self._echoes.append((max(now_s, self._empty_s), name))
                self._news.set()
            case Clear():
                self._empty_s = now_s

    async def hang_up(self) -> None:
        await trio.lowlevel.checkpoint()
        self.hung_up = True

    async def press(self, digits: str) -> None:
        await self._move()
        self.pressed.append((trio.current_time() - self._began_s, digits))

    async def transfer(self, to: Transfer) -> TransferOutcome:
        self.transfers.append((trio.current_time() - self._began_s, to))
        await self._move()
        return self.outcomes.pop(0)

    async def _move(self) -> None:
        assert trio.current_time() >= self._empty_s, "something is still playing"
        self._moving += 1
        self.moved_at_once = max(self._moving, self.moved_at_once)
        try:
            await trio.sleep(self.takes_s)
        finally:
            self._moving -= 1
        if self.refuses is not None:
            raise CarrierRefused(self.refuses)

    def hide_keys(self, hidden: bool) -> None:
        pass

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


def asks_for(*names: str, audio: bytes = SECOND) -> tuple[SessionFact, ...]:
    """A response that says something and calls these."""
    calls = tuple(ToolCall(f"call_{n}", name, "{}") for n, name in enumerate(names))
    return (
        ResponseStarted("resp_1"),
        ItemAudio("resp_1", "item_1", audio),
        ItemAudioDone("resp_1", "item_1"),
        ResponseFinished("resp_1", "completed", tool_calls=calls),
    )


@attrs.define(eq=False)
class Played:
    """A call that is over."""

    why: Exit
    record: CallRecord
    session: Scripted
    carrier: Handset

    def output(self, number: int = 0) -> str:
        """What the model was told of a tool."""
        (output,) = [
            order.output
            for order in self.session.orders
            if isinstance(order, ReturnToolOutput) and order.tool_call_id == f"call_{number}"
        ]
        return output


async def call(
    body: Callable[[CallControl], Awaitable[object]],
    carrier: Handset | None = None,
    *,
    tool_s: float = 8.0,
    times: int = 1,
    manners: Manners | None = None,
    audio: bytes = SECOND,
) -> Played:
    """A call in which the model says something, for a second, and calls a tool with this body."""
    box = Toolbox()

    async def do(call: CallControl) -> object:
        """Does something."""
        return await body(call)

    box.add(do)
    session = Scripted(SessionLive("sess_1"), *asks_for(*["do"] * times, audio=audio))
    carrier = carrier or Handset()
    store = MemoryStore()
    with trio.fail_after(100):
        why = await run_call(
            Plan(FACTS, manners=manners or Manners()),
            carrier,
            session,
            tools=box,
            recorder=MemoryRecorder(),
            store=store,
            limits=Limits(tool_s=tool_s),
        )
    (record,) = store.records
    return Played(why, record, session, carrier)


async def press(control: CallControl) -> object:
    await control.press("1w2#")
    return "pressed"


async def transfer(control: CallControl) -> object:
    return await control.transfer(TO)


async def test_keys_are_pressed_when_all_that_was_said_has_been_heard(
    autojump_clock: trio.abc.Clock,
) -> None:
    """The tool ran from 0.5 s on; a second of audio began at 0.3 s; then a moment of quiet."""
    played = await call(press)

    ((at_s, digits),) = played.carrier.pressed
    assert digits == "1w2#"
    assert 1.5 <= at_s - played.carrier.takes_s <= 1.7
    assert played.output() == '"pressed"'
    assert [m.detail for m in played.record.moments if m.what == "KeysSent"] == ["1w2#"]


async def test_what_a_tool_waits_for_the_carrier_is_not_its_own_time(
    autojump_clock: trio.abc.Clock,
) -> None:
    played = await call(press, Handset(takes_s=12), tool_s=1.0)

    assert [run.outcome for run in played.record.tool_calls] == ["returned"]


async def test_its_own_time_goes_on_after_that(autojump_clock: trio.abc.Clock) -> None:
    async def dawdle(control: CallControl) -> object:
        await trio.sleep(0.6)
        await control.press("1")
        await trio.sleep(0.6)
        return "late"

    played = await call(dawdle, tool_s=1.0)

    assert [run.outcome for run in played.record.tool_calls] == ["timed_out"]
    assert len(played.carrier.pressed) == 1


@pytest.mark.parametrize(("after_s", "outcome"), [(0.1, "returned"), (1.5, "timed_out")])
async def test_a_tool_that_waits_in_two_tasks_has_its_own_time_behind_both(
    autojump_clock: trio.abc.Clock, after_s: float, outcome: str
) -> None:
    async def press_twice(control: CallControl) -> object:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(control.press, "1")
            nursery.start_soon(control.press, "2")
        await trio.sleep(after_s)
        return "pressed"

    played = await call(press_twice, tool_s=1.0)

    assert len(played.carrier.pressed) == 2
    assert [run.outcome for run in played.record.tool_calls] == [outcome]


async def test_no_key_is_pressed_into_a_speech_that_does_not_end(
    autojump_clock: trio.abc.Clock,
) -> None:
    played = await call(press, audio=SECOND * 40)

    assert played.carrier.pressed == []
    assert "has not been heard" in played.output()
    (run,) = played.record.tool_calls
    assert run.started_ms is not None
    assert run.finished_ms is not None
    assert run.finished_ms - run.started_ms == pytest.approx(QUIET_MAX_S * 1000, abs=10)


async def test_two_tools_that_move_the_call_do_it_one_after_the_other(
    autojump_clock: trio.abc.Clock,
) -> None:
    played = await call(press, times=2)

    assert len(played.carrier.pressed) == 2
    assert played.carrier.moved_at_once == 1


async def test_a_carrier_that_will_not_is_told_to_the_model_in_words(
    autojump_clock: trio.abc.Clock,
) -> None:
    played = await call(press, Handset(refuses="there is no account"))

    assert [run.outcome for run in played.record.tool_calls] == ["refused"]
    assert "there is no account" in played.output()


@pytest.mark.parametrize("digits", ["", "12x", "1" * 33, "1 2", "W"])
async def test_what_is_no_key_is_not_pressed(autojump_clock: trio.abc.Clock, digits: str) -> None:
    async def press_wrongly(control: CallControl) -> object:
        await control.press(digits)
        return "pressed"

    played = await call(press_wrongly)

    assert played.carrier.pressed == []
    assert [run.outcome for run in played.record.tool_calls] == ["refused"]


async def test_a_transfer_that_is_answered_ends_the_call_and_nobody_hangs_up(
    autojump_clock: trio.abc.Clock,
) -> None:
    played = await call(transfer, Handset(outcomes=["answered"], takes_s=20))

    ((at_s, to),) = played.carrier.transfers
    assert played.why == Transferred()
    assert to == TO
    assert 1.5 <= at_s <= 1.7
    assert not played.carrier.hung_up
    assert [m.detail for m in played.record.moments if m.what == "TransferEnded"] == ["answered"]
    assert [run.outcome for run in played.record.tool_calls] == [None]


@pytest.mark.parametrize("outcome", ["busy", "no-answer", "failed", "canceled"])
async def test_a_transfer_that_is_not_answered_comes_back_to_the_tool(
    autojump_clock: trio.abc.Clock, outcome: TransferOutcome
) -> None:
    played = await call(transfer, Handset(outcomes=[outcome], takes_s=25))

    assert played.output() == f'"{outcome}"'
    assert [run.outcome for run in played.record.tool_calls] == ["returned"]


async def test_a_transfer_under_way_is_not_silence(autojump_clock: trio.abc.Clock) -> None:
    carrier = Handset(outcomes=["no-answer"], takes_s=25, hangs_up_s=30)
    played = await call(transfer, carrier, manners=Manners(max_silence_s=5))

    assert not [order for order in played.session.orders if isinstance(order, AddText)]


async def test_another_persona_is_an_order_to_the_session(
    autojump_clock: trio.abc.Clock,
) -> None:
    async def become(control: CallControl) -> object:
        await trio.lowlevel.checkpoint()
        control.change(instructions="You are Max now.", language="de")
        return None

    played = await call(become)

    assert ChangeSession("You are Max now.", "de") in played.session.orders
    assert not [order for order in played.session.orders if isinstance(order, AppendAudio)]
    (moment,) = [m for m in played.record.moments if m.what == "ChangeSession"]
    assert moment.detail == "instructions, language"


@pytest.mark.parametrize(
    ("instructions", "language"), [("", None), (" \n", None), (None, "german"), (None, "")]
)
async def test_what_no_session_would_take_is_refused_to_the_tool_and_changes_nothing(
    autojump_clock: trio.abc.Clock, instructions: str | None, language: str | None
) -> None:
    """It would be remembered, and the session that comes after this one refused for it."""

    async def become(control: CallControl) -> object:
        await trio.lowlevel.checkpoint()
        control.change(instructions=instructions, language=language)
        return None

    played = await call(become)

    assert not [order for order in played.session.orders if isinstance(order, ChangeSession)]
    assert [run.outcome for run in played.record.tool_calls] == ["refused"]


@pytest.mark.parametrize("outcome", ["busy", "refused"])
async def test_a_caller_who_comes_back_is_not_hung_up_on_by_the_response_that_sent_them(
    autojump_clock: trio.abc.Clock, outcome: Literal["busy", "refused"]
) -> None:
    """The model says that it connects them, and goodbye, with both tools beside each other."""
    box = Toolbox()

    @box.add
    async def do(call: CallControl) -> object:
        """Connects the caller."""
        return await call.transfer(TO)

    session = Scripted(SessionLive("sess_1"), *asks_for("do", "hangup"))
    carrier, store = Handset(takes_s=20, hangs_up_s=24), MemoryStore()
    if outcome == "refused":
        carrier.refuses = "refused by the carrier"
    else:
        carrier.outcomes.append(outcome)
    why = await run_call(
        Plan(FACTS), carrier, session, tools=box, recorder=MemoryRecorder(), store=store
    )
    (record,) = store.records
    played = Played(why, record, session, carrier)

    assert why == CallerHungUp()
    assert outcome in played.output()
    assert '"hung_up":false' in played.output(1)
    assert "not connected" in played.output(1)
    assert record.tool_calls[1].outcome == "interrupted"
    orders = [order for order in session.orders if isinstance(order, CreateResponse)]
    assert [order.purpose for order in orders] == ["tools"]


MENU = """
model:
  answers:
    - items: [{say: "Let me see."}, {call: {name: send_keys, arguments: {}}}]
    - items: [{say: "Done."}]
caller: [{wait: agent_quiet, quiet_ms: 4000, hang_up: true}]
"""


async def test_keys_in_the_audio_are_heard_by_the_far_end_and_unknown_to_the_session(
    autojump_clock: trio.abc.Clock,
) -> None:
    box = Toolbox()

    @box.add
    async def send_keys(call: CallControl) -> str:
        """Press keys."""
        await call.press("1w#")
        return "pressed"

    one = world(MENU, manners=Manners(key_tones="in_band"), toolbox=box)
    await play(one)

    heard = b"".join(part.ulaw for part in one.line.heard())
    windows = [heard[start : start + 320] for start in range(0, len(heard) - 320, 320)]
    keys = "".join(heard_key(window) or " " for window in windows)
    assert [*dict.fromkeys(keys.replace(" ", ""))] == ["1", "#"]
    assert outputs(one) == ["pressed"]
    assert purposes(one) == ["greeting", "tools"]
    assert one.record.refused_orders == {}
    assert [m.detail for m in one.record.moments if m.what == "KeysSent"] == ["1w#"]
    assert [said.text for said in one.record.transcript] == ["Let me see.", "[1w#]", "Done."]


async def test_tones_that_the_far_end_talks_over_are_cut_and_the_model_is_told(
    autojump_clock: trio.abc.Clock,
) -> None:
    box = Toolbox()

    @box.add
    async def send_keys(call: CallControl) -> str:
        """Press keys."""
        await call.press("1234567890")
        return "pressed"

    talks = 'caller: [{wait_ms: 2000, say: "For sales press one."}, '
    yaml = MENU.replace("caller: [", talks)
    one = world(yaml, manners=Manners(key_tones="in_band"), toolbox=box)
    await play(one)

    assert "cut short" in str(outputs(one))
    assert len(one.record.barge_ins) == 1
    assert one.record.refused_orders == {}


async def test_a_caller_is_sent_to_two_people_one_after_the_other(
    autojump_clock: trio.abc.Clock,
) -> None:
    """Also when a response asks for the same transfer twice."""
    played = await call(transfer, Handset(outcomes=["busy", "busy"], takes_s=5), times=2)

    assert len(played.carrier.transfers) == 2
    assert played.carrier.moved_at_once == 1
