"""Tools of every bad kind: one bounded answer each, and nobody on the line notices."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
import trio

from actors.exits import CallerHungUp
from actors.messages import AppendAudio, CallerAudio, Clear, Play, SpeechStarted
from actors.toolbox import STUCK, STUCK_MAX, THREADS_MAX, Toolbox
from actors.tools import AT_ONCE_MAX, OUTPUT_MAX_CHARS
from gateway.lab.world import World
from tests.test_call_bargein import events
from tests.test_call_tools import outputs, purposes, scenario
from tests.worlds import play, world


class Stop(BaseException):
    """Stands for what a library of another world raises past every `except Exception`."""


@attrs.define(eq=False)
class Endless(dict[str, int]):
    """Stands for a result of a million keys, and counts those that anybody looked at."""

    looked_at: int = 0

    def __bool__(self) -> bool:
        return True

    def items(self) -> Any:  # noqa: ANN401 - a view of any kind.
        return self._look()

    def _look(self) -> Iterator[tuple[str, int]]:
        for number in range(10**6):
            self.looked_at += 1
            yield f"key {number}", number


def cyclic() -> object:
    ring: dict[str, object] = {"name": "ring"}
    ring["itself"] = ring
    return ring


RESULTS: dict[str, Any] = {
    "ten megabytes": "x" * 10_000_000,
    "binary": b"\x00\xff" * 5_000_000,
    "cyclic": cyclic(),
    "a million keys": Endless(),
    "lists in lists": [[[0] * 100] * 100] * 100,
    "a number without end": 1 << 10**6,
}

RAISED: dict[str, BaseException] = {
    "an exit": SystemExit(3),
    "no memory": MemoryError("of 640 KB"),
    "another world's cancellation": asyncio.CancelledError(),
    "something of its own": Stop(),
    "a group": BaseExceptionGroup("two", [Stop(), ValueError("a secret detail")]),
    "groups in a group": BaseExceptionGroup("one", [ExceptionGroup("more", [KeyError("secret")])]),
}


def one_tool(body: Any) -> Toolbox:  # noqa: ANN401 - whatever a toolbox takes.
    toolbox = Toolbox()
    body.__name__ = "bad"
    toolbox.add(body)
    return toolbox


def answers(one: World) -> list[str]:
    """Every output that the model was given, as text."""
    return [
        event["item"]["output"]
        for event in events(one, "conversation.item.create")
        if event["item"]["type"] == "function_call_output"
    ]


@pytest.mark.parametrize("kind", RESULTS)
async def test_a_result_of_any_size_is_one_bounded_answer(
    kind: str, autojump_clock: trio.abc.Clock
) -> None:
    async def bad() -> object:
        """Return it."""
        await trio.lowlevel.checkpoint()
        return RESULTS[kind]

    one = world(scenario("{name: bad, arguments: {}}"), toolbox=one_tool(bad))
    why = await play(one)

    (answer,) = answers(one)
    json.loads(answer)
    assert len(answer) <= OUTPUT_MAX_CHARS
    assert purposes(one) == ["greeting", "tools"]
    assert [run.outcome for run in one.record.tool_calls] == ["returned"]
    assert why == CallerHungUp()


def test_a_million_keys_are_not_looked_at_when_a_few_thousand_are_enough() -> None:
    result = Endless()

    async def bad() -> object:
        """Return it."""
        await trio.lowlevel.checkpoint()
        return result

    trio.run(one_tool(bad).run, "bad", "{}")

    # 256 KiB, of which a key and its value take 16 characters or more.
    assert 5_000 < result.looked_at < 20_000


@pytest.mark.parametrize("kind", RAISED)
async def test_whatever_a_tool_raises_is_one_answer_without_a_word_of_it(
    kind: str, autojump_clock: trio.abc.Clock
) -> None:
    async def bad() -> None:
        """Raise it."""
        await trio.lowlevel.checkpoint()
        raise RAISED[kind]

    one = world(scenario("{name: bad, arguments: {}}"), toolbox=one_tool(bad))
    why = await play(one)

    (answer,) = answers(one)
    assert answer == json.dumps({"error": f"the tool failed: {type(RAISED[kind]).__name__}"})
    assert why == CallerHungUp()


async def test_a_tool_that_is_shielded_is_answered_for_at_its_deadline(
    autojump_clock: trio.abc.Clock,
) -> None:
    """What it returns later is nobody's answer any more."""
    ended_s: list[float] = []

    async def bad() -> str:
        """Be stubborn for ten seconds."""
        with trio.move_on_after(10, shield=True):
            await trio.sleep_forever()
        ended_s.append(trio.current_time())
        return "done after all"

    one = world(scenario("{name: bad, arguments: {}}"), toolbox=one_tool(bad))
    await play(one)

    (run,) = one.record.tool_calls
    assert run.outcome == "timed_out"
    assert run.started_ms is not None
    assert run.finished_ms == run.started_ms + 8_000
    assert len(answers(one)) == 1
    assert "whether it took effect is not known" in answers(one)[0]
    assert len(ended_s) == 1


async def test_tools_that_were_given_up_on_still_count_as_running(
    autojump_clock: trio.abc.Clock,
) -> None:
    """A model cannot pile them up by asking again."""

    async def bad() -> str:
        """Be stubborn for twenty seconds."""
        with trio.move_on_after(20, shield=True):
            await trio.sleep_forever()
        return "done after all"

    calls = ["{name: bad, arguments: {}}"] * AT_ONCE_MAX
    one = world(
        f"""
model:
  answers:
    - items: [{{say: "Hello there."}}]
    - items: [{", ".join(f"{{call: {call}}}" for call in calls)}]
    - items: [{{call: {calls[0]}}}]
    - items: [{{say: "It does not work."}}]
caller:
  - {{wait: agent_quiet, say: "Look it up."}}
  - {{wait: agent_quiet, quiet_ms: 15000, hang_up: true}}
""",
        toolbox=one_tool(bad),
    )
    await play(one)

    outcomes = [run.outcome for run in one.record.tool_calls]
    assert outcomes == ["timed_out"] * AT_ONCE_MAX + ["refused"]
    assert "too many tools are running" in answers(one)[-1]


async def test_a_plain_function_that_never_ends_is_refused_in_the_end(
    autojump_clock: trio.abc.Clock,
) -> None:
    """Its threads cannot be ended. Other functions still have theirs."""
    go = threading.Event()
    toolbox = Toolbox()

    @toolbox.add
    def hang() -> None:
        """Hang."""
        go.wait(10)

    @toolbox.add
    def quick() -> str:
        """Answer at once."""
        return "here"

    assert STUCK_MAX < THREADS_MAX
    try:
        for _ in range(STUCK_MAX):
            with trio.move_on_after(8):
                await toolbox.run("hang", "{}")
        began_s = trio.current_time()
        with pytest.raises(Exception, match=STUCK):
            await toolbox.run("hang", "{}")

        assert trio.current_time() == began_s
        assert toolbox._threads.borrowed_tokens == STUCK_MAX
    finally:
        go.set()
    while toolbox._threads.borrowed_tokens:  # noqa: ASYNC110 - a thread tells nobody.
        await trio.sleep(0.001)


@attrs.define(eq=False)
class Watch:
    """Notes how long things took: a frame of the caller's to the session, the agent's next frame
    to the carrier, and a barge-in from the caller's voice to the carrier's buffer."""

    taken_ms: list[int] = attrs.field(factory=list)
    waits_ms: list[int] = attrs.field(factory=list)
    apart_ms: list[int] = attrs.field(factory=list)
    cuts_ms: list[int] = attrs.field(factory=list)
    _played_ms: int = 0
    _spoke_ms: int = 0

    def note(self, at_ms: int, message: object) -> None:
        match message:
            case CallerAudio():
                self.taken_ms.append(at_ms)
            case AppendAudio():
                self.waits_ms += [at_ms - taken_ms for taken_ms in self.taken_ms]
                self.taken_ms.clear()
            case Play():
                self.apart_ms.append(at_ms - self._played_ms)
                self._played_ms = at_ms
            case SpeechStarted():
                self._spoke_ms = at_ms
            case Clear():
                self.cuts_ms.append(at_ms - self._spoke_ms)
            case _:
                pass


def everything_bad() -> Toolbox:
    """Tools that do all of it, and one that only answers."""
    toolbox = Toolbox()

    @toolbox.add
    async def hang() -> None:
        """Never answer."""
        await trio.sleep_forever()

    @toolbox.add
    async def stubborn() -> None:
        """Ignore what it is told for a while."""
        with trio.move_on_after(9, shield=True):
            await trio.sleep_forever()

    @toolbox.add
    async def fail() -> None:
        """Raise."""
        await trio.sleep(1)
        raise Stop

    @toolbox.add
    async def flood(kind: str) -> object:
        """Return far too much."""
        await trio.sleep(0.7)
        return RESULTS[kind]

    @toolbox.add
    async def quick() -> str:
        """Answer when all the others have."""
        await trio.sleep(8)
        return "done"

    return toolbox


BAD = [
    "{name: hang, arguments: {}}",
    "{name: stubborn, arguments: {}}",
    "{name: fail, arguments: {}}",
    *(f"{{name: flood, arguments: {{kind: {kind}}}}}" for kind in RESULTS),
]


async def test_neither_frames_nor_a_barge_in_are_delayed_by_tools_of_any_kind(
    autojump_clock: trio.abc.Clock,
) -> None:
    """The same call with one tool that behaves and with ten that do not: the same line."""
    say = "One moment please, I am looking it up in the great book of everything there is."
    after = '  - {wait: agent_speaking, after_ms: 1500, say: "Hey you, what is that?"}\n'
    lines = []
    for calls in ([], BAD):
        watch = Watch()
        text = scenario("{name: quick, arguments: {}}", *calls, say=say, after=after)
        one = world(text, toolbox=everything_bad(), observer=watch.note)
        await play(one)
        assert len(one.record.tool_calls) == len(calls) + 1
        assert one.model.errors == []
        # Between two answers there is nothing to play, and so no delay.
        apart_ms = [ms for ms in watch.apart_ms if ms < 200]
        assert len(watch.waits_ms) > 500
        assert len(apart_ms) > 50
        lines.append((p99(watch.waits_ms), max(watch.waits_ms), p99(apart_ms), watch.cuts_ms))

    assert lines[0] == lines[1]
    assert lines[0] == (0, 0, 40, [0])


def p99(numbers: list[int]) -> int:
    return sorted(numbers)[len(numbers) * 99 // 100]


async def test_every_bad_tool_of_a_call_is_answered_once(autojump_clock: trio.abc.Clock) -> None:
    one = world(scenario(*BAD), toolbox=everything_bad())
    await play(one)

    assert sum(map(len, outputs(one).values())) == len(BAD)
    assert one.model.unanswered == []
    assert all(len(answer) <= OUTPUT_MAX_CHARS for answer in answers(one))
    assert purposes(one) == ["greeting", "tools"]
