"""What was seen of a connection to a simulated model, at the gateway's end of it. No judgement."""

from __future__ import annotations

from collections import Counter

import attrs

from actors.messages import ULAW_BYTES_PER_MS
from gateway.lab.judges.seen_audio import Audio, decoded, parsed
from gateway.lab.judges.tagged_voice import read
from gateway.lab.openai.model import RehearsalModel
from gateway.lab.openai.unfinished import Unfinished


@attrs.define(eq=False, kw_only=True)
class SessionSeen:
    """One connection to the model, seen from the gateway."""

    model: RehearsalModel
    unfinished: Unfinished
    opened_s: float
    live_s: float | None = None
    """The configuration was confirmed."""
    lost_s: float | None = None
    """The gateway found it closed, and had not closed it."""
    closing_s: float | None = None
    done_s: float | None = None
    """No socket of it is left."""
    formats: tuple[str, ...] = ()
    """Of the audio from and to it, as it confirmed them first."""
    longest_wait_s: float = 0.0
    """That the gateway waited for the model to take a frame."""
    refused_frames: int = 0
    """That it could not send off."""
    appended: Audio = attrs.field(factory=Audio, init=False)
    received_bytes: int = 0
    speech_started_s: list[float] = attrs.field(factory=list[float], init=False)
    speech_stopped_s: list[float] = attrs.field(factory=list[float], init=False)
    responses_s: dict[str, float] = attrs.field(factory=dict[str, float], init=False)
    """When the gateway first heard of each response."""
    lines: dict[int, str] = attrs.field(factory=dict[int, str], init=False)
    """Number of a line to the response it is part of."""
    _begun: set[str] = attrs.field(factory=set[str], init=False)
    """Items of which audio was said."""
    asked: dict[str, tuple[str, float]] = attrs.field(
        factory=dict[str, tuple[str, float]], init=False
    )
    """Name and time of each tool call that came, by its id."""
    outputs: Counter[str] = attrs.field(factory=Counter[str], init=False)
    """Outputs that were sent, by the id of the tool call."""
    told: list[str] = attrs.field(factory=list[str], init=False)
    """Frames by which items were added to the conversation."""
    output_s: list[float] = attrs.field(factory=list[float], init=False)
    """When each of them was sent."""
    failed_s: list[float] = attrs.field(factory=list[float], init=False)
    """When a response came to an end that had failed."""
    begun_s: list[float] = attrs.field(factory=list[float], init=False)
    """When the gateway heard that a response begins, whichever."""
    items: dict[int, str] = attrs.field(factory=dict[int, str], init=False)
    """Number of a line to the item of the conversation that it is the audio of."""
    audio_s: dict[str, float] = attrs.field(factory=dict[str, float], init=False)
    """When the latest audio of each item came."""
    truncated_ms: dict[str, int] = attrs.field(factory=dict[str, int], init=False)
    """Items that the model was told to truncate, and to what."""
    cancelled_s: dict[str, float] = attrs.field(factory=dict[str, float], init=False)
    """When the model was told to stop making a response."""
    deleted: set[str] = attrs.field(factory=set[str], init=False)
    """Items that it was told to delete."""

    def received(self, frame: str | bytes, now_s: float) -> None:
        """The gateway took this in."""
        event = parsed(frame)
        kind = event.get("type")
        response_id = event.get("response_id")
        if kind == "response.output_audio.delta":
            ulaw = decoded(event, "delta")
            self.received_bytes += len(ulaw)
            self.audio_s[str(event.get("item_id"))] = now_s
        elif kind in ("response.created", "response.done"):
            response = event.get("response")
            response = response if isinstance(response, dict) else {}
            response_id = response.get("id")
            if kind == "response.created":
                self.begun_s.append(now_s)
            else:
                self._asked(response.get("output"), now_s)
                if response.get("status") == "failed":
                    self.failed_s.append(now_s)
        elif kind == "input_audio_buffer.speech_started" and "item_id" in event:
            # Without its fields it says nothing that anybody could act on.
            self.speech_started_s.append(now_s)
        elif kind == "input_audio_buffer.speech_stopped":
            self.speech_stopped_s.append(now_s)
        elif kind == "session.updated":
            self.live_s = self.live_s or now_s
            self.formats = self.formats or _formats(event.get("session"))
        if isinstance(response_id, str):
            self.responses_s.setdefault(response_id, now_s)

    def sent(self, frame: str | bytes, began_s: float) -> None:
        """The gateway sent this off."""
        event = parsed(frame)
        match event.get("type"):
            case "input_audio_buffer.append":
                self.appended.add(decoded(event, "audio"), began_s)
            case "conversation.item.create":
                self.told.append(str(frame))
                item = event.get("item")
                if isinstance(item, dict) and item.get("type") == "function_call_output":
                    self.outputs[str(item.get("call_id"))] += 1
                    if "id" not in item:  # With one, it is told what another session knew.
                        self.output_s.append(began_s)
            case "conversation.item.truncate":
                self.truncated_ms[str(event.get("item_id"))] = int(event.get("audio_end_ms", 0))
            case "response.cancel":
                self.cancelled_s.setdefault(str(event.get("response_id")), began_s)
            case "conversation.item.delete":
                self.deleted.add(str(event.get("item_id")))
            case _:
                pass

    def refused(self, frame: str | bytes) -> None:
        """The gateway could not send this off, and knows it."""
        del frame
        self.refused_frames += 1

    def waited(self, lasted_s: float) -> None:
        """The gateway sent something off, or gave up sending it, after so long."""
        self.longest_wait_s = max(self.longest_wait_s, lasted_s)

    def lost(self, now_s: float) -> None:
        """The gateway found it closed."""
        if self.closing_s is None:
            self.lost_s = self.lost_s or now_s

    def closing(self, now_s: float) -> None:
        """The gateway closes it."""
        self.closing_s = self.closing_s or now_s

    def speaks(self, frame: str | bytes) -> None:
        """The model said this; which line it is tells which response the line belongs to."""
        event = parsed(frame)
        item_id = str(event.get("item_id"))
        # Only where an item begins: from there on, deltas may be cut within a millisecond.
        if event.get("type") == "response.output_audio.delta" and item_id not in self._begun:
            self._begun.add(item_id)
            for run in read(decoded(event, "delta")[:ULAW_BYTES_PER_MS]):
                line = getattr(run, "line", None)
                if line is not None:
                    self.lines.setdefault(line, str(event.get("response_id")))
                    self.items.setdefault(line, item_id)

    def _asked(self, output: object, now_s: float) -> None:
        for item in output if isinstance(output, list) else ():
            if isinstance(item, dict) and item.get("type") == "function_call":
                asked = str(item.get("name")), now_s
                self.asked.setdefault(str(item.get("call_id")), asked)


def _formats(session: object) -> tuple[str, ...]:
    audio = session.get("audio") if isinstance(session, dict) else None
    ways = [audio.get(way) for way in ("input", "output")] if isinstance(audio, dict) else []
    formats = [way.get("format") for way in ways if isinstance(way, dict)]
    return tuple(str(one.get("type")) for one in formats if isinstance(one, dict))
