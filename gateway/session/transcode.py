"""Between the phone's mu-law and what a session speaks, both ways, without a gap or a click.

Pure. One transcoder per session: what it was given is part of what it makes of what follows.
Positions in time are the same on both sides: a resampler hands its output out late, and not
shifted. Measured with soxr 1.1.0: to and from 24 kHz, up to 73 ms of the newest audio is held back.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections import OrderedDict
from typing import Final, Protocol

import attrs
import numpy as np
import numpy.typing as npt
import soxr  # type: ignore[import-untyped] # it has none.

from actors.messages import ULAW_BYTES_PER_MS
from actors.wire.g711 import decode_ulaw, encode_ulaw
from actors.wire.openai import AudioDelta, AudioDone, ResponseDone, ServerEvent
from actors.wire.openai_session import AudioFormat

LINE_HZ: Final = 1000 * ULAW_BYTES_PER_MS
SESSION_HZ: Final = 24000
SAMPLE_BYTES: Final = 2
FACTOR: Final = SESSION_HZ // LINE_HZ

QUALITY: Final = "HQ"
"""Of soxr's. Measured from 8 to 24 to 8 kHz: LQ loses what is above 3 kHz (a telephone has speech
up to 3.4), and QQ has no low-pass at all; MQ holds back 75 ms, HQ 73 and VHQ 152, and all three
are the same to the ear."""

MOST_ITEMS: Final = 64
"""Under way at once. A response has a few, one after the other; only nonsense has more."""

Samples = npt.NDArray[np.float32]
"""On the scale of 16-bit integers. Not as integers: soxr dithers those, and then the same audio in
other pieces comes out as other samples, and silence as noise."""


class Transcoder(Protocol):
    """Speaks mu-law to the call and the session's format to the session."""

    def to_session(self, payload: str) -> str:
        """The next caller audio, from base64 to base64. Empty: nothing to send, for now."""

    def to_call(self, event: ServerEvent) -> tuple[ServerEvent, ...]:
        """The next event, with its audio in mu-law; what was held back comes before its end."""


def transcoder(audio: AudioFormat) -> Transcoder:
    """A new one, for a session that speaks this."""
    match audio:
        case "g711_ulaw":
            return Untouched()
        case "g711_alaw":
            return ALaw()
        case "pcm16":
            return Resampled()


@attrs.frozen
class Untouched:
    """The session speaks what the phone speaks, and nothing is even decoded."""

    def to_session(self, payload: str) -> str:
        """See `Transcoder`."""
        return payload

    def to_call(self, event: ServerEvent) -> tuple[ServerEvent, ...]:
        """See `Transcoder`."""
        return (event,)


def _alaw_code(sample: int) -> int:
    sample >>= 3
    mask = 0xD5
    if sample < 0:
        sample, mask = -sample - 1, 0x55
    segment = max(0, sample.bit_length() - 5)
    return mask ^ (sample >> 1 if sample < 32 else (segment << 4) | ((sample >> segment) & 15))


def _alaw_sample(code: int) -> int:
    bits = code ^ 0x55
    segment, magnitude = (bits >> 4) & 7, ((bits & 15) << 4) + 8
    if segment:
        magnitude = (magnitude + 256) << (segment - 1)
    return magnitude if bits & 0x80 else -magnitude


ULAW_TO_ALAW: Final = bytes(_alaw_code(int(sample)) for sample in decode_ulaw(bytes(range(256))))
"""Source: ITU-T G.711, by way of linear samples. There and back changes 16 codes by one step."""
ALAW_TO_ULAW: Final = encode_ulaw(
    np.array([_alaw_sample(code) for code in range(256)], dtype=np.int16)
)


@attrs.frozen
class ALaw:
    """The session speaks G.711 A-law: another name for nearly the same samples."""

    def to_session(self, payload: str) -> str:
        """See `Transcoder`."""
        return b64encode(b64decode(payload).translate(ULAW_TO_ALAW)).decode("ascii")

    def to_call(self, event: ServerEvent) -> tuple[ServerEvent, ...]:
        """See `Transcoder`."""
        match event:
            case AudioDelta():
                return (attrs.evolve(event, delta=event.delta.translate(ALAW_TO_ULAW)),)
            case _:
                return (event,)


@attrs.define(eq=False)
class Resampled:
    """The session speaks 16-bit PCM at 24 kHz."""

    _up: soxr.ResampleStream = attrs.field(factory=lambda: _stream(LINE_HZ, SESSION_HZ), init=False)
    """Never begun anew: the caller's audio is one piece from the first frame to the last."""
    _items: OrderedDict[str, _Item] = attrs.field(factory=OrderedDict, init=False)

    def to_session(self, payload: str) -> str:
        """See `Transcoder`."""
        samples = decode_ulaw(b64decode(payload)).astype(np.float32)
        wide = _rounded(self._up.resample_chunk(samples))
        return b64encode(wide.astype("<i2").tobytes()).decode("ascii")

    def to_call(self, event: ServerEvent) -> tuple[ServerEvent, ...]:
        """See `Transcoder`."""
        match event:
            case AudioDelta(response_id, item_id, delta):
                return self._audio(item_id, self._item(response_id, item_id).take(delta))
            case AudioDone(_, item_id):
                return (*self._end(item_id), event)
            case ResponseDone(response):
                # One that was cut short may end without the ends of its items.
                cut = [i for i, item in self._items.items() if item.response_id == response.id]
                return (*(tail for item_id in cut for tail in self._end(item_id)), event)
            case _:
                return (event,)

    def _item(self, response_id: str, item_id: str) -> _Item:
        if item_id not in self._items:
            self._items[item_id] = _Item(response_id)
            if len(self._items) > MOST_ITEMS:
                self._items.popitem(last=False)
        return self._items[item_id]

    def _end(self, item_id: str) -> tuple[ServerEvent, ...]:
        item = self._items.get(item_id)
        if item is None:
            return ()
        tail = self._audio(item_id, item.end())
        del self._items[item_id]
        return tail

    def _audio(self, item_id: str, ulaw: bytes) -> tuple[ServerEvent, ...]:
        return (AudioDelta(self._items[item_id].response_id, item_id, ulaw),) if ulaw else ()


@attrs.define(eq=False)
class _Item:
    """The audio of one item, on its way down to 8 kHz."""

    response_id: str
    _down: soxr.ResampleStream = attrs.field(
        factory=lambda: _stream(SESSION_HZ, LINE_HZ), init=False
    )
    _rest: bytes = attrs.field(default=b"", init=False)
    """Half a sample: a delta may end anywhere."""
    _taken: int = attrs.field(default=0, init=False)
    """Samples at 24 kHz."""
    _given: int = attrs.field(default=0, init=False)
    """Samples at 8 kHz, which are bytes."""

    def take(self, pcm: bytes) -> bytes:
        """More of the item. Returns what can be said of it by now, as mu-law; maybe nothing."""
        pcm = self._rest + pcm
        whole = len(pcm) // SAMPLE_BYTES * SAMPLE_BYTES
        self._rest = pcm[whole:]
        return self._make(np.frombuffer(pcm[:whole], dtype="<i2").astype(np.float32))

    def end(self) -> bytes:
        """There is no more of it. Returns what was held back."""
        return self._make(np.zeros(0, dtype=np.float32), last=True)

    def _make(self, samples: Samples, *, last: bool = False) -> bytes:
        self._taken += len(samples)
        narrow = _rounded(self._down.resample_chunk(samples, last=last))
        # Never more than there is at the other side: it is told in ms what was heard of it.
        narrow = narrow[: self._taken // FACTOR - self._given]
        self._given += len(narrow)
        return encode_ulaw(narrow)


def _stream(from_hz: int, to_hz: int) -> soxr.ResampleStream:
    return soxr.ResampleStream(from_hz, to_hz, 1, dtype="float32", quality=QUALITY)


def _rounded(samples: Samples) -> npt.NDArray[np.int16]:
    return np.clip(np.rint(samples), -32768, 32767).astype(np.int16)
