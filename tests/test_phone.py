from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

import attrs
import h11
import pytest
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket

from gateway.lab.rehearsing.scenario import Scenario, Step
from gateway.lab.twilio.call_report import CallReport, Request
from gateway.lab.twilio.line_facts import LineEnded, LineFact, Pressed, Said
from gateway.lab.twilio.phone import place_call
from gateway.lab.twilio.twiml_reader import (
    ConnectStream,
    Dial,
    Hangup,
    Pause,
    PlayDigits,
    Record,
    Redirect,
    Reject,
    Say,
    TwimlFault,
    read_twiml,
)
from gateway.twilio import twiml
from gateway.twilio.signature import is_signed
from gateway.twilio.twiml import StreamPlace, connect_stream

TOKEN = "not-a-real-token"
QUARTER = b"a" * 2000
HANGUP = "<Response><Hangup/></Response>"

Talk = Callable[[WebSocketConnection, str], Awaitable[None]]


@attrs.define(eq=False)
class SmallGateway:
    """Stands for a gateway: fixed documents, and a stream that does what the test says."""

    talk: Talk
    documents: dict[str, tuple[int, str, str]] = attrs.field(factory=dict)
    """Path to status, content type and body."""
    requests: list[tuple[str, dict[str, str], list[tuple[str, str]]]] = attrs.field(factory=list)
    upgrades: list[tuple[str, dict[str, str]]] = attrs.field(factory=list)
    came: list[dict[str, Any]] = attrs.field(factory=list)
    """Messages of the stream."""
    closed: trio.Event = attrs.field(factory=trio.Event)
    base_url: str = ""
    media_url: str = ""
    refuse: int | None = None
    """HTTP status for every upgrade."""

    def answers(self, path: str, body: str, status: int = 200, kind: str = "text/xml") -> None:
        self.documents[path] = (status, kind, body)

    def connects(self) -> None:
        place = StreamPlace(url=self.media_url, token="t0k", action="/twilio/after-stream")
        self.answers("/twilio/voice", connect_stream(place))
        self.answers("/twilio/after-stream", HANGUP)

    async def serve_http(self, stream: trio.SocketStream) -> None:
        connection = h11.Connection(h11.SERVER)
        body = b""
        request: h11.Request | None = None
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await stream.receive_some())
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                break
            else:
                return
        assert request is not None
        path = request.target.decode()
        headers = {name.decode(): value.decode() for name, value in request.headers}
        self.requests.append((path, headers, parse_qsl(body.decode(), keep_blank_values=True)))
        status, kind, text = self.documents.get(path, (404, "text/plain", "no such page"))
        fields = [("content-type", kind), ("content-length", str(len(text.encode())))]
        for out in (
            h11.Response(status_code=status, headers=[*fields, ("connection", "close")]),
            h11.Data(data=text.encode()),
            h11.EndOfMessage(),
        ):
            await stream.send_all(connection.send(out) or b"")

    async def serve_stream(self, request: WebSocketRequest) -> None:
        headers = {name.decode().lower(): value.decode() for name, value in request.headers}
        self.upgrades.append((request.path, headers))
        if self.refuse is not None:
            await request.reject(self.refuse)
            return
        socket = await request.accept()
        try:
            start = json.loads(await self._message(socket, until="start"))
            await self.talk(socket, start["streamSid"])
            while True:
                await self._message(socket)
        except ConnectionClosed:
            self.closed.set()

    async def _message(self, socket: WebSocketConnection, until: str | None = None) -> str:
        while True:
            text = str(await socket.get_message())
            self.came.append(json.loads(text))
            if until in {None, self.came[-1]["event"]}:
                return text

    async def hears(self, socket: WebSocketConnection, event: str) -> dict[str, Any]:
        await self._message(socket, until=event)
        return self.came[-1]


@asynccontextmanager
async def serving(gateway: SmallGateway) -> AsyncIterator[SmallGateway]:
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(
            partial(trio.serve_tcp, gateway.serve_http, 0, host="127.0.0.1")
        )
        gateway.base_url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        sockets = await nursery.start(
            partial(serve_websocket, gateway.serve_stream, "127.0.0.1", 0, ssl_context=None)
        )
        gateway.media_url = f"ws://127.0.0.1:{sockets.port}/twilio/media"
        gateway.connects()
        yield gateway
        nursery.cancel_scope.cancel()


def a_scenario(*steps: Step) -> Scenario:
    return Scenario("test", caller=steps)


async def call(gateway: SmallGateway, *steps: Step, **options: Any) -> CallReport:  # noqa: ANN401
    options.setdefault("voice", lambda _text: b"v" * 320)
    options.setdefault("limit_s", 5.0)
    with trio.fail_after(10):
        return await place_call(gateway.base_url, a_scenario(*steps), **options)


def media(stream_sid: str, ulaw: bytes) -> str:
    payload = base64.b64encode(ulaw).decode()
    return json.dumps({"event": "media", "streamSid": stream_sid, "media": {"payload": payload}})


async def hang_up_at_once(socket: WebSocketConnection, stream_sid: str) -> None:
    await socket.aclose(1000)


async def listen_only(socket: WebSocketConnection, stream_sid: str) -> None:
    await trio.lowlevel.checkpoint()


async def test_a_whole_call_in_which_the_agent_speaks_and_hangs_up() -> None:
    async def talk(socket: WebSocketConnection, stream_sid: str) -> None:
        await socket.send_message(media(stream_sid, QUARTER))
        mark = {"event": "mark", "streamSid": stream_sid, "mark": {"name": "goodbye"}}
        await socket.send_message(json.dumps(mark))
        await gateway.hears(socket, "mark")
        await socket.aclose(1000, "done")

    seen: list[tuple[int, LineFact]] = []
    async with serving(SmallGateway(talk)) as gateway:
        report = await call(gateway, observe=lambda at_ms, fact: seen.append((at_ms, fact)))

    assert report.problem is None
    assert report.ended == "gateway_hung_up"
    assert report.stream_ended == "closed_by_server"
    assert (report.close_code, report.close_reason) == (1000, "done")
    assert report.heard_ulaw == QUARTER
    assert report.heard_ms == 250
    assert report.unplayed_ms == 0
    (mark,) = report.marks
    assert mark.echoed_ms is not None
    assert 250 <= mark.echoed_ms <= mark.queued_ms + 250
    assert report.requests == (Request("/twilio/voice", 200), Request("/twilio/after-stream", 200))
    assert [type(verb).__name__ for verb in report.verbs] == ["ConnectStream", "Hangup"]
    assert report.answered_after_ms is not None
    assert report.warnings == ()
    assert [type(fact) for _, fact in seen] == [LineEnded]
    frames = [message for message in gateway.came if message["event"] == "media"]
    assert len(frames) >= 10


async def test_the_stream_is_told_who_calls_and_what_the_document_said() -> None:
    async with serving(SmallGateway(hang_up_at_once)) as gateway:
        report = await call(gateway, account_sid="AC77")

    assert [message["event"] for message in gateway.came[:2]] == ["connected", "start"]
    start = gateway.came[1]["start"]
    assert start["customParameters"] == {"token": "t0k"}
    assert start["accountSid"] == "AC77"
    assert start["callSid"] == report.call_sid
    assert start["streamSid"] == report.stream_sid
    ((path, headers),) = gateway.upgrades
    assert path == "/twilio/media"
    assert "sec-websocket-protocol" not in headers


async def test_the_webhook_has_the_fields_and_headers_of_twilio() -> None:
    async with serving(SmallGateway(hang_up_at_once)) as gateway:
        report = await call(gateway, from_number="+491", to_number="+492")

    (path, headers, pairs), (action, _, action_pairs) = gateway.requests
    fields = dict(pairs)
    assert path == "/twilio/voice"
    assert headers["content-type"] == "application/x-www-form-urlencoded"
    assert headers["i-twilio-idempotency-token"]
    assert "x-twilio-signature" not in headers
    assert fields["CallSid"] == report.call_sid
    assert (fields["From"], fields["Caller"]) == ("+491", "+491")
    assert (fields["To"], fields["Called"]) == ("+492", "+492")
    assert (fields["Direction"], fields["CallStatus"]) == ("inbound", "ringing")
    assert action == "/twilio/after-stream"
    assert dict(action_pairs) == {**fields, "CallStatus": "in-progress"}


async def test_every_request_and_the_upgrade_are_signed_when_there_is_a_token() -> None:
    async with serving(SmallGateway(hang_up_at_once)) as gateway:
        await call(gateway, auth_token=TOKEN)

    assert len(gateway.requests) == 2
    for path, headers, pairs in gateway.requests:
        signature = headers["x-twilio-signature"]
        url = gateway.base_url + path
        assert is_signed(signature, auth_token=TOKEN, url=url, pairs=pairs)
    ((_, headers),) = gateway.upgrades
    signature = headers["x-twilio-signature"]
    assert is_signed(signature, auth_token=TOKEN, url=gateway.media_url)


async def test_a_public_address_is_signed_for_and_reached_where_the_gateway_listens() -> None:
    """What `offhook rehearse` needs on a machine whose gateway is configured for the world."""
    public = "https://voice.example.net"
    async with serving(SmallGateway(hang_up_at_once)) as gateway:
        gateway.answers("/twilio/voice", f"<Response><Redirect>{public}/more</Redirect></Response>")
        gateway.answers("/more", HANGUP)
        report = await call(gateway, auth_token=TOKEN, public_url=public)

    assert report.problem is None
    for path, headers, pairs in gateway.requests:
        signature = headers["x-twilio-signature"]
        assert is_signed(signature, auth_token=TOKEN, url=public + path, pairs=pairs)


async def test_a_caller_who_hangs_up_says_stop_and_asks_for_nothing_more() -> None:
    async with serving(SmallGateway(listen_only)) as gateway:
        report = await call(gateway, Step(wait_ms=60, press="7"), Step(wait_ms=60, hang_up=True))
        await gateway.closed.wait()

    assert report.ended == "caller_hung_up"
    assert report.problem is None
    assert [fact.digit for fact in report.pressed] == [Pressed("7", 0).digit]
    assert gateway.came[-1]["event"] == "stop"
    assert [path for path, _, _ in gateway.requests] == ["/twilio/voice"]


async def test_what_the_caller_says_arrives_and_is_reported() -> None:
    async with serving(SmallGateway(listen_only)) as gateway:
        report = await call(gateway, Step(wait_ms=50, say="Hello?"), Step(hang_up=True))

    assert report.said == (Said("Hello?", 60, 100),)
    payloads = [m["media"]["payload"] for m in gateway.came if m["event"] == "media"]
    assert b"".join(map(base64.b64decode, payloads)).strip(b"\xff") == b"v" * 320


async def test_audio_that_was_still_queued_when_the_gateway_closed_is_counted() -> None:
    async def talk(socket: WebSocketConnection, stream_sid: str) -> None:
        await socket.send_message(media(stream_sid, QUARTER * 8))
        await trio.sleep(0.1)
        await socket.aclose(1000)

    async with serving(SmallGateway(talk)) as gateway:
        report = await call(gateway)

    assert report.heard_ms + report.unplayed_ms in {1999, 2000}
    assert report.unplayed_ms > 0


async def test_what_the_gateway_sends_wrong_is_reported_and_dropped() -> None:
    async def talk(socket: WebSocketConnection, stream_sid: str) -> None:
        await socket.send_message(b"\x00")
        await socket.send_message(media("MZ-of-another-stream", QUARTER))
        await socket.aclose(1000)

    async with serving(SmallGateway(talk)) as gateway:
        report = await call(gateway)

    assert [warning.code for warning in report.warnings] == [31950, 31951]
    assert report.heard == ()


async def test_a_call_that_goes_on_for_ever_is_hung_up_and_says_so() -> None:
    async with serving(SmallGateway(listen_only)) as gateway:
        report = await call(gateway, Step(wait="call_end"), limit_s=0.3)

    assert report.problem == "the call was still going after 0.3 s"
    assert report.ended == "failed"
    assert [path for path, _, _ in gateway.requests] == ["/twilio/voice"]


async def test_a_refused_upgrade_is_reported_and_the_action_still_requested() -> None:
    async with serving(SmallGateway(listen_only, refuse=403)) as gateway:
        report = await call(gateway)

    assert report.problem == "error 31920: the stream could not be opened: it was refused with 403"
    assert report.ended == "failed"
    assert report.stream_ended is None
    assert [request.path for request in report.requests] == [
        "/twilio/voice",
        "/twilio/after-stream",
    ]


async def test_a_stream_that_is_closed_with_an_error_is_reported() -> None:
    async def crash(socket: WebSocketConnection, stream_sid: str) -> None:
        await socket.aclose(1011, "crashed")

    async with serving(SmallGateway(crash)) as gateway:
        gateway.answers(
            "/twilio/after-stream", "<Response><Say>We are sorry.</Say><Hangup/></Response>"
        )
        report = await call(gateway)

    assert report.problem == "error 31921: the gateway closed the stream with 1011"
    assert (report.close_code, report.close_reason) == (1011, "crashed")
    assert report.verbs[1:] == (Say("We are sorry."), Hangup())


async def test_a_stream_whose_connection_breaks_is_reported() -> None:
    async def vanish(socket: WebSocketConnection, stream_sid: str) -> None:
        await trio.aclose_forcefully(socket._stream)
        raise ConnectionClosed(None)

    async with serving(SmallGateway(vanish)) as gateway:
        report = await call(gateway)

    assert report.stream_ended == "closed_by_server"
    assert report.problem is not None
    assert report.problem.startswith("error 31921")


async def test_a_gateway_that_is_not_there_is_a_problem_and_no_traceback() -> None:
    async with serving(SmallGateway(listen_only)) as gateway:
        pass
    report = await call(gateway)

    assert report.ended == "failed"
    assert report.problem is not None
    assert report.problem.startswith("/twilio/voice was not answered: ")
    assert report.requests == ()


async def test_a_stream_to_a_port_where_nobody_listens_is_a_problem() -> None:
    async with serving(SmallGateway(listen_only)) as gateway:
        gone = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = gone[0].socket.getsockname()[1]
        await gone[0].aclose()
        url = f"ws://127.0.0.1:{port}/twilio/media"
        place = StreamPlace(url=url, token="t", action="/twilio/after-stream")
        gateway.answers("/twilio/voice", connect_stream(place))
        report = await call(gateway)

    assert report.problem is not None
    assert report.problem.startswith("error 31920: the stream could not be opened: ")


@pytest.mark.parametrize(
    ("status", "kind", "body", "problem"),
    [
        pytest.param(403, "text/plain", "", "/twilio/voice answered with status 403", id="403"),
        pytest.param(
            200,
            "text/html",
            HANGUP,
            "error 12300: the content type is 'text/html' and not text/xml",
            id="content-type",
        ),
        pytest.param(200, "text/xml", "<Response>", "error 12100: not XML", id="xml"),
    ],
)
async def test_a_document_that_cannot_be_carried_out_ends_the_call(
    status: int, kind: str, body: str, problem: str
) -> None:
    async with serving(SmallGateway(listen_only)) as gateway:
        gateway.answers("/twilio/voice", body, status, kind)
        report = await call(gateway)

    assert report.ended == "failed"
    assert report.problem is not None
    assert report.problem.startswith(problem)
    assert report.requests == (Request("/twilio/voice", status),)


async def test_a_call_that_is_rejected_is_over() -> None:
    async with serving(SmallGateway(listen_only)) as gateway:
        gateway.answers("/twilio/voice", '<Response><Reject reason="busy"/></Response>')
        report = await call(gateway)

    assert report.ended == "rejected"
    assert report.verbs == (Reject("busy"),)
    assert report.problem is None


async def test_a_redirect_in_a_circle_comes_to_an_end() -> None:
    async with serving(SmallGateway(listen_only)) as gateway:
        gateway.answers("/twilio/voice", "<Response><Redirect>/twilio/voice</Redirect></Response>")
        report = await call(gateway)

    assert report.problem == "the call went through more than 10 documents"
    assert len(report.requests) == 10


async def test_a_redirect_by_get_has_its_fields_in_the_query_and_signs_them() -> None:
    async with serving(SmallGateway(listen_only)) as gateway:
        gateway.answers(
            "/twilio/voice", '<Response><Redirect method="GET">/next?a=1</Redirect></Response>'
        )
        report = await call(gateway, auth_token=TOKEN)

    path, headers, pairs = gateway.requests[1]
    assert path.startswith("/next?a=1&AccountSid=AC")
    assert pairs == []
    signature = headers["x-twilio-signature"]
    assert is_signed(signature, auth_token=TOKEN, url=gateway.base_url + path)
    assert report.problem == "/next answered with status 404"


@pytest.mark.parametrize(
    ("inside", "code"),
    [
        pytest.param("<hangup/>", 12200, id="case"),
        pytest.param("<Enqueue>desk</Enqueue>", 12200, id="verb-not-known-here"),
        pytest.param("<Dial>+491</Dial>", 12200, id="dial-without-noun"),
        pytest.param("<Dial><Number>12</Number></Dial>", 13223, id="number-not-e164"),
        pytest.param("<Dial><Number></Number></Dial>", 13223, id="no-number"),
        pytest.param("<Dial><Sip>sip:nobody</Sip></Dial>", 13223, id="sip-without-host"),
        pytest.param("<Dial timeout='2'><Number>+491</Number></Dial>", 13212, id="timeout"),
        pytest.param("<Dial timeout='x'><Number>+491</Number></Dial>", 12200, id="timeout-x"),
        pytest.param("<Dial callerId='me'><Number>+491</Number></Dial>", 13214, id="caller-id"),
        pytest.param("<Dial action='/x'><Number>+491</Number></Dial>", 11100, id="action"),
        pytest.param("<Dial answerOnBridge='yes'><Number>+491</Number></Dial>", 12200, id="bridge"),
        pytest.param(
            "<Dial><Number statusCallback='https://a.example/s' statusCallbackEvent='ringing'>+491"
            "</Number></Dial>",
            12200,
            id="event",
        ),
        pytest.param("<Dial><Number>+491</Number><Number>+492</Number></Dial>", 12200, id="two"),
        pytest.param("<Play/>", 13326, id="play-nothing"),
        pytest.param("<Play digits='1W'/>", 13326, id="play-no-key"),
        pytest.param("<Play digits='1'>x</Play>", 12200, id="play-text"),
        pytest.param("<Record maxLength='0'/>", 13612, id="record-length"),
        pytest.param("<Record transcribe='true'/>", 12200, id="record-attribute"),
        pytest.param("<Record recordingStatusCallback='/r'/>", 11100, id="record-callback"),
        pytest.param("<Say></Say>", 12200, id="empty-say"),
        pytest.param("<Hangup reason='x'/>", 12200, id="attribute"),
        pytest.param("text", 12200, id="stray-text"),
        pytest.param("<Pause length='-1'/>", 12200, id="pause"),
        pytest.param("<Say>x</Say><Reject/>", 12200, id="reject-not-first"),
        pytest.param("<Reject reason='tired'/>", 12200, id="reject-reason"),
        pytest.param("<Connect/>", 12200, id="connect-nothing"),
        pytest.param("<Connect><Say>x</Say></Connect>", 12200, id="connect-say"),
        pytest.param("<Connect><Stream/></Connect>", 31922, id="no-url"),
        *(
            pytest.param(f"<Connect><Stream url='{url}'/></Connect>", code, id=url)
            for url, code in [
                ("/twilio/media", 31922),
                ("https://a.example/m", 31922),
                ("ws://a.example/m", 31922),
                ("wss:///m", 31923),
                ("wss://a.example/m m", 31923),
                ("wss://a.example:port/m", 31923),
                ("wss://a.example/m?token=t", 31920),
                ("wss://a.example/m#f", 31920),
            ]
        ),
        pytest.param(
            "<Connect><Stream url='wss://a.example/m' track='both_tracks'/></Connect>",
            31941,
            id="tracks",
        ),
        pytest.param(
            "<Connect><Stream url='wss://a.example/m'><Parameter name='t'/></Stream></Connect>",
            12200,
            id="parameter-without-value",
        ),
        pytest.param(
            "<Connect><Stream url='wss://a.example/m'>"
            f"<Parameter name='t' value='{'x' * 499}'/></Stream></Connect>",
            12200,
            id="parameter-of-500",
        ),
    ],
)
def test_twiml_that_twilio_refuses_is_refused_with_its_number(inside: str, code: int) -> None:
    with pytest.raises(TwimlFault) as fault:
        read_twiml(f"<Response>{inside}</Response>".encode(), "text/xml")

    assert fault.value.code == code


@pytest.mark.parametrize("body", [b"", b"<Response", b"<Play/>", b"<!DOCTYPE x><Response/>"])
def test_what_is_no_twiml_document_is_refused(body: bytes) -> None:
    with pytest.raises(TwimlFault):
        read_twiml(body, "text/xml")


def test_what_the_gateway_writes_to_move_a_call_is_read() -> None:
    place = twiml.StreamPlace(url="wss://a.example/m", token="t", action="https://a.example/a")
    plan = twiml.DialPlan(
        to="sip:a@b.example;x=1?X-A=1&B=2",
        ring_s=25,
        caller_id="+491",
        action="https://a.example/d",
        whisper_url="https://a.example/w?key=1&said=1",
        status_callback="https://a.example/s",
    )
    documents = [
        twiml.press_and_connect("1w#", place),
        twiml.dial(plan, say="Sorry."),
        twiml.whisper("A caller.", "https://a.example/w?said=1"),
        twiml.nothing_more(),
        twiml.take_message(
            "Speak.", most_s=120, status_callback="https://a.example/r", action="https://a.example"
        ),
    ]
    play, dial, whisper, nothing, record = (
        read_twiml(document.encode(), "text/xml") for document in documents
    )

    assert play[0] == PlayDigits("1w#")
    assert isinstance(play[1], ConnectStream)
    assert dial == (
        Say("Sorry."),
        Dial(
            to=plan.to,
            timeout_s=25,
            caller_id="+491",
            action="https://a.example/d",
            whisper_url="https://a.example/w?key=1&said=1",
            status_callback="https://a.example/s",
        ),
        Hangup(),
    )
    assert whisper == (Say("A caller."), Redirect("https://a.example/w?said=1", "POST"))
    assert nothing == ()
    assert record[1] == Record(120, "https://a.example", "https://a.example/r")


def test_twiml_that_twilio_takes_is_read() -> None:
    body = (
        '<?xml version="1.0" encoding="UTF-8"?><Response><!-- hello --><Say voice="alice">Hi '
        '&amp; bye</Say><Pause/><Pause length="3"/><Connect action="/a" method="GET"><Stream '
        'url="wss://a.example/m" name="n" statusCallback="/s"><Parameter name="t" '
        f'value="{"x" * 498}"/></Stream></Connect><Redirect>/b</Redirect><Hangup/></Response>'
    )
    say, pause, longer, connect, redirect, hangup = read_twiml(
        body.encode(), "application/xml; charset=utf-8"
    )

    assert (say, pause, longer) == (Say("Hi & bye"), Pause(1), Pause(3))
    assert (redirect, hangup) == (Redirect("/b", "POST"), Hangup())
    assert attrs.asdict(connect) == {
        "url": "wss://a.example/m",
        "action": "/a",
        "method": "GET",
        "parameters": (("t", "x" * 498),),
        "status_callback": "/s",
    }
