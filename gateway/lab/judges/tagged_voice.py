"""A voice that can be told apart to the millisecond: who speaks, in which call, which line, where.

Pure. Every millisecond of a line is eight samples, and these spell out whose they are. The samples
are loud ones, so that whatever listens by level hears speech; silence stays silence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import attrs
import numpy as np
import numpy.typing as npt

from actors.messages import ULAW_BYTES_PER_MS, ULAW_SILENCE

Side = Literal["caller", "agent"]

MS_PER_CHARACTER: Final = 60
"""About as fast as a person speaks."""

CALLS: Final = 1 << 14
"""The number of a call is told modulo this."""
LINES: Final = 1 << 13
LONGEST_MS: Final = 1 << 20
"""Of one line: 17 minutes."""

_BITS: Final = 7
"""Of one sample: sign, and the six lowest bits of its code, which is above -25 dBFS then."""
_LOUD: Final = 0x3F
_SIGN: Final = 0x80
_QUIET: Final = 0x40
"""The bit that no loud sample has."""
_SIDES: Final[tuple[Side, Side]] = ("caller", "agent")

_Words = npt.NDArray[np.int64]
_Bytes = npt.NDArray[np.uint8]


@attrs.frozen
class Tagged:
    """A stretch of one line, without a gap."""

    at_ms: int
    """Where it begins in the audio that was read."""
    call: int
    side: Side
    line: int
    """Counted from 0, in the order in which they were asked for."""
    from_ms: int
    to_ms: int
    """Which part of the line: from here up to here."""


@attrs.frozen
class Silence:
    """Nothing but digital silence."""

    at_ms: int
    lasts_ms: int


@attrs.frozen
class Unreadable:
    """Something else than this voice, or a spoilt piece of it."""

    at_ms: int
    lasts_ms: int


Run = Tagged | Silence | Unreadable


@attrs.define(eq=False)
class TaggedVoice:
    """Says lines for one side of one call; every line it is asked for gets a number."""

    call: int
    side: Side
    lines: list[str] = attrs.field(factory=list[str], init=False)
    """What was said, by number."""

    def __call__(self, text: str) -> bytes:
        """Say a line: mu-law, and never a whole number of 20 ms frames."""
        length_ms = min(LONGEST_MS - 1, MS_PER_CHARACTER * len(text) + 7)
        line = len(self.lines) % LINES
        self.lines.append(text)
        head = ((self.call % CALLS) * 2 + _SIDES.index(self.side)) * LINES + line
        return _spell((head << 20) + np.arange(length_ms, dtype=np.int64))


def read(ulaw: bytes) -> list[Run]:
    """Say whose every millisecond is. What is left over behind the last whole one is not read."""
    count = len(ulaw) // ULAW_BYTES_PER_MS
    if not count:
        return []
    samples = np.frombuffer(ulaw, dtype=np.uint8, count=count * ULAW_BYTES_PER_MS)
    words = _unspell(samples.reshape(count, ULAW_BYTES_PER_MS))
    # Within a run, words of a line count up by one, and those of silence or rubbish are equal.
    steps = np.diff(words)
    goes_on = np.where(words[:-1] >= 0, steps == 1, steps == 0)
    begins = [0, *(np.flatnonzero(~goes_on) + 1).tolist()]
    ends = [*begins[1:], count]
    first: Sequence[int] = words[begins].tolist()
    return [_run(word, begin, end) for word, begin, end in zip(first, begins, ends, strict=True)]


_SILENT: Final = -1
_SPOILT: Final = -2


def _run(word: int, begin: int, end: int) -> Run:
    if word == _SILENT:
        return Silence(begin, end - begin)
    if word == _SPOILT:
        return Unreadable(begin, end - begin)
    head, position = divmod(word, LONGEST_MS)
    who, line = divmod(head, LINES)
    call, side = divmod(who, 2)
    return Tagged(begin, call, _SIDES[side], line, position, position + end - begin)


def _spell(words: _Words) -> bytes:
    symbols = np.empty((len(words), ULAW_BYTES_PER_MS), dtype=np.int64)
    for index in range(_BITS):
        symbols[:, index] = (words >> (_BITS * index)) & 0x7F
    symbols[:, _BITS] = _check(symbols)
    return ((symbols & _LOUD) | ((symbols & _QUIET) << 1)).astype(np.uint8).tobytes()


def _unspell(samples: _Bytes) -> _Words:
    """The word of every millisecond."""
    symbols = (samples & _LOUD).astype(np.int64) | ((samples & _SIGN) >> 1)
    sound = ((samples & _QUIET) == 0).all(axis=1) & (_check(symbols) == symbols[:, _BITS])
    words = np.zeros(len(samples), dtype=np.int64)
    for index in range(_BITS):
        words |= symbols[:, index] << (_BITS * index)
    silent = (samples == ULAW_SILENCE[0]).all(axis=1)
    return np.where(sound, words, np.where(silent, _SILENT, _SPOILT))


def _check(symbols: _Words) -> _Words:
    """A sum over the seven symbols of a word in which the place of each counts."""
    total: _Words = (symbols[:, :_BITS] * np.arange(1, 2 * _BITS, 2)).sum(axis=1) + 85
    return total & 0x7F
