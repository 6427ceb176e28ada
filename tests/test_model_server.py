"""The rehearsal model over real sockets: admission, faults, and nobody can harm anybody else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import orjson
import pytest
import structlog
import trio
from trio_websocket import (
    CloseReason,
    ConnectionClosed,
    WebSocketConnection,
    open_websocket_url,
)

from gateway.lab.openai.model_server import ModelServer, serve_model
from gateway.lab.rehearsing.scenario import Failure, Fault, FaultPoint, ModelScript, Scenario
from tests.model_client import Json, hum, script

KEY = (b"authorization", b"Bearer sk-rehearsal")
UPGRADE_HEADERS = (
    b"Host: localhost",
    b"Upgrade: websocket",
    b"Connection: Upgrade",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    b"Sec-WebSocket-Version: 13",
)


@asynccontextmanager
async def serving(model_script: ModelScript) -> AsyncIterator[ModelServer]:
    """A server on a free port for as long as the block lasts."""
    async with trio.open_nursery() as nursery:
        scenario = Scenario("test", model=model_script)
        server = await nursery.start(partial(serve_model, scenario, voice=hum))
        yield server
        nursery.cancel_scope.cancel()


def open_session(
    server: ModelServer,
    query: str = "?model=gpt-realtime-2.1",
    headers: tuple[tuple[bytes, bytes], ...] = (KEY,),
) -> Any:  # noqa: ANN401 (the library's context manager)
    return open_websocket_url(server.url + query, extra_headers=list(headers))


async def upgrade(
    server: ModelServer,
    query: str = "?model=gpt-realtime",
    headers: tuple[tuple[bytes, bytes], ...] = (KEY,),
) -> bytes:
    """Ask for a WebSocket and be told no. Returns the whole answer."""
    lines = [b"GET /v1/realtime%s HTTP/1.1" % query.encode(), *UPGRADE_HEADERS]
    lines += [b"%s: %s" % header for header in headers]
    stream = await trio.open_tcp_stream("127.0.0.1", server.port)
    async with stream:
        await stream.send_all(b"\r\n".join([*lines, b"", b""]))
        return b"".join([data async for data in stream])


async def event(socket: WebSocketConnection) -> Json:
    parsed: Json = orjson.loads(await socket.get_message())
    return parsed


async def closing(socket: WebSocketConnection) -> tuple[int, str | None]:
    """Read to the end. Returns code and reason."""
    try:
        while True:
            await socket.get_message()
    except ConnectionClosed as closed:
        reason = closed.reason or CloseReason(1006, None)
        # The library leaves a client's TCP connection open when the server closed first.
        await trio.aclose_forcefully(socket._stream)
        return reason.code, reason.reason


async def test_a_session_is_served() -> None:
    async with serving(script("Hello.")) as server, open_session(server) as socket:
        created = await event(socket)
        await socket.send_message('{"type":"response.create"}')
        kinds = [(await event(socket))["type"] for _ in range(6)]

        assert created["session"]["model"] == "gpt-realtime-2.1"
        assert kinds[0] == "response.created"
        assert kinds[-1] == "response.output_audio.delta"
        assert [e["type"] for e in server.sessions[0].received] == ["response.create"]


async def test_every_connection_hears_the_scenario_from_its_beginning() -> None:
    async with serving(script("First.", "Second.")) as server:
        for _ in range(2):
            async with open_session(server) as socket:
                await event(socket)
                await socket.send_message('{"type":"response.create"}')
                while (told := await event(socket))["type"] != "response.content_part.done":
                    pass
                assert told["part"]["transcript"] == "First."

        first, second = (model.session["id"] for model in server.sessions)
        assert first != second


@pytest.mark.parametrize(
    ("query", "headers", "status"),
    [
        pytest.param("?model=gpt-realtime", (), 401, id="no-key"),
        pytest.param("?model=m", ((b"authorization", b"Basic sk-x"),), 401, id="not-a-bearer"),
        pytest.param("?model=m", ((b"authorization", b"Bearer x"),), 401, id="not-a-key"),
        pytest.param("", (KEY,), 400, id="no-model"),
        pytest.param("/sideband?model=gpt-realtime", (KEY,), 404, id="other-path"),
    ],
)
async def test_a_bad_upgrade_is_rejected(
    query: str, headers: tuple[tuple[bytes, bytes], ...], status: int
) -> None:
    async with serving(script()) as server:
        answer = await upgrade(server, query, headers)

    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert orjson.loads(answer.partition(b"\r\n\r\n")[2])["error"]["message"]


@pytest.mark.parametrize(
    ("query", "headers", "told", "code"),
    [
        ("?model=gpt-realtime", ((b"authorization", b"Bearer sk-wrong"),), None, 3000),
        (
            "?model=gpt-realtime",
            (KEY, (b"openai-beta", b"realtime=v1")),
            "beta_api_shape_disabled",
            4000,
        ),
        ("?model=gpt-surreal", (KEY,), "model_not_found", 4000),
    ],
)
async def test_what_the_real_server_tells_after_the_upgrade_is_told_after_the_upgrade(
    query: str, headers: tuple[tuple[bytes, bytes], ...], told: str | None, code: int
) -> None:
    async with serving(script()) as server, open_session(server, query, headers) as socket:
        if told is not None:
            assert (await event(socket))["error"]["code"] == told
        reason = f"invalid_request_error.{told or 'invalid_api_key'}"

        assert await closing(socket) == (code, reason)
        assert len(server.sessions) == 0


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_refusing_scenario_refuses_before_there_is_a_websocket(status: int) -> None:
    fault = Fault(FaultPoint(connect=True), "refuse", http_status=status, connections=1)
    async with serving(ModelScript(faults=(fault,))) as server:
        answer = await upgrade(server)
        async with open_session(server) as socket:
            assert (await event(socket))["type"] == "session.created"

        assert answer.startswith(b"HTTP/1.1 %d " % status)
        assert (b"retry-after" in answer) == (status == 429)
        assert server.connections == 2


async def test_a_close_at_connect_can_say_why() -> None:
    quota = Failure("insufficient_quota", "You exceeded your quota.", "insufficient_quota")
    fault = Fault(FaultPoint(connect=True), "close", code=4000, reason="x.y", error=quota)
    async with (
        serving(ModelScript(faults=(fault,))) as server,
        open_session(server) as socket,
    ):
        assert (await event(socket))["error"]["code"] == "insufficient_quota"
        assert await closing(socket) == (4000, "x.y")


async def test_a_server_that_ignores_the_close_leaves_its_client_waiting() -> None:
    fault = Fault(FaultPoint(at_ms=0), "ignore_close")
    async with serving(ModelScript(faults=(fault,))) as server, open_session(server) as socket:
        await event(socket)
        await trio.sleep(0.05)
        with trio.move_on_after(0.3) as patience:
            await socket.aclose()

    assert patience.cancelled_caught


async def test_a_client_that_just_goes_away_leaves_nothing_running() -> None:
    async with serving(script("Hello." * 50)) as server:
        tasks_before = trio.lowlevel.current_statistics().tasks_living
        async with open_session(server) as socket:
            await event(socket)
            await socket.send_message('{"type":"response.create"}')
            await event(socket)
            await trio.aclose_forcefully(socket._stream)
        while trio.lowlevel.current_statistics().tasks_living > tasks_before:
            await trio.testing.wait_all_tasks_blocked(0.001)


UPGRADE = b"\r\n".join(
    [
        b"GET /v1/realtime?model=gpt-realtime HTTP/1.1",
        *UPGRADE_HEADERS,
        b"Authorization: Bearer sk-x",
        b"",
        b"",
    ]
)


@pytest.mark.parametrize(
    "junk",
    [
        pytest.param(b"\x00\xff\xfe", id="noise"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", id="plain-http"),
        pytest.param(UPGRADE.replace(b"localhost", b"\xff\xfe"), id="host-not-ascii"),
        pytest.param(UPGRADE.replace(b": Upgrade", b": \xff"), id="connection-not-ascii"),
        pytest.param(UPGRADE.replace(b"sk-x", b"sk-\xff"), id="key-not-ascii"),
        pytest.param(UPGRADE.replace(b"?model", b"?\xff"), id="path-not-ascii"),
        pytest.param(
            UPGRADE[:-2] + b"Sec-WebSocket-Protocol: \xff\r\n\r\n", id="protocol-not-ascii"
        ),
        pytest.param(
            UPGRADE[:-2] + b"Sec-WebSocket-Extensions: \xff\r\n\r\n", id="extension-not-ascii"
        ),
        pytest.param(UPGRADE + b"\xff" * 200, id="frames-of-noise"),
        pytest.param(UPGRADE + b"\x81\x85\x00\x00\x00\x00\xff\xff\xff\xff\xff", id="text-not-utf8"),
        pytest.param(b"", id="nothing"),
    ],
)
async def test_no_request_harms_another_session(junk: bytes) -> None:
    with structlog.testing.capture_logs():
        async with serving(script()) as server, open_session(server) as bystander:
            await event(bystander)
            stream = await trio.open_tcp_stream("127.0.0.1", server.port)
            if junk:
                await stream.send_all(junk)
            with trio.move_on_after(0.05):
                while await stream.receive_some():
                    pass
            await trio.aclose_forcefully(stream)

            await bystander.send_message('{"type":"response.cancel"}')
            assert (await event(bystander))["error"]["code"] == "response_cancel_not_active"
            async with open_session(server) as newcomer:
                assert (await event(newcomer))["type"] == "session.created"


async def test_a_failing_connection_is_logged_without_quoting_it() -> None:
    with structlog.testing.capture_logs() as logs:
        async with serving(script()) as server:
            stream = await trio.open_tcp_stream("127.0.0.1", server.port)
            await stream.send_all(UPGRADE.replace(b"localhost", b"\xff\xfe"))
            with trio.move_on_after(1):
                await stream.receive_some()
            await trio.aclose_forcefully(stream)

    (entry,) = logs
    assert entry["event"] == "model.connection_failed"
    assert set(entry) == {"event", "log_level", "error"}
