"""The whole gateway over loopback: a phone, the front door, a call, the model, and what is left.

Nothing here is in virtual time: every socket is one.
"""

from __future__ import annotations

import gc
import json
import os
import socket
import struct
import wave
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl
from zlib import crc32

import attrs
import httpx
import hypercorn.trio
import numpy as np
import numpy.typing as npt
import pytest
import trio
from hypercorn.config import Config as HypercornConfig
from quart_trio import QuartTrio

from actors.exits import Exit, Killed, PeerLost
from actors.policy.audit import AuditRow
from actors.policy.risk import Tier
from actors.toolbox import Toolbox
from actors.wire.g711 import decode_ulaw
from gateway.app import APOLOGY, create_app
from gateway.calls import Calls
from gateway.configuration.config import (
    AgentSettings,
    CallSettings,
    Config,
    OpenAISettings,
    Secret,
    ServerSettings,
    TwilioSettings,
)
from gateway.configuration.http_tool import HttpTool
from gateway.configuration.mcp_server import McpServer
from gateway.configuration.tool_settings import PolicySettings
from gateway.lab.openai.model_server import ModelServer
from gateway.lab.rehearsing.scenario import Expectation, parse
from gateway.lab.rehearsing.verdict import judge
from gateway.lab.twilio.call_report import CallReport
from gateway.lab.twilio.line import RehearsalLine
from gateway.lab.twilio.phone import ACCOUNT_SID, place_call
from gateway.lab.twilio.twiml_reader import ConnectStream, Hangup, Say, read_twiml
from gateway.permission.audit_log import FILE_NAME as AUDIT_FILE
from gateway.permission.audit_log import SqliteAudit, read_audit
from gateway.web.server import ServerLimits, serve
from tests.doors import call_sid, frame, read_until_closed, serving, upgrade
from tests.model_servers import rehearsal_model

SHORT = """
model:
  answers:
    - items: [{say: "Hello and bye."}, {call: {name: hangup, arguments: {reason: done}}}]
      after_ms: 50
caller: [{wait: call_end}]
"""
"""Under two seconds: one sentence, and the agent hangs up."""

INTERRUPTED = """
model:
  answers:
    - items: [{say: "A very long greeting that goes on and on, and on, and then some more."}]
      after_ms: 50
    - items: [{say: "Goodbye."}, {call: {name: hangup, arguments: {reason: done}}}]
      after_ms: 50
caller:
  - {wait: agent_speaking, after_ms: 700, say: "No, stop."}
  - {wait: call_end}
"""

TALKATIVE = """
model:
  answers:
    - items: [{say: "A very long greeting that goes on and on, and on, and then some more."}]
      after_ms: 50
caller: [{wait: call_end}]
"""

TOKEN = "12345678901234567890123456789012"
PUBLIC_URL = "https://phone.example.com"

SLACK_S = 0.75
"""What a busy machine adds."""

Stop = Callable[[], Awaitable[None]]


def noise(text: str) -> bytes:
    """Sixty milliseconds of loud noise per character: no two stretches of it are alike."""
    random = np.random.default_rng(crc32(text.encode()))
    size = 480 * len(text)
    loud = random.integers(0x10, 0x20, size) | (random.integers(0, 2, size) << 7)
    return loud.astype(np.uint8).tobytes()


def descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def expected(*, barge_ins: int) -> Expectation:
    """A call whose agent hangs up."""
    return Expectation(ending="AgentHungUp", tools=("hangup",), barge_ins=barge_ins)


async def until(condition: Callable[[], bool], *, within_s: float = 3.0) -> None:
    """Wait for something that nobody announces."""
    with trio.fail_after(within_s):
        while not condition():  # noqa: ASYNC110 (the state of code that knows no test)
            await trio.sleep(0.01)


def sent(model: ModelServer, kind: str) -> int:
    """How often the model has sent this event, over all its sessions."""
    return sum(session.sent[kind] for session in model.sessions)


@attrs.frozen
class Gateway:
    """A gateway that is being served, and the model behind it."""

    app: QuartTrio
    config: Config
    base_url: str
    model: ModelServer
    scope: trio.CancelScope
    """Of the server: cancelled, everything stops."""

    @property
    def calls(self) -> Calls:
        calls: Calls = self.app.extensions["calls"]
        return calls

    async def call(self, yaml: str) -> CallReport:
        """Place a call as Twilio would, signed if the gateway asks for signatures."""
        token = self.config.twilio.auth_token
        return await place_call(
            self.base_url,
            parse(f"name: test\n{yaml}"),
            auth_token=None if token is None else token.reveal(),
            public_url=self.config.server.public_url,
            voice=noise,
            limit_s=15,
        )

    async def announce(self, sid: str) -> ConnectStream:
        """Send the webhook of a call alone. Returns what Twilio would do next."""
        fields = {"CallSid": sid, "AccountSid": ACCOUNT_SID, "From": "+1555", "To": "+1666"}
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.post(f"{self.base_url}/twilio/voice", data=fields)
        (connect, _) = read_twiml(answer.content, answer.headers["content-type"])
        assert isinstance(connect, ConnectStream)
        return connect

    async def ending(self, sid: str) -> Exit | None:
        with trio.fail_after(3):
            return await self.calls.how_ended(sid)

    def folder(self, sid: str) -> Path:
        return self.config.calls.directory / sid

    def record(self, sid: str) -> dict[str, Any]:
        record: dict[str, Any] = json.loads((self.folder(sid) / "call.json").read_bytes())
        return record

    async def quiet(self) -> None:
        """Wait until no call is left."""
        await until(lambda: not len(self.calls))


async def own_server(app: QuartTrio, binds: list[str], stop: Stop, **start: Any) -> None:  # noqa: ANN401 (trio's)
    await serve(app, binds, shutdown=stop, limits=ServerLimits(drain_s=0.2), **start)


async def stock_hypercorn(app: QuartTrio, binds: list[str], stop: Stop, **start: Any) -> None:  # noqa: ANN401 (trio's)
    config = HypercornConfig()
    config.bind = binds
    config.errorlog = None
    await hypercorn.trio.serve(app, config, shutdown_trigger=stop, **start)


Serve = Callable[..., Awaitable[None]]


@asynccontextmanager
async def gateway(
    directory: Path,
    model_yaml: str,
    *,
    serve: Serve = own_server,
    twilio: TwilioSettings | None = None,
    public_url: str | None = None,
    tools: Mapping[str, HttpTool] | None = None,
    mcp: Mapping[str, McpServer] | None = None,
    policy: PolicySettings | None = None,
    toolbox: Toolbox | None = None,
) -> AsyncIterator[Gateway]:
    """Serve a gateway and its model, with nothing left of either at the end of the block."""
    async with rehearsal_model(model_yaml, noise) as model, trio.open_nursery() as nursery:
        config = Config(
            agent=AgentSettings(greeting="Say it."),
            server=ServerSettings(bind="127.0.0.1:0", public_url=public_url),
            calls=CallSettings(directory=directory),
            openai=OpenAISettings(api_key=Secret("sk-test"), realtime_url=model.url),
            twilio=twilio or TwilioSettings(),
            tools=tools or {},
            mcp=mcp or {},
            policy=policy or PolicySettings(),
        )
        app = create_app(config, toolbox=toolbox)
        stop = trio.Event()
        (address, *_) = await nursery.start(partial(serve, app, ["127.0.0.1:0"], stop.wait))
        base_url = f"http://{address.removeprefix('http://')}"
        yield Gateway(app, config, base_url, model, nursery.cancel_scope)
        stop.set()
        nursery.cancel_scope.deadline = trio.current_time() + 4


def runs(heard: npt.NDArray[np.int16]) -> Iterator[tuple[int, int]]:
    """Where sound begins and ends, in samples, silences under 50 ms bridged."""
    (loud,) = np.nonzero(heard)
    if len(loud):
        gaps = np.nonzero(np.diff(loud) > 400)[0]
        begins = [loud[0], *loud[gaps + 1]]
        ends = [*loud[gaps] + 1, loud[-1] + 1]
        yield from zip(map(int, begins), map(int, ends), strict=True)


# Whole calls.


async def test_a_signed_call_goes_from_ring_to_record(tmp_path: Path) -> None:
    twilio = TwilioSettings(account_sid=None, auth_token=Secret(TOKEN))
    async with gateway(tmp_path, SHORT, twilio=twilio, public_url=PUBLIC_URL) as one:
        report = await one.call(SHORT)

        record = one.record(report.call_sid)
        assert judge(expected(barge_ins=0), report, record) == ()
        assert [type(verb) for verb in report.verbs] == [ConnectStream, Hangup]
        assert one.model.connections == 1


async def test_a_call_with_a_wrong_signature_costs_nothing(tmp_path: Path) -> None:
    twilio = TwilioSettings(auth_token=Secret(TOKEN))
    async with gateway(tmp_path, SHORT, twilio=twilio, public_url=PUBLIC_URL) as one:
        scenario = parse(f"name: test\n{SHORT}")
        report = await place_call(
            one.base_url, scenario, auth_token="guessed", public_url=PUBLIC_URL, voice=noise
        )

        assert [request.status for request in report.requests] == [403]
        assert one.model.connections == 0
    assert os.listdir(tmp_path) == []  # noqa: PTH208


async def test_an_unsigned_call_on_loopback_leaves_its_records(tmp_path: Path) -> None:
    async with gateway(tmp_path, SHORT) as one:
        report = await one.call(SHORT)

        record = one.record(report.call_sid)
        assert judge(expected(barge_ins=0), report, record) == ()
        files = {file.name for file in one.folder(report.call_sid).iterdir()}
        assert files == {"call.json", "flight.jsonl.zst", "recording.wav", "timeline.svg"}
        timeline = (one.folder(report.call_sid) / "timeline.svg").read_text()
        assert timeline.startswith("<svg")
        await one.quiet()


async def test_the_recording_is_what_the_phone_heard_and_silent_where_it_was_cut(
    tmp_path: Path,
) -> None:
    async with gateway(tmp_path, INTERRUPTED) as one:
        report = await one.call(INTERRUPTED)

        record = one.record(report.call_sid)
        assert judge(expected(barge_ins=1), report, record) == ()
        with wave.open(str(one.folder(report.call_sid) / "recording.wav")) as file:
            assert (file.getnchannels(), file.getframerate(), file.getsampwidth()) == (2, 8000, 2)
            stereo = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
    caller, agent = list(runs(stereo[:, 0])), list(runs(stereo[:, 1]))
    assert len(caller) == 1
    assert len(agent) == 2
    assert len(report.heard) == 2
    # The phone counts from the opened stream, which is a little before the call begins.
    shift_ms = agent[0][0] / 8 - report.heard[0].at_ms
    assert abs(shift_ms) < 250
    for heard, (begin, end) in zip(report.heard, agent, strict=True):
        spoken = heard.ulaw.rstrip(b"\xff")
        assert begin / 8 == pytest.approx(heard.at_ms + shift_ms, abs=80)
        assert (end - begin) / 8 == pytest.approx(len(spoken) / 8, abs=80)
        both = min(end - begin, len(spoken))
        assert np.array_equal(stereo[begin : begin + both, 1], decode_ulaw(spoken)[:both])
    (said,) = report.said
    begin, end = caller[0]
    assert begin / 8 == pytest.approx(said.at_ms + shift_ms, abs=80)
    assert np.array_equal(stereo[begin:end, 0], decode_ulaw(noise("No, stop.")))


async def test_the_model_is_connected_before_the_stream_opens(tmp_path: Path) -> None:
    async with gateway(tmp_path, SHORT) as one:
        await one.announce(call_sid())
        await until(lambda: sent(one.model, "session.updated") == 1)

        assert one.model.connections == 1


async def test_a_call_that_is_abandoned_closes_its_session(tmp_path: Path) -> None:
    """A socket to the model that nobody talks over still costs money."""
    async with gateway(tmp_path, SHORT) as one:
        before = descriptors()
        sid = call_sid()
        await one.announce(sid)
        assert len(one.calls) == 1
        fields = {"CallSid": sid, "CallStatus": "completed"}
        async with httpx.AsyncClient(trust_env=False) as client:
            await client.post(f"{one.base_url}/twilio/status", data=fields)
        await one.quiet()
        await until(lambda: descriptors() <= before)


# A model that fails.


async def test_without_a_model_the_caller_gets_an_apology_instead_of_silence(
    tmp_path: Path,
) -> None:
    config = Config(calls=CallSettings(directory=tmp_path))
    async with serving(create_app(config)) as served:
        report = await place_call(served.base, parse(f"name: test\n{SHORT}"), voice=noise)

    assert report.verbs == (Say(APOLOGY), Hangup())
    assert report.ended == "gateway_hung_up"


@pytest.mark.parametrize(
    ("fault", "ending"),
    [
        ("{at: {answer: 1}, do: close, code: 1011}", "PeerLost"),
        ("{at: {at_ms: 400}, do: expire}", "Refused"),
        ('{at: "connect", do: refuse, http_status: 401}', "Refused"),
        ('{at: "connect", do: close, code: 3000, reason: e.invalid_api_key}', "Refused"),
    ],
)
async def test_a_model_that_fails_is_apologised_for(
    tmp_path: Path, fault: str, ending: str
) -> None:
    yaml = TALKATIVE.replace("caller:", f"  faults: [{fault}]\ncaller:")
    async with gateway(tmp_path, yaml) as one:
        report = await one.call(yaml)

        assert [type(verb) for verb in report.verbs] == [ConnectStream, Say, Hangup]
        record = one.record(report.call_sid)
        assert (record["ending"]["exit"], record["ending"]["side"]) == (ending, "session")


# Hanging up by REST.


@attrs.define(eq=False)
class Rest:
    """Stands for Twilio's REST interface: notes what is posted, and agrees."""

    posted: list[tuple[str, dict[str, str]]] = attrs.field(factory=list)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401
        if scope["type"] == "lifespan":
            for step in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{step}.complete"})
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        self.posted.append((scope["path"], dict(parse_qsl(body.decode()))))
        headers = [(b"content-type", b"application/json"), (b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"{}"})


async def test_the_agent_hangs_up_by_rest_exactly_once(tmp_path: Path) -> None:
    rest = Rest()
    async with serving(rest) as twilio_api:
        twilio = TwilioSettings(
            account_sid=ACCOUNT_SID, auth_token=Secret(TOKEN), api_url=twilio_api.base
        )
        async with gateway(tmp_path, SHORT, twilio=twilio, public_url=PUBLIC_URL) as one:
            report = await one.call(SHORT)

    path = f"/2010-04-01/Accounts/{ACCOUNT_SID}/Calls/{report.call_sid}.json"
    assert rest.posted == [(path, {"Status": "completed"})]


async def test_a_caller_who_hangs_up_is_not_hung_up_on(tmp_path: Path) -> None:
    rest = Rest()
    yaml = TALKATIVE.replace("wait: call_end", "wait: agent_speaking, hang_up: true")
    async with serving(rest) as twilio_api:
        twilio = TwilioSettings(
            account_sid=ACCOUNT_SID, auth_token=Secret(TOKEN), api_url=twilio_api.base
        )
        async with gateway(tmp_path, yaml, twilio=twilio, public_url=PUBLIC_URL) as one:
            report = await one.call(yaml)
            await one.ending(report.call_sid)

    assert rest.posted == []


# Calls beside each other.


async def opened(one: Gateway, sid: str, connect: ConnectStream) -> trio.SocketStream:
    """Open the stream of an announced call by hand, up to its `start`."""
    line = RehearsalLine(
        steps=(),
        call_sid=sid,
        account_sid=ACCOUNT_SID,
        stream_sid="MZ" + "1" * 32,
        parameters=dict(connect.parameters),
        voice=noise,
    )
    line.open(0)
    port = int(one.base_url.rpartition(":")[2])
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    await stream.send_all(upgrade(b"/twilio/media"))
    for message in line.take():
        await stream.send_all(frame(1, message.encode()))
    return stream


async def test_a_token_opens_one_stream_and_the_second_disturbs_nothing(tmp_path: Path) -> None:
    async with gateway(tmp_path, TALKATIVE) as one:
        reports: list[CallReport] = []

        async def call() -> None:
            reports.append(await one.call(SHORT))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            await until(lambda: sent(one.model, "response.created") == 1)
            (sid,) = one.calls._live
            stream = await opened(one, sid, await one.announce(sid))
            answer = await read_until_closed(stream)
            await stream.aclose()
            assert answer.startswith(b"HTTP/1.1 101")
            assert answer.endswith(b"\x88\x02\x03\xf0")  # Closed with 1008.
            assert len(one.calls) == 1
            nursery.cancel_scope.deadline = trio.current_time() + 1
        await one.quiet()

        record = one.record(sid)
        assert record["ending"]["exit"] == "PeerLost"  # Our phone stopped without a word.
        assert record["duration_ms"] > 900
        assert one.model.connections == 1


async def test_two_calls_at_once_and_one_dies_alone(tmp_path: Path) -> None:
    """The first call's model breaks off; whom it would go on with, refuses."""
    breaks = "{at: {at_ms: 800}, do: close, code: 1011, connections: 1}"
    refuses = "{at: connect, do: refuse, http_status: 401, spares: 2}"
    yaml = INTERRUPTED.replace("caller:", f"  faults: [{breaks}, {refuses}]\ncaller:")
    reports: dict[str, CallReport] = {}
    async with gateway(tmp_path, yaml) as one:

        async def call(name: str) -> None:
            reports[name] = await one.call(INTERRUPTED)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, "dies")
            await until(lambda: one.model.connections == 1)
            nursery.start_soon(call, "lives")

        assert one.record(reports["dies"].call_sid)["ending"]["exit"] == "PeerLost"
        record = one.record(reports["lives"].call_sid)
        assert judge(expected(barge_ins=1), reports["lives"], record) == ()


async def test_two_gateways_in_one_process_know_nothing_of_each_other(tmp_path: Path) -> None:
    reports: dict[str, CallReport] = {}

    async def call(name: str, one: Gateway) -> None:
        reports[name] = await one.call(SHORT)

    async with gateway(tmp_path / "a", SHORT) as a, gateway(tmp_path / "b", SHORT) as b:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, "a", a)
            nursery.start_soon(call, "b", b)

        assert await b.ending(reports["a"].call_sid) is None
        assert (a.model.connections, b.model.connections) == (1, 1)
    for name in ("a", "b"):
        assert [folder.name for folder in (tmp_path / name).iterdir()] == [reports[name].call_sid]


# Endings from outside.


async def test_a_phone_that_is_cut_off_takes_the_models_socket_with_it(tmp_path: Path) -> None:
    async with gateway(tmp_path, TALKATIVE) as one:
        await one.announce(call_sid())  # Warms up what is opened once, such as threads.
        sid = call_sid()
        before = descriptors()
        tasks = trio.lowlevel.current_statistics().tasks_living
        stream = await opened(one, sid, await one.announce(sid))
        await until(lambda: sent(one.model, "response.created") == 1)
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        stream.socket.close()
        cut_s = trio.current_time()
        ending = await one.ending(sid)
        took_s = trio.current_time() - cut_s
        await until(lambda: len(one.calls) == 1 and descriptors() <= before)

        assert ending == PeerLost("carrier", 1006, "left without stop")
        assert took_s < 0.25 + SLACK_S
        assert trio.lowlevel.current_statistics().tasks_living <= tasks
        assert one.record(sid)["ending"]["exit"] == "PeerLost"


async def test_a_server_that_is_stopped_leaves_every_record(tmp_path: Path) -> None:
    async with gateway(tmp_path, TALKATIVE) as one:
        sids: list[str] = []
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(one.call, TALKATIVE)
            await until(lambda: sent(one.model, "response.created") == 2)
            sids += one.calls._live
            stopped_s = trio.current_time()
            one.scope.cancel()
            with trio.CancelScope(shield=True):
                await one.quiet()
            assert trio.current_time() - stopped_s < 0.25 + SLACK_S
            nursery.cancel_scope.cancel()

        assert len(sids) == 2
        for sid in sids:
            assert one.record(sid)["ending"] == {"exit": "Killed", "side": Killed().side}
            assert (one.folder(sid) / "recording.wav").stat().st_size > 44


# Other servers.


async def test_stock_hypercorn_serves_whole_calls_too(tmp_path: Path) -> None:
    async with gateway(tmp_path, INTERRUPTED, serve=stock_hypercorn) as one:
        report = await one.call(INTERRUPTED)

        record = one.record(report.call_sid)
        assert judge(expected(barge_ins=1), report, record) == ()


# What tools have begun.

LEAVES = """
model:
  answers:
    - items: [{say: "Let me see."}, {call: {name: book, arguments: {}}}]
caller: [{wait: agent_quiet, hang_up: true}]
"""


async def test_what_has_begun_is_finished_although_the_caller_hung_up(tmp_path: Path) -> None:
    done: list[str] = []
    toolbox = Toolbox()

    async def book() -> str:
        """Book it."""
        await trio.sleep(3)
        done.append("booked")
        return "booked"

    toolbox.add(book, risk="low")
    async with gateway(tmp_path, LEAVES, toolbox=toolbox) as one:
        report = await one.call(LEAVES)
        await one.ending(report.call_sid)
        assert done == []
        await until(lambda: bool(done), within_s=5)
        rows = partial(read_audit, tmp_path / AUDIT_FILE, report.call_sid)
        await until(lambda: len(rows()) == 4)

    assert [written.row.event for written in rows()] == ["asked", "allowed", "began", "finished"]
    assert done == ["booked"]


async def test_what_an_earlier_process_left_without_an_end_is_noted_as_unknown(
    tmp_path: Path,
) -> None:
    path = tmp_path / AUDIT_FILE
    earlier = SqliteAudit(path, lambda: datetime(2026, 1, 1, tzinfo=UTC))
    known = {"call_sid": "CA1", "tool_call_id": "call_1", "tool": "book", "digest": "d" * 64}
    for event in ("asked", "allowed", "began"):
        await earlier.write(AuditRow(event=event, risk="low", tier=Tier.KNOWN, **known))
    await earlier.aclose()

    async with gateway(tmp_path, SHORT):
        pass

    assert [one.row.event for one in read_audit(path)][3:] == ["unknown"]
