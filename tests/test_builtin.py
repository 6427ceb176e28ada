"""The tools that come with the gateway, made once and lent to every call."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import get_args

import attrs

from actors.toolbox import Toolbox
from gateway.app import create_app
from gateway.configuration.agents import Agent, AgentSettings
from gateway.configuration.config import CallSettings, Config
from gateway.configuration.tool_settings import BuiltinTool
from gateway.tools.builtin import MADE_KEPT, builtin_tools
from gateway.tools.means import Means
from gateway.tools.toolset import tools_of

EVERY = AgentSettings(builtin_tools=get_args(BuiltinTool))


def means() -> Means:
    return Means(config=Config(), utc_now=lambda: datetime(2026, 11, 20, tzinfo=UTC))


def test_no_other_call_waits_while_the_tools_of_one_are_made() -> None:
    """A frame of audio lasts 20 ms, and all of them are made twice for each call."""
    shared, agent = means(), Agent(settings=EVERY)
    tools_of(agent, Toolbox(), shared)

    took_s = []
    for _ in range(21):
        began_s = time.perf_counter()
        tools_of(agent, Toolbox(), shared)
        took_s.append(time.perf_counter() - began_s)

    assert median(took_s) < 0.002


def test_agents_have_tools_of_their_own_and_none_of_other_means() -> None:
    shared = means()
    few = AgentSettings(builtin_tools=("send_sms",))

    assert {one.name for one in builtin_tools(shared, few).schemas()} == {"send_sms"}
    assert {one.name for one in builtin_tools(shared, EVERY).schemas()} == set(EVERY.builtin_tools)
    other = attrs.evolve(shared, config=Config())
    assert builtin_tools(other, few) is not builtin_tools(shared, few)


def test_agents_that_were_exchanged_are_forgotten() -> None:
    shared = means()
    for number in range(MADE_KEPT + 5):
        builtin_tools(shared, AgentSettings(instructions=str(number), builtin_tools=("send_sms",)))

    assert len(shared.made) == MADE_KEPT


def test_all_calls_share_what_bounds_their_threads(tmp_path: Path) -> None:
    """With one for each call, as many threads as there are calls would wait for a stuck disk."""
    config = Config(calls=CallSettings(directory=tmp_path))

    shared = create_app(config).extensions["means"]

    assert shared.mailer is not None
    assert shared.taken is not None
