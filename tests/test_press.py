"""Keys that the agent sends: the stream is left, and another is opened into the same call.

Whole calls in virtual time, from the first webhook to the last, with the rehearsal's own Twilio.
"""

from __future__ import annotations

from itertools import pairwise

import attrs
import pytest
import trio
from structlog.testing import capture_logs

from actors.errors import CarrierRefused
from actors.exits import CallerHungUp, PeerLost
from actors.messages import Clear, KeyPressed, Mark, MarkEchoed, Play, StreamLeft, StreamMoved
from actors.ports import Carrier
from actors.wire.twilio import Start
from gateway.app import create_app
from gateway.configuration.config import Config, Secret, ServerSettings, TwilioSettings
from gateway.lab.rehearsing.rehearse import rehearse
from gateway.lab.rehearsing.scenario import Scenario, Step, parse
from gateway.lab.twilio.phone import place_call
from gateway.lab.twilio.twilio_api import ApiFault, TwilioApi
from gateway.lab.twilio.twiml_reader import ConnectStream, Hangup, PlayDigits
from gateway.records.tap import HIDDEN, Content, Place
from gateway.twilio.line_time import LineTime
from gateway.twilio.phone_line import PhoneLine
from gateway.twilio.twilio_rest import MOVE_TRY_S
from tests.doors import serving
from tests.moving import ACCOUNT_SID, BYE, PASSWORD, STAYS, Agent, Reader, placed, silent, stage


async def press_twice(carrier: Carrier, reader: Reader) -> None:
    await carrier.press("1w2#")
    await trio.sleep(1)
    await carrier.press("*")
    await trio.sleep(1)


async def test_keys_reach_the_far_end_and_the_call_goes_on_on_another_stream(
    autojump_clock: trio.abc.Clock,
) -> None:
    agent = Agent(press_twice)
    async with stage(agent.run_call) as found:
        report = await placed(found, found.phone(*STAYS))

    assert report.problem is None
    assert report.pressed_by_agent == "12#*"
    assert len(set(report.stream_sids)) == 3
    assert agent.reader.names == ["StreamLeft", "StreamMoved"] * 2
    moved = [fact.stream_sid for fact in agent.reader.facts if isinstance(fact, StreamMoved)]
    assert tuple(moved) == report.stream_sids[1:]
    assert [type(verb) for verb in report.verbs] == [
        *(ConnectStream, PlayDigits, ConnectStream, PlayDigits, ConnectStream, Hangup),
    ]
    assert agent.exits == [BYE]
    assert not report.warnings


async def test_the_callers_audio_goes_on_on_one_clock_and_nothing_but_the_gap_is_lost(
    autojump_clock: trio.abc.Clock,
) -> None:
    agent = Agent(press_twice)
    async with stage(agent.run_call) as found:
        await placed(found, found.phone(*STAYS))

    audio = agent.reader.audio
    lines = [frame.line_ms for _, frame in audio]
    gaps = [after - before for before, after in pairwise(lines)]
    assert lines == sorted(lines)
    assert len([gap for gap in gaps if gap != 20]) == 2
    for at_s, frame in audio:
        # On our clock, every frame lies where it came: the network here delays all alike.
        assert at_s * 1000 - frame.line_ms == pytest.approx(audio[0][0] * 1000 - lines[0], abs=2)


async def test_without_rest_the_agent_is_told_which_setting_is_missing(
    autojump_clock: trio.abc.Clock,
) -> None:
    agent = Agent(press_twice)
    async with stage(agent.run_call, rest=False) as found:
        report = await placed(found, found.phone(*STAYS))

    (refusal,) = agent.refusals
    assert "TWILIO_ACCOUNT_SID" in refusal
    assert agent.reader.names == []
    assert report.problem is None


@pytest.mark.parametrize("digits", ["", "12x", "a", "1 2", "1" * 65, "\uff11"])
async def test_what_is_no_key_is_refused(digits: str, autojump_clock: trio.abc.Clock) -> None:
    async def do(carrier: Carrier, reader: Reader) -> None:
        await carrier.press(digits)

    agent = Agent(do)
    async with stage(agent.run_call) as found:
        await placed(found, found.phone(*STAYS))

    assert len(agent.refusals) == 1
    assert found.api.requests == []


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        pytest.param(ApiFault(401, 20003), "20003", id="credentials"),
        pytest.param(ApiFault(400, 21218), "21218", id="document"),
        pytest.param(ApiFault(403, None), "HTTP 403", id="no-code"),
        pytest.param(ApiFault(503, None), "in time", id="server-error-and-nothing-done"),
        pytest.param(ApiFault(0, None), "in time", id="no-answer-and-nothing-done"),
    ],
)
async def test_a_redirect_that_fails_leaves_the_call_where_it_was(
    fault: ApiFault, words: str, autojump_clock: trio.abc.Clock
) -> None:
    agent = Agent(press_twice)
    async with stage(agent.run_call) as found:
        found.api.faults.append(fault)
        report = await placed(found, found.phone(*STAYS))

    assert words in agent.refusals[0]
    assert agent.reader.names == ["StreamLeft", "StreamMoved"]
    assert len(report.stream_sids) == 1
    assert agent.exits == [BYE]
    lines = [frame.line_ms for _, frame in agent.reader.audio]
    assert all(after - before == 20 for before, after in pairwise(lines))


@pytest.mark.parametrize("status", [503, 0])
async def test_a_redirect_that_was_obeyed_without_an_answer_is_noticed(
    status: int, autojump_clock: trio.abc.Clock
) -> None:
    """Asking again would press the keys twice."""
    agent = Agent(press_twice)
    async with stage(agent.run_call) as found:
        found.api.faults.append(ApiFault(status, obeyed=True))
        report = await placed(found, found.phone(*STAYS))

    assert agent.refusals == []
    assert report.pressed_by_agent == "12#*"
    assert agent.reader.names == ["StreamLeft", "StreamMoved"] * 2


async def test_keys_that_take_long_are_waited_for_also_when_nobody_answered(
    autojump_clock: trio.abc.Clock,
) -> None:
    """That the old stream has stopped shows that the carrier was heard."""

    async def press(carrier: Carrier, reader: Reader) -> None:
        await carrier.press("1" + "w" * 20 + "2")
        await trio.sleep(1)

    agent = Agent(press)
    async with stage(agent.run_call) as found:
        # Done half-way to the answer: right before nobody waits for that any more, so that the
        # stream stops behind it.
        found.api.answer_s = 2 * (MOVE_TRY_S - 0.01)
        report = await placed(found, found.phone(*STAYS))

    assert agent.exits == [BYE]
    assert report.pressed_by_agent == "12"


async def test_a_redirect_that_fails_on_a_stream_that_broke_meanwhile_ends_the_call_at_once(
    autojump_clock: trio.abc.Clock,
) -> None:
    agent = Agent(press_twice)
    async with stage(agent.run_call) as found, trio.open_nursery() as nursery:
        found.wants_notices = False
        found.api.answer_s = 1.0
        found.api.faults.append(ApiFault(401, 20003))

        async def break_it() -> None:
            while not (agent.readers and agent.reader.facts):  # noqa: ASYNC110 (no event)
                await trio.sleep(0.01)
            found.sockets[0].abort()
            broke_s.append(trio.current_time())

        broke_s: list[float] = []
        nursery.start_soon(break_it)
        await placed(found, found.phone(*STAYS))

    (why,) = agent.exits
    assert isinstance(why, PeerLost)
    assert agent.ended_s[0] - broke_s[0] < 1.25


async def test_too_many_requests_are_asked_again(autojump_clock: trio.abc.Clock) -> None:
    agent = Agent(press_twice)
    async with stage(agent.run_call) as found:
        found.api.faults.append(ApiFault(429, 20429))
        report = await placed(found, found.phone(*STAYS))

    assert report.pressed_by_agent == "12#*"
    assert [request.status for request in found.api.requests] == [429, 200, 200]


@pytest.mark.parametrize("notices", [True, False])
async def test_a_stream_that_never_comes_again_ends_the_call(
    notices: bool, autojump_clock: trio.abc.Clock
) -> None:
    agent = Agent(press_twice)
    async with stage(agent.run_call) as found:
        found.wants_notices = notices

        async def nobody_listens(carrier: Carrier, reader: Reader) -> None:
            found.refuse_streams = True
            await carrier.press("1")

        agent.do = nobody_listens
        began_s = trio.current_time()
        report = await placed(found, found.phone(*STAYS))

    (why,) = agent.exits
    assert isinstance(why, PeerLost)
    assert why.peer == "carrier"
    assert agent.ended_s[0] - began_s < 13
    assert report.problem is not None
    assert "could not be opened" in report.problem


@pytest.mark.parametrize("at_ms", range(0, 1600, 200))
@pytest.mark.parametrize("notices", [True, False])
async def test_a_caller_who_hangs_up_meanwhile_ends_the_call(
    at_ms: int, notices: bool, autojump_clock: trio.abc.Clock
) -> None:
    """In every phase of it: asked, stopped, pressing, connecting, back."""
    agent = Agent(press_twice)
    async with stage(agent.run_call) as found:
        found.wants_notices = notices
        phone = found.phone(*STAYS)

        async def hang_up(carrier: Carrier, reader: Reader) -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(carrier.press, "12")
                await trio.sleep(at_ms / 1000)
                phone.hang_up()
                hung_up_s.append(trio.current_time())
                await trio.sleep_forever()

        hung_up_s: list[float] = []
        agent.do = hang_up
        report = await placed(found, phone)

    (why,) = agent.exits
    assert report.ended == "caller_hung_up"
    took_s = agent.ended_s[0] - hung_up_s[0]
    if notices:
        assert why == CallerHungUp()
        assert took_s < 0.25
    else:
        # Nobody says so while there is no stream: then it takes as long as a stream may.
        assert took_s < 11
        assert isinstance(why, CallerHungUp | PeerLost)


@pytest.mark.parametrize("at_ms", range(0, 1600, 200))
async def test_a_call_that_ends_meanwhile_is_gone_at_once(
    at_ms: int, autojump_clock: trio.abc.Clock
) -> None:
    agent = Agent(press_twice)
    async with stage(agent.run_call) as found:

        async def give_up(carrier: Carrier, reader: Reader) -> None:
            with trio.move_on_after(at_ms / 1000):
                await carrier.press("12")
                await trio.sleep_forever()
            gave_up_s.append(trio.current_time())

        gave_up_s: list[float] = []
        agent.do = give_up
        await placed(found, found.phone(*STAYS))

    assert agent.exits == [BYE]
    assert agent.ended_s[0] - gave_up_s[0] < 0.25


@pytest.mark.parametrize("after_ms", [10, 80, 140, 300, 700])
async def test_a_press_that_is_cancelled_leaves_a_call_that_goes_on(
    after_ms: int, autojump_clock: trio.abc.Clock
) -> None:
    """As by a tool that ran out of time: whether the keys were sent or not."""

    async def do(carrier: Carrier, reader: Reader) -> None:
        with trio.move_on_after(after_ms / 1000):
            await carrier.press("1")
        await trio.sleep(5)
        await carrier.send(Mark("still here"))
        await trio.sleep(1)

    agent = Agent(do)
    async with stage(agent.run_call) as found:
        report = await placed(found, found.phone(*STAYS))

    assert agent.reader.names == ["StreamLeft", "StreamMoved", "MarkEchoed"]
    assert report.pressed_by_agent == ("1" if after_ms > 75 else "")
    assert len(report.stream_sids) == 1 + (after_ms > 75)
    assert report.problem is None


async def test_orders_and_echoes_of_the_old_stream_are_ignored(
    autojump_clock: trio.abc.Clock,
) -> None:
    async def do(carrier: Carrier, reader: Reader) -> None:
        await carrier.send(Play(bytes(8000)))
        await carrier.send(Mark("old"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(carrier.press, "1")
            for _ in range(40):
                await trio.sleep(0.05)
                await carrier.send(Play(bytes(160)))
                await carrier.send(Clear())
        await carrier.send(Mark("new"))
        await trio.sleep(1)

    agent = Agent(do)
    async with stage(agent.run_call) as found:
        report = await placed(found, found.phone(*STAYS))

    assert report.warnings == ()
    marks = [fact.name for fact in agent.reader.facts if isinstance(fact, MarkEchoed)]
    assert marks == ["new"]
    assert agent.reader.facts[0] == StreamLeft()


async def test_a_second_press_waits_for_its_turn_no_longer_than_it_takes_to_say_no(
    autojump_clock: trio.abc.Clock,
) -> None:
    async def do(carrier: Carrier, reader: Reader) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(carrier.press, "1")
            await trio.sleep(0.2)
            with pytest.raises(CarrierRefused, match="already"):
                await carrier.press("2")
        await trio.sleep(0.5)

    agent = Agent(do)
    async with stage(agent.run_call) as found:
        report = await placed(found, found.phone(*STAYS))

    assert report.pressed_by_agent == "1"


async def test_a_token_that_was_used_opens_no_other_stream(autojump_clock: trio.abc.Clock) -> None:
    """Neither the first one nor that of a stream which came later."""

    async def do(carrier: Carrier, reader: Reader) -> None:
        await carrier.press("1")
        verbs = [verb for verb in phone.report.verbs if isinstance(verb, ConnectStream)]
        for verb in verbs:
            assert found.calls.answer(_start(phone.call_sid, dict(verb.parameters)["token"])) == (
                "the token is used" if verb is verbs[0] else "the token is foreign"
            )

    agent = Agent(do)
    async with stage(agent.run_call) as found:
        phone = found.phone(*STAYS)
        report = await placed(found, phone)

    assert agent.exits == [BYE]
    assert report.problem is None


def _start(call_sid: str, token: str) -> Start:
    return Start("MZ9", ACCOUNT_SID, call_sid, "audio/x-mulaw", 8000, 1, (("token", token),))


WHOLE = """
name: test
agent: {opening: caller, phone_menus: true}
model:
  answers:
    - items: [{call: {name: send_dtmf, arguments: {digits: "1"}}}]
    - items: [{say: "A very long answer that goes on and on and on, without an end."}]
    - items: [{say: "Yes?"}, {call: {name: hangup, arguments: {reason: done}}}]
caller:
  - {wait_ms: 500, say: "Press one, please."}
  - {wait: key}
  - {wait: agent_speaking, after_ms: AFTER, say: "Stop, stop."}
  - {wait: call_end}
"""


@pytest.mark.parametrize("after_ms", [100, 300, 1000, 1730])
def test_a_barge_in_right_behind_the_move_is_exact(after_ms: int) -> None:
    """The play head starts anew, and knows nothing of what the old stream was sent."""
    found = rehearse(parse(WHOLE.replace("AFTER", str(after_ms))))

    assert found.complaints == ()
    assert found.record is not None
    assert found.report.pressed_by_agent == "1"
    assert len(found.report.stream_sids) == 2
    ((cut,),) = [barge_in["items"] for barge_in in found.record["barge_ins"]]
    truth_ms = len(found.report.heard[0].ulaw) / 8
    assert cut["heard_ms"] == pytest.approx(truth_ms, abs=20)
    assert found.record["drops"]["caller_ms_skipped"] == 0
    assert found.record["drops"]["line_clock_restarts"] == 0
    assert found.record["drops"]["caller_frames_late"] == 0


@pytest.mark.parametrize("when", [0.7, 1.2, 2.5])
async def test_a_gateway_that_stops_takes_a_moved_call_along(
    when: float, autojump_clock: trio.abc.Clock
) -> None:
    """On its first stream, on none, and on its second."""
    agent = Agent(press_twice)
    async with stage(agent.run_call) as found, trio.open_nursery() as nursery:
        phone = found.phone(*STAYS)
        nursery.start_soon(placed, found, phone)
        await trio.sleep(when)
        found.calls.close()
        await trio.sleep(0.25)
        assert found.handlers == 0

    assert len(agent.exits) == 1


async def test_a_connection_that_is_given_up_ends_its_call_only_while_it_is_needed(
    autojump_clock: trio.abc.Clock,
) -> None:
    """A server may cancel whoever serves a socket: the one of a stream that was left, too."""

    async def do(carrier: Carrier, reader: Reader) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(carrier.press, "1")
            await trio.sleep(0.05)
            line = found.calls.line(phone.call_sid)
            assert isinstance(line, PhoneLine)
            assert not line.is_needed(line._stream)
        assert line.is_needed(line._stream)
        await trio.sleep(0.1)

    agent = Agent(do)
    async with stage(agent.run_call) as found:
        phone = found.phone(*STAYS)
        await placed(found, phone)

    assert agent.reader.names == ["StreamLeft", "StreamMoved"]


async def test_over_real_sockets_keys_reach_the_far_end_too() -> None:
    agent = Agent(press_twice)
    api = TwilioApi(ACCOUNT_SID, PASSWORD, answer_s=0.02)
    with capture_logs():
        async with serving(api) as rest:
            config = Config(
                server=ServerSettings(public_url="https://gw.example.net"),
                twilio=TwilioSettings(
                    account_sid=ACCOUNT_SID, auth_token=Secret(PASSWORD), api_url=rest.base
                ),
            )
            app = create_app(config, open_session=silent, run_call=agent.run_call)
            async with serving(app) as server:
                with trio.fail_after(15):
                    report = await place_call(
                        server.base,
                        Scenario("test", caller=STAYS),
                        auth_token=PASSWORD,
                        account_sid=ACCOUNT_SID,
                        public_url="https://gw.example.net",
                        api=api,
                        redirect_s=0.05,
                    )

    assert report.problem is None
    assert report.pressed_by_agent == "12#*"
    assert agent.reader.names == ["StreamLeft", "StreamMoved"] * 2
    assert agent.exits == [BYE]
    lines = [frame.line_ms for _, frame in agent.reader.audio]
    assert lines == sorted(lines)


def test_streams_that_each_count_from_zero_lie_on_one_clock() -> None:
    time = LineTime()
    first = [time.place(at_ms, now_ms=1000 + at_ms + 30 * (at_ms == 40)) for at_ms in (20, 40, 60)]
    time.restarts()
    second = [time.place(at_ms, now_ms=2000 + at_ms) for at_ms in (20, 40)]
    time.restarts()
    at_once = time.place(0, now_ms=2041)

    assert first == [20, 40, 60]
    assert second == [1020, 1040]
    assert at_once == 1060


@attrs.define(eq=False)
class Notebook:
    """Stands for a flight log: remembers all it is told, but audio."""

    noted: list[object] = attrs.field(factory=list)
    with_audio: bool = False

    def note(self, place: Place, content: Content) -> None:
        if place == "phone.in" and isinstance(content, list) and content[0] != "media":
            self.noted.append(content)


async def test_the_flight_log_goes_on_from_stream_to_stream_and_keeps_hidden_keys_hidden(
    autojump_clock: trio.abc.Clock,
) -> None:
    """The end of a stream that was left is no end of the call in it."""
    notebook = Notebook()

    async def do(carrier: Carrier, reader: Reader) -> None:
        assert isinstance(carrier, PhoneLine)
        carrier.tap = notebook
        carrier.hide_keys(True)
        await carrier.press("1")
        await trio.sleep(1)
        carrier.hide_keys(False)
        await trio.sleep(2)

    agent = Agent(do)
    steps = (Step(wait_ms=200), Step(wait="key"), Step(press="7"), Step(wait_ms=1500, press="8"))
    async with stage(agent.run_call) as found:
        await placed(found, found.phone(*steps, *STAYS))

    moved = agent.reader.facts[1]
    assert isinstance(moved, StreamMoved)
    assert notebook.noted == [
        ["left"],
        ["parted"],
        ["parted"],
        ["moved", moved.stream_sid],
        ["dtmf", HIDDEN],
        ["dtmf", "8"],
    ]
    assert [fact.digit for fact in agent.reader.facts if isinstance(fact, KeyPressed)] == ["7", "8"]
