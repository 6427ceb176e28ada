"""A rehearsed Realtime session: what client events, the caller's voice and time do to it.

Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import attrs

from gateway.lab.openai import session_rules
from gateway.lab.openai.caller_audio import CallerAudio, Recording, Spoken
from gateway.lab.openai.conversation import Conversation, Entry, Json
from gateway.lab.openai.faults import Faults
from gateway.lab.openai.items import Items
from gateway.lab.openai.outbox import Outbox
from gateway.lab.openai.progress import Progress
from gateway.lab.openai.remote_tools import RemoteTools
from gateway.lab.openai.replies import Replies
from gateway.lab.openai.reply import Finish, Reply, Sound
from gateway.lab.openai.shapes import Refusal
from gateway.lab.openai.timers import Timers
from gateway.lab.openai.vad import Began
from gateway.lab.rehearsing.scenario import Answer

TRANSCRIPT_AFTER_MS: Final = 250
"""From the end of the caller's turn to its transcript: the recogniser is another model."""


@attrs.define(eq=False)
class RehearsedSession:
    """Everything between a client event and the events that answer it.

    Answers go to `outbox`, and what is to be done later to `timers`.
    """

    session: Json
    """The effective session."""
    answers: Sequence[Answer]
    """What the script has to say."""
    voice: Callable[[str], bytes]
    """Words to mu-law at 8 kHz."""
    caller_lines: Sequence[str]
    outbox: Outbox
    timers: Timers
    faults: Faults
    progress: Progress = attrs.field(factory=Progress)
    """Of the script."""
    mcp_down: Sequence[str] = ()
    """See `ModelScript`."""

    conversation: Conversation = attrs.field(factory=Conversation, init=False)
    caller: CallerAudio = attrs.field(factory=CallerAudio, init=False)
    items: Items = attrs.field(init=False)
    replies: Replies = attrs.field(init=False)
    remote: RemoteTools = attrs.field(init=False)
    _turn_id: str | None = attrs.field(default=None, init=False)
    """The item that the caller's turn, while it lasts, is going to be."""
    _committed_ms: int = attrs.field(default=0, init=False)
    """Caller audio in the conversation."""
    _held_outputs: list[Json] = attrs.field(factory=list, init=False)
    _idle: int = attrs.field(default=0, init=False)
    """Counts what makes an earlier wait for an idle caller pointless."""
    _spoke: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.items = Items(self.conversation, self.outbox.new_id)
        self.remote = RemoteTools(self.outbox, self.timers, self.conversation, self.mcp_down)
        self.replies = Replies(
            self.answers, self.voice, self.outbox, self.conversation, self.progress
        )

    def obey(self, event: Json) -> None:
        """Do what a client event of sound shape asks for.

        Raises:
            Refusal: It cannot be had.

        """
        match event["type"]:
            case "session.update":
                self._update_session(event["session"])
            case "input_audio_buffer.append":
                self._hear(event["audio"])
            case "input_audio_buffer.commit":
                recording = self.caller.commit(self._input)
                self._commit(self._turn_id or self.outbox.new_id("item"), recording)
            case "input_audio_buffer.clear":
                self.caller.discard()
                self._forget_turn()
                self.outbox.emit("input_audio_buffer.cleared", {})
            case "output_audio_buffer.clear":
                message = "There is no output audio buffer on a WebSocket."
                raise Refusal("invalid_event", message, "type")
            case "conversation.item.create":
                self._create_item(event)
            case "conversation.item.retrieve":
                output_format = self.session["audio"]["output"]["format"]["type"]
                item = self.items.retrieve(event["item_id"], output_format)
                self.outbox.emit("conversation.item.retrieved", {"item": item})
            case "conversation.item.delete":
                self.items.delete(event["item_id"])
                self.outbox.emit("conversation.item.deleted", {"item_id": event["item_id"]})
            case "conversation.item.truncate":
                self.outbox.emit("conversation.item.truncated", self.items.truncate(event))
            case "response.create":
                self._create_response(event.get("response") or {})
            case "response.cancel":
                reply = self.replies.cancellable(event.get("response_id"))
                self._cancel(reply, "client_cancelled")
            case other:
                raise AssertionError(f"{other} has a shape and nobody to obey it")

    def _update_session(self, update: Json) -> None:
        before, tools = self._input, self.session["tools"]
        careless = session_rules.careless(self.session, update, voice_used=self._spoke)
        self.session = session_rules.update_session(
            self.session,
            update,
            voice_used=self._spoke,
            responding=self.replies.active is not None,
        )
        self.items.violations += careless
        if self._input["format"] != before["format"]:
            self.caller.discard()
        if self._input["turn_detection"] != before["turn_detection"]:
            self._forget_turn()
            self._idle += 1
        self.outbox.emit("session.updated", {"session": self.session})
        self.remote.list_tools(tools, self.session["tools"])

    def _create_item(self, event: Json) -> None:
        is_output = event["item"]["type"] == "function_call_output"
        if is_output and self.replies.active is not None:
            # *Observed*, August 2026: an output sent before `response.done` is taken up after it.
            self._held_outputs.append(event)
            return
        item = event["item"]
        if item["type"] == "mcp_approval_response":
            self.remote.check_answer(item)
            self.outbox.announce(*self.items.create(event))
            self.remote.answered(item)
            return
        self.outbox.announce(*self.items.create(event))

    @property
    def _input(self) -> Json:
        settings: Json = self.session["audio"]["input"]
        return settings

    # The caller's turns.

    def _hear(self, base64: str) -> None:
        for fact in self.caller.append(base64, self._input):
            match fact:
                case Began(audio_start_ms):
                    self._turn_begins(audio_start_ms)
                case Spoken(audio_end_ms, recording):
                    self._turn_ends(audio_end_ms, recording)

    def _turn_begins(self, audio_start_ms: int) -> None:
        self._turn_id = self.outbox.new_id("item")
        self._idle += 1
        began = {"audio_start_ms": audio_start_ms, "item_id": self._turn_id}
        self.outbox.emit("input_audio_buffer.speech_started", began)
        reply = self.replies.active
        if reply is not None and self._input["turn_detection"]["interrupt_response"]:
            self._cancel(reply, "turn_detected")

    def _turn_ends(self, audio_end_ms: int, recording: Recording) -> None:
        item_id = self._turn_id or self.outbox.new_id("item")
        ended = {"audio_end_ms": audio_end_ms, "item_id": item_id}
        self.outbox.emit("input_audio_buffer.speech_stopped", ended)
        self._commit(item_id, recording)
        if self._input["turn_detection"]["create_response"]:
            self._answer_turn()

    def _forget_turn(self) -> None:
        self.caller.forget_turn()
        self._turn_id = None

    def _commit(self, item_id: str, recording: Recording, *, spoken: bool = True) -> None:
        """Make a recording the caller's next item."""
        self._turn_id = None
        self._committed_ms += recording.lasts_ms
        content: Json = {"type": "input_audio", "transcript": None}
        item = {"id": item_id, "object": "realtime.item", "type": "message", "role": "user"}
        entry = Entry({**item, "status": "completed", "content": [content]}, recording.audio)
        previous = self.conversation.add(entry)
        place = {"item_id": item_id, "previous_item_id": previous}
        self.outbox.emit("input_audio_buffer.committed", place)
        self.outbox.announce(entry, previous)
        if spoken and self._input["transcription"] is not None:
            transcribe = partial(self._transcribe, item_id, recording.lasts_ms)
            self.timers.after(TRANSCRIPT_AFTER_MS, transcribe)

    def _transcribe(self, item_id: str, lasts_ms: int) -> None:
        lines, turn = self.caller_lines, self.progress.turns_heard
        self.progress.turns_heard += 1
        text = lines[turn] if turn < len(lines) else ""
        name = "conversation.item.input_audio_transcription"
        place = {"item_id": item_id, "content_index": 0}
        if text:
            self.outbox.emit(f"{name}.delta", {**place, "delta": text})
        usage = {"type": "duration", "seconds": round(lasts_ms / 1000, 2)}
        self.outbox.emit(f"{name}.completed", {**place, "transcript": text, "usage": usage})

    def _answer_turn(self) -> None:
        try:
            self._create_response({})
        except Refusal as refusal:
            # With `interrupt_response` off, the caller may finish a turn under an active response.
            self.outbox.refuse(refusal, None)

    def _await_idle(self, playing_ms: int) -> None:
        """Nudge the caller later. The server takes its audio to start playing when it is done."""
        self._idle += 1
        idle_ms = (self._input["turn_detection"] or {}).get("idle_timeout_ms")
        if idle_ms is not None:
            self.timers.after(playing_ms + idle_ms, partial(self._nudge, self._idle))

    def _nudge(self, idle: int) -> None:
        if idle != self._idle or self._turn_id is not None or self.replies.active is not None:
            return
        item_id, heard_ms = self.outbox.new_id("item"), self.caller.heard_ms
        span = {"audio_start_ms": max(0, heard_ms - 1000), "audio_end_ms": heard_ms}
        self.outbox.emit("input_audio_buffer.timeout_triggered", {**span, "item_id": item_id})
        self._commit(item_id, self.caller.take(self._input), spoken=False)
        self._answer_turn()

    # Responses.

    def _create_response(self, params: Json) -> None:
        reply = self.replies.begin(params, self.session, self.timers.now_ms)
        self._idle += 1
        self._schedule(reply)

    def _schedule(self, reply: Reply) -> None:
        if reply.due_ms is not None:
            self.timers.at(reply.due_ms, partial(self._advance, reply))

    def _advance(self, reply: Reply) -> None:
        if reply.due_ms is None:  # It was stopped after this timer was set.
            return
        first_sound = reply.sent_ms == 0
        match reply.step():
            case Sound():
                self._spoke = True
                if first_sound:
                    self.faults.after_answer(reply.answer)
            case Finish():
                self._finish(reply)
                if reply.sent_ms == 0:
                    self.faults.after_answer(reply.answer)
            case _:
                pass
        self._schedule(reply)

    def _cancel(self, reply: Reply, reason: str) -> None:
        reply.stop("cancelled", {"type": "cancelled", "reason": reason})
        self._finish(reply)

    def _finish(self, reply: Reply) -> None:
        instructions: str = self.session["instructions"]
        for call in self.replies.settle(reply, instructions, self._committed_ms):
            self.items.note_call(call, self.session["tools"])
        for part in reply.parts:
            if part.script is not None and part.began:
                self.items.note_run(part.script, self.session["tools"])
                if part.kind == "leave":
                    arguments = part.entry.item["arguments"]
                    self.remote.waiting[part.entry.item_id] = (part.script, arguments)
        if reply.conversation is not None:
            self._take_up_held_outputs()
            self._await_idle(reply.sent_ms)

    def _take_up_held_outputs(self) -> None:
        held, self._held_outputs = self._held_outputs, []
        for event in held:
            try:
                self._create_item(event)
            except Refusal as refusal:
                self.outbox.refuse(refusal, event.get("event_id"))
