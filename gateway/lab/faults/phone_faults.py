"""Generators of the faults of the phone's side: webhooks, the media socket, the frames on it.

Pure. The numbers are those of the fault catalogue.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from random import Random
from typing import Final

import attrs

from gateway.lab.faults.drawn_faults import Drawn, Generator, hostile, probe
from gateway.lab.faults.fault_plan import Fault
from gateway.lab.rehearsing.scenario import Step
from gateway.lab.simulator.call_script import after_first_words, first_words, frame, with_steps
from gateway.lab.simulator.workload import SimulatedCall

_MALFORMED: Final = (
    "not_json",
    "not_object",
    "no_content",
    "unknown_kind",
    "same_key_twice",
    "not_a_number",
    "big_number",
    "deep",
)


def _hangs_up(random: Random, call: SimulatedCall) -> Drawn:
    """At any moment: before the first word, in the middle of one, at the goodbye."""
    steps = call.scenario.caller
    steps = steps[: random.randint(0, len(steps))]
    kept = [step for step in steps if step.wait != "call_end" and not step.hang_up]
    last = random.choice(
        [
            Step(wait_ms=random.randrange(1, 3000), hang_up=True),
            Step(wait="agent_speaking", after_ms=random.randrange(0, 1500), hang_up=True),
        ]
    )
    told = "the caller hangs up at any moment"
    fault = Fault(
        id="F01", call=call.number, place="script", do="rewrite", kind="stop", detail=told
    )
    return with_steps(call, *kept, last), [fault]


def _breaks(random: Random, call: SimulatedCall) -> Drawn:
    return call, [_on_audio(random, call, "F02")(do="break")]


def _half_open(random: Random, call: SimulatedCall) -> Drawn:
    return call, [_on_audio(random, call, "F03")(do="half_close")]


def _does_not_read(random: Random, call: SimulatedCall) -> Drawn:
    kind, nth = random.choice([("media", random.randint(1, 8)), ("mark", random.randint(1, 4))])
    return call, [
        Fault(id="F04", call=call.number, place="phone.down", do="hang", kind=kind, nth=nth)
    ]


def _never_starts(random: Random, call: SimulatedCall) -> Drawn:
    """Without `start`: silence, or audio that nobody announced."""
    if random.random() < 0.3:
        return call, [probe(random, call, "F06", "no_start")]
    start = Fault(id="F06", place="phone.up", do="drop", call=call.number, kind="start")
    if random.random() < 0.5:
        start = attrs.evolve(start, do="half_close")
    return call, [start]


def _webhook_twice(random: Random, call: SimulatedCall) -> Drawn:
    late_ms = random.choice([0, random.randrange(1, 100), random.randrange(100, 5000)])
    return call, [
        Fault(
            id="F10", call=call.number, place="webhook", do="duplicate", kind="voice", ms=late_ms
        ),
    ]


def _out_of_order(random: Random, call: SimulatedCall) -> Drawn:
    up = Fault(id="F11", place="phone.up", do="duplicate", call=call.number)
    late_ms = random.randrange(0, 2000)
    return call, [
        random.choice(
            [
                # Media before start: what is forgiven, and what is not.
                attrs.evolve(up, do="reorder", kind="start", ms=random.randrange(60, 900)),
                attrs.evolve(up, do="reorder", kind="start", ms=random.randrange(1200, 3000)),
                attrs.evolve(up, kind="start", ms=late_ms),
                attrs.evolve(up, kind="connected", ms=late_ms),
                attrs.evolve(up, do="inject", kind="connected", detail="stop"),
                attrs.evolve(
                    up, do="inject", kind="media", nth=frame(random, call), detail="other_start"
                ),
                attrs.evolve(up, do="inject", kind="media", nth=frame(random, call), detail="stop"),
            ]
        )
    ]


def _malformed(random: Random, call: SimulatedCall) -> Drawn:
    """Fewer than the limit of ten in ten seconds, just as many, or many more."""
    times = random.choice([1, 3, 9, 10, 30])
    detail = random.choice(_MALFORMED)
    return call, [_on_audio(random, call, "F12")(do="inject", times=times, detail=detail)]


def _bad_audio(random: Random, call: SimulatedCall) -> Drawn:
    detail = random.choice(
        ["bad_base64", "padded_base64", "empty_payload", "short_payload", "garbled_payload"]
    )
    times = random.randint(1, 5)
    return call, [_on_audio(random, call, "F13")(do="corrupt", times=times, detail=detail)]


def _binary(random: Random, call: SimulatedCall) -> Drawn:
    detail = random.choice(["binary", "empty_binary"])
    return call, [_on_audio(random, call, "F14")(do="inject", detail=detail)]


def _huge(random: Random, call: SimulatedCall) -> Drawn:
    if random.random() < 0.4:
        return call, [probe(random, call, "F15", "huge_message")]
    return call, [_on_audio(random, call, "F15")(do="inject", detail="huge")]


def _lossy(random: Random, call: SimulatedCall) -> Drawn:
    """A gap, a frame twice, a frame overtaken, or a few in reverse order."""
    first = frame(random, call)
    up = Fault(id="F17", place="phone.up", do="drop", call=call.number, kind="media", nth=first)
    match random.choice(["gap", "twice", "overtaken", "reversed"]):
        case "gap":
            return call, [attrs.evolve(up, times=random.choice([1, 2, 5, 25]))]
        case "twice":
            late_ms = random.choice([0, 15, 100])
            return call, [attrs.evolve(up, do="duplicate", times=random.randint(1, 5), ms=late_ms)]
        case "overtaken":
            return call, [attrs.evolve(up, do="reorder", ms=random.choice([30, 50, 70]))]
        case _:
            return call, [
                attrs.evolve(up, do="reorder", nth=first + place, ms=(2 - place) * 25)
                for place in range(3)
            ]


def _burst(random: Random, call: SimulatedCall) -> Drawn:
    """One frame is late, and the line keeps its order: all behind it come together."""
    late_ms = random.choice([200, 1000, 2000, 4500])
    return call, [_on_audio(random, call, "F18")(do="delay", ms=late_ms)]


def _odd_marks(random: Random, call: SimulatedCall) -> Drawn:
    nth = random.randint(1, 5)
    up = Fault(id="F19", call=call.number, place="phone.up", do="drop", kind="mark", nth=nth)
    match random.choice(["lost", "all lost", "never put", "twice", "unknown", "late"]):
        case "lost":
            fault = attrs.evolve(up, do="drop", times=random.randint(1, 3))
        case "all lost":
            fault = attrs.evolve(up, do="drop", times=1000)
        case "never put":
            fault = attrs.evolve(up, place="phone.down", do="drop")
        case "twice":
            late_ms = random.choice([0, 100, 2000])
            fault = attrs.evolve(up, do="duplicate", ms=late_ms)
        case "unknown":
            fault = attrs.evolve(up, do="inject", detail="unknown_mark")
        case _:
            # Past the next one, past a barge-in, past the end of what it marks.
            late_ms = random.choice([100, 700, 4000])
            fault = attrs.evolve(up, do="reorder", ms=late_ms)
    return call, [fault]


def _keys(random: Random, call: SimulatedCall) -> Drawn:
    """A hundred keys: by hand over some 20 s, or by a machine in two."""
    if random.random() < 0.5:
        times = random.choice([20, 100])
        return call, [_on_audio(random, call, "F20")(do="inject", times=times, detail="key")]
    pressed = "".join(random.choice("0123456789*#ABCD") for _ in range(100))
    keys = Step(wait_ms=random.randrange(1, 2000), press=pressed)
    # What comes next may not wait for the greeting, which is over by then.
    asks = Step(wait_ms=500, say=first_words(call))
    told = "the caller presses a hundred keys"
    fault = Fault(
        id="F20",
        call=call.number,
        place="script",
        do="rewrite",
        kind="dtmf",
        nth=20,
        detail=told,
    )
    return with_steps(call, keys, asks, *after_first_words(call)), [fault]


def _on_audio(random: Random, call: SimulatedCall, fault_id: str) -> partial[Fault]:
    """A fault of one of the frames of the caller's audio, early or late; `do` is left to say."""
    nth = frame(random, call)
    return partial(Fault, id=fault_id, call=call.number, place="phone.up", kind="media", nth=nth)


GENERATORS: Final[Mapping[str, Generator]] = {
    "F01": _hangs_up,
    "F02": _breaks,
    "F03": _half_open,
    "F04": _does_not_read,
    "F05": hostile("F05", "slowloris"),
    "F06": _never_starts,
    "F07": hostile("F07", "second_stream"),
    "F09": hostile("F09", "no_token", "foreign_token", "used_token", "wrong_account"),
    "F10": _webhook_twice,
    "F11": _out_of_order,
    "F12": _malformed,
    "F13": _bad_audio,
    "F14": _binary,
    "F15": _huge,
    "F16": hostile("F16", "garbage", "oversized_header", "bad_upgrade", "bad_frames"),
    "F17": _lossy,
    "F18": _burst,
    "F19": _odd_marks,
    "F20": _keys,
}
