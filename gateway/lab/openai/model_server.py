"""The rehearsal model as a WebSocket server, at the real one's path and with its admission."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final
from urllib.parse import parse_qs, urlsplit

import attrs
import orjson
import structlog
import trio
from trio_websocket import ConnectionClosed, WebSocketRequest, wrap_server_stream

from gateway.lab.openai.admission import PATH, Admitted, Rejected, TurnedAway, admit
from gateway.lab.openai.model import RehearsalModel
from gateway.lab.openai.model_line import serve_session
from gateway.lab.openai.progress import Progress
from gateway.lab.rehearsing.scenario import Scenario
from gateway.lab.rehearsing.speech import prepare, speak

_LARGEST_MESSAGE_BYTES: Final = 24 * 1024 * 1024
"""15 MiB of audio are 20 MiB of base64, and the event that carries it is a little more."""

_QUEUE_MESSAGES: Final = 64
_HANDSHAKE_S: Final = 10.0
_GOODBYE_S: Final = 2.0
_DEAF_S: Final = 60.0
"""How long a socket that ignores its client's close is kept open."""

_SESSIONS_KEPT: Final = 200

_log = structlog.get_logger()


@attrs.define(eq=False)
class ModelServer:
    """A server that is listening, and the sessions it has had."""

    host: str
    port: int
    connections: int = 0
    """WebSocket upgrades asked for, the refused ones included."""
    sessions: deque[RehearsalModel] = attrs.field(factory=lambda: deque(maxlen=_SESSIONS_KEPT))
    """The latest ones, oldest first, those that are over included."""

    @property
    def url(self) -> str:
        """What `OPENAI_REALTIME_URL` has to be."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"ws://{host}:{self.port}{PATH}"


async def serve_model(
    scenario: Scenario,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    voice: Callable[[str], bytes] = speak,
    seed: int = 0,
    progress: Progress | None = None,
    caller_lines: Sequence[str] | None = None,
    task_status: trio.TaskStatus[ModelServer] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve a scenario's model to any number of connections, each with a session of its own.

    Runs until cancelled; `task_status` is told the `ModelServer`. Nothing that a connection sends
    can end it.

    Args:
        scenario: What the model says; every connection gets it from the beginning.
        host: Where to listen.
        port: Where to listen; 0 for any free port.
        voice: Words to mu-law. With `speak`, all lines are rendered before anything is served.
        seed: The same seed, the same connections and the same clients: the same bytes.
        progress: All connections belong to one call, and the script goes on with it. `None`: every
            connection is a call of its own.
        caller_lines: What the caller says, as far as it is known; the scenario's when `None`.
        task_status: Trio's start protocol.

    Raises:
        OSError: It cannot listen there.

    """
    if voice is speak:
        await prepare(scenario.agent_lines())
    listeners = await trio.open_tcp_listeners(port, host=host)
    server = ModelServer(host, listeners[0].socket.getsockname()[1])
    lines = scenario.caller_lines() if caller_lines is None else caller_lines
    reception = _Reception(scenario, voice, seed, server, lines, progress)
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(trio.serve_listeners, reception.welcome, listeners))
        task_status.started(server)


@attrs.define(eq=False)
class _Reception:
    """What every connection goes through."""

    scenario: Scenario
    voice: Callable[[str], bytes]
    seed: int
    server: ModelServer
    caller_lines: Sequence[str]
    progress: Progress | None

    async def welcome(self, stream: trio.SocketStream) -> None:
        """Serve one connection, and let nothing of it reach the others."""
        try:
            async with trio.open_nursery() as nursery:
                await self._serve(nursery, _DeafStream(stream))
                nursery.cancel_scope.cancel()
        except Exception as error:  # noqa: BLE001 (the crash barrier: malformed handshakes raise)
            _log.warning("model.connection_failed", error=type(error).__name__)
        finally:
            await trio.aclose_forcefully(stream)

    async def _serve(self, nursery: trio.Nursery, line: _DeafStream) -> None:
        with trio.move_on_after(_HANDSHAKE_S) as handshake:
            request = await wrap_server_stream(
                nursery, line, _QUEUE_MESSAGES, _LARGEST_MESSAGE_BYTES
            )
        if handshake.cancelled_caught:
            return
        self.server.connections += 1
        number = self.server.connections
        script = self.scenario.model.on_connection(number, _model_of(request.path))
        headers = {name.lower().decode(): text.decode("latin-1") for name, text in request.headers}
        match admit(request.path, headers, script.refusal):
            case Rejected() as rejected:
                await _reject(request, rejected)
            case TurnedAway() as turned_away:
                await _turn_away(request, turned_away)
            case Admitted(model_name):
                model = RehearsalModel(
                    script,
                    self.voice,
                    seed=self.seed + number,
                    model=model_name,
                    caller_lines=self.caller_lines,
                    started_at_s=int(time.time()),
                    lifetime_ms=script.lifetime_ms,
                    progress=self.progress or Progress(),
                )
                self.server.sessions.append(model)
                line.is_deaf = lambda: model.ignores_close
                await _serve_admitted(request, model)


def _model_of(target: str) -> str | None:
    return next(iter(parse_qs(urlsplit(target).query).get("model", [])), None)


async def _serve_admitted(request: WebSocketRequest, model: RehearsalModel) -> None:
    socket = await request.accept()
    try:
        await serve_session(model, socket)
        model.abandon()
    finally:
        deadline_s = _DEAF_S if model.ignores_close else _GOODBYE_S
        with trio.move_on_after(deadline_s):
            await socket.aclose()


async def _reject(request: WebSocketRequest, rejected: Rejected) -> None:
    error = {
        "message": rejected.message,
        "type": "invalid_request_error",
        "code": rejected.code,
        "param": None,
    }
    headers = [(b"content-type", b"application/json")]
    if rejected.status == 429:
        headers.append((b"retry-after", b"1"))
    with trio.move_on_after(_GOODBYE_S):
        body = orjson.dumps({"error": error})
        await request.reject(rejected.status, extra_headers=headers, body=body)


async def _turn_away(request: WebSocketRequest, away: TurnedAway) -> None:
    error = {
        "type": "invalid_request_error",
        "code": away.code,
        "message": away.message,
        "param": None,
        "event_id": None,
    }
    with trio.move_on_after(_GOODBYE_S):
        socket = await request.accept()
        try:
            if away.tells:
                event = {"type": "error", "event_id": "event_refused", "error": error}
                await socket.send_message(orjson.dumps(event).decode())
            await socket.aclose(away.close_code, away.reason)
        except ConnectionClosed:
            return  # It did not wait to be told.


@attrs.define(eq=False)
class _DeafStream(trio.abc.HalfCloseableStream):
    """A TCP stream that, once deaf, hears nothing more: no close frame, no ping, no end.

    Below the WebSocket library, because that answers a close frame by itself.
    """

    stream: trio.SocketStream
    is_deaf: Callable[[], bool] = lambda: False

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Receive, unless deaf: then wait for `_DEAF_S` and claim that the peer is gone."""
        data = b"" if self.is_deaf() else await self.stream.receive_some(max_bytes)
        if self.is_deaf():
            await trio.sleep(_DEAF_S)
            return b""
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send."""
        await self.stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until there may be room to send."""
        await self.stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """Say that no more will be sent."""
        await self.stream.send_eof()

    async def aclose(self) -> None:
        """Close."""
        await self.stream.aclose()
