"""The tools that an agent's settings bring, and whose is used when two have a name."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
import trio

from actors.control import CallControl
from actors.errors import ToolRefused
from actors.policy.record import CallFacts
from actors.ports import Transfer, TransferOutcome
from actors.toolbox import Toolbox
from gateway.configuration.agents import Agent, AgentSettings
from gateway.tools.toolset import NOT_REACHED, toolbox_of, tools_of
from tests.calls import RefusingCall
from tests.test_legs import FACTS

MENUS = AgentSettings(phone_menus=True)
HUMAN = AgentSettings(transfer_to="+4930111", transfer_by="+4930222")


@attrs.define(eq=False, kw_only=True)
class Noted(RefusingCall):
    """Stands for a call, and remembers what a tool did to it."""

    facts: CallFacts = FACTS
    done: list[object] = attrs.field(factory=list[object])
    outcome: TransferOutcome = "busy"

    async def press(self, digits: str) -> None:
        await trio.lowlevel.checkpoint()
        self.done.append(digits)

    async def transfer(self, to: Transfer) -> TransferOutcome:
        await trio.lowlevel.checkpoint()
        self.done.append(to)
        return self.outcome

    def change(self, *, instructions: str | None = None, language: str | None = None) -> None:
        self.done.append((instructions, language))


def names(agent: AgentSettings) -> list[str]:
    return [schema.name for schema in toolbox_of(agent, Toolbox()).schemas()]


def test_an_agent_has_what_its_settings_bring_and_no_more() -> None:
    assert names(AgentSettings()) == []
    assert names(MENUS) == ["send_dtmf"]
    assert names(HUMAN) == ["transfer_call"]
    assert names(attrs.evolve(HUMAN, phone_menus=True)) == ["send_dtmf", "transfer_call"]


def test_the_model_is_told_of_no_parameter_that_is_not_its_own() -> None:
    (schema,) = toolbox_of(MENUS, Toolbox()).schemas()

    assert list(schema.parameters["properties"]) == ["digits"]
    assert schema.parameters["required"] == ["digits"]
    assert "phone menu" in schema.description
    (schema,) = toolbox_of(HUMAN, Toolbox()).schemas()
    assert list(schema.parameters["properties"]) == ["reason"]
    whispers = attrs.evolve(HUMAN, transfer_whisper=True)
    (schema,) = toolbox_of(whispers, Toolbox()).schemas()
    assert list(schema.parameters["properties"]) == ["summary"]
    assert "+4930111" not in repr(schema)


async def test_keys_are_pressed_and_the_model_is_told_which() -> None:
    call = Noted()
    output = await toolbox_of(MENUS, Toolbox()).run("send_dtmf", '{"digits": "1w2#"}', call)

    assert call.done == ["1w2#"]
    assert json.loads(output) == {"pressed": "1w2#"}


@pytest.mark.parametrize("digits", ["", "x", "1 2", "1" * 33, "W", "1\n", "eins", 1, None, ["1"]])
async def test_what_is_no_key_is_refused_before_anything_is_done(digits: object) -> None:
    call = Noted()
    with pytest.raises(ToolRefused, match="digits"):
        await toolbox_of(MENUS, Toolbox()).run("send_dtmf", json.dumps({"digits": digits}), call)

    assert call.done == []


@pytest.mark.parametrize("outcome", ["busy", "no-answer", "failed", "canceled"])
async def test_a_transfer_that_failed_is_told_with_what_to_do_now(
    outcome: TransferOutcome,
) -> None:
    call = Noted(outcome=outcome)
    output = await toolbox_of(HUMAN, Toolbox()).run("transfer_call", '{"reason": "bill"}', call)

    assert call.done == [Transfer("+4930111", "+4930222", None)]
    assert json.loads(output) == {"outcome": outcome, "now": NOT_REACHED}


async def test_the_models_summary_is_whispered_when_the_agent_is_to() -> None:
    call = Noted()
    agent = attrs.evolve(HUMAN, transfer_whisper=True)
    tools = toolbox_of(agent, Toolbox())
    await tools.run("transfer_call", '{"summary": "Mr Smith, about a bill."}', call)

    assert call.done == [Transfer("+4930111", "+4930222", "Mr Smith, about a bill.")]
    with pytest.raises(ToolRefused, match="summary"):
        await tools.run("transfer_call", '{"reason": "bill"}', call)


@pytest.mark.parametrize("arguments", ["{}", '{"digits": "1"}'])
async def test_outside_a_call_there_is_nothing_to_press(arguments: str) -> None:
    with pytest.raises(ToolRefused):
        await toolbox_of(MENUS, Toolbox()).run("send_dtmf", arguments)


def box(name: str, says: str) -> Toolbox:
    async def function() -> str:
        """Says something."""
        await trio.lowlevel.checkpoint()
        return says

    function.__name__ = name
    tools = Toolbox()
    tools.add(function)
    return tools


async def test_a_users_own_tool_takes_the_place_of_ours_and_a_files_of_both() -> None:
    base, files = box("send_dtmf", "base"), box("send_dtmf", "file")
    of_base = tools_of(Agent(settings=MENUS), base)
    of_file = tools_of(Agent(settings=MENUS, tools=files), base)

    assert await of_base.run("send_dtmf", "{}") == '"base"'
    assert await of_file.run("send_dtmf", "{}") == '"file"'
    for tools in (of_base, of_file):
        assert [schema.name for schema in tools.schemas()] == ["send_dtmf"]


async def test_a_name_that_nobody_has_is_refused_with_all_there_are() -> None:
    tools = tools_of(Agent(settings=MENUS, tools=box("one", "")), box("two", ""))
    with pytest.raises(ToolRefused) as refused:
        await tools.run("three", "{}")

    assert all(name in refused.value.reason for name in ("one", "two", "send_dtmf", "hangup"))


def test_the_double_is_a_call() -> None:
    call: CallControl = Noted()
    arguments: dict[str, Any] = {"instructions": "x"}
    call.change(**arguments)

    assert call.facts is FACTS
