from __future__ import annotations

from functools import partial
from typing import Literal

import attrs
import pytest
import trio
import wsproto
from trio_websocket import ConnectionClosed, WebSocketConnection
from wsproto.events import AcceptConnection, CloseConnection, RejectConnection, Request, TextMessage

from gateway.web.client_socket import CannotOpen, over_websocket

Manners = Literal["polite", "mute", "refusing", "closing", "closing-half", "never-answering"]


@attrs.define(eq=False)
class RawServer:
    """Stands for a server that closes in one way or another, seen from the TCP side."""

    manners: Manners
    client_left: trio.Event = attrs.field(factory=trio.Event)
    """The client closed TCP."""

    async def serve(self, stream: trio.SocketStream) -> None:
        protocol = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
        while data := await self._read(stream):
            if self.manners == "never-answering":
                continue
            protocol.receive_data(data)
            for event in protocol.events():
                match event:
                    case Request() if self.manners == "refusing":
                        await stream.send_all(protocol.send(RejectConnection(status_code=429)))
                    case Request():
                        await stream.send_all(protocol.send(AcceptConnection()))
                        if self.manners in {"closing", "closing-half"}:
                            await stream.send_all(protocol.send(CloseConnection(1011, "sorry")))
                    case TextMessage(data=text):
                        await stream.send_all(protocol.send(TextMessage(text)))
                    case CloseConnection() if self.manners == "polite":
                        await stream.send_all(protocol.send(event.response()))
                    case CloseConnection() if self.manners == "closing":
                        return
                    case _:
                        pass
        self.client_left.set()

    async def _read(self, stream: trio.SocketStream) -> bytes:
        try:
            return bytes(await stream.receive_some())
        except trio.BrokenResourceError:
            return b""


async def started(nursery: trio.Nursery, server: RawServer) -> str:
    listeners = await nursery.start(partial(trio.serve_tcp, server.serve, 0, host="127.0.0.1"))
    return f"ws://127.0.0.1:{listeners[0].socket.getsockname()[1]}/media"


async def echo(socket: WebSocketConnection) -> None:
    await socket.send_message("hello")
    assert await socket.get_message() == "hello"


async def until_closed(socket: WebSocketConnection) -> None:
    with pytest.raises(ConnectionClosed):
        await socket.get_message()


@pytest.mark.parametrize(
    ("manners", "close_s", "is_closed"), [("polite", 2.0, True), ("mute", 0.1, False)]
)
async def test_a_client_that_closes_leaves_tcp_behind_it_at_once_or_after_its_bound(
    manners: Manners, close_s: float, is_closed: bool
) -> None:
    server = RawServer(manners)
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            url = await started(nursery, server)
            assert await over_websocket(url, {}, echo, close_s=close_s) == is_closed
            await server.client_left.wait()
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("manners", ["closing", "closing-half"])
async def test_a_server_that_closes_is_left_at_once_though_it_keeps_tcp_open(
    manners: Manners,
) -> None:
    server = RawServer(manners)
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            url = await started(nursery, server)
            began_s = trio.current_time()
            assert await over_websocket(url, {}, until_closed)
            assert trio.current_time() - began_s < 1.5  # CLOSE_S is 2.
            if manners == "closing-half":
                await server.client_left.wait()
            nursery.cancel_scope.cancel()


async def test_a_refused_upgrade_names_its_status_and_leaves_nothing() -> None:
    server = RawServer("refusing")
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            url = await started(nursery, server)
            with pytest.raises(CannotOpen) as refused:
                await over_websocket(url, {}, echo)
            await server.client_left.wait()
            nursery.cancel_scope.cancel()

    assert (refused.value.reason, refused.value.status) == ("it was refused with 429", 429)


async def test_an_upgrade_that_is_never_answered_costs_its_bound() -> None:
    server = RawServer("never-answering")
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            url = await started(nursery, server)
            with pytest.raises(CannotOpen, match=r"not answered within 0.1 s"):
                await over_websocket(url, {}, echo, connect_s=0.1)
            await server.client_left.wait()
            nursery.cancel_scope.cancel()


async def test_a_cancelled_client_leaves_nothing() -> None:
    server = RawServer("polite")

    async def for_ever(socket: WebSocketConnection) -> None:
        await trio.sleep_forever()

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            url = await started(nursery, server)
            with trio.move_on_after(0.1):
                await over_websocket(url, {}, for_ever)
            await server.client_left.wait()
            nursery.cancel_scope.cancel()
