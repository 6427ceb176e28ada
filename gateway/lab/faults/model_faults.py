"""Generators of the faults of the model's side: connecting, its socket, the events on it.

Pure. The numbers are those of the fault catalogue.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from random import Random
from typing import Final

import attrs

from gateway.lab.faults.drawn_faults import Drawn, Generator
from gateway.lab.faults.fault_plan import CLOSE, Fault
from gateway.lab.rehearsing import scenario
from gateway.lab.rehearsing.scenario import Answer, FaultPoint, Item, Step
from gateway.lab.simulator.call_script import (
    after_first_words,
    first_words,
    frame,
    interrupting,
    moment_ms,
    with_answers,
    with_steps,
    with_tool,
    words,
)
from gateway.lab.simulator.workload import SimulatedCall

_DELTA: Final = "response.output_audio.delta"
_DONE: Final = "response.done"
_APPEND: Final = "input_audio_buffer.append"
_ARGUMENTS_DONE: Final = "response.function_call_arguments.done"
_EVENTS: Final = (
    "*",
    "response.created",
    "response.output_audio_transcript.delta",
    "conversation.item.added",
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    _DELTA,
    _DONE,
)
_STALL_MS: Final = 5000
_LONG_CHARACTERS: Final = 4600
"""At 65 ms each, about five minutes."""


def _refuses(fault_id: str, details: tuple[str, ...], *, twice: float) -> Generator:
    """At the first attempt, or at both, or without ever saying so."""

    def generate(random: Random, call: SimulatedCall) -> Drawn:
        times = 2 if random.random() < twice else 1
        fault = partial(Fault, id=fault_id, call=call.number, place="model.open", times=times)
        detail = random.choice(details)
        if detail == "hang":
            return call, [fault(do="hang")]
        return call, [fault(do="raise", detail=detail)]

    return generate


def _rate_limited(random: Random, call: SimulatedCall) -> Drawn:
    if random.random() < 0.7:
        return _refuses("F22", ("429",), twice=0.5)(random, call)
    kind = random.choice(["session.updated", "response.created"])
    return call, [
        Fault(
            id="F22",
            call=call.number,
            place="model.down",
            do="inject",
            kind=kind,
            detail="rate_limited",
        )
    ]


def _dies_idle(random: Random, call: SimulatedCall) -> Drawn:
    """After a response, or while the caller speaks or is silent."""
    fault = partial(Fault, id="F24", call=call.number, do="break")
    if random.random() < 0.5:
        nth = random.randint(1, 2)
        return call, [fault(place="model.down", kind=_DONE, nth=nth)]
    return call, [fault(place="model.up", kind=_APPEND, nth=frame(random, call))]


def _dies_speaking(random: Random, call: SimulatedCall) -> Drawn:
    kind = random.choice([_DELTA, _DELTA, "response.output_audio_transcript.delta"])
    nth = random.randint(1, 6)
    if random.random() < 0.3:
        place = FaultPoint(answer=1)
        return _misbehaving(call, "F25", _DELTA, scenario.Fault(place, "close"), "closes with 1011")
    return call, [
        Fault(id="F25", call=call.number, place="model.down", do="break", kind=kind, nth=nth)
    ]


def _expires(random: Random, call: SimulatedCall) -> Drawn:
    at = FaultPoint(at_ms=300 + moment_ms(random, call))
    if random.random() < 0.5:
        at = FaultPoint(answer=1)
    return _misbehaving(call, "F26", "error", scenario.Fault(at, "expire"), "expires")


def _not_set_up(random: Random, call: SimulatedCall) -> Drawn:
    fault = partial(Fault, id="F27", call=call.number, place="model.down")
    times = random.choice([1, 2])
    match random.choice(["never created", "never updated", "refused", "failed", "not mu-law"]):
        case "never created":
            drawn = fault(do="drop", kind="session.created", times=times)
        case "never updated":
            drawn = fault(do="drop", kind="session.updated", times=times)
        case "refused":
            drawn = fault(do="corrupt", kind="session.updated", detail="refused", times=times)
        case "failed":
            drawn = fault(do="corrupt", kind="session.updated", detail="server_error", times=times)
        case _:
            drawn = fault(do="corrupt", kind="session.updated", detail="other_format", times=times)
    return call, [drawn]


def _odd_events(random: Random, call: SimulatedCall) -> Drawn:
    fault = partial(Fault, id="F28", call=call.number, place="model.down")
    kind = random.choice(_EVENTS)
    # Whatever comes after the session was set up.
    nth = random.randint(3, 40) if kind == "*" else 1
    times = random.choice([1, 1, 3])
    match random.choice(["beside", "beside", "instead", "new", "null"]):
        case "beside":
            detail = random.choice(
                ["unknown_kind", "no_content", "not_json", "not_object", "deep", "binary"]
            )
            return call, [fault(do="inject", kind=kind, nth=nth, times=times, detail=detail)]
        case "instead":
            detail = random.choice(["unknown_kind", "no_content", "not_json"])
            return call, [fault(do="corrupt", kind=kind, nth=nth, detail=detail)]
        case "new":
            return call, [fault(do="corrupt", kind=kind, nth=nth, times=20, detail="new_fields")]
        case _:
            nth = random.randint(1, 5)
            return call, [fault(do="corrupt", kind=_DELTA, nth=nth, detail="null_delta")]


def _too_fast(random: Random, call: SimulatedCall) -> Drawn:
    """Everything ten times faster than it plays, or five minutes of it in one answer."""
    answers = [attrs.evolve(one, speed=10.0) for one in call.scenario.model.answers]
    told = "the model speaks ten times faster than it plays"
    if random.random() < 0.5:
        long = Answer((Item(say=words(call, _LONG_CHARACTERS)),), speed=10.0)
        answers = [long, *answers[1:]]
        after_ms = random.randrange(2000, 9000)
        cut = Step(wait="agent_speaking", after_ms=after_ms, say=first_words(call))
        if random.random() < 0.3:
            cut = attrs.evolve(cut, say=None, hang_up=True)
        call = with_steps(call, cut, *after_first_words(call))
        told = "the model speaks for five minutes, ten times faster than it plays"
    fault = Fault(
        id="F29", call=call.number, place="script", do="rewrite", kind=_DELTA, nth=3, detail=told
    )
    return with_answers(call, *answers), [fault]


def _late_audio(random: Random, call: SimulatedCall) -> Drawn:
    """Deltas of a response that the caller interrupts come after its end."""
    call = interrupting(random, call, speed=random.uniform(1.0, 1.5))
    fault = Fault(
        id="F30",
        call=call.number,
        place="model.down",
        do="reorder",
        kind=_DELTA,
        nth=random.randint(3, 6),
        times=random.randint(1, 6),
        ms=random.randrange(1000, 4000),
    )
    return call, [fault]


def _bad_arguments(random: Random, call: SimulatedCall) -> Drawn:
    name, arguments = random.choice(
        [
            ("no JSON", '{"what": "Sat'),
            ("no object", '["Saturday"]'),
            ("nothing", " "),
            ("wrong types", {"what": {"of": ["the", "week"]}}),
            ("unknown keys", {"weather": "sunny", "what": "Saturday"}),
            ("nothing in it", "{}"),
            ("a megabyte", '{"what": "' + "x" * 2**20 + '"}'),
            ("deep nesting", "[" * 5000 + "]" * 5000),
        ]
    )
    told = f"the model calls a tool with bad arguments: {name}"
    fault = Fault(
        id="F31", call=call.number, place="script", do="rewrite", kind=_ARGUMENTS_DONE, detail=told
    )
    return with_tool(call, arguments=arguments), [fault]


def _same_call_twice(random: Random, call: SimulatedCall) -> Drawn:
    """The event that carries a call comes again; or one response asks for several at once."""
    if random.random() < 0.5:
        count = random.choice([2, 3, 20])
        told = f"the model calls {count} tools at once"
        fault = Fault(
            id="F32",
            call=call.number,
            place="script",
            do="rewrite",
            kind=_ARGUMENTS_DONE,
            nth=2,
            detail=told,
        )
        return with_tool(call, calls=count), [fault]
    late_ms = random.choice([0, 300, 2000])
    fault = Fault(
        id="F32",
        call=call.number,
        place="model.down",
        do="duplicate",
        kind=_DONE,
        times=20,
        ms=late_ms,
    )
    return with_tool(call), [fault]


def _slow_consumer(random: Random, call: SimulatedCall) -> Drawn:
    fault = partial(Fault, id="F33", call=call.number, do="delay", ms=_STALL_MS)
    match random.choice(["recorder", "tool", "store", "model"]):
        case "recorder":
            return call, [fault(place="recorder", nth=frame(random, call))]
        case "tool":
            return with_tool(call), [fault(place="tool")]
        case "store":
            return call, [fault(place="store")]
        case _:
            # The model itself takes nothing in any more.
            nth = frame(random, call)
            return call, [
                Fault(
                    id="F33", call=call.number, place="model.up", do="hang", kind=_APPEND, nth=nth
                )
            ]


def _goodbye_lost(random: Random, call: SimulatedCall) -> Drawn:
    fault = partial(Fault, id="F34", call=call.number, do="drop", kind=CLOSE)
    if random.random() < 0.3:
        return call, [fault(place="phone.down")]
    return call, [fault(place="model.up")]


def _misbehaving(
    call: SimulatedCall, fault_id: str, kind: str, fault: scenario.Fault, told: str
) -> Drawn:
    """A model whose own script says that it misbehaves, the first time it is connected to."""
    model = call.scenario.model
    once = attrs.evolve(fault, connections=1)
    model = attrs.evolve(model, faults=(*model.faults, once))
    changed = attrs.evolve(call, scenario=attrs.evolve(call.scenario, model=model))
    return changed, [
        Fault(
            id=fault_id,
            call=call.number,
            place="script",
            do="rewrite",
            kind=kind,
            detail=f"the model's session {told}",
        )
    ]


GENERATORS: Final[Mapping[str, Generator]] = {
    "F21": _refuses("F21", ("401", "403"), twice=0.5),
    "F22": _rate_limited,
    "F23": _refuses("F23", ("500", "503", "refused", "tls", "dns", "hang"), twice=0.4),
    "F24": _dies_idle,
    "F25": _dies_speaking,
    "F26": _expires,
    "F27": _not_set_up,
    "F28": _odd_events,
    "F29": _too_fast,
    "F30": _late_audio,
    "F31": _bad_arguments,
    "F32": _same_call_twice,
    "F33": _slow_consumer,
    "F34": _goodbye_lost,
}
