"""A session in virtual time, over a line that takes its time."""

from __future__ import annotations

from base64 import b64encode

import orjson
import pytest
import trio
from trio_websocket import ConnectionClosed

from gateway.lab.memory_line import MemorySocket, memory_line
from gateway.lab.openai.model import RehearsalModel
from gateway.lab.openai.model_line import serve_session
from gateway.lab.rehearsing.scenario import Fault, FaultPoint, ModelScript
from tests.model_client import ULAW, VAD, Json, hum, script, silence, tone


def update(**session: object) -> str:
    event = {"type": "session.update", "session": {"type": "realtime", **session}}
    return orjson.dumps(event).decode()


def append(ulaw: bytes) -> str:
    audio = b64encode(ulaw).decode()
    return orjson.dumps({"type": "input_audio_buffer.append", "audio": audio}).decode()


async def until(socket: MemorySocket, kind: str) -> tuple[float, Json]:
    """Read up to an event of this type. Returns when it came, and the event."""
    while True:
        event = orjson.loads(await socket.get_message())
        if event["type"] == kind:
            return trio.current_time(), event


async def serve(model_script: ModelScript, server: MemorySocket) -> RehearsalModel:
    model = RehearsalModel(model_script, hum)
    await serve_session(model, server)
    return model


async def test_a_turn_takes_exactly_as_long_as_its_parts(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """30 ms up, 500 ms of silence, 350 ms to think, 20 ms down."""
    client, server = memory_line(up_ms=30, down_ms=20)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, script("Yes, we are."), server)
        await until(client, "session.created")
        await client.send_message(update(audio={"input": {**ULAW, "turn_detection": VAD}}))
        await until(client, "session.updated")
        said = tone(400) + silence(600)
        last_word_s = trio.current_time() + 0.38
        for at in range(0, len(said), 160):
            await client.send_message(append(said[at : at + 160]))
            await trio.sleep(0.02)
        heard_s, _ = await until(client, "response.output_audio.delta")
        await client.aclose()

    assert heard_s - last_word_s == pytest.approx(0.030 + 0.500 + 0.350 + 0.020)


async def test_a_session_that_the_model_ends_is_closed_with_its_reason(
    autojump_clock: trio.testing.MockClock,
) -> None:
    client, server = memory_line(down_ms=40)
    fault = Fault(FaultPoint(at_ms=3000), "close", code=1011, reason="bad day")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, ModelScript(faults=(fault,)), server)
        await until(client, "session.created")
        with pytest.raises(ConnectionClosed) as closed:
            await client.get_message()

    assert closed.value.reason is client.closed is not None
    assert (client.closed.code, client.closed.reason) == (1011, "bad day")


async def test_a_session_ends_when_the_client_closes(
    autojump_clock: trio.testing.MockClock,
) -> None:
    client, server = memory_line(up_ms=100)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, script(), server)
        await until(client, "session.created")
        began_s = trio.current_time()
        await client.aclose(1000, "done")
        await client.aclose()

    assert trio.current_time() - began_s == pytest.approx(0.1)
    assert server.closed is not None
    assert server.closed.reason == "done"


async def test_a_silent_model_listens_on(autojump_clock: trio.testing.MockClock) -> None:
    client, server = memory_line()
    fault = Fault(FaultPoint(at_ms=0), "silence")
    model = RehearsalModel(ModelScript(faults=(fault,)), hum)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_session, model, server)
        await until(client, "session.created")
        await client.send_message('{"type":"response.create"}')
        with trio.move_on_after(60) as patience:
            await client.get_message()
        await client.aclose()

    assert patience.cancelled_caught
    assert [event["type"] for event in model.received] == ["response.create"]


async def test_a_client_that_never_reads_is_made_to_wait(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """What the model owes is bounded, and so is what a client can have it owe."""
    client, server = memory_line()
    model = RehearsalModel(script(), hum)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_session, model, server)
        with trio.move_on_after(1):
            while True:
                await client.send_message('{"type":"response.cancel"}')
        stuck_at = len(model.errors)
        with trio.move_on_after(1):
            await client.send_message("{}")
            await client.send_message("{}")
        nursery.cancel_scope.cancel()

    assert 4000 < stuck_at < 10_000
    assert model.backlog < 3000


async def test_frames_stay_in_order_whatever_their_delays(
    autojump_clock: trio.testing.MockClock,
) -> None:
    delays_ms = iter([80, 10, 40, 10])
    client, server = memory_line(up_ms=lambda: next(delays_ms))
    for n in range(4):
        await client.send_message(str(n))
    arrivals = [(await server.get_message(), trio.current_time()) for _ in range(4)]

    assert [text for text, _ in arrivals] == ["0", "1", "2", "3"]
    assert {round(at_s - arrivals[0][1], 3) for _, at_s in arrivals} == {0}


async def test_a_cancelled_wait_loses_no_frame(autojump_clock: trio.testing.MockClock) -> None:
    client, server = memory_line(up_ms=50)
    await client.send_message("hello")
    with trio.move_on_after(0.02):
        await server.get_message()

    assert await server.get_message() == "hello"


async def test_what_is_sent_to_a_closed_end_is_lost_until_the_goodbye_arrives(
    autojump_clock: trio.testing.MockClock,
) -> None:
    client, server = memory_line(up_ms=50, down_ms=50)
    await server.aclose(1001, "going away")
    await client.send_message("lost")
    with pytest.raises(ConnectionClosed):
        await client.get_message()
    with pytest.raises(ConnectionClosed):
        await client.send_message("refused")
    with pytest.raises(ConnectionClosed):
        await client.ping()

    with pytest.raises(ConnectionClosed):
        await server.get_message()


async def test_closing_wakes_whoever_waits_at_this_end(
    autojump_clock: trio.testing.MockClock,
) -> None:
    client, _server = memory_line()

    async def wait() -> None:
        with pytest.raises(ConnectionClosed):
            await client.get_message()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        await client.aclose()


async def test_a_ping_takes_both_ways(autojump_clock: trio.testing.MockClock) -> None:
    client, _server = memory_line(up_ms=30, down_ms=50)
    began_s = trio.current_time()
    await client.ping()

    assert trio.current_time() - began_s == pytest.approx(0.08)
