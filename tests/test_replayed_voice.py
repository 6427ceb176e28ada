"""Calls in which the gateway itself spoke are decided the same way again from their logs."""

from __future__ import annotations

import pytest
import trio

from actors.control import CallControl
from actors.policy.manners import Manners
from actors.toolbox import Toolbox
from gateway.lab.replaying.replay import replay
from tests.test_call_voice import Clerk, scenario
from tests.test_replay import record, same


@pytest.mark.parametrize(
    "answers",
    [
        ('{wait: agent_quiet, say: "Yes please."}',),
        ("{wait: agent_quiet, press: '1#'}",),
        ('{wait: agent_speaking, after_ms: 1000, say: "Yes."}', "{wait: agent_quiet, press: '2'}"),
        ("{wait_ms: 700, press: '1'}",),
    ],
)
def test_a_question_is_asked_and_answered_the_same_way_again(answers: tuple[str, ...]) -> None:
    manners = Manners(tells_keys=True, tool_filler="One moment.", tool_filler_after_s=1.0)
    log, _ = record(scenario(*answers), toolbox=Clerk(then_s=4.0).box(), manners=manners)

    same(replay(log))


def test_a_pin_is_typed_the_same_way_again() -> None:
    toolbox = Toolbox()

    @toolbox.add
    async def book(call: CallControl) -> str:
        """Ask for the PIN."""
        await call.say("Your PIN, please.")
        await call.collect_digits(most=4, private=True, fresh=True)
        await trio.sleep(1)
        return "booked"

    keys = ("{wait_ms: 700, press: '12'}", "{wait: agent_quiet, press: '3456#'}")
    log, _ = record(scenario(*keys), toolbox=toolbox, manners=Manners(tells_keys=True))

    same(replay(log))
