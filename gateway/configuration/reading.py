"""One reading of a configuration: from what somebody wrote to settings, with every mistake."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import attrs

from gateway.configuration import agent_rules, tool_rules, written
from gateway.configuration.agent_rules import Surroundings
from gateway.configuration.agents import AgentSettings
from gateway.configuration.convert import Convert, closest, converter
from gateway.configuration.http_tool import HttpTool, read_http_tool
from gateway.configuration.mcp_server import McpServer, read_mcp_server
from gateway.configuration.rules import value_flaw
from gateway.configuration.settings import (
    AGENT,
    KEYS,
    SECTIONS,
    Config,
    ConfigError,
    TwilioSettings,
    is_azure,
)
from gateway.configuration.tool_settings import KnowledgeSettings
from gateway.configuration.written import Declared, Entry, near_file

_INSTRUCTIONS: Final = ("instructions", "instructions_file")


@attrs.define
class Reading:
    """One reading of a configuration, with the mistakes found so far."""

    functions: Collection[str] = ()
    """Those that are there whatever the settings say."""
    problems: list[str] = attrs.field(factory=list[str])
    files: list[Path] = attrs.field(factory=list[Path])
    values: dict[str, dict[str, Any]] = attrs.field(factory=dict[str, dict[str, Any]])
    """What was written and is right, by section and key."""
    entries: dict[tuple[str, str], Entry] = attrs.field(factory=dict[tuple[str, str], Entry])
    """What was written, whether right or not."""

    def config(self, file: Path, environ: Mapping[str, str], *, must_exist: bool) -> Config:
        """Read everything. Raises `ConfigError` in the end if there was any mistake."""
        self.files.append(file)
        found = written.read(file, environ, KEYS, must_exist=must_exist)
        self.problems.extend(found.problems)
        winning = {(entry.section, entry.key): entry for entry in self._one_text(found.entries)}
        for entry in winning.values():
            self.take_in(entry)

        agent = self.agent(AGENT, AgentSettings())
        agents = {
            name: self.agent(f"agents.{name}", attrs.evolve(agent, numbers=()))
            for name in found.agents
        }
        sections = {
            name: settings(**self.values.get(name, {}))
            for name, settings in SECTIONS.items()
            if name != AGENT
        }
        sections["knowledge"] = self._knowledge(sections["knowledge"])
        tools = self._http_tools(file, found.tools, environ)
        servers = self._mcp_servers(file, found.mcp, environ)
        config = Config(agent=agent, agents=agents, tools=tools, mcp=servers, **sections)
        around = Surroundings(
            config.calls.max_call_s,
            is_azure(config.openai.realtime_url),
            http_tools=tuple(found.tools),
            mcp=tuple(found.mcp),
        )
        self.judge(AGENT, agent, around)
        for name, settings in agents.items():
            self.judge(f"agents.{name}", settings, around)
        self._judge_numbers(config, found.agents)
        self._judge_twilio(config.twilio)
        for section, key, flaw in tool_rules.flaws(config, self.entries):
            if (section, key) not in self.entries or key in self.values.get(section, {}):
                self._complain(section, key, flaw)
        self.finish()
        return attrs.evolve(config, files=tuple(self.files))

    def _knowledge(self, knowledge: KnowledgeSettings) -> KnowledgeSettings:
        """With its folder found from where it was written; it has to be there."""
        if knowledge.folder is None:
            return knowledge
        folder = self._placed("knowledge", "folder", knowledge.folder)
        if not folder.is_dir():
            place = self.entries["knowledge", "folder"].place
            self.problems.append(f"{place}: {folder} is not a folder{near_file(folder)}")
        return attrs.evolve(knowledge, folder=folder)

    def _http_tools(
        self, file: Path, declared: Mapping[str, Declared], environ: Mapping[str, str]
    ) -> dict[str, HttpTool]:
        """The tools of `[tools.NAME]` that are right."""
        tools: dict[str, HttpTool] = {}
        for name, one in declared.items():

            def complain(key: str, flaw: str, place: str = one.place) -> None:
                where = f"{place}.{key}" if key else place
                self.problems.append(f"{where} in {file} {flaw}")

            tool = read_http_tool(name, one.table, environ, complain)
            if tool is not None:
                tools[name] = tool
        return tools

    def _mcp_servers(
        self, file: Path, declared: Mapping[str, Declared], environ: Mapping[str, str]
    ) -> dict[str, McpServer]:
        """The servers of `[mcp.NAME]` that are right."""
        servers: dict[str, McpServer] = {}
        for name, one in declared.items():

            def complain(key: str, flaw: str, place: str = one.place) -> None:
                where = f"{place}.{key}" if key else place
                self.problems.append(f"{where} in {file} {flaw}")

            server = read_mcp_server(name, one.table, environ, complain)
            if server is not None:
                servers[name] = server
        return servers

    def _one_text(self, entries: tuple[Entry, ...]) -> Iterator[Entry]:
        """Leave out instructions as text that those in a file replace, or the other way round.

        What stands in the environment replaces what stands in the file.
        """
        texts = [entry for entry in entries if entry.key in _INSTRUCTIONS]
        layers = {entry.section: entry.from_environ for entry in texts}  # The last one wins.
        for entry in entries:
            if entry.key not in _INSTRUCTIONS or entry.from_environ == layers[entry.section]:
                yield entry
        for entry in texts:
            same = [
                other
                for other in texts
                if (other.section, other.from_environ) == (entry.section, entry.from_environ)
                and other.key != entry.key
            ]
            if (
                same
                and entry.key == "instructions_file"
                and entry.from_environ == layers[entry.section]
            ):
                self.problems.append(
                    f"{entry.place} is {str(entry.value)!r}, and {same[0].place} is written too: "
                    "keep one, instructions or instructions_file"
                )

    def take_in(self, entry: Entry) -> None:
        """Convert one value and judge it by itself."""
        section, key = entry.section, entry.key
        self.entries[section, key] = entry
        try:
            value = _converters(AGENT if section.startswith("agents.") else section)[key](
                entry.value, entry.from_environ
            )
        except ValueError as error:
            self.problems.append(f"{entry.place} {error}")
            return
        if key in ("realtime_url", "fallback_url") and isinstance(value, str):
            # Azure's portal shows it like this.
            value = _to_websocket(value)
        flaw = value_flaw(section, key, value)
        if flaw is not None:
            self.problems.append(f"{entry.place} {flaw}")
            return
        self.values.setdefault(section, {})[key] = value

    def agent(self, section: str, base: AgentSettings) -> AgentSettings:
        """The agent of a section: what it inherits, and what was written for it."""
        own = dict(self.values.get(section, {}))
        if "instructions" in own:
            own.setdefault("instructions_file", None)
        path = own.get("instructions_file")
        if path is not None:
            path = self._placed(section, "instructions_file", path)
            own |= {"instructions_file": path}
            text = self._text(section, path)
            if text is not None:
                own["instructions"] = text
        if "tools" in own:
            own["tools"] = tuple(self._placed(section, "tools", path) for path in own["tools"])
        return attrs.evolve(base, **own)

    def _placed(self, section: str, key: str, path: Path) -> Path:
        return self.entries[section, key].directory / path

    def _text(self, section: str, path: Path) -> str | None:
        self.files.append(path)
        place = self.entries[section, "instructions_file"].place
        try:
            text = path.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            self.problems.append(f"{place}: {path} does not exist{near_file(path)}")
        except OSError as error:
            self.problems.append(f"{place}: {path} cannot be read: {error.strerror}")
        except UnicodeDecodeError:
            self.problems.append(f"{place}: {path} is not UTF-8 text")
        else:
            if text:
                return text
            self.problems.append(f"{place}: {path} is empty, and must say something")
        return None

    def judge(self, section: str, agent: AgentSettings, around: Surroundings) -> None:
        """Complain about what does not fit together in an agent."""
        mine = {key for owner, key in self.entries if owner == section}
        named = {str(path): self._functions(section, path) for path in agent.tools}
        around = attrs.evolve(around, functions=named, more_functions=self.functions)
        bad = {key for key in mine if key not in self.values.get(section, {})}
        for key, flaw in agent_rules.flaws(agent, mine, around):
            if key not in bad:
                self._complain(section, key, flaw)

    def _functions(self, section: str, path: Path) -> tuple[str, ...]:
        """The functions that a file of tools defines. Nothing of it is run."""
        inherited = (section, "tools") not in self.entries
        if not inherited:
            self.files.append(path)
        try:
            tree = ast.parse(path.read_bytes())
        except FileNotFoundError:
            flaw = f": {path} does not exist{near_file(path)}"
        except OSError as error:
            flaw = f": {path} cannot be read: {error.strerror}"
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            lineno = error.lineno if isinstance(error, SyntaxError) else None
            line = "" if lineno is None else f", line {lineno}"
            flaw = f": {path}{line} is not Python"
        else:
            return tuple(
                node.name
                for node in ast.walk(tree)
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
                and any(_is_tool(decorator) for decorator in node.decorator_list)
            )
        if not inherited:
            self.problems.append(f"{self.entries[section, 'tools'].place}{flaw}")
        return ()

    def _judge_numbers(self, config: Config, places: Mapping[str, str]) -> None:
        owners: dict[str, str] = {}
        for section, agent in config.by_section().items():
            for number in agent.numbers:
                owner = owners.setdefault(number.casefold(), section)
                if owner != section:
                    self._complain(
                        section,
                        "numbers",
                        f"holds {number!r}, and so does {owner}.numbers: take it out of one",
                    )
            name = section.partition(".")[2]
            if name and agent.enabled and not agent.numbers and not self._is_bad(section):
                others = [other for other in config.agents if other != name]
                meant = closest(name, others, cutoff=0.7) if "environment" in places[name] else None
                hint = f"did you mean {meant}?" if meant else 'write numbers = ["+4930123456"]'
                self.problems.append(
                    f"{places[name]} has no {section}.numbers, and no call would reach it; {hint}"
                )
        bad = any(self._is_bad(section) for section in config.by_section())
        if config.server.unknown_numbers == "refuse" and not owners and not bad:
            self._complain(
                "server",
                "unknown_numbers",
                "is 'refuse', and no agent has numbers, so every call would be refused: give "
                "one numbers, or write 'default'",
            )

    def _is_bad(self, section: str) -> bool:
        """Whether its numbers were refused already."""
        written_here = (section, "numbers") in self.entries
        return written_here and "numbers" not in self.values.get(section, {})

    def _judge_twilio(self, twilio: TwilioSettings) -> None:
        if (twilio.api_key is None) != (twilio.api_secret is None):
            key = "api_secret" if twilio.api_key is None else "api_key"
            other = "api_key" if twilio.api_key is None else "api_secret"
            if ("twilio", other) not in self.entries:
                self._complain(
                    "twilio", key, f"and twilio.{other} go together: set both or neither"
                )
        elif twilio.api_key is not None and ("twilio", "account_sid") not in self.entries:
            self._complain(
                "twilio", "api_key", "needs twilio.account_sid: its address is made from it"
            )

    def _complain(self, section: str, key: str, flaw: str) -> None:
        entry = self.entries.get((section, key))
        if entry is None and section.startswith("agents."):
            entry = self.entries.get((AGENT, key))  # It is inherited, and to be mended there.
        self.problems.append(f"{entry.place if entry else f'{section}.{key}'} {flaw}")

    def finish(self) -> None:
        """Raise if there was any mistake."""
        if self.problems:
            problems = tuple(dict.fromkeys(self.problems))
            raise ConfigError(problems, tuple(self.files))


def _is_tool(decorator: ast.expr) -> bool:
    """Whether this is `@tool`, however it was imported."""
    return ast.unparse(decorator).rpartition(".")[2] == "tool"


@cache
def _converters(section: str) -> Mapping[str, Convert]:
    return {key: converter(kind) for key, kind in KEYS[section].items()}


def _to_websocket(url: str) -> str:
    return "wss" + url.removeprefix("https") if url.startswith("https://") else url
