"""The rehearsal model: one Realtime session that says what its script says.

Pure: no sockets, no clock; every entry takes `now_ms`, any clock that does not run backwards.
As strict as the real server, so that what works here works there.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import Any, Final

import attrs
import orjson

from gateway.lab.openai import session_rules
from gateway.lab.openai.conversation import Conversation, Json
from gateway.lab.openai.faults import Faults
from gateway.lab.openai.items import without_audio
from gateway.lab.openai.outbox import Close, Frame, Outbox, Say
from gateway.lab.openai.progress import Progress
from gateway.lab.openai.rehearsed_session import RehearsedSession
from gateway.lab.openai.shapes import Refusal
from gateway.lab.openai.timers import Timers
from gateway.lab.rehearsing.scenario import McpScript, ModelScript

__all__ = ["LIFETIME_MS", "MODEL", "Close", "Frame", "RehearsalModel", "Say"]

MODEL: Final = "gpt-realtime-2.1"

LIFETIME_MS: Final = 60 * 60 * 1000
"""Source: "Realtime conversations", OpenAI docs: a session lasts 60 minutes at most."""

_LOG: Final = 5000
"""Client events remembered, append events not counted: a long call has a few hundred."""


@attrs.define(eq=False)
class RehearsalModel:
    """The server's side of one Realtime session.

    Feed it with `connect`, `receive` and `tick`, send what `take` returns, and come back at
    `next_wake_ms`. What it was sent and what it thought of it stays readable for tests.
    """

    script: ModelScript
    voice: Callable[[str], bytes]
    """Words to mu-law at 8 kHz."""
    seed: int = 0
    model: str = MODEL
    caller_lines: Sequence[str] = ()
    """What the caller is going to say: transcripts, since nothing here understands speech."""
    started_at_s: int = 1_800_000_000
    """Unix time of `connect`, for `expires_at` alone."""
    lifetime_ms: int = LIFETIME_MS
    progress: Progress = attrs.field(factory=Progress)
    """Of the script: a call's sessions share it, so that the second goes on where the first was."""

    _received: deque[Json] = attrs.field(factory=lambda: deque(maxlen=_LOG), init=False)
    _timers: Timers = attrs.field(factory=Timers, init=False)
    _outbox: Outbox = attrs.field(init=False)
    _faults: Faults = attrs.field(init=False)
    _live: RehearsedSession = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._outbox = Outbox(Random(self.seed))
        self._faults = Faults(self.script.faults, self._outbox)
        session = session_rules.new_session(
            self._outbox.new_id("sess"),
            model=self.model,
            expires_at_s=self.started_at_s + self.lifetime_ms // 1000,
        )
        self._live = RehearsedSession(
            session,
            self.script.answers,
            self.voice,
            self.caller_lines,
            self._outbox,
            self._timers,
            self._faults,
            self.progress,
            self.script.mcp_down,
        )

    def connect(self, now_ms: int) -> None:
        """Begin the session."""
        self._timers.now_ms = now_ms
        for fault in self.script.faults:
            if fault.at.connect:
                self._faults.strike(fault)
            elif fault.at.at_ms is not None:
                self._timers.after(fault.at.at_ms, partial(self._faults.strike, fault))
        self._timers.after(self.lifetime_ms, self._faults.expire)
        self._outbox.emit("session.created", {"session": self.session})

    def receive(self, text: str | bytes, now_ms: int) -> None:
        """Take one client event, as it came off the socket."""
        self.tick(now_ms)
        if self.closed is not None:
            return
        event_id = None
        try:
            event = _parse(text)
            given = event.get("event_id")
            event_id = given if isinstance(given, str) else None
            if event.get("type") != "input_audio_buffer.append":
                self._received.append(_without_item_audio(event))
            session_rules.check_event(event)
            self._live.obey(event)
        except Refusal as refusal:
            self._outbox.refuse(refusal, event_id)

    def tick(self, now_ms: int) -> None:
        """Do everything that is due."""
        self._timers.advance(now_ms)
        while self.closed is None and (action := self._timers.take_due()) is not None:
            action()

    def next_wake_ms(self) -> int | None:
        """When `tick` has something to do; `None`: only when something is received."""
        return self._timers.next_ms if self.closed is None else None

    def take(self) -> list[Frame]:
        """What is to be sent now, in order."""
        return self._outbox.take()

    # What a test or a socket asks.

    @property
    def session(self) -> Json:
        """The effective session."""
        return self._live.session

    @property
    def conversation(self) -> Conversation:
        """The default conversation."""
        return self._live.conversation

    @property
    def received(self) -> list[Json]:
        """Client events in order, without `input_audio_buffer.append` and without audio."""
        return list(self._received)

    @property
    def sent(self) -> Counter[str]:
        """Events sent, by type."""
        return self._outbox.sent

    def abandon(self) -> None:
        """The connection is gone. An answer that nobody heard a word of is the next session's."""
        self._live.replies.abandon()

    @property
    def errors(self) -> list[str]:
        """Codes of the errors sent, in order."""
        return self._outbox.errors

    @property
    def violations(self) -> list[str]:
        """What no error tells and yet no client should do."""
        return self._live.items.violations

    @property
    def unanswered(self) -> list[str]:
        """The `call_id` of every function call that has no output; requests for leave likewise."""
        return [*self._live.items.unanswered, *self._live.remote.waiting]

    @property
    def ran(self) -> list[McpScript]:
        """What servers of tools were asked to run, with our leave."""
        return self._live.remote.ran

    @property
    def appends(self) -> int:
        """How often the client appended caller audio."""
        return self._live.caller.appends

    @property
    def audio_bytes(self) -> int:
        """Caller audio received, in the session's input format."""
        return self._live.caller.received_bytes

    @property
    def truncates(self) -> int:
        """Truncates that were carried out."""
        return self._live.items.truncates

    @property
    def overlong_truncates(self) -> int:
        """Truncates beyond what was generated and sent."""
        return self._live.items.overlong_truncates

    @property
    def active_response(self) -> str | None:
        """The response in progress in the default conversation."""
        reply = self._live.replies.active
        return reply.response_id if reply else None

    @property
    def backlog(self) -> int:
        """Frames that were not taken yet."""
        return len(self._outbox)

    @property
    def closed(self) -> Close | None:
        """How the model ended the session, if it did."""
        return self._outbox.closed

    @property
    def silent(self) -> bool:
        """A fault: nothing is sent any more."""
        return self._outbox.silent

    @property
    def ignores_close(self) -> bool:
        """A fault: the client's close frame is not to be answered."""
        return self._faults.ignores_close


def _parse(text: str | bytes) -> Json:
    try:
        event: Any = orjson.loads(text)
    except ValueError as error:  # The peer's text stays out of the message.
        raise Refusal("invalid_event", "The event is not valid JSON.") from error
    if not isinstance(event, dict):
        raise Refusal("invalid_event", "The event is not a JSON object.")
    return event


def _without_item_audio(event: Json) -> Json:
    item = event.get("item")
    content = item.get("content") if isinstance(item, dict) else None
    if not isinstance(item, dict) or not isinstance(content, list):
        return event
    parts = [without_audio(part) if isinstance(part, dict) else part for part in content]
    return {**event, "item": {**item, "content": parts}}
