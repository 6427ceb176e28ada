"""The gateway's own voice in whole calls: what it says is heard, and only the caller answers it."""

from __future__ import annotations

import attrs
import pytest
import trio

from actors.control import CallControl, Reply
from actors.errors import Unspoken
from actors.exits import CallerHungUp
from actors.policy.manners import Manners
from actors.toolbox import Toolbox
from gateway.configuration.agents import AgentSettings
from gateway.lab.world import World
from tests.test_call_keys import texts
from tests.test_call_tools import purposes
from tests.worlds import play, tone, world

QUESTION = "I am going to book a table. Press 1 or say yes."


@attrs.define(eq=False)
class Clerk:
    """Stands for a tool that asks the caller, and keeps what they said and when."""

    question: str = QUESTION
    within_s: float = 30.0
    then_s: float = 0.0
    """How long the work takes that it asked for."""
    replies: list[Reply] = attrs.field(factory=list)
    asked_s: float = 0.0
    answered_s: float = 0.0

    def box(self) -> Toolbox:
        toolbox = Toolbox()

        @toolbox.add
        async def book(call: CallControl) -> str:
            """Book a table."""
            self.asked_s = trio.current_time()
            self.replies.append(await call.confirm(self.question, within_s=self.within_s))
            self.answered_s = trio.current_time()
            await trio.sleep(self.then_s)
            return self.replies[-1]

        return toolbox


def scenario(*caller: str, call: str = "{name: book, arguments: {}}", say: str = "") -> str:
    """The caller wants something booked, and then this happens."""
    said = f"{{say: '{say}'}}, " if say else ""
    steps = "".join(f"\n  - {step}" for step in caller)
    return f"""
model:
  answers:
    - items: [{{say: "Hello there."}}]
    - items: [{said}{{call: {call}}}]
    - items: [{{say: "There you are."}}]
    - items: [{{say: "And another thing."}}]
    - items: [{{say: "And one more."}}]
caller:
  - {{wait: agent_quiet, say: "Book it."}}{steps}
  - {{wait: agent_quiet, quiet_ms: 12000, hang_up: true}}
"""


def agent_said(one: World) -> list[str]:
    """What the caller heard of the agent's, in order."""
    return [said.heard or "" for said in one.record.transcript if said.who == "agent"]


def responses(one: World) -> list[tuple[str | None, str | None]]:
    return [(response.purpose, response.status) for response in one.record.responses]


@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        ('say: "Yes please."', "yes"),
        ('say: "No, thank you."', "no"),
        ('say: "Yes, but at four."', "other"),
        ("press: '1'", "yes"),
        ("press: '2'", "no"),
        ("press: '7'", "other"),
    ],
)
async def test_the_caller_is_asked_and_their_answer_is_the_reply(
    answer: str, reply: Reply, autojump_clock: trio.abc.Clock
) -> None:
    clerk = Clerk()
    one = world(scenario(f"{{wait: agent_quiet, {answer}}}"), toolbox=clerk.box())
    why = await play(one)

    assert why == CallerHungUp()
    assert clerk.replies == [reply]
    assert agent_said(one) == ["Hello there.", QUESTION, "There you are."]
    assert one.model.errors == []


async def test_the_model_says_nothing_from_the_question_to_the_end_of_the_work(
    autojump_clock: trio.abc.Clock,
) -> None:
    """Its server answers the caller's yes by itself: that is cancelled, and none of it is heard."""
    clerk = Clerk(then_s=5.0)
    one = world(scenario('{wait: agent_quiet, say: "Yes please."}'), toolbox=clerk.box())
    await play(one)

    assert agent_said(one) == ["Hello there.", QUESTION, "There you are."]
    assert purposes(one) == ["greeting", "tools"]
    assert responses(one)[-2:] == [(None, "cancelled"), ("tools", "completed")]
    assert one.record.drops["caller_frames_overflowed"] == 0


async def test_keys_need_no_words(autojump_clock: trio.abc.Clock) -> None:
    """And the model is told of none of them, nor of those that came ahead of the question."""
    clerk = Clerk()
    one = world(
        scenario("{wait_ms: 700, press: '1'}", "{wait: agent_quiet, press: '1#'}"),
        toolbox=clerk.box(),
        manners=Manners(tells_keys=True),
        agent=AgentSettings(transcription="off"),
    )
    await play(one)

    assert clerk.replies == ["yes"]
    assert texts(one) == []
    keys = [moment for moment in one.record.moments if moment.what == "KeyPressed"]
    assert len(keys) == 3
    assert keys[0].at_ms < clerk.asked_s * 1000 + 1500 < keys[1].at_ms


async def test_a_question_that_is_spoken_over_is_asked_once_more(
    autojump_clock: trio.abc.Clock,
) -> None:
    """What was said over it counts for nothing, whatever it was."""
    clerk = Clerk()
    one = world(
        scenario(
            '{wait: agent_speaking, after_ms: 1000, say: "Yes."}',
            "{wait: agent_quiet, press: '2'}",
        ),
        toolbox=clerk.box(),
    )
    await play(one)

    assert clerk.replies == ["no"]
    heard = agent_said(one)
    assert heard[1] != QUESTION
    assert QUESTION.startswith(heard[1])
    assert heard[2:] == [QUESTION, "There you are."]
    assert len(one.record.barge_ins) == 1


async def test_a_question_that_is_never_heard_to_its_end_is_unheard(
    autojump_clock: trio.abc.Clock,
) -> None:
    clerk = Clerk()
    over = '{wait: agent_speaking, after_ms: 1000, say: "Yes."}'
    one = world(scenario(over, over), toolbox=clerk.box())
    await play(one)

    assert clerk.replies == ["unheard"]


async def test_silence_is_an_answer_after_its_time(autojump_clock: trio.abc.Clock) -> None:
    clerk = Clerk(within_s=7.0)
    one = world(scenario(), toolbox=clerk.box())
    await play(one)

    assert clerk.replies == ["silence"]
    length_s = len(tone(QUESTION)) / 8000
    assert 0 <= clerk.answered_s - clerk.asked_s - length_s - 7.0 <= 1.5


async def test_without_a_voice_nobody_is_asked(autojump_clock: trio.abc.Clock) -> None:
    raised: list[str] = []
    toolbox = Toolbox()

    @toolbox.add
    async def book(call: CallControl) -> str:
        """Book."""
        for ask in (call.say, call.confirm):
            try:
                await ask("Shall I?")
            except Unspoken as error:
                raised.append(error.reason)
        return "no"

    await play(world(scenario(), toolbox=toolbox, speaks=None))

    assert raised == ["there is no voice", "there is no voice"]
