"""The agents that answer, found by called number; and the one place where they can be exchanged."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import attrs
import orjson

from actors.toolbox import Toolbox
from gateway.configuration.agent_rules import picked
from gateway.configuration.agents import DEFAULT, Agent, AgentSettings
from gateway.configuration.convert import UnknownNumbers
from gateway.configuration.http_tool import HttpTool
from gateway.configuration.mcp_server import McpServer
from gateway.configuration.settings import Config, ConfigError
from gateway.tools.tool_files import ToolFileError, load_tools

VERSION_CHARS: Final = 12
"""Of a SHA-256 in hex: two versions of one agent never meet by chance, and a person can read it."""
_LEFT_OUT: Final = {"instructions_file", "tools", "fallback_api_key"}


@attrs.frozen
class Roster:
    """Who answers which number. A value: a new configuration makes a new one."""

    agents: tuple[Agent, ...]
    """The first is the agent of `[agent]`."""
    unknown_numbers: UnknownNumbers = "default"

    @classmethod
    def of(cls, config: Config) -> Roster:
        """The agents of a configuration, with their versions. Runs their files of tools.

        Blocking.

        Raises:
            ConfigError: A file of tools cannot be used.

        """
        named = {DEFAULT: config.agent, **config.agents}
        # Before anything is run: a file that is saved meanwhile has another version at the next
        # look, and is read again. The other way round, it would have this one already.
        requests = {name: http_tools_of(settings, config) for name, settings in named.items()}
        servers = {name: mcp_servers_of(settings, config) for name, settings in named.items()}
        versions = {
            name: version_of(settings, requests[name], servers[name])
            for name, settings in named.items()
        }
        boxes: dict[tuple[Path, ...], Toolbox | None] = {(): None}
        problems: list[str] = []
        for paths in dict.fromkeys(settings.tools for settings in named.values()):
            if paths:
                try:
                    boxes[paths] = load_tools(paths)
                except ToolFileError as error:
                    problems.append(f"tools: {error}")
        if problems:
            raise ConfigError(tuple(problems), config.files)
        agents = (
            Agent(
                name,
                settings,
                versions[name],
                boxes[settings.tools],
                requests[name],
                servers[name],
            )
            for name, settings in named.items()
        )
        return cls(tuple(agents), config.server.unknown_numbers)

    def agent_for(self, called: str) -> Agent | None:
        """Who answers this number; `None`: nobody, and the caller is to be told so.

        A number that is written out beats every pattern, and the longest pattern the others.
        """
        found = self._agent_of(called.casefold())
        if found is None and self.unknown_numbers == "default":
            found = self.agents[0]
        return found if found is not None and found.settings.enabled else None

    def _agent_of(self, called: str) -> Agent | None:
        best: Agent | None = None
        best_rank = (False, -1)
        for agent in self.agents:
            for number in agent.settings.numbers:
                prefix, star, _ = number.casefold().partition("*")
                rank = (not star, len(prefix))
                fits = called.startswith(prefix) if star else called == prefix
                if fits and rank > best_rank:
                    best, best_rank = agent, rank
        return best

    def agent_named(self, name: str) -> Agent | None:
        """The agent of this name, whatever its numbers; `None`: there is none, or not now."""
        found = next((agent for agent in self.agents if agent.name == name), None)
        return found if found is not None and found.settings.enabled else None

    def numbers(self) -> tuple[str, ...]:
        """All numbers, and patterns of numbers, that are some agent's."""
        return tuple(number for agent in self.agents for number in agent.settings.numbers)

    def versions(self) -> dict[str, str]:
        """Every agent's version, by name."""
        return {agent.name: agent.version for agent in self.agents}


@attrs.define(eq=False)
class LiveRoster:
    """The roster that new calls are given to. A call keeps the agent that it was given."""

    current: Roster

    def agent_for(self, called: str) -> Agent | None:
        """See `Roster`."""
        return self.current.agent_for(called)

    def agent_named(self, name: str) -> Agent | None:
        """See `Roster`."""
        return self.current.agent_named(name)

    def numbers(self) -> tuple[str, ...]:
        """See `Roster`."""
        return self.current.numbers()


def http_tools_of(settings: AgentSettings, config: Config) -> tuple[HttpTool, ...]:
    """The tools of an agent that are HTTP requests."""
    return tuple(config.tools[name] for name in picked(settings.http_tools, config.tools))


def mcp_servers_of(settings: AgentSettings, config: Config) -> tuple[McpServer, ...]:
    """The servers whose tools an agent has."""
    return tuple(config.mcp[name] for name in picked(settings.mcp, config.mcp))


def version_of(
    settings: AgentSettings,
    requests: Sequence[HttpTool] = (),
    servers: Sequence[McpServer] = (),
) -> str:
    """A hash of everything that makes an agent what it is: settings, instructions, tools.

    Keys are left out, and of files where they are: what is in them counts. A file that cannot be
    read counts as empty; whoever loads it complains.
    """
    values = attrs.asdict(settings, filter=lambda field, _: field.name not in _LEFT_OUT)
    digest = hashlib.sha256(orjson.dumps(values, option=orjson.OPT_SORT_KEYS))
    for path in settings.tools:
        digest.update(path.name.encode() + b"\0" + _content(path) + b"\0")
    prints = [one.fingerprint() for one in requests] + [one.fingerprint() for one in servers]
    for one in prints:
        digest.update(orjson.dumps(one, option=orjson.OPT_SORT_KEYS))
    return digest.hexdigest()[:VERSION_CHARS]


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
