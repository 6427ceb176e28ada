"""The recording of one call: two voices, one clock, one WAV file.

Every sample stands where its moment on the call's clock puts it, so that the two tracks stay in
step for hours; silence is what nobody wrote.
"""

from __future__ import annotations

import struct
from collections import deque
from io import BufferedRandom
from pathlib import Path
from typing import Final

import attrs
import numpy as np
import numpy.typing as npt
import trio

from actors.wire.g711 import Pcm16, decode_ulaw

Stereo = npt.NDArray[np.int16]
"""Signed 16-bit samples at 8 kHz: one row per sample, caller left, agent right."""

SAMPLES_PER_MS: Final = 8
BLOCK_SAMPLES: Final = 8000
"""One second: the unit in which audio leaves memory."""
STEREO_SAMPLE_BYTES: Final = 4
HEADER_BYTES: Final = 44

JITTER_MS: Final = 60
"""A frame this close to where its voice left off follows on it without a seam.

Smaller, and network jitter cuts clicks into the voice; larger, and the tracks get out of step by
as much.
"""

WINDOW_MS: Final = 10_000
"""How far back a cut may reach: beyond any carrier's playout buffer that is fed in real time."""

AHEAD_MS: Final = 120_000
"""How far ahead of the clock audio is believed. It bounds memory: 2 MB a minute."""

LONGEST_MS: Final = 24 * 3600 * 1000
"""A day: what comes later would not fit the sizes of a WAV file, and is not a phone call."""

CALLER: Final = 0
AGENT: Final = 1


@attrs.define(eq=False)
class StereoTrack:
    """Puts both voices in their places. Pure: no files, no clock, no threads."""

    _blocks: dict[int, Stereo] = attrs.field(factory=dict[int, Stereo], init=False)
    """By their number since the call began. A block nobody wrote to does not exist."""
    _next: list[int] = attrs.field(factory=lambda: [0, 0], init=False)
    """Per voice: the sample behind its last one."""
    _started: list[bool] = attrs.field(factory=lambda: [False, False], init=False)
    _now: int = attrs.field(default=0, init=False)
    """The latest moment anybody named, in samples."""
    _left: int = attrs.field(default=0, init=False)
    """Blocks before this one have left memory and cannot change."""
    _end: list[int] = attrs.field(factory=lambda: [0, 0], init=False)

    @property
    def samples(self) -> int:
        """How long the recording is so far."""
        return max(self._end)

    @property
    def blocks_held(self) -> int:
        """How many seconds of audio are in memory."""
        return len(self._blocks)

    def caller(self, at_ms: int, ulaw: bytes) -> None:
        """Place a frame of the caller's."""
        begin = self._at(at_ms)
        if self._started[CALLER] and abs(begin - self._next[CALLER]) <= JITTER_MS * SAMPLES_PER_MS:
            begin = self._next[CALLER]
        self._write(CALLER, begin, ulaw)

    def agent(self, at_ms: int, ulaw: bytes) -> None:
        """Place audio of the agent's: behind what is still playing, as the carrier queues it."""
        begin = self._at(at_ms)
        if self._started[AGENT] and begin - self._next[AGENT] <= JITTER_MS * SAMPLES_PER_MS:
            begin = self._next[AGENT]
        self._write(AGENT, begin, ulaw)

    def cut(self, at_ms: int) -> None:
        """Silence the agent from here on, as far as it is still in memory."""
        begin = max(self._at(at_ms), self._left * BLOCK_SAMPLES)
        for number, block in self._blocks.items():
            first = begin - number * BLOCK_SAMPLES
            if first < BLOCK_SAMPLES:
                block[max(0, first) :, AGENT] = 0
        self._end[AGENT] = min(self._end[AGENT], begin)
        # What is played after a clear begins anew, however close it comes behind.
        self._started[AGENT] = False
        self._next[AGENT] = begin

    def take_settled(self, *, at_least: int = 1) -> list[tuple[int, Stereo]]:
        """Take the blocks that no cut can reach any more: their first sample, and their samples.

        Args:
            at_least: Take nothing when fewer seconds than this have settled.

        """
        settled = max(0, self._now - WINDOW_MS * SAMPLES_PER_MS) // BLOCK_SAMPLES
        if settled - self._left < at_least:
            return []
        return self._take(settled)

    def take_rest(self) -> list[tuple[int, Stereo]]:
        """Take everything. Nothing can be written after that."""
        taken = self._take(LONGEST_MS * SAMPLES_PER_MS // BLOCK_SAMPLES + 1)
        return [(begin, block[: max(0, self.samples - begin)]) for begin, block in taken]

    def _take(self, until: int) -> list[tuple[int, Stereo]]:
        self._left = max(self._left, until)
        numbers = sorted(number for number in self._blocks if number < until)
        return [(number * BLOCK_SAMPLES, self._blocks.pop(number)) for number in numbers]

    def _at(self, at_ms: int) -> int:
        sample = min(max(0, at_ms), LONGEST_MS) * SAMPLES_PER_MS
        self._now = max(self._now, sample)
        return sample

    def _write(self, voice: int, begin: int, ulaw: bytes) -> None:
        most = min(self._now + AHEAD_MS * SAMPLES_PER_MS, LONGEST_MS * SAMPLES_PER_MS)
        pcm: Pcm16 = decode_ulaw(ulaw)[: max(0, most - begin)]
        end = begin + len(pcm)
        self._started[voice] = True
        self._next[voice] = end
        self._end[voice] = max(self._end[voice], end)
        written = max(begin, self._left * BLOCK_SAMPLES)
        while written < end:
            number, first = divmod(written, BLOCK_SAMPLES)
            last = min(BLOCK_SAMPLES, first + end - written)
            block = self._blocks.get(number)
            if block is None:
                block = self._blocks[number] = np.zeros((BLOCK_SAMPLES, 2), dtype=np.int16)
            block[first:last, voice] = pcm[written - begin : written - begin + last - first]
            written += last - first


def wav_header(samples: int) -> bytes:
    """The header of a stereo 16-bit PCM file at 8 kHz with this many samples in each track.

    Source: "Multimedia Programming Interface and Data Specifications 1.0", RIFF and WAVE.
    """
    size = samples * STEREO_SAMPLE_BYTES
    rate = SAMPLES_PER_MS * 1000
    form = struct.pack("<HHIIHH", 1, 2, rate, rate * STEREO_SAMPLE_BYTES, STEREO_SAMPLE_BYTES, 16)
    parts = b"WAVE", b"fmt ", struct.pack("<I", len(form)), form, b"data", struct.pack("<I", size)
    return b"RIFF" + struct.pack("<I", HEADER_BYTES - 8 + size) + b"".join(parts)


@attrs.define(eq=False)
class WavRecorder:
    """A `Recorder` that writes a file which can be played at any time, even after a crash.

    Some seconds are kept in memory, so that what the caller did not hear can be taken out again;
    what is older goes to disk in a worker thread. Audio is taken in before the first checkpoint:
    a cancelled call loses none.

    Raises `OSError` from any of its methods when the disk will not have it.
    """

    path: Path
    _track: StereoTrack = attrs.field(factory=StereoTrack, init=False)
    _pending: deque[tuple[int, Stereo]] = attrs.field(factory=deque[tuple[int, Stereo]], init=False)
    """On its way to disk. One thread appends, another takes."""
    _limiter: trio.CapacityLimiter = attrs.field(
        factory=lambda: trio.CapacityLimiter(1), init=False
    )
    """One thread at a time: an abandoned one still finishes before the next begins."""
    _file: BufferedRandom | None = attrs.field(default=None, init=False)
    _written: int = attrs.field(default=0, init=False)
    """Samples the file has. Only the thread knows."""
    _closed: bool = attrs.field(default=False, init=False)

    async def caller(self, at_ms: int, ulaw: bytes) -> None:
        """Write what the caller said. Ignored when closed."""
        if not self._closed:
            self._track.caller(at_ms, ulaw)
            await self._flush()

    async def agent(self, at_ms: int, ulaw: bytes) -> None:
        """Write what the caller is going to hear, unless it is cut. Ignored when closed."""
        if not self._closed:
            self._track.agent(at_ms, ulaw)
            await self._flush()

    async def cut(self, at_ms: int) -> None:
        """Forget the agent's audio from here on. Ignored when closed."""
        if not self._closed:
            self._track.cut(at_ms)
            await self._flush()

    async def aclose(self) -> None:
        """Write the rest and close the file. Idempotent; cancelled, it ends in its thread."""
        if self._closed:
            return
        self._closed = True
        self._pending.extend(self._track.take_rest())
        await self._in_thread(last=True)

    async def _flush(self) -> None:
        # Several seconds at once: a thread for every second of every call would be waste.
        settled = self._track.take_settled(at_least=4)
        if settled:
            self._pending.extend(settled)
            await self._in_thread(last=False)

    async def _in_thread(self, *, last: bool) -> None:
        await trio.to_thread.run_sync(
            self._write, self._track.samples, last, abandon_on_cancel=True, limiter=self._limiter
        )

    def _write(self, samples: int, last: bool) -> None:
        """Write what is pending, then the header that makes it count. Runs in a thread."""
        try:
            if self._file is None:
                # Private, as everything about a call: nobody else is to hear it.
                self.path.parent.parent.mkdir(parents=True, exist_ok=True)
                self.path.parent.mkdir(mode=0o700, exist_ok=True)
                self._file = self.path.open("w+b")
            while self._pending:
                begin, block = self._pending.popleft()
                self._file.seek(HEADER_BYTES + begin * STEREO_SAMPLE_BYTES)
                self._file.write(block.astype("<i2", copy=False).tobytes())
                self._written = max(self._written, begin + len(block))
            # A second that nobody wrote to is a hole in the file, and reads as silence.
            whole = samples if last else self._written
            self._file.truncate(HEADER_BYTES + whole * STEREO_SAMPLE_BYTES)
            self._file.seek(0)
            self._file.write(wav_header(whole))
            self._file.flush()
        finally:
            if last and self._file is not None:
                self._file.close()


@attrs.define(eq=False)
class MemoryRecorder:
    """A `Recorder` that keeps everything: virtual time has no place for threads."""

    closed: bool = attrs.field(default=False, init=False)
    _track: StereoTrack = attrs.field(factory=StereoTrack, init=False)
    _settled: list[tuple[int, Stereo]] = attrs.field(factory=list[tuple[int, Stereo]], init=False)

    async def caller(self, at_ms: int, ulaw: bytes) -> None:
        """Write what the caller said. Ignored when closed."""
        if not self.closed:
            self._track.caller(at_ms, ulaw)
            self._settled.extend(self._track.take_settled())
        await trio.lowlevel.checkpoint_if_cancelled()  # noqa: ASYNC910

    async def agent(self, at_ms: int, ulaw: bytes) -> None:
        """Write what the caller is going to hear, unless it is cut. Ignored when closed."""
        if not self.closed:
            self._track.agent(at_ms, ulaw)
            self._settled.extend(self._track.take_settled())
        await trio.lowlevel.checkpoint_if_cancelled()  # noqa: ASYNC910

    async def cut(self, at_ms: int) -> None:
        """Forget the agent's audio from here on. Ignored when closed."""
        if not self.closed:
            self._track.cut(at_ms)
            self._settled.extend(self._track.take_settled())
        await trio.lowlevel.checkpoint_if_cancelled()  # noqa: ASYNC910

    async def aclose(self) -> None:
        """Settle the rest. Idempotent."""
        if not self.closed:
            self.closed = True
            self._settled.extend(self._track.take_rest())
        await trio.lowlevel.checkpoint_if_cancelled()  # noqa: ASYNC910

    def stereo(self) -> Stereo:
        """The whole recording, once it is closed: caller in column 0, agent in column 1."""
        return assemble(self._settled, self._track.samples)


def assemble(blocks: list[tuple[int, Stereo]], samples: int) -> Stereo:
    """Lay blocks out on one stretch of silence."""
    whole = np.zeros((samples, 2), dtype=np.int16)
    for begin, block in blocks:
        room = max(0, samples - begin)
        whole[begin : begin + len(block)] = block[:room]
    return whole
