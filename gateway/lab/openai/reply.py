"""One response of the rehearsal model: its time table, and the events in the recorded order.

Pure. Source of the order: traffic recorded in August 2026 with `gpt-realtime`; the interrupted
ending as in the docstrings of the `openai` SDK.
"""

from __future__ import annotations

from base64 import b64encode
from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any, Final, Literal

import attrs
import orjson

from actors.messages import FRAME_BYTES, ULAW_BYTES_PER_MS, ResponseStatus
from gateway.lab.openai.conversation import Conversation, Entry
from gateway.lab.openai.formats import BYTES_PER_MS, encode
from gateway.lab.openai.remote_tools import needs_leave, result_of
from gateway.lab.rehearsing.scenario import Answer, Item, McpScript, ToolScript

Json = dict[str, Any]
Emit = Callable[[str, Json], None]

DELTA_BYTES: Final = 2000
"""A delta is about 250 ms; the first is smaller. None is a whole number of 20 ms frames."""

AUDIO_MS_PER_TOKEN: Final = 50
"""Agent audio: 4096 tokens are about 200 s."""

_WORDS_PER_DELTA: Final = 2
_WORDS_AHEAD: Final = 3.0
"""Transcript deltas are done in this fraction of the time that the audio deltas take."""


@attrs.frozen
class Open:
    """The item at this index begins."""

    index: int


@attrs.frozen
class Words:
    """More of the item's transcript, text or arguments."""

    index: int
    text: str


@attrs.frozen
class Sound:
    """More of the item's audio: up to this byte of its mu-law."""

    index: int
    end: int


@attrs.frozen
class Run:
    """The tool that the item at this index is about, is being run by its server."""

    index: int


@attrs.frozen
class Close:
    """The item at this index is complete."""

    index: int


@attrs.frozen
class Finish:
    """Nothing more comes. An item still open is closed as incomplete."""

    status: ResponseStatus
    details: Json | None = None


Step = Open | Words | Sound | Run | Close | Finish
Plan = list[tuple[int, Step]]
"""Each step with the time it is due, in ms; sorted."""


@attrs.define(eq=False)
class Reply:
    """A response in progress."""

    response_id: str
    emit: Emit
    conversation: Conversation | None
    """`None`: out of band. Its items are nobody's memory."""
    settings: Json
    """What `response` objects say about it: modalities, voice, format, metadata, ..."""
    parts: list[Part]
    plan: deque[tuple[int, Step]]
    answer: int
    """Which answer of the script this is, counted from 1."""
    status: ResponseStatus | Literal["in_progress"] = "in_progress"
    details: Json | None = None
    _open: int | None = None

    @property
    def due_ms(self) -> int | None:
        """When the next step is due; `None` when it is finished."""
        return self.plan[0][0] if self.plan else None

    @property
    def sent_ms(self) -> int:
        """How much audio it sent."""
        return sum(part.sent_bytes for part in self.parts) // ULAW_BYTES_PER_MS

    @property
    def sent_text(self) -> str:
        """All words it sent, arguments included."""
        return " ".join(part.words for part in self.parts)

    def step(self) -> Step:
        """Take the next step of the plan."""
        _, step = self.plan.popleft()
        match step:
            case Open(index):
                self._begin_item(index)
            case Words(index, text):
                self._send_words(self.parts[index], text)
            case Sound(index, end):
                self._send_sound(self.parts[index], end)
            case Run(index):
                self._run_tool(index)
            case Close(index):
                self._end_item(index, "completed")
            case Finish(status, details):
                self.stop(status, details)
        return step

    def stop(self, status: ResponseStatus, details: Json | None) -> None:
        """Wind down now: close what is open, as incomplete, and forget the rest of the plan.

        The `response.done` is for the caller to send, which knows the usage.
        """
        self.plan.clear()
        if self._open is not None:
            self._end_item(self._open, "incomplete")
        self.status, self.details = status, details

    def body(self, usage: Json | None = None) -> Json:
        """The `response` object as it stands."""
        begun = [part for part in self.parts if part.began]
        return {
            "object": "realtime.response",
            "id": self.response_id,
            "status": self.status,
            "status_details": self.details,
            "output": [part.entry.item for part in begun] if self.status != "in_progress" else [],
            **self.settings,
            "usage": usage,
        }

    def _ids(self, index: int) -> Json:
        part = self.parts[index]
        return {
            "response_id": self.response_id,
            "item_id": part.entry.item_id,
            "output_index": index,
        }

    def _begin_item(self, index: int) -> None:
        part, item = self.parts[index], self.parts[index].entry.item
        part.began, self._open = True, index
        place = {"response_id": self.response_id, "output_index": index}
        self.emit("response.output_item.added", {**place, "item": item})
        if self.conversation is not None:
            previous = self.conversation.add(part.entry)
            added = {"item": item, "previous_item_id": previous}
            self.emit("conversation.item.added", added)
            part.previous = previous
        if part.kind in ("audio", "text"):
            content = {**self._ids(index), "content_index": 0, "part": part.content_part("")}
            self.emit("response.content_part.added", content)

    def _send_words(self, part: Part, text: str) -> None:
        part.words += text
        ids = self._ids(self.parts.index(part))
        if part.kind == "call":
            delta = {**ids, "call_id": part.entry.item["call_id"], "delta": text}
            self.emit("response.function_call_arguments.delta", delta)
            return
        if part.kind == "mcp":
            self.emit("response.mcp_call_arguments.delta", {**ids, "delta": text})
            return
        name = "output_text" if part.kind == "text" else "output_audio_transcript"
        self.emit(f"response.{name}.delta", {**ids, "content_index": 0, "delta": text})

    def _send_sound(self, part: Part, end: int) -> None:
        if part.spoken is None:
            part.spoken = encode(part.audio_format, part.entry.audio)
        factor = BYTES_PER_MS[part.audio_format] // ULAW_BYTES_PER_MS
        spoken = part.spoken[part.sent_bytes * factor : end * factor]
        # Not `= end`: the item may have been truncated while it was still being generated.
        part.entry.sent_bytes += end - part.sent_bytes
        part.sent_bytes = end
        delta = b64encode(spoken).decode("ascii")
        ids = self._ids(self.parts.index(part))
        self.emit("response.output_audio.delta", {**ids, "content_index": 0, "delta": delta})

    def _run_tool(self, index: int) -> None:
        ids = self._ids(index)
        arguments = {**ids, "arguments": self.parts[index].words}
        self.emit("response.mcp_call_arguments.done", arguments)
        place = {"item_id": ids["item_id"], "output_index": index}
        self.emit("response.mcp_call.in_progress", place)

    def _end_item(self, index: int, status: Literal["completed", "incomplete"]) -> None:
        part = self.parts[index]
        self._open = None
        ids = self._ids(index)
        if part.kind == "call":
            item = part.entry.item
            done = {"call_id": item["call_id"], "name": item["name"], "arguments": part.words}
            self.emit("response.function_call_arguments.done", {**ids, **done})
        elif part.kind == "mcp":
            if status == "completed" and part.script is not None:
                how = "completed" if part.script.error is None else "failed"
                place = {"item_id": ids["item_id"], "output_index": index}
                self.emit(f"response.mcp_call.{how}", place)
        elif part.kind != "leave":
            content = {**ids, "content_index": 0}
            if part.kind == "audio":
                self.emit("response.output_audio.done", content)
                name, key = "response.output_audio_transcript.done", "transcript"
            else:
                name, key = "response.output_text.done", "text"
            self.emit(name, {**content, key: part.words})
            whole = {**content, "part": part.content_part(part.words)}
            self.emit("response.content_part.done", whole)
        part.finish(status)
        item = part.entry.item
        if self.conversation is not None:
            self.emit("conversation.item.done", {"item": item, "previous_item_id": part.previous})
        place = {"response_id": self.response_id, "output_index": index}
        self.emit("response.output_item.done", {**place, "item": item})


@attrs.define(eq=False)
class Part:
    """One item of a response, and how far it got."""

    entry: Entry
    kind: Literal["audio", "text", "call", "mcp", "leave"]
    """`mcp`: a server has a tool run. `leave`: it would, if it may."""
    audio_format: str
    script: McpScript | None = None
    spoken: bytes | None = None
    """The item's audio in that format, once any of it was sent: a line is resampled as a whole."""
    words: str = ""
    began: bool = False
    sent_bytes: int = 0
    previous: str | None = None

    def content_part(self, words: str) -> Json:
        """The part as `response.content_part` events show it: not named as in the item."""
        if self.kind == "text":
            return {"type": "text", "text": words}
        return {"type": "audio", "transcript": words}

    def finish(self, status: str) -> None:
        """Make the item what it is from now on."""
        item: Json = {**self.entry.item, "status": status}
        match self.kind:
            case "call":
                item["arguments"] = self.words
            case "mcp":
                del item["status"]
                item["arguments"] = self.words
                if status == "completed" and self.script is not None:
                    item |= result_of(self.script)
            case "leave":
                del item["status"]
            case "text":
                item["content"] = [{"type": "output_text", "text": self.words}]
            case "audio":
                item["content"] = [{"type": "output_audio", "transcript": self.words}]
        self.entry.item = item


def make_parts(
    answer: Answer,
    *,
    new_id: Callable[[str], str],
    voice: Callable[[str], bytes],
    as_text: bool,
    audio_format: str,
    tools: list[Json],
) -> list[Part]:
    """Make the items of an answer, all still unsaid."""
    parts: list[Part] = []
    for line in answer.items:
        item: Json = {"id": new_id("item"), "object": "realtime.item", "status": "in_progress"}
        if line.call is not None:
            item |= {"type": "function_call", "name": line.call.name, "call_id": new_id("call")}
            item |= {"arguments": ""}
            parts.append(Part(Entry(item), "call", audio_format))
            continue
        if line.mcp is not None:
            parts.append(_remote_part(line.mcp, tools, new_id, audio_format))
            continue
        item |= {"type": "message", "role": "assistant", "content": []}
        audio = b"" if as_text else voice(str(line.say))
        parts.append(Part(Entry(item, audio), "text" if as_text else "audio", audio_format))
    return parts


def _remote_part(
    script: McpScript, tools: list[Json], new_id: Callable[[str], str], audio_format: str
) -> Part:
    item: Json = {"server_label": script.server, "name": script.tool}
    if needs_leave(tools, script):
        item |= {"id": new_id("mcpr"), "type": "mcp_approval_request"}
        return Part(Entry({**item, "arguments": written(script)}), "leave", audio_format, script)
    item |= {"id": new_id("mcp"), "type": "mcp_call", "arguments": ""}
    item |= {"approval_request_id": None, "output": None, "error": None}
    return Part(Entry(item), "mcp", audio_format, script)


def written(script: ToolScript | McpScript) -> str:
    """The arguments, as the model writes them."""
    given = script.arguments
    return given if isinstance(given, str) else orjson.dumps(given).decode()


def make_plan(
    answer: Answer,
    parts: list[Part],
    *,
    start_ms: int,
    random: Random,
    token_budget: int | None = None,
) -> Plan:
    """Say when each step of an answer is due. `start_ms` is when its first delta is."""
    if answer.fail is not None:
        error = attrs.asdict(answer.fail)
        return [(start_ms, Finish("failed", {"type": "failed", "error": error}))]
    plan: Plan = []
    at_ms = float(start_ms)
    tokens_left = token_budget
    for index, (line, part) in enumerate(zip(answer.items, parts, strict=True)):
        plan.append((round(at_ms), Open(index)))
        audio_bytes = len(part.entry.audio)
        if tokens_left is not None:
            audio_bytes = min(audio_bytes, tokens_left * AUDIO_MS_PER_TOKEN * ULAW_BYTES_PER_MS)
        cut = audio_bytes < len(part.entry.audio)
        lasts_ms = audio_bytes / ULAW_BYTES_PER_MS / answer.speed
        plan += sorted(
            [
                *(_word_steps(index, line, at_ms, lasts_ms) if part.kind != "leave" else ()),
                *_sound_steps(index, audio_bytes, at_ms, answer.speed, random),
            ],
            key=lambda due: due[0],
        )
        at_ms = max(at_ms + lasts_ms, plan[-1][0])
        if cut:
            reason = {"type": "incomplete", "reason": "max_output_tokens"}
            return [*plan, (round(at_ms), Finish("incomplete", reason))]
        if part.kind == "mcp" and line.mcp is not None:
            plan.append((round(at_ms), Run(index)))
            at_ms += line.mcp.takes_ms
        plan.append((round(at_ms), Close(index)))
        if tokens_left is not None:
            tokens_left -= audio_bytes // ULAW_BYTES_PER_MS // AUDIO_MS_PER_TOKEN
    return [*plan, (round(at_ms), Finish("completed"))]


def _word_steps(index: int, line: Item, at_ms: float, lasts_ms: float) -> Plan:
    text = str(line.say)
    if asked := line.call or line.mcp:
        text = written(asked)
    words = text.split(" ")
    groups = [
        " ".join(words[n : n + _WORDS_PER_DELTA]) for n in range(0, len(words), _WORDS_PER_DELTA)
    ]
    # Whoever joins the deltas must get the text back, blanks and all.
    deltas = [group if n == 0 else f" {group}" for n, group in enumerate(groups)]
    gap_ms = lasts_ms / _WORDS_AHEAD / len(deltas)
    return [(round(at_ms + n * gap_ms), Words(index, delta)) for n, delta in enumerate(deltas)]


def _sound_steps(index: int, audio_bytes: int, at_ms: float, speed: float, random: Random) -> Plan:
    plan: Plan = []
    sent = 0
    while sent < audio_bytes:
        size = (
            random.randint(DELTA_BYTES // 2, DELTA_BYTES * 3 // 4)
            if not sent
            else (DELTA_BYTES + random.randint(-100, 100))
        )
        size += size % FRAME_BYTES == 0
        due_ms = at_ms + sent / ULAW_BYTES_PER_MS / speed
        sent = min(audio_bytes, sent + size)
        plan.append((round(due_ms), Sound(index, sent)))
    return plan
