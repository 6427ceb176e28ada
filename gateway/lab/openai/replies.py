"""The responses of a rehearsed session that are in progress, and what the script has left to say.

Pure. Emits what every response begins and ends with; `reply` has what lies between.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import attrs

from gateway.lab.openai import session_rules
from gateway.lab.openai.conversation import Conversation, Json
from gateway.lab.openai.outbox import Outbox
from gateway.lab.openai.progress import Progress
from gateway.lab.openai.reply import Reply, make_parts, make_plan
from gateway.lab.openai.shapes import Refusal
from gateway.lab.openai.usage import Meter
from gateway.lab.rehearsing.scenario import OUT_OF_ANSWERS, Answer, Item

LINE: Final = "line"
"""The purpose of a response that only says what it is told to. As `gateway.session.filler` asks."""
SAY: Final = "Say exactly this: "
LINE_AFTER_MS: Final = 100
NO_ANSWER: Final = 0
"""In place of the number of an answer: the script has nothing to do with it."""


@attrs.define(eq=False)
class Replies:
    """Begins responses and settles them; their steps are for the caller to take in time."""

    answers: Sequence[Answer]
    voice: Callable[[str], bytes]
    """Words to mu-law at 8 kHz."""
    outbox: Outbox
    conversation: Conversation
    progress: Progress = attrs.field(factory=Progress)
    _running: dict[str, Reply] = attrs.field(factory=dict, init=False)
    _meter: Meter = attrs.field(factory=Meter, init=False)

    @property
    def active(self) -> Reply | None:
        """The one in progress in the default conversation."""
        replies = self._running.values()
        return next((reply for reply in replies if reply.conversation is not None), None)

    def cancellable(self, response_id: str | None) -> Reply:
        """Look one in progress up; without an id, the active one.

        Raises:
            Refusal: There is nothing to cancel.

        """
        reply = self._running.get(response_id) if response_id else self.active
        if reply is None:
            message = "Cancellation failed: no active response found"
            raise Refusal("response_cancel_not_active", message)
        return reply

    def begin(self, params: Json, session: Json, now_ms: int) -> Reply:
        """Begin the response that `response.create` asks for.

        Raises:
            Refusal: It cannot be had, or not now.

        """
        in_band = params.get("conversation") != "none"
        if in_band and self.active is not None:
            raise Refusal(
                "conversation_already_has_active_response",
                "Conversation already has an active response in progress:"
                f" {self.active.response_id}. Wait until the response is finished before creating a"
                " new one.",
            )
        session_rules.check_response(params, model=session["model"])
        for given in params.get("input", ()):
            if given["type"] == "item_reference" and self.conversation.find(given["id"]) is None:
                raise Refusal("invalid_value", f"No item '{given['id']}'.", "response.input")
        settings = _settings(params, session, in_band=in_band)
        tools: list[Json] = params["tools"] if "tools" in params else session["tools"]
        reply = self._make_reply(_line(params), settings, tools, now_ms, in_band=in_band)
        self._running[reply.response_id] = reply
        self.outbox.emit("response.created", {"response": reply.body()})
        return reply

    def settle(self, reply: Reply, instructions: str, caller_ms: int) -> list[Json]:
        """Account for a reply that has finished or was stopped, and say that it is done.

        Args:
            reply: One in progress. It is not, any more.
            instructions: The session's.
            caller_ms: All caller audio so far.

        Returns:
            The function calls that it made.

        """
        del self._running[reply.response_id]
        if reply.status == "cancelled":
            self._give_back(reply)
        if reply.status == "failed":
            usage = self._meter.nothing()
        else:
            read = [instructions, *self.conversation.items()]
            usage = self._meter.count(read, caller_ms, reply.sent_text, reply.sent_ms)
        self.outbox.emit("response.done", {"response": reply.body(usage)})
        self.outbox.emit("rate_limits.updated", {"rate_limits": [self._meter.limit()]})
        calls = [part.entry.item for part in reply.parts if part.kind == "call" and part.began]
        return [item for item in calls if item["status"] == "completed"]

    def abandon(self) -> None:
        """The connection is gone, and with it what was in progress."""
        for reply in self._running.values():
            self._give_back(reply)
        self._running.clear()

    def _give_back(self, reply: Reply) -> None:
        if reply.answer != NO_ANSWER and not any(part.began for part in reply.parts):
            # Nobody heard any of it, so it is still what comes next: neither a caller who pauses in
            # the middle of a question derails the scenario, nor a session that is lost.
            self.progress.answers_used -= 1

    def _make_reply(
        self,
        line: Answer | None,
        settings: Json,
        tools: list[Json],
        now_ms: int,
        *,
        in_band: bool,
    ) -> Reply:
        answer = self._next_answer() if line is None else self._said_or_failed(line)
        limit: Any = settings["max_output_tokens"]
        parts = make_parts(
            answer,
            new_id=self.outbox.new_id,
            voice=self.voice,
            as_text=settings["output_modalities"] == ["text"],
            audio_format=settings["audio"]["output"]["format"]["type"],
            tools=tools,
        )
        plan = make_plan(
            answer,
            parts,
            start_ms=now_ms + answer.after_ms,
            random=self.outbox.random,
            token_budget=limit if isinstance(limit, int) else None,
        )
        return Reply(
            self.outbox.new_id("resp"),
            self.outbox.emit,
            self.conversation if in_band else None,
            settings,
            parts,
            deque(plan),
            self.progress.answers_used if line is None else NO_ANSWER,
        )

    def _said_or_failed(self, line: Answer) -> Answer:
        """A line uses up no answer; but a server that fails next fails at this, too."""
        coming = self.answers[self.progress.answers_used : self.progress.answers_used + 1]
        return coming[0] if coming and coming[0].fail is not None else line

    def _next_answer(self) -> Answer:
        self.progress.answers_used += 1
        if self.progress.answers_used <= len(self.answers):
            return self.answers[self.progress.answers_used - 1]
        return Answer(items=(Item(say=OUT_OF_ANSWERS),))


def _line(params: Json) -> Answer | None:
    """The words that a session is to say, and nothing else: no script has anything to add."""
    purpose, task = (params.get("metadata") or {}).get("purpose"), params.get("instructions")
    if purpose != LINE or not isinstance(task, str) or not task.removeprefix(SAY).strip():
        return None
    return Answer(items=(Item(say=task.removeprefix(SAY)),), after_ms=LINE_AFTER_MS, speed=20.0)


def _settings(params: Json, session: Json, *, in_band: bool) -> Json:
    """What the session says of a response, where `params` do not say otherwise."""
    output = {**session["audio"]["output"], **params.get("audio", {}).get("output", {})}
    return {
        "conversation_id": "conv_" + session["id"] if in_band else None,
        "output_modalities": params.get("output_modalities", session["output_modalities"]),
        "max_output_tokens": params.get("max_output_tokens", session["max_output_tokens"]),
        "audio": {"output": {"format": output["format"], "voice": output["voice"]}},
        "metadata": params.get("metadata"),
    }
