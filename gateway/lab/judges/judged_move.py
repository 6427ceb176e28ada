"""I6, I7, I9 and I10 of a call that is moved: its streams, what was done, and its secret keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gateway.lab.faults.fault_plan import LINES
from gateway.lab.judges.case import Case, Complaint
from gateway.lab.simulator.simulated_tools import CONNECT, PRESS
from gateway.records.store import to_json

OLD_STREAM_S: Final = 3.0
"""From when another stream is there until nothing is left of the one before."""


def judge_moves(case: Case) -> Iterator[Complaint]:
    """Complain about how a call was moved."""
    yield from _left(case)
    yield from _once(case)
    yield from _private(case)


def _left(case: Case) -> Iterator[Complaint]:
    """A stream that was left is not spoken to, and not kept."""
    seen = case.seen
    for stream in seen.streams:
        left_s = seen.left_s(stream)
        late = sum(size for at_s, _, size in stream.played.pieces() if at_s > left_s)
        if late:
            yield "I6", f"{late} bytes were played to a stream that had been left"
    if case.jumped or any(one.kind != "stop" for one in case.struck("phone.up", "phone.down")):
        return
    for before, after in zip(seen.streams, seen.streams[1:], strict=False):
        if before.done_s is None or before.done_s > after.opened_s + OLD_STREAM_S:
            yield "I4", "a stream was kept though another had come"


def _once(case: Case) -> Iterator[Complaint]:
    """What was asked for once was done at most once."""
    seen, report = case.seen, case.seen.report
    pressed = [one.keys for one in seen.moves if one.obeyed and one.keys]
    dialled = sum(one.obeyed and one.dials for one in seen.moves)
    for what, times, name in (("keys", len(pressed), PRESS), ("a number", dialled, CONNECT)):
        asked = seen.tools.runs.count(name)
        if times > asked:
            yield "I7", f"{what} went to the carrier {times} times, and {asked} were asked for"
    if report is None:
        return
    if len(report.transfers) > dialled:
        yield "I7", f"{len(report.transfers)} were called, and {dialled} were to be"
    keys, wanted = report.pressed_by_agent, "".join(pressed).replace("w", "")
    if len(keys) > len(wanted) or (len(pressed) == 1 and not wanted.startswith(keys)):
        yield "I7", f"the far end got {len(keys)} keys of {len(wanted)}"


def _private(case: Case) -> Iterator[Complaint]:
    """Keys for one function are told to nobody else."""
    pin = case.seen.call.pin
    # Whoever was late for a function that had given up has pressed them for everybody.
    if not pin or case.jumped or case.struck(*LINES, "tool", "rest"):
        return
    for record in case.seen.records:
        if pin in to_json(record).decode():
            yield "I9", "its record has keys that were private"
    for session in case.seen.sessions:
        if any(pin in text for text in session.told):
            yield "I9", "the model was told keys that were private"
