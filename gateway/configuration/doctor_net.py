"""What a doctor learns from the network: keys, models, addresses, numbers. Nothing is changed.

Sources: "List models", OpenAI API reference; "Account resource" and "IncomingPhoneNumber
resource", Twilio docs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, Final
from urllib.parse import quote, urlsplit

import attrs
import httpx
import orjson
import trio

from actors.errors import PeerGone, SessionRefused
from actors.toolbox import Toolbox
from actors.wire.openai_session import SessionSettings
from gateway.configuration.agents import DEFAULT, Agent, AgentSettings, instructions_for
from gateway.configuration.config import Config, OpenAISettings, auth_headers, is_azure, is_loopback
from gateway.configuration.convert import closest, without_query
from gateway.configuration.findings import Finding, fail, ok, skip, warn
from gateway.configuration.models import successor
from gateway.configuration.roster import Roster
from gateway.configuration.settings import AGENT
from gateway.configuration.tool_rules import decided
from gateway.mcp.model_tools import tool_servers
from gateway.session.realtime import RealtimeSession, connect_to
from gateway.session.session_settings import session_settings, suited_to
from gateway.tools.toolset import tools_of

PATIENCE_S: Final = 10.0
"""For one answer. Whoever needs longer would keep a caller waiting, too."""
SKEW_S: Final = 30.0
"""Records are then dated wrongly, and certificates checked at the wrong time."""
SOON_DAYS: Final = 90
"""A quarter: long enough to try another model on real calls."""

Say = Callable[[Finding], None]
_Check = Callable[[], Awaitable[list[Finding]]]


@attrs.frozen
class Answer:
    """What a server said, or why it said nothing."""

    status: int | None = None
    """`None`: it could not be reached."""
    body: Any = None
    """Of JSON; `None` when it is none."""
    text: str = ""
    """The beginning of any other body; or why there is none."""
    dated: datetime | None = None
    """By its own clock."""


async def network_findings(
    config: Config, roster: Roster, say: Say, *, utc_now: Callable[[], datetime]
) -> None:
    """Look at everything out there. All at once, and told in order."""
    checks: list[_Check] = [
        partial(_models, config, utc_now),
        *(partial(_session, config, agent) for agent in roster.agents if agent.settings.enabled),
        partial(_public_url, config),
        partial(_account, config),
    ]
    found: dict[int, list[Finding]] = {}
    done = {index: trio.Event() for index in range(len(checks))}

    async def look(index: int, check: _Check) -> None:
        found[index] = await check()
        done[index].set()

    async with trio.open_nursery() as nursery:
        for index, check in enumerate(checks):
            nursery.start_soon(look, index, check)
        for index in range(len(checks)):
            await done[index].wait()
            for finding in found[index]:
                say(finding)


def _agents(config: Config) -> list[tuple[str, AgentSettings]]:
    return [(name, agent) for name, agent in config.by_section().items() if agent.enabled]


async def _models(config: Config, utc_now: Callable[[], datetime]) -> list[Finding]:
    """The key, the models, and the clock of this machine."""
    if config.openai.api_key is None:
        await trio.lowlevel.checkpoint()
        return [skip("openai.api_key", "not tried: it is not set")]
    url = f"{config.openai.base_url.rstrip('/')}/models"
    async with _client(url, auth_headers(config.openai, url)) as client:
        answer = await _get(client, url)
    findings: list[Finding] = []
    match answer:
        case Answer(status=200, body={"data": list(entries)}):
            listed = {
                str(entry["id"]): entry.get("shutdown_date")
                for entry in entries
                if isinstance(entry, dict) and "id" in entry
            }
            findings.append(ok("openai.api_key", f"accepted by {url}, which lists {len(listed)}"))
            # Azure lists what could be deployed, and a session names what was.
            if not is_azure(config.openai.realtime_url):
                for name, agent in _agents(config):
                    findings += _listed(name, agent, listed, utc_now().date())
            findings += _researcher(config, listed, utc_now().date())
        case Answer(status=401):
            findings.append(
                fail(
                    "openai.api_key",
                    f"is not accepted by {url}: create another one at "
                    "https://platform.openai.com/api-keys and set OPENAI_API_KEY",
                )
            )
        case Answer(status=403):
            findings.append(
                fail(
                    "openai.api_key",
                    f"may not be used at {url}: check the project's permissions and its region "
                    "(OPENAI_BASE_URL)",
                )
            )
        case _:
            findings.append(
                fail("openai.base_url", f"{url} {_unexpected(answer)}: check OPENAI_BASE_URL")
            )
    if answer.dated is not None:
        findings.append(_skew(answer.dated, utc_now()))
    return findings


def _listed(
    name: str, agent: AgentSettings, listed: dict[str, object], today: date
) -> list[Finding]:
    findings: list[Finding] = []
    for key, model in (("model", agent.model), ("fallback_model", agent.fallback_model)):
        if model is None or (key == "fallback_model" and agent.fallback_url is not None):
            continue
        subject = f"{name}.{key}"
        if model not in listed:
            realtime = [other for other in listed if "realtime" in other]
            meant = closest(model, realtime) or successor(model)
            findings.append(
                fail(subject, f"this key has no {model!r}; did you mean {meant}? Or ask for access")
            )
            continue
        end = _date(listed[model])
        if end is None:
            findings.append(ok(subject, f"this key has {model}"))
        else:
            findings.append(shutdown(subject, model, end, today))
    return findings


def _researcher(config: Config, listed: dict[str, object], today: date) -> list[Finding]:
    """The model that looks things up, if an agent has them looked up."""
    subject, model = "research.model", config.research.model
    is_used = any("web_research" in agent.builtin_tools for _, agent in _agents(config))
    if not is_used or is_azure(config.openai.base_url):
        return []
    if model not in listed:
        meant = closest(model, [other for other in listed if other.startswith("gpt-")])
        hint = "" if meant is None else f" Did you mean {meant}?"
        return [fail(subject, f"this key has no {model!r}.{hint} Or ask for access")]
    end = _date(listed[model])
    if end is None:
        return [ok(subject, f"this key has {model}")]
    days = (end - today).days
    if days <= 0:
        return [fail(subject, f"{model} was shut down on {end}: set another one")]
    if days < SOON_DAYS:
        return [warn(subject, f"{model} is shut down on {end}, in {days} days: set another one")]
    return [ok(subject, f"{model}, until {end}")]


def shutdown(subject: str, model: str, end: date, today: date) -> Finding:
    """What the announced end of a model means today."""
    days = (end - today).days
    instead = f"use {successor(model)} instead"
    if days <= 0:
        return fail(subject, f"{model} was shut down on {end}: {instead}")
    if days < SOON_DAYS:
        return warn(subject, f"{model} is shut down on {end}, in {days} days: {instead}")
    return ok(subject, f"{model}, until {end}")


def _date(value: object) -> date | None:
    try:
        return date.fromisoformat(str(value)[:10])
    except ValueError:
        return None


def _skew(theirs: datetime, ours: datetime) -> Finding:
    seconds = (ours - theirs).total_seconds()
    if abs(seconds) <= SKEW_S:
        return ok("clock", f"within {SKEW_S:g} s of the model's server")
    which = "ahead of" if seconds > 0 else "behind"
    return warn(
        "clock",
        f"{abs(seconds):.0f} s {which} the model's server: records would be dated wrongly. "
        "Let it be set by NTP",
    )


async def _session(config: Config, agent: Agent) -> list[Finding]:
    """Open a session as a call would, and its fallback's; which costs nothing without a word."""
    settings, server = agent.settings, config.openai
    section = AGENT if agent.name == DEFAULT else f"agents.{agent.name}"
    tools = tools_of(agent, Toolbox())
    servers = tool_servers(agent.mcp, tools.schemas(), decided(config.policy))
    wanted = session_settings(settings, tools, instructions_for(settings, "", date.min), servers)
    ways = [(f"{section} session", settings.model, server)]
    if settings.fallback_model is not None or settings.fallback_url is not None:
        model = settings.fallback_model or settings.model
        fallback = attrs.evolve(
            server,
            realtime_url=settings.fallback_url or server.realtime_url,
            api_key=settings.fallback_api_key or server.api_key,
        )
        ways.append((f"{section} fallback", model, fallback))
    return [
        await _opened(subject, way, suited_to(wanted, model), model) for subject, model, way in ways
    ]


async def _opened(
    subject: str, server: OpenAISettings, settings: SessionSettings, model: str
) -> Finding:
    if server.api_key is None:
        await trio.lowlevel.checkpoint()
        return skip(subject, "not tried: openai.api_key is not set")
    url = without_query(server.realtime_url)
    session = RealtimeSession(connect_to(server, model), settings)
    finding = fail(subject, f"{url} was not ready within {PATIENCE_S:g} s")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.run)
        with trio.move_on_after(PATIENCE_S):
            try:
                await session.receive()
            except SessionRefused as refused:
                finding = fail(subject, f"{url} refuses it: {refused}. {_advice(refused.code)}")
            except PeerGone as gone:
                finding = fail(
                    subject,
                    f"{url}: {gone}. Check the address (OPENAI_REALTIME_URL) and the way there: "
                    "WebSockets must pass firewalls and proxies",
                )
            else:
                finding = ok(subject, f"{model}, voice {settings.voice}: accepted")
        await session.aclose()
        nursery.cancel_scope.cancel("seen enough")
    return finding


def _advice(code: str) -> str:
    match code:
        case "http_401" | "invalid_api_key":
            return "Set OPENAI_API_KEY to a key that is valid there"
        case "http_403":
            return "The key's project may not use it: check its permissions, and the region"
        case "http_404" | "model_not_found":
            return "Check the name of the model, and whether this key has it"
        case "insufficient_quota":
            return "The account has no credit left: add some, or raise its limit"
        case _:
            return "Correct the setting that it names"


async def _public_url(config: Config) -> list[Finding]:
    base = config.server.public_url
    if base is None:
        await trio.lowlevel.checkpoint()
        return [skip("server.public_url", "not tried: it is not set")]
    url = f"{base.rstrip('/')}/healthz"
    async with _client(url, {}) as client:
        answer = await _get(client, url)
    if answer.status == 200 and answer.text.strip() == "ok":
        return [ok("server.public_url", f"{url} answers")]
    if answer.status == 200:
        return [
            fail(
                "server.public_url",
                f"{url} is answered by something else: point the tunnel or the proxy at "
                f"{config.server.bind}",
            )
        ]
    return [
        fail(
            "server.public_url",
            f"{url} {_unexpected(answer)}: is `offhook serve` running, and the tunnel or the proxy "
            f"in front of {config.server.bind}?",
        )
    ]


async def _account(config: Config) -> list[Finding]:
    """The account, and the webhook of every number that an agent names."""
    twilio = config.twilio
    auth: tuple[str, str] | None = None
    if twilio.api_key is not None and twilio.api_secret is not None:
        auth = (twilio.api_key, twilio.api_secret.reveal())
    elif twilio.auth_token is not None and twilio.account_sid is not None:
        auth = (twilio.account_sid, twilio.auth_token.reveal())
    if twilio.account_sid is None or auth is None:
        await trio.lowlevel.checkpoint()
        return [skip("twilio", "not tried: there are no credentials for its REST interface")]
    account = f"{twilio.api_url.rstrip('/')}/2010-04-01/Accounts/{quote(twilio.account_sid)}"
    async with _client(account, {}, auth) as client:
        answer = await _get(client, f"{account}.json")
        finding = _account_finding(answer, twilio.account_sid, twilio.api_url)
        if finding.level == "fail":
            return [finding]
        findings = [finding]
        if config.server.public_url is None:
            return [*findings, skip("twilio numbers", "not tried: server.public_url is not set")]
        webhook = f"{config.server.public_url.rstrip('/')}/twilio/voice"
        exact = {
            number: name
            for name, agent in _agents(config)
            for number in agent.numbers
            if number.startswith("+") and "*" not in number
        }
        for number, name in exact.items():
            page = await _get(client, _numbers_url(account, number))
            findings.append(_number(f"{name} {number}", number, page, webhook))
        if not exact:
            page = await _get(client, _numbers_url(account, None))
            findings.append(_any_number(page, webhook))
    return findings


def _numbers_url(account: str, number: str | None) -> str:
    query = "PageSize=100" if number is None else f"PhoneNumber={quote(number, safe='')}"
    return f"{account}/IncomingPhoneNumbers.json?{query}"


def _account_finding(answer: Answer, sid: str, api_url: str) -> Finding:
    match answer:
        case Answer(status=200, body={"status": "active"}):
            return ok("twilio", f"account {sid} is active")
        case Answer(status=200, body={"status": str(status)}):
            return fail("twilio", f"account {sid} is {status}: see Twilio's console")
        case Answer(status=401):
            return fail(
                "twilio",
                f"the credentials are not accepted for account {sid}: compare TWILIO_ACCOUNT_SID "
                "and TWILIO_AUTH_TOKEN (or TWILIO_API_KEY and TWILIO_API_SECRET) with Twilio's "
                "console",
            )
        case Answer(status=404):
            return fail("twilio", f"there is no account {sid} at {api_url}: check both")
        case _:
            return fail("twilio", f"{api_url} {_unexpected(answer)}: check TWILIO_API_URL")


def _number(subject: str, number: str, page: Answer, webhook: str) -> Finding:
    match page:
        case Answer(status=200, body={"incoming_phone_numbers": list(entries)}):
            known = [entry for entry in entries if isinstance(entry, dict)]
            mine = [entry for entry in known if entry.get("phone_number") == number]
        case _:
            return fail(subject, f"the account's numbers {_unexpected(page)}")
    if not mine:
        return fail(
            subject,
            "does not belong to this account: buy it there, or correct `numbers`, or "
            "TWILIO_ACCOUNT_SID",
        )
    entry = mine[0]
    if entry.get("trunk_sid"):
        return fail(
            subject,
            f"is routed to the SIP trunk {entry['trunk_sid']}, and no webhook is asked: take it "
            "out of the trunk in Twilio's console",
        )
    if entry.get("voice_application_sid"):
        return warn(
            subject,
            f"is answered by the TwiML app {entry['voice_application_sid']}: its voice URL must "
            f"be {webhook}",
        )
    if not _same(entry.get("voice_url"), webhook):
        is_now = entry.get("voice_url") or "nothing"
        return fail(
            subject,
            f'its webhook is {is_now}: set "A call comes in" to {webhook}, HTTP POST, in '
            "Twilio's console",
        )
    if entry.get("voice_method", "POST") != "POST":
        return fail(
            subject, f"its webhook is asked by {entry['voice_method']}: set it to HTTP POST"
        )
    return ok(subject, f"its webhook is {webhook}")


def _any_number(page: Answer, webhook: str) -> Finding:
    subject = "twilio numbers"
    match page:
        case Answer(status=200, body={"incoming_phone_numbers": list(entries)}):
            known = [entry for entry in entries if isinstance(entry, dict)]
            ours = [entry for entry in known if _same(entry.get("voice_url"), webhook)]
        case _:
            return fail(subject, f"the account's numbers {_unexpected(page)}")
    if ours:
        shown = ", ".join(str(entry.get("phone_number")) for entry in ours[:5])
        return ok(subject, f"{len(ours)} of the account's lead here: {shown}")
    return warn(
        subject,
        f'none of the account\'s first {len(entries)} leads here: set "A call comes in" of one '
        f"to {webhook}, HTTP POST, in Twilio's console",
    )


def _same(url: object, wanted: str) -> bool:
    return isinstance(url, str) and url.strip().rstrip("/") == wanted.rstrip("/")


def _unexpected(answer: Answer) -> str:
    if answer.status is None:
        return f"does not answer ({answer.text})"
    return f"answers HTTP {answer.status}"


@asynccontextmanager
async def _client(
    url: str, headers: dict[str, str], auth: tuple[str, str] | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        headers=headers,
        auth=auth,
        timeout=PATIENCE_S,
        # A proxy of the environment is for the world, not for this machine.
        trust_env=not is_loopback(urlsplit(url).hostname or ""),
    ) as client:
        yield client


async def _get(client: httpx.AsyncClient, url: str) -> Answer:
    try:
        with trio.fail_after(PATIENCE_S):
            response = await client.get(url)
    except (trio.TooSlowError, httpx.TimeoutException):
        return Answer(text=f"nothing within {PATIENCE_S:g} s")
    except httpx.HTTPError as error:
        return Answer(text=str(error) or type(error).__name__)
    return Answer(
        response.status_code,
        _json(response.content),
        response.text[:200],
        _dated(response.headers.get("date")),
    )


def _json(content: bytes) -> Any:  # noqa: ANN401 - whatever a server sends.
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return None


def _dated(value: str | None) -> datetime | None:
    """The `Date` of an answer. Proxies and servers write it in many ways, and not always once."""
    try:
        dated = None if value is None else parsedate_to_datetime(value)
    except ValueError:
        return None
    return None if dated is None else dated.replace(tzinfo=dated.tzinfo or UTC)
