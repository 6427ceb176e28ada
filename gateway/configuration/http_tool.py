"""A tool that is an HTTP request, as somebody declared it. Pure.

[tools.order_status]
description = "Look up where an order is."
url = "https://api.example.com/orders/{order_id}"
headers = { Authorization = "Bearer env:ORDER_TOKEN" }
parameters.order_id = { type = "string" }
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final, Literal
from urllib.parse import unquote

import attrs

from actors.messages import HANGUP
from actors.policy.risk import Risk
from gateway.configuration.convert import Secret, closest, converter, nearest
from gateway.configuration.json_schema import Schema, closed, object_schema, schema_flaws
from gateway.web.public_address import Barred, Network, networks, target_of

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
Body = Literal["json", "none"]

TIMEOUT_MOST_S: Final = 60.0
"""Whoever is on the phone does not wait longer."""
SPARE_S: Final = 0.5
"""A tool says itself what became of its request, before its own time is over."""
READ_BACK_MAX_CHARS: Final = 400
MAX_BYTES_MOST: Final = 1024 * 1024
PLACEHOLDER: Final = re.compile(r"\{([A-Za-z0-9_-]{1,64})\}", re.ASCII)
KEYS: Final = (
    "description", "url", "method", "parameters", "body", "headers", "timeout_s", "max_bytes",
    "allow_private", "risk", "read_back",
)  # fmt: skip
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}", re.ASCII)
_HEADER_VALUE: Final = re.compile(r"[!-~]([ -~]{0,4000}[!-~])?", re.ASCII)
_FROM_ENVIRON: Final = re.compile(r"([!-~]+ )?env:([A-Za-z_][A-Za-z0-9_]*)", re.ASCII)
_NOT_YOURS: Final = frozenset(
    {
        "accept-encoding", "connection", "content-length", "content-type", "expect", "host",
        "keep-alive", "te", "trailer", "transfer-encoding", "upgrade",
    }
)  # fmt: skip
"""What says how a request is sent, and not what it says."""
_SECRET: Final = frozenset({"authorization", "cookie", "proxy-authorization"})
_IN_URL: Final = ("string", "integer", "number", "boolean")

Complain = Callable[[str, str], None]
"""Is told a key and what is wrong with it."""


@attrs.frozen(kw_only=True)
class HttpTool:
    """One of them, complete and right."""

    name: str
    description: str
    url: str = attrs.field(repr=False)
    """With `{parameter}` in path and query."""
    method: Method = "GET"
    parameters: Schema = attrs.field(factory=lambda: closed(object_schema({})))
    """JSON schema of the arguments, as an object. What the URL has no place for is the body's."""
    body: Body = "none"
    headers: tuple[tuple[str, Secret], ...] = ()
    timeout_s: float = 6.0
    max_bytes: int = 64 * 1024
    allow_private: tuple[Network, ...] = ()
    risk: Risk = "high"
    read_back: str | None = None
    """What the owner confirms, with `{parameter}` in it; `None`: name and arguments as they are."""

    @property
    def longest_s(self) -> float:
        """How long a run of it may take."""
        return self.timeout_s + SPARE_S

    def in_url(self) -> frozenset[str]:
        """The parameters that the URL has a place for."""
        return frozenset(PLACEHOLDER.findall(self.url))

    def fingerprint(self) -> dict[str, object]:
        """All that makes it what it is, but secrets."""
        return {
            "name": self.name,
            "description": self.description,
            "url": self.url,
            "method": self.method,
            "parameters": self.parameters,
            "body": self.body,
            "headers": [name for name, _ in self.headers],
            "timeout_s": self.timeout_s,
            "max_bytes": self.max_bytes,
            "allow_private": [str(network) for network in self.allow_private],
            "risk": self.risk,
            "read_back": self.read_back,
        }


def read_http_tool(
    name: str, table: Mapping[str, Any], environ: Mapping[str, str], complain: Complain
) -> HttpTool | None:
    """The tool of `[tools.NAME]`; `None`: something is wrong, and was complained about.

    Args:
        name: Of the function.
        table: As TOML has it.
        environ: Where secrets are. None of them is ever quoted.
        complain: Is told every mistake.

    """
    found: list[str] = []

    def wrong(key: str, flaw: str) -> None:
        found.append(key)
        complain(key, flaw)

    if _NAME.fullmatch(name) is None:
        meant = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:64] or "order_status"
        wrong("", f"is no name for a function: letters, digits, - and _, as {meant}")
    if name == HANGUP:
        wrong("", "is what every call has already: choose another name, as end_order")
    for key in table:
        if key not in KEYS:
            wrong(key, f"is unknown{nearest(key, KEYS)}")
    values: dict[str, Any] = {}
    for key, kind in (
        ("description", str),
        ("url", str),
        ("method", Method),
        ("body", Body),
        ("timeout_s", float),
        ("max_bytes", int),
        ("allow_private", tuple[str, ...]),
        ("risk", Risk),
        ("read_back", str),
    ):
        if key in table:
            try:
                values[key] = converter(kind)(table[key], False)
            except ValueError as error:
                wrong(key, str(error))
    parameters = _parameters(table.get("parameters", {}), wrong)
    headers = tuple(headers_of(table.get("headers", {}), environ, wrong))
    _judge_values(values, table, wrong)
    _judge_read_back(values, parameters, wrong)
    if "url" in values and "url" not in found and parameters is not None:
        method: str = values.get("method", "GET")
        values.setdefault("body", "none" if method in ("GET", "DELETE") else "json")
        for key, flaw in _url_flaws(values, parameters):
            wrong(key, flaw)
        if values["body"] == "json" and method == "GET":
            wrong("body", "is 'json', and a GET has none: write method = 'POST', or body = 'none'")
    if found or parameters is None:
        return None
    return HttpTool(name=name, parameters=parameters, headers=headers, **values)


def _judge_values(values: dict[str, Any], table: Mapping[str, Any], wrong: Complain) -> None:
    for key, example in (
        ("description", "Look up where an order is."),
        ("url", "https://api.example.com/orders/{order_id}"),
    ):
        if key not in table:
            wrong(key, f"is missing: write {key} = {example!r}")
        elif key in values and not values[key].strip():
            wrong(key, f"must say something, as {example!r}, not {values[key]!r}")
    for key, least, most in (
        ("timeout_s", 0.1, TIMEOUT_MOST_S),
        ("max_bytes", 1, MAX_BYTES_MOST),
    ):
        value = values.get(key)
        if value is not None and not least <= value <= most:
            near = most if value > most else least
            wrong(key, f"must be {least} to {most}, not {value}; the nearest is {near}")
    if "allow_private" in values:
        try:
            values["allow_private"] = networks(values["allow_private"])
        except ValueError as error:
            values["allow_private"] = ()
            wrong("allow_private", f"must hold addresses or networks, as 10.0.0.5: {error}")


def _judge_read_back(values: Mapping[str, Any], parameters: Schema | None, wrong: Complain) -> None:
    if "read_back" not in values or parameters is None:
        return
    text, properties = values["read_back"], parameters["properties"]
    if not text.strip() or len(text) > READ_BACK_MAX_CHARS:
        wrong("read_back", f"must say what is done, in 1 to {READ_BACK_MAX_CHARS} characters")
    for name in PLACEHOLDER.findall(text):
        if name not in properties:
            known = nearest(name, properties) if properties else ": write parameters"
            wrong("read_back", f"holds {{{name}}}, and there is no such parameter{known}")


def _parameters(table: object, wrong: Complain) -> Schema | None:
    if not isinstance(table, dict):
        wrong("parameters", 'must be a table, as { order_id = { type = "string" } }')
        return None
    schema = object_schema(table)
    flaws = list(schema_flaws(schema))
    for place, flaw in flaws:
        wrong(f"parameters.{place}" if place else "parameters", flaw)
    return None if flaws else closed(schema)


def headers_of(
    table: object, environ: Mapping[str, str], wrong: Complain
) -> Iterator[tuple[str, Secret]]:
    """Every header, with the secrets in it. No value is quoted: it may be one."""
    if not isinstance(table, dict):
        wrong("headers", 'must be a table, as { Authorization = "Bearer env:ORDER_TOKEN" }')
        return
    seen: set[str] = set()
    for name, value in table.items():
        key = f"headers.{name}"
        if _HEADER_NAME.fullmatch(name) is None:
            wrong(key, "is no name for a header: letters, digits and -, as X-Team")
        elif name.lower() in _NOT_YOURS or name.lower().startswith("proxy-"):
            wrong(key, "is set by the gateway itself: take it out")
        elif name.lower() in seen:
            wrong(key, f"is written twice: keep one {name}")
        elif not isinstance(value, str):
            wrong(key, 'must be text in quotes, as "env:ORDER_TOKEN"')
        else:
            seen.add(name.lower())
            text, flaw = _header_value(name, value, environ)
            if flaw is not None:
                wrong(key, flaw)
            else:
                yield name, Secret(text)


def _header_value(name: str, value: str, environ: Mapping[str, str]) -> tuple[str, str | None]:
    """The value itself, and what is wrong with it."""
    by_name = _FROM_ENVIRON.fullmatch(value)
    if by_name is None:
        if name.lower() in _SECRET:
            example = '"Bearer env:ORDER_TOKEN"' if name.lower() != "cookie" else '"env:COOKIE"'
            return "", f"must name a secret of the environment, as {example}, and not hold it"
        if "env:" in value:
            return "", 'must end in the name of a variable, as "Bearer env:ORDER_TOKEN"'
        text = value
    else:
        before, variable = by_name[1] or "", by_name[2]
        held = environ.get(variable)
        if not held:
            close = closest(variable, (one for one in environ if environ[one]), cutoff=0.75)
            hint = f"; did you mean {close}?" if close else f": set {variable}"
            return "", f"names {variable}, which is not set in the environment{hint}"
        text = before + held
    if _HEADER_VALUE.fullmatch(text) is None:
        return "", "is no value for a header: printable ASCII, at most 4000 characters"
    return text, None


def _url_flaws(values: Mapping[str, Any], parameters: Schema) -> Iterator[tuple[str, str]]:
    """What is wrong with a template. Nothing of its query is quoted: a key may be in it."""
    flaw = _form_flaw(values["url"], values.get("allow_private", ()))
    if flaw is not None:
        yield "url", flaw
        return
    path, _, query = values["url"].partition("?")
    in_path, in_query = set(PLACEHOLDER.findall(path)), PLACEHOLDER.findall(query)
    properties: Mapping[str, Schema] = parameters["properties"]
    required: Collection[str] = parameters.get("required", ())
    for name in dict.fromkeys([*PLACEHOLDER.findall(path), *in_query]):
        if name not in properties:
            known = nearest(name, properties) if properties else ": write parameters"
            yield "url", f"holds {{{name}}}, and there is no such parameter{known}"
        elif properties[name]["type"] not in _IN_URL:
            kind = properties[name]["type"]
            yield "url", f"holds {{{name}}}, which is an {kind}: only {', '.join(_IN_URL)} fit"
        elif name in in_path and name not in required:
            yield "url", f"has {{{name}}} in its path, so it must be required: required = true"
    if any(PLACEHOLDER.search(pair.partition("=")[0]) for pair in query.split("&")):
        yield "url", "may have {parameters} as values in its query, and not as names"
    for name in properties:
        if values["body"] == "none" and name not in in_path and name not in in_query:
            example = f"?{name}={{{name}}}"
            yield (
                f"parameters.{name}",
                f"would not be sent: write {example} in url, or body = 'json'",
            )


def _form_flaw(url: str, allowed: tuple[Network, ...]) -> str | None:
    """What is wrong with a template, whatever its parameters are."""
    scheme, _, rest = url.partition("://")
    host, _, path = rest.partition("?")[0].partition("/")
    bare = PLACEHOLDER.sub("x", url)
    if "#" in url:
        return "must end before its #"
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        return "must be written in ASCII, with %20 for a space"
    if "{" in scheme + host or "}" in scheme + host:
        return "may have {parameters} in its path and in its query, and not in its host"
    if "{" in bare or "}" in bare:
        return "has a { or } that belongs to no {parameter}"
    try:
        target_of(bare, allowed)
    except Barred as barred:
        return f"cannot be asked: {barred}; as https://{_shown(host)}/..."
    if {".", ".."} & set(unquote(path).split("/")):
        return "has . or .. in its path: write where it leads"
    return None


def _shown(host: str) -> str:
    shown = host.rpartition("@")[2]
    return shown if shown.isprintable() and shown else "api.example.com"
