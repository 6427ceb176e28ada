"""The doctor: looks at everything a gateway needs before anybody calls, and says what to do."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from actors.policy.cost import price_of
from gateway.configuration.agents import AgentSettings
from gateway.configuration.config import Config, ConfigError, check_serving, load
from gateway.configuration.convert import closest
from gateway.configuration.doctor_net import network_findings, shutdown
from gateway.configuration.doctor_tools import tool_findings
from gateway.configuration.findings import Finding, fail, is_healthy, ok, skip, warn
from gateway.configuration.models import MODELS, RECOGNISERS
from gateway.configuration.roster import Roster
from gateway.configuration.tool_rules import offered_remarks, written_tools
from gateway.configuration.written import COMMON_NAMES
from gateway.web.file_limit import files_allowed, files_needed

ENOUGH_BYTES: Final = 2 * 10**9
TOO_FEW_BYTES: Final = 100 * 10**6
RECORDING_BYTES_PER_H: Final = 58 * 10**6
"""Two channels of mu-law at 8 kHz. Recordings are most of what a call leaves behind."""
_FOREIGN: Final = ("OPENAI_", "TWILIO_")

Say = Callable[[Finding], None]


async def examine(
    path: Path | None,
    environ: Mapping[str, str],
    say: Say,
    *,
    utc_now: Callable[[], datetime],
    offline: bool = False,
) -> bool:
    """Look at everything.

    Args:
        path: Of the configuration, as `load` takes it.
        environ: Usually `os.environ`.
        say: Is told every finding, one after another.
        utc_now: The clock.
        offline: Leave out what needs the network.

    Returns:
        Whether calls can be taken.

    """
    found: list[Finding] = []

    def tell(finding: Finding) -> None:
        found.append(finding)
        say(finding)

    for finding in misspelt_names(environ):
        tell(finding)
    try:
        config = load(path, environ)
        roster = Roster.of(config)
    except ConfigError as error:
        for problem in error.problems:
            tell(fail("configuration", problem))
        tell(skip("everything else", "not looked at: correct the configuration first"))
        return False
    tell(ok("configuration", f"read; {_named(roster)}"))
    for finding in (*_tools(config, roster), *offline_findings(config, utc_now().date())):
        tell(finding)
    if offline:
        tell(skip("network", "keys, models, addresses and numbers not looked at: --offline"))
    else:
        await network_findings(config, roster, tell, utc_now=utc_now)
    await tool_findings(config, tell, utc_now=utc_now, offline=offline)
    return is_healthy(found)


def _tools(config: Config, roster: Roster) -> Iterator[Finding]:
    """What somebody wrote, and who may have it run: what does not say is high risk."""
    for remark in offered_remarks(config, roster.agents):
        yield warn("configuration", remark)
    said: set[str] = set()
    for section, agent in zip(config.by_section(), roster.agents, strict=True):
        tools = ", ".join(f"{name} ({risk})" for name, risk in written_tools(agent, config.policy))
        if tools and tools not in said:
            said.add(tools)
            yield ok(
                f"{section}.tools", f"{tools}: low is for anybody, high for the verified owner"
            )


def offline_findings(config: Config, today: date) -> Iterator[Finding]:
    """What this machine can tell by itself. Tries to write, and leaves nothing behind."""
    try:
        check_serving(config)
    except ConfigError as error:
        yield fail("configuration", str(error))
    for remark in config.remarks():
        yield warn("configuration", remark)
    said: set[tuple[str, str]] = set()
    for name, agent in config.by_section().items():
        for key, finding in _agent(name, agent, today):
            # What is inherited is said once, where it was written.
            if (key, finding.text) not in said:
                said.add((key, finding.text))
                yield finding
    yield from _addresses(config)
    yield _directory(config.calls.directory)
    yield _files(config.calls.max_concurrent)


def misspelt_names(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Names in the environment that are nearly one of ours. Others' names are their own affair."""
    for name in sorted(environ):
        if name.startswith(_FOREIGN) and name not in COMMON_NAMES:
            meant = closest(name, COMMON_NAMES, cutoff=0.9)
            if meant is not None:
                yield warn("environment", f"{name} is not read; did you mean {meant}?")


def _named(roster: Roster) -> str:
    names = (f"{agent.name} {agent.version}" for agent in roster.agents)
    return "agents and their versions: " + ", ".join(names)


def _agent(name: str, agent: AgentSettings, today: date) -> Iterator[tuple[str, Finding]]:
    for key, model, table in (
        ("model", agent.model, MODELS),
        ("fallback_model", agent.fallback_model, MODELS),
        ("transcription", agent.transcription, RECOGNISERS),
    ):
        if model is not None:
            end = table.get(model)
            if end is not None:
                yield key, shutdown(f"{name}.{key}", model, end, today)
            elif model in table:
                yield key, ok(f"{name}.{key}", f"{model}; no end of it is announced")
    if agent.max_cost_usd is not None and price_of(agent.model) is None:
        flaw = (
            f"is {agent.max_cost_usd:g}, and what {agent.model!r} costs is not known: the limit "
            "would never be met. Take it out, or use gpt-realtime-2.1"
        )
        yield "max_cost_usd", fail(f"{name}.max_cost_usd", flaw)


def _addresses(config: Config) -> Iterator[Finding]:
    if config.openai.api_key is None:
        yield fail(
            "openai.api_key",
            "is not set, and no model would answer: create one at "
            "https://platform.openai.com/api-keys and set OPENAI_API_KEY",
        )
    home = urlsplit(config.openai.realtime_url).hostname
    shown = {home}
    for name, agent in config.by_section().items():
        host = urlsplit(agent.fallback_url or config.openai.realtime_url).hostname
        if host not in shown and agent.fallback_api_key is None:
            shown.add(host)  # What is inherited is said once.
            yield warn(
                f"{name}.fallback_url",
                f"is at {host}, which would be shown openai.api_key: write the fallback_api_key "
                "that is valid there",
            )
    if config.server.public_url is None:
        yield warn(
            "server.public_url",
            "is not set, so only this machine can place calls: set OFFHOOK_PUBLIC_URL to the "
            "https:// address at which Twilio reaches this gateway",
        )
    elif not config.server.public_url.startswith("https://"):
        yield warn(
            "server.public_url",
            f"is {config.server.public_url}: Twilio needs https:// and cannot reach this machine "
            "by that name",
        )
    twilio = config.twilio
    if twilio.account_sid is None or (twilio.auth_token is None and twilio.api_key is None):
        missing = "TWILIO_ACCOUNT_SID" if twilio.account_sid is None else "TWILIO_AUTH_TOKEN"
        yield warn(
            "twilio",
            f"{missing} is not set: calls cannot be transferred, and keys cannot be sent by "
            "Twilio. Both are in Twilio's console, on its first page",
        )


def _directory(directory: Path) -> Finding:
    subject = f"calls.directory {directory}"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
        free_bytes = shutil.disk_usage(directory).free
    except OSError as error:
        return fail(
            subject,
            f"cannot be written: {error.strerror}. Set OFFHOOK_CALLS_DIRECTORY to one that can",
        )
    hours = free_bytes // RECORDING_BYTES_PER_H
    text = f"{free_bytes / 1e9:.1f} GB are free, for about {hours} hours of calls"
    if free_bytes < TOO_FEW_BYTES:
        return fail(subject, f"{text}: delete old calls, or choose another disk")
    if free_bytes < ENOUGH_BYTES:
        return warn(subject, f"{text}: delete old calls, or choose another disk")
    return ok(subject, text)


def _files(max_concurrent: int) -> Finding:
    needed, allowed = files_needed(max_concurrent), files_allowed()
    if allowed is None or allowed >= needed:
        return ok("open files", f"{needed} for {max_concurrent} calls at once are allowed")
    most = max(1, (allowed - files_needed(0)) * max_concurrent // (needed - files_needed(0)))
    return fail(
        "open files",
        f"{max_concurrent} calls at once need {needed}, and {allowed} are allowed: raise the "
        f"limit (ulimit -n {needed}), or set calls.max_concurrent to {most}",
    )
