"""A server of tools that speaks MCP, as somebody declared it. Pure.

[mcp.crm]
url = "https://crm.example.com/mcp"
headers = { Authorization = "Bearer env:CRM_TOKEN" }
tools = ["find_customer", "add_note"]
low = ["find_customer"]

With `run = "model"`, the model's own server asks it, and not the gateway.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import attrs

from gateway.configuration.convert import Secret, converter, nearest
from gateway.configuration.http_tool import Complain, headers_of
from gateway.web.public_address import Barred, Network, is_public, networks, target_of

TIMEOUT_MOST_S: Final = 60.0
ALL: Final = "*"
Where = Literal["here", "model"]
KEYS: Final = (
    "url", "run", "description", "headers", "tools", "low", "timeout_s", "allow_private",
)  # fmt: skip
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}", re.ASCII)
_TOOL_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)
_MARGIN_S: Final = 1.0
"""It says itself that it took too long, before somebody else does."""


@attrs.frozen(kw_only=True)
class McpServer:
    """One of them, complete and right."""

    name: str
    url: str = attrs.field(repr=False)
    run: Where = "here"
    """Who asks it: the gateway, or the model's server."""
    description: str = ""
    """For tools that have none of their own."""
    headers: tuple[tuple[str, Secret], ...] = ()
    tools: tuple[str, ...] = (ALL,)
    """Those that are offered, by the names that the server gives them; `*`: all of them."""
    low: tuple[str, ...] = ()
    """Those that anybody may have run. All others are for the verified owner."""
    timeout_s: float = 6.0
    """For one run."""
    allow_private: tuple[Network, ...] = ()

    @property
    def longest_s(self) -> float:
        """How long a run may take until somebody else ends it."""
        return self.timeout_s + _MARGIN_S

    def has(self, tool: str) -> bool:
        """Whether a tool of the server is one that is offered."""
        return tool in self.tools or ALL in self.tools

    def fingerprint(self) -> dict[str, object]:
        """All that makes it what it is, but secrets."""
        return {
            "name": self.name,
            "url": self.url,
            "run": self.run,
            "description": self.description,
            "headers": [name for name, _ in self.headers],
            "tools": self.tools,
            "low": self.low,
            "timeout_s": self.timeout_s,
            "allow_private": [str(network) for network in self.allow_private],
        }


def read_mcp_server(
    name: str, table: Mapping[str, Any], environ: Mapping[str, str], complain: Complain
) -> McpServer | None:
    """The server of `[mcp.NAME]`; `None`: something is wrong, and was complained about.

    Args:
        name: What its tools begin with.
        table: As TOML has it.
        environ: Where secrets are. None of them is ever quoted.
        complain: Is told every mistake.

    """
    found: list[str] = []

    def wrong(key: str, flaw: str) -> None:
        found.append(key)
        complain(key, flaw)

    if _NAME.fullmatch(name) is None:
        meant = re.sub(r"[^A-Za-z0-9_-]", "_", name).strip("_-")[:32] or "crm"
        wrong("", f"is no name for a server: 32 letters, digits, - and _ at most, as {meant}")
    for key in table:
        if key not in KEYS:
            wrong(key, f"is unknown{nearest(key, KEYS)}")
    values: dict[str, Any] = {}
    for key, kind in (
        ("url", str),
        ("run", Where),
        ("description", str),
        ("tools", tuple[str, ...]),
        ("low", tuple[str, ...]),
        ("timeout_s", float),
        ("allow_private", tuple[str, ...]),
    ):
        if key in table:
            try:
                values[key] = converter(kind)(table[key], False)
            except ValueError as error:
                wrong(key, str(error))
    headers = tuple(headers_of(table.get("headers", {}), environ, wrong))
    if "allow_private" in values:
        try:
            values["allow_private"] = networks(values["allow_private"])
        except ValueError as error:
            values["allow_private"] = ()
            wrong("allow_private", f"must hold addresses or networks, as 10.0.0.5: {error}")
    _judge_url(values, table, wrong)
    _judge_values(values, wrong)
    if values.get("run") == "model":
        _judge_model(name, values, wrong)
    return None if found else McpServer(name=name, headers=headers, **values)


def _judge_url(values: Mapping[str, Any], table: Mapping[str, Any], wrong: Complain) -> None:
    """Nothing of it is quoted but its host: a key may be in it."""
    if "url" not in table:
        wrong("url", "is missing: write url = 'https://crm.example.com/mcp'")
        return
    url = values.get("url")
    if url is None:
        return
    if "#" in url or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        wrong("url", "must be written in ASCII, with %20 for a space, and end before its #")
        return
    try:
        target_of(url, values.get("allow_private", ()))
    except Barred as barred:
        wrong("url", f"cannot be asked: {barred}; as https://crm.example.com/mcp")


def _judge_values(values: Mapping[str, Any], wrong: Complain) -> None:
    seconds = values.get("timeout_s")
    if seconds is not None and not 0.1 <= seconds <= TIMEOUT_MOST_S:
        near = TIMEOUT_MOST_S if seconds > TIMEOUT_MOST_S else 0.1
        wrong("timeout_s", f"must be 0.1 to {TIMEOUT_MOST_S}, not {seconds}; the nearest is {near}")
    tools = values.get("tools", (ALL,))
    if not tools:
        wrong("tools", 'is empty, and nothing would be offered: write tools = ["*"]')
    for one in values.get("low", ()):
        if one == ALL:
            wrong("low", "cannot be all of them: name those that anybody may have run")
        elif one not in tools and ALL not in tools:
            wrong("low", f"holds {one!r}, which is not among tools{nearest(one, tools)}")


def _judge_model(name: str, values: Mapping[str, Any], wrong: Complain) -> None:
    """What the model's server cannot do for us, or must be told exactly."""
    if not name[:1].isalpha():
        wrong("", f"must begin with a letter, where run = 'model': as s{name}")
    if ALL in values.get("tools", (ALL,)):
        wrong(
            "tools",
            "must name each of them, where run = 'model': whatever is not named is not asked "
            "about. As tools = ['find_customer']",
        )
    for tool in values.get("tools", ()):
        if tool != ALL and _TOOL_NAME.fullmatch(tool) is None:
            wrong("tools", f"holds {tool!r}, which is no tool's name: letters, digits, _, - and .")
    for key, why in (
        ("timeout_s", "the model's server decides how long it waits"),
        ("allow_private", "the model's server reaches public addresses only"),
    ):
        if key in values:
            wrong(key, f"has no meaning where run = 'model': {why}. Take it out, or run = 'here'")
    url = str(values.get("url", ""))
    if url.lower().startswith("http:"):
        wrong("url", "must begin with https://, where run = 'model'")
    elif not _is_everybodys(url):
        wrong(
            "url",
            "cannot be reached by the model's server: its host is not public. Write another, or "
            "run = 'here'",
        )


def _is_everybodys(url: str) -> bool:
    """Whether a host could be reached from elsewhere, as far as its name tells."""
    try:
        host = (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        host = ""
    if not host:
        return True  # No URL at all, which was complained about.
    try:
        return is_public(host)
    except ValueError:
        return "." in host and not host.endswith((".local", ".internal", ".localhost"))
