"""Servers of a model that do exactly one thing wrong, seen from the TCP side."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import orjson
import trio
import wsproto
from wsproto.events import AcceptConnection, CloseConnection, Event, Request, TextMessage

from gateway.lab.openai.model_server import ModelServer, serve_model
from gateway.lab.rehearsing.scenario import parse

Json = dict[str, Any]


@attrs.define(eq=False)
class Peer:
    """One connection of a server, in the hands of a script."""

    stream: trio.SocketStream
    protocol: wsproto.WSConnection = attrs.field(
        factory=lambda: wsproto.WSConnection(wsproto.ConnectionType.SERVER)
    )
    _unread: deque[Event] = attrs.field(factory=deque[Event], init=False)

    async def accept(self) -> None:
        """Answer the upgrade."""
        if not isinstance(await self._event(), Request):
            raise trio.BrokenResourceError
        await self.write(AcceptConnection())

    async def say(self, kind: str, **fields: Any) -> None:  # noqa: ANN401 (JSON)
        """Send one event."""
        body = {"type": kind, "event_id": "event_1", **fields}
        await self.write(TextMessage(orjson.dumps(body).decode()))

    async def fail(self, code: str | None, kind: str = "invalid_request_error") -> None:
        """Send an `error` event."""
        await self.say("error", error={"type": kind, "code": code, "message": "No.", "param": None})

    async def go_live(self, *, kind: str = "audio/pcmu", kind_out: str | None = None) -> None:
        """Accept, greet, and echo a session with these formats."""
        await self.accept()
        await self.say("session.created", session={"id": "sess_1", "type": "realtime"})
        formats = {"input": {"format": {"type": kind}}}
        audio = formats | {"output": {"format": {"type": kind_out or kind}}}
        await self.say("session.updated", session={"id": "sess_1", "audio": audio})

    async def close(self, code: int, reason: str = "") -> None:
        """Send a close frame."""
        await self.write(CloseConnection(code, reason))

    async def write(self, event: Event) -> None:
        """Send anything."""
        await self.stream.send_all(self.protocol.send(event))

    async def attend(self) -> None:
        """Read until the client has left, answering its close frame."""
        while event := await self._event():
            if isinstance(event, CloseConnection) and self.protocol.state.name == "REMOTE_CLOSING":
                await self.write(event.response())

    async def ignore(self) -> None:
        """Read until the client has left, and answer nothing: no ping, no close frame."""
        while await self._data():
            pass

    async def _event(self) -> Event | None:
        """The next event; `None` when the client has left."""
        while not self._unread:
            data = await self._data()
            if not data:
                return None
            self.protocol.receive_data(data)
            self._unread.extend(self.protocol.events())
        return self._unread.popleft()

    async def _data(self) -> bytes:
        try:
            return bytes(await self.stream.receive_some())
        except trio.BrokenResourceError:
            return b""


Script = Callable[[Peer], Awaitable[None]]


@attrs.define(eq=False)
class Listening:
    """A server that is listening, and the connections it has had."""

    port: int = 0
    connections: int = 0
    open: int = 0
    left: trio.Event = attrs.field(factory=trio.Event)
    """The latest script is at its end: as a rule, because its client closed TCP."""

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/v1/realtime"

    async def empty(self) -> None:
        """Wait until every client has left; fails when one does not."""
        with trio.fail_after(2):
            while self.open:
                await self.left.wait()


@asynccontextmanager
async def listening(script: Script) -> AsyncIterator[Listening]:
    """Serve a script to every connection until the end of the block."""
    server = Listening()

    async def serve(stream: trio.SocketStream) -> None:
        server.connections += 1
        server.open += 1
        server.left = left = trio.Event()
        try:
            await script(Peer(stream))
        except trio.BrokenResourceError:
            pass  # Its client left in the middle of a sentence.
        finally:
            server.open -= 1
            left.set()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        server.port = listeners[0].socket.getsockname()[1]
        yield server
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def rehearsal_model(yaml: str, voice: Callable[[str], bytes]) -> AsyncIterator[ModelServer]:
    """Serve the rehearsal model with this scenario until the end of the block."""
    scenario = parse(f"name: test\n{yaml}")
    async with trio.open_nursery() as nursery:
        yield await nursery.start(partial(serve_model, scenario, voice=voice))
        nursery.cancel_scope.cancel()
