"""A call for tools that are run without one: every answer is a refusal, until a test says else."""

from __future__ import annotations

import attrs
import trio

from actors.control import CONFIRM_S, Reply
from actors.errors import CarrierRefused, ToolRefused, Unspoken
from actors.policy.record import CallFacts
from actors.ports import Transfer, TransferOutcome

NOBODY = CallFacts(
    call_sid="CA1",
    stream_sid="",
    account_sid="",
    from_number="",
    to_number="",
    agent="",
    model="",
    voice="",
    started_at="",
)


@attrs.define(eq=False, kw_only=True)
class RefusingCall:
    """Stands for a call that lets nothing be done to it. Fits `CallControl`."""

    facts: CallFacts = NOBODY
    tool_call_id: str = "call_1"

    async def say(self, words: str) -> bool:
        await trio.lowlevel.checkpoint()
        raise Unspoken(f"no voice for {len(words)} characters")

    async def confirm(self, question: str, *, within_s: float = CONFIRM_S) -> Reply:
        await trio.lowlevel.checkpoint()
        raise Unspoken(f"no voice for {len(question)} characters, nor {within_s:g} s")

    async def press(self, digits: str) -> None:
        await trio.lowlevel.checkpoint()
        raise CarrierRefused(f"no {digits}")

    async def transfer(self, to: Transfer) -> TransferOutcome:
        await trio.lowlevel.checkpoint()
        raise CarrierRefused(f"not to {to.to}")

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
        await trio.lowlevel.checkpoint()
        raise CarrierRefused(f"{most} {end_key} {first_s} {between_s} {private} {fresh}")

    async def approve(self, tool_call_id: str) -> str:
        await trio.lowlevel.checkpoint()
        raise ToolRefused(f"no leave for {tool_call_id}")

    def change(self, *, instructions: str | None = None, language: str | None = None) -> None:
        raise ToolRefused(f"no change to {instructions} {language}")
