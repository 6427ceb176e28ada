"""The front door as a whole: real requests to a real server on loopback."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from xml.etree import ElementTree as ET

import attrs
import httpx
import hypercorn.trio
import pytest
import trio
from hypercorn.config import Config as HypercornConfig
from quart_trio import QuartTrio
from structlog.testing import capture_logs
from trio_websocket import ConnectionClosed

from actors.errors import SessionRefused
from actors.exits import AgentHungUp, CallerHungUp, Exit
from actors.messages import KeyPressed, Mark, StreamStopped
from actors.ports import Carrier, Session
from gateway.app import APOLOGY, create_app
from gateway.calls import IncomingCall, Offer
from gateway.configuration.config import Config, ConfigError, load
from gateway.twilio.signature import sign
from tests.doors import Served, SilentSession, call_sid, serving

TOKEN = "12345"
PUBLIC = "https://gw.example.net"
SIGNED = load(None, {"TWILIO_AUTH_TOKEN": TOKEN, "OFFHOOK_PUBLIC_URL": PUBLIC})

ACCOUNT_SID = "AC" + "0" * 31 + "1"


@attrs.define(eq=False)
class Agent:
    """Stands for the model and the agent: marks every key pressed, hangs up on `#`."""

    sessions: list[SilentSession] = attrs.field(factory=list)
    offers: list[Offer] = attrs.field(factory=list)
    refuses: bool = False

    def open_session(self, incoming: IncomingCall, nursery: trio.Nursery) -> Session:
        if self.refuses:
            raise SessionRefused("invalid_api_key", "no")
        session = SilentSession()
        self.sessions.append(session)
        nursery.start_soon(session.run)
        return session

    async def run_call(self, offer: Offer, carrier: Carrier) -> Exit:
        self.offers.append(offer)
        while True:
            match await carrier.receive():
                case KeyPressed("#"):
                    await carrier.aclose()
                    # Long enough that Twilio asks before the call is over.
                    await trio.sleep(0.1)
                    return AgentHungUp("bye", goodbye_heard=True)
                case KeyPressed("*"):
                    raise RuntimeError("as asked")
                case KeyPressed(digit):
                    await carrier.send(Mark(digit))
                case StreamStopped():
                    return CallerHungUp()
                case _:
                    pass


@asynccontextmanager
async def front_door(agent: Agent, config: Config) -> AsyncIterator[Served]:
    app = create_app(config, open_session=agent.open_session, run_call=agent.run_call)
    async with serving(app) as server:
        yield server


@pytest.fixture
def agent() -> Agent:
    return Agent()


def form(sid: str) -> dict[str, str]:
    return {"CallSid": sid, "AccountSid": ACCOUNT_SID, "From": "+15551234567", "To": "+15557654321"}


def signed(path: str, data: dict[str, str]) -> dict[str, str]:
    return {"X-Twilio-Signature": sign(TOKEN, PUBLIC + path, data.items())}


def parameter(document: str) -> str:
    found = ET.fromstring(document).find("./Connect/Stream/Parameter")
    assert found is not None
    return found.attrib["value"]


def start(sid: str, token: str) -> str:
    body = {
        "streamSid": "MZ1",
        "accountSid": ACCOUNT_SID,
        "callSid": sid,
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": {"token": token},
    }
    return json.dumps({"event": "start", "start": body})


def key(digit: str) -> str:
    return json.dumps({"event": "dtmf", "dtmf": {"digit": digit}})


async def call_to_its_end(server: Served, sid: str, last_key: str) -> str:
    """Place a call, press a key that ends it, and ask what comes after the stream."""
    answer = await server.post("/twilio/voice", form(sid))
    async with server.websocket("/twilio/media") as websocket:
        await websocket.send_message('{"event": "connected"}')
        await websocket.send_message(start(sid, parameter(answer.text)))
        await websocket.send_message(key("5"))
        with trio.fail_after(2):
            assert json.loads(await websocket.get_message())["mark"] == {"name": "5"}
            await websocket.send_message(key(last_key))
            with pytest.raises(ConnectionClosed):
                await websocket.get_message()
        after = await server.post("/twilio/after-stream", form(sid))
    return after.text


async def test_a_signed_call_is_connected_to_the_public_address(agent: Agent) -> None:
    with capture_logs():
        async with front_door(agent, SIGNED) as server:
            data = form(call_sid())
            answer = await server.post("/twilio/voice", data, signed("/twilio/voice", data))

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/xml")
    assert answer.headers["content-length"] == str(len(answer.content))
    response = ET.fromstring(answer.text)
    assert response[0].attrib["action"] == f"{PUBLIC}/twilio/after-stream"
    assert response[0][0].attrib["url"] == "wss://gw.example.net/twilio/media"
    assert len(agent.sessions) == 1


@pytest.mark.parametrize(
    "path",
    [
        *("/twilio/voice", "/twilio/after-stream", "/twilio/status", "/twilio/stream-status"),
        *("/twilio/after-dial", "/twilio/dial-status", "/twilio/whisper"),
        *("/twilio/recording", "/twilio/after-message"),
    ],
)
async def test_no_webhook_acts_on_a_request_that_is_not_signed(agent: Agent, path: str) -> None:
    """Whatever its sender says about hosts and proxies; and nothing is spent."""
    data = form(call_sid())
    good = signed(path, data)
    async with front_door(agent, SIGNED) as server:
        with capture_logs() as logs:
            answers = [
                await server.post(path, data),
                await server.post(path, {**data, "From": "+1"}, good),
                await server.post(path + "?x=1", data, good),
                await server.post(path, data, {"X-Twilio-Signature": "\xff".encode("latin-1")}),  # type: ignore[dict-item]
                await server.post(path, data, {**signed("/x", data), "X-Forwarded-Host": "a"}),
            ]
        fine = await server.post(path, data, {**good, "Host": "evil", "X-Forwarded-Host": "evil"})

    assert [answer.status_code for answer in answers] == [403] * 5
    assert {entry["event"] for entry in logs} == {"webhook.refused"}
    assert fine.status_code == 200
    assert "evil" not in fine.text


async def test_a_query_is_signed_as_it_was_written(agent: Agent) -> None:
    path = "/twilio/voice?a=%7e+b&a=1"
    data = form(call_sid())
    with capture_logs():
        async with front_door(agent, SIGNED) as server:
            assert (await server.post(path, data, signed(path, data))).status_code == 200


async def test_a_call_that_the_agent_ended_is_hung_up(agent: Agent) -> None:
    with capture_logs():
        async with front_door(agent, Config()) as server:
            after = await call_to_its_end(server, call_sid(), "#")

    assert [child.tag for child in ET.fromstring(after)] == ["Hangup"]
    assert agent.sessions[0].closed


async def test_a_call_that_crashed_gets_an_apology_and_the_next_one_works(agent: Agent) -> None:
    with capture_logs() as logs:
        async with front_door(agent, Config()) as server:
            after = await call_to_its_end(server, call_sid(), "*")
            assert "<Hangup" in await call_to_its_end(server, call_sid(), "#")

    assert [child.text for child in ET.fromstring(after)] == [APOLOGY, None]
    assert "call.crashed" in [entry["event"] for entry in logs]


async def test_a_stream_nobody_knows_gets_an_apology_for_its_caller(agent: Agent) -> None:
    async with front_door(agent, Config()) as server:
        after = await server.post("/twilio/after-stream", form(call_sid()))
    assert APOLOGY in after.text


async def test_unsigned_on_loopback_the_stream_comes_to_the_socket_that_was_asked(
    agent: Agent,
) -> None:
    with capture_logs():
        async with front_door(agent, Config()) as server:
            answer = await server.post("/twilio/voice", form(call_sid()))
    stream = ET.fromstring(answer.text)[0][0]
    assert stream.attrib["url"] == f"ws://127.0.0.1:{server.port}/twilio/media"


async def test_a_repeated_webhook_gets_the_same_answer_and_a_late_one_a_hangup(
    agent: Agent,
) -> None:
    with capture_logs():
        async with front_door(agent, Config()) as server:
            sid = call_sid()
            first = await server.post("/twilio/voice", form(sid))
            second = await server.post("/twilio/voice", form(sid))
            await server.post("/twilio/status", {**form(sid), "CallStatus": "completed"})
            await trio.sleep(0.05)
            late = await server.post("/twilio/voice", form(sid))

    assert first.text == second.text
    assert len(agent.sessions) == 1
    assert [child.tag for child in ET.fromstring(late.text)] == ["Hangup"]


async def test_a_model_that_refuses_at_once_means_an_apology(agent: Agent) -> None:
    agent.refuses = True
    with capture_logs():
        async with front_door(agent, Config()) as server:
            answer = await server.post("/twilio/voice", form(call_sid()))
    assert APOLOGY in answer.text


async def test_too_many_calls_are_busy_and_readiness_says_so(agent: Agent) -> None:
    config = load(None, {"OFFHOOK_CALLS_MAX_CONCURRENT": "1"})
    with capture_logs():
        async with front_door(agent, config) as server:
            assert (await server.get("/readyz")).status_code == 200
            await server.post("/twilio/voice", form(call_sid()))
            busy = await server.post("/twilio/voice", form(call_sid()))

            assert (await server.get("/readyz")).status_code == 503
            assert (await server.get("/healthz")).status_code == 200
    assert ET.fromstring(busy.text)[0].attrib == {"reason": "busy"}


@pytest.mark.parametrize("sid", ["", "../../etc", "CA/1", "C" * 65, "CA\u00e9"])
async def test_a_call_sid_that_could_not_be_a_file_name_is_rejected(agent: Agent, sid: str) -> None:
    with capture_logs():
        async with front_door(agent, Config()) as server:
            answer = await server.post("/twilio/voice", form(sid))

    assert ET.fromstring(answer.text)[0].tag == "Reject"
    assert agent.sessions == []


async def test_a_body_that_is_no_form_is_refused(agent: Agent) -> None:
    client = httpx.AsyncClient(trust_env=False)
    with capture_logs():
        async with front_door(agent, Config()) as server, client:
            url = f"{server.base}/twilio/voice"
            for body in (b"a=%ff", b"\xff", b"a=1&" * 1000):
                assert (await client.post(url, content=body)).status_code == 403
            too_large = await client.post(url, content=b"a" * 70_000)

    assert too_large.status_code == 413


async def test_callbacks_are_logged_without_numbers(agent: Agent) -> None:
    with capture_logs() as logs:
        async with front_door(agent, Config()) as server:
            data = {**form(call_sid()), "CallStatus": "ringing", "StreamEvent": "stream-started"}
            assert (await server.post("/twilio/status", data)).text == ""
            assert (await server.post("/twilio/stream-status", data)).text == ""

    events = [entry["event"] for entry in logs]
    assert {"call.status_reported", "stream.status_reported"} <= set(events)
    assert "5551234567" not in repr(logs)


def test_an_application_that_could_not_check_its_requests_is_not_made() -> None:
    with pytest.raises(ConfigError):
        create_app(load(None, {"TWILIO_AUTH_TOKEN": TOKEN}))
    with pytest.raises(ConfigError):
        create_app(load(None, {"OFFHOOK_BIND": "0.0.0.0:80"}))


async def test_a_stop_of_the_server_ends_the_calls(agent: Agent) -> None:
    with capture_logs():
        async with front_door(agent, Config()) as server:
            await server.post("/twilio/voice", form(call_sid()))
    assert agent.sessions[0].cancelled


async def test_a_stock_hypercorn_serves_it_too(agent: Agent) -> None:
    """A host may bring its own server; then the barrier around connections is its own, too."""
    config = HypercornConfig()
    config.bind = ["127.0.0.1:0"]
    config.errorlog = None
    app = create_app(Config(), open_session=agent.open_session, run_call=agent.run_call)
    stop = trio.Event()
    with capture_logs():
        async with trio.open_nursery() as nursery:
            (base,) = await nursery.start(
                partial(hypercorn.trio.serve, app, config, shutdown_trigger=stop.wait)
            )
            server = Served(int(base.rpartition(":")[2]))
            after = await call_to_its_end(server, call_sid(), "#")
            stop.set()

    assert [child.tag for child in ET.fromstring(after)] == ["Hangup"]
    assert isinstance(app, QuartTrio)


@pytest.mark.parametrize("cut", [1, 8, 31])
async def test_a_webhook_whose_fields_are_cut_elsewhere_is_signed_and_refused(
    agent: Agent, cut: int
) -> None:
    """A signature covers names and values run together: where one ends is anybody's word."""
    sid = "CA" + "c" * 32
    data = {"AccountSid": ACCOUNT_SID, "CallSid": sid, "CallStatus": "ringing"}
    rest = f"{sid[-cut:]}CallStatusringing"
    moved = {"AccountSid": ACCOUNT_SID, "CallSid": sid[:-cut], rest[0]: rest[1:]}
    signature = signed("/twilio/voice", data)
    with capture_logs():
        async with front_door(agent, SIGNED) as server:
            answer = await server.post("/twilio/voice", moved, signature)

    assert signature == signed("/twilio/voice", moved)
    assert [child.tag for child in ET.fromstring(answer.text)] == ["Reject"]
    assert agent.sessions == []


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}],
    ids=["origin", "sec-fetch"],
)
async def test_a_web_page_cannot_place_unsigned_calls(
    agent: Agent, headers: dict[str, str]
) -> None:
    """A form needs nobody's permission to be sent to this machine."""
    with capture_logs():
        async with front_door(agent, Config()) as server:
            answer = await server.post("/twilio/voice", form(call_sid()), headers)

    assert answer.status_code == 403
    assert agent.sessions == []


async def test_a_call_with_records_is_not_answered_again_by_a_new_process(
    agent: Agent, tmp_path: Path
) -> None:
    """The signature of its webhook is as good as ever, and nothing else remembers."""
    sid = call_sid()
    (tmp_path / sid).mkdir()
    config = load(None, {"OFFHOOK_CALLS_DIRECTORY": str(tmp_path)})
    with capture_logs():
        async with front_door(agent, config) as server:
            answer = await server.post("/twilio/voice", form(sid))

    assert [child.tag for child in ET.fromstring(answer.text)] == ["Hangup"]
    assert agent.sessions == []


@pytest.mark.parametrize(
    ("path", "fields"),
    [("/twilio/after-stream", {}), ("/twilio/stream-status", {"StreamEvent": "stream-error"})],
)
async def test_a_stream_that_never_came_frees_its_session_at_once(
    agent: Agent, path: str, fields: dict[str, str]
) -> None:
    with capture_logs():
        async with front_door(agent, Config()) as server:
            sid = call_sid()
            await server.post("/twilio/voice", form(sid))
            await server.post(path, {**form(sid), **fields})
            await trio.sleep(0.1)

            assert agent.sessions[0].closed
