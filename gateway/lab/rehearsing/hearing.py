"""Which lines somebody heard, and how much of each: known voices found again in audio.

Pure. By correlation, so that a line is recognised through any codec or resampler that a telephone
call may have put it through.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import attrs
import numpy as np
import numpy.typing as npt

from actors.messages import ULAW_BYTES_PER_MS
from actors.wire.g711 import decode_ulaw
from gateway.lab.twilio.playout_buffer import Heard

HEAD_MS: Final = 320
"""A line is recognised by its first third of a second, or by all of it if it is shorter."""
CHUNK_MS: Final = 40
"""And then followed, so much at a time."""
ALIKE: Final = 0.6
"""Correlation from which two stretches are the same. Two lines of one voice have below 0.3, and
the same line at another rate, and back, above 0.95."""
WHOLE: Final = 0.96
"""Of a line: whoever heard so much has heard all of its words."""

_HEAD: Final = HEAD_MS * ULAW_BYTES_PER_MS
_CHUNK: Final = CHUNK_MS * ULAW_BYTES_PER_MS
_HIGHEST_HZ: Final = 3000.0
_QUIET: Final = 1e3
"""Energy of a sample below which a stretch is silence: about -60 dBFS."""

Samples = npt.NDArray[np.float64]


@attrs.frozen
class HeardLine:
    """A line that was heard from its beginning, and not always to its end."""

    at_ms: float
    text: str
    """What the whole line says."""
    heard_ms: int
    lasts_ms: int

    @property
    def words(self) -> str:
        """What of it was heard, in whole words."""
        share = self.heard_ms / self.lasts_ms
        if share >= WHOLE:
            return self.text
        head, _, _ = self.text[: round(len(self.text) * share) + 1].rpartition(" ")
        return head


def recognise(heard: Sequence[Heard], lines: Mapping[str, bytes]) -> tuple[HeardLine, ...]:
    """Find lines in what was heard, in the order of their beginnings.

    Args:
        heard: Audio as it was played, piece by piece.
        lines: What may be in it, with its mu-law. Lines that sound the same are not told apart.

    """
    audio = b"".join(piece.ulaw for piece in heard)
    if not audio:
        return ()
    sound = _samples(audio)
    found = [
        (at, length, text)
        for text, ulaw in lines.items()
        if len(ulaw) >= _CHUNK
        for at, length in _occurrences(sound, _samples(ulaw))
    ]
    # Two lines may begin with the same words: the one that goes on longer is the one that was said.
    # Where a line was cut, the chunk with the cut in it may be taken for all of the line's.
    found.sort(key=lambda one: (-one[1], one[0]))
    taken: list[tuple[int, int, str]] = []
    for at, length, text in found:
        edges = ((other + size - _CHUNK, other + _CHUNK) for other, size, _ in taken)
        if all(at >= end or at + length <= begin for end, begin in edges):
            taken.append((at, length, text))
    return tuple(
        HeardLine(
            _moment(heard, at),
            text,
            length // ULAW_BYTES_PER_MS,
            len(lines[text]) // ULAW_BYTES_PER_MS,
        )
        for at, length, text in sorted(taken)
    )


def _occurrences(sound: Samples, line: Samples) -> Iterator[tuple[int, int]]:
    """Where a line begins, and how much of it is there, in samples."""
    head = line[:_HEAD]
    if len(sound) < len(head):
        return
    scores = _correlation(sound, head)
    while True:
        at = int(np.argmax(scores))
        if scores[at] < ALIKE:
            return
        length = len(head)
        while length < len(line):
            chunk = line[length : length + _CHUNK]
            if not _alike(sound[at + length : at + length + len(chunk)], chunk):
                break
            length += len(chunk)
        yield at, length
        scores[max(0, at - len(head)) : at + length] = 0


def _correlation(sound: Samples, head: Samples) -> Samples:
    """How alike `head` is to every stretch of its length: 1 is the same, 0 has nothing of it."""
    count = len(sound) - len(head) + 1
    size = 1 << (len(sound) + len(head)).bit_length()
    product = np.fft.rfft(sound, size) * np.conj(np.fft.rfft(head, size))
    alike = np.fft.irfft(product, size)[:count]
    sums = np.concatenate([[0.0], np.cumsum(np.square(sound))])
    energy = sums[len(head) :] - sums[: -len(head)]
    loud = np.maximum(energy, _QUIET * len(head))
    scores: Samples = alike / np.sqrt(loud * float(head @ head) + 1.0)
    return scores


def _alike(one: Samples, other: Samples) -> bool:
    if len(one) < len(other):
        return False
    energy, wanted = float(one @ one), float(other @ other)
    if wanted < _QUIET * len(other):  # A pause in the line: nothing to compare.
        return energy < 10 * _QUIET * len(other)
    return float(one @ other) > ALIKE * float(np.sqrt(energy * wanted))


def _samples(ulaw: bytes) -> Samples:
    """The part of it that every telephone and every resampler passes on."""
    spectrum = np.fft.rfft(decode_ulaw(ulaw).astype(np.float64))
    hz = np.arange(len(spectrum)) * (1000 * ULAW_BYTES_PER_MS / len(ulaw))
    spectrum[hz > _HIGHEST_HZ] = 0
    return np.fft.irfft(spectrum, len(ulaw))


def _moment(heard: Sequence[Heard], at: int) -> float:
    """When a sample of everything that was heard was played."""
    for piece in heard:
        if at < len(piece.ulaw):
            return piece.at_ms + at / ULAW_BYTES_PER_MS
        at -= len(piece.ulaw)
    raise AssertionError("it was found in there")
