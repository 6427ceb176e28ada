"""The sections of the configuration, as values. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, get_type_hints
from urllib.parse import urlsplit

import attrs

from gateway.configuration import agent_rules, tool_rules
from gateway.configuration.agents import AgentSettings
from gateway.configuration.convert import Auth, FlightMode, Secret, UnknownNumbers
from gateway.configuration.http_tool import HttpTool
from gateway.configuration.mcp_server import McpServer
from gateway.configuration.tool_settings import (
    CalendarSettings,
    EmailSettings,
    KnowledgeSettings,
    OwnerSettings,
    PolicySettings,
    ResearchSettings,
)

AGENT: Final = "agent"
"""The section of the default agent, whose keys every `[agents.NAME]` has as well."""
_AZURE: Final = (".azure.com", ".azure.cn", ".azure.us")


@attrs.frozen
class ConfigError(Exception):
    """The gateway cannot start like this."""

    problems: tuple[str, ...]
    """One sentence per mistake: what, where, and what would be right."""
    files: tuple[Path, ...] = ()
    """Those that were read, or should have been: mending one of them may help."""

    def __str__(self) -> str:
        return "\n".join(self.problems)


@attrs.frozen
class ServerSettings:
    """Where the gateway is found."""

    bind: str = "127.0.0.1:8080"
    """`host:port`; port 0 takes a free one."""
    public_url: str | None = None
    """What Twilio requests, without a path behind it unless a proxy strips one."""
    unknown_numbers: UnknownNumbers = "default"
    """Whether a number that no agent has is answered by `[agent]`, or politely refused."""


@attrs.frozen
class CallSettings:
    """What a call may take, and where it leaves its records."""

    directory: Path = Path("calls")
    max_call_s: float = 3600.0
    """Up to the four hours of Twilio's. An agent may have its own."""
    max_concurrent: int = 100
    """Calls being connected or held. One more is told that the line is busy."""
    flight: FlightMode = "events"
    """Whether a call leaves a log of everything that crossed its sockets, for `offhook replay`;
    with `audio`, all that was said can be listened to in it."""


@attrs.frozen
class OpenAISettings:
    """The model's server."""

    api_key: Secret | None = None
    realtime_url: str = "wss://api.openai.com/v1/realtime"
    """May have a query, and then names the model itself if `model` is in it, as Azure's does."""
    base_url: str = "https://api.openai.com/v1"
    """For REST."""
    auth: Auth = "auto"
    """How the key is shown: as a bearer's, or in Azure's header `api-key`, which is what `auto`
    does at Azure's hosts."""


@attrs.frozen
class TwilioSettings:
    """The carrier's account."""

    account_sid: str | None = None
    auth_token: Secret | None = None
    """Signs what Twilio sends us. Also the REST password when there is no API key."""
    api_key: str | None = None
    api_secret: Secret | None = None
    api_url: str = "https://api.twilio.com"


@attrs.frozen
class Config:
    """Every setting of the gateway. One attribute per section of the file."""

    agent: AgentSettings = attrs.field(factory=AgentSettings)
    server: ServerSettings = attrs.field(factory=ServerSettings)
    calls: CallSettings = attrs.field(factory=CallSettings)
    openai: OpenAISettings = attrs.field(factory=OpenAISettings)
    twilio: TwilioSettings = attrs.field(factory=TwilioSettings)
    owner: OwnerSettings = attrs.field(factory=OwnerSettings)
    policy: PolicySettings = attrs.field(factory=PolicySettings)
    email: EmailSettings = attrs.field(factory=EmailSettings)
    calendar: CalendarSettings = attrs.field(factory=CalendarSettings)
    research: ResearchSettings = attrs.field(factory=ResearchSettings)
    knowledge: KnowledgeSettings = attrs.field(factory=KnowledgeSettings)
    agents: Mapping[str, AgentSettings] = attrs.field(factory=dict[str, AgentSettings])
    """Those of `[agents.NAME]`, complete: with what they inherit."""
    tools: Mapping[str, HttpTool] = attrs.field(factory=dict[str, HttpTool])
    """Those of `[tools.NAME]`: HTTP requests."""
    mcp: Mapping[str, McpServer] = attrs.field(factory=dict[str, McpServer])
    """Those of `[mcp.NAME]`: servers of tools."""
    files: tuple[Path, ...] = attrs.field(default=(), eq=False)
    """What it was read from. Another content of one of them makes another configuration."""

    def by_section(self) -> dict[str, AgentSettings]:
        """Every agent, by the section of the file that it has or would have."""
        return {AGENT: self.agent} | {f"agents.{name}": own for name, own in self.agents.items()}

    def remarks(self) -> tuple[str, ...]:
        """What is allowed and yet probably not meant: a sentence each, beginning with the key."""
        found: dict[tuple[str, str], str] = {}
        for section, agent in self.by_section().items():
            for key, remark in agent_rules.remarks(agent):
                # What is inherited is said once, where it was written.
                found.setdefault((key, remark), f"{section}.{key} {remark}")
        more = (f"{section}.{key} {remark}" for section, key, remark in tool_rules.remarks(self))
        return (*found.values(), *more)


SECTIONS: Final[Mapping[str, type]] = {
    AGENT: AgentSettings,
    "server": ServerSettings,
    "calls": CallSettings,
    "openai": OpenAISettings,
    "twilio": TwilioSettings,
    "owner": OwnerSettings,
    "policy": PolicySettings,
    "email": EmailSettings,
    "calendar": CalendarSettings,
    "research": ResearchSettings,
    "knowledge": KnowledgeSettings,
}

KEYS: Final[Mapping[str, Mapping[str, Any]]] = {
    section: get_type_hints(settings) for section, settings in SECTIONS.items()
}
"""The type of every key, by section."""


def auth_headers(settings: OpenAISettings, url: str) -> dict[str, str]:
    """How to show the key at this address. Holds the key: to be sent, and kept nowhere."""
    key = "" if settings.api_key is None else settings.api_key.reveal()
    if settings.auth == "api_key" or (settings.auth == "auto" and is_azure(url)):
        return {"api-key": key}
    return {"authorization": f"Bearer {key}"}


def is_azure(url: str) -> bool:
    """Whether this address is one of Azure's."""
    return (urlsplit(url).hostname or "").endswith(_AZURE)
