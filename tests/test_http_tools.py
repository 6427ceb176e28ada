"""Tools that are HTTP requests: how they are declared, what arguments can do, what a server can."""

# ruff: noqa: RUF001 - lookalikes are what some of these arguments are made of.

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import pytest
import trio
import trustme
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from actors.errors import ToolRefused
from actors.toolbox import ARGUMENTS_MAX_CHARS, Toolbox
from gateway.configuration.config import Config, ConfigError, load
from gateway.configuration.http_tool import KEYS, HttpTool
from gateway.configuration.roster import Roster
from gateway.configuration.tool_settings import PolicySettings
from gateway.lab.rehearsing.rehearse import rehearse
from gateway.lab.rehearsing.scenario import parse
from gateway.tools.http_tools import HttpTools, checked, filled, told
from gateway.tools.toolset import tools_of
from gateway.web.public_web import Answer, PublicWeb
from tests.test_gateway import gateway
from tests.web_servers import PUBLIC, Answering, Names, says, server_tls, serving, web_of

CANARY: Final = "canary-4711"
ENVIRON: Final = {"ORDER_TOKEN": CANARY}
ORDER_STATUS: Final = """
[tools.order_status]
description = "Look up where an order is."
url = "https://api.example/orders/{order_id}?lang={lang}"
headers = { Authorization = "Bearer env:ORDER_TOKEN", X-Team = "a" }
timeout_s = 0.5
[tools.order_status.parameters]
order_id = { type = "string", description = "As on the receipt.", maxLength = 40 }
lang = { type = "string", enum = ["en", "de"], required = false }
"""
TICKET: Final = """
[tools.ticket]
description = "Open a ticket."
method = "POST"
url = "https://api.example/tickets/{queue}"
timeout_s = 0.5
[tools.ticket.parameters]
type = "object"
required = ["queue", "lines"]
[tools.ticket.parameters.properties]
queue = { type = "integer", minimum = 1 }
urgent = { type = "boolean" }
lines = { type = "array", maxItems = 3, items = { type = "string" } }
"""


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


ANYBODY = '[policy]\nlow = ["order_status"]\n'
ANYBODYS = PolicySettings(low=("order_status",))


def config_of(folder: Path, text: str, environ: Mapping[str, str] = ENVIRON) -> Config:
    (folder / "offhook.toml").write_text(text)
    return load(folder / "offhook.toml", environ)


def tool_of(folder: Path, text: str) -> HttpTool:
    (tool,) = config_of(folder, text).tools.values()
    return tool


def problems(folder: Path, text: str, environ: Mapping[str, str] = ENVIRON) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as refused:
        config_of(folder, text, environ)
    told = tuple(
        one.replace(f" in {folder / 'offhook.toml'}", "") for one in refused.value.problems
    )
    assert CANARY not in str(told)
    return told


# Declared.


def test_a_declared_tool_is_complete_and_shows_no_secret(tmp_path: Path) -> None:
    tool = tool_of(tmp_path, ORDER_STATUS)

    assert (tool.name, tool.method, tool.body) == ("order_status", "GET", "none")
    assert {name: value.reveal() for name, value in tool.headers} == {
        "Authorization": f"Bearer {CANARY}",
        "X-Team": "a",
    }
    assert CANARY not in repr(tool) + str(tool) + repr(tool.fingerprint())
    (schema,) = HttpTools([tool], None).schemas()
    assert schema.description == "Look up where an order is."
    assert schema.parameters == {
        "type": "object",
        "properties": {
            "order_id": {"type": "string", "description": "As on the receipt.", "maxLength": 40},
            "lang": {"type": "string", "enum": ["en", "de"]},
        },
        "required": ["order_id"],
        "additionalProperties": False,
    }


def test_a_json_schema_is_taken_as_it_is_and_what_the_url_has_no_place_for_is_the_body(
    tmp_path: Path,
) -> None:
    tool = tool_of(tmp_path, TICKET)

    assert (tool.body, tool.parameters["required"]) == ("json", ["queue", "lines"])
    assert tool.in_url() == {"queue"}


def test_agents_have_all_of_them_or_those_they_name(tmp_path: Path) -> None:
    agents = """
[agents.none]
numbers = ["+491"]
http_tools = []
[agents.one]
numbers = ["+492"]
http_tools = ["ticket"]
tool_choice = "ticket"
"""
    roster = Roster.of(config_of(tmp_path, ORDER_STATUS + TICKET + agents))
    names = {
        agent.name: [one.name for one in tools_of(agent, Toolbox()).schemas()]
        for agent in roster.agents
    }

    assert names == {"default": ["order_status", "ticket"], "none": [], "one": ["ticket"]}


def test_another_declaration_is_another_version_of_the_agent_and_another_secret_is_none(
    tmp_path: Path,
) -> None:
    def version(text: str, secret: str = "a") -> str:
        config = config_of(tmp_path, text, {"ORDER_TOKEN": secret})
        return Roster.of(config).versions()["default"]

    assert version(ORDER_STATUS) == version(ORDER_STATUS, "b")
    assert version(ORDER_STATUS) != version(ORDER_STATUS.replace("/orders/", "/order/"))
    assert version(ORDER_STATUS) != version("")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("description =", "descripton =", "descripton is unknown; did you mean description?"),
        ("timeout_s = 0.5", "timeout_s = 61", "timeout_s must be 0.1 to 60.0, not 61.0"),
        ("timeout_s = 0.5", 'risk = "lo"', "risk must be one of low, high, not 'lo'"),
        ("timeout_s = 0.5", 'read_back = " "', "read_back must say what is done, in 1 to 400"),
        ("timeout_s = 0.5", 'read_back = "{order}"', "did you mean order_id?"),
        ("timeout_s = 0.5", 'method = "FETCH"', "method must be one of GET, POST,"),
        ("timeout_s = 0.5", 'body = "json"', "body is 'json', and a GET has none"),
        ("timeout_s = 0.5", "max_bytes = 0", "max_bytes must be 1 to 1048576, not 0"),
        ("timeout_s = 0.5", 'allow_private = ["localhost"]', "allow_private must hold addresses"),
        ("timeout_s = 0.5", 'allow_private = ["10.0.0.1/8"]', "allow_private must hold addresses"),
        ("https://", "http://", "url cannot be asked: only https:// is asked"),
        ("api.example", "{lang}.example", "url may have {parameters} in its path and in its query"),
        ("api.example", "user:pw@api.example", "url cannot be asked: its URL has a user"),
        ("/orders/", "/../orders/", "url has . or .. in its path"),
        ("/orders/", "/%2e%2e/orders/", "url has . or .. in its path"),
        ("/orders/", "/a b/", "url must be written in ASCII"),
        ("/orders/", "/orders/#", "url must end before its #"),
        ("{order_id}", "{orderid}", "url holds {orderid}, and there is no such parameter; did"),
        ("{order_id}", "{order_id", "url has a { or } that belongs to no {parameter}"),
        ("{order_id}", "{lang}", "url has {lang} in its path, so it must be required"),
        ("?lang={lang}", "?{lang}=1", "url may have {parameters} as values in its query"),
        ("?lang={lang}", "", "parameters.lang would not be sent: write ?lang={lang} in url"),
        ('"string", d', '"text", d', "parameters.order_id.type is 'text': one of string,"),
        ('"string", d', '"array", d', "parameters.order_id.maxLength is unknown for an array"),
        ("maxLength", "maxlength", "order_id.maxlength is unknown for a string; did you mean max"),
        ("maxLength = 40", 'pattern = "("', "parameters.order_id.pattern cannot be used"),
        ('["en", "de"]', '["en", 1]', "parameters.lang.enum holds 1, which is no string"),
        ("env:ORDER_TOKEN", "env:ORDER_TOKN", "names ORDER_TOKN, which is not set in the environ"),
        ("env:ORDER_TOKEN", "env:OTHER", "OTHER, which is not set in the environment: set OTHER"),
        ("Bearer env:ORDER_TOKEN", f"Bearer {CANARY}", "must name a secret of the environment"),
        ("X-Team", "Host", "headers.Host is set by the gateway itself"),
        ("X-Team", "Proxy-Authorization", "is set by the gateway itself: take it out"),
        ("X-Team", "authorization", "headers.authorization is written twice"),
        ('"a" }', '"a\\r\\nHost: b" }', "headers.X-Team is no value for a header"),
        ("X-Team", '"X Team"', "headers.X Team is no name for a header"),
        ("order_status", "hangup", "tools.hangup is what every call has already"),
        ("order_status", '"order status"', "is no name for a function"),
    ],
)
def test_a_mistake_in_a_declaration_is_told_with_its_place(
    tmp_path: Path, old: str, new: str, problem: str
) -> None:
    assert old in ORDER_STATUS
    assert any(problem in one for one in problems(tmp_path, ORDER_STATUS.replace(old, new)))


def test_a_secret_that_no_header_can_hold_is_refused_and_not_quoted(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, ORDER_STATUS, {"ORDER_TOKEN": f"{CANARY}\r\nHost: x"})

    assert problem == (
        "tools.order_status.headers.Authorization is no value for a header: printable ASCII, "
        "at most 4000 characters"
    )


def test_a_tool_that_nobody_declared_is_told_with_the_nearest(tmp_path: Path) -> None:
    agent = '[agent]\nhttp_tools = ["order_state"]\n'
    (problem,) = problems(tmp_path, agent + ORDER_STATUS)
    assert problem.endswith("there is no [tools.order_state]; did you mean order_status?")
    assert problem.startswith("agent.http_tools holds 'order_state'")
    (problem,) = problems(tmp_path, "[agent]\nhttp_tools = ['x']")
    assert problem.endswith("and there is no [tools.x]: write [tools.x]")
    (problem,) = problems(tmp_path, "tools = ['orders.py']")
    assert "must be sections" in problem


@given(st.dictionaries(st.sampled_from(KEYS), st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["type", "properties", "required", "enum", "items", "pattern", "x"]),
        inner, max_size=4,
    ),
    max_leaves=8,
)))  # fmt: skip
def test_any_table_at_all_is_taken_or_refused_by_name(table: dict[str, Any]) -> None:
    from gateway.configuration.http_tool import read_http_tool  # noqa: PLC0415

    found: list[str] = []
    tool = read_http_tool("x", table, {}, lambda key, flaw: found.append(f"{key} {flaw}"))

    assert (tool is None) == bool(found)


# What arguments can do: be values.

INJECTED: Final = [
    "../", "..", ".", "../../admin", "..\\", "/", "//", "//evil.example/", "\\\\evil.example\\",
    "x/../..", "a/b", "a\\b", "%2f", "%2F..%2F", "%2e%2e", "%2e%2e%2f", "%252f", "%25252f", "%5c",
    "%255c", ".%2e", "%2e", "..;/", "\x00", "%00", "a\r\nHost: evil", "\r\n\r\nGET /", "%0d%0a",
    "%250d%250a", "", " ", "\t", "\u2028", "．．/", "..%c0%af", ".. ", " ..",
]  # fmt: skip
HARMLESS: Final = [
    "?admin=1", "#x", "?", "#", "&lang=xx", "=", "@evil.example", "x@evil:443", ":443", ";a=b",
    "{order_id}", "{lang}", "{}", "{x", "https:evil", "ünïcode", "０", "％２ｆ", "∕", "⁄", "\ud800",
    ". .", "a b",
    "a+b", "%", "%zz", "*", "'\"", "<x>", "|", "$(id)", "`id`", "a,b", "…", "x" * 40, "...",
]  # fmt: skip


def sent(template: str, order_id: object, lang: object = "en") -> tuple[str, str, str]:
    """Host, path and query, as somebody else's parser reads them."""
    parts = urlsplit(filled(template, {"order_id": order_id, "lang": lang}))
    assert (parts.scheme, parts.fragment) == ("https", "")
    return parts.netloc, parts.path, parts.query


TEMPLATE: Final = "https://api.example/orders/{order_id}/lines?fixed=1&lang={lang}"


@pytest.mark.parametrize("value", INJECTED)
def test_a_value_that_would_be_more_than_a_part_of_the_path_is_refused(value: str) -> None:
    with pytest.raises(ToolRefused):
        filled(TEMPLATE, {"order_id": value})


@pytest.mark.parametrize("value", HARMLESS)
def test_a_value_is_one_part_of_the_path_whatever_it_is(value: str) -> None:
    host, path, query = sent(TEMPLATE, value)

    expected = value.encode(errors="replace").decode()
    assert (host, query) == ("api.example", "fixed=1&lang=en")
    assert path.split("/")[1::2] == ["orders", "lines"]
    assert unquote(path.split("/")[2]) == expected
    assert path.isascii()


@pytest.mark.parametrize("value", [*INJECTED, *HARMLESS])
def test_a_value_is_one_value_of_the_query_whatever_it_is(value: str) -> None:
    host, path, query = sent(TEMPLATE, "7", value)

    assert (host, path) == ("api.example", "/orders/7/lines")
    fixed, lang = query.split("&")
    assert fixed == "fixed=1"
    assert lang.count("=") == 1
    assert unquote(lang.partition("=")[2]) == value.encode(errors="replace").decode()
    assert lang.isascii()
    assert lang.isprintable()


@given(st.text(max_size=12), st.text(max_size=12))
def test_no_two_values_together_leave_the_template(one: str, other: str) -> None:
    template = "https://api.example/a/{one}{other}/b/{one}.{other}?q={one}"
    try:
        url = filled(template, {"one": one, "other": other})
    except ToolRefused:
        return
    parts = urlsplit(url)
    assert (parts.scheme, parts.netloc, parts.fragment) == ("https", "api.example", "")
    segments = parts.path.split("/")
    assert segments[1::2] == ["a", "b"] or len(segments) == 5
    assert not {".", ".."} & {unquote(one) for one in segments}
    assert parts.query.count("=") == 1
    assert "&" not in parts.query


def test_two_dots_from_two_values_are_refused_too() -> None:
    template = "https://api.example/a/{one}{other}/b"
    for one, other in (("%2", "e%2e"), ("%", "2e."), (".%2", "e")):
        with pytest.raises(ToolRefused):
            filled(template, {"one": one, "other": other})


def test_an_optional_value_that_is_not_given_leaves_no_trace() -> None:
    assert filled("https://a.example/?x={x}&y={y}", {"y": True}) == "https://a.example/?y=true"
    assert filled("https://a.example/?x={x}", {}) == "https://a.example/"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("", "queue: is missing; lines: is missing"),
        ("[]", "arguments: must be an object"),
        ("{", "they are not JSON"),
        ('{"queue": "1", "lines": []}', "queue: must be an integer"),
        ('{"queue": true, "lines": []}', "queue: must be an integer"),
        ('{"queue": 0, "lines": []}', "queue: must be 1 or more"),
        ('{"queue": NaN, "lines": []}', "they are not JSON"),
        ('{"queue": 1, "lines": [1]}', "lines.0: must be a string"),
        ('{"queue": 1, "lines": ["", "", "", ""]}', "lines: must have 3 items or fewer"),
        ('{"queue": 1, "lines": [], "urgent": 1}', "urgent: must be a boolean"),
        ('{"queue": 1, "lines": [], "secret-word": 1}', "arguments: holds what there is not"),
        (f'{{"queue": 1, "lines": ["{"x" * ARGUMENTS_MAX_CHARS}"]}}', "longer than 16384"),
        ('{"queue": ' + "[" * 5000 + "]" * 5000 + "}", "they are not JSON"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_without_being_quoted(
    tmp_path: Path, arguments: str, complaint: str
) -> None:
    with pytest.raises(ToolRefused) as refused:
        checked(tool_of(tmp_path, TICKET), arguments)

    assert complaint in refused.value.reason
    assert "secret-word" not in refused.value.reason


@pytest.mark.parametrize("queue", [2**64, -(2**63) - 1, 10**40])
def test_a_number_that_would_be_sent_as_another_one_is_refused(tmp_path: Path, queue: int) -> None:
    """The caller has confirmed every digit of it."""
    tool = tool_of(tmp_path, TICKET)
    assert checked(tool, json.dumps({"queue": 2**64 - 1, "lines": []}))["queue"] == 2**64 - 1

    with pytest.raises(ToolRefused, match="digits") as refusal:
        checked(tool, json.dumps({"queue": queue, "lines": []}))
    assert str(queue) not in refusal.value.reason


def test_a_pattern_of_the_owners_is_checked_in_linear_time(tmp_path: Path) -> None:
    tool = tool_of(tmp_path, ORDER_STATUS.replace("maxLength = 40", 'pattern = "^(a+)+$"'))
    with pytest.raises(ToolRefused, match="must be of the form"):
        checked(tool, json.dumps({"order_id": "a" * 10_000 + "!"}))


# What a server can do: answer once, within bounds.


@asynccontextmanager
async def asked(folder: Path, authority: trustme.CA, answer: Answering, text: str = ORDER_STATUS):  # type: ignore[no-untyped-def] # noqa: ANN201
    """A tool, and the server that it asks, over TLS on real sockets."""
    async with serving(answer, server_tls(authority, "api.example")) as server:
        names = Names({"api.example": [(PUBLIC,)]}, server)
        async with web_of(authority, names) as web:
            yield HttpTools([tool_of(folder, text)], web), server


async def refused(tools: HttpTools, name: str, arguments: str) -> str:
    """What the model is told of a request that has no answer, within a second."""
    with pytest.raises(ToolRefused) as refusal, trio.fail_after(1.5):
        await tools.run(name, arguments)
    return str(refusal.value.reason)


ORDER: Final = '{"order_id": "a/7?"}'.replace("/", "-")


async def test_a_request_is_what_was_declared_and_its_answer_is_given(
    tmp_path: Path, authority: trustme.CA
) -> None:
    answer = says("200 OK\r\ncontent-type: application/json", '{"at": "Köln", "n": [1]}'.encode())
    with capture_logs() as logs:
        async with asked(tmp_path, authority, answer) as (tools, server):
            result = await tools.run("order_status", '{"order_id": "a 7?", "lang": "de"}')

    assert result == '{"at": "Köln", "n": [1]}'
    head = server.heads[0].decode()
    line, *fields = head.split("\r\n")
    assert line == "GET /orders/a%207%3F?lang=de HTTP/1.1"
    assert {"host: api.example", f"Authorization: Bearer {CANARY}", "X-Team: a"} <= set(fields)
    assert not any(field.lower().startswith("content-") for field in fields)
    assert CANARY not in str(logs)


async def test_a_body_has_the_arguments_that_the_url_has_not(
    tmp_path: Path, authority: trustme.CA
) -> None:
    answer = says("201 Created\r\ncontent-type: text/plain", b"Ticket 5")
    async with asked(tmp_path, authority, answer, TICKET) as (tools, server):
        result = await tools.run("ticket", '{"queue": 3, "lines": ["\\r\\n"], "urgent": true}')

    assert result == '"Ticket 5"'
    head, _, body = server.heads[0].decode().partition("\r\n\r\n")
    assert head.startswith("POST /tickets/3 HTTP/1.1\r\n")
    assert "content-type: application/json" in head
    assert json.loads(body) == {"lines": ["\r\n"], "urgent": True}


async def hangs(_: bytes, __: trio.abc.Stream) -> None:
    await trio.sleep_forever()


async def trickles(_: bytes, stream: trio.abc.Stream) -> None:
    await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n")
    while True:
        await stream.send_all(b"x")
        await trio.sleep(0.05)


async def floods(_: bytes, stream: trio.abc.Stream) -> None:
    await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n")
    for _block in range(160):
        await stream.send_all(b"x" * 65_536)


async def heads_without_end(_: bytes, stream: trio.abc.Stream) -> None:
    await stream.send_all(b"HTTP/1.1 200 OK\r\n")
    while True:
        await stream.send_all(b"x-more: " + b"y" * 1000 + b"\r\n")


async def continues_without_end(_: bytes, stream: trio.abc.Stream) -> None:
    while True:
        await stream.send_all(b"HTTP/1.1 100 Continue\r\n\r\n")
        await trio.sleep(0.01)


async def breaks(_: bytes, stream: trio.abc.Stream) -> None:
    await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx")
    await trio.aclose_forcefully(stream)


async def babbles(_: bytes, stream: trio.abc.Stream) -> None:
    await stream.send_all(b"SSH-2.0-nobody\r\n\r\n")
    await trio.aclose_forcefully(stream)


PACKED: Final = gzip.compress(b"x" * 10_000_000)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (hangs, "there was no answer within 0.5 s"),
        (trickles, "there was no answer within 0.5 s"),
        (floods, "its answer, with status 200, is longer than 65536 bytes"),
        (
            says("200 OK\r\ncontent-type: text/plain", b"x" * 10_000_000),
            "its answer, with status 200, is longer than 65536 bytes",
        ),
        (heads_without_end, "the connection broke"),
        (continues_without_end, "there was no answer within 0.5 s"),
        (breaks, "the connection broke"),
        (babbles, "the connection broke"),
        (says("302 Found\r\nlocation: /x"), "it redirects more than 3 times"),
        (
            says("200 OK\r\ncontent-type: text/plain\r\ncontent-encoding: gzip", PACKED),
            "its answer is compressed, which nobody asked for",
        ),
        (
            says("200 OK\r\ncontent-type: image/png", b"\x89PNG"),
            "its answer, with status 200, is neither text nor JSON",
        ),
        (
            says("200 OK\r\ncontent-type: application/json", b"\xff\xfe\x00"),
            "its answer, with status 200, is neither text nor JSON",
        ),
        (
            says("200 OK\r\ncontent-type: text/plain", b"a\x00b"),
            "its answer, with status 200, is neither text nor JSON",
        ),
        (
            says("200 OK\r\ncontent-type: text/plain; charset=utf-7", b"+AGE-"),
            "its answer, with status 200, is neither text nor JSON",
        ),
    ],
)
async def test_whatever_a_server_does_the_model_is_told_once_and_in_time(
    tmp_path: Path, authority: trustme.CA, answer: Answering, why: str
) -> None:
    async with asked(tmp_path, authority, answer) as (tools, _):
        assert await refused(tools, "order_status", ORDER) == why


@pytest.mark.parametrize("answer", [hangs, floods, breaks])
async def test_of_what_may_have_been_done_the_model_is_told_so(
    tmp_path: Path, authority: trustme.CA, answer: Answering
) -> None:
    async with asked(tmp_path, authority, answer, TICKET) as (tools, server):
        why = await refused(tools, "ticket", '{"queue": 3, "lines": []}')

    assert why.endswith("; whether it took effect is not known")
    assert len(server.heads) == 1  # It is never asked twice.


async def test_a_request_that_was_given_up_leaves_no_connection(
    tmp_path: Path, authority: trustme.CA
) -> None:
    async with asked(tmp_path, authority, hangs) as (tools, server):
        for _ in range(3):
            await refused(tools, "order_status", ORDER)
        assert isinstance(tools._web, PublicWeb)
        (pool,) = tools._web._pools.values()
        assert pool.connections == []

    assert server.connections == 3


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (Answer(204, "", b""), {"status": 204}),
        (Answer(200, "application/json", b"3"), 3),
        (Answer(200, "application/hal+json; charset=utf-8", b'{"a": 1}'), {"a": 1}),
        (Answer(200, "application/json", b"{not json"), "{not json"),
        (Answer(200, "application/json", b"[" * 3000 + b"]" * 3000), "[" * 3000 + "]" * 3000),
        (Answer(200, "text/html; charset=iso-8859-1", b"Gr\xfc\xdfe"), "Grüße"),
        (Answer(200, "", b"plain"), "plain"),
        (Answer(200, "application/json", b"\xef\xbb\xbf[1]"), [1]),
        (Answer(404, "text/plain", b"no such order"), {
            "error": "its status is 404", "said": "no such order"
        }),
        (Answer(500, "text/plain", b"x" * 60_000), {
            "error": "its status is 500", "said": "x" * 2000
        }),
    ],
)  # fmt: skip
def test_an_answer_is_json_for_the_model(answer: Answer, result: object) -> None:
    assert json.loads(told(answer)) == result


async def test_without_a_network_a_tool_is_refused(tmp_path: Path) -> None:
    tools = HttpTools([tool_of(tmp_path, ORDER_STATUS)], None)

    assert "no network" in await refused(tools, "order_status", ORDER)
    assert "there is no tool 'other'" in await refused(tools, "other", "{}")


async def test_a_name_that_is_not_there_is_not_waited_for(
    tmp_path: Path, authority: trustme.CA
) -> None:
    async def nowhere(host: str, port: int) -> tuple[str, ...]:
        await trio.lowlevel.checkpoint()
        raise OSError(f"{host}:{port}")

    web = PublicWeb(nowhere)
    tools = HttpTools([tool_of(tmp_path, ORDER_STATUS)], web)
    assert await refused(tools, "order_status", ORDER) == "it could not be reached"
    await web.aclose()


# In a call.

CALL: Final = """
model:
  answers:
    - items: [{call: {name: order_status, arguments: {order_id: "7"}}}]
      after_ms: 50
    - items: [{say: "It is there."}, {call: {name: hangup, arguments: {reason: done}}}]
      after_ms: 50
caller: [{wait: call_end}]
"""


async def test_a_call_asks_over_real_sockets_and_its_record_has_the_answer_and_no_secret(
    tmp_path: Path,
) -> None:
    answer = says("200 OK\r\ncontent-type: application/json", b'"in Cologne"')
    async with serving(answer) as server:
        text = ORDER_STATUS.replace("https://api.example", f"http://127.0.0.1:{server.port}")
        config = config_of(
            tmp_path, text.replace("timeout_s", "allow_private = ['127.0.0.1']\ntimeout_s")
        )
        calls = tmp_path / "calls"
        calls.mkdir()
        async with gateway(calls, CALL, tools=config.tools, policy=ANYBODYS) as one:
            report = await one.call(CALL)
            record = one.record(report.call_sid)

    (asked, *_) = record["tool_calls"]
    assert (asked["name"], asked["outcome"], asked["output"]) == (
        "order_status",
        "returned",
        '"in Cologne"',
    )
    assert server.heads[0].startswith(b"GET /orders/7 HTTP/1.1\r\n")
    assert CANARY.encode() in server.heads[0]
    for path in (calls / report.call_sid).iterdir():
        assert CANARY.encode() not in path.read_bytes()


def test_in_virtual_time_nobody_is_asked(tmp_path: Path) -> None:
    config = config_of(tmp_path, ORDER_STATUS + ANYBODY)
    done = rehearse(parse(f"name: test\n{CALL}"), config=config)

    assert done.record is not None
    (asked, *_) = done.record["tool_calls"]
    assert (asked["name"], asked["outcome"]) == ("order_status", "refused")
    assert "in virtual time" in asked["output"]
