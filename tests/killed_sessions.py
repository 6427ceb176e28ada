"""One scenario, and its session killed behind every frame of its model's. No judgement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

import attrs
import trio

from actors.call import Limits
from actors.exits import CallerHungUp, Exit
from actors.toolbox import Toolbox
from gateway.lab.judges.tagged_voice import Tagged, TaggedVoice, read
from gateway.lab.rehearsing.scenario import parse
from gateway.lab.simulator.determinism import run_seeded
from gateway.lab.twilio.line_facts import Said
from gateway.lab.world import World
from gateway.session.lasting import Bounds

FILLER: Final = "One moment, please."
GREETING: Final = "Hello, this is the bakery."

TALK: Final = """
name: talk
model:
  answers:
    - items: [{say: "GREETING"}]
    - items: [{say: "Let me look that up."}, {call: {name: lookup, arguments: {number: 7}}}]
    - items: [{say: "Your order is on its way to you."}]
    - items: [{say: "Goodbye then."}]
caller:
  - {wait: agent_quiet, say: "Where is my order?"}
  - {wait: agent_quiet, quiet_ms: 1600, say: "That was all."}
  - {wait: agent_quiet, quiet_ms: 1600, hang_up: true}
"""


@attrs.define(eq=False)
class Voice:
    """Says lines that can be told apart, and knows which is which."""

    tagged: TaggedVoice = attrs.field(factory=lambda: TaggedVoice(1, "agent"))
    lines: list[str] = attrs.field(factory=list[str])

    def __call__(self, text: str) -> bytes:
        self.lines.append(text)
        return self.tagged(text)


@attrs.frozen
class Stretch:
    """Something the caller heard, on trio's clock."""

    text: str
    from_s: float
    to_s: float


@attrs.frozen
class Killed:
    """What became of a call whose session died."""

    after: int
    """So many frames of the first model's."""
    died_s: float
    ending: Exit
    heard: tuple[Stretch, ...]
    spoke: tuple[tuple[float, float], ...]
    """When the caller did."""
    runs: Counter[str]
    """Of tools."""
    errors: tuple[str, ...]
    violations: tuple[str, ...]
    world: World = attrs.field(repr=False)

    def wait_s(self, *, filler: bool) -> float | None:
        """How long the caller waited for the agent's next words, the filler counted or not.

        From the loss, or from the end of what was being heard then. `None`: it was not for the
        agent to speak.
        """
        playing = [one.to_s for one in self.heard if one.from_s <= self.died_s < one.to_s]
        since_s = max([self.died_s, *playing])
        # What was received is played on; what the successor says has a line of its own.
        next_s = next(
            (
                one.from_s
                for one in self.heard
                if one.from_s >= since_s and (filler or one.text != FILLER)
            ),
            None,
        )
        spoken = [at_s for at_s, to_s in self.spoke if to_s > self.died_s]
        if next_s is None or (spoken and min(spoken) < next_s):
            return None
        return next_s - since_s


def tools() -> tuple[Toolbox, Counter[str]]:
    """A tool that takes half a second, and how often it was run."""
    toolbox, runs = Toolbox(), Counter[str]()

    @toolbox.add
    async def lookup(number: int) -> str:
        """Look an order up."""
        runs[f"lookup {number}"] += 1
        await trio.sleep(0.5)
        return "on its way"

    return toolbox, runs


def one_call(after: int | None, bounds: Bounds | None = None, **arrangements: object) -> Killed:
    """One call, and its session killed behind so many frames."""
    voice = Voice()
    toolbox, runs = tools()
    one = World(
        parse(TALK.replace("GREETING", GREETING)),
        voice,
        toolbox=toolbox,
        bounds=bounds or Bounds(),
        dies_after=after,
        **arrangements,  # type: ignore[arg-type]
    )
    ending = run_seeded(one.run, seed=after or 0)
    first = one.mortals[0] if one.mortals else None
    return Killed(
        after or (first.frames if first else 0),
        (first.died_s if first else None) or float("inf"),
        ending,
        tuple(stretches(one, voice)),
        tuple(spoke(one)),
        runs,
        tuple(code for model in one.models for code in model.errors),
        tuple(wrong for model in one.models for wrong in model.violations),
        one,
    )


def stretches(one: World, voice: Voice) -> Iterator[Stretch]:
    """What the caller heard, line by line. Virtual time begins with the call."""
    for piece in one.line.heard():
        for run in read(piece.ulaw):
            if isinstance(run, Tagged):
                at_s = (piece.at_ms + run.at_ms) / 1000
                lasts_s = (run.to_ms - run.from_ms) / 1000
                yield Stretch(voice.lines[run.line], at_s, at_s + lasts_s)


def spoke(one: World) -> Iterator[tuple[float, float]]:
    """From when to when the caller spoke, each time."""
    for fact in one.line.facts:
        if isinstance(fact, Said):
            yield fact.at_ms / 1000, fact.ended_ms / 1000


def summary(killed: list[Killed]) -> tuple[str, bool]:
    """How long callers waited for the next word, and for the next answer; whether that passes."""
    words = sorted(s for one in killed if (s := one.wait_s(filler=True)) is not None)
    answers = sorted(s for one in killed if (s := one.wait_s(filler=False)) is not None)
    word_s, answer_s = words[-1], answers[min(len(answers) - 1, int(0.99 * len(answers)))]
    twice = sum(max(one.runs.values(), default=0) > 1 for one in killed)
    greeted = sum([h.text for h in one.heard].count(GREETING) > 1 for one in killed)
    ended = sum(not isinstance(one.ending, CallerHungUp) for one in killed)
    text = (
        f"{len(killed)} sessions killed, {len(words)} while the agent was to speak: "
        f"next word after {words[len(words) // 2]:.2f} s (median), {word_s:.2f} s (longest); "
        f"answer after {answer_s:.2f} s (p99), {answers[-1]:.2f} s (longest); "
        f"{twice} tools run twice, {greeted} greetings repeated, {ended} calls lost"
    )
    return text, word_s <= 1.0 and answer_s <= 2.5 and not twice + greeted + ended


LONG: Final = """
name: long
model:
  session_s: 100
  answers: [{answers}]
caller:
{caller}
  - {{wait: agent_quiet, quiet_ms: 3000, hang_up: true}}
"""


def long_call(session_s: float, every_ms: int, turns: int) -> tuple[World, Voice]:
    """A call in which somebody says something now and then, for longer than a session lasts."""
    answers = ", ".join(f'{{items: [{{say: "Answer {n}."}}]}}' for n in range(turns + 1))
    step = '  - {{wait: agent_quiet, quiet_ms: {ms}, say: "Question {n}."}}'
    caller = "\n".join(step.format(ms=every_ms, n=n) for n in range(1, turns + 1))
    text = LONG.format(answers=answers, caller=caller)
    scenario = parse(text.replace("session_s: 100", f"session_s: {session_s}"))
    voice = Voice()
    one = World(scenario, voice, bounds=Bounds(), limits=Limits(call_s=14_400))
    why = run_seeded(one.run, seed=1)
    if why != CallerHungUp():
        raise AssertionError(f"it ended as {why}")
    return one, voice
