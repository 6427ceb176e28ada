"""Twilio's side of one call, with a scripted caller on the phone.

Pure: no trio, no sockets, no clock. What Twilio would send comes out of `take`; what the server
sends goes into `receive`; time is `now_ms`, in ms since the stream was opened.
Source: "Media Streams: WebSocket Messages", Twilio docs.
"""

from __future__ import annotations

import base64
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs
import orjson

from actors.messages import (
    FRAME_BYTES,
    FRAME_MS,
    ULAW_BYTES_PER_MS,
    ULAW_SILENCE,
    Clear,
    Mark,
    Play,
)
from gateway.lab.twilio.far_end import Step
from gateway.lab.twilio.line_facts import (
    Cut,
    LineEnded,
    LineEnding,
    LineFact,
    MarkTaken,
    Pressed,
    Said,
    Warned,
)
from gateway.lab.twilio.noise import noise_of
from gateway.lab.twilio.playout_buffer import Heard, PlayoutBuffer
from gateway.lab.twilio.scripted_caller import FarEnd, ScriptedCaller
from gateway.lab.twilio.stream_rules import StreamFault, read_order

KEY_MS: Final = 200
"""From one key to the next: how fast a person dials."""


@attrs.define(eq=False, kw_only=True)
class RehearsalLine:
    """One stream, from `open` until it is `done`.

    Args:
        voice: Gives the mu-law of a line the caller says. Called when the line begins.
        parameters: What the TwiML's `<Parameter>` elements said.
        observe: Told of every fact when it happens.

    """

    steps: Sequence[Step] = ()
    """What the caller does, when nobody else is on the phone."""
    caller: FarEnd | None = None
    """Whoever is on the phone. Goes on from stream to stream."""
    call_sid: str
    account_sid: str
    stream_sid: str
    voice: Callable[[str], bytes]
    parameters: Mapping[str, str] = attrs.field(factory=dict)
    observe: Callable[[int, LineFact], None] = attrs.field(default=lambda _at_ms, _fact: None)

    playout: PlayoutBuffer = attrs.field(factory=PlayoutBuffer, init=False)
    """The truth about what was heard."""
    facts: list[LineFact] = attrs.field(factory=list[LineFact], init=False)
    marks: list[MarkTaken] = attrs.field(factory=list[MarkTaken], init=False)
    """In the order in which they were queued."""
    ending: LineEnding | None = attrs.field(default=None, init=False)

    _caller: FarEnd = attrs.field(init=False)
    _out: list[str] = attrs.field(factory=list[str], init=False)
    _is_open: bool = attrs.field(default=False, init=False)
    _opened_ms: int = attrs.field(default=0, init=False)
    _now_ms: float = attrs.field(default=-math.inf, init=False)
    _sequence: int = attrs.field(default=0, init=False)
    _frames: int = attrs.field(default=0, init=False)
    _echoed: int = attrs.field(default=0, init=False)
    _speech: bytes = attrs.field(default=b"", init=False)
    """What is left to say."""
    _speech_from_ms: int = attrs.field(default=0, init=False)
    _keys: deque[str] = attrs.field(factory=deque[str], init=False)
    _next_key_ms: float = attrs.field(default=0.0, init=False)

    def __attrs_post_init__(self) -> None:
        self._caller = self.caller or ScriptedCaller(deque(self.steps))

    # What the world does.

    def open(self, now_ms: int) -> None:
        """Say `connected` and `start`. From here on the caller is on the line."""
        self._is_open = True
        self._opened_ms = now_ms
        self._now_ms = now_ms
        self._say({"event": "connected", "protocol": "Call", "version": "1.0.0"})
        media_format = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
        start = {
            "streamSid": self.stream_sid,
            "accountSid": self.account_sid,
            "callSid": self.call_sid,
            "tracks": ["inbound"],
            "mediaFormat": media_format,
            "customParameters": dict(self.parameters),
        }
        self._say_numbered("start", start)
        self._caller.connect(self.playout, now_ms)

    def receive(self, frame: str | bytes, now_ms: int) -> None:
        """Take one WebSocket message from the server. What Twilio drops becomes a `Warned`."""
        self.tick(now_ms)
        if not self._is_open:
            return
        try:
            order = read_order(frame, self.stream_sid)
        except StreamFault as fault:
            self._note(Warned(now_ms, fault.code, fault.what))
            return
        match order:
            case Play(ulaw):
                self.playout.play(ulaw, now_ms)
                self._caller.hears(ulaw, self.playout.empty_at_ms())
            case Mark(name):
                self.marks.append(MarkTaken(name, now_ms))
                self.playout.mark(name, now_ms)
            case Clear():
                cleared_bytes = self.playout.clear(now_ms)
                self._note(Cut(now_ms, cleared_bytes, marks=self._echo(now_ms)))
                self._caller.forget_agent(now_ms)
        self.tick(now_ms)

    def tick(self, now_ms: int) -> None:
        """Do everything that is due by now, in the order in which it was due."""
        while (due_ms := self._next_ms()) is not None and due_ms <= now_ms:
            self._now_ms = max(self._now_ms, due_ms)
            self._do_next()
        if self._is_open:
            self._now_ms = max(self._now_ms, now_ms)

    def hang_up(self, now_ms: int, ending: LineEnding = "caller_hung_up") -> None:
        """End the call from the phone's side: `stop`, and nothing after it. Idempotent."""
        self.tick(now_ms)
        if self._is_open:
            self._stop(now_ms, ending)

    def closed(self, now_ms: int) -> None:
        """The server closed the stream: what it queued and was not played is lost. Idempotent."""
        self.tick(now_ms)
        if self._is_open:
            self._end(now_ms, "closed_by_server")

    def warn(self, code: int, what: str, now_ms: int) -> None:
        """Note a warning of Twilio's that is not about one message."""
        self._note(Warned(now_ms, code, what))

    # What comes of it.

    def take(self) -> list[str]:
        """Return the messages for the server, oldest first, and forget them."""
        out, self._out = self._out, []
        return out

    def next_wake_ms(self) -> int | None:
        """When `tick` will have something to do; `None` before `open` and after the end."""
        due_ms = self._next_ms()
        return None if due_ms is None else math.ceil(due_ms)

    @property
    def done(self) -> bool:
        """Whether the stream is over."""
        return self.ending is not None

    def heard(self) -> tuple[Heard, ...]:
        """What the caller heard of the agent until now."""
        return self.playout.heard(self._now_ms)

    def heard_ms(self) -> int:
        """How much agent audio was played, in ms, gaps not counted."""
        return sum(len(heard.ulaw) for heard in self.heard()) // ULAW_BYTES_PER_MS

    @property
    def steps_left(self) -> int:
        """How many steps of the script were not reached."""
        return self._caller.steps_left

    # Inside.

    def _next_ms(self) -> float | None:
        if not self._is_open:
            return None
        due_ms = min(self._frame_end_ms(), self._act_ms())
        echo_ms = self.playout.next_echo_ms()
        return due_ms if echo_ms is None else min(due_ms, echo_ms)

    def _do_next(self) -> None:
        """Do one thing that is due. What the caller does comes before the frame it is not in."""
        if self._echo(self._now_ms):
            return
        if self._act_ms() <= self._now_ms:
            self._act()
        elif self._frame_end_ms() <= self._now_ms:
            self._frame()

    def _frame_end_ms(self) -> int:
        return self._opened_ms + (self._frames + 1) * FRAME_MS

    def _act_ms(self) -> float:
        if self._keys:
            return self._next_key_ms
        if self._speech:
            return math.inf
        due_ms = self._caller.due_ms()
        return math.inf if due_ms is None else due_ms

    def _act(self) -> None:
        if self._keys:
            self._press()
            return
        step = self._caller.take_step()
        if step.say is not None and (speech := self.voice(step.say)):
            ended_ms = self._sound(speech)
            self._note(Said(step.say, self._speech_from_ms, ended_ms))
        elif step.noise is not None:
            self._sound(noise_of(step.noise))
        elif step.press is not None:
            self._keys.extend(step.press)
            self._press()
        elif step.hang_up:
            self._stop(math.ceil(self._now_ms), "caller_hung_up")
        else:
            self._caller.begin_step(self._now_ms)

    def _sound(self, ulaw: bytes) -> int:
        """Begin to make this sound, with the next frame. Returns when it will have ended."""
        self._speech = ulaw
        frame = math.ceil((self._now_ms - self._opened_ms) / FRAME_MS)
        self._speech_from_ms = self._opened_ms + max(frame, self._frames) * FRAME_MS
        return self._speech_from_ms + math.ceil(len(ulaw) / FRAME_BYTES) * FRAME_MS

    def _press(self) -> None:
        digit = self._keys.popleft()
        self._say_numbered("dtmf", {"track": "inbound_track", "digit": digit})
        self._note(Pressed(digit, math.ceil(self._now_ms)))
        self._next_key_ms = self._now_ms + KEY_MS
        if not self._keys:
            self._caller.begin_step(self._now_ms)

    def _frame(self) -> None:
        """Send what the microphone took in the last 20 ms."""
        began_ms = self._frame_end_ms() - FRAME_MS
        ulaw = b""
        if self._speech and began_ms >= self._speech_from_ms:
            ulaw, self._speech = self._speech[:FRAME_BYTES], self._speech[FRAME_BYTES:]
            if not self._speech:
                self._caller.begin_step(began_ms + FRAME_MS)
        self._frames += 1
        media = {
            "track": "inbound",
            "chunk": str(self._frames),
            "timestamp": str(self._frames * FRAME_MS),
            "payload": base64.b64encode(ulaw.ljust(FRAME_BYTES, ULAW_SILENCE)).decode(),
        }
        self._say_numbered("media", media)

    def _echo(self, now_ms: float) -> int:
        """Send back the marks that are due. Returns how many of them were flushed."""
        echoes = self.playout.advance(now_ms)
        for echo in echoes:
            # Marks come back in the order in which they were queued.
            mark = self.marks[self._echoed]
            self.marks[self._echoed] = attrs.evolve(
                mark, echoed_ms=echo.at_ms, flushed=echo.flushed
            )
            self._echoed += 1
            self._say_numbered("mark", {"name": echo.name})
        return sum(echo.flushed for echo in echoes)

    def _stop(self, now_ms: int, ending: LineEnding) -> None:
        self._say_numbered("stop", {"accountSid": self.account_sid, "callSid": self.call_sid})
        self._end(now_ms, ending)

    def _end(self, now_ms: int, ending: LineEnding) -> None:
        self._now_ms = max(self._now_ms, now_ms)
        unplayed_bytes = self.playout.clear(self._now_ms)
        self.ending = ending
        self._is_open = False
        self._note(LineEnded(now_ms, ending, unplayed_bytes))

    def _note(self, fact: LineFact) -> None:
        self.facts.append(fact)
        self.observe(fact.at_ms, fact)

    def _say_numbered(self, event: str, content: dict[str, Any]) -> None:
        self._sequence += 1
        self._say(
            {
                "event": event,
                "sequenceNumber": str(self._sequence),
                "streamSid": self.stream_sid,
                event: content,
            }
        )

    def _say(self, message: dict[str, Any]) -> None:
        self._out.append(orjson.dumps(message).decode())
