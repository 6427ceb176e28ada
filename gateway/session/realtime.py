"""The OpenAI Realtime WebSocket as a `Session`: connect, configure, keep alive, close."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, NoReturn, Protocol
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import attrs
import structlog
import trio
from trio_websocket import ConnectionClosed
from wsproto.utilities import LocalProtocolError

from actors.errors import FATAL_CODES, PeerGone, ProtocolError, SessionRefused
from actors.messages import (
    AppendAudio,
    ChangeSession,
    OrderRefused,
    SessionFact,
    SessionLive,
    SessionOrder,
)
from actors.wire import openai as wire
from actors.wire import openai_session
from gateway.configuration.config import OpenAISettings, auth_headers
from gateway.records.tap import Content, Flight, Place, Unsent, from_model, to_model, without
from gateway.session.listings import Listings
from gateway.session.transcode import Transcoder, transcoder
from gateway.web.client_socket import CannotOpen, over_websocket

log: structlog.stdlib.BoundLogger = structlog.get_logger()

NO_USE_TRYING: Final = frozenset({400, 401, 403, 404})
"""Refused upgrades that stay refused: request, key, access, model."""

SERVER_FAULT: Final = "server_error"
"""The type of an error that is not ours: another session may do better."""
NAMES_A_MODEL: Final = frozenset({"model", "deployment"})
"""In the query of a URL. The second: what Azure calls one of its own."""

NO_CLOSE_FRAME: Final = 1006
"""What stands for a connection that just ended. Source: RFC 6455, section 7.4.1."""

BROKEN: Final = (trio.BrokenResourceError, trio.ClosedResourceError, LocalProtocolError)
"""What sending raises beside `ConnectionClosed`. The last: the library is closing because of what
the peer sent, and does not say so yet."""


@attrs.frozen
class Patience:
    """How long a session's server is waited for."""

    connect_s: float = 3.0
    """One attempt: TCP, TLS, the upgrade and the confirmed configuration. Observed: well under one
    second; longer, and the caller hears more than a breath of silence."""
    retry_pause_s: float = 0.25
    """Before the second and last attempt."""
    send_s: float = 1.0
    """One message. The kernel takes it at once unless the peer has stopped reading."""
    close_s: float = 0.15
    """The whole goodbye: within what a lost leg may leave behind, which is 250 ms."""
    ping_every_s: float = 5.0
    """A line that swallows everything is found out by this alone while the caller waits."""
    pong_s: float = 5.0


DEFAULT_PATIENCE: Final = Patience()


class Socket(Protocol):
    """The part of a WebSocket that a session needs; `trio_websocket` has it."""

    async def send_message(self, message: str | bytes) -> None:
        """Send one message; raises `ConnectionClosed`."""

    async def get_message(self) -> str | bytes:
        """Wait for the next message; raises `ConnectionClosed`."""

    async def ping(self) -> None:
        """Send a ping and wait for its pong."""

    async def aclose(self, code: int = 1000, reason: str | None = None) -> None:
        """Say goodbye and close."""


Use = Callable[[Socket], Awaitable[None]]
Connect = Callable[[Use], Awaitable[object]]
"""Opens the socket, lets it be used, and leaves nothing open. Raises `CannotOpen`."""


def url_for(base_url: str, model: str) -> str:
    """Where a session with `model` is had. A URL that names one itself is taken at its word."""
    parts = urlsplit(base_url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    if not NAMES_A_MODEL.intersection(key for key, _ in query):
        query.append(("model", model))
    return urlunsplit(parts._replace(query=urlencode(query)))


def connect_to(
    settings: OpenAISettings, model: str, patience: Patience = DEFAULT_PATIENCE
) -> Connect:
    """How to reach the model's server."""
    url = url_for(settings.realtime_url, model)

    async def connect(use: Use) -> None:
        # Revealed here and kept nowhere: what is kept can be printed.
        headers = auth_headers(settings, url)
        await over_websocket(
            url, headers, use, connect_s=patience.connect_s, close_s=patience.close_s
        )

    return connect


@attrs.define(eq=False)
class RealtimeSession:
    """A `Session` over one WebSocket. Start `run` in a nursery; everything else is the port.

    Resource handling: `run` owns the socket; `aclose` ends `run` and waits for it.
    Error handling: what goes wrong while connecting is raised by `receive` and `send`.
    """

    connect: Connect = attrs.field(repr=False)
    settings: openai_session.SessionSettings
    """What it is asked to be, every `ChangeSession` included: a successor begins with these."""
    patience: Patience = DEFAULT_PATIENCE
    flight: Flight | None = None
    """Is told what crosses the socket, from the first attempt on."""
    heard_s: float = attrs.field(default=float("-inf"), init=False)
    """When the server gave its last sign of life, on trio's clock."""
    ignored: Counter[str] = attrs.field(factory=Counter[str], init=False)
    """Events of types nobody told us of, by type, and those that could not be read."""
    _listings: Listings = attrs.field(factory=Listings, init=False)
    _socket: Socket | None = attrs.field(default=None, init=False)
    _live: trio.Event = attrs.field(factory=trio.Event, init=False)
    """Set when the session is live, and also when it never will be: see `_failure`."""
    _failure: PeerGone | SessionRefused | None = attrs.field(default=None, init=False)
    _facts: deque[SessionFact] = attrs.field(factory=deque[SessionFact], init=False)
    """Facts of an event already read."""
    _transcoder: Transcoder = attrs.field(init=False)
    """Of this connection: it remembers what went over it."""
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _running: bool = attrs.field(default=False, init=False)
    _ended: trio.Event = attrs.field(factory=trio.Event, init=False)

    async def run(self) -> None:
        """Connect, configure, and keep the socket open until `aclose`.

        Cancellable; never raises because of the peer.
        """
        self._running = True
        try:
            with self._scope:
                await self._connect()
        finally:
            if self.ignored:
                log.info("session.events_ignored", counts=dict(self.ignored))
            self._fail(PeerGone("session", None, "closed"))
            self._ended.set()

    async def receive(self) -> SessionFact:
        """See the `Session` port."""
        socket = await self._ready()
        while not self._facts:
            event = self._read(await self._next(socket))
            if event is not None:
                self._take_in(event)
        return self._facts.popleft()

    async def send(self, order: SessionOrder) -> None:
        """See the `Session` port."""
        socket = await self._ready()
        match order:
            case AppendAudio(payload):
                spoken = self._transcoder.to_session(payload)
                if spoken:
                    await self._send(socket, wire.encode(AppendAudio(spoken)), order)
                else:
                    await trio.lowlevel.checkpoint()
                    self._note_sent("", order)  # A resampler has it, and it is on its way.
            case ChangeSession():
                # Before it is sent: what follows, and whoever comes after us, builds on it.
                self.settings = openai_session.changed(self.settings, order)
                await self._send(socket, openai_session.encode_change(self.settings, order))
            case _:
                await self._send(socket, wire.encode(order))

    async def send_event(self, text: str) -> None:
        """Send one client event as it stands, once live. Cancellable like `send`.

        Raises:
            PeerGone: As from `send`.
            SessionRefused: As from `receive`.

        """
        socket = await self._ready()
        await self._send(socket, text)

    async def aclose(self) -> None:
        """See the `Session` port."""
        self._note("model.closed", ["us"])
        if self._socket is not None:
            with trio.move_on_after(self.patience.close_s, shield=True):
                with suppress(ConnectionClosed, *BROKEN):
                    await self._socket.aclose()
        self._scope.cancel("the session is closed")
        if self._running:
            with trio.move_on_after(self.patience.close_s, shield=True):
                await self._ended.wait()

    async def _connect(self) -> None:
        failure = await self._attempt()
        if isinstance(failure, PeerGone) and not self._live.is_set():
            log.warning("session.connect_failed", why=str(failure))
            await trio.sleep(self.patience.retry_pause_s)
            failure = await self._attempt()
        self._fail(failure)

    async def _attempt(self) -> PeerGone | SessionRefused:
        """Connect once, and live for as long as that lasts. Returns what ended it."""
        failure: PeerGone | SessionRefused | None = None

        async def live(socket: Socket) -> None:
            nonlocal failure
            self._note("model.connect", ["open"])
            try:
                await self._configure(socket)
                attempt.deadline = float("inf")
                self._socket = socket
                self._live.set()
                await self._keep_alive(socket)
            except (PeerGone, SessionRefused) as error:
                failure = error

        limit_s = self.patience.connect_s
        self._note("model.connect", ["begin"])
        with trio.move_on_after(limit_s) as attempt:
            try:
                await self.connect(live)
            except CannotOpen as error:
                self._note("model.connect", ["refused", error.reason, error.status])
                return _refusal(error)
        return failure or PeerGone(
            "session", None, f"not live within {self.patience.connect_s:g} s"
        )

    async def _configure(self, socket: Socket) -> None:
        """Make the session ours. Healthy only at `session.created`, live only at the echo.

        Raises:
            PeerGone: It closed.
            SessionRefused: It does not want to, or does not do what it was asked to.

        """
        self._transcoder = transcoder(self.settings.audio)
        with suppress(PeerGone, SessionRefused):
            # A server that will not have us may have closed already. It said why before that,
            # and reading finds out.
            await self._send(socket, openai_session.encode_update(self.settings))
        created = False
        while True:
            match self._read(await self._next(socket)):
                case wire.SessionCreated():
                    created = True
                case wire.SessionUpdated(session) if created:
                    if not wire.formats_confirmed(session, self.settings.audio):
                        raise SessionRefused(
                            "format_not_applied",
                            f"the session did not take on {self.settings.audio}",
                        )
                    self._facts.append(SessionLive(session.id, session.expires_at))
                    return
                case wire.ErrorEvent(error) if error.type == SERVER_FAULT:
                    raise PeerGone("session", None, f"failed to set up: {error.code or error.type}")
                case wire.ErrorEvent(error):
                    where = f" at {error.param}" if error.param else ""
                    code = error.code or error.type
                    raise SessionRefused(code, f"the session's set-up was refused{where}")
                case _:
                    pass

    async def _keep_alive(self, socket: Socket) -> NoReturn:
        """Ping for as long as the session lives.

        Raises:
            PeerGone: It does not answer.

        """
        pong_s = self.patience.pong_s
        while True:
            await trio.sleep(self.patience.ping_every_s)
            try:
                with trio.fail_after(pong_s):
                    await socket.ping()
                self.heard_s = trio.current_time()
            except trio.TooSlowError:
                self._note("model.closed", ["no pong"])
                # Leaving the context closes the socket, and wakes whoever reads it.
                self._failure = PeerGone(
                    "session", None, f"no pong within {self.patience.pong_s:g} s"
                )
                raise self._failure from None
            except (ConnectionClosed, *BROKEN):
                break  # Whoever reads it says why, and closes this end.
        await trio.sleep_forever()

    async def _ready(self) -> Socket:
        if not self._live.is_set():  # An event that is set still costs a turn of the scheduler.
            await self._live.wait()
        if self._failure is not None:
            await trio.lowlevel.checkpoint()
            raise self._failure
        if self._socket is None:
            raise AssertionError("live without a socket")
        return self._socket

    async def _next(self, socket: Socket) -> str | bytes:
        try:
            message = await socket.get_message()
        except ConnectionClosed as closed:
            raise self._why_closed(closed) from None
        self.heard_s = trio.current_time()
        return message

    async def _send(self, socket: Socket, text: str, audio: AppendAudio | None = None) -> None:
        """Send one event; `audio` if that is all there is in it, as the call gave it."""
        unsent = Unsent(self._note, "model.closed", trio.current_time)
        with trio.move_on_after(self.patience.send_s), unsent:
            try:
                await socket.send_message(text)
            except ConnectionClosed as closed:
                raise self._why_closed(closed) from None
            except BROKEN:
                self._note("model.closed", ["broken"])
                raise self._failure or PeerGone("session", None, "the connection broke") from None
            self._note_sent(text, audio)
            return
        # Half a message may be out, and nothing that follows it would make sense.
        self._failure = PeerGone("session", None, f"did not read for {self.patience.send_s:g} s")
        raise self._failure

    def _read(self, text: str | bytes) -> wire.ServerEvent | None:
        """One event; `None` when it cannot be read: one event is not worth a call."""
        try:
            event = wire.decode(text)
        except ProtocolError as error:
            seen = without(openai_session.secrets_of(self.settings), text)
            self._note("model.in", from_model(seen, None, with_audio=False))
            self.ignored["unreadable"] += 1
            log.warning("session.event_unreadable", what=error.what)
            return None
        if self.flight is not None:
            seen = without(openai_session.secrets_of(self.settings), text)
            content = from_model(seen, event, with_audio=self.flight.with_audio)
            self.flight.note("model.in", content)
        self._listings.note(event)
        if isinstance(event, wire.Unrecognised) and event.type not in wire.UNREAD:
            self._ignore(event.type)
        return event

    def _ignore(self, kind: str) -> None:
        """Count an event of no meaning to us. The count of kinds is bounded: names are foreign."""
        known = kind in self.ignored or len(self.ignored) < 100
        self.ignored[kind if known else "other"] += 1

    def _take_in(self, event: wire.ServerEvent) -> None:
        for heard in self._transcoder.to_call(event):
            self._facts.extend(wire.to_facts(heard))
        if isinstance(event, wire.ErrorEvent):
            code = event.error.code or event.error.type
            if code in FATAL_CODES:
                raise SessionRefused(code, "the session was ended by its server")
            log.info("session.order_refused", code=code, param=event.error.param)
            self._facts.append(OrderRefused(code))

    def _why_closed(self, closed: ConnectionClosed) -> PeerGone | SessionRefused:
        """What a close means. Its reason is `<error type>.<error code>` when we are to blame."""
        if self._failure is not None:
            return self._failure
        reason = closed.reason
        told: list[object] = ["broken"]
        if reason is not None:
            told = ["peer", reason.code, reason.reason]
        self._note("model.closed", told)
        if reason is None or reason.code == NO_CLOSE_FRAME:
            return PeerGone("session", None, "the connection broke")
        words = reason.reason or ""
        code = words.rpartition(".")[2]
        if code in FATAL_CODES:
            return SessionRefused(code, "the session was closed by its server")
        return PeerGone("session", reason.code, words)

    def _note_sent(self, text: str, audio: AppendAudio | None) -> None:
        if self.flight is not None:
            content = to_model(text, audio, with_audio=self.flight.with_audio)
            self.flight.note("model.out", content)

    def _note(self, place: Place, content: Content) -> None:
        if self.flight is not None:
            self.flight.note(place, content)

    def _fail(self, failure: PeerGone | SessionRefused) -> None:
        if self._failure is None:
            self._failure = failure
        self._live.set()


def _refusal(error: CannotOpen) -> PeerGone | SessionRefused:
    if error.status in NO_USE_TRYING:
        return SessionRefused(f"http_{error.status}", "the server refused the connection")
    return PeerGone("session", None, f"cannot connect: {error.reason}")
