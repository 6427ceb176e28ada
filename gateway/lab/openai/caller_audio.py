"""The input audio buffer of a rehearsed session, and the turns that are heard in it.

Pure. `settings` is everywhere the session's `audio.input`.
"""

from __future__ import annotations

from base64 import b64decode
from typing import Final

import attrs

from gateway.lab.openai import session_rules
from gateway.lab.openai.conversation import Json
from gateway.lab.openai.formats import BYTES_PER_MS, Ear
from gateway.lab.openai.shapes import Refusal
from gateway.lab.openai.vad import Began, Ended, VoiceActivity

SHORTEST_COMMIT_MS: Final = 100


@attrs.frozen
class Recording:
    """What the buffer held when it was committed."""

    audio: bytes
    """In the session's input format."""
    lasts_ms: int


@attrs.frozen
class Spoken:
    """The caller has been silent for long enough: the turn is over, and out of the buffer."""

    audio_end_ms: int
    """Where the turn ends, the silence included."""
    recording: Recording


@attrs.define(eq=False)
class CallerAudio:
    """Collects what the client appends until it is committed."""

    appends: int = attrs.field(default=0, init=False)
    received_bytes: int = attrs.field(default=0, init=False)
    _buffer: bytearray = attrs.field(factory=bytearray, init=False)
    _ear: Ear = attrs.field(factory=Ear, init=False)
    _vad: VoiceActivity = attrs.field(factory=VoiceActivity, init=False)

    @property
    def heard_ms(self) -> int:
        """Where the audio's own time line ends."""
        return self._vad.heard_ms

    def append(self, base64: str, settings: Json) -> list[Began | Spoken]:
        """Take more audio. Returns where turns began and ended in it, in order.

        Raises:
            Refusal: It cannot be taken, and nothing of it was.

        """
        audio = _audio(base64)
        self.appends += 1
        self.received_bytes += len(audio)
        self._buffer += audio
        detection: Json | None = settings["turn_detection"]
        facts: list[Began | Spoken] = []
        for found in self._vad.hear(self._ear.hear(settings["format"]["type"], audio), detection):
            match found:
                case Began():
                    facts.append(found)
                case Ended(audio_end_ms):
                    facts.append(Spoken(audio_end_ms, self.take(settings)))
        if detection is not None and not self._vad.speaking:
            # What nobody said is not kept, but for the padding before the next word.
            padding_ms = int(detection.get("prefix_padding_ms", 300))
            keep_bytes = max(padding_ms, SHORTEST_COMMIT_MS) * _bytes_per_ms(settings)
            del self._buffer[: max(0, len(self._buffer) - keep_bytes)]
        return facts

    def commit(self, settings: Json) -> Recording:
        """Empty the buffer because the client says so, and give up the turn being heard.

        Raises:
            Refusal: There is too little in it.

        """
        held_ms = len(self._buffer) / _bytes_per_ms(settings)
        if held_ms < SHORTEST_COMMIT_MS:
            raise Refusal(
                "input_audio_buffer_commit_empty",
                "Error committing input audio buffer: buffer too small. Expected at least"
                f" {SHORTEST_COMMIT_MS}ms of audio, but buffer only has {held_ms:.2f}ms of audio.",
            )
        self._vad.forget()
        return self.take(settings)

    def take(self, settings: Json) -> Recording:
        """Empty the buffer, however little is in it."""
        audio = bytes(self._buffer)
        self._buffer.clear()
        return Recording(audio, len(audio) // _bytes_per_ms(settings))

    def discard(self) -> None:
        """Throw away what was not committed. A turn being heard goes on."""
        self._buffer.clear()

    def forget_turn(self) -> None:
        """Give up the turn being heard, if any, and keep its audio."""
        self._vad.forget()


def _audio(base64: str) -> bytes:
    try:
        audio = b64decode(base64, validate=True)
    except ValueError as error:
        message = "Invalid 'audio': expected base64."
        raise Refusal("invalid_value", message, "audio") from error
    if len(audio) > session_rules.LARGEST_APPEND_BYTES:
        raise Refusal("invalid_value", "Invalid 'audio': more than 15 MiB.", "audio")
    return audio


def _bytes_per_ms(settings: Json) -> int:
    return BYTES_PER_MS[settings["format"]["type"]]
