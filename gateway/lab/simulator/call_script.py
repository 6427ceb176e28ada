"""Changes to the script of a simulated call, and what can be told of it before it runs.

Pure.
"""

from __future__ import annotations

from random import Random
from typing import Final

import attrs

from gateway.lab.rehearsing.scenario import Answer, Expectation, Item, Step, ToolScript
from gateway.lab.rehearsing.speech import MS_PER_CHARACTER
from gateway.lab.simulator.workload import SimulatedCall

TURN_MS: Final = 500
"""From the end of the caller's words to when the model takes them for a turn."""
TOOL: Final = ToolScript("look_up", {"what": "the weather"})
"""What is called in a call that calls nothing by itself: see `simulated_tools`."""
_EARLY: Final = 2
"""Answers that most calls get to hear."""
_THINKS_MS: Final = 100
_HANGUP: Final = "hangup"


def about_ms(call: SimulatedCall) -> int:
    """How long the call's stream is going to last, roughly, if nothing goes wrong."""
    answers = iter(call.scenario.model.answers)
    now_ms = 0
    spoken_ms = _answer_ms(next(answers, None))
    for step in call.scenario.caller:
        match step.wait:
            case "agent_quiet":
                now_ms += spoken_ms + step.quiet_ms
            case "agent_speaking":
                now_ms += TURN_MS + step.after_ms
            case "call_end":
                return now_ms + spoken_ms
            case None | "key":
                now_ms += step.wait_ms
        if step.say is not None:
            now_ms += len(step.say) * MS_PER_CHARACTER + TURN_MS
            spoken_ms = _answer_ms(next(answers, None))
        if step.hang_up:
            return now_ms
    return now_ms + spoken_ms


def moment_ms(random: Random, call: SimulatedCall) -> int:
    """A moment of the call's stream: rather early, since calls end earlier than they might."""
    return int(about_ms(call) * 0.75 * random.random() ** 1.5)


def frame(random: Random, call: SimulatedCall) -> int:
    """The number of one of the frames that the caller's audio comes in."""
    return 1 + moment_ms(random, call) // 20


def with_steps(call: SimulatedCall, *steps: Step) -> SimulatedCall:
    """The same call, of which the caller does something else, and nothing is expected."""
    changed = attrs.evolve(call.scenario, caller=steps, expect=Expectation())
    return attrs.evolve(call, scenario=changed)


def with_answers(call: SimulatedCall, *answers: Answer) -> SimulatedCall:
    """The same call, in which the model says something else, and nothing is expected."""
    model = attrs.evolve(call.scenario.model, answers=answers)
    changed = attrs.evolve(call.scenario, model=model, expect=Expectation())
    return attrs.evolve(call, scenario=changed)


def first_words(call: SimulatedCall) -> str:
    """What the caller says first."""
    return next(iter(call.scenario.caller_lines()), "Excuse me, may I ask something?")


def words(call: SimulatedCall, characters: int) -> str:
    """So much of the call's own words at least: nobody else says them."""
    own = [item.say for answer in call.scenario.model.answers for item in answer.items if item.say]
    own = own or ["Hello, this is a telephone call."]
    said = " ".join(own)
    return " ".join([said] * (1 + characters // len(said)))


def with_tool(call: SimulatedCall, *, arguments: object = None, calls: int = 1) -> SimulatedCall:
    """The same call, in which the model calls a tool early on.

    Args:
        call: If it calls a tool already, it is that one.
        arguments: What the model says instead of sensible arguments.
        calls: How many times one response calls it.

    """
    answers = list(call.scenario.model.answers) or [Answer((Item(say=words(call, 1)),))]
    early = enumerate(answers[:_EARLY])
    own = next(((index, tool) for index, one in early for tool in _tools(one)), None)
    index, tool = own or (1, TOOL)
    if own is not None:
        kept = tuple(item for item in answers[index].items if item.call is not tool)
        answers[index : index + 1] = [attrs.evolve(answers[index], items=kept)] if kept else []
    asked = tuple([Item(call=ToolScript(tool.name, arguments or tool.arguments))] * calls)
    if index and any(step.say for step in call.scenario.caller):
        # Before it answers the caller's first words: nothing is said that could be interrupted.
        answers.insert(index, Answer(asked, after_ms=_THINKS_MS))
    else:
        greeting, *rest = answers or [Answer((Item(say=words(call, 1)),))]
        about = " ".join(reversed(words(call, 1).split()[:8]))
        greeting = attrs.evolve(greeting, items=(*greeting.items, *asked), fail=None)
        answers = [greeting, Answer((Item(say=about),)), *rest]
    return with_answers(call, *answers)


def interrupting(random: Random, call: SimulatedCall, speed: float) -> SimulatedCall:
    """The same call, whose caller interrupts the first answer while it is being made.

    Args:
        random: Draws when.
        call: Its caller goes on as before.
        speed: Of the answer: below 2, it is still being made when the caller has heard a second.

    """
    first, *rest = call.scenario.model.answers or [Answer((Item(say=words(call, 1)),))]
    long = Answer((Item(say=words(call, 80)),), first.after_ms, speed)
    after_ms = random.randrange(300, 1500)
    cut = Step(wait="agent_speaking", after_ms=after_ms, say=first_words(call))
    return with_steps(with_answers(call, long, *rest), cut, *after_first_words(call))


def after_first_words(call: SimulatedCall) -> tuple[Step, ...]:
    """What the caller does after that."""
    steps = call.scenario.caller
    first = next((index for index, step in enumerate(steps) if step.say), -1)
    return steps[first + 1 :]


def tool_of(call: SimulatedCall) -> ToolScript:
    """The first tool that the model calls in this call, beside hanging up."""
    return next(tool for answer in call.scenario.model.answers for tool in _tools(answer))


def _tools(answer: Answer) -> list[ToolScript]:
    calls = [item.call for item in answer.items if item.call is not None]
    return [call for call in calls if call.name != _HANGUP]


def _answer_ms(answer: Answer | None) -> int:
    return 0 if answer is None else answer.after_ms + _words_ms(answer)


def _words_ms(answer: Answer | None) -> int:
    said = () if answer is None else (item.say for item in answer.items if item.say)
    return sum(len(say) * MS_PER_CHARACTER for say in said)
