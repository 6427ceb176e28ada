"""Hanging up by REST, against a server on loopback that answers as Twilio does, or worse."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

import attrs
import pytest
import trio
from structlog.testing import capture_logs

from actors.errors import CarrierRefused
from actors.wire.twilio import Start
from gateway.configuration.config import Secret, TwilioSettings
from gateway.twilio.twilio_rest import Unclear, lacking, open_rest

SILENT = (0, None)


@attrs.define(eq=False)
class TwilioStub:
    """Stands for api.twilio.com: answers each request with the next of its answers."""

    answers: list[tuple[int, int | None]]
    requests: list[bytes] = attrs.field(factory=list)

    async def serve(self, stream: trio.SocketStream) -> None:
        async with stream:
            head = b""
            while b"Status=completed" not in head and b"Twiml=" not in head:
                data = await stream.receive_some()
                if not data:
                    return
                head += data
            self.requests.append(head)
            status, code = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if status == 0:
                await trio.sleep_forever()
            body = b"<html>" if code is None else json.dumps({"code": code}).encode()
            await stream.send_all(
                b"HTTP/1.1 %d X\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"
                % (status, len(body), body)
            )


@asynccontextmanager
async def twilio(*answers: tuple[int, int | None]) -> AsyncIterator[tuple[TwilioStub, str]]:
    stub = TwilioStub(list(answers))
    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, stub.serve, 0, host="127.0.0.1")
        listeners: Sequence[trio.SocketListener] = await nursery.start(serve)
        yield stub, f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


async def hang_up(url: str, call_sid: str = "CA1") -> bool:
    rest = open_rest(TwilioSettings("AC1", Secret("token"), api_url=url))
    assert rest is not None
    assert (rest.total_s, rest.try_s) == (1.4, 1.0)
    rest.total_s, rest.try_s = 0.9, 0.3
    try:
        return await rest.hang_up(call_sid)
    finally:
        with trio.move_on_after(1, shield=True):
            await rest.aclose()


async def test_a_call_is_completed_with_the_account_that_owns_it() -> None:
    async with twilio((200, None)) as (stub, url):
        assert await hang_up(url, "CA1/../x")

    (request,) = stub.requests
    assert request.startswith(b"POST /2010-04-01/Accounts/AC1/Calls/CA1%2F..%2Fx.json ")
    assert b64encode(b"AC1:token") in request


@pytest.mark.parametrize("answer", [(201, None), (404, 20404), (400, 21220)])
async def test_a_call_that_is_over_already_counts_as_hung_up(
    answer: tuple[int, int | None],
) -> None:
    async with twilio(answer) as (stub, url):
        assert await hang_up(url)
    assert len(stub.requests) == 1


@pytest.mark.parametrize("first", [(429, 20429), (500, None), (503, None), SILENT])
async def test_what_may_pass_is_tried_again(first: tuple[int, int | None]) -> None:
    async with twilio(first, (200, None)) as (stub, url):
        assert await hang_up(url)
    assert len(stub.requests) == 2


@pytest.mark.parametrize("answer", [(401, 20003), (404, None), (400, 20001), (302, None)])
async def test_what_will_not_pass_is_given_up_at_once(answer: tuple[int, int | None]) -> None:
    with capture_logs() as logs:
        async with twilio(answer) as (stub, url):
            assert not await hang_up(url)
    assert len(stub.requests) == 1
    assert [entry["event"] for entry in logs] == ["carrier.hangup_failed"]


async def test_a_server_that_never_answers_costs_its_time_and_no_more() -> None:
    with capture_logs():
        async with twilio(SILENT) as (_, url):
            started = trio.current_time()
            assert not await hang_up(url)
    assert 0.8 < trio.current_time() - started < 1.5


async def test_a_server_that_is_not_there_is_no_exception() -> None:
    with capture_logs(), trio.fail_after(4):
        assert not await hang_up("http://127.0.0.1:9")


async def redirect(url: str, document: str = "<Response/>", account_sid: str = "AC1") -> None:
    rest = open_rest(TwilioSettings("AC1", Secret("token"), api_url=url))
    assert rest is not None
    start = Start("MZ1", account_sid, "CA1", "audio/x-mulaw", 8000, 1)
    try:
        await rest.redirect(start, document)
    finally:
        with trio.move_on_after(1, shield=True):
            await rest.aclose()


async def test_a_call_goes_on_with_a_document_of_ours() -> None:
    async with twilio((200, None)) as (stub, url):
        await redirect(url)

    (request,) = stub.requests
    assert request.startswith(b"POST /2010-04-01/Accounts/AC1/Calls/CA1.json ")
    assert request.endswith(b"Twiml=%3CResponse%2F%3E")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((401, 20003), "the credentials are not accepted (Twilio error 20003)"),
        ((404, 20404), "the call is over (Twilio error 20404)"),
        ((400, 21220), "the call is not in progress (Twilio error 21220)"),
        ((400, 12345), "the carrier refused (Twilio error 12345)"),
        ((403, None), "the carrier refused (HTTP 403)"),
    ],
)
async def test_a_redirect_that_is_refused_says_why_and_is_not_asked_again(
    answer: tuple[int, int | None], words: str
) -> None:
    with capture_logs():
        async with twilio(answer) as (stub, url):
            with pytest.raises(CarrierRefused) as refused:
                await redirect(url)

    assert str(refused.value) == words
    assert len(stub.requests) == 1


async def test_a_redirect_is_asked_again_only_when_it_was_certainly_not_obeyed() -> None:
    with capture_logs():
        async with twilio((429, 20429), (200, None)) as (stub, url):
            await redirect(url)
        async with twilio((500, None), (200, None)) as (once, url):
            with pytest.raises(Unclear):
                await redirect(url)
        with pytest.raises(CarrierRefused, match="could not be reached"):
            await redirect("http://127.0.0.1:9")

    assert len(stub.requests) == 2
    assert len(once.requests) == 1


async def test_a_redirect_that_cannot_be_right_is_not_asked_for() -> None:
    async with twilio((200, None)) as (stub, url):
        with pytest.raises(CarrierRefused, match="another account"):
            await redirect(url, account_sid="AC2")
        with pytest.raises(CarrierRefused, match="4000"):
            await redirect(url, document="x" * 4001)

    assert stub.requests == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (TwilioSettings(), "TWILIO_ACCOUNT_SID is not set"),
        (TwilioSettings("AC1"), "neither TWILIO_AUTH_TOKEN nor"),
        (TwilioSettings("AC1", None, "SK1"), "neither TWILIO_AUTH_TOKEN nor"),
        (TwilioSettings("AC1", None, "SK1", Secret("s")), None),
        (TwilioSettings("AC1", Secret("t")), None),
    ],
)
def test_what_is_missing_is_named(settings: TwilioSettings, words: str | None) -> None:
    found = lacking(settings)
    assert (found is None) == (words is None)
    assert found is None or found.startswith(words or "")


async def test_credentials_decide_whether_there_is_a_client() -> None:
    key = TwilioSettings("AC1", None, "SK1", Secret("secret"))

    assert open_rest(TwilioSettings()) is None
    assert open_rest(TwilioSettings("AC1")) is None
    client = open_rest(key)
    assert client is not None
    assert "secret" not in repr(client)
    await client.aclose()
