"""Twilio's side of a simulated gateway: its phones, its webhooks and its media streams."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from random import Random
from typing import Final
from urllib.parse import urlencode, urlsplit

import attrs
import httpx
import trio

from gateway.lab.faults.fault_plan import Striker
from gateway.lab.faults.faulty_line import faulty_line
from gateway.lab.judges.evidence import CallSeen
from gateway.lab.judges.seen_stream import StreamSeen
from gateway.lab.judges.watched_socket import Trace, WatchedSocket
from gateway.lab.simulator.asgi import AsgiServer, Refused, Response, ServerGone
from gateway.lab.twilio.phone import Notices, Phone, StreamSocket, call_fields
from gateway.lab.twilio.twilio_api import TwilioApi
from gateway.lab.twilio.webhooks import Webhooks
from gateway.web.client_socket import CannotOpen

PUBLIC_URL: Final = "https://gw.example.net"
TO_NUMBER: Final = "+15005550001"
ACCOUNT_SID: Final = "AC" + "0ff" * 10 + "00"
CLOSE_S: Final = 2.0
"""How long Twilio waits for the answer to its close."""


def number_of(call: int) -> str:
    """The telephone number from which a call comes."""
    return f"+1556{call:07d}"


@attrs.frozen(eq=False, kw_only=True)
class Exchange:
    """Connects phones to a gateway the way Twilio does."""

    server: AsgiServer
    striker: Striker
    auth_token: str
    world: trio.Nursery
    """Webhooks that are repeated live in it."""
    call_s: float
    """After so long on the line every caller hangs up."""
    trace: Trace | None
    api: TwilioApi | None = None
    """Where the gateway reaches these calls by REST."""
    come_again: Callable[[CallSeen, float], None] = lambda _seen, _after_s: None
    """Let a stream that was opened come a second time, so long after it."""

    def phone(self, seen: CallSeen, random: Random, notices: trio.Nursery) -> Phone:
        """Make the phone of one call.

        Args:
            seen: Its call, which is told of everything.
            random: Of its ids and delays.
            notices: Status callbacks live in it, longer than the call.

        """
        call = seen.call
        delay_ms = partial(random.randint, *call.phone_ms)

        def new_id() -> str:
            return f"{random.getrandbits(128):032x}"

        return Phone(
            scenario=call.scenario,
            webhooks=Webhooks(
                base_url=PUBLIC_URL,
                public_url=PUBLIC_URL,
                auth_token=self.auth_token,
                http=_Http(self, seen, delay_ms),
                new_id=new_id,
            ),
            fields=call_fields(
                seen.call_sid,
                ACCOUNT_SID,
                from_number=call.scenario.calling or number_of(call.number),
                to_number=call.scenario.called or TO_NUMBER,
            ),
            voice=seen.caller_voice,
            observe=None,
            limit_s=self.call_s,
            open_stream=partial(self._open_stream, seen, delay_ms),
            new_id=new_id,
            notices=Notices(notices, f"{PUBLIC_URL}/twilio/status"),
            api=self.api,
        )

    async def _open_stream(
        self,
        seen: CallSeen,
        delay_ms: Callable[[], int],
        url: str,
        headers: Mapping[str, str],
        use: Callable[[StreamSocket], Awaitable[None]],
    ) -> bool:
        number = seen.call.number
        for fault in self.striker.strikes("stream.open", number):
            match fault.do:
                case "drop":
                    raise CannotOpen("nobody listens")
                case "duplicate":
                    self.come_again(seen, fault.ms / 1000)
                case _:
                    await trio.sleep(fault.ms / 1000)
        await trio.sleep(3 * delay_ms() / 1000)  # TCP, TLS, and the upgrade on its way.
        client, server = faulty_line(
            self.striker, "phone", number, up_ms=delay_ms, down_ms=delay_ms
        )
        stream = StreamSeen(opened_s=trio.current_time())
        done = trio.Event()

        def end() -> None:
            stream.done_s = trio.current_time()
            done.set()

        socket = WatchedSocket(server, stream, f"call {number} phone", self.trace)
        try:
            await self.server.open_websocket(url, list(headers.items()), socket, end)
        except Refused:
            raise CannotOpen("it was refused with 403", 403) from None
        except ServerGone:
            raise CannotOpen("nobody listens") from None
        seen.streams.append(stream)
        await trio.sleep(delay_ms() / 1000)
        try:
            await use(client)
            with trio.move_on_after(CLOSE_S):
                await client.aclose()
                await done.wait()
        finally:
            client.abort()
        return done.is_set()

    async def ask(
        self, seen: CallSeen, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> Response:
        """Make one request of Twilio's. Raises `ServerGone`."""
        response = await self.server.request(method, url, list(headers.items()), body)
        path = urlsplit(url).path
        if path == "/twilio/voice":
            seen.answers.append(response.body)
        seen.given_out(response.body)
        if path == "/twilio/status" and response.status == HTTPStatus.OK:
            seen.told_over_s = seen.told_over_s or trio.current_time()
        if self.trace is not None:
            number = seen.call.number
            self.trace(
                f"{trio.current_time():.6f} call {number} {method} {path} {body!r}"
                f" {response.status} {response.body!r}"
            )
        return response


@attrs.frozen
class _Http:
    """The way of one call's webhooks to the gateway. Stands in for an `httpx.AsyncClient`."""

    exchange: Exchange
    seen: CallSeen
    delay_ms: Callable[[], int]

    async def request(
        self, method: str, url: str, *, data: Mapping[str, str] | None, headers: Mapping[str, str]
    ) -> httpx.Response:
        """Make one request. Raises `httpx.HTTPError`."""
        exchange, seen = self.exchange, self.seen
        body = urlencode(data or {}).encode("ascii")
        kind = urlsplit(url).path.rpartition("/")[2]
        for fault in exchange.striker.strikes("webhook", seen.call.number, kind):
            match fault.do:
                case "drop":
                    await trio.sleep(self.delay_ms() / 1000)
                    raise httpx.ConnectError("the connection was lost")
                case "delay":
                    await trio.sleep(fault.ms / 1000)
                case _:
                    repeat = partial(self._repeat, fault.ms, method, url, headers, body)
                    exchange.world.start_soon(repeat, name="repeated webhook")
        await trio.sleep(2 * self.delay_ms() / 1000)
        try:
            response = await exchange.ask(seen, method, url, headers, body)
        except ServerGone:
            raise httpx.ConnectError("nobody listens") from None
        await trio.sleep(self.delay_ms() / 1000)
        return httpx.Response(response.status, headers=response.headers, content=response.body)

    async def _repeat(
        self, late_ms: int, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> None:
        await trio.sleep((late_ms + 2 * self.delay_ms()) / 1000)
        with suppress(ServerGone):
            await self.exchange.ask(self.seen, method, url, headers, body)
