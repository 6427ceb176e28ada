"""Callers who are connected to somebody else, and come back when nobody answers.

Whole calls in virtual time, from the first webhook to the last, with the rehearsal's own Twilio.
"""

from __future__ import annotations

import pytest
import trio

from actors.errors import CarrierRefused
from actors.exits import CallerHungUp, PeerLost, Transferred
from actors.ports import Carrier, Transfer, TransferOutcome
from gateway.lab.callee import Callee
from gateway.lab.twilio_api import ApiFault
from gateway.lab.twiml_reader import ConnectStream, Dial, Hangup, Say
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
