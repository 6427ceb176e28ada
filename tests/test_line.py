from __future__ import annotations

import base64
import json
import math
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.lab.rehearsing.scenario import Step
from gateway.lab.twilio.line import KEY_MS, RehearsalLine
from gateway.lab.twilio.line_facts import Cut, LineEnded, LineFact, Pressed, Said, Warned
from gateway.lab.twilio.run_line import MEDIA_OVERFLOW, READ_OUT_S, SEND_LIMIT_S, run_line
from gateway.lab.twilio.stream_rules import StreamFault, read_order

STREAM = "MZ" + "0" * 32
SECOND = bytes(8000)
QUARTER = bytes(2000)

Message = dict[str, Any]


def a_line(*steps: Step, speech_bytes: int = 1600) -> RehearsalLine:
    """A caller whose every line sounds for `speech_bytes`, 200 ms unless told otherwise."""
    return RehearsalLine(
        steps=steps,
        call_sid="CA1",
        account_sid="AC1",
        stream_sid=STREAM,
        voice=lambda text: text[:1].encode() * speech_bytes,
        parameters={"token": "secret"},
    )


def an_open_line(*steps: Step, speech_bytes: int = 1600) -> RehearsalLine:
    line = a_line(*steps, speech_bytes=speech_bytes)
    line.open(0)
    line.take()
    return line


def taken(line: RehearsalLine) -> list[Message]:
    return [json.loads(text) for text in line.take()]


def run(line: RehearsalLine, until_ms: int) -> list[Message]:
    """Tick whenever the line asks for it, as a punctual shell would."""
    messages = taken(line)
    while (wake_ms := line.next_wake_ms()) is not None and wake_ms <= until_ms:
        line.tick(wake_ms)
        messages += taken(line)
    line.tick(until_ms)
    return messages + taken(line)


def media(ulaw: bytes, stream_sid: str = STREAM) -> str:
    payload = base64.b64encode(ulaw).decode()
    return json.dumps({"event": "media", "streamSid": stream_sid, "media": {"payload": payload}})


def mark(name: str) -> str:
    return json.dumps({"event": "mark", "streamSid": STREAM, "mark": {"name": name}})


CLEAR = json.dumps({"event": "clear", "streamSid": STREAM})


def of(messages: list[Message], event: str) -> list[Message]:
    return [message for message in messages if message["event"] == event]


def voice_of(messages: list[Message]) -> bytes:
    payloads = [message["media"]["payload"] for message in of(messages, "media")]
    return b"".join(map(base64.b64decode, payloads))


def facts_of(line: RehearsalLine, kind: type[LineFact]) -> list[LineFact]:
    return [fact for fact in line.facts if isinstance(fact, kind)]


# What Twilio says.


def test_the_stream_begins_with_connected_and_start() -> None:
    line = a_line()
    line.open(0)

    assert taken(line) == [
        {"event": "connected", "protocol": "Call", "version": "1.0.0"},
        {
            "event": "start",
            "sequenceNumber": "1",
            "streamSid": STREAM,
            "start": {
                "streamSid": STREAM,
                "accountSid": "AC1",
                "callSid": "CA1",
                "tracks": ["inbound"],
                "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
                "customParameters": {"token": "secret"},
            },
        },
    ]


def test_a_silent_caller_sends_silence_every_20_ms_with_numbers_as_strings() -> None:
    first, second = run(an_open_line(), 59)

    silence = base64.b64encode(b"\xff" * 160).decode()
    frame = {"track": "inbound", "chunk": "1", "timestamp": "20", "payload": silence}
    assert first == {"event": "media", "sequenceNumber": "2", "streamSid": STREAM, "media": frame}
    assert second["sequenceNumber"] == "3"
    assert (second["media"]["chunk"], second["media"]["timestamp"]) == ("2", "40")


def test_a_late_tick_makes_up_for_the_frames_it_missed() -> None:
    line = an_open_line()
    line.tick(1000)

    assert [m["media"]["chunk"] for m in taken(line)] == [str(n) for n in range(1, 51)]
    assert line.next_wake_ms() == 1020


def test_speech_fills_whole_frames_and_its_last_one_ends_in_silence() -> None:
    line = an_open_line(Step(wait_ms=40, say="hello"), speech_bytes=200)
    voice = voice_of(run(line, 120))

    assert voice == b"\xff" * 320 + b"h" * 200 + b"\xff" * 120 + b"\xff" * 320
    assert facts_of(line, Said) == [Said("hello", 40, 80)]


def test_speech_that_begins_within_a_frame_waits_for_the_next() -> None:
    line = an_open_line(Step(wait_ms=45, say="hello"))
    voice = voice_of(run(line, 300))

    assert facts_of(line, Said) == [Said("hello", 60, 260)]
    assert voice.index(b"h") == 60 * 8


def test_keys_are_pressed_one_after_the_other() -> None:
    line = an_open_line(Step(wait_ms=100, press="5#"), Step(wait_ms=50, hang_up=True))
    messages = run(line, 1000)

    digits = [message["dtmf"] for message in of(messages, "dtmf")]
    assert digits == [{"track": "inbound_track", "digit": key} for key in "5#"]
    assert facts_of(line, Pressed) == [Pressed("5", 100), Pressed("#", 100 + KEY_MS)]
    assert facts_of(line, LineEnded) == [LineEnded(150 + KEY_MS, "caller_hung_up", 0)]


def test_hanging_up_says_stop_and_nothing_after_it() -> None:
    line = an_open_line(Step(wait_ms=50, hang_up=True))
    messages = run(line, 1000)

    assert messages[-1]["event"] == "stop"
    assert messages[-1]["stop"] == {"accountSid": "AC1", "callSid": "CA1"}
    assert [m["sequenceNumber"] for m in messages] == ["2", "3", "4"]
    assert line.done
    assert line.next_wake_ms() is None
    line.receive(mark("late"), 1100)
    line.hang_up(1200)
    assert line.take() == []


def test_every_message_is_numbered_without_a_gap() -> None:
    line = an_open_line(Step(press="1"), Step(wait_ms=300, say="hello"), Step(hang_up=True))
    line.receive(mark("m"), 5)
    numbers = [int(message["sequenceNumber"]) for message in run(line, 2000)]

    assert numbers == list(range(2, 2 + len(numbers)))


# Playout and marks.


def test_a_mark_comes_back_to_the_millisecond_when_its_audio_was_played() -> None:
    line = an_open_line()
    line.receive(media(QUARTER), 7)
    line.receive(mark("one"), 7)
    line.receive(media(QUARTER), 9)
    line.receive(mark("two"), 9)

    assert of(run(line, 256), "mark") == []
    (one,) = of(run(line, 257), "mark")
    assert (one["mark"], one["streamSid"]) == ({"name": "one"}, STREAM)
    assert [m["mark"]["name"] for m in of(run(line, 507), "mark")] == ["two"]
    assert [(m.queued_ms, m.echoed_ms, m.flushed) for m in line.marks] == [
        (7, 257, False),
        (9, 507, False),
    ]


def test_a_mark_in_an_empty_buffer_comes_straight_back() -> None:
    line = an_open_line()
    line.receive(mark("probe"), 13)

    assert [m["mark"]["name"] for m in taken(line)] == ["probe"]


def test_clear_brings_every_mark_back_at_once_in_order_and_flushed() -> None:
    line = an_open_line()
    for number in range(3):
        line.receive(media(SECOND), 0)
        line.receive(mark(f"m{number}"), 0)
    run(line, 1499)
    line.receive(CLEAR, 1500)

    assert [m["mark"]["name"] for m in of(taken(line), "mark")] == ["m1", "m2"]
    assert [m.flushed for m in line.marks] == [False, True, True]
    assert facts_of(line, Cut) == [Cut(1500, cleared_bytes=12000, marks=2)]
    assert line.heard_ms() == 1500


def test_heard_is_what_was_played_until_now_with_its_times() -> None:
    line = an_open_line()
    line.receive(media(b"a" * 800), 30)
    line.receive(media(b"b" * 800), 300)
    line.tick(350)

    first, second = line.heard()
    assert (first.at_ms, first.end_ms, first.ulaw) == (30, 130, b"a" * 800)
    assert (second.at_ms, second.ulaw) == (300, b"b" * 400)


def test_what_is_unplayed_when_the_stream_ends_was_never_heard() -> None:
    line = an_open_line()
    line.receive(media(SECOND), 0)
    line.receive(mark("goodbye"), 0)
    line.closed(400)
    line.tick(5000)

    assert line.heard_ms() == 400
    assert line.marks[0].echoed_ms is None
    assert facts_of(line, LineEnded) == [LineEnded(400, "closed_by_server", 600 * 8)]


# The caller's script.


def test_a_caller_waits_until_the_agent_spoke_and_then_fell_quiet() -> None:
    line = an_open_line(Step(wait="agent_quiet", quiet_ms=500, say="hi"))
    run(line, 3000)
    assert facts_of(line, Said) == []

    line.receive(media(SECOND), 3000)
    line.receive(media(SECOND), 4200)
    run(line, 9000)

    assert facts_of(line, Said) == [Said("hi", 5700, 5900)]


def test_what_was_said_before_a_step_does_not_count_for_it() -> None:
    quiet = Step(wait="agent_quiet", quiet_ms=100, say="hi")
    line = an_open_line(quiet, quiet)
    line.receive(media(SECOND), 0)
    run(line, 5000)
    assert len(facts_of(line, Said)) == 1

    line.receive(media(SECOND), 5000)
    run(line, 9000)

    assert facts_of(line, Said)[1] == Said("hi", 6100, 6300)


def test_a_caller_barges_in_so_long_after_the_agent_began() -> None:
    line = an_open_line(Step(wait="agent_speaking", after_ms=1500, say="stop"))
    for at_ms in (2000, 3000, 3600):  # With a gap in between, which does not start the count anew.
        line.receive(media(QUARTER * 2), at_ms)
    run(line, 5000)

    assert facts_of(line, Said) == [Said("stop", 3500, 3700)]


def test_an_agent_that_was_cut_off_has_not_answered_yet() -> None:
    line = an_open_line(
        Step(wait="agent_speaking", after_ms=1000, say="no"),
        Step(wait="agent_quiet", quiet_ms=200, say="thanks"),
    )
    line.receive(media(SECOND * 5), 0)
    run(line, 1299)
    line.receive(CLEAR, 1300)  # A reflex later than the whole of a short word.
    run(line, 4000)
    assert len(facts_of(line, Said)) == 1

    line.receive(media(SECOND), 4000)
    run(line, 6000)

    assert facts_of(line, Said)[1] == Said("thanks", 5200, 5400)


def test_a_caller_who_waits_for_the_end_of_the_call_does_nothing_more() -> None:
    line = an_open_line(Step(wait="call_end"))
    line.receive(media(SECOND), 0)
    messages = run(line, 10_000)

    assert {message["event"] for message in messages} == {"media"}
    assert line.steps_left == 0


def test_steps_that_were_never_reached_are_counted() -> None:
    line = an_open_line(
        Step(wait_ms=10, press="1"),
        Step(wait="agent_quiet", say="hi"),
        Step(wait="agent_quiet", hang_up=True),
        Step(wait="call_end"),
    )
    run(line, 100)
    line.closed(100)

    assert line.steps_left == 2


# As strict as Twilio.

BAD_FRAMES = [
    pytest.param(b"{}", 31950, "a binary frame", id="binary"),
    pytest.param("{", 31951, "not JSON", id="cut-json"),
    pytest.param("", 31951, "not JSON", id="empty"),
    pytest.param("[" * 5000, 31951, "not JSON", id="deep"),
    pytest.param("[]", 31951, "not a JSON object", id="list"),
    pytest.param('{"event": NaN}', 31951, "not JSON", id="nan"),
    pytest.param("{}", 31951, "event is missing or not a string", id="no-event"),
    pytest.param('{"event": 7}', 31951, "event is missing or not a string", id="event-number"),
    pytest.param('{"event": "hangup"}', 31951, "unknown event 'hangup'", id="unknown-event"),
    pytest.param('{"event": "clear"}', 31951, "message lacks streamSid", id="no-sid"),
    pytest.param(media(b"a", "MZother"), 31951, "streamSid is not this stream's", id="stale-sid"),
    pytest.param(
        json.dumps({"event": "clear", "streamSid": STREAM, "why": 1}),
        31951,
        "message has an extra 'why'",
        id="extra",
    ),
    pytest.param(
        json.dumps({"event": "media", "streamSid": STREAM}),
        31951,
        "message lacks media",
        id="no-media",
    ),
    pytest.param(
        json.dumps({"event": "media", "streamSid": STREAM, "media": "AAAA"}),
        31951,
        "media is not an object",
        id="media-text",
    ),
    pytest.param(
        json.dumps({"event": "media", "streamSid": STREAM, "media": {}}),
        31951,
        "media lacks payload",
        id="no-payload",
    ),
    pytest.param(
        json.dumps(
            {
                "event": "media",
                "streamSid": STREAM,
                "media": {"payload": "AAAA", "track": "outbound"},
            }
        ),
        31951,
        "media has an extra 'track'",
        id="track",
    ),
    *(
        pytest.param(
            json.dumps({"event": "media", "streamSid": STREAM, "media": {"payload": payload}}),
            31951,
            what,
            id=f"payload-{name}",
        )
        for name, payload, what in [
            ("number", 7, "media.payload is not a string"),
            ("letters", "A-_A", "media.payload is not base64"),
            ("padding", "AAA", "media.payload is not base64"),
            ("newline", "AAAA\n", "media.payload is not base64"),
            ("umlaut", "ÄAAA", "media.payload is not base64"),
            ("empty", "", "media.payload is empty"),
        ]
    ),
    *(
        pytest.param(
            json.dumps({"event": "mark", "streamSid": STREAM, "mark": body}),
            31951,
            what,
            id=f"mark-{name}",
        )
        for name, body, what in [
            ("nameless", {}, "mark lacks name"),
            ("empty", {"name": ""}, "mark.name is not a string with content"),
            ("number", {"name": 7}, "mark.name is not a string with content"),
            ("extra", {"name": "m", "x": 1}, "mark has an extra 'x'"),
        ]
    ),
]


@pytest.mark.parametrize(("frame", "code", "what"), BAD_FRAMES)
def test_what_twilio_drops_is_dropped_with_its_warning(
    frame: str | bytes, code: int, what: str
) -> None:
    line = an_open_line()
    line.receive(frame, 10)

    assert line.facts == [Warned(10, code, what)]
    assert line.playout.received_bytes == 0
    assert line.take() == []
    assert not line.done


@settings(deadline=None)
@given(st.text() | st.binary())
def test_no_frame_brings_anything_but_a_warning(frame: str | bytes) -> None:
    with pytest.raises(StreamFault):
        read_order(frame, STREAM)


json_value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@settings(deadline=None)
@given(
    st.fixed_dictionaries(
        {"event": st.sampled_from(["media", "mark", "clear"])},
        optional={
            "streamSid": st.just(STREAM) | json_value,
            "media": st.fixed_dictionaries({"payload": st.sampled_from(["AAAA", "A"])})
            | json_value,
            "mark": st.fixed_dictionaries({"name": st.text(max_size=4)}) | json_value,
        },
    )
)
def test_whatever_is_nearly_right_is_taken_or_warned_of(message: Message) -> None:
    line = an_open_line()
    line.receive(json.dumps(message), 10)

    played = line.playout.received_bytes > 0
    assert played + len(line.marks) + len(line.facts) == 1


# The line as a whole.

order = st.one_of(
    st.binary(min_size=1, max_size=3000).map(media),
    st.integers(0, 9).map(lambda number: mark(f"m{number}")),
    st.just(CLEAR),
    st.just("nonsense"),
)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 400), order), max_size=40), st.booleans())
def test_every_mark_comes_back_once_and_in_order_however_late_the_ticks(
    arrivals: list[tuple[int, str]], punctual: bool
) -> None:
    line = an_open_line(Step(wait="agent_quiet", say="hi"), Step(wait_ms=100, press="12"))
    now_ms, messages = 0, []
    queued = [json.loads(frame)["mark"]["name"] for _, frame in arrivals if '"mark"' in frame]
    for pause_ms, frame in arrivals:
        now_ms += pause_ms
        if punctual:
            messages += run(line, now_ms)
        line.receive(frame, now_ms)
    messages += run(line, now_ms + 20_000)

    assert [message["mark"]["name"] for message in of(messages, "mark")] == queued
    assert [m.name for m in line.marks] == queued
    assert all(m.echoed_ms is not None and m.echoed_ms >= m.queued_ms for m in line.marks)
    assert len(of(messages, "media")) == (now_ms + 20_000) // 20
    playout = line.playout
    assert playout.received_bytes == playout.cleared_bytes + line.heard_ms() * 8 + (
        sum(len(heard.ulaw) for heard in line.heard()) % 8
    )


# In virtual time, over channels.


class ChannelServer:
    """Stands for a gateway's end of the stream: two memory channels, and when what came."""

    def __init__(self) -> None:
        self.to_line, self._from_server = trio.open_memory_channel[str](100)
        self._to_server, self.from_line = trio.open_memory_channel[str](0)
        self.came: list[tuple[float, Message]] = []

    async def send_text(self, text: str) -> None:
        await self._to_server.send(text)

    async def receive_text(self) -> str:
        return await self._from_server.receive()

    async def listen(self) -> None:
        began_s = trio.current_time()
        async for text in self.from_line:
            self.came.append((round(trio.current_time() - began_s, 6), json.loads(text)))

    def times(self, event: str) -> list[float]:
        return [at_s for at_s, message in self.came if message["event"] == event]


async def test_frames_leave_on_absolute_deadlines_in_virtual_time(
    autojump_clock: trio.abc.Clock,
) -> None:
    line, server = a_line(Step(wait_ms=1000, hang_up=True)), ChannelServer()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.listen)
        await run_line(line, server.send_text, server.receive_text)
        nursery.cancel_scope.cancel()

    assert server.times("start") == [0]
    # The caller hangs up at 1.0 s, before the frame that would have ended then was sent.
    assert server.times("media") == [pytest.approx(0.02 * n) for n in range(1, 50)]
    assert server.times("stop") == [1.0]


async def test_a_mark_comes_back_on_time_though_the_line_was_asleep(
    autojump_clock: trio.abc.Clock,
) -> None:
    line, server = a_line(Step(wait_ms=2000, hang_up=True)), ChannelServer()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.listen)
        nursery.start_soon(run_line, line, server.send_text, server.receive_text)
        await trio.sleep(0.105)
        for text in (media(QUARTER), mark("m")):
            await server.to_line.send(text)
        await trio.sleep(3)
        nursery.cancel_scope.cancel()

    assert server.times("mark") == [0.355]
    assert line.marks[0].queued_ms == 105


async def test_a_server_that_closes_ends_the_line_at_once(
    autojump_clock: trio.abc.Clock,
) -> None:
    line, server = a_line(), ChannelServer()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.listen)

        async def close_later() -> None:
            await trio.sleep(0.5)
            await server.to_line.aclose()

        nursery.start_soon(close_later)
        await run_line(line, server.send_text, server.receive_text)
        nursery.cancel_scope.cancel()

    assert line.facts == [LineEnded(500, "closed_by_server", 0)]


async def test_what_a_server_said_before_it_stopped_listening_is_still_heard(
    autojump_clock: trio.abc.Clock,
) -> None:
    """A failing send must not overtake messages that had arrived before."""
    line, server = a_line(), ChannelServer()
    await server.from_line.aclose()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_line, line, server.send_text, server.receive_text)
        await server.to_line.send("nonsense")
        await trio.sleep(0.3)
        await server.to_line.send("more nonsense")
        await server.to_line.aclose()

    assert facts_of(line, Warned) == [Warned(0, 31951, "not JSON"), Warned(300, 31951, "not JSON")]
    assert line.facts[-1] == LineEnded(300, "closed_by_server", 0)


async def test_a_server_that_neither_listens_nor_leaves_costs_its_bound(
    autojump_clock: trio.abc.Clock,
) -> None:
    line, server = a_line(), ChannelServer()
    await server.from_line.aclose()
    await run_line(line, server.send_text, server.receive_text)

    assert line.facts == [LineEnded(round(READ_OUT_S * 1000), "closed_by_server", 0)]


async def test_the_phone_hangs_up_when_a_call_takes_too_long(
    autojump_clock: trio.abc.Clock,
) -> None:
    line, server = a_line(Step(wait="call_end")), ChannelServer()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.listen)
        await run_line(line, server.send_text, server.receive_text, limit_s=7.01)
        nursery.cancel_scope.cancel()

    assert server.times("stop") == [7.01]
    assert line.ending == "ended_by_carrier"


async def test_a_server_that_stops_reading_costs_its_bound_and_no_more(
    autojump_clock: trio.abc.Clock,
) -> None:
    """Nobody takes the first message out of a channel that holds none."""
    line, server = a_line(), ChannelServer()
    began_s = trio.current_time()
    await run_line(line, server.send_text, server.receive_text)

    assert trio.current_time() - began_s == pytest.approx(SEND_LIMIT_S)
    assert facts_of(line, Warned) == [
        Warned(math.floor(SEND_LIMIT_S * 1000), MEDIA_OVERFLOW, "the server stopped reading")
    ]
    assert line.ending == "closed_by_server"
