"""I1, I2, I4 and I10: how a call ended, how fast, and what its phone has to say about it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from actors.call import HANG_UP_S, Limits
from actors.exits import (
    AgentHungUp,
    CallerHungUp,
    Crashed,
    Exit,
    Killed,
    PeerLost,
    Refused,
    Stalled,
    TimedOut,
    Transferred,
)
from actors.messages import FRAME_MS, ULAW_BYTES_PER_MS
from actors.policy.hangup import GOODBYE_MAX_MS
from actors.silence import REASON as SILENCE
from gateway.app import APOLOGY
from gateway.configuration.agents import AgentSettings
from gateway.lab.faults.fault_plan import Fault
from gateway.lab.judges.case import CUTS_OFF, ROUNDING_S, Case, Complaint
from gateway.lab.twilio.twiml_reader import Say
from gateway.session.lasting import DEFAULT_BOUNDS

TEARDOWN_S: Final = 0.25
"""From the loss of a leg, or a hang-up, until nothing of the call is left."""
LAST_WORDS_S: Final = 0.4
"""The same where a peer that is still there answers nothing: a last word and a goodbye, each
under its own bound."""
ATTEMPTS: Final = 2
"""To reach the model."""
LIMITS: Final = Limits()
BOUNDS: Final = DEFAULT_BOUNDS
SEND_S: Final = 1.0
"""For a peer to take one frame."""
SILENT_S: Final = 5.0
"""For a phone to say nothing."""
UNCLEAR_S: Final = 6.0
"""For asking Twilio to move a call, and to see whether it did when it has not answered."""
CONNECT_S: Final = 3.0
"""For one attempt to reach the model."""
UNREADABLE: Final = 10
"""Frames in as many seconds, after which the peer is not Twilio."""

_FATAL_DETAILS: Final = frozenset({"binary", "empty_binary", "huge", "stop", "other_start"})
"""Frames after which a line makes no sense."""
_MALFORMED_MOST: Final = 9
"""So many frames that cannot be read are forgiven."""
_LATE_MOST_MS: Final = 4500
_PATIENT_MS: Final = 1000
_MOVING: Final = ("stream.open", "webhook", "rest")
"""What a call that is moved needs beside its phone."""
_SET_UP: Final = ("session.", "error")


def judge_end(case: Case) -> Iterator[Complaint]:
    """Complain about a call's end."""
    seen = case.seen
    if seen.is_running:
        yield "I1", f"something of it is still there: {seen.open_sockets} sockets"
    yield from _recorded(case)
    yield from _torn_down(case)
    yield from _replaced(case)
    yield from _bounded(case)
    if not case.jumped:
        yield from _impatient(case)
    yield from _plausible(case)
    if not (case.jumped or case.struck("phone.up", "phone.down", "model.down")):
        yield from _said_goodbye(case)
    yield from _phone(case)


def _recorded(case: Case) -> Iterator[Complaint]:
    count = len(case.seen.records)
    due = int(case.seen.began_s is not None)
    failed = [one for one in case.struck("store") if one.do in ("raise", "hang", "delay")]
    if count != due and not (failed and count < due):
        yield "I2", f"it has {count} end records instead of {due}"
    for record in case.seen.records:
        if case.seen.ending is not None and record.ending != case.seen.ending:
            yield "I2", f"its record says {record.ending} and not {case.seen.ending}"


def _torn_down(case: Case) -> Iterator[Complaint]:
    seen = case.seen
    if seen.began_s is None or seen.over_s is None:
        return
    bound_s = TEARDOWN_S
    if case.cut_off("phone.up", "phone.down", "model.up", "model.down") or any(
        fault.do in ("delay", "drop") for fault in case.struck("phone.up", "model.down")
    ):
        bound_s = LAST_WORDS_S
    if any(fault.do in ("hang", "delay") for fault in case.struck("store", "recorder")):
        bound_s = LIMITS.cleanup_s + TEARDOWN_S
    if any(fault.kind == "hang_up" for fault in case.struck("rest")):
        bound_s = HANG_UP_S + TEARDOWN_S
    bound_s += ROUNDING_S + seen.jumped_s
    # A stream that comes when all is over is turned away, and no part of the call.
    closed = [stream.done_s for stream in seen.streams if stream.opened_s < seen.over_s]
    closed += [session.done_s for session in seen.sessions]
    gone_s = max([seen.over_s, *(at_s for at_s in closed if at_s is not None)])
    for record in seen.records:
        ended_s = seen.began_s + record.duration_ms / 1000
        if gone_s - ended_s > bound_s:
            yield "I4", f"gone {1000 * (gone_s - ended_s):.0f} ms after its end"
        told_s = _told_s(case)
        if told_s is not None and (
            ended_s - max(told_s, seen.began_s) > TEARDOWN_S + seen.jumped_s
        ):
            yield "I4", f"ended {1000 * (ended_s - told_s):.0f} ms after a leg was gone"


def _replaced(case: Case) -> Iterator[Complaint]:
    """A session that is lost gets a successor, soon; or the call ends, and not before it tried."""
    seen = case.seen
    if seen.began_s is None or seen.over_s is None or case.jumped:
        return
    live = [session for session in seen.sessions if session.live_s is not None]
    for session in live:
        if session.lost_s is None:
            continue
        later = [one.live_s for one in live if one.live_s is not None]
        if any(at_s >= session.lost_s for at_s in later):
            continue
        late_s = seen.over_s - max(session.lost_s, seen.began_s) - BOUNDS.recover_s
        if late_s > LIMITS.cleanup_s + TEARDOWN_S:
            yield "I4", f"it went on for {late_s:.1f} s without a session"
    if not (isinstance(seen.ending, PeerLost) and seen.ending.peer == "session"):
        return
    for record in seen.records:
        lives = sum(moment.what == "SessionLive" for moment in record.moments)
        if 0 < lives <= BOUNDS.restarts and seen.attempts < lives + ATTEMPTS:
            yield "I2", f"it gave up after {seen.attempts} attempts and {lives} sessions"


def _bounded(case: Case) -> Iterator[Complaint]:
    """No call is longer than the gateway allows, or goes on when that is told to stop."""
    seen = case.seen
    if seen.began_s is None or seen.over_s is None:
        return
    due_s = seen.began_s + seen.longest_s
    if seen.told_to_stop_s is not None:
        due_s = max(seen.began_s, min(due_s, seen.told_to_stop_s))
    due_s = max(due_s, seen.jumped_at_s)
    late_s = seen.over_s - due_s - LIMITS.cleanup_s - TEARDOWN_S
    if late_s > 0:
        yield "I4", f"over {late_s:.1f} s after it had to be"


def _impatient(case: Case) -> Iterator[Complaint]:
    """Nobody is waited for longer than they may take."""
    seen = case.seen
    for stream in seen.streams:
        if stream.longest_wait_s > SEND_S + ROUNDING_S:
            yield "I4", f"the phone was waited for for {stream.longest_wait_s:.1f} s"
    for session in seen.sessions:
        if session.longest_wait_s > SEND_S + ROUNDING_S:
            yield "I4", f"the model was waited for for {session.longest_wait_s:.1f} s"
    is_live = any(session.live_s is not None for session in seen.sessions)
    match seen.ending:
        case PeerLost(peer="session") if not is_live and seen.attempts < ATTEMPTS:
            yield "I2", f"the model was tried {seen.attempts} times"
        case _:
            pass
    if seen.began_s is None:
        return
    for record in seen.records:
        ended_s = seen.began_s + record.duration_ms / 1000 - ROUNDING_S
        for stream in seen.streams:
            if stream.nonsense_s is not None and ended_s > stream.nonsense_s + TEARDOWN_S:
                yield "I4", "it went on after a frame that no stream may contain"
            for first_s, tenth_s in zip(
                stream.unreadable_s, stream.unreadable_s[UNREADABLE - 1 :], strict=False
            ):
                if tenth_s - first_s < UNREADABLE and ended_s > tenth_s + TEARDOWN_S:
                    yield "I4", "it went on with a peer that makes no sense"
                    break
            # One that was opened a moment before the end has said nothing, and owes nothing yet.
            silent_s = ended_s - max(stream.latest_s or stream.opened_s, seen.began_s)
            patience_s = SILENT_S + (UNCLEAR_S if case.struck("rest") else 0.0)
            if silent_s > patience_s + TEARDOWN_S and ended_s < seen.left_s(stream):
                yield "I4", f"it went on for {silent_s:.1f} s after the phone fell silent"
        lasted_s = ended_s - seen.began_s
        if not is_live and lasted_s > ATTEMPTS * CONNECT_S + TEARDOWN_S:
            yield "I4", f"it went on for {lasted_s:.1f} s without a model"


def _told_s(case: Case) -> float | None:
    """When the gateway first knew that it was over: the caller is gone.

    A session that is gone is replaced; see `_replaced`.
    """
    seen = case.seen
    known = [
        stream.told_s
        for stream in seen.streams
        # A stream that was left to move the call is not the end of it.
        if stream.told_s is not None and stream.told_s < seen.left_s(stream)
    ]
    if seen.told_over_s is not None and seen.is_away(seen.told_over_s):
        known.append(seen.told_over_s)
    return min(known, default=None)


def _plausible(case: Case) -> Iterator[Complaint]:
    """The ending is what happened, and nothing that a call survives ends one."""
    seen = case.seen
    why = seen.ending
    if why is None:
        return
    if not _happened(case, why):
        yield "I2", f"it ended as {type(why).__name__}, and nothing of the kind happened"


def _happened(case: Case, why: Exit) -> bool:
    seen = case.seen
    match why:
        case CallerHungUp():
            told = seen.told_over_s is not None and any(one.obeyed for one in seen.moves)
            return told or any(stream.stopped_s is not None for stream in seen.streams)
        case AgentHungUp(reason=reason, tool_call_id="") if reason == SILENCE:
            return _was_silent(case)
        case AgentHungUp():
            return any(why.tool_call_id in session.asked for session in seen.sessions)
        case Transferred():
            return any(one.obeyed and one.dials for one in seen.moves)
        case PeerLost(peer="carrier"):
            return any(
                stream.told_s is not None and stream.stopped_s is None for stream in seen.streams
            ) or _is_hurt(case, "phone", *(_MOVING if seen.moves else ()))
        case PeerLost():
            return any(one.lost_s is not None for one in seen.sessions) or _is_hurt(case, "model")
        case Refused():
            return any(one.model.errors for one in seen.sessions) or _is_hurt(case, "model")
        case Crashed():
            raised = case.struck("phone.down", "model.up", "model.open")
            return any(fault.do == "raise" for fault in raised)
        case TimedOut():
            return all(one.duration_ms >= 1000 * why.limit_s - 1 for one in seen.records)
        case Killed():
            return case.stopped
        case Stalled():
            return case.jumped


def _was_silent(case: Case) -> bool:
    """Whether the caller had begun to say nothing for so long that an agent may hang up."""
    patience_s = AgentSettings().max_silence_s or 0.0
    spoke_s = [at_s for one in case.seen.sessions for at_s in one.speech_started_s]
    return (case.seen.over_s or 0.0) - max(spoke_s, default=0.0) >= patience_s


def _is_hurt(case: Case, *legs: str) -> bool:
    faults = [fault for fault in case.faults if fault.place.startswith(legs)]
    return case.jumped or any(not is_survivable(fault) for fault in faults) or _is_riddled(faults)


def _is_riddled(faults: list[Fault]) -> bool:
    """Whether frames that cannot be read may have come so thick that nobody listens on."""
    nonsense = (fault for fault in faults if fault.do in ("truncate", "corrupt", "inject"))
    return sum(fault.times for fault in nonsense) > _MALFORMED_MOST


def is_survivable(fault: Fault) -> bool:
    """Whether a call goes on in spite of it."""
    match fault.place:
        case "tool" | "store" | "recorder" | "script":
            return True
        case "webhook":
            return fault.do == "duplicate"
        case "phone.up" | "phone.down":
            return _is_small(fault) and fault.kind in ("media", "mark", "connected")
        case "model.down":
            return _is_small(fault) and not fault.kind.startswith(_SET_UP)
        case _:
            return False


def _is_small(fault: Fault) -> bool:
    if fault.do in CUTS_OFF or fault.detail in _FATAL_DETAILS or fault.do == "raise":
        return False
    if fault.do in ("delay", "reorder"):
        return fault.ms <= _LATE_MOST_MS
    if fault.do == "inject" and fault.detail not in ("key", "unknown_mark"):
        return fault.times <= _MALFORMED_MOST
    return True


def _said_goodbye(case: Case) -> Iterator[Complaint]:
    """The agent hangs up when its goodbye was heard, and never on a caller who speaks."""
    seen, why = case.seen, case.seen.ending
    if not isinstance(why, AgentHungUp) or seen.began_s is None or seen.report is None:
        return
    for record in seen.records:
        ended_s = seen.began_s + record.duration_ms / 1000 - ROUNDING_S
        for session in seen.sessions:
            if why.tool_call_id not in session.asked:
                continue
            _, asked_s = session.asked[why.tool_call_id]
            started = [at_s for at_s in session.speech_started_s if at_s < ended_s]
            stopped = [at_s for at_s in session.speech_stopped_s if at_s < ended_s]
            if max(started, default=0.0) > asked_s or len(started) > len(stopped):
                yield "I10", "the agent hung up on a caller who spoke"
            unheard_ms = seen.report.unplayed_ms
            unheard_ms += record.drops["agent_bytes_unsent"] // ULAW_BYTES_PER_MS
            is_patient = ended_s - asked_s > GOODBYE_MAX_MS / 1000 - 1
            if unheard_ms > FRAME_MS and not is_patient:
                yield "I10", f"the agent hung up before {unheard_ms} ms of its own were heard"


def _phone(case: Case) -> Iterator[Complaint]:
    report = case.seen.report
    if report is None:
        yield "I10", "the phone never came back"
        return
    # Nobody hung up, in some conversations: that is nobody's fault.
    endless = report.stream_ended == "ended_by_carrier"
    # A phone waits for the end of its call, and not for ever.
    slow = any(fault.do in ("hang", "delay") for fault in case.struck("store", "recorder"))
    slow = slow or any(fault.ms > _PATIENT_MS for fault in case.struck("phone.up", "phone.down"))
    hurt = slow or any(not is_survivable(fault) for fault in case.faults)
    hurt = hurt or _is_riddled(case.struck("phone.up"))
    if report.problem is not None and not (hurt or case.stopped or case.jumped or endless):
        yield "I10", report.problem
    if report.warnings and not case.struck("phone.down"):
        yield "I10", f"Twilio dropped something: {report.warnings[0].what}"
    if isinstance(case.seen.ending, AgentHungUp | CallerHungUp) and Say(APOLOGY) in report.verbs:
        yield "I10", "it was apologised for, and nothing was wrong"
    if len(set(case.seen.answers)) > 1 and not case.stopped:
        kinds = {b"<Stream" in answer for answer in case.seen.answers}
        if kinds == {True}:
            yield "I10", "a repeated webhook got another answer"
