"""MCP servers: what they can do is offered, run once, and bounded, whatever they make of it."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import attrs
import httpcore
import pydantic
import pytest
import trio
import trio.testing
import trustme
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations
from structlog.testing import capture_logs

from actors.errors import EffectUnknown, ToolRefused
from actors.toolbox import Toolbox, ToolSchema
from gateway.configuration.agents import Agent
from gateway.configuration.config import Config, ConfigError, Secret, load
from gateway.configuration.mcp_server import McpServer
from gateway.configuration.roster import Roster
from gateway.lab.rehearsing.rehearse import rehearse
from gateway.lab.rehearsing.scenario import parse
from gateway.mcp.connection import AT_ONCE_MAX, PAGES_MAX, McpConnection
from gateway.mcp.listing import TOOLS_MAX, Listed, offered
from gateway.mcp.tools import McpServers, McpTools
from gateway.mcp.transport import NEWS_S, PIECE_BYTES, STREAM_MAX_BYTES, streamed
from gateway.tools.http_tools import MAYBE_DONE
from gateway.tools.means import Means
from gateway.tools.toolset import Layered, tools_of
from gateway.web.public_web import PublicWeb
from tests.mcp_servers import (
    QUICK,
    Requests,
    Scripted,
    app_of,
    connected,
    declared,
    http,
    serving_asgi,
    tool,
    until,
)
from tests.test_gateway import gateway
from tests.web_servers import PUBLIC, Answering, Names, says_ok, server_tls, serving, web_of

# The SDK leaves the generators of streams that it has read enough of to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:Async generator 'httpx2:ResourceWarning")


def crm(ran: list[str] | None = None) -> MCPServer:
    """A server that looks customers up, notes things, and does neither at times."""
    noted = [] if ran is None else ran
    server = MCPServer("crm", log_level="CRITICAL")

    @server.tool(annotations=ToolAnnotations(read_only_hint=True))
    async def find(name: str, most: int = 3) -> dict[str, Any]:
        """Find a customer."""
        await trio.lowlevel.checkpoint()
        noted.append(name)
        return {"found": name, "most": most}

    @server.tool()
    async def hang() -> str:
        """Never come back."""
        noted.append("began")
        try:
            await trio.sleep_forever()
        finally:
            noted.append("cancelled")

    @server.tool()
    async def fail(what: str) -> str:
        """Fail."""
        await trio.lowlevel.checkpoint()
        raise ToolError(what)

    return server


async def test_a_tool_of_a_real_server_is_offered_and_run() -> None:
    ran: list[str] = []
    async with serving_asgi(app_of(crm(ran))) as url:
        server = declared(f"{url}/mcp", low=("find",))
        async with connected(server) as connection:
            await until(lambda: connection.is_up)
            tools = McpTools.of([(server, connection)])
            schemas = {one.name: one for one in tools.schemas()}
            result = await tools.run("crm_find", '{"name": "Ada"}')

    assert list(schemas) == ["crm_find", "crm_hang", "crm_fail"]
    assert schemas["crm_find"].risk == "low"
    assert schemas["crm_fail"].risk == "high"
    assert schemas["crm_find"].description == "Find a customer."
    assert schemas["crm_find"].parameters["required"] == ["name"]
    assert json.loads(result) == {"found": "Ada", "most": 3}
    assert ran == ["Ada"]


@asynccontextmanager
async def using(
    answering: Answering,
    *,
    timeout_s: float = 1.0,
    **more: Any,  # noqa: ANN401
) -> AsyncIterator[tuple[McpTools, McpConnection]]:
    """The tools of a scripted server, once they are known."""
    async with serving(answering) as served:
        server = declared(f"http://127.0.0.1:{served.port}/mcp", timeout_s=timeout_s, **more)
        async with connected(server) as connection:
            await until(lambda: connection.is_up)
            yield McpTools.of([(server, connection)]), connection


async def never(_: object) -> None:
    await trio.sleep_forever()


async def refusal(tools: McpTools, name: str = "crm_do", arguments: str = "{}") -> str:
    with pytest.raises(ToolRefused) as refused, trio.fail_after(20):
        await tools.run(name, arguments)
    # Who audits it can tell the two apart without reading.
    assert isinstance(refused.value, EffectUnknown) == (MAYBE_DONE in refused.value.reason)
    return refused.value.reason


# A real server.


async def test_a_tool_that_takes_too_long_is_refused_and_its_server_told() -> None:
    ran: list[str] = []
    async with serving_asgi(app_of(crm(ran))) as url:
        server = declared(f"{url}/mcp", timeout_s=0.3)
        async with connected(server) as connection:
            await until(lambda: connection.is_up)
            why = await refusal(McpTools.of([(server, connection)]), "crm_hang")
            await until(lambda: "cancelled" in ran)

    assert why == "there was no answer within 0.3 s; whether it took effect is not known"
    assert ran == ["began", "cancelled"]


async def test_a_caller_who_hangs_up_waits_for_no_server() -> None:
    """Telling the server is the gateway's business, and not the call's."""
    server = Scripted([tool("do")], call=never, notice=never)
    async with using(server, timeout_s=30.0) as (tools, _):
        async with trio.open_nursery() as call:
            call.start_soon(tools.run, "crm_do", "{}")
            await until(lambda: "tools/call" in server.methods)
            began = trio.current_time()
            call.cancel_scope.cancel()
        took_s = trio.current_time() - began
        await until(lambda: "notifications/cancelled" in server.methods)

    assert took_s < 1.0


async def test_what_a_tool_says_of_its_failure_reaches_the_model() -> None:
    async with serving_asgi(app_of(crm())) as url:
        server = declared(f"{url}/mcp")
        async with connected(server) as connection:
            await until(lambda: connection.is_up)
            why = await refusal(
                McpTools.of([(server, connection)]), "crm_fail", '{"what": "no such customer"}'
            )

    assert why.startswith("the tool failed, and says: ")
    assert "no such customer" in why


async def test_a_tool_that_is_added_is_known_soon_and_to_new_calls_alone() -> None:
    server_side = crm()

    @server_side.tool()
    async def grow(context: Context) -> str:
        """Learn something."""
        server_side.add_tool(crm_extra, name="extra")
        await context.session.send_tool_list_changed()
        return "grown"

    async with serving_asgi(app_of(server_side)) as url:
        server = declared(f"{url}/mcp")
        async with connected(server, bounds=QUICK) as connection:
            await until(lambda: connection.is_up)
            before = McpTools.of([(server, connection)])
            await before.run("crm_grow", "{}")
            await until(lambda: any(one.name == "extra" for one in connection.tools))
            after = McpTools.of([(server, connection)])

    assert "crm_extra" not in {one.name for one in before.schemas()}
    assert "crm_extra" in {one.name for one in after.schemas()}


async def crm_extra() -> str:
    """Another one."""
    await trio.lowlevel.checkpoint()
    return "extra"


async def test_a_server_that_comes_late_and_goes_and_comes_back_is_found_each_time() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    await listeners[0].aclose()
    server = declared(f"http://127.0.0.1:{port}/mcp")
    async with connected(server) as connection:
        await trio.sleep(0.1)
        assert not connection.is_up
        for _ in range(2):
            async with serving_asgi(app_of(crm()), port):
                await until(lambda: connection.is_up)
                tools = McpTools.of([(server, connection)])
                assert json.loads(await tools.run("crm_find", '{"name": "Ada"}'))["found"] == "Ada"
            why = await refusal(tools, "crm_find", '{"name": "Ada"}')
            assert "it was not run" in why or MAYBE_DONE in why
            await until(lambda: not connection.is_up)
            assert await refusal(tools, "crm_find", '{"name": "Ada"}') == (
                "its server cannot be reached at the moment; it was not run"
            )


async def test_what_a_server_asks_of_us_is_refused() -> None:
    answers: list[str] = []
    asking = MCPServer("asking", log_level="CRITICAL")

    @asking.tool()
    async def ask(context: Context) -> str:
        """Ask the client for everything there is."""
        for question in (
            context.session.list_roots,
            lambda: context.elicit("Your password?", Password),
            lambda: context.session.create_message(messages=[], max_tokens=1),
        ):
            try:
                answers.append(f"got {await question()}")
            except Exception as error:  # noqa: BLE001 - whatever a refusal looks like there.
                answers.append(type(error).__name__)
        return "asked"

    async with serving_asgi(app_of(asking)) as url:
        server = declared(f"{url}/mcp")
        async with connected(server) as connection:
            await until(lambda: connection.is_up)
            result = await McpTools.of([(server, connection)]).run("crm_ask", "{}")

    assert result == '"asked"' or json.loads(result) == {"result": "asked"}
    assert len(answers) == 3
    assert not any(answer.startswith("got") for answer in answers)


class Password(pydantic.BaseModel):
    password: str


async def test_headers_and_their_secrets_are_sent_to_the_server() -> None:
    requests = Requests(app_of(crm()))
    async with serving_asgi(requests) as url:
        server = declared(f"{url}/mcp", headers=(("Authorization", Secret("Bearer canary")),))
        async with connected(server) as connection:
            await until(lambda: connection.is_up)

    assert {headers.get("authorization") for _, headers in requests.seen} == {"Bearer canary"}
    assert {headers.get("accept-encoding") for _, headers in requests.seen} == {"identity"}


async def test_a_server_without_a_handshake_is_spoken_to_in_its_way() -> None:
    answer = {"content": [{"type": "text", "text": "fine"}], "resultType": "complete"}
    server = Scripted([tool("do")], call=lambda _: answer, is_modern=True, session="")
    async with using(server) as (tools, _):
        assert await tools.run("crm_do", '{"a": null}') == '"fine"'

    assert server.methods[:3] == ["initialize", "server/discover", "tools/list"]
    assert server.methods.count("tools/call") == 1


# What a server lists.


async def test_what_cannot_be_offered_is_skipped_and_the_rest_is_not() -> None:
    recursive = {"type": "object", "properties": {"a": {"$ref": "#"}}}
    remote = {"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1/x.json"}}}
    server = Scripted(
        [
            tool("good"),
            tool("two.names"),
            tool("two/names"),
            tool("x" * 61),
            tool("recursive", inputSchema=recursive),
            tool("remote", inputSchema=remote),
            tool("text", inputSchema={"type": "string"}),
            tool("huge", inputSchema={"type": "object", "description": "x" * 20_000}),
            tool("broken", inputSchema={"type": "object", "properties": []}),
            tool("no schema", inputSchema=None),
            {"inputSchema": {}},
            "nonsense",
            tool("not wanted"),
        ]
    )
    wanted = tuple(one["name"] for one in server.tools[:-3])
    with capture_logs() as logs:
        async with using(server, tools=wanted) as (tools, _):
            names = [one.name for one in tools.schemas()]

    assert names == ["crm_good"]
    skipped = [entry["tool"] for entry in logs if entry["event"] == "mcp.tool_skipped"]
    assert len(skipped) == 9


async def test_no_more_tools_are_offered_than_a_session_can_bear() -> None:
    def pages(params: dict[str, Any]) -> dict[str, Any]:
        page = int(params.get("cursor", 0))
        tools = [tool(f"t{page}_{index}") for index in range(50)]
        return {"tools": tools, "nextCursor": str(page + 1)}

    async with using(Scripted([], list_tools=pages)) as (tools, _):
        assert len(tools.schemas()) == TOOLS_MAX


async def test_a_server_whose_pages_never_end_is_asked_for_few() -> None:
    server = Scripted([], list_tools=lambda _: {"tools": [], "nextCursor": "again"})
    async with using(server) as (tools, _):
        assert tools.schemas() == ()

    assert server.methods.count("tools/list") <= PAGES_MAX


async def test_descriptions_are_bounded_and_hold_nothing_unseen() -> None:
    text = "Do it.\x1b[2J\u202e\u200b Now\n" + "x" * 2_000
    schema = {"type": "object", "properties": {"a": {"type": "string", "description": text}}}
    async with using(Scripted([tool("do", description=text, inputSchema=schema)])) as (tools, _):
        (one,) = tools.schemas()

    assert one.description.startswith("Do it.[2J Now\nxxx")
    assert len(one.description) <= 1_024
    assert one.parameters["properties"]["a"]["description"] == one.description


async def test_a_servers_word_about_its_own_harmlessness_lowers_no_risk() -> None:
    hints = {"readOnlyHint": True, "destructiveHint": False, "openWorldHint": False}
    async with using(Scripted([tool("do", annotations=hints)])) as (tools, _):
        assert [one.risk for one in tools.schemas()] == ["high"]


async def test_two_servers_whose_names_meet_offer_neither_of_the_two() -> None:
    async with serving(Scripted([tool("b_c"), tool("d")])) as served:
        url = f"http://127.0.0.1:{served.port}/mcp"
        one, other = declared(url), attrs.evolve(declared(url), name="crm_b")
        async with connected(one) as first:
            await until(lambda: first.is_up)
            listed = [Listed("c", ToolSchema("crm_b_c", "", {}))]
            tools = McpTools.of([(one, first), (other, Known(tuple(listed)))])

    assert [schema.name for schema in tools.schemas()] == ["crm_d"]


@attrs.frozen
class Known:
    """Stands for a server whose tools are known. Fits `McpPeer`; runs none."""

    tools: tuple[Listed, ...]

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> str:
        await trio.lowlevel.checkpoint()
        raise ToolRefused(f"{tool} is not run with {len(arguments)} arguments")


# What a server answers.

LONG_NUMBER: Final = (
    b'{"jsonrpc": "2.0", "id": 3, "result": {"structuredContent": ' + b"1" * 400 + b"}}"
)
BAD_ANSWERS: Final[dict[str, tuple[Any, str]]] = {
    "10 MB": (http(b'"' + b"x" * 10_000_000 + b'"'), "too long"),
    "binary": (http(bytes(range(256)), kind="application/octet-stream"), "Unexpected content"),
    "html": (http(b"<html>", kind="text/html"), "Unexpected content"),
    "not JSON": (http(b"{"), "Failed to parse"),
    "nested": (http(b"[" * 60_000), "Failed to parse"),
    "other JSON": (http(b"[1, 2]"), "Failed to parse"),
    "compressed": (http(b"{}", more="content-encoding: gzip\r\n"), "compressed"),
    "no result": ({"nothing": 1}, "cannot be used"),
    "not content": ({"content": "text"}, "cannot be used"),
    "a number of any length": (http(LONG_NUMBER), "its answer"),
    "202": (http(b"", status="202 Accepted"), "202"),
    "500": (http(b"<h1>canary</h1>", status="500 Oops", kind="text/html"), "error response"),
    "404": (http(b"", status="404 Not Found"), "begun anew"),
    "elsewhere": (
        http(b"", status="307 Go", more="location: http://127.0.0.1:1/\r\n"), "Redirect"
    ),
    "stream without an answer": (http(b": nothing\n\n", kind="text/event-stream"), "ended"),
    "stream of nonsense": (http(b"data: {\n\n", kind="text/event-stream"), "Failed to parse"),
    "long stream": (
        http(b"data: " + b"x" * 400_000 + b"\n\n", kind="text/event-stream"), "stream"
    ),
    "cut short": (http(b"{}").replace(b"length: 2", b"length: 9"), "within 1 s"),
    "no HTTP": (b"canary\r\n\r\n", "the connection broke"),
    "an error": ({"code": -32000, "message": "out of \x1b[2Jorder"}, "out of [2Jorder"),
    "wrong parameters": ({"code": -32602, "message": "no such date"}, "no such date"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD_ANSWERS)
async def test_a_bad_answer_is_refused_and_the_next_one_is_good(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    answer, expected = BAD_ANSWERS[kind]
    answers = [answer, {"content": [{"type": "text", "text": "fine"}]}]
    server = Scripted([tool("do")], call=lambda _: answers.pop(0))
    async with using(server) as (tools, connection):
        why = await refusal(tools, arguments='{"a": "canary"}')
        await until(lambda: connection.is_up)
        assert await tools.run("crm_do", "{}") == '"fine"'

    assert expected in why
    assert len(why) < 700
    assert "canary" not in caplog.text
    # It was sent once, whatever came of it; and then the other one.
    assert server.methods.count("tools/call") == 2


async def test_one_bad_answer_disturbs_no_other_run() -> None:
    """The SDK's client alone would lose the connection, and all that is under way on it."""
    go_on = trio.Event()

    async def slow() -> dict[str, Any]:
        await go_on.wait()
        return {"content": [{"type": "text", "text": "fine"}]}

    answers: list[Any] = [slow(), b"canary\r\n\r\n"]
    server = Scripted([tool("do")], call=lambda _: answers.pop(0))
    results: list[str] = []

    async def first(tools: McpTools) -> None:
        results.append(await tools.run("crm_do", "{}"))

    async with using(server, timeout_s=5) as (tools, _), trio.open_nursery() as nursery:
        nursery.start_soon(first, tools)
        await until(lambda: len(answers) == 1)
        assert "broke" in await refusal(tools)
        go_on.set()

    assert results == ['"fine"']


async def test_a_server_that_hangs_is_given_up_in_time_and_others_go_on() -> None:
    server = Scripted([tool("do")], call=never)
    async with using(server, timeout_s=0.2) as (tools, _):
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(refusal, tools)
        took_s = trio.current_time() - began

    assert took_s < 4.0
    assert server.methods.count("tools/call") <= 10


async def test_too_many_runs_at_once_are_refused() -> None:
    server = Scripted([tool("do")], call=never)
    async with using(server, timeout_s=30) as (tools, _), trio.open_nursery() as nursery:
        for _ in range(AT_ONCE_MAX):
            nursery.start_soon(refusal, tools)
        await trio.testing.wait_all_tasks_blocked()
        why = await refusal(tools)
        nursery.cancel_scope.cancel()

    assert why == "its server is too busy at the moment; it was not run"


@pytest.mark.parametrize(
    ("content", "more", "expected"),
    [
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], {}, "a\nb"),
        ([{"type": "text", "text": '{"a": 1}'}], {}, {"a": 1}),
        ([{"type": "text", "text": "x"}], {"structuredContent": {"b": [2]}}, {"b": [2]}),
        (
            [
                {"type": "text", "text": "a"},
                {"type": "image", "data": "aaaa", "mimeType": "image/png"},
                {"type": "resource_link", "uri": "file:///etc/passwd", "name": "it"},
                {"type": "resource", "resource": {"uri": "a:b", "blob": "aaaa"}},
                {"type": "resource", "resource": {"uri": "a:b", "text": "c"}},
                {"type": "hologram"},
            ],
            {},
            {
                "text": "a\nc",
                "left_out": ["image, image/png", "link to it", "resource", "hologram"],
            },
        ),
        ([], {}, ""),
    ],
)
async def test_an_answer_is_told_as_json(
    content: list[Any], more: dict[str, Any], expected: object
) -> None:
    server = Scripted([tool("do")], call=lambda _: {"content": content, **more})
    async with using(server) as (tools, _):
        assert json.loads(await tools.run("crm_do", "{}")) == expected


async def test_a_failure_is_told_with_a_bounded_reason() -> None:
    text = {"type": "text", "text": "no\x07 " * 5_000}
    server = Scripted([tool("do")], call=lambda _: {"content": [text], "isError": True})
    async with using(server) as (tools, _):
        why = await refusal(tools)

    assert why.startswith("the tool failed, and says: no no no")
    assert len(why) < 2_100


# Arguments.


async def test_arguments_that_do_not_fit_are_never_sent() -> None:
    schema = {
        "type": "object",
        "properties": {"when": {"type": "string", "pattern": "^[0-9]{4}$"}, "n": {"minimum": 1}},
        "required": ["when"],
        "additionalProperties": False,
    }
    server = Scripted([tool("do", inputSchema=schema)])
    async with using(server) as (tools, _):
        for arguments, expected in (
            ("", "when: is missing"),
            ("{", "not JSON"),
            ("[]", "not an object"),
            ('{"when": "now"}', "when: must be of the form ^[0-9]{4}$"),
            ('{"when": "1200", "n": 0}', "n: must be 1 or more"),
            ('{"when": "1200", "n": 123456789012345678901}', "digits"),
            ('{"when": "1200", "x": "canary"}', "holds what there is not"),
            ('{"when": "' + "1" * 20_000 + '"}', "longer than"),
        ):
            why = await refusal(tools, arguments=arguments)
            assert expected in why
            assert "canary" not in why
        assert "there is no tool" in await refusal(tools, "crm_other")
        assert "tools/call" not in server.methods
        await tools.run("crm_do", '{"when": "1200"}')

    assert server.methods.count("tools/call") == 1


# Where a server may be.


async def test_no_name_leads_to_a_private_address() -> None:
    """Neither at once, nor when it is looked up again."""
    async with serving(Scripted([tool("do")])) as served:
        for answers in ([("127.0.0.1",)], [(PUBLIC, "10.0.0.1")], [("::ffff:127.0.0.1",)]):
            names = Names({"mcp.example": list(answers)}, served)
            web = PublicWeb(names.resolve, names.dial)
            server = McpServer(name="crm", url="https://mcp.example/mcp")
            async with connected(server, web) as connection:
                await until(lambda names=names: len(names.looks) >= 2)  # type: ignore[misc]
                assert not connection.is_up
            assert names.dialled == []

        assert served.connections == 0


async def test_a_resolver_that_changes_its_answer_leads_nowhere_else() -> None:
    authority = trustme.CA()
    # Every answer closes its connection, so that its host is looked up again and again.
    closing = Scripted([tool("do")], session="connection: close\r\n")
    async with serving(closing, server_tls(authority, "mcp.example")) as served:
        names = Names({"mcp.example": [(PUBLIC,)]}, served)
        server = McpServer(name="crm", url="https://mcp.example/mcp", timeout_s=2)
        async with web_of(authority, names) as web, connected(server, web) as connection:
            await until(lambda: connection.is_up)
            tools = McpTools.of([(server, connection)])
            names.answers["mcp.example"] = [("127.0.0.1",)]
            dialled, looks = len(names.dialled), len(names.looks)
            for _ in range(3):
                with contextlib.suppress(ToolRefused):
                    await tools.run("crm_do", "{}")  # What is open already may still be used.
            await until(lambda: len(names.looks) > looks)

    assert set(names.dialled) == {PUBLIC}
    assert len(names.dialled) == dialled


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_to_another_place_is_not_followed(status: int) -> None:
    async with serving(says_ok) as private:
        location = f"location: http://127.0.0.1:{private.port}/\r\n"
        moved = http(b"", status=f"{status} Moved", more=location)
        async with using(Scripted([tool("do")], call=lambda _: moved)) as (tools, _):
            await refusal(tools)

        assert private.connections == 0


# The stream on which a server says what it likes.


async def test_a_server_that_says_too_much_is_cut_off_and_still_asked() -> None:
    change = b'data: {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}\n\n'
    flood = http(change * 40_000, kind="text/event-stream")
    server = Scripted([tool("do")], get=flood)
    async with using(server) as (tools, _):
        assert await tools.run("crm_do", "{}") == '""'
        await trio.sleep(0.3)
        assert await tools.run("crm_do", "{}") == '""'

    assert server.methods.count("tools/list") < 12


def test_nobody_is_asked_about_arguments_that_do_not_fit() -> None:
    server = declared("https://crm.example/mcp")
    good, _ = offered(server, [tool("do", inputSchema={"type": "object", "required": ["who"]})])
    (schema,) = McpTools.of([(server, Known(good))]).schemas()

    assert schema.risk == "high"
    assert schema.check is not None
    with pytest.raises(ToolRefused, match="who: is missing"):
        schema.check("{}")
    schema.check('{"who": "Anna"}')


async def test_what_a_server_likes_to_say_is_read_in_small_pieces(
    autojump_clock: trio.abc.Clock,
) -> None:
    """Each of its messages may begin a task, and 18000 at once kept all calls waiting for 0.7 s."""
    response = httpcore.Response(200, content=b"x" * 64 * 1024)
    began_s = trio.current_time()
    pieces = [len(one) async for one in streamed(response, None, STREAM_MAX_BYTES).stream]  # type: ignore[union-attr]

    assert sum(pieces) == 64 * 1024
    assert max(pieces) == PIECE_BYTES
    assert trio.current_time() - began_s == pytest.approx(NEWS_S * (len(pieces) - 1))


# In a gateway.


async def test_a_gateway_whose_server_is_down_serves_calls_without_its_tools() -> None:
    servers = McpServers.of([declared("http://127.0.0.1:1/mcp")], web := PublicWeb())
    agent = Agent(mcp=(declared("http://127.0.0.1:1/mcp"),))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(servers.run)
        await trio.sleep(0.05)
        means = Means(config=Config(), utc_now=lambda: datetime.now(UTC), mcp=servers)
        assert tools_of(agent, Toolbox(), means).schemas() == ()
        servers.close()
    await web.aclose()


def test_no_servers_tool_has_the_name_of_one_that_comes_with_the_gateway() -> None:
    """Also where an agent does not have that one: `policy.low` may name it."""
    server = attrs.evolve(declared("https://calendar.example/mcp"), name="calendar")
    good, bad = offered(server, [tool("create_event"), tool("find_event")])

    assert [one.schema.name for one in good] == ["calendar_find_event"]
    assert [one.name for one in bad] == ["calendar_create_event"]


async def test_a_servers_tool_takes_nobodys_place() -> None:
    async def crm_do() -> str:
        """Be ours."""
        await trio.lowlevel.checkpoint()
        return "ours"

    own = Toolbox()
    own.add(crm_do)
    server = declared("http://127.0.0.1:1/mcp")
    theirs = Listed("do", ToolSchema("crm_do", "theirs", {"type": "object"}, risk="low"))
    tools = Layered(own, McpTools.of([(server, Known((theirs,)))]))

    assert [one.risk for one in tools.schemas()] == ["high"]
    assert await tools.run("crm_do", "{}") == '"ours"'


# How one is declared.

RIGHT: Final = """
[mcp.crm]
url = "https://crm.example.com/mcp"
headers = { Authorization = "Bearer env:CRM_TOKEN" }
tools = ["find", "note"]
low = ["find"]
timeout_s = 20.0
[agents.sales]
numbers = ["+4930123456"]
mcp = []
"""


def read(tmp_path: Path, text: str) -> Config:
    (tmp_path / "offhook.toml").write_text(text)
    return load(tmp_path / "offhook.toml", {"CRM_TOKEN": "canary-4711"})


def test_a_server_is_declared_with_its_bounds_and_secrets(tmp_path: Path) -> None:
    config = read(tmp_path, RIGHT)
    server = config.mcp["crm"]
    default, sales = Roster.of(config).agents

    assert server.low == ("find",)
    assert server.longest_s == 21.0
    assert server.headers[0][1].reveal() == "Bearer canary-4711"
    assert default.mcp == (server,)
    assert sales.mcp == ()
    assert "canary" not in repr(config)
    assert "crm.example.com" not in repr(config)


def test_another_server_makes_another_agent(tmp_path: Path) -> None:
    before = Roster.of(read(tmp_path, RIGHT)).agents
    after = Roster.of(read(tmp_path, RIGHT.replace('low = ["find"]', "low = []"))).agents

    assert before[0].version != after[0].version
    assert before[1].version == after[1].version


WRONG: Final = {
    'url = "http://crm.example.com/mcp"': "mcp.crm.url in FILE cannot be asked",
    'url = "https://a:b@crm.example.com/"': "mcp.crm.url in FILE cannot be asked",
    'url = "https://crm.example.com/mcp#x"': "mcp.crm.url in FILE must be written in ASCII",
    "": "mcp.crm.url in FILE is missing",
    'url = "https://a.b/"\nlow = ["*"]': "mcp.crm.low in FILE cannot be all",
    'url = "https://a.b/"\ntools = ["find"]\nlow = ["fnd"]': "did you mean find?",
    'url = "https://a.b/"\ntools = []': "mcp.crm.tools in FILE is empty",
    'url = "https://a.b/"\ntimeout_s = 600': "the nearest is 60.0",
    'url = "https://a.b/"\nlows = []': "mcp.crm.lows in FILE is unknown; did you mean low?",
    'url = "https://a.b/"\nheaders = { Authorization = "Bearer abc" }': "must name a secret",
    'url = "https://a.b/"\nallow_private = ["x"]': "must hold addresses or networks",
    'url = "https://a.b/"\n[agent]\nmcp = ["cmr"]': "did you mean crm?",
}


@pytest.mark.parametrize("lines", WRONG)
def test_a_mistake_in_a_server_is_told_with_what_would_be_right(tmp_path: Path, lines: str) -> None:
    with pytest.raises(ConfigError) as wrong:
        read(tmp_path, f"[mcp.crm]\n{lines}\n")

    expected = WRONG[lines].replace("FILE", str(tmp_path / "offhook.toml"))
    assert expected in str(wrong.value)


CALL: Final = """
model:
  answers:
    - items: [{call: {name: crm_find, arguments: {name: Ada}}}]
      after_ms: 50
    - items: [{say: "She is there."}, {call: {name: hangup, arguments: {reason: done}}}]
      after_ms: 50
caller: [{wait: call_end}]
"""


async def run_in_a_call(directory: Path, *, low: tuple[str, ...]) -> tuple[Any, list[str]]:
    """What the record of a stranger's call says of the tool, and how often it was run."""
    ran: list[str] = []
    async with serving_asgi(app_of(crm(ran))) as url:
        servers = {"crm": declared(f"{url}/mcp", low=low)}
        with capture_logs() as logs:
            async with gateway(directory, CALL, mcp=servers) as one:
                await until(lambda: any(entry["event"] == "mcp.connected" for entry in logs))
                report = await one.call(CALL)
                record = one.record(report.call_sid)
    (asked, *_) = record["tool_calls"]
    return asked, ran


async def test_a_call_has_a_tool_run_and_its_record_has_the_answer(tmp_path: Path) -> None:
    asked, ran = await run_in_a_call(tmp_path, low=("find",))

    assert (asked["name"], asked["outcome"]) == ("crm_find", "returned")
    assert json.loads(asked["output"]) == {"found": "Ada", "most": 3}
    assert ran == ["Ada"]


async def test_a_stranger_has_no_tool_run_that_nobody_called_harmless(tmp_path: Path) -> None:
    """The server says of this one that it only reads."""
    asked, ran = await run_in_a_call(tmp_path, low=())

    assert (asked["name"], asked["outcome"]) == ("crm_find", "refused")
    assert ran == []


async def test_in_virtual_time_no_server_is_connected_to(tmp_path: Path) -> None:
    async with serving(Scripted([tool("find")])) as served:
        url = f"http://127.0.0.1:{served.port}/mcp"
        text = f'[mcp.crm]\nurl = "{url}"\nallow_private = ["127.0.0.1"]\n'
        config = read(tmp_path, text)
        done = await trio.to_thread.run_sync(
            partial(rehearse, parse(f"name: test\n{CALL}"), config=config)
        )

        assert served.connections == 0
    assert done.record is not None
    (asked, *_) = done.record["tool_calls"]
    assert (asked["name"], asked["outcome"]) == ("crm_find", "refused")
