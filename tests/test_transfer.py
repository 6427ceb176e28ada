"""Callers who are connected to somebody else, and come back when nobody answers.

Whole calls in virtual time, from the first webhook to the last, with the rehearsal's own Twilio.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from actors.errors import CarrierRefused
from actors.exits import CallerHungUp, Exit, Killed, PeerLost, TimedOut, Transferred
from actors.ports import Carrier, Transfer, TransferOutcome
from gateway.configuration.agents import AgentSettings
from gateway.lab.rehearsing.rehearse import rehearse
from gateway.lab.rehearsing.scenario import load
from gateway.lab.twilio.callee import Callee
from gateway.lab.twilio.phone import Phone
from gateway.lab.twilio.twilio_api import ApiFault
from gateway.lab.twilio.twiml_reader import ConnectStream, Dial, Hangup, Record, Say
from gateway.twilio.phone_line import LONGEST_WHISPER
from tests.moving import BYE, STAYS, Agent, Reader, placed, stage

TO = Transfer("+4930123456", caller_id="+4930999999", ring_s=20)
WHISPER = Transfer("+4930123456", whisper="A caller with a question about an invoice.", ring_s=20)


class Receptionist(Agent):
    """Stands for the call as it is with tools: a transfer that was answered ends it."""

    def __init__(self, to: Transfer = TO) -> None:
        super().__init__(self.transfer)
        self.to = to
        self.outcomes: list[TransferOutcome] = []
        self.told_s: list[float] = []

    async def transfer(self, carrier: Carrier, reader: Reader) -> None:
        self.outcomes.append(await carrier.transfer(self.to))
        self.told_s.append(trio.current_time())
        if self.outcomes == ["answered"]:
            reader.why = Transferred()
            return
        await trio.sleep(1)


@pytest.mark.parametrize("notices", [True, False])
async def test_a_callee_who_answers_ends_the_call_at_once_and_talks_on(
    notices: bool, autojump_clock: trio.abc.Clock
) -> None:
    agent = Receptionist()
    async with stage(agent.run_call) as found:
        found.wants_notices = notices
        callee = Callee(answers_after_ms=3000, hangs_up_after_ms=60_000)
        report = await placed(found, found.phone(*STAYS, callee=callee))
        ended = await found.calls.how_ended(report.call_sid)

    assert agent.outcomes == ["answered"]
    assert agent.exits == [Transferred()]
    assert ended == Transferred()
    assert agent.ended_s[0] < 8
    (seen,) = report.transfers
    assert (seen.to, seen.caller_id, seen.status, seen.bridged) == (
        *("+4930123456", "+4930999999"),
        *("completed", True),
    )
    assert [type(verb) for verb in report.verbs] == [ConnectStream, Dial, Hangup]
    assert report.problem is None
    assert report.duration_s > 60
    assert agent.reader.names == ["StreamLeft"]


@pytest.mark.parametrize(
    ("callee", "outcome"),
    [
        (Callee(busy=True), "busy"),
        (Callee(no_answer=True), "no-answer"),
        (Callee(fails=True), "failed"),
        (Callee(answers_after_ms=21_000), "no-answer"),
    ],
)
async def test_a_caller_whose_callee_is_not_to_be_had_comes_back_to_the_same_call(
    callee: Callee, outcome: str, autojump_clock: trio.abc.Clock
) -> None:
    agent = Receptionist()
    async with stage(agent.run_call) as found:
        report = await placed(found, found.phone(*STAYS, callee=callee))

    assert agent.outcomes == [outcome]
    assert agent.exits == [BYE]
    assert agent.reader.names == ["StreamLeft", "StreamMoved"]
    assert [type(verb) for verb in report.verbs] == [ConnectStream, Dial, ConnectStream, Hangup]
    assert len(set(report.stream_sids)) == 2
    assert report.problem is None


async def test_a_whisper_is_said_to_the_callee_alone_and_before_the_two_are_connected(
    autojump_clock: trio.abc.Clock,
) -> None:
    agent = Receptionist(WHISPER)
    async with stage(agent.run_call) as found:
        report = await placed(found, found.phone(*STAYS, callee=Callee(answers_after_ms=1000)))

    (seen,) = report.transfers
    assert seen.whisper == WHISPER.whisper
    assert seen.bridged
    assert agent.exits == [Transferred()]
    assert not any(isinstance(verb, Say) for verb in report.verbs)
    # Not when the callee picked up, but when the whisper was over.
    assert agent.told_s[0] > 4


async def test_a_callee_who_leaves_during_the_whisper_never_was_one(
    autojump_clock: trio.abc.Clock,
) -> None:
    agent = Receptionist(WHISPER)
    async with stage(agent.run_call) as found:
        report = await placed(found, found.phone(*STAYS, callee=Callee(declines_after_ms=500)))

    assert agent.outcomes == ["no-answer"]
    assert agent.reader.names == ["StreamLeft", "StreamMoved"]
    assert not report.transfers[0].bridged


@pytest.mark.parametrize("path", ["/twilio/whisper?key=guess", "/twilio/whisper"])
async def test_a_whisper_is_for_whoever_was_called_and_nobody_else(
    path: str, autojump_clock: trio.abc.Clock
) -> None:
    agent = Receptionist(WHISPER)
    async with stage(agent.run_call) as found, trio.open_nursery() as nursery:
        phone = found.phone(*STAYS, callee=Callee(no_answer=True))

        async def ask() -> None:
            await trio.sleep(6)
            form = {"CallSid": "CA9", "ParentCallSid": phone.call_sid}
            answer = await phone.webhooks.request(phone.webhooks.public_url + path, "POST", form)
            answers.append(answer.body.decode())

        answers: list[str] = []
        nursery.start_soon(ask)
        await placed(found, phone)

    assert len(answers) == 1
    assert "invoice" not in answers[0]


@pytest.mark.parametrize("to", ["", "12345", "+0123", "tel:+49301", "sip:", "+49 30", "sip:a b@c"])
async def test_who_cannot_be_dialled_is_refused_before_anybody_is_asked(
    to: str, autojump_clock: trio.abc.Clock
) -> None:
    agent = Receptionist(Transfer(to))
    async with stage(agent.run_call) as found:
        await placed(found, found.phone(*STAYS))

    assert len(agent.refusals) == 1
    assert found.api.requests == []


async def test_a_sip_address_can_be_called(autojump_clock: trio.abc.Clock) -> None:
    agent = Receptionist(Transfer("sip:desk@pbx.example.net;transport=tls"))
    async with stage(agent.run_call) as found:
        report = await placed(found, found.phone(*STAYS))

    assert report.transfers[0].to == "sip:desk@pbx.example.net;transport=tls"


async def test_a_dial_that_is_refused_leaves_the_caller_where_they_were(
    autojump_clock: trio.abc.Clock,
) -> None:
    agent = Receptionist()
    async with stage(agent.run_call) as found:
        found.api.faults.append(ApiFault(400, 21218))
        report = await placed(found, found.phone(*STAYS))

    assert "21218" in agent.refusals[0]
    assert agent.reader.names == ["StreamLeft", "StreamMoved"]
    assert len(report.stream_sids) == 1
    assert agent.exits == [BYE]


async def test_without_rest_nobody_is_called(autojump_clock: trio.abc.Clock) -> None:
    agent = Receptionist()
    async with stage(agent.run_call, rest=False) as found:
        await placed(found, found.phone(*STAYS))

    assert "TWILIO_ACCOUNT_SID" in agent.refusals[0]


@pytest.mark.parametrize("at_ms", [0, 60, 200, 700, 1500, 3000])
async def test_a_caller_who_hangs_up_while_it_rings_ends_the_call(
    at_ms: int, autojump_clock: trio.abc.Clock
) -> None:
    agent = Receptionist()
    async with stage(agent.run_call) as found:
        phone = found.phone(*STAYS, callee=Callee(no_answer=True))

        async def hang_up(carrier: Carrier, reader: Reader) -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(carrier.transfer, TO)
                await trio.sleep(at_ms / 1000)
                phone.hang_up()
                hung_up_s.append(trio.current_time())
                await trio.sleep_forever()

        hung_up_s: list[float] = []
        agent.do = hang_up
        await placed(found, phone)

    assert agent.exits == [CallerHungUp()]
    assert agent.ended_s[0] - hung_up_s[0] < 0.25


async def test_a_caller_who_hangs_up_while_it_rings_and_nobody_says_so_costs_a_bounded_time(
    autojump_clock: trio.abc.Clock,
) -> None:
    agent = Receptionist()
    async with stage(agent.run_call) as found:
        found.wants_notices = False
        callee = Callee(no_answer=True, caller_waits_ms=4000)
        await placed(found, found.phone(*STAYS, callee=callee))

    (why,) = agent.exits
    assert isinstance(why, PeerLost)
    assert agent.ended_s[0] < 4 + 20 + 5 + 10 + 1


async def test_a_call_that_is_over_while_it_rings_is_not_taken_up_again(
    autojump_clock: trio.abc.Clock,
) -> None:
    """The longest length, for instance: whoever comes back to it is hung up on."""

    async def give_up(carrier: Carrier, reader: Reader) -> None:
        with trio.move_on_after(3):
            await carrier.transfer(TO)

    agent = Agent(give_up)
    async with stage(agent.run_call) as found:
        report = await placed(found, found.phone(*STAYS, callee=Callee(no_answer=True)))

    assert agent.exits == [BYE]
    assert agent.ended_s[0] < 5
    assert [type(verb) for verb in report.verbs] == [ConnectStream, Dial, Hangup]


async def test_a_transfer_after_one_that_came_to_nothing_works(
    autojump_clock: trio.abc.Clock,
) -> None:
    async def twice(carrier: Carrier, reader: Reader) -> None:
        outcomes.append(await carrier.transfer(TO))
        await carrier.press("5")
        outcomes.append(await carrier.transfer(TO))

    outcomes: list[str] = []
    agent = Agent(twice)
    async with stage(agent.run_call) as found:
        report = await placed(found, found.phone(*STAYS, callee=Callee(busy=True)))

    assert outcomes == ["busy", "busy"]
    assert report.pressed_by_agent == "5"
    assert len(set(report.stream_sids)) == 4


async def test_keys_cannot_be_sent_while_somebody_is_called(
    autojump_clock: trio.abc.Clock,
) -> None:
    async def both(carrier: Carrier, reader: Reader) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(carrier.transfer, TO)
            await trio.sleep(2)
            with pytest.raises(CarrierRefused, match="already"):
                await carrier.press("1")

    agent = Agent(both)
    async with stage(agent.run_call) as found:
        await placed(found, found.phone(*STAYS, callee=Callee(no_answer=True)))

    assert agent.exits == [BYE]


async def dialled(phone: Phone, times: int = 1) -> Dial:
    """Wait until so many dials have begun. Returns the first."""
    while True:
        dials = [verb for verb in phone.report.verbs if isinstance(verb, Dial)]
        if len(dials) >= times:
            return dials[0]
        await trio.sleep(0.01)


def not_had(phone: Phone) -> dict[str, str]:
    """What Twilio says of a callee who was busy."""
    said = {"CallStatus": "in-progress", "DialCallStatus": "busy", "DialBridged": "false"}
    return {**phone.fields, **said}


async def test_what_is_said_of_an_earlier_transfer_is_no_word_about_this_one(
    autojump_clock: trio.abc.Clock,
) -> None:
    """Late or replayed, and signed by Twilio: it neither ends the call nor shows a token."""

    async def twice(carrier: Carrier, reader: Reader) -> None:
        outcomes.append(await carrier.transfer(TO))
        outcomes.append(await carrier.transfer(TO))

    outcomes: list[str] = []
    agent = Agent(twice)
    async with stage(agent.run_call) as found, trio.open_nursery() as nursery:
        phone = found.phone(*STAYS, callee=Callee(no_answer=True))

        async def say_again() -> None:
            first = await dialled(phone, 2)
            assert first.action is not None
            assert first.status_callback is not None
            await trio.sleep(2)
            child = {"ParentCallSid": phone.call_sid, "CallStatus": "in-progress"}
            await phone.webhooks.request(first.status_callback, "POST", child)
            answer = await phone.webhooks.request(first.action, "POST", not_had(phone))
            answers.append(answer.verbs())

        answers: list[Any] = []
        nursery.start_soon(say_again)
        await placed(found, phone)

    assert answers == [(Hangup(),)]
    assert outcomes == ["no-answer", "no-answer"]


async def test_what_is_said_twice_of_a_transfer_has_the_same_answer(
    autojump_clock: trio.abc.Clock,
) -> None:
    """A second token would take the first one away, and with it the caller's way back."""
    agent = Receptionist()
    async with stage(agent.run_call) as found, trio.open_nursery() as nursery:
        phone = found.phone(*STAYS, callee=Callee(busy=True))

        async def say_again() -> None:
            first = await dialled(phone)
            assert first.action is not None
            while True:
                await trio.sleep(0.03)
                if phone.report.transfers:
                    break
            answer = await phone.webhooks.request(first.action, "POST", not_had(phone))
            answers.extend(answer.verbs())

        answers: list[Any] = []
        nursery.start_soon(say_again)
        report = await placed(found, phone)

    assert answers[0] == report.verbs[2]
    assert report.problem is None
    assert agent.outcomes == ["busy"]


@pytest.mark.parametrize("whisper", ["", " ", "\x01"])
async def test_a_whisper_without_words_is_none(
    whisper: str, autojump_clock: trio.abc.Clock
) -> None:
    agent = Receptionist(Transfer(TO.to, whisper=whisper, ring_s=20))
    async with stage(agent.run_call) as found:
        callee = Callee(hangs_up_after_ms=100_000)
        report = await placed(found, found.phone(*STAYS, callee=callee))

    assert agent.exits == [Transferred()]
    assert agent.told_s[0] < 4
    assert report.transfers[0].whisper is None
    assert report.problem is None


async def test_a_whisper_that_would_outlast_everybodys_patience_is_refused(
    autojump_clock: trio.abc.Clock,
) -> None:
    agent = Receptionist(Transfer(TO.to, whisper="x" * (LONGEST_WHISPER + 1)))
    async with stage(agent.run_call) as found:
        await placed(found, found.phone(*STAYS))

    assert str(LONGEST_WHISPER) in agent.refusals[0]
    assert found.api.requests == []
    agent = Receptionist(Transfer(TO.to, whisper="x" * LONGEST_WHISPER))
    async with stage(agent.run_call) as found:
        await placed(found, found.phone(*STAYS))
    assert agent.exits == [Transferred()]


@pytest.mark.parametrize(
    ("why", "verbs"),
    [
        (PeerLost("session", None, "gone"), [Say, Record, Hangup]),
        (TimedOut(3.0), [Say, Hangup]),
        (Killed(), [Say, Hangup]),
    ],
)
async def test_a_caller_who_comes_back_to_a_call_that_is_over_is_not_hung_up_on_without_a_word(
    why: Exit, verbs: list[type], autojump_clock: trio.abc.Clock
) -> None:
    async def lose(carrier: Carrier, reader: Reader) -> None:
        with trio.move_on_after(3):
            await carrier.transfer(TO)
        reader.why = why

    agent = Agent(lose)
    async with stage(agent.run_call, agent=AgentSettings(on_failure="message")) as found:
        report = await placed(found, found.phone(*STAYS, callee=Callee(no_answer=True)))

    assert [type(verb) for verb in report.verbs] == [ConnectStream, Dial, *verbs]


async def test_two_who_have_talked_hear_nothing_of_what_became_of_the_call(
    autojump_clock: trio.abc.Clock,
) -> None:
    async def lose(carrier: Carrier, reader: Reader) -> None:
        with trio.move_on_after(1):
            await carrier.transfer(TO)
        reader.why = PeerLost("session", None, "gone")

    agent = Agent(lose)
    async with stage(agent.run_call, agent=AgentSettings(on_failure="message")) as found:
        report = await placed(found, found.phone(*STAYS, callee=Callee()))

    assert [type(verb) for verb in report.verbs] == [ConnectStream, Dial, Hangup]


async def test_a_caller_who_hangs_up_while_it_rings_is_known_from_what_became_of_the_dial(
    autojump_clock: trio.abc.Clock,
) -> None:
    """Of a number whose owner entered no address for the status of calls."""
    agent = Receptionist()
    async with stage(agent.run_call) as found, trio.open_nursery() as nursery:
        found.wants_notices = False
        phone = found.phone(*STAYS, callee=Callee(no_answer=True, caller_waits_ms=4000))

        async def tell() -> None:
            dial = await dialled(phone)
            await trio.sleep(4)
            assert dial.action is not None
            said = {**not_had(phone), "CallStatus": "completed", "DialCallStatus": "canceled"}
            answer = await phone.webhooks.request(dial.action, "POST", said)
            told.append((trio.current_time(), answer.verbs()))

        told: list[Any] = []
        nursery.start_soon(tell)
        await placed(found, phone)

    ((told_s, verbs),) = told
    assert verbs == (Hangup(),)
    assert agent.exits == [CallerHungUp()]
    assert agent.ended_s[0] - told_s < 0.25


async def test_a_caller_who_cannot_be_taken_back_is_not_waited_for_as_long_as_a_callee(
    autojump_clock: trio.abc.Clock,
) -> None:
    agent = Receptionist(Transfer(TO.to, ring_s=60))
    async with stage(agent.run_call) as found, trio.open_nursery() as nursery:
        found.wants_notices = False
        phone = found.phone(*STAYS, callee=Callee(busy=True))

        async def refuse() -> None:
            await dialled(phone)
            found.refuse_streams = True
            while True:
                await trio.sleep(0.03)
                if phone.report.transfers:
                    break
            back_s.append(trio.current_time())

        back_s: list[float] = []
        nursery.start_soon(refuse)
        await placed(found, phone)

    (why,) = agent.exits
    assert isinstance(why, PeerLost)
    assert agent.ended_s[0] - back_s[0] < 11


@pytest.mark.parametrize("moves", ["press", "transfer"])
async def test_what_is_said_of_the_stream_that_was_left_does_not_end_the_call(
    moves: str, autojump_clock: trio.abc.Clock
) -> None:
    """And while somebody is called, nothing that is said of streams does."""

    async def move(carrier: Carrier, reader: Reader) -> None:
        if moves == "press":
            await carrier.press("1wwwwwwww2")
        else:
            await carrier.transfer(TO)
        await trio.sleep(1)

    agent = Agent(move)
    async with stage(agent.run_call) as found, trio.open_nursery() as nursery:
        phone = found.phone(*STAYS, callee=Callee(busy=True))

        async def complain() -> None:
            while True:
                await trio.sleep(0.03)
                if len(phone.report.verbs) > 1:
                    break
            sids = {"StreamSid": phone.report.stream_sids[0]} if moves == "press" else {}
            said = {**phone.fields, "StreamEvent": "stream-error", **sids}
            url = phone.webhooks.public_url + "/twilio/stream-status"
            await phone.webhooks.request(url, "POST", said)

        nursery.start_soon(complain)
        await placed(found, phone)

    assert agent.exits == [BYE]
    assert agent.reader.names == ["StreamLeft", "StreamMoved"]


async def test_a_callee_who_leaves_at_once_does_not_bring_the_call_back_to_life(
    autojump_clock: trio.abc.Clock,
) -> None:
    """It knows that somebody answered, and is about to end."""

    async def linger(carrier: Carrier, reader: Reader) -> None:
        outcomes.append(await carrier.transfer(WHISPER))
        await trio.sleep(1)

    outcomes: list[str] = []
    agent = Agent(linger)
    async with stage(agent.run_call) as found, trio.open_nursery() as nursery:
        phone = found.phone(*STAYS, callee=Callee(hangs_up_after_ms=5000))

        async def leave() -> None:
            dial = await dialled(phone)
            assert dial.action is not None
            while not outcomes:  # noqa: ASYNC110 (a list has no event)
                await trio.sleep(0.01)
            answer = await phone.webhooks.request(dial.action, "POST", not_had(phone))
            answers.append(answer.verbs())

        answers: list[Any] = []
        nursery.start_soon(leave)
        await placed(found, phone)

    assert outcomes == ["answered"]
    assert answers == [(Hangup(),)]


async def test_a_call_that_has_closed_its_line_takes_no_other_stream(
    autojump_clock: trio.abc.Clock,
) -> None:
    """Its goodbyes take their time: the record, a slow disk."""

    async def close(carrier: Carrier, reader: Reader) -> None:
        with trio.move_on_after(0.3):
            await carrier.press("1")
        await carrier.aclose()
        await trio.sleep(4)

    agent = Agent(close)
    async with stage(agent.run_call) as found:
        report = await placed(found, found.phone(*STAYS))

    assert report.close_code == 1008
    assert agent.reader.names == ["StreamLeft"]


OBJECTION = """
name: objection
agent: {transfer_to: "+4930555100"}
model:
  answers:
    - items: [{say: "Hello! How can I help you?"}]
    - items:
        - say: "I will connect you to somebody in the office. Please hold the line for a moment."
        - call: {name: transfer_call, arguments: {reason: "The caller wants a person."}}
    - items: [{say: "Of course, I am still here. What is it?"}]
caller:
  - {wait: agent_quiet, say: "I want to talk to a person."}
  - {wait: agent_speaking, after_ms: 1500, say: "No, wait, I have one more question."}
  - {wait: agent_quiet, hang_up: true}
expect: {ending: CallerHungUp, tools: [transfer_call], told: ["the caller spoke"], barge_ins: 1,
         heard: ["I am still here"], said: ["No, wait, I have one more question"]}
"""


def test_a_caller_who_speaks_over_the_announcement_is_not_connected(tmp_path: Path) -> None:
    (tmp_path / "objection.yaml").write_text(OBJECTION)
    rehearsed = rehearse(load(str(tmp_path / "objection.yaml")))

    assert rehearsed.complaints == ()
    assert rehearsed.report.transfers == ()
