"""The recording of a call: where every sample goes, and that no disk can hurt a call."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Literal

import attrs
import numpy as np
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from actors.lanes import Lane, OnFull
from actors.recording import AgentCut, AgentSent, CallerHeard, Recording, RecordingFact
from actors.wire.g711 import decode_ulaw, encode_ulaw
from gateway.records.recording import (
    AHEAD_MS,
    BLOCK_SAMPLES,
    JITTER_MS,
    LONGEST_MS,
    WINDOW_MS,
    MemoryRecorder,
    Stereo,
    StereoTrack,
    WavRecorder,
    assemble,
)

LOUD, QUIET = b"\x80", b"\xe0"
LOUD_PCM, QUIET_PCM = int(decode_ulaw(LOUD)[0]), int(decode_ulaw(QUIET)[0])


def frame(ms: int = 20, sample: bytes = LOUD) -> bytes:
    return sample * (ms * 8)


def rest(track: StereoTrack) -> Stereo:
    return assemble(track.take_rest(), track.samples)


def spans_ms(voice: np.ndarray[tuple[int], np.dtype[np.int16]]) -> list[tuple[float, float]]:
    """Where a track is not silent."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], voice != 0, [0])).astype(np.int8))) / 8
    return [(float(a), float(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def test_each_voice_has_its_side() -> None:
    track = StereoTrack()
    track.caller(0, frame(20, LOUD))
    track.agent(10, frame(20, QUIET))
    stereo = rest(track)

    assert spans_ms(stereo[:, 0]) == [(0, 20)]
    assert spans_ms(stereo[:, 1]) == [(10, 30)]
    assert (stereo[0, 0], stereo[100, 1]) == (LOUD_PCM, QUIET_PCM)


def test_jitter_leaves_no_seam_and_does_not_add_up() -> None:
    """A minute of frames, each up to 39 ms off, is a minute of unbroken voice."""
    track = StereoTrack()
    for number in range(3000):
        track.caller(number * 20 + (number * 7919) % 40, frame())

    assert spans_ms(rest(track)[:, 0]) == [(0, 60_000)]


@pytest.mark.parametrize(
    ("late_ms", "spans"),
    [
        pytest.param(JITTER_MS, [(0, 40)], id="at-the-bound"),
        pytest.param(JITTER_MS + 1, [(0, 20), (81, 101)], id="beyond-the-bound"),
    ],
)
def test_a_caller_frame_finds_its_place_anew_when_it_is_too_far_off(
    late_ms: int, spans: list[tuple[float, float]]
) -> None:
    track = StereoTrack()
    track.caller(0, frame())
    track.caller(20 + late_ms, frame())

    assert spans_ms(rest(track)[:, 0]) == spans


def test_a_clock_that_runs_slow_never_gets_out_of_step() -> None:
    """A line whose 20 ms last 20.2: after five minutes it would be three seconds off."""
    track = StereoTrack()
    off_ms: list[float] = []
    for number in range(15_000):
        at_ms = number * 202 // 10
        track.caller(at_ms, frame())
        off_ms.append(at_ms + 20 - track.samples / 8)
        track.take_settled()

    assert max(map(abs, off_ms)) <= JITTER_MS


def test_agent_audio_sent_in_a_burst_is_heard_one_after_the_other() -> None:
    track = StereoTrack()
    for _ in range(10):
        track.agent(100, frame(100))

    assert spans_ms(rest(track)[:, 1]) == [(100, 1100)]


def test_what_the_caller_did_not_hear_is_not_in_the_recording() -> None:
    track = StereoTrack()
    track.agent(0, frame(3000))
    track.cut(1234)
    stereo = rest(track)

    assert spans_ms(stereo[:, 1]) == [(0, 1234)]
    assert len(stereo) == 1234 * 8


def test_a_cut_leaves_the_caller_alone() -> None:
    track = StereoTrack()
    track.caller(0, frame(3000))
    track.cut(1000)

    assert spans_ms(rest(track)[:, 0]) == [(0, 3000)]


def test_after_a_cut_the_next_words_begin_when_they_are_sent() -> None:
    """The carrier's buffer is empty: they are not queued, and 30 ms of silence stay silence."""
    track = StereoTrack()
    track.agent(0, frame(5000))
    track.cut(1000)
    track.agent(1030, frame(100))

    assert spans_ms(rest(track)[:, 1]) == [(0, 1000), (1030, 1130)]


def test_memory_holds_the_window_and_no_more() -> None:
    """An hour of both voices."""
    track = StereoTrack()
    most = 0
    for second in range(3600):
        track.caller(second * 1000, frame(1000))
        track.agent(second * 1000, frame(1000))
        track.take_settled()
        most = max(most, track.blocks_held)

    assert most <= WINDOW_MS // 1000 + 2


def test_memory_is_bounded_when_a_session_never_stops_sending() -> None:
    track = StereoTrack()
    for _ in range(600):
        track.agent(0, frame(1000))

    assert track.blocks_held == AHEAD_MS // 1000


@pytest.mark.parametrize("at_ms", [LONGEST_MS, 10**12, 10**30])
def test_a_moment_beyond_any_call_costs_nothing(at_ms: int) -> None:
    track = StereoTrack()
    track.caller(at_ms, frame())

    assert track.blocks_held == 0


def test_what_comes_too_late_for_its_place_is_left_out() -> None:
    track = StereoTrack()
    track.caller(30_000, frame())
    settled = track.take_settled()
    track.caller(5, frame())
    track.cut(5)

    assert settled == []
    assert spans_ms(assemble(settled + track.take_rest(), track.samples)[:, 0]) == [
        (30_000, 30_020)
    ]


Step = tuple[Literal["caller", "agent", "cut"], int, int]
"""What, how much later or earlier than the last, how long: in ms."""

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["caller", "agent", "cut"]),
        st.sampled_from([0, 1, 20, 61, 400, 1500, 4000, -1, -70, -900]),
        st.sampled_from([0, 1, 20, 333, 1000, 2500]),
    ),
    max_size=40,
)


@given(STEPS, st.booleans())
@settings(max_examples=150, deadline=None)
def test_a_track_is_what_one_endless_array_would_be(steps: list[Step], settle: bool) -> None:
    """As long as nothing reaches back further than the window, memory leaves no trace."""
    track, settled = StereoTrack(), list[tuple[int, Stereo]]()
    naive = np.zeros((40 * 4000 * 8 + 100_000 * 8, 2), dtype=np.int16)
    follows: list[int | None] = [None, None]
    ends = [0, 0]
    latest_ms = at_ms = 0
    for number, (what, later_ms, long_ms) in enumerate(steps):
        at_ms = max(0, latest_ms - WINDOW_MS, at_ms + later_ms)
        latest_ms = max(latest_ms, at_ms)
        begin = at_ms * 8
        ulaw = encode_ulaw(np.full(long_ms * 8, 100 * number + 300, dtype=np.int16))
        if what == "cut":
            track.cut(at_ms)
            naive[begin:, 1] = 0
            ends[1], follows[1] = min(ends[1], begin), None
        else:
            voice = 0 if what == "caller" else 1
            after = follows[voice]
            if what == "caller":
                track.caller(at_ms, ulaw)
                near = after is not None and abs(begin - after) <= JITTER_MS * 8
            else:
                track.agent(at_ms, ulaw)
                near = after is not None and begin - after <= JITTER_MS * 8
            begin = after if near and after is not None else begin
            follows[voice] = begin + len(ulaw)
            naive[begin : begin + len(ulaw), voice] = decode_ulaw(ulaw)
            ends[voice] = max(ends[voice], begin + len(ulaw))
        if settle:
            settled.extend(track.take_settled())
    settled.extend(track.take_rest())

    assert track.samples == max(ends)
    assert np.array_equal(assemble(settled, track.samples), naive[: max(ends)])


def read_wav(path: Path) -> Stereo:
    with wave.open(str(path), "rb") as file:
        shape = file.getnchannels(), file.getsampwidth(), file.getframerate()
        assert shape == (2, 2, 8000)
        pcm = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
    assert path.stat().st_size == 44 + 2 * len(pcm)
    return pcm.reshape(-1, 2).astype(np.int16)


async def play_a_call(recorder: WavRecorder | MemoryRecorder) -> None:
    """Thirty seconds: frames of the caller's, a gap of ten seconds, an agent who is cut twice."""
    for second in range(10):
        await recorder.caller(second * 1000, frame(1000))
    await recorder.agent(2000, frame(6000, QUIET))
    await recorder.cut(4500)
    await recorder.caller(20_000, frame(5000))
    await recorder.agent(26_000, frame(4000, QUIET))
    await recorder.cut(29_000)


async def test_a_wav_file_is_what_memory_holds(tmp_path: Path) -> None:
    path = tmp_path / "calls" / "CA1" / "recording.wav"
    on_disk, in_memory = WavRecorder(path), MemoryRecorder()
    for recorder in (on_disk, in_memory):
        await play_a_call(recorder)
        await recorder.aclose()
    stereo = read_wav(path)

    assert np.array_equal(stereo, in_memory.stereo())
    assert spans_ms(stereo[:, 0]) == [(0, 10_000), (20_000, 25_000)]
    assert spans_ms(stereo[:, 1]) == [(2000, 4500), (26_000, 29_000)]


async def test_a_recording_can_be_played_while_the_call_goes_on(tmp_path: Path) -> None:
    """After a crash there is a whole file, up to some seconds before its end."""
    path = tmp_path / "recording.wav"
    recorder = WavRecorder(path)
    for second in range(31):
        await recorder.caller(second * 1000, frame(1000))
    seconds = len(read_wav(path)) / 8000
    await recorder.aclose()

    assert 30 - WINDOW_MS / 1000 - 4 <= seconds <= 30


async def test_a_call_without_a_word_leaves_an_empty_recording(tmp_path: Path) -> None:
    recorder = WavRecorder(tmp_path / "recording.wav")
    await recorder.aclose()

    assert len(read_wav(recorder.path)) == 0


async def test_a_closed_recorder_takes_no_more_and_may_be_closed_again(tmp_path: Path) -> None:
    on_disk, in_memory = WavRecorder(tmp_path / "recording.wav"), MemoryRecorder()
    for recorder in (on_disk, in_memory):
        await recorder.caller(0, frame(1000))
        await recorder.aclose()
        await recorder.caller(1000, frame(1000))
        await recorder.agent(1000, frame(1000))
        await recorder.cut(0)
        await recorder.aclose()

    assert len(read_wav(on_disk.path)) == 8000
    assert len(in_memory.stereo()) == 8000


async def test_a_cancelled_flush_loses_nothing(tmp_path: Path) -> None:
    """A call is cancelled at any moment, and its last words are the ones that matter."""
    recorder, expected = WavRecorder(tmp_path / "recording.wav"), MemoryRecorder()
    for second in range(60):
        await expected.caller(second * 1000, frame(1000))
        with trio.CancelScope() as scope:
            scope.cancel()
            await recorder.caller(second * 1000, frame(1000))
    await recorder.aclose()
    await expected.aclose()

    assert np.array_equal(read_wav(recorder.path), expected.stereo())


async def test_samples_of_the_last_block_end_where_the_call_does(tmp_path: Path) -> None:
    recorder = WavRecorder(tmp_path / "recording.wav")
    await recorder.caller(0, frame(1500))
    await recorder.cut(40_000)
    await recorder.aclose()

    assert len(read_wav(recorder.path)) == BLOCK_SAMPLES * 3 // 2


@attrs.define(eq=False)
class Tape:
    """Stands for any recorder: remembers what it was told, and fails when it is full."""

    room: int = 1000
    told: list[RecordingFact] = attrs.field(factory=list[RecordingFact])
    closed: bool = False

    async def caller(self, at_ms: int, ulaw: bytes) -> None:
        await self._keep(CallerHeard(at_ms, ulaw))

    async def agent(self, at_ms: int, ulaw: bytes) -> None:
        await self._keep(AgentSent(at_ms, ulaw))

    async def cut(self, at_ms: int) -> None:
        await self._keep(AgentCut(at_ms))

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()
        self.closed = True
        if len(self.told) >= self.room:
            raise OSError(28, "No space left on device")

    async def _keep(self, fact: RecordingFact) -> None:
        await trio.lowlevel.checkpoint()
        if len(self.told) >= self.room:
            raise OSError(28, "No space left on device")
        self.told.append(fact)


def tape_recording(tape: Tape, size: int = 100) -> Recording:
    return Recording(Lane[RecordingFact]("recording", size, OnFull.DROP_OLDEST), tape)


FACTS: list[RecordingFact] = [CallerHeard(0, b"a"), AgentSent(5, b"b"), AgentCut(9)]


async def test_the_actor_hands_everything_on_in_order(nursery: trio.Nursery) -> None:
    tape = Tape()
    recording = tape_recording(tape)
    nursery.start_soon(recording.run)
    for fact in FACTS:
        recording.inbox.put(fact)
    await trio.testing.wait_all_tasks_blocked()

    assert tape.told == FACTS


async def test_what_was_still_in_the_lane_is_written_when_the_call_ends() -> None:
    tape = Tape()
    recording = tape_recording(tape)
    for fact in FACTS:
        recording.inbox.put(fact)
    await recording.finish()

    assert tape.told == FACTS
    assert tape.closed


async def test_a_full_lane_costs_the_oldest_frame_and_counts_it() -> None:
    tape = Tape()
    recording = tape_recording(tape, size=2)
    for fact in FACTS:
        recording.inbox.put(fact)
    await recording.finish()

    assert tape.told == FACTS[1:]
    assert recording.inbox.dropped == 1


async def test_a_full_disk_ends_the_recording_with_one_warning_and_not_the_call(
    nursery: trio.Nursery,
) -> None:
    tape = Tape(room=1)
    recording = tape_recording(tape)
    with capture_logs() as logs:
        nursery.start_soon(recording.run)
        for fact in FACTS:
            recording.inbox.put(fact)
        await trio.testing.wait_all_tasks_blocked()
        recording.inbox.put(CallerHeard(20, b"c"))
        await recording.finish()

    assert tape.told == FACTS[:1]
    assert tape.closed
    assert [(one["event"], one["log_level"]) for one in logs] == [
        ("recording.abandoned", "warning")
    ]


async def test_a_recording_that_cannot_be_opened_does_not_hurt_the_call(tmp_path: Path) -> None:
    in_the_way = tmp_path / "calls"
    in_the_way.write_text("a file where a folder should be")
    recording = Recording(
        Lane[RecordingFact]("recording", 10, OnFull.DROP_OLDEST),
        WavRecorder(in_the_way / "CA1" / "recording.wav"),
    )
    recording.inbox.put(CallerHeard(0, frame()))
    with capture_logs() as logs:
        await recording.finish()

    assert [one["event"] for one in logs] == ["recording.abandoned"]
