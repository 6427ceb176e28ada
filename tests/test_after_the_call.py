"""What becomes of a caller whose agent cannot go on: an apology, and what is to follow it."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import pytest
import trio
from structlog.testing import capture_logs

from actors.errors import SessionRefused
from actors.exits import (
    AgentHungUp,
    CallerHungUp,
    Exit,
    Killed,
    PeerLost,
    Refused,
    Stalled,
    TimedOut,
    Transferred,
)
from actors.ports import Carrier, Session
from gateway.app import TOO_LONG
from gateway.calls import IncomingCall, Offer
from gateway.configuration.agents import AgentSettings, OnFailure
from gateway.lab.twilio.callee import Callee
from gateway.lab.twilio.twiml_reader import ConnectStream, Dial, Hangup, Record, Say
from gateway.twilio.left_message import LeftMessage, keep_in_folders, left_message
from tests.moving import STAYS, RunCall, placed, stage

SORRY = AgentSettings(apology="It is not our day.")
LOST = [
    PeerLost("session", 1011, "gone"),
    Refused("insufficient_quota", "no"),
    Stalled("to_session", 9),
]
TO = "+4930123456"


def ending(why: Exit) -> RunCall:
    """A call that hears the caller for a second, and then ends like this."""

    async def run_call(offer: Offer, carrier: Carrier) -> Exit:
        with trio.move_on_after(1):
            while True:
                await carrier.receive()
        await carrier.aclose()
        return why

    return run_call


async def crashing(offer: Offer, carrier: Carrier) -> Exit:
    await carrier.receive()
    raise RuntimeError("as asked")


@pytest.mark.parametrize("why", [*LOST, None])
async def test_a_caller_whose_agent_is_lost_hears_the_agents_own_apology(
    why: Exit | None, autojump_clock: trio.abc.Clock
) -> None:
    run_call = crashing if why is None else ending(why)
    async with stage(run_call, agent=SORRY) as found:
        report = await placed(found, found.phone(*STAYS))

    assert report.verbs[1:] == (Say("It is not our day."), Hangup())


@pytest.mark.parametrize("why", LOST)
async def test_or_is_connected_to_somebody_else(why: Exit, autojump_clock: trio.abc.Clock) -> None:
    agent = attrs.evolve(SORRY, on_failure="transfer", transfer_to=TO, transfer_by="+4930999")
    async with stage(ending(why), agent=agent) as found:
        report = await placed(found, found.phone(*STAYS, callee=Callee(busy=True)))

    assert [type(verb) for verb in report.verbs] == [ConnectStream, Say, Dial, Hangup]
    (seen,) = report.transfers
    assert (seen.to, seen.caller_id, seen.status) == (TO, "+4930999", "busy")
    assert report.problem is None


@pytest.mark.parametrize("why", LOST)
async def test_or_leaves_a_message_that_is_kept(why: Exit, autojump_clock: trio.abc.Clock) -> None:
    agent = attrs.evolve(SORRY, on_failure="message")
    async with stage(ending(why), agent=agent) as found:
        report = await placed(found, found.phone(*STAYS))
        await trio.sleep(1)

    assert [type(verb) for verb in report.verbs] == [ConnectStream, Say, Record, Hangup]
    assert report.recorded == 1
    (message,) = found.messages
    assert message.call_sid == report.call_sid
    assert message.status == "completed"
    assert message.url is not None
    assert message.url.startswith("https://api.twilio.com/")
    assert report.problem is None


@pytest.mark.parametrize("on_failure", ["transfer", "message"])
@pytest.mark.parametrize(
    ("why", "says"),
    [
        (AgentHungUp("bye", goodbye_heard=True), None),
        (Transferred(), None),
        (TimedOut(60), TOO_LONG),
        (Killed(), "It is not our day."),
        (CallerHungUp(), None),
    ],
)
async def test_a_call_that_ended_otherwise_needs_none_of_it(
    why: Exit, says: str | None, on_failure: OnFailure, autojump_clock: trio.abc.Clock
) -> None:
    agent = attrs.evolve(SORRY, on_failure=on_failure, transfer_to=TO)
    async with stage(ending(why), agent=agent) as found:
        report = await placed(found, found.phone(*STAYS))

    said = [] if says is None else [Say(says)]
    assert list(report.verbs[1:]) == [*said, Hangup()]


async def test_a_call_that_never_began_is_treated_like_one_that_was_lost(
    autojump_clock: trio.abc.Clock,
) -> None:
    def refuse(_: IncomingCall, __: trio.Nursery) -> Session:
        raise SessionRefused("invalid_api_key", "no")

    agent = attrs.evolve(SORRY, on_failure="message")
    async with stage(crashing, agent=agent, open_session=refuse) as found:
        report = await placed(found, found.phone(*STAYS))
        await trio.sleep(1)

    assert [type(verb) for verb in report.verbs] == [Say, Record, Hangup]
    assert len(found.messages) == 1


SID = "CA" + "c" * 32
GOOD = {
    "CallSid": SID,
    "RecordingSid": "RE" + "e" * 32,
    "RecordingStatus": "completed",
    "RecordingUrl": "https://api.twilio.com/2010-04-01/Accounts/AC1/Recordings/RE1",
    "RecordingDuration": "17",
}
API = "https://api.twilio.com"


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/x",
        "http://api.twilio.com/x",
        "https://api.twilio.com.evil.example/x",
        "https://api.twilio.com@evil.example/x",
        "https://api.twilio.com:444/x",
        "https://[",
        "https://api.twilio.com/" + "x" * 500,
        "https://api.twilio.com/\u00e9",
        "https://api.twi\tlio.com/x",
        "https://api.twilio.com/x\n",
        " https://api.twilio.com/x",
        "",
    ],
)
def test_an_address_elsewhere_is_not_kept(url: str) -> None:
    """Whoever fetches the recording sends the account's credentials along."""
    message = left_message({**GOOD, "RecordingUrl": url}, API)
    assert message is not None
    assert message.url is None


@pytest.mark.parametrize(
    "changes",
    [
        {"CallSid": "../../x"},
        {"CallSid": ""},
        {"RecordingSid": "RE1"},
        {"RecordingSid": ""},
        {"RecordingStatus": "eaten"},
    ],
)
def test_what_is_no_recording_is_not_kept(changes: dict[str, str]) -> None:
    assert left_message({**GOOD, **changes}, API) is None


async def test_a_message_is_kept_beside_the_records_and_the_last_word_counts(
    tmp_path: Path,
) -> None:
    keep = keep_in_folders(tmp_path / "calls")
    for status in ("in-progress", "completed"):
        message = left_message({**GOOD, "RecordingStatus": status}, API)
        assert message is not None
        await keep(message)

    (file,) = (tmp_path / "calls" / SID).iterdir()
    assert file.name == "message.json"
    assert file.stat().st_mode & 0o077 == 0
    assert json.loads(file.read_bytes()) == {
        "call_sid": SID,
        "recording_sid": GOOD["RecordingSid"],
        "status": "completed",
        "url": GOOD["RecordingUrl"],
        "duration_s": 17,
    }


async def test_a_disk_that_will_not_have_it_costs_nothing_but_the_message(tmp_path: Path) -> None:
    (tmp_path / "calls").write_text("in the way")
    with capture_logs() as logs:
        await keep_in_folders(tmp_path / "calls")(
            LeftMessage(SID, GOOD["RecordingSid"], "completed", None, None)
        )

    assert [entry["event"] for entry in logs] == ["recording.not_kept"]
