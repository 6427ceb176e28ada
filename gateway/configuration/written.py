"""What somebody wrote: the settings of a file and of the environment, before they mean anything.

Nothing is converted here; what is no setting at all becomes a problem.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from gateway.configuration.agents import DEFAULT
from gateway.configuration.convert import closest, nearest
from gateway.configuration.settings import AGENT

AGENTS: Final = "agents"
TOOLS: Final = "tools"
MCP: Final = "mcp"
CONFIG_NAME: Final = "OFFHOOK_CONFIG"
_PREFIX: Final = "OFFHOOK_AGENTS_"
_AGENT_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}")

COMMON_NAMES: Final[Mapping[str, tuple[str, str]]] = {
    "OPENAI_API_KEY": ("openai", "api_key"),
    "OPENAI_REALTIME_API_URL": ("openai", "realtime_url"),
    "OPENAI_REALTIME_URL": ("openai", "realtime_url"),
    "OPENAI_BASE_URL": ("openai", "base_url"),
    "TWILIO_ACCOUNT_SID": ("twilio", "account_sid"),
    "TWILIO_AUTH_TOKEN": ("twilio", "auth_token"),
    "TWILIO_API_KEY": ("twilio", "api_key"),
    "TWILIO_API_SECRET": ("twilio", "api_secret"),
    "TWILIO_API_URL": ("twilio", "api_url"),
    "OFFHOOK_BIND": ("server", "bind"),
    "OFFHOOK_PUBLIC_URL": ("server", "public_url"),
    # Those that users of the OpenSIPS AI Voice Connector have already.
    "OPENAI_API_MODEL": (AGENT, "model"),
    "OPENAI_VOICE": (AGENT, "voice"),
    "OPENAI_INSTRUCTIONS": (AGENT, "instructions"),
    "OPENAI_WELCOME_MSG": (AGENT, "greeting"),
    "OPENAI_TEMPERATURE": (AGENT, "temperature"),
    "OPENAI_MAX_TOKENS": (AGENT, "max_output_tokens"),
    "OPENAI_TURN_DETECT_TYPE": (AGENT, "turn_detection"),
    "OPENAI_TURN_DETECT_SILENCE_MS": (AGENT, "silence_duration_ms"),
    "OPENAI_TURN_DETECT_THRESHOLD": (AGENT, "threshold"),
    "OPENAI_TURN_DETECT_PREFIX_MS": (AGENT, "prefix_padding_ms"),
    "OPENAI_TRANSFER_TO": (AGENT, "transfer_to"),
    "OPENAI_TRANSFER_BY": (AGENT, "transfer_by"),
    "OPENAI_TOOLS": (AGENT, "tools"),
    "OPENAI_DISABLE": (AGENT, "enabled"),
    # The official client's.
    "OPENAI_REALTIME_MODEL": (AGENT, "model"),
    "OPENAI_REALTIME_VOICE": (AGENT, "voice"),
}
"""Names that are in use elsewhere. Of two for the same setting, the later one wins; and every name
of our own wins over them."""

_OPPOSITE: Final = {
    "true": "false", "1": "false", "yes": "false", "on": "false",
    "false": "true", "0": "true", "no": "true", "off": "true",
}  # fmt: skip
"""`OPENAI_DISABLE` says the opposite of `enabled`."""


@attrs.frozen
class Entry:
    """One setting as it was written."""

    section: str
    """`agent`, `agents.sales`, `server`, ..."""
    key: str
    value: Any
    place: str
    """Where, for whoever has to mend it."""
    from_environ: bool
    directory: Path
    """What its relative paths are relative to."""


@attrs.frozen
class Declared:
    """A table of its own, as it was written: one tool, or one server of them."""

    table: Mapping[str, Any]
    place: str
    """Where, for whoever has to mend it."""


@attrs.frozen
class Written:
    """All of it. Of two entries for one setting, the later one wins."""

    entries: tuple[Entry, ...]
    agents: Mapping[str, str]
    """The names of `[agents.NAME]`, each with its place."""
    tools: Mapping[str, Declared]
    """The tables of `[tools.NAME]`. They are in the file alone."""
    mcp: Mapping[str, Declared]
    """Likewise those of `[mcp.NAME]`."""
    problems: tuple[str, ...]


def read(
    file: Path, environ: Mapping[str, str], keys: Mapping[str, Collection[str]], *, must_exist: bool
) -> Written:
    """Read a file, which need not be there, and the environment.

    Args:
        file: TOML.
        environ: An empty value counts as not set.
        keys: The keys of every section. `[agents.NAME]` has those of `[agent]`.
        must_exist: Whether somebody asked for this file.

    """
    problems: list[str] = []
    tables = _tables(file, problems, must_exist=must_exist)
    agents: dict[str, str] = {}
    tools = _tools_of(file, tables, problems)
    servers = _servers_of(file, tables, problems)
    entries = list(_of_file(file, tables, keys, agents, problems))
    entries += _of_common_names(environ)
    entries += _of_own_names(environ, keys, agents, problems)
    return Written(tuple(entries), agents, tools, servers, tuple(problems))


def own_name(section: str, key: str) -> str:
    """The name of a setting in the environment."""
    return re.sub(r"[.-]", "_", f"OFFHOOK_{section}_{key}").upper()


def _tables(file: Path, problems: list[str], *, must_exist: bool) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if must_exist:
            problems.append(f"{file} does not exist{near_file(file)}")
    except OSError as error:
        problems.append(f"{file} cannot be read: {error.strerror}")
    except UnicodeDecodeError:
        problems.append(f"{file} is not UTF-8 text")
    except tomllib.TOMLDecodeError as error:
        problems.append(f"{file} is not TOML: {error}")
    except RecursionError:
        problems.append(f"{file} is nested too deep: a list of lists is the most that is needed")
    return {}


def near_file(path: Path) -> str:
    """The end of a sentence about a file that is not there."""
    try:
        there = sorted(entry.name for entry in path.parent.iterdir() if entry.is_file())
    except OSError:
        return f": there is no directory {path.parent}"
    meant = closest(path.name, there)
    return f"; did you mean {path.parent / meant}?" if meant else ""


def _of_file(
    file: Path,
    tables: Mapping[str, Any],
    keys: Mapping[str, Collection[str]],
    agents: dict[str, str],
    problems: list[str],
) -> Iterator[Entry]:
    for section, table in tables.items():
        if section in (TOOLS, MCP):
            continue
        if section not in keys and section != AGENTS:
            what = f"[{section}]" if isinstance(table, dict) else f"the key {section}"
            known = [*keys, AGENTS, TOOLS, MCP]
            problems.append(f"{what} in {file} is unknown{nearest(section, known)}")
        elif not isinstance(table, dict):
            example = f"[{AGENTS}.NAME]" if section == AGENTS else f"[{section}]"
            problems.append(f"{section} in {file} must be a section: {example}")
        elif section != AGENTS:
            yield from _of_section(file, section, table, keys[section], problems)
        else:
            for name, agent in table.items():
                flaw = _agent_flaw(name, agent, agents, keys[AGENT])
                if flaw is not None:
                    problems.append(f"agents.{name} in {file} {flaw}")
                else:
                    agents[name] = f"[agents.{name}] in {file}"
                    yield from _of_section(file, f"agents.{name}", agent, keys[AGENT], problems)


def _tools_of(file: Path, tables: Mapping[str, Any], problems: list[str]) -> dict[str, Declared]:
    section = tables.get(TOOLS, {})
    example = f"[{TOOLS}.order_status]"
    if not isinstance(section, dict):
        problems.append(f"{TOOLS} in {file} must be sections: {example}; files are {AGENT}.{TOOLS}")
        return {}
    found: dict[str, Declared] = {}
    for name, table in section.items():
        if isinstance(table, dict):
            found[name] = Declared(table, f"{TOOLS}.{name}")
        else:
            problems.append(f"{TOOLS}.{name} in {file} must be a section: {example}")
    return found


def _servers_of(file: Path, tables: Mapping[str, Any], problems: list[str]) -> dict[str, Declared]:
    section = tables.get(MCP, {})
    example = f"[{MCP}.crm]"
    if not isinstance(section, dict):
        problems.append(f"{MCP} in {file} must be sections: {example}")
        return {}
    found: dict[str, Declared] = {}
    for name, table in section.items():
        if isinstance(table, dict):
            found[name] = Declared(table, f"{MCP}.{name}")
        else:
            problems.append(f"{MCP}.{name} in {file} must be a section: {example}")
    return found


def _of_section(
    file: Path, section: str, table: dict[str, Any], keys: Collection[str], problems: list[str]
) -> Iterator[Entry]:
    for key, value in table.items():
        place = f"{section}.{key} in {file}"
        if key in keys:
            yield Entry(section, key, value, place, from_environ=False, directory=file.parent)
        else:
            problems.append(f"{place} is unknown{nearest(key, keys)}")


def _agent_flaw(
    name: str, table: object, others: Collection[str], keys: Collection[str]
) -> str | None:
    if not isinstance(table, dict):
        if name in keys:
            return f"must stand in [{AGENT}] or in a section [{AGENTS}.NAME]: {AGENT}.{name}"
        return f"must be a section: [{AGENTS}.{name}]"
    if _AGENT_NAME.fullmatch(name) is None:
        meant = re.sub(r"[^a-z0-9_-]", "_", name.casefold()).strip("_-0123456789")[:32]
        return (
            f"is no name for an agent: small letters, digits, - and _, as {meant or 'sales'}, "
            f"not {name!r}"
        )
    if name == DEFAULT:
        return f"is the name of [{AGENT}]: write its keys there, or choose another name, as other"
    for other in others:
        if own_name(other, "") == own_name(name, ""):
            return f"has the same name in the environment as {AGENTS}.{other}: choose another one"
    return None


def _of_common_names(environ: Mapping[str, str]) -> Iterator[Entry]:
    for name, (section, key) in COMMON_NAMES.items():
        text = environ.get(name)
        if text:
            if name == "OPENAI_DISABLE":
                text = _OPPOSITE.get(text.casefold(), text)
            place = f"{name} ({section}.{key})" if section == AGENT else name
            yield Entry(section, key, text, place, from_environ=True, directory=Path())


def _of_own_names(
    environ: Mapping[str, str],
    keys: Mapping[str, Collection[str]],
    agents: dict[str, str],
    problems: list[str],
) -> Iterator[Entry]:
    own = {own_name(section, key): (section, key) for section in keys for key in keys[section]}
    for name in sorted(environ):
        if not name.startswith("OFFHOOK_") or name in COMMON_NAMES or name == CONFIG_NAME:
            continue
        if name.startswith(_PREFIX) and not environ[name]:
            continue  # Not set; and it makes no agent, either.
        claims = _claims(name, keys[AGENT], agents)
        if len(claims) > 1:
            meant = " and ".join(f"{section}.{key}" for section, key in claims)
            problems.append(f"{name} is the name of both {meant}: call one of the agents otherwise")
            continue
        found = own.get(name) or next(iter(claims), None) or _of_new(name, keys[AGENT], agents)
        if found is None:
            known = [*own, *COMMON_NAMES, CONFIG_NAME]
            known += [own_name(f"agents.{agent}", key) for agent in agents for key in keys[AGENT]]
            ours = [word for word in known if word.startswith("OFFHOOK_")]
            problems.append(f"{name} in the environment is unknown{nearest(name, ours)}")
        elif environ[name]:
            yield Entry(*found, environ[name], name, from_environ=True, directory=Path())


def _claims(name: str, keys: Collection[str], agents: Collection[str]) -> list[tuple[str, str]]:
    """The settings of known agents that have this name.

    There may be two: what is the `fallback_model` of `a` is the `model` of `a_fallback`.
    """
    return [
        (f"agents.{agent}", key)
        for agent in agents
        for key in keys
        if name == own_name(f"agents.{agent}", key)
    ]


def _of_new(name: str, keys: Collection[str], agents: dict[str, str]) -> tuple[str, str] | None:
    """The setting of `OFFHOOK_AGENTS_<NAME>_<KEY>`, of an agent that is made by it."""
    if not name.startswith(_PREFIX):
        return None
    rest = name.removeprefix(_PREFIX)
    # The longest key: an agent is rather called `desk` than `desk_instructions`.
    for key in sorted(keys, key=len, reverse=True):
        agent = rest.removesuffix(f"_{key.upper()}").lower()
        if agent != rest.lower() and _AGENT_NAME.fullmatch(agent) and agent != DEFAULT:
            agents[agent] = f"{_PREFIX}{agent.upper()}_... in the environment"
            return f"agents.{agent}", key
    return None
