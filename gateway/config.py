"""Settings: from `offhook.toml`, overridden by the environment. All of both is read here.

A setting `key` in section `[section]` is also `OFFHOOK_<SECTION>_<KEY>`, and some have a name that
the ecosystem already knows (`OPENAI_API_KEY`). A mistake is refused before anything is served,
every mistake at once, each with its place and the nearest thing that would have been right.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, get_type_hints
from urllib.parse import urlsplit

import attrs

from gateway.agents import AgentSettings
from gateway.convert import CONVERTERS, FlightMode, Secret, is_loopback, split_bind, url_flaw

__all__ = [
    "AgentSettings",
    "CallSettings",
    "Config",
    "ConfigError",
    "OpenAISettings",
    "Secret",
    "ServerSettings",
    "TwilioSettings",
    "check_serving",
    "is_loopback",
    "load",
    "split_bind",
]

SESSION_S: Final = 3600
"""A session of the Realtime API ends after 60 minutes."""
DEFAULT_FILE: Final = Path("offhook.toml")


@attrs.frozen
class ConfigError(Exception):
    """The gateway cannot start like this."""

    problems: tuple[str, ...]
    """One sentence per mistake: what, where, and what would be right."""

    def __str__(self) -> str:
        return "\n".join(self.problems)


@attrs.frozen
class ServerSettings:
    """Where the gateway is found."""

    bind: str = "127.0.0.1:8080"
    """`host:port`; port 0 takes a free one."""
    public_url: str | None = None
    """What Twilio requests, without a path behind it unless a proxy strips one."""


@attrs.frozen
class CallSettings:
    """What a call may take, and where it leaves its records."""

    directory: Path = Path("calls")
    max_call_s: float = 3540.0
    """A model session ends after 60 minutes, and it is older than its call."""
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
    base_url: str = "https://api.openai.com/v1"
    """For REST."""


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


SECTIONS: Final[dict[str, type]] = {
    "agent": AgentSettings,
    "server": ServerSettings,
    "calls": CallSettings,
    "openai": OpenAISettings,
    "twilio": TwilioSettings,
}

_KEYS: Final = {section: get_type_hints(settings) for section, settings in SECTIONS.items()}

_COMMON_NAMES: Final = {
    "OPENAI_API_KEY": ("openai", "api_key"),
    "OPENAI_REALTIME_URL": ("openai", "realtime_url"),
    "OPENAI_BASE_URL": ("openai", "base_url"),
    "TWILIO_ACCOUNT_SID": ("twilio", "account_sid"),
    "TWILIO_AUTH_TOKEN": ("twilio", "auth_token"),
    "TWILIO_API_KEY": ("twilio", "api_key"),
    "TWILIO_API_SECRET": ("twilio", "api_secret"),
    "TWILIO_API_URL": ("twilio", "api_url"),
    "OFFHOOK_BIND": ("server", "bind"),
    "OFFHOOK_PUBLIC_URL": ("server", "public_url"),
}
_OWN_NAMES: Final = {
    f"OFFHOOK_{section}_{key}".upper(): (section, key)
    for section, keys in _KEYS.items()
    for key in keys
}
ENVIRONMENT: Final = _COMMON_NAMES | _OWN_NAMES
"""Environment name to setting. Later names win over earlier ones, and all win over the file."""


def load(path: Path | None, environ: Mapping[str, str]) -> Config:
    """Read the settings.

    Args:
        path: The file named on the command line. Else `OFFHOOK_CONFIG` names it, and else
            `offhook.toml` is read if there is one.
        environ: Usually `os.environ`. An empty value counts as not set.

    Raises:
        ConfigError: Something is misspelt, of the wrong kind, or does not fit together.

    """
    problems: list[str] = []
    values: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    places: dict[tuple[str, str], str] = {}

    file, must_exist = _file(path, environ)
    for section, key, value in _read(file, problems, must_exist=must_exist):
        places[section, key] = f"{section}.{key} in {file}"
        values[section][key] = value
    for name, text in _relevant(environ, problems).items():
        section, key = ENVIRONMENT[name]
        places[section, key] = name
        values[section][key] = text

    for (section, key), place in places.items():
        convert = CONVERTERS[_KEYS[section][key]]
        try:
            values[section][key] = convert(values[section][key], place.isupper())
        except ValueError as error:
            problems.append(f"{place} {error}")
            del values[section][key]

    config = Config(**{name: SECTIONS[name](**keys) for name, keys in values.items()})
    problems.extend(_impossible(config, places))
    if problems:
        raise ConfigError(tuple(problems))
    return config


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


def _file(path: Path | None, environ: Mapping[str, str]) -> tuple[Path, bool]:
    """The file to read, and whether somebody asked for it."""
    if path is not None:
        return path, True
    if named := environ.get("OFFHOOK_CONFIG"):
        return Path(named), True
    return DEFAULT_FILE, False


def _read(file: Path, problems: list[str], *, must_exist: bool) -> list[tuple[str, str, Any]]:
    """Every setting of the file, unconverted; what is no setting becomes a problem."""
    found: list[tuple[str, str, Any]] = []
    for section, table in _tables(file, problems, must_exist=must_exist).items():
        if section not in SECTIONS:
            what = f"[{section}]" if isinstance(table, dict) else f"the key {section}"
            problems.append(f"{what} in {file} is unknown{_nearest(section, list(SECTIONS))}")
        elif not isinstance(table, dict):
            problems.append(f"{section} in {file} must be a section: [{section}]")
        else:
            for key, value in table.items():
                if key in _KEYS[section]:
                    found.append((section, key, value))
                else:
                    hint = _nearest(key, list(_KEYS[section]))
                    problems.append(f"{section}.{key} in {file} is unknown{hint}")
    return found


def _tables(file: Path, problems: list[str], *, must_exist: bool) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if must_exist:
            problems.append(f"{file} does not exist")
    except OSError as error:
        problems.append(f"{file} cannot be read: {error.strerror}")
    except UnicodeDecodeError:
        problems.append(f"{file} is not UTF-8 text")
    except tomllib.TOMLDecodeError as error:
        problems.append(f"{file} is not TOML: {error}")
    return {}


def _relevant(environ: Mapping[str, str], problems: list[str]) -> dict[str, str]:
    known = [*ENVIRONMENT, "OFFHOOK_CONFIG"]
    problems.extend(
        f"{name} in the environment is unknown{_nearest(name, known)}"
        for name in sorted(environ)
        if name.startswith("OFFHOOK_") and name not in known
    )
    return {name: environ[name] for name in ENVIRONMENT if environ.get(name)}


def _nearest(word: str, words: list[str]) -> str:
    close = get_close_matches(word, words, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else f"; there is {', '.join(sorted(words))}"


def _impossible(config: Config, places: Mapping[tuple[str, str], str]) -> list[str]:
    """What each value allows and all together do not."""
    problems: list[str] = []

    def check(section: str, key: str, flaw: str | None) -> None:
        if flaw is not None:
            problems.append(f"{places.get((section, key), f'{section}.{key}')} {flaw}")

    try:
        split_bind(config.server.bind)
    except ValueError as error:
        check("server", "bind", str(error))
    if config.server.public_url is not None:
        flaw = url_flaw(config.server.public_url, "https", "http")
        check("server", "public_url", flaw)
    check("openai", "realtime_url", url_flaw(config.openai.realtime_url, "wss", "ws"))
    check("openai", "base_url", url_flaw(config.openai.base_url, "https", "http"))
    check("twilio", "api_url", url_flaw(config.twilio.api_url, "https", "http"))
    if (config.twilio.api_key is None) != (config.twilio.api_secret is None):
        check("twilio", "api_key", "and twilio.api_secret go together: set both or neither")
    elif config.twilio.api_key is not None and config.twilio.account_sid is None:
        check("twilio", "api_key", "needs twilio.account_sid: its address is made from it")
    if not config.agent.model:
        check("agent", "model", "must name a model")
    if config.calls.max_call_s > SESSION_S:
        check("calls", "max_call_s", f"must be at most {SESSION_S}, the length of a model session")
    return problems
