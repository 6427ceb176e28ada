# ruff: noqa: ANN401 (JSON fields go through by name)
"""A client of the rehearsal model's core, with a clock of its own, and what it says."""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Any

import attrs
import numpy as np
import orjson

from actors.wire.g711 import encode_ulaw
from gateway.lab.openai.model import Close, RehearsalModel, Say
from gateway.lab.rehearsing.scenario import Answer, Fault, Item, ModelScript, ToolScript

Json = dict[str, Any]

MS_PER_CHARACTER = 50


def tone(ms: int, *, hz: float = 440.0, peak: int = 6500) -> bytes:
    """A tone at about -17 dBFS: audible, and voice to an energy detector."""
    at_s = np.arange(ms * 8) / 8000
    return encode_ulaw(np.round(peak * np.sin(2 * np.pi * hz * at_s)).astype(np.int16))


def silence(ms: int) -> bytes:
    return b"\xff" * (8 * ms)


def hum(text: str) -> bytes:
    """A voice whose lines last 50 ms a character."""
    return tone(MS_PER_CHARACTER * len(text))


def script(*answers: str | Answer, faults: tuple[Fault, ...] = ()) -> ModelScript:
    spoken = (Answer(items=(Item(say=a),)) if isinstance(a, str) else a for a in answers)
    return ModelScript(answers=tuple(spoken), faults=faults)


def tool_answer(*lines: str, name: str = "opening_hours", arguments: object = None) -> Answer:
    call = ToolScript(name, {"day": "Saturday"} if arguments is None else arguments)
    return Answer(items=(*(Item(say=line) for line in lines), Item(call=call)))


ULAW: Json = {"format": {"type": "audio/pcmu"}}
VAD: Json = {"type": "server_vad", "silence_duration_ms": 500}
TOOL: Json = {"type": "function", "name": "opening_hours", "parameters": {"type": "object"}}


@attrs.define(eq=False)
class Client:
    """Speaks to a core directly and remembers every event with the time it came."""

    model: RehearsalModel
    now_ms: int = 0
    events: list[Json] = attrs.field(factory=list)
    times_ms: list[int] = attrs.field(factory=list)
    closed: Close | None = None

    @classmethod
    def connected(cls, model_script: ModelScript, **model: Any) -> Client:
        """Connect; the session stays as the server made it."""
        client = cls(RehearsalModel(model_script, model.pop("voice", hum), **model))
        client.model.connect(0)
        client._collect()
        return client

    @classmethod
    def on_the_phone(cls, model_script: ModelScript, **model: Any) -> Client:
        """Connect and configure, as a telephone gateway does."""
        client = cls.connected(model_script, **model)
        client.configure(audio={"input": {**ULAW, "turn_detection": VAD}, "output": ULAW})
        client.configure(tools=[TOOL])
        client.events.clear()
        client.times_ms.clear()
        return client

    def configure(self, **session: Any) -> list[Json]:
        return self.send("session.update", session={"type": "realtime", **session})

    def send(self, kind: str, **fields: Any) -> list[Json]:
        """Send one event. Returns what came back at once."""
        return self.send_text(orjson.dumps({"type": kind, **fields}))

    def send_text(self, text: str | bytes) -> list[Json]:
        seen = len(self.events)
        self.model.receive(text, self.now_ms)
        self._collect()
        return self.events[seen:]

    def append(self, ulaw: bytes) -> list[Json]:
        return self.send("input_audio_buffer.append", audio=b64encode(ulaw).decode())

    def run(self, ms: int) -> list[Json]:
        """Let time pass."""
        seen, until_ms = len(self.events), self.now_ms + ms
        while (wake_ms := self.model.next_wake_ms()) is not None and wake_ms <= until_ms:
            self.now_ms = wake_ms
            self.model.tick(wake_ms)
            self._collect()
        self.now_ms = until_ms
        return self.events[seen:]

    def speak(self, ms: int, *, then_silent_ms: int = 0) -> list[Json]:
        """Stream caller audio in frames of 20 ms, in real time."""
        seen, ulaw = len(self.events), tone(ms) + silence(then_silent_ms)
        for at in range(0, len(ulaw), 160):
            self.append(ulaw[at : at + 160])
            self.run(20)
        return self.events[seen:]

    def kinds(self, events: list[Json] | None = None) -> list[str]:
        """Types, with runs of deltas told once."""
        kinds: list[str] = []
        for event in self.events if events is None else events:
            if not kinds or kinds[-1] != event["type"] or not kinds[-1].endswith(".delta"):
                kinds.append(event["type"])
        return kinds

    def all(self, kind: str) -> list[Json]:
        return [event for event in self.events if event["type"] == kind]

    def one(self, kind: str) -> Json:
        (event,) = self.all(kind)
        return event

    def audio(self, item_id: str) -> bytes:
        deltas = self.all("response.output_audio.delta")
        return b"".join(b64decode(d["delta"]) for d in deltas if d["item_id"] == item_id)

    def _collect(self) -> None:
        for frame in self.model.take():
            assert self.closed is None, "nothing follows a close"
            match frame:
                case Say(text):
                    self.events.append(orjson.loads(text))
                    self.times_ms.append(self.now_ms)
                case Close():
                    self.closed = frame
