"""The book of the calls that were placed: what a key opens, for whom, and for how long."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import attrs
import pytest
import trio
from structlog.testing import capture_logs

from gateway.twilio.outgoing import ANSWERED_S, AT_ONCE, SPARE_S, OutgoingCall, OutgoingCalls
from gateway.twilio.outgoing_end import (
    FILE_NAME,
    OutgoingEnd,
    keep_ends_in_folders,
    outgoing_end,
)

CALL = OutgoingCall(
    to="+4930123456",
    from_number="+4930999888",
    task="Ask for the bicycle.",
    agent="default",
    placed_by="CA1",
    longest_s=600.0,
)
LAST_S = ANSWERED_S + CALL.longest_s + SPARE_S


def book() -> OutgoingCalls:
    return OutgoingCalls(Random(7).randbytes)


def planned(found: OutgoingCalls, call: OutgoingCall = CALL, now_s: float = 0.0) -> str:
    key = found.plan(call, now_s)
    assert key is not None
    return key


def answered(
    found: OutgoingCalls,
    key: str,
    call_sid: str = "CA2",
    *,
    to: str = CALL.to,
    from_number: str = CALL.from_number,
    now_s: float = 1.0,
) -> OutgoingCall | None:
    return found.answered(key, call_sid, from_number=from_number, to=to, now_s=now_s)


def test_whoever_answers_is_in_the_call_that_was_placed() -> None:
    found = book()
    key = planned(found)
    found.placed(key, "CA2")

    assert answered(found, key) == CALL
    assert answered(found, key) == CALL
    assert found.ended(key, "CA2") == CALL
    assert found.ended(key, "CA2") is None
    assert answered(found, key) is None


def test_a_call_that_is_answered_before_its_name_is_known_is_that_one() -> None:
    found = book()
    key = planned(found)

    assert answered(found, key, "CA2") == CALL
    found.placed(key, "CA3")
    assert answered(found, key, "CA3") is None
    assert answered(found, key, "CA2") == CALL


def test_a_key_opens_nothing_for_another_call() -> None:
    found = book()
    key = planned(found)
    found.placed(key, "CA2")

    assert answered(found, key, "CA3") is None
    assert answered(found, key, to="+4930123457") is None
    assert answered(found, key, from_number="") is None
    assert answered(found, key[:-1]) is None
    assert answered(found, "") is None
    assert answered(found, "\ud800") is None
    assert found.ended(key, "CA3") is None
    assert found.ended("", "CA2") is None
    assert answered(found, key) == CALL


def test_a_call_that_was_not_placed_opens_nothing() -> None:
    found = book()
    key = planned(found)
    found.withdraw(key)
    found.withdraw(key)

    assert answered(found, key) is None
    assert found.plan(CALL, 0.0) is not None


def test_one_at_a_time_is_placed_from_a_call_until_it_is_over() -> None:
    found = book()
    key = planned(found)

    assert found.plan(attrs.evolve(CALL, to="+4930123457"), 1.0) is None
    planned(found, attrs.evolve(CALL, placed_by="CA9"))
    found.ended(key, "CA2")
    planned(found, now_s=2.0)


def test_a_call_of_which_nothing_is_heard_is_over_some_time() -> None:
    found = book()
    key = planned(found)

    assert found.plan(CALL, LAST_S - 0.1) is None
    assert answered(found, key, now_s=LAST_S - 0.1) == CALL
    assert answered(found, key, now_s=LAST_S) is None
    planned(found, now_s=LAST_S)


def test_there_are_so_many_at_once_and_no_more() -> None:
    found = book()
    for number in range(AT_ONCE):
        planned(found, attrs.evolve(CALL, placed_by=f"CA{number}"))

    assert found.plan(attrs.evolve(CALL, placed_by="CAx"), 1.0) is None
    planned(found, attrs.evolve(CALL, placed_by="CAx"), LAST_S)


def test_keys_are_long_and_differ_and_are_not_kept() -> None:
    found = book()
    keys = {planned(found, attrs.evolve(CALL, placed_by=f"CA{number}")) for number in range(50)}

    assert {len(key) for key in keys} == {48}
    assert len(keys) == 50
    assert not any(key in repr(attrs.asdict(found)) for key in keys)


@pytest.mark.parametrize(
    ("fields", "status", "duration_s", "sip_status"),
    [
        ({"CallStatus": "busy", "SipResponseCode": "486"}, "busy", None, 486),
        ({"CallStatus": "completed", "CallDuration": "61"}, "completed", 61, None),
        ({"CallStatus": "Busy!", "CallDuration": "6 1"}, "unknown", None, None),
        ({"CallStatus": "x" * 99, "CallDuration": "9" * 99}, "unknown", None, None),
        ({}, "unknown", None, None),
    ],
)
def test_what_became_of_it_is_read_from_the_last_notice(
    fields: dict[str, str], status: str, duration_s: int | None, sip_status: int | None
) -> None:
    assert outgoing_end(CALL, "CA2", fields) == OutgoingEnd(
        call_sid="CA2",
        placed_by="CA1",
        from_number=CALL.from_number,
        to_number=CALL.to,
        task=CALL.task,
        status=status,
        duration_s=duration_s,
        sip_status=sip_status,
    )


async def test_what_became_of_it_is_kept_in_the_folder_of_the_call(tmp_path: Path) -> None:
    end = outgoing_end(CALL, "CA2", {"CallStatus": "no-answer", "SipResponseCode": "487"})
    await keep_ends_in_folders(tmp_path)(end)
    kept = trio.Path(tmp_path) / "CA2" / FILE_NAME

    assert json.loads(await kept.read_text()) == attrs.asdict(end)
    assert (await kept.parent.stat()).st_mode & 0o777 == 0o700


async def test_a_disk_that_is_full_costs_the_note_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "CA2").write_text("a file")
    with capture_logs() as logs:
        await keep_ends_in_folders(tmp_path)(outgoing_end(CALL, "CA2", {"CallStatus": "busy"}))

    assert [entry["event"] for entry in logs] == ["outgoing.not_kept"]
    assert CALL.task not in str(logs)
    assert CALL.to not in str(logs)
