"""The gateway's own voice in whole calls: what it says is heard, and only the caller answers it."""

from __future__ import annotations

import attrs
import pytest
import trio

from actors.control import CallControl, Reply
from actors.errors import Unspoken
from actors.exits import AgentHungUp, CallerHungUp
from actors.policy.manners import Manners
from actors.toolbox import Toolbox
from gateway.configuration.agents import AgentSettings
from gateway.lab.world import World
from gateway.phone_call import manners_of
from gateway.session.lasting import Bounds
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


async def test_a_yes_is_one_in_the_language_that_the_agent_speaks(
    autojump_clock: trio.abc.Clock,
) -> None:
    clerk, manners = Clerk(), manners_of(AgentSettings(language="es"))
    one = world(
        scenario('{wait: agent_quiet, say: "Ja, ja, ja."}'), toolbox=clerk.box(), manners=manners
    )
    await play(one)

    assert clerk.replies == ["other"]


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


# What else may happen meanwhile.


async def test_two_questions_at_once_are_asked_one_after_the_other(
    autojump_clock: trio.abc.Clock,
) -> None:
    """An answer to the first is none to the second."""
    replies: list[Reply] = []
    toolbox = Toolbox()

    @toolbox.add
    async def book(what: str, call: CallControl) -> str:
        """Book something."""
        replies.append(reply := await call.confirm(f"Shall I book {what}?", within_s=5.0))
        return reply

    one = world(
        """
model:
  answers:
    - items: [{say: "Hello there."}]
    - items:
        - call: {name: book, arguments: {what: one}}
        - call: {name: book, arguments: {what: two}}
    - items: [{say: "There you are."}]
caller:
  - {wait: agent_quiet, say: "Book it."}
  - {wait: agent_quiet, press: "1"}
  - {wait: agent_quiet, quiet_ms: 12000, hang_up: true}
""",
        toolbox=toolbox,
    )
    await play(one)

    assert replies == ["yes", "silence"]
    assert sorted(agent_said(one)[1:3]) == ["Shall I book one?", "Shall I book two?"]
    assert agent_said(one)[3] == "There you are."


@pytest.mark.parametrize("after_s", [0.05, 1.0, 3.0, 5.0, 6.0])
async def test_a_session_that_is_lost_changes_nothing_of_a_question(
    after_s: float, autojump_clock: trio.abc.Clock
) -> None:
    """While it is rendered, said, and while the caller speaks and is waited for."""
    clerk = Clerk(then_s=1.0)
    one = world(
        scenario('{wait: agent_quiet, quiet_ms: 700, say: "Yes please."}'),
        toolbox=clerk.box(),
        bounds=Bounds(),
    )

    async def lose(one: World) -> None:
        while not clerk.asked_s:  # noqa: ASYNC110 - nobody tells.
            await trio.sleep(0.01)
        await trio.sleep(after_s)
        if one.model_end is not None:
            one.model_end.abort()

    why = await play(one, lose)

    assert why == CallerHungUp()
    assert len(one.models) == 2
    assert clerk.replies == ["yes"]
    assert agent_said(one)[:2] == ["Hello there.", QUESTION]
    assert "There you are." in agent_said(one)[-1]
    assert sum("There you are." in words for words in agent_said(one)) == 1


async def test_a_caller_who_hangs_up_while_they_are_asked_ends_the_question_with_the_call(
    autojump_clock: trio.abc.Clock,
) -> None:
    for step in (
        "{wait: agent_speaking, after_ms: 500, hang_up: true}",
        "{wait: agent_quiet, hang_up: true}",
    ):
        clerk = Clerk()
        one = world(scenario(step), toolbox=clerk.box())
        why = await play(one)

        assert why == CallerHungUp()
        assert clerk.replies == []


async def test_a_hang_up_that_was_asked_for_waits_for_the_answer(
    autojump_clock: trio.abc.Clock,
) -> None:
    """A tool beside it asks, and is answered before anybody hangs up."""
    clerk = Clerk(question="Shall I?")
    one = world(
        """
model:
  answers:
    - items:
        - say: "Hello there, goodbye."
        - call: {name: book, arguments: {}}
        - call: {name: hangup, arguments: {reason: done}}
caller: [{wait: agent_quiet, press: "1"}, {wait: call_end}]
""",
        toolbox=clerk.box(),
    )
    why = await play(one)

    assert clerk.replies == ["yes"]
    assert why == AgentHungUp("done", goodbye_heard=True)
    assert agent_said(one) == ["Hello there, goodbye.", "Shall I?"]


async def test_an_answer_that_the_agents_own_voice_gives_is_none(
    autojump_clock: trio.abc.Clock,
) -> None:
    """Its words come by another way than the caller's, and while it is asked it has no voice."""
    clerk = Clerk(within_s=8.0)
    one = world(
        """
model:
  answers:
    - items: [{say: "Hello there."}]
    - items: [{call: {name: book, arguments: {}}}]
    - items: [{say: "Yes. Yes. Yes."}]
    - items: [{say: "Yes please."}]
    - items: [{say: "There you are."}]
caller:
  - {wait: agent_quiet, say: "Book it."}
  - {wait: agent_quiet, quiet_ms: 200, say: "Hm."}
  - {wait: agent_quiet, quiet_ms: 12000, hang_up: true}
""",
        toolbox=clerk.box(),
    )
    await play(one)

    assert clerk.replies == ["other"]
    assert agent_said(one)[:2] == ["Hello there.", QUESTION]
    assert "Yes" not in "".join(agent_said(one)[:2]).replace(QUESTION, "")


async def test_digits_typed_over_the_words_that_ask_for_them_stop_these_and_count(
    autojump_clock: trio.abc.Clock,
) -> None:
    """As in every telephone menu. The model says nothing all the while."""
    given: list[str] = []
    prompt = "Please type your number on the keypad of your telephone, and then the hash key."
    toolbox = Toolbox()

    @toolbox.add
    async def book(call: CallControl) -> str:
        """Ask for the PIN."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call.say, prompt)
            given.append(await call.collect_digits(most=4, private=True, fresh=True))
            nursery.cancel_scope.cancel()
        await trio.sleep(1)
        return "booked"

    one = world(
        scenario("{wait: agent_speaking, after_ms: 900, press: '3456#'}"),
        toolbox=toolbox,
        manners=Manners(tells_keys=True),
    )
    await play(one)

    assert given == ["3456"]
    assert prompt not in agent_said(one)
    assert agent_said(one)[-1] == "There you are."
    assert one.model.errors == []
    assert "3456" not in str(one.record)
    assert texts(one) == []
