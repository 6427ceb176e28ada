"""The media socket in virtual time, over an ASGI server that is a pair of channels."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from actors.errors import PeerGone, ProtocolError
from actors.exits import CallerHungUp, Exit
from actors.messages import (
    CallerAudio,
    Clear,
    KeyPressed,
    Mark,
    MarkEchoed,
    StreamStopped,
)
from actors.ports import Carrier, Session
from actors.wire.twilio import Start
from gateway.calls import Calls, IncomingCall, Offer
from gateway.twilio.door import STRANGERS, MediaDoor
from gateway.twilio.media import Message, Receive, Send, TwilioCarrier
from gateway.twilio.origin import Origin
from gateway.twilio.signature import sign
from gateway.twilio.tokens import StreamTokens
from tests.doors import SilentSession

PAYLOAD = b64encode(bytes(160)).decode()
TOKEN = "12345"


def start(**changes: object) -> dict[str, Any]:
    body = {
        "streamSid": "MZ1",
        "accountSid": "AC1",
        "callSid": "CA1",
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        **changes,
    }
    return {"event": "start", "streamSid": "MZ1", "start": body}


def media(at_ms: int = 0) -> dict[str, Any]:
    return {"event": "media", "media": {"timestamp": str(at_ms), "payload": PAYLOAD}}


@attrs.define(eq=False)
class Socket:
    """Stands for an ASGI server with a WebSocket whose peer the test plays."""

    stalled: bool = False
    """The peer does not read: sends hang."""
    closes: bool = True
    """The peer answers a close with its own."""
    sent: list[dict[str, Any]] = attrs.field(factory=list)

    put: trio.MemorySendChannel[dict[str, Any]] = attrs.field(init=False)
    take: trio.MemoryReceiveChannel[dict[str, Any]] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.put, self.take = trio.open_memory_channel[dict[str, Any]](1000)

    def says(self, *messages: dict[str, Any] | str | bytes) -> None:
        for message in messages:
            event: dict[str, Any] = {"type": "websocket.receive", "bytes": None, "text": None}
            if isinstance(message, bytes):
                event["bytes"] = message
            else:
                event["text"] = message if isinstance(message, str) else json.dumps(message)
            self.put.send_nowait(event)

    def leaves(self, code: int = 1006) -> None:
        self.put.send_nowait({"type": "websocket.disconnect", "code": code})

    async def receive(self) -> dict[str, Any]:
        return await self.take.receive()

    async def send(self, message: dict[str, Any]) -> None:
        """As the worst of servers: no checkpoint, and no error when the peer has left."""
        if self.stalled:
            await trio.sleep_forever()
        self.sent.append(message)
        if message["type"] == "websocket.close" and self.closes:
            self.leaves(message["code"])

    @property
    def close_code(self) -> int | None:
        last = self.sent[-1] if self.sent else {}
        return last.get("code")


@pytest.fixture
def socket() -> Socket:
    return Socket()


async def introduced(socket: Socket) -> TwilioCarrier:
    carrier = TwilioCarrier(socket.receive, socket.send)
    socket.says({"event": "connected"}, start())
    await carrier.introduce()
    return carrier


async def test_what_the_carrier_says_becomes_facts_in_order(socket: Socket) -> None:
    carrier = await introduced(socket)
    socket.says(
        media(20),
        {"event": "tomorrow"},
        start(),
        {"event": "dtmf", "dtmf": {"digit": "5"}},
        {"event": "mark", "mark": {"name": "m"}},
        {"event": "stop"},
    )

    assert carrier.start.call_sid == "CA1"
    assert await carrier.receive() == CallerAudio(PAYLOAD, bytes(160), 20)
    assert await carrier.receive() == KeyPressed("5")
    assert await carrier.receive() == MarkEchoed("m")
    assert await carrier.receive() == StreamStopped()


async def test_orders_reach_the_stream(socket: Socket) -> None:
    carrier = await introduced(socket)
    await carrier.send(Mark("m"))
    await carrier.send(Clear())

    assert [json.loads(message["text"]) for message in socket.sent] == [
        {"event": "mark", "mark": {"name": "m"}, "streamSid": "MZ1"},
        {"event": "clear", "streamSid": "MZ1"},
    ]


async def test_a_second_different_start_ends_the_stream(socket: Socket) -> None:
    carrier = await introduced(socket)
    socket.says(start(callSid="CA2"))

    with pytest.raises(ProtocolError, match="a second start"):
        await carrier.receive()
    assert socket.close_code == 1008


@pytest.mark.parametrize(
    ("message", "code", "what"),
    [
        pytest.param(b"\x00", 1003, "binary", id="binary"),
        pytest.param(b"", 1003, "binary", id="empty-binary"),
        pytest.param("x" * 16385, 1009, "16385 characters", id="too-long"),
    ],
)
async def test_what_is_no_text_frame_of_twilio_ends_the_stream(
    socket: Socket, message: str | bytes, code: int, what: str
) -> None:
    carrier = await introduced(socket)
    socket.says(message)

    with pytest.raises(ProtocolError, match=what):
        await carrier.receive()
    assert socket.close_code == code


async def test_nine_malformed_messages_are_dropped_and_the_tenth_ends_the_stream(
    socket: Socket, autojump_clock: trio.abc.Clock
) -> None:
    carrier = await introduced(socket)
    socket.says(*["nonsense"] * 9, media())
    assert isinstance(await carrier.receive(), CallerAudio)
    assert carrier.malformed == 9
    socket.says("nonsense")
    with pytest.raises(ProtocolError, match="8 characters are not JSON"):
        await carrier.receive()

    assert socket.close_code == 1007


async def test_ten_malformed_messages_in_more_than_ten_seconds_are_forgiven(
    socket: Socket, autojump_clock: trio.abc.Clock
) -> None:
    carrier = await introduced(socket)
    for _ in range(20):
        socket.says("nonsense", media())
        await carrier.receive()
        await trio.sleep(1.2)

    assert carrier.malformed == 20


@pytest.mark.parametrize("code", [1000, 1006])
async def test_a_peer_that_leaves_without_stop_is_gone(socket: Socket, code: int) -> None:
    """And stays gone, for sending too."""
    carrier = await introduced(socket)
    socket.leaves(code)
    with pytest.raises(PeerGone) as gone:
        await carrier.receive()
    assert (gone.value.peer, gone.value.code) == ("carrier", code)
    with pytest.raises(PeerGone):
        await carrier.send(Clear())
    await carrier.aclose()

    assert socket.sent == []


async def test_five_seconds_without_a_message_are_the_end(
    socket: Socket, autojump_clock: trio.abc.Clock
) -> None:
    carrier = await introduced(socket)
    with pytest.raises(PeerGone, match="silent for 5 s"):
        await carrier.receive()

    assert trio.current_time() == pytest.approx(5)


async def test_silence_is_counted_through_waits_that_were_broken_off(
    socket: Socket, autojump_clock: trio.abc.Clock
) -> None:
    """As they are whenever a call is moved about."""
    carrier = await introduced(socket)
    for _ in range(3):
        with trio.move_on_after(1.5):
            await carrier.receive()
    with pytest.raises(PeerGone, match="silent for 5 s"):
        await carrier.receive()

    assert trio.current_time() == pytest.approx(5)


async def test_a_stalled_peer_costs_one_second(
    socket: Socket, autojump_clock: trio.abc.Clock
) -> None:
    carrier = await introduced(socket)
    socket.stalled = True
    with pytest.raises(PeerGone, match="took no order for 1 s"):
        await carrier.send(Clear())
    with pytest.raises(PeerGone):
        await carrier.send(Clear())
    await carrier.aclose()

    assert trio.current_time() == pytest.approx(1)


async def test_every_send_checkpoints_also_into_the_void(socket: Socket) -> None:
    """The server neither raises nor yields; a loop of sends must still let others run."""
    carrier = await introduced(socket)
    with trio.testing.assert_checkpoints():
        await carrier.send(Clear())
    await carrier.aclose()
    with trio.testing.assert_checkpoints(), pytest.raises(PeerGone):
        await carrier.send(Clear())


async def test_closing_is_idempotent_and_takes_no_longer_than_200_ms(
    socket: Socket, autojump_clock: trio.abc.Clock
) -> None:
    socket.closes = False
    carrier = await introduced(socket)
    socket.says(*[media()] * 50)
    await carrier.aclose()
    await carrier.aclose()

    assert trio.current_time() == pytest.approx(0.2)
    assert [message["type"] for message in socket.sent] == ["websocket.close"]
    assert socket.close_code == 1000


async def test_fifty_frames_before_start_are_forgiven_and_no_more(
    socket: Socket, autojump_clock: trio.abc.Clock
) -> None:
    socket.says(*[media()] * 50)
    await introduced(socket)
    other = Socket()
    other.says(*[media()] * 51)
    with pytest.raises(ProtocolError, match="media before start"):
        await introduced(other)


async def test_hanging_up_goes_by_rest_or_not_at_all(socket: Socket) -> None:
    ended: list[str] = []

    async def rest(start: Start) -> bool:
        await trio.lowlevel.checkpoint()
        ended.append(start.call_sid)
        return True

    await (await introduced(socket)).hang_up()
    carrier = TwilioCarrier(socket.receive, socket.send, rest)
    socket.says(start())
    await carrier.introduce()
    await carrier.hang_up()

    assert ended == ["CA1"]


# The door in front of it.


@attrs.define(eq=False)
class Engine:
    """Stands for everything that costs money: counts what was begun."""

    ran: list[str] = attrs.field(factory=list)
    ended: list[str] = attrs.field(factory=list)

    def open_session(self, incoming: IncomingCall, nursery: trio.Nursery) -> Session:
        return SilentSession()

    async def run_call(self, offer: Offer, carrier: Carrier) -> Exit:
        self.ran.append(offer.call_sid)
        try:
            while not isinstance(await carrier.receive(), StreamStopped):
                pass
        finally:
            with trio.move_on_after(1, shield=True):
                await carrier.aclose()
            self.ended.append(offer.call_sid)
        return CallerHungUp()


@attrs.frozen
class Door:
    """A door, what is behind it, and the token of the one announced call."""

    door: MediaDoor
    engine: Engine
    token: str

    async def knock(self, socket: Socket, **scope: object) -> None:
        found = {
            "type": "websocket",
            "path": "/twilio/media",
            "raw_path": b"/twilio/media",
            "query_string": b"",
            "headers": [(b"host", b"127.0.0.1:8080")],
            "client": ("127.0.0.1", 5),
            "server": ("127.0.0.1", 8080),
            **scope,
        }
        socket.put.send_nowait({"type": "websocket.connect"})
        await self.door(found, socket.receive, socket.send)

    def start(self, **changes: object) -> dict[str, Any]:
        return start(**{"customParameters": {"token": self.token}, **changes})


@asynccontextmanager
async def door(origin: Origin | None = None) -> AsyncIterator[Door]:
    async def nothing_else(scope: Message, receive: Receive, send: Send) -> None:
        await send({"type": "inner"})

    engine = Engine()
    calls = Calls(engine.open_session, engine.run_call, StreamTokens(bytes))
    async with trio.open_nursery() as nursery:
        await nursery.start(calls.serve)
        offer = await calls.offer(IncomingCall("CA1", "AC1"))
        assert isinstance(offer, Offer)
        with capture_logs():
            yield Door(
                MediaDoor(nothing_else, origin or Origin(None, None), calls), engine, offer.token
            )
        calls.close()


async def test_an_announced_stream_gets_its_call(
    socket: Socket, autojump_clock: trio.abc.Clock
) -> None:
    async with door() as found, trio.open_nursery() as nursery:
        nursery.start_soon(found.knock, socket)
        await trio.testing.wait_all_tasks_blocked()
        socket.says({"event": "connected"}, found.start(), {"event": "stop"})

    assert found.engine.ran == ["CA1"]
    assert [message["type"] for message in socket.sent] == ["websocket.accept", "websocket.close"]
    assert socket.close_code == 1000


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"customParameters": {"token": "guess"}}, id="wrong-token"),
        pytest.param({"customParameters": {}}, id="no-token"),
        pytest.param({"callSid": "CA2"}, id="another-call"),
        pytest.param({"accountSid": "AC2"}, id="another-account"),
        pytest.param({"mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 16000,
                                      "channels": 1}}, id="wrong-rate"),
        pytest.param({"mediaFormat": {"encoding": "audio/opus", "sampleRate": 8000,
                                      "channels": 1}}, id="wrong-encoding"),
    ],
)  # fmt: skip
async def test_a_start_that_does_not_fit_is_closed_with_1008_and_costs_nothing(
    socket: Socket, changes: dict[str, Any], autojump_clock: trio.abc.Clock
) -> None:
    async with door() as found, trio.open_nursery() as nursery:
        nursery.start_soon(found.knock, socket)
        await trio.testing.wait_all_tasks_blocked()
        socket.says(found.start(**changes))

    assert socket.close_code == 1008
    assert found.engine.ran == []


@pytest.mark.parametrize("talks", [False, True])
async def test_a_stream_without_start_is_closed_after_5_s(
    socket: Socket, talks: bool, autojump_clock: trio.abc.Clock
) -> None:
    async with door() as found, trio.open_nursery() as nursery:
        nursery.start_soon(found.knock, socket)
        await trio.testing.wait_all_tasks_blocked()
        began_s = trio.current_time()
        for _ in range(4 if talks else 0):
            socket.says({"event": "connected"})
            await trio.sleep(1)
        nursery.cancel_scope.deadline = began_s + 6

    assert trio.current_time() - began_s == pytest.approx(5)
    assert socket.close_code == 1008


async def test_a_connection_that_its_server_gives_up_takes_its_call_along(
    socket: Socket, autojump_clock: trio.abc.Clock
) -> None:
    """The call says its goodbyes before the connection is gone."""
    async with door() as found, trio.open_nursery() as nursery:
        nursery.start_soon(found.knock, socket)
        await trio.testing.wait_all_tasks_blocked()
        socket.says({"event": "connected"}, found.start())
        await trio.testing.wait_all_tasks_blocked()
        assert found.engine.ran == ["CA1"]
        nursery.cancel_scope.cancel()

    assert found.engine.ended == ["CA1"]


async def test_a_token_opens_one_stream_of_two(
    socket: Socket, autojump_clock: trio.abc.Clock
) -> None:
    second = Socket()
    async with door() as found, trio.open_nursery() as nursery:
        nursery.start_soon(found.knock, socket)
        await trio.testing.wait_all_tasks_blocked()
        socket.says(found.start())
        nursery.start_soon(found.knock, second)
        await trio.testing.wait_all_tasks_blocked()
        second.says(found.start())
        await trio.testing.wait_all_tasks_blocked()
        assert second.close_code == 1008
        socket.says({"event": "stop"})

    assert found.engine.ran == ["CA1"]
    assert socket.close_code == 1000


SIGNED = Origin(TOKEN, "https://gw.example.net")


@pytest.mark.parametrize(
    ("headers", "accepted"),
    [
        ([], False),
        ([sign(TOKEN, "wss://gw.example.net/twilio/media")], True),
        ([sign(TOKEN, "wss://gw.example.net:443/twilio/media/")], True),
        ([sign(TOKEN, "https://gw.example.net/twilio/media")], False),
        ([sign("other", "wss://gw.example.net/twilio/media")], False),
        ([sign(TOKEN, "wss://gw.example.net/twilio/media")] * 2, False),
        (["\xff\xfe"], False),
    ],
)
async def test_an_upgrade_is_refused_unless_it_is_signed_for_the_public_address(
    socket: Socket, headers: list[str], accepted: bool, autojump_clock: trio.abc.Clock
) -> None:
    """Before it is accepted: the server answers 403."""
    named = [(b"x-twilio-signature", value.encode("latin-1")) for value in headers]
    async with door(SIGNED) as found:
        socket.leaves()
        await found.knock(Socket(), headers=named, path="/elsewhere")
        with trio.move_on_after(6):
            await found.knock(socket, headers=named)

    assert (socket.sent[0]["type"] == "websocket.accept") == accepted


@pytest.mark.parametrize(
    "scope",
    [
        pytest.param({"client": ("203.0.113.5", 1)}, id="another-machine"),
        pytest.param({"client": None}, id="nobody"),
        pytest.param({"headers": [(b"host", b"gw.example.net")]}, id="another-host"),
        pytest.param({"headers": [(b"host", b"[[")]}, id="no-host-at-all"),
        pytest.param({"headers": []}, id="no-host"),
        pytest.param(
            {"headers": [(b"host", b"localhost"), (b"x-forwarded-for", b"203.0.113.5")]},
            id="behind-a-tunnel",
        ),
    ],
)
async def test_unsigned_is_for_this_machine_only(
    socket: Socket, scope: dict[str, Any], autojump_clock: trio.abc.Clock
) -> None:
    async with door() as found:
        await found.knock(socket, **scope)

    assert socket.sent == [{"type": "websocket.close", "code": 1008}]


async def test_strangers_are_limited_and_do_not_keep_their_places(
    autojump_clock: trio.abc.Clock,
) -> None:
    async with door() as found, trio.open_nursery() as nursery:
        for _ in range(STRANGERS):
            nursery.start_soon(found.knock, Socket())
        await trio.testing.wait_all_tasks_blocked()
        late = Socket()
        await found.knock(late)
        assert late.sent == [{"type": "websocket.close", "code": 1008}]
        await trio.sleep(6)
        again = Socket()
        again.leaves()
        await found.knock(again)

        assert again.sent[0]["type"] == "websocket.accept"


async def test_everything_else_goes_to_the_application(socket: Socket) -> None:
    async with door() as found:
        await found.door({"type": "http", "path": "/twilio/media"}, socket.receive, socket.send)
        await found.door({"type": "lifespan"}, socket.receive, socket.send)

    assert [message["type"] for message in socket.sent] == ["inner", "inner"]
