"""What the SDK's client speaks through: to public addresses only, bounded in time and size.

The SDK brings its own HTTP client, and lets one request that fails take the connection along, with
whatever else is under way on it. So here nothing fails: what could not be sent or read becomes an
answer of its own, which says so to whoever asked, and to nobody else.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Final

import attrs
import httpcore
import httpx2
import orjson
import trio

from gateway.web.public_address import Barred, Network, target_of
from gateway.web.public_web import PublicWeb

NOT_SENT: Final = -32050
"""Our own code of an error: nobody was asked. A server that uses it fools nobody but itself."""
BROKEN: Final = -32051
"""Likewise: somebody was asked, and the answer cannot be used."""

ANSWER_MAX_BYTES: Final = 64 * 1024
"""Of one answer. The SDK takes 3 ms to read that much, during which nobody's audio moves."""
LISTING_MAX_BYTES: Final = 256 * 1024
"""Of one page of tools. It is read when the connection begins, and every few minutes: 10 ms."""
STREAM_MAX_BYTES: Final = 1024 * 1024
"""Of the stream on which a server says what it likes. One that says more is heard anew later."""
PIECE_BYTES: Final = 4 * 1024
"""Of a stream, read at a time: some 80 messages, each of which may have the SDK begin a task."""
PIECE_S: Final = 0.005
"""Between two pieces of an answer."""
NEWS_S: Final = 0.05
"""Likewise of the stream that nobody waits for."""
NOTICE_S: Final = 2.0
"""For telling the server something. It is told in order, and the next request waits for it."""
_FAILURES: Final = (
    httpcore.NetworkError,
    httpcore.TimeoutException,
    httpcore.ProtocolError,
    httpcore.UnsupportedProtocol,
    trio.TooSlowError,
)
FORGOTTEN: Final = "its server has begun anew, and can be asked again in a moment"
_SESSION: Final = "mcp-session-id"
_SSE: Final = "text/event-stream"


@attrs.frozen
class _Unusable(Exception):
    """An answer that is not used."""

    why: str


@attrs.define(eq=False)
class McpTransport(httpx2.AsyncBaseTransport):
    """Requests of one server's client.

    Resource handling: its connections are those of `web`, which outlives it.

    Args:
        web: Which opens them.
        allowed: Private addresses that the server may have.
        longest_s: For one request and its answer, whatever it is.

    """

    _web: PublicWeb
    _allowed: tuple[Network, ...]
    _longest_s: float

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request once. Cancellable.

        Raises:
            httpx2.TransportError: It was no message, and could not be sent: that hurts nobody.

        """
        asks = request.method == "POST"
        message = orjson.loads(request.content) if asks else {}
        message_id = message.get("id") if "method" in message else None
        most = _most(message) if asks else STREAM_MAX_BYTES
        is_notice = asks and message_id is None
        deadline = trio.current_time() + (NOTICE_S if is_notice else self._longest_s)
        code, why = BROKEN, "the connection broke"
        try:
            with trio.fail_at(deadline):
                response = await self._send(request)
                if not _is_stream(response):
                    return _remembered(await _whole(response, most), request)
            return streamed(response, deadline if asks else None, most)
        except Barred as barred:
            code, why = NOT_SENT, barred.why
        except (httpcore.ConnectError, httpcore.ConnectTimeout):
            code, why = NOT_SENT, "it could not be reached"
        except _Unusable as unusable:
            why = unusable.why
        except _FAILURES:
            pass
        if is_notice:
            # Nobody waits for an answer to it. What it says is noticed otherwise, if at all.
            return httpx2.Response(202)
        if not asks:
            raise httpx2.ReadError(why, request=request)
        error = {"jsonrpc": "2.0", "id": message_id, "error": {"code": code, "message": why}}
        return httpx2.Response(502, json=error)

    async def _send(self, request: httpx2.Request) -> httpcore.Response:
        # Here, and not at the configuration alone: the client follows redirects by itself.
        target = target_of(str(request.url), self._allowed)
        pool = await self._web.pool(self._allowed)
        headers = [
            (name, value)
            for name, value in request.headers.raw
            if name.lower() not in (b"accept-encoding", b"user-agent")
        ]
        # What is compressed could be longer than it looks.
        headers += [(b"accept-encoding", b"identity"), (b"user-agent", b"offhook")]
        return await pool.handle_async_request(
            httpcore.Request(
                request.method,
                httpcore.URL(
                    scheme=target.scheme, host=target.host, port=target.port, target=target.path
                ),
                headers=headers,
                content=_Body(await request.aread()),
            )
        )


@attrs.define
class _Body:
    """What is sent. No generator: one that is cancelled is left to the garbage collector."""

    _content: bytes

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        await trio.lowlevel.checkpoint()
        content, self._content = self._content, b""
        if not content:
            raise StopAsyncIteration
        return content


def _most(message: Mapping[str, object]) -> int:
    """How long the answer to a message may be, in bytes."""
    return LISTING_MAX_BYTES if message.get("method") == "tools/list" else ANSWER_MAX_BYTES


def _is_stream(response: httpcore.Response) -> bool:
    headers = httpx2.Headers(response.headers)
    return headers.get("content-type", "").lower().startswith(_SSE) and response.status == 200


async def _whole(response: httpcore.Response, most: int) -> httpx2.Response:
    """An answer that has an end.

    Raises:
        _Unusable: It is compressed, or longer than it may be.

    """
    body = bytearray()
    chunks = _Chunks(response, None, most)
    try:
        async for chunk in chunks:
            body += chunk
    except httpx2.ReadError as error:
        raise _Unusable(str(error)) from None
    finally:
        await chunks.aclose()
    return httpx2.Response(response.status, headers=_headers(response), content=bytes(body))


def _remembered(answer: httpx2.Response, request: httpx2.Request) -> httpx2.Response:
    """The same answer, from a server that still knows the session.

    Raises:
        Barred: It does not, and so nothing was run. Source: "Streamable HTTP", MCP 2025-06-18. The
            client would take it for just any refusal.

    """
    if answer.status_code == 404 and request.method == "POST" and _SESSION in request.headers:
        raise Barred(FORGOTTEN)
    return answer


def streamed(response: httpcore.Response, deadline: float | None, most: int) -> httpx2.Response:
    """An answer that comes bit by bit; with no deadline, the stream that lasts."""
    pause_s = NEWS_S if deadline is None else PIECE_S
    chunks = _Chunks(response, deadline, most, pause_s)
    return httpx2.Response(response.status, headers=_headers(response), stream=chunks)


def _headers(response: httpcore.Response) -> list[tuple[bytes, bytes]]:
    """Those that still say what is true of a body that was read."""
    gone = (b"transfer-encoding", b"content-length", b"content-encoding")
    return [(name, value) for name, value in response.headers if name.lower() not in gone]


@attrs.define(eq=False)
class _Chunks(httpx2.AsyncByteStream):
    """A body as it comes, up to its bounds.

    Resource handling: whoever has it calls `aclose`, which gives the connection back.
    """

    _response: httpcore.Response
    _deadline: float | None
    """On trio's clock; `None`: it may last."""
    _left: int
    _pause_s: float = 0.0
    """Before each piece, so that others' turns come between; 0: it is read as it comes."""
    _bytes: AsyncIterator[bytes] | None = None
    _held: bytes = attrs.field(default=b"", init=False)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._bytes is None:
            self._bytes = self._response.aiter_stream()
            encoding = httpx2.Headers(self._response.headers).get("content-encoding", "identity")
            if encoding.strip().lower() != "identity":
                raise httpx2.ReadError("its answer is compressed, which nobody asked for")
        try:
            with trio.fail_at(self._deadline or float("inf")):
                if self._held:
                    await trio.sleep(self._pause_s)
                    return self._piece()
                chunk = await anext(self._bytes)
        except trio.TooSlowError:
            raise httpx2.ReadTimeout("its answer takes too long") from None
        except _FAILURES:
            raise httpx2.ReadError("the connection broke") from None
        self._left -= len(chunk)
        if self._left < 0:
            raise httpx2.ReadError("its answer is too long")
        self._held = chunk
        return self._piece()

    def _piece(self) -> bytes:
        size = PIECE_BYTES if self._pause_s else len(self._held)
        piece, self._held = self._held[:size], self._held[size:]
        return piece

    async def aclose(self) -> None:
        """Give the connection back. Idempotent."""
        with trio.move_on_after(NOTICE_S, shield=True):
            await self._response.aclose()
            if self._bytes is not None:
                # The generators of httpcore close one another only by what fails within.
                with suppress(*_FAILURES, RuntimeError):
                    async for _ in self._bytes:
                        pass
