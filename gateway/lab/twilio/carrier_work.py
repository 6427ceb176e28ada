"""What Twilio does with a call that has no stream: keys, dials and recordings."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final, Protocol

import attrs
import trio

from gateway.lab.twilio.call_report import CallReport, TransferSeen
from gateway.lab.twilio.callee import RINGS_MS, Callee
from gateway.lab.twilio.line_facts import Pressed
from gateway.lab.twilio.scripted_caller import FarEnd
from gateway.lab.twilio.twiml_reader import Dial, Record, Redirect, Say
from gateway.lab.twilio.webhooks import NotAnswered, Webhooks

KEY_S: Final = 0.25
"""One key of `<Play digits>`."""
WAIT_S: Final = 0.5
"""One `w`. Source: "TwiML: Play", Twilio docs."""
WORD_S: Final = 0.06
"""One character of what Twilio says to a callee."""
MESSAGE_S: Final = 1.0
"""What a caller says to a `<Record>`."""
RECORDINGS_URL: Final = "https://api.twilio.com"


class Note(Protocol):
    """Puts something into the report."""

    def __call__(self, **changes: object) -> None:
        """Change these attributes of it."""


@attrs.frozen(eq=False, kw_only=True)
class CarrierWork:
    """Carries out verbs, for one call. Cancellable; what was done is in the report."""

    webhooks: Webhooks
    fields: Mapping[str, str]
    callee: Callee
    far_end: FarEnd
    new_id: Callable[[], str]
    now_ms: Callable[[], int]
    """Since the first stream was opened."""
    note: Note
    report: Callable[[], CallReport]
    """As it is now."""

    async def play(self, digits: str) -> None:
        """Send keys to the far end."""
        for key in digits:
            if key == "w":
                await trio.sleep(WAIT_S)
                continue
            self.far_end.heard_key(key)
            self.note(keys_played=(*self.report().keys_played, Pressed(key, self.now_ms())))
            await trio.sleep(KEY_S)

    async def dial(self, verb: Dial) -> dict[str, str] | None:
        """Call somebody, and let the two talk.

        Returns:
            What Twilio says became of it. `None`: the caller has hung up.

        """
        callee = self.callee
        child_sid = "CA" + self.new_id()
        child = {
            "AccountSid": self.fields["AccountSid"],
            "CallSid": child_sid,
            "ParentCallSid": self.fields["CallSid"],
            "CallStatus": "in-progress",
            "Direction": "outbound-dial",
            "To": verb.to,
            "From": verb.caller_id or self.fields["From"],
        }
        status, whisper = await self._ring(verb, callee), None
        bridged = False
        if status == "completed":
            if verb.status_callback is not None:
                with suppress(NotAnswered):
                    await self.webhooks.request(verb.status_callback, "POST", child)
            bridged = True
            if verb.whisper_url is not None:
                whisper, bridged = await self._whisper(verb.whisper_url, child, callee)
            if bridged:
                await trio.sleep(callee.hangs_up_after_ms / 1000)
        seen = TransferSeen(verb.to, verb.caller_id, whisper, status, bridged)
        self.note(transfers=(*self.report().transfers, seen))
        if status == "canceled":
            return None
        return {
            "DialCallSid": child_sid,
            "DialCallStatus": status,
            "DialBridged": "true" if bridged else "false",
        }

    async def _ring(self, verb: Dial, callee: Callee) -> str:
        """Let it ring. Returns what becomes of it, as Twilio calls it."""
        rings_ms, status = callee.answers_after_ms, "completed"
        if callee.busy or callee.fails:
            rings_ms, status = RINGS_MS, "busy" if callee.busy else "failed"
        if callee.no_answer or rings_ms > verb.timeout_s * 1000:
            rings_ms, status = verb.timeout_s * 1000, "no-answer"
        waits_ms = callee.caller_waits_ms
        if waits_ms is not None and waits_ms < rings_ms:
            await trio.sleep(waits_ms / 1000)
            return "canceled"
        await trio.sleep(rings_ms / 1000)
        return status

    async def _whisper(
        self, url: str, child: Mapping[str, str], callee: Callee
    ) -> tuple[str | None, bool]:
        """Carry out the callee's own document. Returns what was said, and whether they stayed."""
        said: list[str] = []
        left = callee.declines_after_ms
        patience_s = math.inf if left is None else left / 1000
        with trio.move_on_after(patience_s) as patience:
            while url:
                answer = await self.webhooks.request(url, "POST", child)
                self.note(requests=(*self.report().requests, answer.request))
                url = ""
                for verb in answer.verbs():
                    match verb:
                        case Say(text):
                            said.append(text)
                            await trio.sleep(len(text) * WORD_S)
                        case Redirect(target):
                            url = target
                        case _:
                            return " ".join(said) or None, False
        return " ".join(said) or None, not patience.cancelled_caught

    async def record(self, verb: Record) -> None:
        """Let the caller leave a message."""
        await trio.sleep(min(MESSAGE_S, verb.longest_s))
        self.note(recorded=self.report().recorded + 1)
        sid = "RE" + self.new_id()
        account = self.fields["AccountSid"]
        form = {
            "AccountSid": account,
            "CallSid": self.fields["CallSid"],
            "RecordingSid": sid,
            "RecordingUrl": f"{RECORDINGS_URL}/2010-04-01/Accounts/{account}/Recordings/{sid}",
            "RecordingStatus": "completed",
            "RecordingDuration": str(math.ceil(MESSAGE_S)),
        }
        if verb.status_callback is not None:
            with suppress(NotAnswered):
                await self.webhooks.request(verb.status_callback, "POST", form)
