"""What a rehearsal model has to send: frames in order, every event with its id.

Pure.
"""

from __future__ import annotations

from collections import Counter
from random import Random

import attrs
import orjson

from gateway.lab.openai.conversation import Entry, Json
from gateway.lab.openai.shapes import Refusal
from gateway.lab.rehearsing.scenario import Failure


@attrs.frozen
class Say:
    """Send this text frame."""

    text: str


@attrs.frozen
class Close:
    """Close the WebSocket. Nothing follows."""

    code: int
    reason: str


Frame = Say | Close


@attrs.define(eq=False)
class Outbox:
    """Frames that were not taken yet, and a tally of all there ever were."""

    random: Random
    """Where ids come from."""
    sent: Counter[str] = attrs.field(factory=Counter, init=False)
    """Events sent, by type."""
    errors: list[str] = attrs.field(factory=list, init=False)
    """Codes of the errors sent, in order."""
    closed: Close | None = attrs.field(default=None, init=False)
    silent: bool = attrs.field(default=False, init=False)
    """Nothing but a close goes out any more."""
    _frames: list[Frame] = attrs.field(factory=list, init=False)

    def __len__(self) -> int:
        return len(self._frames)

    def new_id(self, prefix: str) -> str:
        """Name something as the server would."""
        return f"{prefix}_{self.random.getrandbits(80):020x}"

    def emit(self, kind: str, fields: Json) -> None:
        """Send one event, unless nothing goes out any more."""
        if self.silent or self.closed is not None:
            return
        self.sent[kind] += 1
        event = {"type": kind, "event_id": self.new_id("event"), **fields}
        self._frames.append(Say(orjson.dumps(event).decode()))

    def announce(self, entry: Entry, previous: str | None) -> None:
        """Tell of an item that is complete from the start."""
        body = {"item": entry.item, "previous_item_id": previous}
        self.emit("conversation.item.added", body)
        self.emit("conversation.item.done", body)

    def refuse(self, refusal: Refusal, event_id: str | None) -> None:
        """Answer a client event that is not obeyed."""
        self.errors.append(refusal.code)
        # *Observed*: errors about truncating do not say which event they are about.
        about_truncate = refusal.param in ("item_id", "audio_end_ms", "content_index")
        error = {
            "type": "invalid_request_error",
            "code": refusal.code,
            "message": refusal.message,
            "param": refusal.param,
            "event_id": None if about_truncate else event_id,
        }
        self.emit("error", {"error": error})

    def fail(self, failure: Failure) -> None:
        """Send an error that no client event caused."""
        self.errors.append(failure.code)
        body = {"type": failure.type, "code": failure.code, "message": failure.message}
        self.emit("error", {"error": {**body, "param": None, "event_id": None}})

    def close(self, code: int, reason: str) -> None:
        """End the session. Idempotent: the first word is the last."""
        if self.closed is None:
            self.closed = Close(code, reason)
            self._frames.append(self.closed)

    def take(self) -> list[Frame]:
        """What is to be sent now, in order."""
        frames, self._frames = self._frames, []
        return frames
