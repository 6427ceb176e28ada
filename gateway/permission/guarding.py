"""The guard of one call, put together from what the owner set."""

from __future__ import annotations

from typing import Final

from actors.guard import Effects, GuardedTools, InCall, Offered
from actors.policy.risk import Risk
from gateway.calls import IncomingCall
from gateway.configuration.config import Config
from gateway.configuration.tool_settings import PolicySettings
from gateway.permission.audit_log import AuditLog
from gateway.permission.callers import caller_of
from gateway.permission.read_back import Questions

OFF: Final = "off"


def decided(policy: PolicySettings) -> dict[str, Risk]:
    """The risks that the owner decided, by the tool's name."""
    low: dict[str, Risk] = dict.fromkeys(policy.low, "low")
    return low | dict.fromkeys(policy.high, "high")


def guarded(
    tools: Offered,
    config: Config,
    incoming: IncomingCall,
    audit: AuditLog,
    *,
    effects: Effects | None = None,
) -> GuardedTools:
    """Put a call's tools behind its guard."""
    agent = incoming.agent.settings
    return GuardedTools(
        tools=tools,
        call_sid=incoming.call_sid,
        caller=caller_of(incoming.caller, config.owner),
        audit=audit,
        read_out=Questions(agent.language, by_keys=agent.transcription == OFF),
        decided=decided(config.policy),
        verifier=None,
        confirm_s=config.policy.confirm_s,
        effects=effects or InCall(),
    )
