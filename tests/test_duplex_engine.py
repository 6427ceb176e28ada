"""A second engine, which has no turns: nothing in a call takes it for granted that there are any.

It listens and talks at the same time, decides by itself when, says nothing of responses, and can
have nothing truncated. Source of its manner: GPT-Live, OpenAI docs.
"""

from __future__ import annotations

import base64
from collections import deque

import attrs
import pytest
import trio

from actors.errors import PeerGone
from actors.exits import AgentHungUp, CallerHungUp, PeerLost
from actors.messages import (
    ULAW_BYTES_PER_MS,
    ULAW_SILENCE,
    AppendAudio,
    CreateResponse,
    ItemAudio,
    ItemAudioDone,
    ItemTranscript,
    ReturnToolOutput,
    SessionFact,
    SessionLive,
    SessionOrder,
    ToolCall,
    ToolsAsked,
)
from actors.toolbox import Toolbox
from gateway.lab.world import World
from tests.test_call_voice import Clerk
from tests.worlds import play, tone, world

CHUNK_MS = 100
HANG_UP = ToolCall("d2", "hangup", '{"reason":"done"}')
LOOK_UP = ToolCall("d1", "look_up", "{}")


@attrs.define(eq=False)
class Duplex:
    """Stands for an engine without turns: it talks in real time, and stops when it hears a voice.

    Args:
        agenda: What it does, one after the other: words to say, functions to ask for, seconds to
            wait; `None` is to wait for the caller's voice.
        dies: Its socket breaks at the end of that.

    """

    agenda: deque[str | ToolCall | float | None]
    dies: bool = False
    nudges: list[CreateResponse] = attrs.field(factory=list[CreateResponse], init=False)
    others: list[SessionOrder] = attrs.field(factory=list[SessionOrder], init=False)
    outputs: list[ReturnToolOutput] = attrs.field(factory=list[ReturnToolOutput], init=False)
    sent_ms: dict[str, int] = attrs.field(factory=dict[str, int], init=False)
    closed: bool = attrs.field(default=False, init=False)
    _facts: deque[SessionFact] = attrs.field(factory=deque[SessionFact], init=False)
    _voice: trio.Event = attrs.field(factory=trio.Event, init=False)
    _items: int = attrs.field(default=0, init=False)
    _talking: deque[bytes] = attrs.field(factory=deque[bytes], init=False)

    def __attrs_post_init__(self) -> None:
        self._facts.append(SessionLive("live_1"))

    async def run(self) -> None:
        await trio.lowlevel.checkpoint()

    async def receive(self) -> SessionFact:
        while not self._facts:
            await self._go_on()
        await trio.lowlevel.checkpoint()
        return self._facts.popleft()

    async def send(self, order: SessionOrder) -> None:
        await trio.lowlevel.checkpoint()
        match order:
            case AppendAudio(payload):
                if base64.b64decode(payload).strip(ULAW_SILENCE):
                    self._voice.set()
            case CreateResponse():
                self.nudges.append(order)
            case ReturnToolOutput():
                self.outputs.append(order)
            case _:
                self.others.append(order)

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()
        self.closed = True

    async def _go_on(self) -> None:
        if self._talking:
            await self._talk()
            return
        if not self.agenda:
            if self.dies:
                raise PeerGone("session", 1011, "internal error")
            await trio.sleep_forever()
        match self.agenda.popleft():
            case str(words):
                self._items += 1
                ulaw, step = tone(words), CHUNK_MS * ULAW_BYTES_PER_MS
                self._talking.extend(ulaw[at : at + step] for at in range(0, len(ulaw), step))
                self._voice = trio.Event()
                self._facts.append(ItemTranscript(self._item_id, words))
            case ToolCall() as one:
                self._facts.append(ToolsAsked((one,)))
            case float(wait_s):
                await trio.sleep(wait_s)
            case None:
                self._voice = trio.Event()
                await self._voice.wait()

    async def _talk(self) -> None:
        ulaw = self._talking.popleft()
        self._facts.append(ItemAudio("live", self._item_id, ulaw))
        self.sent_ms[self._item_id] = self.sent_ms.get(self._item_id, 0) + len(ulaw) // 8
        with trio.move_on_after(CHUNK_MS / 1000):
            await self._voice.wait()
            self._talking.clear()
        if not self._talking:
            self._facts.append(ItemAudioDone("live", self._item_id))

    @property
    def _item_id(self) -> str:
        return f"said_{self._items}"


def duplex_world(
    engine: Duplex, caller: str = "caller: [{wait: call_end}]", toolbox: Toolbox | None = None
) -> World:
    one = world(caller, server_confirms=False, toolbox=toolbox or Toolbox())
    one.session = engine  # type: ignore[assignment]
    return one


def engine(*agenda: str | ToolCall | float | None, dies: bool = False) -> Duplex:
    return Duplex(deque(agenda), dies)


async def test_an_engine_without_turns_talks_uses_tools_and_is_heard_to_its_goodbye(
    autojump_clock: trio.abc.Clock,
) -> None:
    runs: list[str] = []
    box = Toolbox()

    @box.add
    async def look_up() -> str:
        """Look it up."""
        runs.append("look_up")
        await trio.lowlevel.checkpoint()
        return "nine to one"

    talker = engine("Hello there.", LOOK_UP, 0.5, "From nine to one, goodbye.", HANG_UP)
    one = duplex_world(talker, toolbox=box)
    why = await play(one)

    assert why == AgentHungUp("done", goodbye_heard=True)
    assert runs == ["look_up"]
    assert [order.tool_call_id for order in talker.outputs] == ["d1", "d2"]
    assert [(said.text, said.heard, said.unheard) for said in one.record.transcript] == [
        ("Hello there.", "Hello there.", ""),
        ("From nine to one, goodbye.", "From nine to one, goodbye.", ""),
    ]
    assert sum(talker.sent_ms.values()) <= one.line.heard_ms() <= sum(talker.sent_ms.values()) + 40
    assert [run.outcome for run in one.record.tool_calls] == ["returned", "returned"]
    assert not talker.others
    assert talker.closed


async def test_an_engine_that_confirms_nothing_is_not_given_up_on(
    autojump_clock: trio.abc.Clock,
) -> None:
    """A nudge is given once, and no answer to it is waited for."""
    talker = engine(90.0, "Still here.")
    one = duplex_world(talker, "caller: [{wait_ms: 100000, hang_up: true}]")
    why = await play(one)

    assert why == CallerHungUp()
    assert [order.purpose for order in talker.nudges] == ["greeting"]
    assert [said.heard for said in one.record.transcript] == ["Still here."]


async def test_a_caller_may_talk_over_an_engine_that_minds_by_itself(
    autojump_clock: trio.abc.Clock,
) -> None:
    """It falls silent of its own accord; nothing is cleared, truncated or deleted for it."""
    talker = engine("Let me tell you all about it, from the very beginning.", 1.0, "Go on.", 3.0)
    one = duplex_world(
        talker,
        """caller:
          - {wait: agent_speaking, after_ms: 800, say: "Wait a moment."}
          - {wait_ms: 4000, hang_up: true}
        """,
    )
    await play(one)

    first, second = one.record.transcript
    assert talker.sent_ms["said_1"] < len(tone(first.text or "")) // 8 - 1000
    assert first.heard_ms == talker.sent_ms["said_1"]
    assert second.heard == "Go on."
    assert not one.record.barge_ins
    assert not talker.others


@pytest.mark.parametrize("who", ["engine", "caller"])
async def test_either_leg_of_a_call_without_turns_ends_it(
    who: str, autojump_clock: trio.abc.Clock
) -> None:
    talker = engine("Hello there.", 1.0, dies=who == "engine")
    one = duplex_world(talker, "caller: [{wait_ms: 5000, hang_up: true}]")
    why = await play(one)

    if who == "engine":
        assert why == PeerLost("session", 1011, "internal error")
    else:
        assert why == CallerHungUp()
    assert talker.closed
    assert one.record.drops["agent_bytes_cut"] == 0


async def test_an_engine_without_turns_is_not_heard_while_the_caller_is_asked(
    autojump_clock: trio.abc.Clock,
) -> None:
    """Nothing can keep it from talking; what it says then is played to nobody."""
    clerk = Clerk()
    book = ToolCall("d1", "book", "{}")
    talker = engine("Hello there.", book, 2.0, "Yes, of course, yes.", 9.0, "Booked.", HANG_UP)
    one = duplex_world(
        talker,
        """caller:
          - {wait: agent_quiet, quiet_ms: 300}
          - {wait: agent_quiet, quiet_ms: 600, press: "1"}
          - {wait: call_end}
        """,
        toolbox=clerk.box(),
    )
    await play(one)

    assert clerk.replies == ["yes"]
    heard = [said.heard for said in one.record.transcript if said.heard]
    assert heard == ["Hello there.", clerk.question, "Booked."]
    assert not talker.others
