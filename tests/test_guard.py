"""The guard: what is run, for whom, after which question, and what is written down before."""

from __future__ import annotations

import orjson
import pytest
import trio
from structlog.testing import capture_logs

from actors.control import Reply
from actors.errors import AuditFailed, EffectUnknown, ToolRefused
from actors.guard import ASKED_MOST, NO_VOICE, NOT_DECIDED, NOT_WRITTEN, NOT_YOURS
from actors.policy.arguments import LONGEST_CHARS, Arguments, digest_of
from actors.policy.audit import ENDS
from actors.policy.risk import Tier
from gateway.permission.audit_log import MemoryAudit
from tests.calls import RefusingCall
from tests.guards import (
    OWNER,
    STRANGER,
    AskedCall,
    Done,
    FailingAudit,
    Proven,
    events,
    guard_of,
    utc_now,
)

PAY = '{"to": "Anna", "amount": 5}'


async def test_what_anybody_may_is_run_and_written_down_before() -> None:
    done, audit = Done(), MemoryAudit(utc_now)
    text = await guard_of(done, audit, STRANGER).run("look_up", '{"what": "a shop"}', AskedCall())

    assert text == '"found a shop"'
    assert events(audit) == ["asked", "allowed", "began", "finished"]
    assert audit.rows[0].arguments == '{"what":"a shop"}'
    assert {row.arguments for row in audit.rows[1:]} == {""}


async def test_the_owner_proves_it_once_and_confirms_every_time() -> None:
    done, audit, proven = Done(), MemoryAudit(utc_now), Proven()
    guard = guard_of(done, audit, verifier=proven)
    call = AskedCall()
    await guard.run("pay", PAY, call)
    await guard.run("pay", PAY, AskedCall(tool_call_id="call_2"))

    assert proven.asked == 1
    assert len(done.runs) == 2
    assert call.questions[0].startswith("Please confirm. Pay 5 to Anna. To confirm, press 1")
    assert events(audit) == [
        *("asked", "verified", "confirmed", "began", "finished"),
        *("asked", "confirmed", "began", "finished"),
    ]
    assert {row.digest for row in audit.rows} == {digest_of("CA1", "pay", audit.rows[0].arguments)}
    assert [row.tier for row in audit.rows if row.event == "confirmed"] == [Tier.VERIFIED] * 2


async def test_a_stranger_is_asked_nothing_and_offered_to_leave_a_message() -> None:
    done, audit, proven = Done(), MemoryAudit(utc_now), Proven()
    call = AskedCall()
    with capture_logs() as logs, pytest.raises(ToolRefused, match="offer to take a message"):
        await guard_of(done, audit, STRANGER, verifier=proven).run("pay", PAY, call)

    (line,) = logs
    assert (line["event"], line["tool"], line["why"]) == ("tool.not_run", "pay", "not the owner")
    assert (done.runs, call.questions, proven.asked) == ([], [], 0)
    assert events(audit) == ["asked", "refused"]


@pytest.mark.parametrize("reply", ["no", "other", "silence", "unheard"])
async def test_only_a_yes_is_a_yes(reply: Reply) -> None:
    done, audit = Done(), MemoryAudit(utc_now)
    with pytest.raises(ToolRefused, match=r"^not done: "):
        await guard_of(done, audit).run("pay", PAY, AskedCall(reply=reply))

    assert done.runs == []
    assert events(audit) == ["asked", "verified", "declined"]
    assert audit.rows[-1].detail == reply


async def test_who_cannot_prove_it_is_not_asked_to_confirm() -> None:
    done, audit, call = Done(), MemoryAudit(utc_now), AskedCall()
    with pytest.raises(ToolRefused, match=r"^wrong$"):
        await guard_of(done, audit, verifier=Proven("wrong")).run("pay", PAY, call)

    assert (done.runs, call.questions) == ([], [])
    assert events(audit) == ["asked", "not_verified", "refused"]


async def test_nobody_is_verified_by_what_the_caller_of_the_guard_says() -> None:
    done, audit, proven = Done(), MemoryAudit(utc_now), Proven("no")
    verified = type(OWNER)(OWNER.number, Tier.VERIFIED, can_verify=True)
    with pytest.raises(ToolRefused):
        await guard_of(done, audit, verified, verifier=proven).run("pay", PAY, AskedCall())

    assert proven.asked == 1


async def test_without_a_proof_to_give_the_owners_number_opens_nothing() -> None:
    done, audit = Done(), MemoryAudit(utc_now)
    with pytest.raises(ToolRefused, match=NOT_YOURS[:40]):
        await guard_of(done, audit, verifier=None).run("pay", PAY, AskedCall())

    assert done.runs == []


async def test_without_a_call_nobody_can_confirm_anything() -> None:
    done, audit = Done(), MemoryAudit(utc_now)
    with pytest.raises(ToolRefused):
        await guard_of(done, audit).run("pay", PAY)

    assert done.runs == []


async def test_without_a_voice_nothing_is_confirmed() -> None:
    done, audit = Done(), MemoryAudit(utc_now)
    with pytest.raises(ToolRefused, match=NO_VOICE[:30]):
        await guard_of(done, audit).run("pay", PAY, RefusingCall())

    assert done.runs == []
    assert events(audit)[-1] == "refused"


async def test_one_call_of_the_models_is_one_execution() -> None:
    done, audit = Done(), MemoryAudit(utc_now)
    guard, call = guard_of(done, audit), AskedCall()
    await guard.run("pay", PAY, call)
    with pytest.raises(ToolRefused, match="answered before"):
        await guard.run("pay", PAY, call)

    assert len(done.runs) == 1


async def test_what_was_read_back_is_what_is_run() -> None:
    """The one text: sorted, every name once."""
    done, audit, call = Done(), MemoryAudit(utc_now), AskedCall()
    await guard_of(done, audit).run(
        "pay", '{"to":\n "\\u0041nna",  "note": "x", "amount": 5}', call
    )

    assert audit.rows[0].arguments == '{"amount":5,"note":"x","to":"Anna"}'
    assert "note: x" in call.questions[0]


@pytest.mark.parametrize(
    "arguments",
    [
        '{"to": "Anna", "to": "Eve", "amount": 5}',
        '{"to": "Anna", "amount": NaN}',
        '{"to": "Anna", "amount": 1e999}',
        '{"to": "\\ud800", "amount": 5}',
        '["Anna", 5]',
        '"Anna"',
        '{"to": "Anna"',
        "[" * 5000,
        '{"amount": ' + "9" * 5000 + "}",
        '{"to": "' + "a" * LONGEST_CHARS + '"}',
    ],
    ids=["twice", "nan", "inf", "surrogate", "list", "text", "half", "deep", "huge", "long"],
)
async def test_arguments_that_can_be_read_in_two_ways_or_none_are_refused(arguments: str) -> None:
    done, audit, call = Done(), MemoryAudit(utc_now), AskedCall()
    with pytest.raises(ToolRefused, match="arguments") as refused:
        await guard_of(done, audit).run("pay", arguments, call)

    assert "Eve" not in refused.value.reason
    assert (done.runs, call.questions) == ([], [])
    assert events(audit) == ["asked", "refused"]
    assert audit.rows[0].arguments == ""


async def test_an_unknown_tool_is_refused_and_written_down_without_what_it_might_do() -> None:
    done, audit = Done(), MemoryAudit(utc_now)
    with (
        capture_logs() as logs,
        pytest.raises(ToolRefused, match="there are: look_up, pay, hangup"),
    ):
        await guard_of(done, audit).run("sudo\n" + "x" * 100, "{}", AskedCall())

    assert [(row.event, row.risk) for row in audit.rows] == [("asked", "high"), ("refused", "high")]
    assert len(audit.rows[0].tool) < 65
    assert "\n" not in audit.rows[0].tool
    assert logs == []


async def test_nobody_is_asked_about_arguments_that_do_not_fit() -> None:
    done, audit, proven, call = Done(), MemoryAudit(utc_now), Proven(), AskedCall()
    with pytest.raises(ToolRefused, match="amount"):
        await guard_of(done, audit, verifier=proven).run(
            "pay", '{"to": "Anna", "amount": "much"}', call
        )

    assert (proven.asked, call.questions) == (0, [])


@pytest.mark.parametrize("rows_left", [0, 1, 2, 3])
async def test_what_cannot_be_written_down_is_not_done(rows_left: int) -> None:
    done, audit = Done(), FailingAudit(utc_now, rows_left)
    with pytest.raises(ToolRefused, match=NOT_WRITTEN[:30]):
        await guard_of(done, audit).run("pay", PAY, AskedCall())

    assert done.runs == []


async def test_what_anybody_may_is_not_done_either_when_it_cannot_be_written_down() -> None:
    done, audit = Done(), FailingAudit(utc_now, 1)
    with pytest.raises(ToolRefused, match=NOT_WRITTEN[:30]):
        await guard_of(done, audit).run("look_up", '{"what": "x"}', AskedCall())

    assert (done.runs, audit.rows) == ([], [])


async def test_a_refusal_is_never_without_what_was_refused() -> None:
    done, audit = Done(), FailingAudit(utc_now, 2)
    with pytest.raises(ToolRefused, match=NOT_WRITTEN[:30]):
        await guard_of(done, audit).run("look_up", '{"what": "x"}', AskedCall())

    assert done.runs == []
    assert events(audit) == ["asked", "refused"]


async def test_a_policy_that_fails_denies() -> None:
    def explode(*_: object) -> str:
        raise ZeroDivisionError

    done, audit = Done(), MemoryAudit(utc_now)
    guard = guard_of(done, audit)
    guard.read_out = explode
    with pytest.raises(ToolRefused, match=NOT_DECIDED[:30]):
        await guard.run("pay", PAY, AskedCall())

    assert done.runs == []
    assert (audit.rows[-1].event, audit.rows[-1].detail) == ("refused", "ZeroDivisionError")


async def test_who_is_asked_over_and_over_is_asked_no_more() -> None:
    done, audit = Done(), MemoryAudit(utc_now)
    guard, asked = guard_of(done, audit), 0
    for number in range(ASKED_MOST + 5):
        call = AskedCall(reply="no", tool_call_id=f"call_{number}")
        with pytest.raises(ToolRefused):
            await guard.run("pay", PAY, call)
        asked += len(call.questions)

    assert asked == ASKED_MOST - 1  # One was the question who they are.


async def test_the_owners_word_about_a_risk_is_the_last() -> None:
    done, audit = Done(), MemoryAudit(utc_now)
    guard = guard_of(done, audit, STRANGER, decided={"pay": "low", "look_up": "high"})
    await guard.run("pay", PAY, AskedCall())
    with pytest.raises(ToolRefused):
        await guard.run("look_up", '{"what": "x"}', AskedCall(tool_call_id="call_2"))

    assert [name for name, _ in done.runs] == ["pay"]


async def test_two_at_once_are_not_verified_at_once(autojump_clock: trio.abc.Clock) -> None:
    """And each has a question of its own."""

    class Slow(Proven):
        async def verify(self, call: object, tell: object) -> str | None:
            self.asked += 1
            await trio.sleep(1)
            return None

    done, audit, slow = Done(), MemoryAudit(utc_now), Slow()
    guard, reasons = guard_of(done, audit, verifier=slow), list[str]()

    async def one(name: str) -> None:
        try:
            await guard.run("pay", PAY, AskedCall(tool_call_id=name))
        except ToolRefused as refused:
            reasons.append(refused.reason)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(one, "call_1")
        nursery.start_soon(one, "call_2")

    assert slow.asked == 1
    assert len(done.runs) == 1
    assert ["just being asked" in reason for reason in reasons] == [True]


async def test_a_yes_that_a_slow_disk_has_made_old_is_none(autojump_clock: trio.abc.Clock) -> None:
    class SlowAudit(MemoryAudit):
        async def write(self, *rows: object) -> None:
            if len(rows) == 2:
                await trio.sleep(31)
            await super().write(*rows)  # type: ignore[arg-type]

    done, audit = Done(), SlowAudit(utc_now)
    with pytest.raises(ToolRefused, match="too old"):
        await guard_of(done, audit).run("pay", PAY, AskedCall())

    assert done.runs == []
    assert events(audit)[-2:] == ["began", "refused"]


@pytest.mark.parametrize("left_s", [0.5, 1.5, 2.5])
async def test_who_hangs_up_leaves_one_last_row(
    left_s: float, autojump_clock: trio.abc.Clock
) -> None:
    """While they are asked: refused. While it is done: nobody knows."""
    done, audit = Done(wait_s=1), MemoryAudit(utc_now)
    with trio.move_on_after(left_s):
        await guard_of(done, audit).run("pay", PAY, AskedCall(wait_s=1))

    ends = [row.event for row in audit.rows if row.event in ENDS]
    assert ends == {0.5: ["refused"], 1.5: ["unknown"], 2.5: ["finished"]}[left_s]


@pytest.mark.parametrize(
    ("error", "event", "detail"),
    [
        (ToolRefused("no"), "failed", "refused"),
        (EffectUnknown("maybe"), "unknown", "no answer"),
        (LookupError("secret"), "failed", "LookupError"),
        (SystemExit(3), "failed", "SystemExit"),
        (ExceptionGroup("", [LookupError("secret")]), "failed", "ExceptionGroup"),
    ],
)
async def test_how_a_tool_failed_is_written_and_raised_unchanged(
    error: BaseException, event: str, detail: str, autojump_clock: trio.abc.Clock
) -> None:
    done, audit = Done(), MemoryAudit(utc_now)

    @done.box.add
    async def fail() -> None:
        """Fail."""
        await trio.lowlevel.checkpoint()
        raise error

    with pytest.raises(type(error)) as raised:
        await guard_of(done, audit, decided={"fail": "low"}).run("fail", "", AskedCall())

    assert raised.value is error
    assert (audit.rows[-1].event, audit.rows[-1].detail) == (event, detail)


def test_equal_arguments_are_one_text_and_others_are_not() -> None:
    one, other = Arguments.parse('{"a": 1, "b": "é"}'), Arguments.parse('{"b":"\\u00e9","a":1}')

    assert one == other
    assert digest_of("CA1", "pay", one.text) == digest_of("CA1", "pay", other.text)
    different = {
        digest_of("CA1", "pay", one.text),
        digest_of("CA2", "pay", one.text),
        digest_of("CA1", "payy", one.text),
        digest_of("CA1", "pay", Arguments.parse('{"a": 1.0, "b": "é"}').text),
    }
    assert len(different) == 4


def test_audit_errors_say_why() -> None:
    assert "disk" in str(AuditFailed("the disk is full"))


@pytest.mark.parametrize("number", [str(2**64), str(-(2**63) - 1), "9" * 5000, "1e400"])
def test_a_number_that_not_everybody_reads_alike_is_no_argument(number: str) -> None:
    with pytest.raises(ToolRefused, match="bad arguments"):
        Arguments.parse(f'{{"order": {number}}}')


@pytest.mark.parametrize("number", [2**64 - 1, -(2**63), 0, 4111111111111111])
def test_what_is_read_back_of_a_number_is_what_another_parser_makes_of_it(number: int) -> None:
    assert orjson.loads(Arguments.parse(f'{{"order": {number}}}').text) == {"order": number}
