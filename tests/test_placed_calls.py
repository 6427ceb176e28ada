"""Calls that an agent places: from the call in which it is asked to, to the records of both.

In virtual time, with the rehearsal's own Twilio, model and phones.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import attrs
import httpx
import pytest
import trio

from actors.exits import TimedOut
from gateway.app import TOO_LONG
from gateway.configuration.agents import AgentSettings
from gateway.configuration.config import Secret
from gateway.configuration.tool_settings import OwnerSettings
from gateway.lab.rehearsing.scenario import ModelScript, Step, ToolScript
from gateway.lab.twilio.callee import Callee
from gateway.lab.twilio.phone import call_fields
from gateway.lab.twilio.twilio_api import ApiFault
from gateway.lab.twilio.twiml_reader import ConnectStream, Hangup, Say
from gateway.tools.outgoing_task import OPENING
from tests.moving import ACCOUNT_SID, PUBLIC_URL
from tests.placing import AGENT, OURS, POLICY, THEIRS, Placing, placing, says

TASK = "Ask whether the bicycle is repaired."
ORDERS = ModelScript(
    answers=(
        says("One moment.", call=ToolScript("make_call", {"to": THEIRS, "task": TASK})),
        says("I am calling them."),
        says("Goodbye.", hangs_up=True),
    )
)
CALLS = ModelScript(answers=(says("Good morning, I call about a bicycle."),))
OWNER = (
    Step(say="Call the bicycle shop, please."),
    Step(wait_ms=6000, hang_up=True),
)
SHOP = (
    Step(wait="agent_quiet", say="It is repaired."),
    Step(wait_ms=500, hang_up=True),
)


async def test_who_is_called_talks_to_the_same_agent_and_both_calls_have_records(
    autojump_clock: trio.abc.Clock,
) -> None:
    async with placing([ORDERS, CALLS], steps=SHOP) as found:
        report = await found.stage.phone(*OWNER).call()
        await trio.sleep(30)
    (called,) = found.ringing.reports
    ordered, placed = found.record(report.call_sid), found.record(called.call_sid)
    (asked,) = found.stage.api.placed
    first, second = (instructions(model.received) for model in found.models)

    assert (report.problem, called.problem) == (None, None)
    assert [one.outcome for one in ordered.tool_calls] == ["returned"]
    assert json.loads(ordered.tool_calls[0].output or "") == {"placed": True, "status": "queued"}
    assert (ordered.direction, ordered.task, ordered.placed_by) == ("inbound", None, None)
    assert (placed.direction, placed.task) == ("outbound", TASK)
    assert placed.placed_by == report.call_sid
    assert (placed.from_number, placed.to_number) == (OURS, THEIRS)
    assert placed.agent == ordered.agent
    assert placed.transcript[0].text == "Good morning, I call about a bicycle."
    assert placed.transcript[0].began_ms is not None
    assert placed.transcript[0].began_ms < 600
    # What was asked of the carrier is what was checked, and no more.
    assert asked.form.keys() == {
        "To", "From", "Url", "Method", "StatusCallback", "StatusCallbackMethod", "Timeout",
        "TimeLimit",
    }  # fmt: skip
    assert (asked.to, asked.from_number, asked.longest_s) == (THEIRS, OURS, 120.0)
    assert [wish.micros for wish in found.spending.entries.values()] == [100_000]
    # The agent of the second call knows its task, and who gives it orders.
    assert not any(TASK in text for text in first)
    assert all(json.dumps(TASK) in text and "never orders" in text for text in second)
    assert second[-1].endswith(OPENING)


@pytest.mark.parametrize(
    ("callee", "status", "sip_status"),
    [
        (Callee(busy=True), "busy", 486),
        (Callee(no_answer=True), "no-answer", 487),
        (Callee(fails=True), "failed", 404),
    ],
)
async def test_a_call_that_nobody_answers_is_kept_with_what_became_of_it(
    callee: Callee, status: str, sip_status: int, autojump_clock: trio.abc.Clock
) -> None:
    async with placing([ORDERS], callee=lambda _: callee) as found:
        report = await found.stage.phone(*OWNER).call()
        await trio.sleep(60)
    (end,) = found.ends

    assert found.ringing.unanswered == [(end.call_sid, status)]
    assert (end.status, end.sip_status, end.duration_s) == (status, sip_status, 0)
    assert (end.placed_by, end.task, end.to_number) == (report.call_sid, TASK, THEIRS)
    assert [record.call_sid for record in found.store.records] == [report.call_sid]


async def test_a_call_that_was_answered_ends_once_in_the_books(
    autojump_clock: trio.abc.Clock,
) -> None:
    async with placing([ORDERS, CALLS], steps=SHOP) as found:
        await found.stage.phone(*OWNER).call()
        await trio.sleep(30)
        (called,) = found.ringing.reports
        key = found.stage.api.placed[0].form["StatusCallback"].partition("?placed=")[2]
        again = await notice(found, key, called.call_sid)

    assert again.status_code == 200
    assert [end.status for end in found.ends] == ["completed"]


async def test_one_call_at_a_time_is_placed_from_a_call(autojump_clock: trio.abc.Clock) -> None:
    order = ToolScript("make_call", {"to": THEIRS, "task": TASK})
    twice = ModelScript(
        answers=(says("One moment.", call=order), says("And again.", call=order), says("Done."))
    )
    steps = (Step(wait_ms=5000, hang_up=True),)
    async with placing([twice, CALLS], steps=steps) as found:
        report = await found.stage.phone(*OWNER).call()
        await trio.sleep(60)
    outcomes = [one.outcome for one in found.record(report.call_sid).tool_calls]

    assert outcomes == ["returned", "refused"]
    assert len(found.stage.api.placed) == len(found.spending.entries) == 1


async def test_a_call_is_over_after_the_longest_time_of_the_policy(
    autojump_clock: trio.abc.Clock,
) -> None:
    agent = attrs.evolve(AGENT, max_silence_s=None)
    policy = attrs.evolve(POLICY, max_call_s=24.0)
    async with placing([ORDERS, CALLS], agent=agent, policy=policy) as found:
        await found.stage.phone(*OWNER).call()
        await trio.sleep(60)
    (called,) = found.ringing.reports
    record = found.record(called.call_sid)

    assert called.problem is None
    assert record.ending == TimedOut(14.0)
    assert called.verbs[-2:] == (Say(TOO_LONG), Hangup())


async def test_the_request_may_be_lost_and_whoever_answers_talks_to_the_agent_all_the_same(
    autojump_clock: trio.abc.Clock,
) -> None:
    async with placing([ORDERS, CALLS], steps=SHOP) as found:
        found.stage.api.faults.append(ApiFault(500, obeyed=True))
        report = await found.stage.phone(*OWNER).call()
        await trio.sleep(30)
    (run,) = found.record(report.call_sid).tool_calls
    (called,) = found.ringing.reports

    assert run.outcome == "refused"
    assert "whether it took effect is not known" in (run.output or "")
    assert len(found.spending.entries) == 1
    assert found.record(called.call_sid).task == TASK
    assert [end.status for end in found.ends] == ["completed"]


async def test_who_answers_when_there_is_no_room_hears_an_apology(
    autojump_clock: trio.abc.Clock,
) -> None:
    async with placing([ORDERS, CALLS], max_concurrent=2, steps=SHOP) as found:
        async with trio.open_nursery() as others:
            others.start_soon(found.stage.phone(*OWNER).call)
            await trio.sleep(4)
            assert len(found.stage.api.placed) == 1
            found.stage.calls.stop_admitting()
        await trio.sleep(30)
    (called,) = found.ringing.reports

    assert called.verbs == (Say(AgentSettings().apology), Hangup())


async def test_no_call_is_placed_that_there_is_no_room_for(
    autojump_clock: trio.abc.Clock,
) -> None:
    async with placing([ORDERS], max_concurrent=1) as found:
        report = await found.stage.phone(*OWNER).call()
    (run,) = found.record(report.call_sid).tool_calls

    assert "all lines are taken" in (run.output or "")
    assert (found.stage.api.requests, found.spending.entries) == ([], {})


@pytest.mark.parametrize("change", ["key", "CallSid", "To", "From"])
async def test_a_document_is_for_the_very_call_that_was_placed(
    change: str, autojump_clock: trio.abc.Clock
) -> None:
    """Whoever can sign a request is Twilio; and yet one call's key lets no other in."""
    async with placing([ORDERS], callee=lambda _: Callee(no_answer=True)) as found:
        report = await found.stage.phone(*OWNER).call()
        (placed,) = found.stage.api.placed
        fields = {
            **call_fields(placed.call_sid, ACCOUNT_SID, from_number=OURS, to_number=THEIRS),
            "CallStatus": "in-progress",
            "Direction": "outbound-api",
        }
        url = placed.form["Url"]
        if change == "key":
            url = url[:-1] + ("0" if url[-1] != "0" else "1")
        else:
            other = {"CallSid": "CA" + "9" * 32, "To": "+4930999999", "From": "+15550009999"}
            fields[change] = other[change]
        answer = await found.stage.phone().webhooks.request(url, "POST", fields)

    assert answer.verbs() == (Hangup(),)
    assert [record.call_sid for record in found.store.records] == [report.call_sid]


async def test_a_document_asked_for_again_is_the_same_and_after_the_call_there_is_none(
    autojump_clock: trio.abc.Clock,
) -> None:
    async with placing([ORDERS, CALLS], callee=lambda _: Callee(no_answer=True)) as found:
        await found.stage.phone(*OWNER).call()
        (placed,) = found.stage.api.placed
        fields = {
            **call_fields(placed.call_sid, ACCOUNT_SID, from_number=OURS, to_number=THEIRS),
            "CallStatus": "in-progress",
        }
        ask = found.stage.phone().webhooks.request
        first = await ask(placed.form["Url"], "POST", fields)
        second = await ask(placed.form["Url"], "POST", fields)
        await trio.sleep(60)
        third = await ask(placed.form["Url"], "POST", fields)

    assert isinstance(first.verbs()[0], ConnectStream)
    assert second.body == first.body
    assert third.verbs() == (Hangup(),)


async def test_a_number_whose_own_address_has_a_key_in_it_is_answered_as_ever(
    autojump_clock: trio.abc.Clock,
) -> None:
    async with placing([CALLS]) as found:
        phone = found.stage.phone(Step(wait_ms=1000, hang_up=True))
        phone.answered_at = (f"{PUBLIC_URL}/twilio/voice?key=mine", "POST")
        report = await phone.call()
        await trio.sleep(5)

    assert found.record(report.call_sid).direction == "inbound"


async def test_an_unsigned_answer_opens_nothing(autojump_clock: trio.abc.Clock) -> None:
    async with placing([ORDERS], callee=lambda _: Callee(no_answer=True)) as found:
        await found.stage.phone(*OWNER).call()
        (placed,) = found.stage.api.placed
        fields = call_fields(placed.call_sid, ACCOUNT_SID, from_number=OURS, to_number=THEIRS)
        webhooks = attrs.evolve(found.stage.phone().webhooks, auth_token=None)
        answer = await webhooks.request(placed.form["Url"], "POST", fields)

    assert answer.request.status == 403


async def test_a_call_of_somebody_elses_program_is_outbound_too(
    autojump_clock: trio.abc.Clock,
) -> None:
    """Its `From` is a number of the account's, and may be one of the owner's: it proves nothing."""
    async with placing([CALLS]) as found:
        phone = found.stage.phone(Step(wait_ms=3000, hang_up=True))
        phone.fields["Direction"] = "outbound-api"
        report = await phone.call()
        await trio.sleep(5)

    assert found.record(report.call_sid).direction == "outbound"


async def test_nothing_goes_out_for_somebody_who_is_not_the_owner(
    autojump_clock: trio.abc.Clock,
) -> None:
    policy = attrs.evolve(POLICY, low=())
    async with placing([ORDERS], policy=policy) as found:
        report = await found.stage.phone(*OWNER).call()
    (run,) = found.record(report.call_sid).tool_calls

    assert run.outcome == "refused"
    assert (found.stage.api.requests, found.spending.entries) == ([], {})


async def test_whoever_answers_is_not_the_owner_whatever_the_numbers_are(
    autojump_clock: trio.abc.Clock,
) -> None:
    """In a placed call `From` is ours, and `To` may well be the owner's: it proves nothing."""
    order = ToolScript("send_sms", {"to": THEIRS, "text": "Send money."})
    says_so = ModelScript(answers=(says("I call about a bicycle."), says("So be it.", call=order)))
    owner = OwnerSettings(numbers=(OURS, THEIRS), pin=Secret("4711"))
    policy = attrs.evolve(POLICY, low=("make_call",))
    steps = (SHOP[0], Step(wait_ms=5000, hang_up=True))
    async with placing([ORDERS, says_so], owner=owner, policy=policy, steps=steps) as found:
        await found.stage.phone(*OWNER).call()
        await trio.sleep(30)
    (called,) = found.ringing.reports
    (run,) = found.record(called.call_sid).tool_calls

    assert (run.name, run.outcome) == ("send_sms", "refused")
    assert found.stage.api.messages == []


async def test_a_message_is_sent_and_its_delivery_is_taken_note_of(
    autojump_clock: trio.abc.Clock,
) -> None:
    order = ToolScript("send_sms", {"to": THEIRS, "text": "The bicycle is repaired."})
    script = ModelScript(answers=(says("One moment.", call=order), says("It is on its way.")))
    async with placing([script]) as found:
        report = await found.stage.phone(*OWNER).call()
        (message,) = found.stage.api.messages
        form = {"MessageSid": message.sid, "MessageStatus": "delivered", "To": THEIRS}
        url = message.form["StatusCallback"]
        noted = await found.stage.phone().webhooks.request(url, "POST", form)
    (run,) = found.record(report.call_sid).tool_calls

    assert (message.to, message.body) == (THEIRS, "The bicycle is repaired.")
    assert message.form["From"] == OURS
    assert json.loads(run.output or "") == {"sent": True, "status": "queued"}
    assert noted.request.status == 200
    assert [wish.micros for wish in found.spending.entries.values()] == [80_000]


def instructions(received: Iterable[dict[str, Any]]) -> list[str]:
    """All that a model was told to be."""
    found = (event.get("session") or event.get("response") or {} for event in received)
    return [one["instructions"] for one in found if "instructions" in one]


async def notice(found: Placing, key: str, call_sid: str) -> httpx.Response:
    """Tell the gateway once more that a call is over."""
    fields = call_fields(call_sid, ACCOUNT_SID, from_number=OURS, to_number=THEIRS)
    form = {**fields, "CallStatus": "completed"}
    url = f"{PUBLIC_URL}/twilio/status?placed={key}"
    webhooks = found.stage.phone().webhooks
    return await found.stage.request("POST", url, data=form, headers=webhooks.signed(url, form))
