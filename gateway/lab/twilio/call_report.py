"""What the rehearsal caller reports about one call: the outside's truth, not the gateway's."""

from __future__ import annotations

from typing import Literal

import attrs

from actors.messages import ULAW_BYTES_PER_MS
from gateway.lab.twilio.line_facts import Cut, LineEnding, MarkTaken, Pressed, Said, Warned
from gateway.lab.twilio.playout_buffer import Heard
from gateway.lab.twilio.twiml_reader import Verb

CallEnding = Literal["caller_hung_up", "gateway_hung_up", "rejected", "failed"]


@attrs.frozen
class Request:
    """One HTTP request that Twilio's side made."""

    path: str
    status: int


@attrs.frozen
class TransferSeen:
    """The call was connected to somebody else, or was to be."""

    to: str
    caller_id: str | None
    whisper: str | None
    """What the callee was told first."""
    status: str
    """`DialCallStatus`."""
    bridged: bool
    """Caller and callee spoke to each other."""


@attrs.frozen
class CallReport:
    """One rehearsed call as the phone saw it. Times are ms since its first stream was opened."""

    call_sid: str
    ended: CallEnding = "failed"
    problem: str | None = None
    """What went wrong, in one sentence; `None` when nothing did."""
    duration_s: float = 0.0
    """From the first webhook to the end."""
    answered_after_ms: int | None = None
    """From the first webhook until the stream was open; `None` when it never was."""
    stream_sid: str | None = None
    """Of the latest."""
    stream_sids: tuple[str, ...] = ()
    """Of every one, in order."""
    stream_ended: LineEnding | None = None
    close_code: int | None = None
    """What the gateway closed the WebSocket with, if it did."""
    close_reason: str = ""
    heard: tuple[Heard, ...] = ()
    """Agent audio as it was played, piece by piece."""
    unplayed_ms: int = 0
    """Agent audio that was still queued when the stream ended, and was lost with it."""
    said: tuple[Said, ...] = ()
    pressed: tuple[Pressed, ...] = ()
    keys_played: tuple[Pressed, ...] = ()
    """What the far end got of the keys that the agent had sent."""
    transfers: tuple[TransferSeen, ...] = ()
    recorded: int = 0
    """Messages that the caller left."""
    cuts: tuple[Cut, ...] = ()
    marks: tuple[MarkTaken, ...] = ()
    warnings: tuple[Warned, ...] = ()
    steps_left: int = 0
    """Steps of the script that were never reached."""
    verbs: tuple[Verb, ...] = ()
    """TwiML in the order in which it was carried out."""
    requests: tuple[Request, ...] = ()

    @property
    def pressed_by_agent(self) -> str:
        """The keys that the far end got."""
        return "".join(pressed.digit for pressed in self.keys_played)

    @property
    def heard_ms(self) -> int:
        """How much agent audio was played, gaps not counted."""
        return sum(len(heard.ulaw) for heard in self.heard) // ULAW_BYTES_PER_MS

    @property
    def heard_ulaw(self) -> bytes:
        """All agent audio that was played, without the gaps."""
        return b"".join(heard.ulaw for heard in self.heard)
