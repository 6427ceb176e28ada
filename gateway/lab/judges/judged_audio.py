"""I3, I5 and I6, and what of I8 is about audio: whose it is, and what became of every byte."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from actors.messages import FRAME_BYTES, LOCAL, ULAW_BYTES_PER_MS
from actors.policy.record import CallRecord
from gateway.lab.judges.case import ROUNDING_S, Case, Complaint
from gateway.lab.judges.seen_session import SessionSeen
from gateway.lab.judges.seen_stream import StreamSeen
from gateway.lab.judges.tagged_voice import CALLS, Run, Side, Tagged, Unreadable

AHEAD_S: Final = 0.3
"""How much audio the carrier is given ahead of its time, at most: the lead, and one item's end."""
CLEARED_S: Final = 0.05
"""From when the gateway hears that the caller speaks until it has the playout cleared."""
STILL_PLAYING_S: Final = 0.1
"""So much audio left, and the caller is interrupting."""
CHANCE_MS: Final = 10
"""Audio that lost half a millisecond reads as anything, but not for so long."""
ULAW: Final = "audio/pcmu"
SEND_S: Final = 1.0
"""For a model to take one frame."""
HEARD_MS: Final = 150
"""How far the gateway's belief about what was heard of an item may be from the truth."""


def judge_audio(case: Case) -> Iterator[Complaint]:
    """Complain about a call's audio."""
    yield from _conserved(case)
    yield from _late(case)
    yield from _recorder(case)
    yield from _played(case)
    yield from _appended(case)
    if not case.jumped:
        yield from _in_time(case)
        yield from _believed(case)


def _conserved(case: Case) -> Iterator[Complaint]:
    streams, sessions = case.seen.streams, case.seen.sessions
    for record in case.seen.records:
        yield from _balance(record)
        audio = record.audio
        appended = sum(session.appended.count for session in sessions)
        # What a lost session was told, its successor is told again: see `_taken_over`.
        if appended != audio.appended_bytes and not _is_lasting(case, record):
            yield "I3", f"{appended} bytes were appended, recorded {audio.appended_bytes}"
        received = sum(session.received_bytes for session in sessions) + _local_bytes(record)
        if received != audio.received_bytes and not case.damaged("model.down"):
            yield "I3", f"the model sent {received} bytes, recorded {audio.received_bytes}"
        if not streams or (len(streams) > 1 and not case.seen.moves):
            continue
        played = sum(stream.played.count + stream.refused_bytes for stream in streams)
        if played != audio.played_bytes:
            yield "I3", f"{played} bytes were played, recorded {audio.played_bytes}"
        sent = sum(stream.caller_bytes for stream in streams)
        if sent != audio.caller_bytes and not case.damaged("phone.up"):
            yield "I3", f"the phone sent {sent} bytes, recorded {audio.caller_bytes}"


def _is_lasting(case: Case, record: CallRecord) -> bool:
    """Whether a session was lost or replaced.

    The record of a call that ends then may not know; nor that of a very long one, which has no
    room for every moment.
    """
    live = [one for one in case.seen.sessions if one.live_s is not None]
    return (
        len(live) > 1
        or any(moment.what in ("SessionLost", "SessionMoved") for moment in record.moments)
        or any(
            one.lost_s is not None or one.refused_frames or one.longest_wait_s >= SEND_S
            for one in live
        )
    )


def _local_bytes(record: CallRecord) -> int:
    """What the gateway said itself."""
    return sum(
        (said.received_ms or 0) * ULAW_BYTES_PER_MS
        for said in record.transcript
        if said.item_id.startswith(LOCAL)
    )


def _balance(record: CallRecord) -> Iterator[Complaint]:
    """See `AudioTotals`."""
    audio, drops = record.audio, record.drops
    filled = drops["caller_ms_filled_with_silence"] * ULAW_BYTES_PER_MS
    gone = sum(drops[f"caller_bytes_{why}"] for why in ("late", "overflowed", "unsent"))
    missing = audio.caller_bytes + filled - audio.appended_bytes - gone
    if missing:
        yield "I3", f"{missing} bytes of the caller's are unaccounted for"
    names = ("late", "clipped", "withdrawn", "unsent")
    gone = sum(drops[f"agent_bytes_{why}"] for why in names)
    padded = drops["agent_bytes_padded"]
    missing = audio.received_bytes + padded - audio.played_bytes - gone
    if missing:
        yield "I3", f"{missing} bytes of the agent's are unaccounted for"


def _late(case: Case) -> Iterator[Complaint]:
    """What comes in order is never late."""
    if case.jumped or any(fault.do != "delay" for fault in case.struck("phone.up")):
        return
    for record in case.seen.records:
        if late := record.drops["caller_bytes_late"]:
            yield "I3", f"{late} bytes of the caller's were late, and came in order"


def _recorder(case: Case) -> Iterator[Complaint]:
    """The recorder is given both sides, and closed."""
    recorder = case.seen.recorder
    if recorder is None or case.struck("recorder"):
        return
    if not recorder.closed:
        yield "I1", "its recorder was never closed"
    for record in case.seen.records:
        if record.drops["recording_messages_overflowed"]:
            continue
        if recorder.caller_bytes != record.audio.caller_bytes:
            yield "I3", f"{recorder.caller_bytes} bytes of the caller's were recorded"
        # What was withdrawn was recorded before, and is cut off again.
        if recorder.agent_bytes < record.audio.played_bytes:
            yield "I3", f"{recorder.agent_bytes} bytes of the agent's were recorded"
        if recorder.cuts < sum(len(stream.clears_s) for stream in case.seen.streams):
            yield "I3", f"{recorder.cuts} cuts were recorded"


def _is_no_chance(run: Tagged) -> bool:
    return run.to_ms - run.from_ms >= CHANCE_MS


def _played(case: Case) -> Iterator[Complaint]:
    lossy = case.spoilt("model.down")
    ends: dict[int, int] = {}
    for stream in case.seen.streams:
        runs = stream.played.runs()
        yield from _whose(case, runs, "agent", "was played", spoilt=lossy)
        yield from _forward(runs, "played", gaps=lossy, repeats=lossy, ends=ends)
        if lossy:
            # Out of order, deltas that end within a millisecond read as anything, but not for long.
            runs = [run for run in runs if isinstance(run, Tagged) and _is_no_chance(run)]
        yield from _cleared(stream, runs)
        if stream.played.count % FRAME_BYTES:
            yield "I6", f"{stream.played.count} bytes were played, which is no whole frame"
        if not case.jumped:
            for session in case.seen.sessions:
                yield from _dead(stream, session, runs)
                if not any(record.drops["agent_bytes_clipped"] for record in case.seen.records):
                    yield from _unwanted(stream, session, runs)
    heard = [run for _, run in case.seen.heard]
    cuts = case.seen.report is not None and bool(case.seen.report.cuts)
    # Deltas end anywhere within a millisecond: out of order, they cannot be read.
    lossy = lossy or case.spoilt("phone.down")
    yield from _whose(case, heard, "agent", "was heard", spoilt=lossy)
    yield from _forward(heard, "heard", gaps=lossy or cuts, repeats=lossy)


def _appended(case: Case) -> Iterator[Complaint]:
    spoilt = case.damaged("phone.up")
    # A clock that was seconds late is followed when it goes back, to what was sent already.
    repeats = spoilt or (
        any(fault.do in ("duplicate", "reorder") for fault in case.struck("phone.up"))
        and any(fault.do == "delay" for fault in case.struck("phone.up"))
    )
    records = case.seen.records
    # A record that was never written cannot say what was dropped.
    lossy = (
        case.spoilt("phone.up")
        or case.jumped
        or not records
        # Whoever speaks when the carrier takes the stream away is heard by nobody.
        or any(one.obeyed for one in case.seen.moves)
        or any(
            record.drops[f"caller_bytes_{why}"]
            for record in records
            # Unheard: whoever speaks while a function waits for private keys.
            for why in ("late", "overflowed", "unsent", "unheard")
        )
    )
    before: Tagged | None = None
    for session in case.seen.sessions:
        if session.appended.count and set(session.formats) != {ULAW}:
            yield "I8", f"audio went to a model that takes {session.formats}"
        runs = session.appended.runs()
        yield from _whose(case, runs, "caller", "was appended", spoilt=spoilt)
        heard = [run for run in runs if isinstance(run, Tagged)]
        if before is not None and heard:
            yield from _taken_over(before, heard[0], gaps=lossy or repeats)
            # It is given what another one heard before: from wherever that was needed.
            ends = {heard[0].line: heard[0].from_ms}
        else:
            ends = {}
        before = heard[-1] if heard else before
        yield from _forward(runs, "appended", gaps=lossy, repeats=repeats, ends=ends)


def _taken_over(before: Tagged, first: Tagged, *, gaps: bool) -> Iterator[Complaint]:
    """What the caller said between two sessions is heard by the second."""
    goes_on = first.line <= before.line and first.from_ms <= before.to_ms
    begins = first.line == before.line + 1 and first.from_ms == 0
    if not (goes_on or begins or gaps):
        yield "I3", f"line {first.line} from {first.from_ms} ms: what was before is lost"


def _whose(
    case: Case, runs: Iterable[Run], side: Side, what: str, *, spoilt: bool
) -> Iterator[Complaint]:
    # Where a session is lost, its last delta ends anywhere within a millisecond.
    moments = [moment.what for record in case.seen.records for moment in record.moments]
    ends = max(
        moments.count("SessionLost"),
        sum(one.lost_s is not None for one in case.seen.sessions),
        sum(one.live_s is not None for one in case.seen.sessions) - 1,
    )
    for run in runs:
        if isinstance(run, Unreadable) and run.lasts_ms == 1 and ends > 0:
            ends -= 1
        elif isinstance(run, Unreadable) and not spoilt:
            yield "I8", f"{run.lasts_ms} ms {what} that nobody said"
        elif isinstance(run, Tagged) and (
            run.call != case.seen.call.number % CALLS or run.side != side
        ):
            if spoilt and run.to_ms - run.from_ms < CHANCE_MS:
                continue
            yield "I8", f"audio of the {run.side} of call {run.call} {what}"


def _forward(
    runs: Iterable[Run],
    what: str,
    *,
    gaps: bool,
    repeats: bool,
    ends: dict[int, int] | None = None,
) -> Iterator[Complaint]:
    """Every line in its turn, from its beginning, without a hole, and never again."""
    ends = {} if ends is None else ends
    for run in runs:
        if not isinstance(run, Tagged):
            continue
        if run.line < max(ends, default=0) and not repeats:
            yield "I6", f"line {run.line} was {what} behind line {max(ends)}"
        expected_ms = ends.get(run.line, 0)
        if run.from_ms < expected_ms and not repeats:
            yield "I6", f"line {run.line} was {what} again from {run.from_ms} ms"
        elif run.from_ms > expected_ms and not gaps:
            yield "I6", f"{run.from_ms - expected_ms} ms of line {run.line} were never {what}"
        ends[run.line] = run.to_ms


def _cleared(stream: StreamSeen, runs: Iterable[Run]) -> Iterator[Complaint]:
    """What was begun before a `clear` never comes after it."""
    begins: dict[int, int] = {}
    for run in runs:
        if not isinstance(run, Tagged):
            continue
        at_bytes = run.at_ms * ULAW_BYTES_PER_MS
        begun = begins.setdefault(run.line, at_bytes)
        last = at_bytes + (run.to_ms - run.from_ms) * ULAW_BYTES_PER_MS
        if any(begun < clear < last for clear in stream.clears_bytes):
            yield "I6", f"line {run.line} went on behind a clear"


def _dead(stream: StreamSeen, session: SessionSeen, runs: Iterable[Run]) -> Iterator[Complaint]:
    """Once the caller speaks, nothing of what was known until then is played."""
    for run in runs:
        response_id = session.lines.get(run.line) if isinstance(run, Tagged) else None
        if not isinstance(run, Tagged) or response_id is None:
            continue
        known_s = session.responses_s.get(response_id)
        last_s = stream.played.at_s(run.at_ms + run.to_ms - run.from_ms - 1)
        for spoke_s in session.speech_started_s:
            if known_s is not None and known_s < spoke_s < last_s - ROUNDING_S / 2:
                late_ms = 1000 * (last_s - spoke_s)
                yield "I6", f"line {run.line} was played {late_ms:.0f} ms after the caller spoke"


def _unwanted(stream: StreamSeen, session: SessionSeen, runs: Iterable[Run]) -> Iterator[Complaint]:
    """Nothing of a response is played once the model was told to stop making it.

    Not so where it was told because there was no more room for it.
    """
    for run in runs:
        response_id = session.lines.get(run.line) if isinstance(run, Tagged) else None
        if not isinstance(run, Tagged) or response_id not in session.cancelled_s:
            continue
        last_s = stream.played.at_s(run.at_ms + run.to_ms - run.from_ms - 1)
        if last_s > session.cancelled_s[response_id] + ROUNDING_S / 2:
            yield "I6", f"line {run.line} was played, and had been cancelled before"


def _in_time(case: Case) -> Iterator[Complaint]:
    """Not too far ahead; and when the caller interrupts, what is ahead is cleared."""
    if case.struck("phone.down"):
        return
    for stream in case.seen.streams:
        queue = list(stream.queue_ends())
        ahead_s = max((ends_s - at_s for at_s, ends_s in queue), default=0.0)
        if ahead_s > AHEAD_S:
            yield "I5", f"the carrier was given {1000 * ahead_s:.0f} ms ahead of their time"
        ends = (stream.told_s, stream.closing_s, stream.done_s, case.seen.over_s)
        end_s = min((at_s for at_s in ends if at_s is not None), default=0.0)
        for session in case.seen.sessions:
            for spoke_s in session.speech_started_s:
                # What was cleared before is gone: they may speak twice in a row.
                from_s = max((at_s for at_s in stream.clears_s if at_s < spoke_s), default=0.0)
                left_s = max(
                    (ends for at_s, ends in queue if from_s <= at_s < spoke_s), default=0.0
                )
                cleared = any(
                    spoke_s - CLEARED_S <= at_s <= spoke_s + CLEARED_S for at_s in stream.clears_s
                )
                lasts = spoke_s + CLEARED_S < end_s
                if lasts and left_s > spoke_s + STILL_PLAYING_S and not cleared:
                    yield "I6", "the caller spoke, and what was playing was not cleared"


def _believed(case: Case) -> Iterator[Complaint]:
    """What the record and the model believe that the caller heard is what the caller heard."""
    if case.struck("phone.up", "phone.down", "model.down"):
        return
    truth_ms: dict[int, int] = {}
    for _, run in case.seen.heard:
        if isinstance(run, Tagged):
            truth_ms[run.line] = truth_ms.get(run.line, 0) + run.to_ms - run.from_ms
    lines = {
        item_id: line for session in case.seen.sessions for line, item_id in session.items.items()
    }
    for record in case.seen.records:
        for said in record.transcript:
            if said.who != "agent" or said.item_id not in lines:
                continue
            is_known = said.interrupted or said.heard_ms == said.received_ms
            heard_ms = truth_ms.get(lines[said.item_id], 0)
            if is_known and abs((said.heard_ms or 0) - heard_ms) > HEARD_MS:
                line = lines[said.item_id]
                yield "I6", f"{heard_ms} ms of line {line} were heard, recorded {said.heard_ms}"
