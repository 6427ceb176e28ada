"""Guards for tests: tools that count what is done, a call that answers, a log that can fail."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import trio

from actors.control import CONFIRM_S, CallControl, Reply
from actors.errors import AuditFailed
from actors.guard import Caller, GuardedTools, Tell
from actors.policy.audit import AuditRow
from actors.policy.risk import Tier
from actors.toolbox import Toolbox
from gateway.permission.audit_log import MemoryAudit
from gateway.permission.read_back import Questions
from tests.calls import RefusingCall

DAWN = datetime(2026, 11, 20, 8, tzinfo=UTC)
OWNER = Caller(number="+4930123456", tier=Tier.KNOWN, can_verify=True)
STRANGER = Caller(number="+4930999999")


def utc_now() -> datetime:
    """The clock on the wall, where trio's began at dawn."""
    return DAWN + timedelta(seconds=trio.current_time() % 1_000_000)


@attrs.define(eq=False, kw_only=True)
class AskedCall(RefusingCall):
    """Stands for a call whose caller answers every question, and types what they are asked for."""

    reply: Reply = "yes"
    typed: list[str] = attrs.field(factory=list[str])
    """What comes each time that keys are asked for, the next first."""
    said: list[str] = attrs.field(factory=list[str])
    questions: list[str] = attrs.field(factory=list[str])
    wait_s: float = 0.0

    async def say(self, words: str) -> bool:
        self.said.append(words)
        await trio.sleep(self.wait_s)
        return True

    async def confirm(self, question: str, *, within_s: float = CONFIRM_S) -> Reply:
        self.questions.append(question)
        await trio.sleep(min(self.wait_s, within_s))
        return self.reply

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
        assert private, f"{end_key} {first_s} {between_s}"
        assert fresh
        # Nobody types before they hear the first word.
        await trio.sleep(max(self.wait_s, 0.1) if self.typed else self.wait_s)
        return self.typed.pop(0)[:most] if self.typed else ""


@attrs.define(eq=False)
class Proven:
    """Stands for a proof that the caller gives, or does not."""

    why_not: str | None = None
    asked: int = 0

    async def verify(self, call: CallControl, tell: Tell) -> str | None:
        del call
        self.asked += 1
        await tell("verified" if self.why_not is None else "not_verified", "test")
        return self.why_not


@attrs.define(eq=False)
class FailingAudit(MemoryAudit):
    """Stands for a log whose disk is full from some row on."""

    rows_left: int = 0

    async def write(self, *rows: AuditRow) -> None:
        if len(rows) > self.rows_left:
            await trio.lowlevel.checkpoint()
            raise AuditFailed("the disk is full")
        self.rows_left -= len(rows)
        await super().write(*rows)


@attrs.define(eq=False)
class Done:
    """Tools that write down what they did."""

    runs: list[tuple[str, Mapping[str, Any]]] = attrs.field(factory=list)
    wait_s: float = 0.0
    box: Toolbox = attrs.field(factory=Toolbox)

    def __attrs_post_init__(self) -> None:
        self.box.add(self.look_up, risk="low")
        self.box.add(self.pay, read_back="Pay {amount} to {to}.")

    async def look_up(self, what: str) -> str:
        """Find something."""
        await trio.sleep(self.wait_s)
        self.runs.append(("look_up", {"what": what}))
        return f"found {what}"

    async def pay(self, to: str, amount: int, note: str = "") -> str:
        """Pay somebody."""
        self.runs.append(("pay", {"to": to, "amount": amount, "note": note}))
        await trio.sleep(self.wait_s)
        return "paid"


def guard_of(
    done: Done,
    audit: MemoryAudit,
    caller: Caller = OWNER,
    **how: Any,  # noqa: ANN401 - whatever a guard takes.
) -> GuardedTools:
    """A guard around these tools, whose caller can prove that they are the owner."""
    how.setdefault("verifier", Proven())
    return GuardedTools(
        tools=done.box, call_sid="CA1", caller=caller, audit=audit, read_out=Questions(), **how
    )


def events(audit: MemoryAudit) -> list[str]:
    return [row.event for row in audit.rows]


NOW: Callable[[], datetime] = utc_now
