"""HTTP requests into the public internet, and nowhere else, whoever chose the address.

A name is looked up once per connection, every address it has must be public, and the connection is
made to one of those very addresses: there is no second look that could see something else. This is
done where connections are opened, below everything that could be talked into opening one.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, Protocol

import attrs
import httpcore
import httpx
import trio

from gateway.web.public_address import (
    Barred,
    Network,
    Target,
    is_public,
    is_within,
    redirected,
    target_of,
)

REDIRECTS_MAX: Final = 3
EACH_ADDRESS_S: Final = 2.0
"""For one address of a host that has several: then the next one is tried."""
ADDRESSES_MAX: Final = 16
CONNECTIONS_MAX: Final = 100
IDLE_MAX: Final = 10
IDLE_S: Final = 30.0
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_KEEP_METHOD: Final = frozenset({307, 308})
_SAFE: Final = frozenset({"GET", "HEAD"})
_OURS: Final = (
    (b"accept", b"application/json, text/*;q=0.9"),
    # What is compressed could be longer than it looks.
    (b"accept-encoding", b"identity"),
    (b"user-agent", b"offhook"),
)

Resolve = Callable[[str, int], Awaitable[tuple[str, ...]]]
"""Host and port to addresses. Raises `OSError` if there are none."""
Dial = Callable[[str, int], Awaitable[httpcore.AsyncNetworkStream]]
"""Connects to an address, which is never a name. Raises `httpcore.ConnectError`."""


@attrs.frozen
class Unanswered(Exception):
    """There is no answer that could be used. A sentence for the model, without the address."""

    why: str
    maybe_done: bool = False
    """Whether what was asked for may have been done nevertheless."""

    def __str__(self) -> str:
        return self.why


@attrs.frozen(kw_only=True)
class Question:
    """One request, with its bounds."""

    url: str = attrs.field(repr=False)
    method: str = "GET"
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    """For whoever is asked, and nobody it redirects to."""
    body: bytes | None = attrs.field(default=None, repr=False)
    content_type: str = "application/json"
    """Of the body."""
    timeout_s: float = 6.0
    """For all of it, redirects included."""
    max_bytes: int = 64 * 1024
    """Of the answer's body."""
    allowed: tuple[Network, ...] = ()
    """Private addresses that this host may have."""


@attrs.frozen
class Answer:
    """What came back, whatever its status."""

    status: int
    content_type: str
    body: bytes = attrs.field(repr=False)


class Web(Protocol):
    """Whom requests are given to. A `PublicWeb` is one."""

    async def ask(self, question: Question) -> Answer:
        """Send a request once, and read its answer. Cancellable, bounded by the question.

        Raises:
            Unanswered: There is none, or none that may be used.

        """

    async def aclose(self) -> None:
        """Close every connection. Idempotent."""


async def resolve(host: str, port: int) -> tuple[str, ...]:
    """Ask the system. Cancellable; the thread that asks is left to itself then."""
    try:
        found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # No name that the domain name system could have.
        raise OSError(str(error)) from None
    return tuple(dict.fromkeys(str(one[4][0]) for one in found))


async def dial(address: str, port: int) -> httpcore.AsyncNetworkStream:
    """Connect over TCP. Cancellable."""
    return await httpcore.TrioBackend().connect_tcp(address, port)


@attrs.define(eq=False)
class PublicWeb:
    """A client. One per process is enough; its connections are kept for those who come next.

    Resource handling: whoever makes it calls `aclose`.

    Args:
        resolve: How a name is looked up.
        dial: How an address is connected to.
        make_tls: What certificates are believed. Blocking.

    """

    _resolve: Resolve = resolve
    _dial: Dial = dial
    _make_tls: Callable[[], ssl.SSLContext] = httpx.create_ssl_context
    _tls: ssl.SSLContext | None = attrs.field(default=None, init=False)
    # A connection that was allowed to somebody must not be found by somebody else.
    _pools: dict[tuple[Network, ...], httpcore.AsyncConnectionPool] = attrs.field(
        factory=dict, init=False
    )

    async def ask(self, question: Question) -> Answer:
        """See `Web`."""
        maybe_done = question.method not in _SAFE
        try:
            with trio.fail_after(question.timeout_s):
                return await self._follow(question)
        except trio.TooSlowError:
            why = f"there was no answer within {question.timeout_s:g} s"
            raise Unanswered(why, maybe_done) from None
        except Barred as barred:
            raise Unanswered(barred.why) from None
        except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
            # Of certificates more is said than of the rest: somebody has to mend them.
            is_tls = any(isinstance(one, ssl.SSLError) for one in _causes(error))
            why = "its certificate is not valid" if is_tls else "it could not be reached"
            raise Unanswered(why) from None
        except (
            httpcore.NetworkError,
            httpcore.TimeoutException,
            httpcore.ProtocolError,
            httpcore.UnsupportedProtocol,
        ):
            raise Unanswered("the connection broke", maybe_done) from None

    async def aclose(self) -> None:
        """Close every connection. Idempotent."""
        pools, self._pools = self._pools, {}
        for pool in pools.values():
            await pool.aclose()

    async def _follow(self, question: Question) -> Answer:
        target = target_of(question.url, question.allowed)
        method, body, allowed = question.method, question.body, question.allowed
        headers = [(name.encode(), value.encode()) for name, value in question.headers.items()]
        for _ in range(REDIRECTS_MAX + 1):
            pool = await self.pool(allowed)
            async with pool.stream(
                method,
                _url(target),
                headers=_complete(headers, target, body, question.content_type),
                content=body,
            ) as response:
                location = _header(response, b"location")
                if response.status not in _REDIRECTS or not location:
                    return await _read(response, question, maybe_done=method not in _SAFE)
                status = response.status
            before, target = target, redirected(target, location, allowed)
            if target.origin != before.origin:
                if status in _KEEP_METHOD and method not in _SAFE:
                    raise Barred(f"it redirects a {method} to another host")
                headers, allowed = [], ()
            if status not in _KEEP_METHOD and method not in _SAFE:
                method, body = "GET", None
        raise Barred(f"it redirects more than {REDIRECTS_MAX} times")

    async def pool(self, allowed: tuple[Network, ...]) -> httpcore.AsyncConnectionPool:
        """Connections that reach public addresses, and those that are allowed. Cancellable.

        For whoever speaks more than questions and answers. It judges hosts and addresses; what a
        URL asks for, and where redirects lead, is for `target_of` to judge.
        """
        if self._tls is None:
            # Reads a few hundred certificates, which takes longer than a frame of audio lasts.
            self._tls = await trio.to_thread.run_sync(self._make_tls)
        if allowed not in self._pools:
            self._pools[allowed] = httpcore.AsyncConnectionPool(
                ssl_context=self._tls,
                max_connections=CONNECTIONS_MAX,
                max_keepalive_connections=IDLE_MAX,
                keepalive_expiry=IDLE_S,
                network_backend=_Guard(self._resolve, self._dial, allowed),
            )
        return self._pools[allowed]


@attrs.define(eq=False)
class _Guard(httpcore.AsyncNetworkBackend):
    """Where every connection is opened: looks up, judges, and connects to what it judged."""

    _resolve: Resolve
    _dial: Dial
    _allowed: tuple[Network, ...]

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's interface; never given.
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the public addresses of a host, one after another.

        Raises:
            Barred: One of its addresses is not public, and not allowed.
            httpcore.ConnectError: None of them answers.

        """
        del timeout, local_address, socket_options
        try:
            addresses = await self._resolve(host, port)
        except OSError as error:
            raise httpcore.ConnectError(type(error).__name__) from None
        for address in addresses:
            # All of them: of a host with two faces, none is to be trusted.
            if not (is_public(address) or is_within(address, self._allowed)):
                raise Barred("its address is not a public one")
        failure = httpcore.ConnectError("no address")
        for address in addresses[:ADDRESSES_MAX]:
            with trio.move_on_after(EACH_ADDRESS_S):
                try:
                    return await self._dial(address, port)
                except httpcore.ConnectError as error:
                    failure = error
        raise failure

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - as above.
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Nobody's socket is public."""
        del path, timeout, socket_options
        await trio.lowlevel.checkpoint()
        raise Barred("its address is not a public one")

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await trio.sleep(seconds)


async def _read(response: httpcore.Response, question: Question, *, maybe_done: bool) -> Answer:
    """Read a body as far as it may go, and no further."""
    if (_header(response, b"content-encoding") or "identity").strip().lower() != "identity":
        raise Unanswered("its answer is compressed, which nobody asked for", maybe_done)
    too_long = Unanswered(
        f"its answer, with status {response.status}, is longer than {question.max_bytes} bytes",
        maybe_done,
    )
    announced = _header(response, b"content-length") or ""
    if announced.isdigit() and int(announced[:20]) > question.max_bytes:
        raise too_long
    body = bytearray()
    try:
        async for chunk in response.aiter_stream():
            body += chunk
            if len(body) > question.max_bytes:
                # The generators of httpcore close one another only by what fails within.
                await response.aclose()
    except httpcore.ReadError:
        if len(body) <= question.max_bytes:
            raise
    if len(body) > question.max_bytes:
        raise too_long
    return Answer(response.status, _header(response, b"content-type") or "", bytes(body))


def _url(target: Target) -> httpcore.URL:
    return httpcore.URL(
        scheme=target.scheme, host=target.host, port=target.port, target=target.path
    )


def _complete(
    headers: list[tuple[bytes, bytes]], target: Target, body: bytes | None, content_type: str
) -> list[tuple[bytes, bytes]]:
    names = {name.lower() for name, _ in headers}
    ours = [(b"host", target.url.netloc)]
    ours += [(name, value) for name, value in _OURS if name not in names]
    if body is not None:
        ours.append((b"content-type", content_type.encode()))
    return [*ours, *headers]


def _header(response: httpcore.Response, wanted: bytes) -> str | None:
    for name, value in response.headers:
        if name.lower() == wanted:
            return value.decode("latin-1")
    return None


def _causes(error: BaseException | None) -> Iterable[BaseException]:
    for _ in range(10):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__
