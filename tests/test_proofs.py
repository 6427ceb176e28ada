"""How somebody proves to be the owner: by number or code, and how often they may be wrong."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import argon2
import attrs
import pyotp
import pytest
import trio

from actors.control import CallControl
from actors.errors import CarrierRefused, Unspoken
from actors.policy.audit import AuditEvent, AuditRow
from actors.policy.risk import Tier
from gateway.configuration.convert import Secret
from gateway.configuration.tool_settings import OwnerSettings
from gateway.permission.audit_log import AuditLog, MemoryAudit, SqliteAudit
from gateway.permission.phrases import PHRASES
from gateway.permission.proofs import (
    LOCKED,
    NOT_PROVEN,
    NOTHING_TYPED,
    PATIENCE_S,
    PER_DAY_MOST,
    PER_NUMBER_MOST,
    TRIES_MOST,
    WAIT_S,
    OwnerVerifier,
    Proofs,
)
from tests.guards import DAWN, AskedCall

SEED = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
BY_PIN = OwnerSettings(pin=Secret("4711"))
BY_CODE = OwnerSettings(totp_secret=Secret(SEED.lower()))
WORDS = PHRASES["en"]


@attrs.define
class Clock:
    """Stands for the clock on the wall."""

    now: datetime = DAWN

    def __call__(self) -> datetime:
        return self.now


@attrs.define(eq=False)
class Desk:
    """Everything of one gateway, and as many callers as a test likes."""

    owner: OwnerSettings = BY_PIN
    clock: Clock = attrs.field(factory=Clock)
    audit: AuditLog = attrs.field(
        default=attrs.Factory(lambda self: MemoryAudit(self.clock), takes_self=True)
    )
    waited_s: float = 0.0

    def caller(self, number: str = "+1") -> OwnerVerifier:
        return OwnerVerifier(Proofs(self.owner, self.audit, self.clock), number, WORDS)

    async def call(self, *typed: str, number: str = "+1") -> str | None:
        return await self.verify(self.caller(number), AskedCall(typed=list(typed)), number)

    async def verify(
        self, verifier: OwnerVerifier, call: CallControl, number: str = "+1"
    ) -> str | None:
        async def tell(event: AuditEvent, detail: str) -> None:
            await self.audit.write(
                AuditRow(
                    event=event, call_sid="CA1", tool_call_id="1", tool="pay", digest="",
                    risk="high", tier=Tier.KNOWN, caller=number, detail=detail,
                )
            )  # fmt: skip

        began_s = trio.current_time()
        told = await verifier.verify(call, tell)
        self.waited_s = trio.current_time() - began_s
        return told

    def code(self, off_s: float = 0) -> str:
        return pyotp.TOTP(SEED).at(self.clock.now + timedelta(seconds=off_s))


async def test_the_right_number_is_the_owner(autojump_clock: trio.abc.Clock) -> None:
    desk, call = Desk(), AskedCall(typed=["4711"])

    assert await desk.verify(desk.caller(), call) is None
    assert call.said == [WORDS.enter]


@pytest.mark.parametrize(
    "typed", ["4712", "47", "47110", "4711#", "*4711", "04711", "\uff14\uff17\uff11\uff11", "471 1"]
)
async def test_another_is_not(typed: str, autojump_clock: trio.abc.Clock) -> None:
    assert await Desk().call(typed, typed, typed) == NOT_PROVEN


async def test_nothing_typed_is_no_try(autojump_clock: trio.abc.Clock) -> None:
    desk = Desk()
    verifier = desk.caller()
    for _ in range(TRIES_MOST + 1):
        assert await desk.verify(verifier, AskedCall()) == NOTHING_TYPED

    assert await desk.verify(verifier, AskedCall(typed=["4711"])) is None


async def test_there_are_three_tries_in_a_call_and_they_take_longer_each(
    autojump_clock: trio.abc.Clock,
) -> None:
    desk, call = Desk(), AskedCall(typed=["1", "2", "3", "4711"])
    verifier = desk.caller()

    assert await desk.verify(verifier, call) == NOT_PROVEN
    assert desk.waited_s == pytest.approx(sum(WAIT_S) + 0.3)
    assert call.said == [WORDS.enter, WORDS.again, WORDS.again]
    assert await desk.verify(verifier, call) == NOT_PROVEN
    assert call.typed == ["4711"]


async def test_a_number_has_five_wrong_tries_in_a_day_whatever_it_knows_then(
    autojump_clock: trio.abc.Clock,
) -> None:
    desk = Desk()
    assert await desk.call("1", "2", "3") == NOT_PROVEN
    assert await desk.call("1", "2", "4711") == LOCKED
    assert await desk.call("4711") == LOCKED
    assert await desk.call("4711", number="+2") is None
    desk.clock.now += timedelta(hours=24, seconds=1)
    assert await desk.call("4711") is None


async def test_all_numbers_together_have_twenty(autojump_clock: trio.abc.Clock) -> None:
    desk = Desk()
    for number in range(PER_DAY_MOST // TRIES_MOST):
        assert await desk.call("1", "2", "3", number=f"+{number}") == NOT_PROVEN
    assert await desk.call("1", "2", "3", number="+77") == LOCKED
    assert await desk.call("4711", number="+78") == LOCKED


async def test_the_right_one_forgives_none_of_the_wrong_ones(
    autojump_clock: trio.abc.Clock,
) -> None:
    desk = Desk()
    assert await desk.call("1", "2", "4711") is None
    assert await desk.call("1", "2", "4711") is None
    assert await desk.call("1", "4711") == LOCKED


async def test_tries_at_the_same_time_are_counted_too(autojump_clock: trio.abc.Clock) -> None:
    desk, told = Desk(), list[str | None]()

    async def one() -> None:
        told.append(await desk.call("1", "2", "3"))

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(one)

    assert isinstance(desk.audit, MemoryAudit)
    assert len(desk.audit.rows) == PER_NUMBER_MOST
    assert LOCKED in told


async def test_a_restart_forgets_nothing(tmp_path: Path) -> None:
    path, told = tmp_path / "audit.sqlite", list[str | None]()
    for typed in (["1"] * 3, ["1"] * 3, ["4711"]):
        clock = Clock()
        audit = SqliteAudit(path, clock)
        desk = Desk(clock=clock, audit=audit)
        verifier = desk.caller()
        # Without the waits: this is real time.
        for one in typed:
            told.append(await verifier.proofs.judge(one, "+1", tell_to(audit)))
        await audit.aclose()

    assert told == ["wrong"] * 5 + ["locked"] * 2


def tell_to(audit: AuditLog):  # type: ignore[no-untyped-def]  # noqa: ANN201
    async def tell(event: AuditEvent, detail: str) -> None:
        row = AuditRow(
            event=event, call_sid="CA1", tool_call_id="1", tool="pay", digest="", risk="high",
            tier=Tier.KNOWN, caller="+1", detail=detail,
        )  # fmt: skip
        await audit.write(row)

    return tell


@pytest.mark.parametrize("off_s", [-30, 0, 30])
async def test_a_code_may_be_one_step_off(off_s: float, autojump_clock: trio.abc.Clock) -> None:
    desk = Desk(BY_CODE)

    assert await desk.call(desk.code(off_s)) is None


@pytest.mark.parametrize("off_s", [-90, -60, 60, 90, 3600])
async def test_but_not_two(off_s: float, autojump_clock: trio.abc.Clock) -> None:
    desk = Desk(BY_CODE)

    assert await desk.call(desk.code(off_s)) == NOTHING_TYPED
    assert isinstance(desk.audit, MemoryAudit)
    assert [row.detail for row in desk.audit.rows] == ["wrong"]


async def test_a_code_is_good_once_in_whatever_call(autojump_clock: trio.abc.Clock) -> None:
    desk = Desk(BY_CODE)
    code = desk.code()

    assert await desk.call(code) is None
    assert await desk.call(code, code, code, number="+2") == NOT_PROVEN
    desk.clock.now += timedelta(seconds=30)
    assert await desk.call(desk.code(), number="+3") is None


async def test_with_both_either_will_do(autojump_clock: trio.abc.Clock) -> None:
    desk = Desk(attrs.evolve(BY_CODE, pin=Secret("4711")))

    assert await desk.call("4711") is None
    assert await desk.call(desk.code()) is None


async def test_a_hash_will_do_for_a_number() -> None:
    """In a thread, and so in real time; as cheap as the algorithm goes."""
    cheap = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    desk = Desk(OwnerSettings(pin=Secret(cheap.hash("4711"))))
    proofs = Proofs(desk.owner, desk.audit, desk.clock)

    assert await proofs.judge("4711", "+1", tell_to(desk.audit)) == "right"
    assert await proofs.judge("4712", "+1", tell_to(desk.audit)) == "wrong"
    broken = Proofs(OwnerSettings(pin=Secret("$argon2id$broken")), desk.audit, desk.clock)
    assert await broken.judge("4711", "+1", tell_to(desk.audit)) == "wrong"


async def test_no_row_has_what_was_typed(autojump_clock: trio.abc.Clock) -> None:
    desk = Desk()
    await desk.call("8642", "97531", "4711")

    assert isinstance(desk.audit, MemoryAudit)
    assert [row.event for row in desk.audit.rows] == ["not_verified", "not_verified", "verified"]
    assert not [typed for typed in ("8642", "97531", "4711") if typed in repr(desk.audit.written)]


@attrs.define(eq=False, kw_only=True)
class Hasty(AskedCall):
    """Stands for a caller who knows the question, and types over it; or never types."""

    keys_after_s: float = 1.0
    speaks_s: float = 5.0
    collects_since_s: float | None = None
    cut: bool = False

    async def say(self, words: str) -> bool:
        try:
            await trio.sleep(self.speaks_s)
            self.said.append(words)
        finally:
            self.cut = words not in self.said
        return True

    async def collect_digits(
        self,
        *,
        most: int,
        end_key: str | None = "#",
        first_s: float = 10.0,
        between_s: float = 4.0,
        private: bool = False,
        fresh: bool = False,
    ) -> str:
        assert private, f"{most} {end_key} {between_s} {fresh}"
        self.collects_since_s = trio.current_time()
        with trio.move_on_after(first_s):
            await trio.sleep(self.keys_after_s)
            return "4711"
        return ""


async def test_keys_are_private_before_the_questions_first_word(
    autojump_clock: trio.abc.Clock,
) -> None:
    desk, call = Desk(), Hasty()

    began_s = trio.current_time()
    assert await desk.verify(desk.caller(), call) is None
    assert call.collects_since_s == began_s
    assert desk.waited_s == pytest.approx(1)
    assert call.cut


async def test_who_types_nothing_is_not_waited_for_long(autojump_clock: trio.abc.Clock) -> None:
    desk, call = Desk(), Hasty(keys_after_s=1000)

    assert await desk.verify(desk.caller(), call) == NOTHING_TYPED
    assert desk.waited_s == pytest.approx(5 + PATIENCE_S)


async def test_without_a_voice_nobody_is_asked(autojump_clock: trio.abc.Clock) -> None:
    class Mute(Hasty):
        async def say(self, words: str) -> bool:
            await trio.lowlevel.checkpoint()
            raise Unspoken(f"no voice for {len(words)} characters")

    desk = Desk()
    with pytest.raises(Unspoken):
        await desk.verify(desk.caller(), Mute(keys_after_s=100))


async def test_while_another_tool_has_the_keys_nobody_is_asked(
    autojump_clock: trio.abc.Clock,
) -> None:
    class Taken(Hasty):
        async def collect_digits(self, **_: object) -> str:
            await trio.lowlevel.checkpoint()
            raise CarrierRefused("another tool waits for keys")

    desk = Desk()
    with pytest.raises(CarrierRefused):
        await desk.verify(desk.caller(), Taken())
