"""Whom the gateway calls: rings them, lets them answer, and tells what became of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final, Literal

import attrs
import trio

from gateway.lab.twilio.api_create import PlacedCall
from gateway.lab.twilio.call_report import CallReport
from gateway.lab.twilio.callee import RINGS_MS, Callee
from gateway.lab.twilio.phone import Notices, Phone, call_fields
from gateway.lab.twilio.twilio_api import TwilioApi
from gateway.lab.twilio.twiml_reader import Verb
from gateway.lab.twilio.webhooks import NotAnswered

Rung = Literal["completed", "busy", "no-answer", "failed", "canceled"]
"""What becomes of a call that rings. `completed`: somebody answered."""
_SIP_STATUS: Final[dict[Rung, str]] = {
    "busy": "486", "no-answer": "487", "failed": "404", "canceled": "487",
}  # fmt: skip


@attrs.define(eq=False, kw_only=True)
class Ringing:
    """Rings somebody for every call that is placed. `TwilioApi.place` is its `place`.

    Args:
        world: The calls live in it.
        api: The account that places them.
        phone: Makes the phone of whoever is called, from the call and its webhooks' fields.
        callee: Who is called: whether and when they answer. The rest of them is the phone's.

    """

    world: trio.Nursery
    api: TwilioApi
    phone: Callable[[PlacedCall, dict[str, str]], Phone]
    callee: Callable[[PlacedCall], Callee] = lambda _: Callee()
    reports: list[CallReport] = attrs.field(factory=list[CallReport], init=False)
    """Of the calls that were answered and are over."""
    unanswered: list[tuple[str, Rung]] = attrs.field(factory=list[tuple[str, Rung]], init=False)
    """CallSids, and what became of them."""

    def place(self, placed: PlacedCall) -> None:
        """Begin to ring somebody."""
        self.world.start_soon(self._ring, placed, name=f"ringing {placed.call_sid}")

    async def _ring(self, placed: PlacedCall) -> None:
        fields = call_fields(
            placed.call_sid,
            self.api.account_sid,
            from_number=placed.from_number,
            to_number=placed.to,
            direction="outbound-api",
        )
        phone = self.phone(placed, fields)
        status = await self._answer(placed, self.callee(placed))
        told = placed.form.get("StatusCallback")
        if status == "completed":
            phone.answered_at = placed.form["Url"], placed.form.get("Method", "POST")
            phone.limit_s = min(phone.limit_s, placed.longest_s)
            phone.notices = None if told is None else Notices(self.world, told)
            self.reports.append(await phone.call())
            return
        self.unanswered.append((placed.call_sid, status))
        if told is not None:
            form = fields | {
                "CallStatus": status,
                "CallDuration": "0",
                "SipResponseCode": _SIP_STATUS[status],
                "CallbackSource": "call-progress-events",
                "SequenceNumber": "0",
            }
            with suppress(NotAnswered):
                await phone.webhooks.request(told, "POST", form)

    async def _answer(self, placed: PlacedCall, callee: Callee) -> Rung:
        """Let it ring. Somebody may end the call meanwhile."""
        status: Rung = "completed"
        rings_s = callee.answers_after_ms / 1000
        if callee.busy or callee.fails:
            rings_s, status = RINGS_MS / 1000, "busy" if callee.busy else "failed"
        if callee.no_answer or rings_s > placed.ring_s:
            rings_s, status = placed.ring_s, "no-answer"
        bell = _Bell(placed.call_sid)
        with self.api.reaching(bell), bell.scope:
            await trio.sleep(rings_s)
        return "canceled" if bell.scope.cancelled_caught else status


@attrs.define(eq=False)
class _Bell:
    """A call while it rings. Fits `LiveCall`."""

    call_sid: str
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)

    def go_on_with(self, verbs: tuple[Verb, ...]) -> None:
        """Nobody is there yet whom a document could be about."""

    def end(self) -> None:
        """Stop ringing."""
        self.scope.cancel("the call was ended")
