"""Hostile sockets at the door of a simulated gateway. None of them may ever get a call.

Those that break HTTP or WebSocket meet the connections of `gateway.web.server`, over a stream in
memory; those that lie about a call speak the protocol well.
"""

from __future__ import annotations

import base64
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from random import Random
from typing import Any, Final
from urllib.parse import urlencode

import attrs
import orjson
import trio
import trio.testing

from gateway.lab.judges.evidence import CallSeen
from gateway.lab.memory_line import ConnectionClosed, MemorySocket, memory_line
from gateway.lab.simulator.asgi import AsgiServer, Refused, ServerGone
from gateway.lab.twilio.phone import call_fields
from gateway.lab.twilio.twiml_reader import ConnectStream, TwimlFault, read_twiml
from gateway.twilio.phone_line import MEDIA_PATH
from gateway.twilio.signature import sign
from gateway.web.server import DEFAULT_LIMITS, Door

DELAY_MS: Final = 30
"""One way."""
PATIENCE_S: Final = 7.0
"""By then the gateway has ended whatever does not behave. Not its own number: that may be wrong."""

AGAIN_S: Final = 1.5
"""By then a stream has come, however far away its phone is."""

Speak = Callable[["MemoryTcp"], Awaitable[None]]


@attrs.define(eq=False, kw_only=True)
class Intruders:
    """Everybody who comes uninvited, and what they achieved that they should not have."""

    server: AsgiServer
    auth_token: str
    """They sign what they send: what lies behind the signature is what is tried here."""
    public_url: str
    account_sid: str
    random: Random
    complaints: list[str] = attrs.field(factory=list[str], init=False)
    jumps: int = attrs.field(default=0, init=False)
    """How often time jumped. Who was at it then may have been left alone for longer."""
    trying: int = attrs.field(default=0, init=False)
    """How many are at it."""
    _door: Door = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._door = Door.of(self.server.app, DEFAULT_LIMITS)

    @property
    def open_sockets(self) -> int:
        """How many of them the gateway still holds on to."""
        return len(self._door.open)

    def applies(self, probe: str, victim: CallSeen | None) -> bool:
        """Whether there is anything to try now."""
        if probe == "wrong_account":
            return victim is not None and bool(victim.tokens)
        if probe in ("used_token", "second_stream"):
            # A token that is not used yet would rightly open the call.
            return victim is not None and victim.began_s is not None and bool(victim.tokens)
        return True

    async def come(self, probe: str, victim: CallSeen | None) -> None:
        """Try one thing: see `fault_plan.PROBES`. Takes a bounded time.

        Args:
            probe: What to try; it applies.
            victim: The call it is about; `None`: it does not exist.

        """
        liars: Mapping[str, Callable[[CallSeen | None], Awaitable[None]]] = {
            "no_start": self._no_start,
            "no_token": self._no_token,
            "foreign_token": self._foreign_token,
            "used_token": self._used_token,
            "wrong_account": self._wrong_account,
            "second_stream": self._second_stream,
            "binary_first": self._binary_first,
        }
        vandals: Mapping[str, Speak] = {
            "slowloris": self._slowloris,
            "garbage": self._garbage,
            "oversized_header": self._oversized_header,
            "bad_upgrade": self._bad_upgrade,
            "bad_frames": self._bad_frames,
            "huge_message": self._huge_message,
        }
        self.trying += 1
        try:
            with suppress(ServerGone):
                if probe in liars:
                    await liars[probe](victim)
                else:
                    await self._break_in(probe, vandals[probe])
        finally:
            self.trying -= 1

    async def come_again(self, victim: CallSeen, after_s: float) -> None:
        """Open the latest stream of a call once more, when it must have come long since."""
        token = victim.tokens[-1]
        self.trying += 1
        try:
            await trio.sleep(AGAIN_S + after_s)
            with suppress(ServerGone):
                start = self._start(victim, {"token": token})
                await self._lie("stream_again", [_connected(), start])
        finally:
            self.trying -= 1

    # Those that lie.

    async def _no_start(self, _victim: CallSeen | None) -> None:
        await self._lie("no_start", [_connected()])

    async def _binary_first(self, _victim: CallSeen | None) -> None:
        await self._lie("binary_first", [b"\x00\x01"])

    async def _no_token(self, victim: CallSeen | None) -> None:
        await self._lie("no_token", [_connected(), self._start(victim, {})])

    async def _foreign_token(self, victim: CallSeen | None) -> None:
        await self._forge("foreign_token")
        token = base64.urlsafe_b64encode(self.random.randbytes(32)).decode()
        await self._lie("foreign_token", [_connected(), self._start(victim, {"token": token})])

    async def _used_token(self, victim: CallSeen | None) -> None:
        if victim is not None:
            start = self._start(victim, {"token": victim.tokens[0]})
            await self._lie("used_token", [_connected(), start])

    async def _wrong_account(self, victim: CallSeen | None) -> None:
        if victim is not None:
            await self._forge("wrong_account")
            start = self._start(victim, {"token": victim.tokens[0]}, account_sid="AC" + "1" * 32)
            await self._lie("wrong_account", [_connected(), start])

    async def _second_stream(self, victim: CallSeen | None) -> None:
        """Replay the webhook, and open a stream with what that gives."""
        if victim is None:
            return
        url = f"{self.public_url}/twilio/voice"
        form = call_fields(victim.call_sid, self.account_sid, from_number="+1", to_number="+1")
        forged = [("X-Twilio-Signature", sign("a guess", url, form.items()))]
        body = urlencode(form).encode("ascii")
        refused = await self.server.request("POST", url, forged, body)
        if refused.status != HTTPStatus.FORBIDDEN:
            self.complaints.append("I8 an intruder: a forged webhook was answered")
        headers = [("X-Twilio-Signature", sign(self.auth_token, url, form.items()))]
        response = await self.server.request("POST", url, headers, body)
        with suppress(TwimlFault):
            for verb in read_twiml(response.body, "text/xml"):
                if isinstance(verb, ConnectStream):
                    start = self._start(victim, dict(verb.parameters))
                    await self._lie("second_stream", [_connected(), start])

    def _start(
        self, victim: CallSeen | None, parameters: dict[str, str], account_sid: str | None = None
    ) -> str:
        sid = f"{self.random.getrandbits(128):032x}"
        start = {
            "streamSid": f"MZ{sid}",
            "accountSid": account_sid or self.account_sid,
            "callSid": f"CA{sid}" if victim is None else victim.call_sid,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": parameters,
        }
        message = {"event": "start", "sequenceNumber": "1", "streamSid": f"MZ{sid}"}
        return orjson.dumps({**message, "start": start}).decode()

    async def _lie(self, probe: str, frames: list[str | bytes]) -> None:
        """Open the media socket, say these things, and wait to be thrown out."""
        client, server = memory_line(up_ms=DELAY_MS, down_ms=DELAY_MS)
        url = self._media_url()
        try:
            await self.server.open_websocket(url, self._signed(url), server, lambda: None)
        except Refused:
            return
        is_out, jumps = False, self.jumps
        with trio.move_on_after(PATIENCE_S):
            try:
                for frame in frames:
                    await client.send_message(frame)
                await self._listen(probe, client)
            except ConnectionClosed:
                is_out = True
        client.abort()
        if not is_out and jumps == self.jumps:
            self.complaints.append(f"I8 an intruder: {probe} was let in for {PATIENCE_S:g} s")

    async def _forge(self, probe: str) -> None:
        """Ask for the media socket with a signature of one's own."""
        url = self._media_url()
        _, server = memory_line(up_ms=DELAY_MS, down_ms=DELAY_MS)
        forged = [("X-Twilio-Signature", sign("a guess", url, {}.items()))]
        try:
            await self.server.open_websocket(url, forged, server, lambda: None)
        except Refused:
            return
        server.abort()
        self.complaints.append(f"I8 an intruder: {probe} was let in with a forged signature")

    async def _listen(self, probe: str, client: MemorySocket) -> None:
        while True:
            message = await client.get_message()
            self.complaints.append(f"I8 an intruder: {probe} was told {message!r:.40}")

    def _media_url(self) -> str:
        return self.public_url.replace("http", "ws", 1) + MEDIA_PATH

    def _signed(self, url: str) -> list[tuple[str, str]]:
        return [("X-Twilio-Signature", sign(self.auth_token, url, ()))]

    # Those that break things.

    async def _break_in(self, probe: str, speak: Speak) -> None:
        """Connect to the server itself, do something, and wait to be thrown out."""
        ours, theirs = trio.testing.memory_stream_pair()
        tcp = MemoryTcp(theirs)
        # A `SocketStream`, as far as a connection looks.
        self.server.take_on(partial(self._door.serve, tcp))  # type: ignore[arg-type]
        is_out, jumps = False, self.jumps
        heard = b""
        with trio.move_on_after(PATIENCE_S + 1):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._misbehave, speak, MemoryTcp(ours))
                try:
                    while data := await ours.receive_some(65_536):
                        heard += bytes(data)
                except trio.BrokenResourceError:
                    pass  # Closed, too.
                is_out = True
                nursery.cancel_scope.cancel("thrown out")
        MemoryTcp(ours).socket.close()
        if not is_out and jumps == self.jumps:
            self.complaints.append(f"I8 an intruder: {probe} kept its connection")
        if heard.startswith(b"HTTP/1.1 200"):
            self.complaints.append(f"I8 an intruder: {probe} was served")

    async def _misbehave(self, speak: Speak, tcp: MemoryTcp) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await speak(tcp)

    async def _slowloris(self, tcp: MemoryTcp) -> None:
        for byte in b"POST /twilio/voice HTTP/1.1\r\nHost: gw.example.net\r\nX-A: b\r\n" * 9:
            await tcp.send_all(bytes([byte]))
            await trio.sleep(0.9)

    async def _garbage(self, tcp: MemoryTcp) -> None:
        await tcp.send_all(self.random.randbytes(2000) + b"\r\n\r\n")

    async def _oversized_header(self, tcp: MemoryTcp) -> None:
        size = DEFAULT_LIMITS.header_bytes
        await tcp.send_all(b"GET / HTTP/1.1\r\nHost: a\r\nX-A: " + b"a" * (2 * size))

    async def _bad_upgrade(self, tcp: MemoryTcp) -> None:
        await tcp.send_all(_upgrade({"Sec-WebSocket-Version": "7"}))

    async def _bad_frames(self, tcp: MemoryTcp) -> None:
        await tcp.send_all(_upgrade(dict(self._signed(self._media_url()))))
        first = self.random.choice([0xF1, 0x83, 0x8F, 0x09, 0x80])
        await tcp.send_all(bytes([first, 0x82]) + bytes(4) + b"xx")
        await tcp.send_all(bytes([0x81, 0x02]) + b"xx")  # Not masked.

    async def _huge_message(self, tcp: MemoryTcp) -> None:
        await tcp.send_all(_upgrade(dict(self._signed(self._media_url()))))
        size = DEFAULT_LIMITS.message_bytes
        for fin in (0x01, 0x00, 0x00, 0x80):
            await tcp.send_all(bytes([fin, 0xFE]) + struct.pack("!H", size) + bytes(4))
            await tcp.send_all(b"a" * size)


@attrs.frozen
class _MemorySocket:
    """The part of a socket that a connection asks for."""

    stream: trio.StapledStream[trio.testing.MemorySendStream, trio.testing.MemoryReceiveStream]
    family: int = socket.AF_INET

    def getpeername(self) -> tuple[str, int]:
        """Who came."""
        return "203.0.113.66", 50_000

    def getsockname(self) -> tuple[str, int]:
        """To whom."""
        return "198.51.100.1", 443

    def close(self) -> None:
        """Close both ways; whoever reads or writes wakes up."""
        self.stream.send_stream.close()
        self.stream.receive_stream.close()


@attrs.define(eq=False)
class MemoryTcp:
    """A TCP connection in memory: a `trio.SocketStream` as far as a connection looks."""

    stream: trio.StapledStream[trio.testing.MemorySendStream, trio.testing.MemoryReceiveStream]
    socket: _MemorySocket = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.socket = _MemorySocket(self.stream)

    async def send_all(self, data: bytes) -> None:
        """See `trio.abc.SendStream`."""
        await self.stream.send_all(data)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """See `trio.abc.ReceiveStream`."""
        return bytes(await self.stream.receive_some(max_bytes))

    async def send_eof(self) -> None:
        """See `trio.abc.HalfCloseableStream`."""
        await self.stream.send_stream.aclose()


def _connected() -> str:
    return orjson.dumps({"event": "connected", "protocol": "Call", "version": "1.0.0"}).decode()


def _upgrade(more: Mapping[str, Any]) -> bytes:
    headers = {
        "Host": "gw.example.net",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
        **more,
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"GET {MEDIA_PATH} HTTP/1.1\r\n{lines}\r\n".encode("ascii")
