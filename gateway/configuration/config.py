"""Settings: from `offhook.toml`, overridden by the environment. All of both is read here.

A setting `key` in section `[section]` is also `OFFHOOK_<SECTION>_<KEY>`, and some have a name that
the ecosystem already knows (`OPENAI_API_KEY`). A mistake is refused before anything is served,
every mistake at once, each with its place and the nearest thing that would have been right.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import attrs

from gateway.configuration.agent_rules import Surroundings
from gateway.configuration.agents import AgentSettings
from gateway.configuration.convert import Secret, is_loopback, nearest, split_bind
from gateway.configuration.reading import Reading
from gateway.configuration.settings import (
    AGENT,
    KEYS,
    CallSettings,
    Config,
    ConfigError,
    OpenAISettings,
    ServerSettings,
    TwilioSettings,
    auth_headers,
    is_azure,
)
from gateway.configuration.written import CONFIG_NAME, Entry

__all__ = [
    "AgentSettings",
    "CallSettings",
    "Config",
    "ConfigError",
    "OpenAISettings",
    "Secret",
    "ServerSettings",
    "TwilioSettings",
    "agent_settings",
    "auth_headers",
    "check_serving",
    "config_file",
    "is_azure",
    "is_loopback",
    "load",
    "section_settings",
    "split_bind",
]

DEFAULT_FILE: Final = Path("offhook.toml")


def load(
    path: Path | None, environ: Mapping[str, str], *, functions: Collection[str] = ()
) -> Config:
    """Read the settings.

    Args:
        path: The file named on the command line. Else `OFFHOOK_CONFIG` names it, and else
            `offhook.toml` is read if there is one.
        environ: Usually `os.environ`. An empty value counts as not set.
        functions: The names of the tools that a host application gives to `create_app`.

    Raises:
        ConfigError: Something is misspelt, of the wrong kind, or does not fit together.

    """
    file, must_exist = config_file(path, environ)
    return Reading(functions).config(file, environ, must_exist=must_exist)


def agent_settings(
    table: Mapping[str, Any],
    base: AgentSettings | None = None,
    *,
    place: str = "agent",
    directory: Path = Path(),
    functions: Collection[str] = (),
) -> AgentSettings:
    """The settings of one agent, from keys and values as TOML has them, over those of another.

    Args:
        table: What is written.
        base: Whose settings it inherits.
        place: Of the table, for whoever has to mend it.
        directory: What its relative paths are relative to.
        functions: The names of tools that are there whatever the settings say.

    Raises:
        ConfigError: With every mistake.

    """
    reading = Reading(functions)
    for key, value in table.items():
        if key in KEYS[AGENT]:
            where = f"{place}.{key}"
            reading.take_in(
                Entry(AGENT, key, value, where, from_environ=False, directory=directory)
            )
        else:
            reading.problems.append(f"{place}.{key} is unknown{nearest(key, KEYS[AGENT])}")
    agent = reading.agent(AGENT, base or AgentSettings())
    reading.judge(AGENT, agent, Surroundings(CallSettings().max_call_s, is_azure=False))
    reading.finish()
    return agent


def section_settings(section: str, table: Mapping[str, Any], base: Config, *, place: str) -> Config:
    """A configuration in which some keys of a section, but no agent's, are otherwise.

    Args:
        section: Its name.
        table: What is written, as TOML has it.
        base: The rest.
        place: Of the table, for whoever has to mend it.

    Raises:
        ConfigError: With every mistake in the table by itself.

    """
    reading = Reading()
    for key, value in table.items():
        where = f"{place}.{key}"
        if key in KEYS[section]:
            entry = Entry(section, key, value, where, from_environ=False, directory=Path())
            reading.take_in(entry)
        else:
            reading.problems.append(f"{where} is unknown{nearest(key, KEYS[section])}")
    reading.finish()
    settings = attrs.evolve(getattr(base, section), **reading.values.get(section, {}))
    return attrs.evolve(base, **{section: settings})


def config_file(path: Path | None, environ: Mapping[str, str]) -> tuple[Path, bool]:
    """The file that is read, and whether somebody asked for it. See `load`."""
    if path is not None:
        return path, True
    if named := environ.get(CONFIG_NAME):
        return Path(named), True
    return DEFAULT_FILE, False


def check_serving(config: Config) -> None:
    """Refuse to answer calls when nothing could tell Twilio's requests from anybody else's.

    Raises:
        ConfigError: With the way out.

    """
    host, _ = split_bind(config.server.bind)
    if config.twilio.auth_token is not None and config.server.public_url is None:
        problem = (
            "twilio.auth_token is set, but server.public_url is not: signatures are made "
            "over the address Twilio requests. Set OFFHOOK_PUBLIC_URL=https://<that address>, "
            "or unset TWILIO_AUTH_TOKEN to serve unsigned requests on loopback only."
        )
    elif config.twilio.auth_token is None and _is_public(config.server.public_url):
        problem = (
            f"server.public_url is {config.server.public_url}, and without twilio.auth_token "
            "nothing tells Twilio's requests from anybody else's there. Set TWILIO_AUTH_TOKEN, or "
            "unset OFFHOOK_PUBLIC_URL."
        )
    elif config.twilio.auth_token is None and not is_loopback(host):
        problem = (
            f"server.bind is {config.server.bind}, which others can reach, and without "
            "twilio.auth_token nothing tells Twilio's requests from theirs. Set "
            "TWILIO_AUTH_TOKEN (and OFFHOOK_PUBLIC_URL), or OFFHOOK_BIND=127.0.0.1:8080."
        )
    else:
        return
    raise ConfigError((problem,))


def _is_public(url: str | None) -> bool:
    return url is not None and not is_loopback(urlsplit(url).hostname or "")
