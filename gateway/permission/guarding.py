"""The guard of one call, put together from what the owner set."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from actors.guard import Effects, GuardedTools, InCall, Offered
from actors.policy.audit import shown
from gateway.calls import IncomingCall
from gateway.configuration.agents import AgentSettings
from gateway.configuration.config import Config
from gateway.configuration.tool_rules import decided
from gateway.permission.audit_log import AuditLog
from gateway.permission.callers import caller_of
from gateway.permission.phrases import phrases_of
from gateway.permission.proofs import OwnerVerifier, Proofs
from gateway.permission.read_back import Questions

OFF: Final = "off"


def guarded(
    tools: Offered,
    config: Config,
    incoming: IncomingCall,
    audit: AuditLog,
    utc_now: Callable[[], datetime],
    *,
    effects: Effects | None = None,
) -> GuardedTools:
    """Put a call's tools behind its guard.

    Args:
        tools: All that its agent may call.
        config: Says who the owner is, and what the policy.
        incoming: The call.
        audit: Where decisions are written down, and tries to prove something counted.
        utc_now: The clock on the wall.
        effects: Where tools run; `None`: in the call.

    """
    agent = incoming.agent.settings
    caller = caller_of(incoming.caller, config.owner, outgoing=incoming.direction == "outbound")
    proofs = Proofs(config.owner, audit, utc_now)
    return GuardedTools(
        tools=tools,
        call_sid=incoming.call_sid,
        caller=caller,
        audit=audit,
        read_out=Questions(agent.language, by_keys=_by_keys(agent)),
        decided=decided(config.policy),
        verifier=OwnerVerifier(proofs, shown(caller.number), phrases_of(agent.language)),
        confirm_s=config.policy.confirm_s,
        effects=effects or InCall(),
    )


def _by_keys(agent: AgentSettings) -> bool:
    """Whether only keys can be an answer: of what callers say, there are no words or no beginning.

    Where the caller says by a key that they have finished, nobody hears when they began.
    """
    return agent.transcription == OFF or agent.turn_detection == "none"
