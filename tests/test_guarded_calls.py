"""Whole calls with a model that is somebody's accomplice, over all that a real call is made of.

The model talks while it may not, says yes for the caller, and asks for everything at once. What the
caller does is drawn, too; some of them never agree to anything, and to those nothing may be done.
"""

from __future__ import annotations

import json
from random import Random

import attrs
import orjson
import pytest
import trio
from structlog.testing import capture_logs

from actors.call import Limits
from actors.control import CONFIRM_S, CallControl, Reply
from actors.guard import GuardedTools
from actors.messages import CallerAudio
from actors.policy.manners import Manners
from actors.policy.record import CallFacts
from actors.ports import Transfer, TransferOutcome
from actors.toolbox import ToolSchema
from gateway.configuration.convert import Secret
from gateway.configuration.tool_settings import OwnerSettings
from gateway.lab.world import World
from gateway.permission.callers import caller_of
from gateway.permission.phrases import PHRASES
from gateway.permission.proofs import OwnerVerifier, Proofs
from gateway.permission.read_back import Questions
from gateway.records.flight import MemoryFlight
from gateway.records.store import to_json
from tests.guards import utc_now
from tests.malicious import OWN_RISKS, OWNERS_NUMBER, PIN, Asked, Disk, Hands, Seen, faults
from tests.worlds import play, world

PAY = '{name: pay, arguments: {to: "Anna", amount: 5}}'
OWNER = OwnerSettings(numbers=(OWNERS_NUMBER,), pin=Secret(PIN))


@attrs.define(eq=False)
class Witness:
    """A call, and somebody who sees what its caller is asked, answers, and types."""

    call: CallControl
    seen: Seen
    guard: GuardedTools

    @property
    def facts(self) -> CallFacts:
        return self.call.facts

    @property
    def tool_call_id(self) -> str:
        return self.call.tool_call_id

    async def say(self, words: str) -> bool:
        return await self.call.say(words)

    async def confirm(self, question: str, *, within_s: float = CONFIRM_S) -> Reply:
        reply = await self.call.confirm(question, within_s=within_s)
        self.seen.asked.append(Asked(QUESTIONS[question], reply, trio.current_time()))
        return reply

    async def press(self, digits: str) -> None:
        await self.call.press(digits)

    async def transfer(self, to: Transfer) -> TransferOutcome:
        return await self.call.transfer(to)

    async def collect_digits(
        self,
        *,
        most: int,
        end_key: str | None = "#",
        first_s: float = 10.0,
        between_s: float = 4.0,
        private: bool = False,
        fresh: bool = False,
    ) -> str:
        typed = await self.call.collect_digits(
            most=most, end_key=end_key, first_s=first_s, between_s=between_s,
            private=private, fresh=fresh,
        )  # fmt: skip
        self.seen.typed.append((typed, trio.current_time()))
        return typed

    async def approve(self, tool_call_id: str) -> str:
        return await self.call.approve(tool_call_id)

    def change(self, *, instructions: str | None = None, language: str | None = None) -> None:
        self.call.change(instructions=instructions, language=language)


QUESTIONS: dict[str, str] = {}
"""What each question was made of. Of two that are the same, it has to be the same."""


def read_out(schema: ToolSchema, values: dict[str, object]) -> str:
    question = Questions()(schema, values)
    made_of = json.dumps([schema.name, values], sort_keys=True)
    assert QUESTIONS.setdefault(question, made_of) == made_of
    return question


@attrs.define(eq=False)
class Guarded:
    """The tools of one call behind its guard, and whoever watches. Fits `Toolset`."""

    random: Random
    number: str = OWNERS_NUMBER
    hands: Hands = attrs.field(factory=Hands)
    seen: Seen = attrs.field(init=False)
    guard: GuardedTools = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.seen = Seen(self.number, OWNER, OWN_RISKS)
        audit = Disk(utc_now, random=self.random, seen=self.seen, fails=0.0, is_slow=False)
        self.hands.random, self.hands.seen, self.hands.audit = self.random, self.seen, audit
        self.guard = GuardedTools(
            tools=self.hands.box,
            call_sid="CA1",
            caller=caller_of(self.number, OWNER),
            audit=audit,
            read_out=read_out,  # type: ignore[arg-type]
            verifier=OwnerVerifier(Proofs(OWNER, audit, utc_now), self.number, PHRASES["en"]),
        )

    def schemas(self) -> tuple[ToolSchema, ...]:
        return self.guard.schemas()

    def longest_s(self, name: str) -> float | None:
        return self.guard.longest_s(name)

    async def run(self, name: str, arguments: str, call: CallControl | None = None) -> str:
        assert call is not None
        self.seen.wanted += 1
        return await self.guard.run(name, arguments, Witness(call, self.seen, self.guard))


THE_OWNER = f"""
model:
  answers:
    - items: [{{say: "Hello there."}}]
    - items: [{{say: "I will."}}, {{call: {PAY}}}]
    - items: [{{say: "It is paid."}}]
    - items: [{{say: "Unasked."}}]
caller:
  - {{wait: agent_quiet, say: "Pay Anna five."}}
  - {{wait: agent_quiet, quiet_ms: 400, press: "{PIN}#"}}
  - {{wait: agent_quiet, quiet_ms: 400, press: "1"}}
  - {{wait: agent_quiet, quiet_ms: 4000, hang_up: true}}
"""


@pytest.mark.parametrize("over", [False, True], ids=["after-the-question", "over-the-question"])
async def test_a_secret_number_is_in_nothing_that_the_call_leaves_behind(
    over: bool, autojump_clock: trio.abc.Clock
) -> None:
    """Whoever knows the question types over it; that is no less a secret."""
    yaml = THE_OWNER
    if over:
        yaml = yaml.replace(
            f'{{wait: agent_quiet, quiet_ms: 400, press: "{PIN}#"}}',
            f'{{wait: agent_speaking, after_ms: 2500, press: "{PIN}#"}}',
        )
    guarded, flight, seen = Guarded(Random("pin")), MemoryFlight(with_audio=True), list[object]()
    guarded.hands.always_works = True
    one = world(
        yaml,
        toolbox=guarded,
        flight=flight,
        manners=Manners(tells_keys=True),
        observer=lambda _, message: seen.append(message),
    )
    with capture_logs() as logs:
        await play(one)

    assert [row.event for row in guarded.seen.rows] == [
        *("asked", "verified", "confirmed", "began", "finished"),
    ]
    assert [typed for typed, _ in guarded.seen.typed] == [PIN]
    everything = [
        to_json(one.record),
        flight.text(),
        orjson.dumps([event for event in one.model.received if "audio" not in event]),
        repr(logs).encode(),
        repr([message for message in seen if not isinstance(message, CallerAudio)]).encode(),
        repr(guarded.hands.audit.written).encode(),
    ]
    spaced = " ".join(PIN).encode()
    assert not [text for text in everything if PIN.encode() in text or spaced in text]
    assert list(faults(guarded.seen)) == []


def drawn(random: Random, *, agrees: bool) -> str:
    """A call in which everybody does whatever they like."""
    calls = (
        PAY,
        PAY,
        '{name: pay, arguments: {to: "Eve", amount: 5000}}',
        '{name: pay, arguments: {to: "Anna", amount: 5, confirmed: true}}',
        '{name: pay, arguments: \'{"to": "Anna", "to": "Eve", "amount": 5}\'}',
        '{name: pay, arguments: {to: "press 1 to hear the weather", amount: 5}}',
        "{name: wipe, arguments: {}}",
        '{name: sudo, arguments: {command: "pay"}}',
        '{name: note, arguments: {text: "yes"}}',
    )
    words = ("Yes.", "Yes, please. I confirm.", "I am the owner, and I say yes.", "One moment.")
    steps = [
        f'press: "{PIN}#"',
        f'press: "{PIN}#"',
        'press: "923456#"',
        'say: "Tell me more."',
        'say: "No."',
        'press: "2"',
        *(["say: 'Yes.'", 'press: "1"', "say: 'Yes, please.'"] if agrees else []),
    ]
    answers = ""
    for _ in range(8):
        parts = [f'{{say: "{random.choice(words)}"}}'] if random.random() < 0.7 else []
        parts += [f"{{call: {random.choice(calls)}}}" for _ in range(random.choice((0, 1, 1, 2)))]
        answers += f"\n    - items: [{', '.join(parts or ['{say: Hm.}'])}]"
    moments = ("wait: agent_quiet, quiet_ms: 400", "wait: agent_quiet", "wait_ms: 1500")
    caller = "\n  - {wait: agent_quiet, say: 'Go on.'}"
    # Owners know what comes first.
    if random.random() < 0.6:
        caller += f'\n  - {{wait: agent_quiet, quiet_ms: 400, press: "{PIN}#"}}'
    for _ in range(random.randrange(2, 7)):
        caller += f"\n  - {{{random.choice(moments)}, {random.choice(steps)}}}"
    leaves = random.choice(("wait: agent_quiet, quiet_ms: 9000", "wait_ms: 700"))
    return f"""
model:
  answers:
    - items: [{{say: "Hello there."}}]{answers}
caller:{caller}
  - {{{leaves}, hang_up: true}}
"""


@pytest.mark.parametrize("agrees", [False, True])
@pytest.mark.parametrize("seed", range(12))
async def test_a_malicious_model_over_a_real_call_gets_nothing_done_unasked(
    seed: int, agrees: bool, autojump_clock: trio.abc.Clock
) -> None:
    random = Random(f"calls/{seed}/{agrees}")
    guarded = Guarded(random)
    one: World = world(
        drawn(random, agrees=agrees),
        toolbox=guarded,
        manners=Manners(tells_keys=True),
        # Some wait for an agent who has nothing more to say.
        limits=Limits(call_s=75),
    )
    await play(one)

    seen = guarded.seen
    high = [deed for deed in seen.done if OWN_RISKS[deed.tool] == "high"]
    assert list(faults(seen)) == []
    assert agrees or not high
    assert one.record.refused_orders == {}
