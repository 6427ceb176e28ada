"""I7: what the model is told, and what is done at its word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from math import inf
from typing import Final

from actors.call import Limits
from actors.exits import AgentHungUp
from actors.messages import HANGUP
from actors.policy.hangup import GOODBYE_MAX_MS
from gateway.lab.judges.case import Case, Complaint
from gateway.lab.judges.seen_session import SessionSeen
from gateway.lab.simulator.simulated_tools import MOVES

LIMITS: Final = Limits()
SETTLED_S: Final = 1.0
"""Beyond its deadline: by then the output of a tool is on its way."""
SPEAKS_S: Final = 12.0
"""From a tool's output, or a response that failed, until the model is asked to speak: the caller
may say something meanwhile, or another tool may take its time."""
MOVE_S: Final = 90.0
"""For a function that moves the call. Each of them is bounded by itself."""
HARMLESS_ERRORS: Final = frozenset({"response_cancel_not_active"})
"""Refusals that no client can avoid: the response ended while the order was on its way."""


def judge_model(case: Case) -> Iterator[Complaint]:
    """Complain about tools, about orders the model refused, and about what it was not told."""
    asked: Counter[str] = Counter()
    for session in case.seen.sessions:
        asked.update(name for name, _ in session.asked.values())
        yield from _outputs(case, session)
        if not case.struck("model.up"):
            yield from _refused(case, session)
        if case.jumped or case.struck("model.up"):
            continue
        yield from _told_of_results(case, session)
        if all(fault.do in ("reorder", "delay") for fault in case.struck("model.down")):
            yield from _amended(case, session)
        if not case.struck("model.down"):
            yield from _spoken_to(case, session)
    ran = Counter(case.seen.tools.runs)
    for name in sorted(ran - asked):
        yield "I7", f"{name} was run {ran[name]} times, and asked for {asked[name]} times"


def _end_s(session: SessionSeen) -> float:
    ends = (session.lost_s, session.closing_s, session.done_s)
    return min((at_s for at_s in ends if at_s is not None), default=inf)


def _due_s(session: SessionSeen, tool_call_id: str) -> float:
    """By when a tool call has its output. A hang-up is called off when the caller speaks."""
    name, asked_s = session.asked[tool_call_id]
    if name in MOVES:
        return asked_s + MOVE_S
    if name != HANGUP:
        return asked_s + LIMITS.tool_s + SETTLED_S
    beside = any(other != HANGUP and at_s == asked_s for other, at_s in session.asked.values())
    spoke_s = min((at_s for at_s in session.speech_started_s if at_s > asked_s), default=inf)
    due_s = min(asked_s + GOODBYE_MAX_MS / 1000, spoke_s)
    return due_s + (LIMITS.tool_s if beside else 0.0) + SETTLED_S


def _outputs(case: Case, session: SessionSeen) -> Iterator[Complaint]:
    """Every call has one output; the last may be the end of the call itself."""
    for tool_call_id, outputs in session.outputs.items():
        if outputs > 1:
            yield "I7", f"{tool_call_id} got {outputs} outputs"
    for tool_call_id in session.asked:
        due_s = _due_s(session, tool_call_id) + case.seen.jumped_s
        if not session.outputs[tool_call_id] and due_s < _end_s(session):
            yield "I7", f"{tool_call_id} got no output until {due_s:.0f} s"
    why = case.seen.ending
    if isinstance(why, AgentHungUp) and why.tool_call_id in session.asked:
        told = session.outputs[why.tool_call_id]
        is_there = session.lost_s is None and not case.struck("model.up", "model.down")
        if is_there and not told:
            yield "I7", "the model was never told that it hung up"


def _told_of_results(case: Case, session: SessionSeen) -> Iterator[Complaint]:
    """What a tool's run came to is sent at once."""
    if len(case.seen.sessions) > 1:
        return
    end_s = _end_s(session)
    done = sum(done_s + SETTLED_S < end_s for done_s in case.seen.tools.done_s)
    names = {tool_call_id: name for tool_call_id, (name, _) in session.asked.items()}
    told = sum(
        outputs
        for tool_call_id, outputs in session.outputs.items()
        if names.get(tool_call_id) != HANGUP
    )
    if told < done:
        yield "I7", f"{done} runs of tools were over, and the model was told of {told}"


def _refused(case: Case, session: SessionSeen) -> Iterator[Complaint]:
    """The model takes every order, and finds nothing odd in them."""
    for violation in session.model.violations:
        if not violation.startswith("the script"):
            yield "I7", f"the model says: {violation}"
    if case.struck("model.down"):
        return
    scripted = {"session_expired"} if session.model.closed is not None else set[str]()
    # Behind a long sleep, an order that was obeyed meanwhile looks forgotten, and is given again.
    slept = {"conversation_already_has_active_response"} if case.jumped else set[str]()
    for code, times in Counter(session.model.errors).items():
        if code not in HARMLESS_ERRORS | scripted | slept:
            yield "I7", f"the model refused {times} orders with {code}"


def _amended(case: Case, session: SessionSeen) -> Iterator[Complaint]:
    """What the caller did not hear, the model is told to forget."""
    began_s, end_s = case.seen.began_s or 0.0, _end_s(session)
    for record in case.seen.records:
        for one in record.barge_ins:
            if began_s + one.at_ms / 1000 + SETTLED_S > end_s:
                continue
            for cut in one.items:
                if cut.item_id not in session.audio_s:
                    continue  # Another session's, or a line of the gateway's own.
                told_ms = session.truncated_ms.get(cut.item_id)
                if told_ms != cut.heard_ms and not (
                    cut.heard_ms == 0 and cut.item_id in session.deleted
                ):
                    yield "I7", f"{cut.heard_ms} ms were heard, and the model told {told_ms}"
        # Of a very long call, a record has not every word.
        if record.drops["agent_bytes_unsent"] or record.left_out.entries:
            continue
        played = {said.item_id for said in record.transcript if said.began_ms is not None}
        for item_id, at_s in session.audio_s.items():
            if at_s + SETTLED_S < end_s and item_id not in played | session.deleted:
                yield "I7", "the model believes something to be said that was never played"


def _spoken_to(case: Case, session: SessionSeen) -> Iterator[Complaint]:
    """After an output, or a failure, the model speaks again: unless somebody hangs up."""
    if case.struck("tool"):
        return
    for what, times_s in (("an output", session.output_s), ("a failure", session.failed_s)):
        for at_s in times_s:
            spoken = any(at_s < one_s <= at_s + SPEAKS_S for one_s in session.begun_s)
            if not spoken and at_s + SPEAKS_S < _end_s(session):
                yield "I7", f"after {what} the model was not asked to speak again"
