"""The server on real loopback sockets: what one peer does wrong, no other peer notices."""

from __future__ import annotations

import socket
from contextlib import suppress
from functools import partial

import pytest
import trio
from structlog.testing import capture_logs
from trio_websocket import ConnectionClosed

from gateway.web.server import ServerLimits, serve
from tests.doors import (
    Receive,
    Send,
    echo_app,
    frame,
    ping,
    read_until_closed,
    serving,
    upgrade,
)

TEXT, BINARY, CLOSE, PING = 1, 2, 8, 9

MALFORMED_REQUESTS = {
    "not-http": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
    "empty-line": b"\r\n\r\n\r\n",
    "no-version": b"GET /\r\n\r\n",
    "http-2-preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "http-9": b"GET / HTTP/9.9\r\nHost: a\r\n\r\n",
    "nul-in-target": b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
    "non-ascii-target": b"GET /\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n",
    "target-is-a-star": b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
    "bad-percent": b"GET /%zz%ff HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "connect": b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n",
    "non-ascii-method": b"G\xcbT / HTTP/1.1\r\nHost: a\r\n\r\n",
    "no-host": b"GET / HTTP/1.1\r\n\r\n",
    "two-hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "non-ascii-host": b"GET / HTTP/1.1\r\nHost: \xff\xfe\r\nConnection: close\r\n\r\n",
    "host-of-brackets": b"GET / HTTP/1.1\r\nHost: [[[\r\nConnection: close\r\n\r\n",
    "header-without-colon": b"GET / HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n",
    "space-before-colon": b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    "folded-header": b"GET / HTTP/1.1\r\nHost: a\r\n b\r\nConnection: close\r\n\r\n",
    "nul-in-header": b"GET / HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n",
    "huge-header": b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
    "many-headers": b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 10_000 + b"\r\n",
    "length-not-a-number": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
    "length-negative": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    "length-huge": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999\r\n\r\n",
    "two-lengths": (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"
    ),
    "length-and-chunks": (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n"
        b"Connection: close\r\n\r\n0\r\n\r\n"
    ),
    "bad-chunk": (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n"
    ),
    "unknown-encoding": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
    "chunks-without-end": (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
         b"1000\r\n" + b"x" * 4096 + b"\r\n"
    ) + (b"1000\r\n" + b"x" * 4096 + b"\r\n") * 20,
    "h2c": (
        b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n"
        b"HTTP2-Settings: \xff!!\r\n\r\n"
    ),
    "crashing-app": b"GET /crash HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
}  # fmt: skip

MALFORMED_HANDSHAKES = {
    "non-ascii-extensions": upgrade(b"/echo", b"Sec-WebSocket-Extensions: \xff\xfe"),
    "non-ascii-protocol": upgrade(b"/echo", b"Sec-WebSocket-Protocol: \xe9"),
    "non-ascii-key": upgrade(b"/echo").replace(b"dGhlIHNh", b"\xff\xfe\xfd\xfc"),
    "no-key": upgrade(b"/echo").replace(b"Sec-WebSocket-Key", b"X-Key"),
    "old-version": upgrade(b"/echo").replace(b"Version: 13", b"Version: 8"),
    "version-non-ascii": upgrade(b"/echo").replace(b"Version: 13", b"Version: \xb9\xb3"),
    "http-1.0": upgrade(b"/echo").replace(b"HTTP/1.1", b"HTTP/1.0"),
    "upgrade-to-both": upgrade(b"/echo").replace(b"Upgrade: websocket", b"Upgrade: h2c, websocket"),
    "non-ascii-upgrade": upgrade(b"/echo").replace(b"Upgrade: websocket", b"Upgrade: w\xebbsocket"),
    "refused": upgrade(b"/refuse"),
    "refused-and-pipelined": upgrade(b"/refuse") + frame(TEXT, b"hello"),
    "crashing-app": upgrade(b"/crash"),
    "crashing-app-pipelined": upgrade(b"/crash") + frame(TEXT, b"hello") * 40,
}

MALFORMED_FRAMES = {
    "unmasked": frame(TEXT, b"hello", masked=False),
    "reserved-bit-1": frame(TEXT, b"hello", rsv=4),
    "reserved-bit-3": frame(TEXT, b"hello", rsv=1),
    "reserved-opcode": frame(3, b"hello"),
    "reserved-control-opcode": frame(0xB, b"hello"),
    "long-ping": frame(PING, b"x" * 126),
    "fragmented-ping": frame(PING, b"x", fin=False),
    "continuation-of-nothing": frame(0, b"hello"),
    "text-inside-text": frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"),
    "invalid-utf-8": frame(TEXT, b"\xff\xfe\xfd"),
    "surrogate-utf-8": frame(TEXT, b"\xed\xa0\x80"),
    "close-of-one-byte": frame(CLOSE, b"\x03"),
    "close-with-reserved-code": frame(CLOSE, b"\x03\xed"),
    "close-with-invalid-reason": frame(CLOSE, b"\x03\xe8\xff\xfe"),
    "close-twice-then-talk": frame(CLOSE, b"\x03\xe8") * 2 + frame(TEXT, b"hello"),
    "too-long": frame(TEXT, b"x" * 20_000),
    "too-long-binary": frame(BINARY, b"x" * 20_000),
    "endless-fragments": frame(TEXT, b"x", fin=False) + frame(0, b"x" * 1000, fin=False) * 40,
    "length-of-an-exabyte": b"\x81\xff\x10" + bytes(11) + b"x" * 20_000,
    "length-with-top-bit": b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00",
    "http-again": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
}  # fmt: skip

PROBES = [
    *(pytest.param(probe, id=f"request-{name}") for name, probe in MALFORMED_REQUESTS.items()),
    *(pytest.param(probe, id=f"handshake-{name}") for name, probe in MALFORMED_HANDSHAKES.items()),
    *(
        pytest.param(upgrade() + probe, id=f"pipelined-{name}")
        for name, probe in MALFORMED_FRAMES.items()
    ),
]

QUICK = ServerLimits(headers_s=0.3, send_s=0.3, silence_s=0.4, ping_s=0.1, drain_s=0.2)


@pytest.mark.parametrize("probe", PROBES)
async def test_a_hostile_peer_is_closed_and_harms_nobody(probe: bytes) -> None:
    """Each of these ends its own connection within its time, and no other."""
    with capture_logs() as logs:
        async with serving(echo_app, QUICK) as server, server.websocket() as bystander:
            await ping(bystander, "before")
            stream = await server.connect()
            with suppress(trio.BrokenResourceError):
                await stream.send_all(probe)
            await read_until_closed(stream)
            await stream.aclose()

            await ping(bystander, "after")
    assert not [entry for entry in logs if entry["event"] == "connection.crashed"]


@pytest.mark.parametrize("probe", MALFORMED_FRAMES.values(), ids=MALFORMED_FRAMES.keys())
async def test_a_hostile_frame_is_answered_with_a_close_frame(probe: bytes) -> None:
    """The peer is told why, with the code that fits, before its socket goes."""
    async with serving(echo_app, QUICK) as server:
        stream = await server.connect()
        await stream.send_all(upgrade())
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 101")
        with suppress(trio.BrokenResourceError):
            await stream.send_all(probe)
        answer = await read_until_closed(stream)
        await stream.aclose()

    assert b"\x88" in answer or not answer


async def test_no_extension_is_ever_negotiated() -> None:
    """Compression costs memory without a bound, and the peers of a call need none."""
    async with serving(echo_app, QUICK) as server:
        stream = await server.connect()
        offer = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=abc"
        await stream.send_all(upgrade(b"/echo", offer))
        answer = await stream.receive_some()
        await stream.aclose()

    assert answer.startswith(b"HTTP/1.1 101")
    assert b"extensions" not in answer.lower()


async def test_frames_behind_the_upgrade_are_heard_after_it() -> None:
    async with serving(echo_app, QUICK) as server:
        stream = await server.connect()
        await stream.send_all(upgrade() + frame(TEXT, b"early"))
        received = b""
        with trio.fail_after(2):
            while b"early" not in received:
                received += await stream.receive_some()
        await stream.aclose()


async def test_a_message_at_the_limit_passes_and_one_byte_more_does_not() -> None:
    limits = ServerLimits(message_bytes=1000, drain_s=0.2)
    async with serving(echo_app, limits) as server, server.websocket() as websocket:
        await ping(websocket, "x" * 1000)
        await websocket.send_message("x" * 1001)
        with pytest.raises(ConnectionClosed) as closed, trio.fail_after(2):
            await websocket.get_message()

    assert closed.value.reason is not None
    assert closed.value.reason.code == 1009


async def test_memory_is_bounded_while_a_peer_sends_without_end() -> None:
    """Behind the message that is too long nothing is read: TCP is closed."""
    async with serving(echo_app, QUICK) as server:
        stream = await server.connect()
        await stream.send_all(upgrade() + frame(TEXT, b"x" * 1000, fin=False))
        sent = 0
        with suppress(trio.BrokenResourceError), trio.fail_after(5):
            while sent < 64 * 1024 * 1024:
                await stream.send_all(frame(0, b"x" * 8000, fin=False))
                sent += 8000
        await stream.aclose()

    # What the kernels on both sides buffer, not what the server would take.
    assert sent < 32 * 1024 * 1024


@pytest.mark.parametrize("size", [64 * 1024, 64 * 1024 + 1])
async def test_a_body_is_taken_up_to_64_kib(size: int) -> None:
    async with serving(echo_app, QUICK) as server:
        stream = await server.connect()
        head = (
            b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        with suppress(trio.BrokenResourceError):
            await stream.send_all(head + b"%x\r\n" % size + b"x" * size + b"\r\n0\r\n\r\n")
        answer = await read_until_closed(stream)
        await stream.aclose()

    assert (b" 200 " in answer) == (size == 64 * 1024)


@pytest.mark.parametrize(
    "beginning",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nX", id="half-a-header"),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc", id="half-a-body"
        ),
        pytest.param(upgrade(), id="websocket-that-answers-no-ping"),
    ],
)
async def test_a_peer_that_goes_silent_is_cut(beginning: bytes) -> None:
    async with serving(echo_app, QUICK) as server:
        stream = await server.connect()
        await stream.send_all(beginning)
        await read_until_closed(stream, within_s=1.5)
        await stream.aclose()


async def test_a_header_that_dribbles_in_is_cut_on_time() -> None:
    """The time runs from the connection and not from the last byte."""
    async with serving(echo_app, QUICK) as server:
        stream = await server.connect()
        started = trio.current_time()
        with suppress(trio.BrokenResourceError):
            while trio.current_time() - started < 2:
                await stream.send_all(b"G")
                await trio.sleep(0.05)
        await stream.aclose()

    assert trio.current_time() - started < 1


async def test_a_live_websocket_may_be_silent_for_as_long_as_it_answers_pings() -> None:
    async with serving(echo_app, QUICK) as server, server.websocket() as websocket:
        await trio.sleep(3 * QUICK.silence_s)
        await ping(websocket, "still here")


async def test_a_peer_that_does_not_read_is_cut_and_does_not_hold_up_the_shutdown() -> None:
    async with serving(echo_app, QUICK) as server:
        stream = await server.connect()
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await stream.send_all(upgrade(b"/flood"))
        await trio.sleep(0.1)
        began_s = trio.current_time()

    assert trio.current_time() - began_s < 1.5
    await stream.aclose()


async def test_an_application_that_floods_a_peer_that_left_yields_to_others() -> None:
    """Sending into the void checkpoints; it would stop the whole process otherwise."""
    async with serving(echo_app, QUICK) as server, server.websocket() as bystander:
        stream = await server.connect()
        await stream.send_all(upgrade(b"/flood"))
        await stream.receive_some()
        await stream.aclose()
        for _ in range(20):
            await ping(bystander, "hello")


async def test_a_crashing_application_closes_its_websocket_with_1011() -> None:
    with capture_logs() as logs:
        async with serving(echo_app, QUICK) as server, server.websocket("/crash") as websocket:
            with pytest.raises(ConnectionClosed) as closed, trio.fail_after(2):
                await websocket.get_message()

    assert closed.value.reason is not None
    assert closed.value.reason.code == 1011
    assert [entry["event"] for entry in logs] == ["application.crashed"]


async def test_a_crashing_application_answers_500() -> None:
    with capture_logs():
        async with serving(echo_app, QUICK) as server:
            assert (await server.get("/crash")).status_code == 500


async def test_a_refused_upgrade_is_403() -> None:
    async with serving(echo_app, QUICK) as server, await server.connect() as stream:
        await stream.send_all(upgrade(b"/refuse"))
        answer = await read_until_closed(stream)

    assert answer.startswith(b"HTTP/1.1 403")


async def test_one_socket_more_than_allowed_is_closed_unread() -> None:
    limits = ServerLimits(sockets=1, drain_s=0.2)
    async with serving(echo_app, limits) as server, server.websocket() as websocket:
        await ping(websocket, "first")
        stream = await server.connect()
        assert await read_until_closed(stream) == b""
        await stream.aclose()
        await ping(websocket, "still first")


async def test_keep_alive_serves_request_after_request() -> None:
    async with serving(echo_app, QUICK) as server:
        stream = await server.connect()
        for body in (b"one", b"two"):
            await stream.send_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n" + body)
            received = b""
            with trio.fail_after(2):
                while not received.endswith(body):
                    received += await stream.receive_some()
        await stream.aclose()


async def test_the_lifespan_of_the_application_runs_around_the_serving() -> None:
    happened: list[str] = []

    async def app(scope: dict[str, object], receive: object, send: object) -> None:
        happened.append("in")
        await echo_app(scope, receive, send)  # type: ignore[arg-type]
        happened.append("out")

    async with serving(app, QUICK):
        assert happened == ["in"]
    assert happened == ["in", "out"]


async def test_an_address_in_use_is_refused_before_serving() -> None:
    async with serving(echo_app, QUICK) as server:
        with pytest.raises(OSError):
            await serve(echo_app, [f"127.0.0.1:{server.port}"])


async def test_cancelling_the_server_leaves_no_connection() -> None:
    async with trio.open_nursery() as nursery:
        (address,) = await nursery.start(partial(serve, echo_app, ["127.0.0.1:0"]))
        stream = await trio.open_tcp_stream("127.0.0.1", int(address.rpartition(":")[2]))
        await stream.send_all(upgrade())
        await stream.receive_some()
        nursery.cancel_scope.cancel()
    await read_until_closed(stream)
    await stream.aclose()


async def test_both_sides_may_close_a_websocket_at_the_same_moment() -> None:
    """A stream that a call leaves is closed by both: neither must trip over the other."""
    leave = trio.Event()

    async def app(scope: dict[str, object], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await echo_app(scope, receive, send)
            return
        await receive()
        await send({"type": "websocket.accept"})
        await leave.wait()
        await send({"type": "websocket.close", "code": 1000})

    with capture_logs() as logs:
        async with serving(app, QUICK) as server:
            for attempt in range(200):
                leave = trio.Event()
                stream = await server.connect()
                await stream.send_all(upgrade())
                await stream.receive_some()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(stream.send_all, frame(CLOSE, b"\x03\xe8"))
                    for _ in range(attempt % 8):
                        await trio.lowlevel.checkpoint()
                    leave.set()
                await stream.aclose()

    assert logs == []
