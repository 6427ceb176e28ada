"""The guard of one call, put together from settings."""

from __future__ import annotations

import pytest

from actors.toolbox import ToolSchema
from gateway.calls import IncomingCall
from gateway.configuration.agents import Agent, AgentSettings
from gateway.configuration.config import Config
from gateway.permission.audit_log import MemoryAudit
from gateway.permission.guarding import guarded
from gateway.permission.phrases import PHRASES
from tests.guards import Done, utc_now

WORDS = PHRASES["en"]


@pytest.mark.parametrize(
    ("agent", "how"),
    [
        (AgentSettings(), WORDS.how),
        (AgentSettings(turn_detection="semantic_vad"), WORDS.how),
        (AgentSettings(transcription="off"), WORDS.how_by_keys),
        (AgentSettings(turn_detection="none"), WORDS.how_by_keys),
    ],
)
def test_callers_are_told_to_say_yes_only_where_somebody_hears_when_they_say_it(
    agent: AgentSettings, how: str
) -> None:
    incoming = IncomingCall("CA1", "AC1", agent=Agent(settings=agent))
    guard = guarded(Done().box, Config(), incoming, MemoryAudit(utc_now), utc_now)

    assert guard.read_out(ToolSchema("x", "", {}), {}).endswith(how)
