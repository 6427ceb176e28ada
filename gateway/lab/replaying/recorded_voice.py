"""The gateway's own voice, as a flight log has it: each speech as long as it was, or its audio."""

from __future__ import annotations

from base64 import b64decode
from collections import defaultdict, deque
from contextlib import suppress
from math import inf

import attrs
import trio

from actors.errors import Unspoken
from gateway.lab.replaying.recorded import recorded_audio
from gateway.records.flight_log import FlightLog


@attrs.frozen
class _Speech:
    took_ms: float
    """Infinite: it never came."""
    ulaw: bytes = b""
    unspoken: str | None = None


@attrs.define(eq=False)
class RecordedVoice:
    """Says what it said, after as long as it took. Fits the `Voice` port."""

    _speeches: defaultdict[str, deque[_Speech]]
    """By their words, in order."""

    @classmethod
    def of(cls, log: FlightLog) -> RecordedVoice:
        """Read it off a log."""
        speeches: defaultdict[str, deque[_Speech]] = defaultdict(deque)
        for entry in log.entries:
            if entry.place != "voice":
                continue
            match entry.content:
                case ["is", int() | str() as audio, str(words), int() | float() as took_ms]:
                    with suppress(ValueError):  # A log may come from anybody.
                        ulaw = b64decode(recorded_audio(audio))
                        speeches[words].append(_Speech(took_ms, ulaw))
                case ["is not", str(reason), str(words), int() | float() as took_ms]:
                    speeches[words].append(_Speech(took_ms, unspoken=reason))
                case ["never", _, str(words), *_]:
                    speeches[words].append(_Speech(inf))
                case _:
                    pass
        return cls(speeches)

    async def speech(self, words: str) -> bytes:
        """See `Voice`."""
        await trio.lowlevel.checkpoint()
        waiting = self._speeches[words]
        if not waiting:
            raise Unspoken("the flight log has no such speech")
        speech = waiting.popleft()
        await trio.sleep(max(0.0, speech.took_ms) / 1000)
        if speech.unspoken is not None:
            raise Unspoken(speech.unspoken)
        return speech.ulaw
