"""What the sections about tools allow one by one and not together. Pure.

Each rule says what is wrong as the rest of a sentence, with what would be right.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, get_args

from actors.messages import HANGUP
from actors.policy.risk import Risk
from gateway.configuration.agents import Agent, AgentSettings
from gateway.configuration.convert import is_loopback, nearest
from gateway.configuration.tool_settings import BuiltinTool, PolicySettings

if TYPE_CHECKING:
    from gateway.configuration.settings import Config

HIGH_RISK: Final[frozenset[BuiltinTool]] = frozenset(
    {
        "make_call", "send_sms", "send_email",
        "calendar_create_event", "calendar_update_event", "calendar_cancel_event",
    }
)  # fmt: skip
"""Of the tools that come with the gateway."""
_UNJUDGED: Final = "every agent may hang up, whoever calls: take it out"
BY_SETTINGS: Final = ("send_dtmf", "transfer_call")
"""Tools that an agent has by other settings than `builtin_tools`. `hangup` has no risk."""

Flaw = tuple[str, str, str]
"""A section, a key, and what is wrong with it."""
Need = tuple[str, str, str]
"""A section, a key, and what belongs there."""

_ACCOUNT: Final = ("twilio", "account_sid", "TWILIO_ACCOUNT_SID, with its token")
_COUNTRIES: Final = ("policy", "countries", "where it may reach, as countries = ['DE']")
_CALENDAR: Final = ("calendar", "url", "a calendar, as https://dav.example.com/me/work/")
_NEEDS: Final[Mapping[BuiltinTool, tuple[Need, ...]]] = {
    "make_call": (
        _ACCOUNT,
        ("server", "public_url", "what Twilio asks, OFFHOOK_PUBLIC_URL"),
        _COUNTRIES,
    ),
    "send_sms": (_ACCOUNT, _COUNTRIES),
    "send_email": (
        ("email", "host", "a mail server, as smtp.example.com"),
        ("email", "sender", "an address to write from, as agent@example.com"),
        ("email", "recipients", "whom it may write to, as recipients = ['*@example.com']"),
    ),
    "calendar_create_event": (_CALENDAR,),
    "calendar_update_event": (_CALENDAR,),
    "calendar_cancel_event": (_CALENDAR,),
    "query_knowledge": (("knowledge", "folder", "a folder of documents, as knowledge"),),
}
"""What a tool has to be given."""


def flaws(config: Config, written: Collection[tuple[str, str]]) -> Iterator[Flaw]:
    """Every combination that cannot work.

    Args:
        config: Complete.
        written: Sections and keys that somebody wrote.

    """
    for section, agent in config.by_section().items():
        if (section, "builtin_tools") in written:
            yield from _without_means(section, agent, config)
    owner = config.owner
    if owner.pin is None and owner.totp_secret is None:
        if owner.verify_anywhere:
            yield "owner", "verify_anywhere", "needs a pin or a totp_secret: write one"
    elif not owner.numbers and not owner.verify_anywhere:
        yield (
            *("owner", "totp_secret" if owner.pin is None else "pin"),
            (
                "could be given by nobody: write owner.numbers = ['+4930123456'], or "
                "owner.verify_anywhere = true"
            ),
        )
    yield from _mail(config)
    yield from _login("calendar", config.calendar.user, config.calendar.password)


def remarks(config: Config) -> Iterator[Flaw]:
    """What is allowed and yet probably not meant."""
    policy, owner = config.policy, config.owner
    can_verify = owner.pin is not None or owner.totp_secret is not None
    for section, agent in config.by_section().items():
        high = [
            name
            for name in agent.builtin_tools
            if name in policy.high or (name in HIGH_RISK and name not in policy.low)
        ]
        if high and not can_verify:
            yield (
                *(section, "builtin_tools"),
                (
                    f"holds {', '.join(high)}, which only a verified owner may have run, and "
                    "nobody can be verified: write owner.numbers and owner.pin"
                ),
            )
    if owner.numbers and not can_verify:
        yield "owner", "numbers", "has no effect: write owner.pin or owner.totp_secret too"
    for name in policy.low:
        if name in policy.high:
            yield "policy", "low", f"holds {name!r}, and so does policy.high, which wins"


def offered_remarks(config: Config, agents: Sequence[Agent]) -> tuple[str, ...]:
    """What is probably not meant about the tools that somebody wrote: a sentence each.

    Args:
        config: Says who the owner is, and what the policy.
        agents: Those of the configuration, with the tools of their files.

    """
    found: dict[str, str] = {}
    for section, agent in zip(config.by_section(), agents, strict=True):
        high = ", ".join(
            name for name, risk in written_tools(agent, config.policy) if risk == "high"
        )
        if high and config.owner.pin is None and config.owner.totp_secret is None:
            # What is inherited is said once, where it was written.
            found.setdefault(
                high,
                f"{section}: nobody can have {high} run, which only a verified owner may: write "
                "owner.numbers and owner.pin; or risk = 'low', for what anybody who calls may",
            )
    known = {name for agent in agents for name, _ in written_tools(agent, config.policy)}
    known |= {*get_args(BuiltinTool), *BY_SETTINGS}
    servers = tuple(f"{name}_" for name in config.mcp)
    unknown = (
        f"policy.{key} holds {name!r}, and {_UNJUDGED}"
        if name == HANGUP
        else f"policy.{key} holds {name!r}, and there is no such tool{nearest(name, known)}"
        for key, names in (("low", config.policy.low), ("high", config.policy.high))
        for name in names
        if name not in known and not name.startswith(servers)
    )
    return (*found.values(), *unknown)


def written_tools(agent: Agent, policy: PolicySettings) -> Iterator[tuple[str, Risk]]:
    """The tools that somebody wrote for this agent, in Python or as HTTP requests, by name."""
    schemas = () if agent.tools is None else agent.tools.schemas()
    terms = {one.name: one.risk for one in agent.http_tools} | {
        one.name: one.risk for one in schemas
    }
    theirs = decided(policy)
    for name, risk in sorted(terms.items()):
        yield name, theirs.get(name, risk)


def _without_means(section: str, agent: AgentSettings, config: Config) -> Iterator[Flaw]:
    for name in dict.fromkeys(agent.builtin_tools):
        for owner, key, what in _NEEDS.get(name, ()):
            if getattr(getattr(config, owner), key) in (None, ()):
                yield section, "builtin_tools", f"holds {name!r}, which needs {owner}.{key}: {what}"


def _mail(config: Config) -> Iterator[Flaw]:
    mail = config.email
    yield from _login("email", mail.user, mail.password)
    if mail.host is None:
        if mail.messages_to is not None:
            yield "email", "messages_to", "needs email.host, as smtp.example.com: write it too"
        return
    if mail.security == "none" and not is_loopback(mail.host):
        yield (
            *("email", "security"),
            (
                f"is 'none', and {mail.host} is not this machine: passwords and mail could be "
                "read on the way; write 'starttls' or 'tls'"
            ),
        )
    if mail.messages_to is not None and mail.sender is None:
        yield "email", "messages_to", "needs email.sender, as agent@example.com: write it too"


def _login(section: str, user: str | None, password: object) -> Iterator[Flaw]:
    if (user is None) != (password is None):
        key, other = ("user", "password") if password is None else ("password", "user")
        yield section, key, f"and {section}.{other} go together: write both or neither"


def decided(policy: PolicySettings) -> dict[str, Risk]:
    """The risks that the owner decided, by the tool's name. Of others, it is the tool's own."""
    low: dict[str, Risk] = dict.fromkeys(policy.low, "low")
    return low | dict.fromkeys(policy.high, "high")
