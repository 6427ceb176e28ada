"""The caller's keys: told to the model together, given to a tool, or kept from everybody."""

from __future__ import annotations

import base64
import json

import orjson
import pytest
import trio
from structlog.testing import capture_logs

from actors.call import Limits
from actors.control import CallControl
from actors.keypad import KeypadWatch
from actors.lanes import Lane
from actors.messages import (
    ULAW_SILENCE,
    AddText,
    CallerAudio,
    KeyPressed,
    ResponseWanted,
    SessionLost,
    SpeechStarted,
)
from actors.notes import Notes
from actors.policy.ears import Ears
from actors.policy.journal import Journal
from actors.policy.keypad import PAUSE_MS, Keypad
from actors.policy.manners import Manners
from actors.toolbox import Toolbox
from gateway.configuration.agents import AgentSettings
from gateway.lab.world import World
from gateway.records.flight import MemoryFlight
from gateway.records.recording import MemoryRecorder
from gateway.records.store import to_json
from tests.test_call_bargein import events
from tests.test_legs import FACTS
from tests.worlds import at, play, world

TELLS = Manners(tells_keys=True)
PIN = "739146"


def texts(one: World) -> list[tuple[str, str]]:
    """The texts that became part of the conversation, by role."""
    items = [event["item"] for event in events(one, "conversation.item.create")]
    return [
        (item["role"], item["content"][0]["text"]) for item in items if item["type"] == "message"
    ]


def purposes(one: World) -> list[str | None]:
    return [response.purpose for response in one.record.responses]


def outputs(one: World) -> list[object]:
    items = [event["item"] for event in events(one, "conversation.item.create")]
    return [json.loads(item["output"]) for item in items if item["type"] == "function_call_output"]


KEYS = """
model:
  answers:
    - items: [{say: "Press a number."}]
    - items: [{say: "Thank you for that."}]
caller:
  - {wait: agent_quiet, press: "123"}
  - {wait: agent_quiet, quiet_ms: 4000, hang_up: true}
"""


async def test_keys_are_told_together_after_a_pause_and_the_model_speaks_about_them(
    autojump_clock: trio.abc.Clock,
) -> None:
    one = world(KEYS, manners=TELLS)
    await play(one)

    assert texts(one) == [("user", "[The caller pressed 1 2 3 on the keypad.]")]
    assert purposes(one) == ["greeting", "keys"]
    assert one.record.refused_orders == {}
    pressed = [moment for moment in one.record.moments if moment.what == "KeyPressed"]
    (told,) = [moment for moment in one.record.moments if moment.what == "AddText"]
    assert [moment.detail for moment in pressed] == ["1", "2", "3"]
    assert 1500 <= told.at_ms - pressed[-1].at_ms <= 1510


async def test_the_hash_key_ends_them_at_once(autojump_clock: trio.abc.Clock) -> None:
    one = world(KEYS.replace('"123"', '"12#"'), manners=TELLS)
    await play(one)

    assert texts(one) == [("user", "[The caller pressed 1 2 # on the keypad.]")]
    pressed = [moment for moment in one.record.moments if moment.what == "KeyPressed"]
    (told,) = [moment for moment in one.record.moments if moment.what == "AddText"]
    assert told.at_ms - pressed[-1].at_ms <= 1


async def test_a_model_that_is_not_to_know_is_told_nothing(autojump_clock: trio.abc.Clock) -> None:
    """The record has them: whoever reads it may."""
    one = world(KEYS.replace("wait: agent_quiet, quiet_ms: 4000,", "wait_ms: 4000,"))
    await play(one)

    assert texts(one) == []
    assert purposes(one) == ["greeting"]
    assert [moment.what for moment in one.record.moments].count("KeyPressed") == 3


async def test_keys_pressed_while_the_agent_speaks_are_spoken_about_behind_it(
    autojump_clock: trio.abc.Clock,
) -> None:
    one = world(
        """
model:
  answers:
    - items: [{say: "For sales press one, for anything else stay on the line, please."}]
      speed: 1.0
    - items: [{say: "Sales it is."}]
caller:
  - {wait: agent_speaking, after_ms: 500, press: "1"}
  - {wait: agent_quiet, quiet_ms: 3000, hang_up: true}
""",
        manners=TELLS,
    )
    await play(one)

    assert purposes(one) == ["greeting", "keys"]
    assert [said.unheard for said in one.record.transcript] == ["", ""]
    assert one.record.refused_orders == {}


async def test_with_no_turn_detection_the_hash_key_ends_the_turn(
    autojump_clock: trio.abc.Clock,
) -> None:
    one = world(
        """
model:
  answers:
    - items: [{say: "Speak, and press hash."}]
    - items: [{say: "So be it."}]
caller:
  - {wait: agent_quiet, say: "I want to order a pizza."}
  - {wait_ms: 200, press: "#"}
  - {wait: agent_quiet, quiet_ms: 2000, hang_up: true}
""",
        manners=Manners(tells_keys=True, hash_ends_turn=True),
        agent=AgentSettings(turn_detection="none"),
    )
    await play(one)

    assert len(events(one, "input_audio_buffer.commit")) == 1
    assert texts(one) == []
    assert purposes(one) == ["greeting", "turn"]
    assert one.record.refused_orders == {}


ASKS_FOR_A_PIN = """
model:
  answers:
    - items: [{say: "Hello there."}]
    - items: [{say: "Your number, please."}, {call: {name: check_pin, arguments: {}}}]
    - items: [{say: "Thank you, that is right."}]
    - items: [{say: "Unasked."}]
caller:
  - {wait: agent_quiet, say: "My balance, please."}
  - {wait: agent_speaking, after_ms: 1500, press: "739146#"}
  - {wait: agent_quiet, quiet_ms: 4000, hang_up: true}
"""


def pin_box(*, private: bool = True, most: int = 8) -> tuple[Toolbox, list[str]]:
    """A function that asks for a number and does not tell it on."""
    box, given = Toolbox(), list[str]()

    @box.add
    async def check_pin(call: CallControl) -> dict[str, bool]:
        """Ask the caller to type their number, and check it."""
        given.append(await call.collect_digits(most=most, private=private))
        return {"right": True}

    return box, given


async def test_a_tool_is_given_the_keys_and_the_model_only_what_the_tool_says(
    autojump_clock: trio.abc.Clock,
) -> None:
    box, given = pin_box(private=False)
    one = world(ASKS_FOR_A_PIN, manners=TELLS, toolbox=box)
    await play(one)

    assert given == [PIN]
    assert texts(one) == []
    assert outputs(one) == [{"right": True}]
    assert purposes(one) == ["greeting", None, "tools"]
    assert [moment.what for moment in one.record.moments].count("KeyPressed") == len(PIN) + 1


@pytest.mark.parametrize("most", [8, len(PIN)], ids=["ended-by-hash", "ended-by-number"])
@pytest.mark.parametrize("with_audio", [False, True])
async def test_a_private_number_is_in_nothing_that_the_call_leaves_behind(
    autojump_clock: trio.abc.Clock, most: int, with_audio: bool
) -> None:
    """The model, the record, the flight log, the logs, and whoever looks on."""
    box, given = pin_box(most=most)
    flight, seen = MemoryFlight(with_audio=with_audio), list[object]()
    one = world(
        ASKS_FOR_A_PIN,
        manners=TELLS,
        toolbox=box,
        flight=flight,
        observer=lambda _, message: seen.append(message),
    )
    with capture_logs() as logs:
        await play(one)

    assert given == [PIN]
    assert purposes(one) == ["greeting", None, "tools"]  # The `#` behind it is nobody's either.
    assert not [message for message in seen if isinstance(message, KeyPressed)]
    assert not [moment for moment in one.record.moments if moment.what == "KeyPressed"]
    keys = [
        entry.content for entry in flight.read().entries if b"dtmf" in orjson.dumps(entry.content)
    ]
    assert keys == [["dtmf", "hidden"]] * (len(PIN) + 1)
    everything = [
        to_json(one.record),
        orjson.dumps([event for event in one.model.received if "audio" not in event]),
        repr(logs).encode(),
        repr([message for message in seen if not isinstance(message, CallerAudio)]).encode(),
    ]
    assert not [text for text in everything if PIN.encode() in text or b"7 3 9" in text]


async def test_while_a_private_number_is_typed_nobody_hears_the_line(
    autojump_clock: trio.abc.Clock,
) -> None:
    """Some lines carry the tones of the keys as audio."""
    box, _ = pin_box()
    yaml = ASKS_FOR_A_PIN.replace('press: "739146#"', 'say: "Seven, three, nine and so on."')
    recorder, seen = MemoryRecorder(), list[tuple[int, bytes]]()

    def look_on(at_ms: int, message: object) -> None:
        if isinstance(message, CallerAudio):
            seen.append((at_ms, message.ulaw + base64.b64decode(message.payload)))

    one = world(yaml, manners=TELLS, toolbox=box, recorder=recorder, observer=look_on)
    await play(one)

    turns = [said for said in one.record.transcript if said.who == "caller"]
    assert len(turns) == 1
    (run,) = one.record.tool_calls
    assert run.started_ms is not None
    assert run.finished_ms is not None
    caller = recorder.stereo()[:, 0]
    assert caller[: run.started_ms * 8].any()
    assert not caller[(run.started_ms + 100) * 8 : run.finished_ms * 8].any()
    assert one.record.drops["caller_bytes_unheard"] > 0
    begun_ms, done_ms = run.started_ms, run.finished_ms
    heard = [ulaw for at_ms, ulaw in seen if begun_ms + 100 < at_ms < done_ms]
    assert heard
    assert not b"".join(heard).strip(ULAW_SILENCE)
    audio, drops = one.record.audio, one.record.drops
    filled = drops["caller_ms_filled_with_silence"] * 8
    gone = drops["caller_bytes_late"] + drops["caller_bytes_overflowed"]
    assert audio.caller_bytes + filled == (
        audio.appended_bytes + gone + drops["caller_bytes_unsent"]
    )


async def test_after_a_private_number_the_caller_is_heard_and_their_keys_are_told_again(
    autojump_clock: trio.abc.Clock,
) -> None:
    box, given = pin_box()
    flight = MemoryFlight()
    goes_on = """
  - {wait: agent_quiet, quiet_ms: 3000, say: "And one more thing."}
  - {wait: agent_quiet, quiet_ms: 1000, press: "5"}
  - {wait: agent_quiet, quiet_ms: 4000, hang_up: true}
"""
    yaml = ASKS_FOR_A_PIN.replace(
        "  - {wait: agent_quiet, quiet_ms: 4000, hang_up: true}\n", goes_on.lstrip("\n")
    )
    one = world(yaml, manners=TELLS, toolbox=box, flight=flight)
    await play(one)

    assert given == [PIN]
    assert [said.who for said in one.record.transcript].count("caller") == 2
    assert texts(one) == [("user", "[The caller pressed 5 on the keypad.]")]
    keys = [entry.content for entry in flight.read().entries if "dtmf" in str(entry.content)]
    assert keys[-1] == ["dtmf", "5"]


def watch(keypad: Keypad) -> KeypadWatch:
    """The actor alone, and nobody at the other ends of its lanes."""
    return KeypadWatch(
        inbox=Lane("keypad", 10),
        session=Lane("to_session", 10),
        turns=Lane("turns", 10),
        notes=Notes(Journal(FACTS)),
        keypad=keypad,
        hide=lambda _: None,
        ears=Ears(),
    )


async def test_who_spoke_into_a_session_that_was_lost_is_not_waited_for(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    """No session is left to say that they stopped."""
    one = watch(Keypad(tells=True))
    nursery.start_soon(one.run)
    for fact in (SpeechStarted("item_1", 0), SessionLost("1006"), KeyPressed("1")):
        one.inbox.put(fact)
    await trio.sleep(PAUSE_MS / 1000 + 0.1)

    assert one.session.drain() == [AddText("user", "[The caller pressed 1 on the keypad.]")]


async def test_no_response_is_taken_for_the_one_about_keys_but_the_one_asked_for(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    one = watch(Keypad(tells=True))
    nursery.start_soon(one.run)
    for key in ("1", "#", "2", "#"):
        one.inbox.put(KeyPressed(key))
    await trio.sleep(0.1)

    wanted = [fact.about for fact in one.turns.drain() if isinstance(fact, ResponseWanted)]
    assert len(wanted) == len(set(wanted)) == 2
    assert all(wanted)


async def test_waiting_for_keys_does_not_count_as_the_tools_time(
    autojump_clock: trio.abc.Clock,
) -> None:
    box, given = pin_box()
    one = world(ASKS_FOR_A_PIN, manners=TELLS, toolbox=box, limits=Limits(tool_s=0.5))
    await play(one)

    assert given == [PIN]
    assert [run.outcome for run in one.record.tool_calls] == ["returned"]


async def test_a_caller_who_types_nothing_costs_the_first_wait_and_no_more(
    autojump_clock: trio.abc.Clock,
) -> None:
    box, given = pin_box()
    yaml = ASKS_FOR_A_PIN.replace(', press: "739146#"', "")
    one = world(yaml, manners=TELLS, toolbox=box)
    await play(one)

    assert given == [""]
    (run,) = one.record.tool_calls
    assert run.started_ms is not None
    assert run.finished_ms is not None
    assert 10_000 <= run.finished_ms - run.started_ms <= 10_010


async def test_two_tools_that_want_keys_at_once_do_not_share_them(
    autojump_clock: trio.abc.Clock,
) -> None:
    box, given = pin_box()
    call = "{call: {name: check_pin, arguments: {}}}"
    one = world(ASKS_FOR_A_PIN.replace(call, f"{call}, {call}"), manners=TELLS, toolbox=box)
    await play(one)

    assert given == [PIN]
    assert sorted(str(run.outcome) for run in one.record.tool_calls) == ["refused", "returned"]


async def test_a_call_that_ends_while_a_tool_waits_for_keys_ends_in_time(
    autojump_clock: trio.abc.Clock,
) -> None:
    box, given = pin_box()
    one = world(ASKS_FOR_A_PIN.replace('press: "739146#"', 'press: "73"'), toolbox=box)

    async def leave(one: World) -> None:
        await trio.lowlevel.checkpoint()
        one.call_scope.cancel()

    await play(one, at(6, leave))

    assert given == []
    assert [run.outcome for run in one.record.tool_calls] == [None]
