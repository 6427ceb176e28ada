"""The model leg over real sockets: how it becomes live, how it fails, and that it leaves nothing.

Every session here is opened by `session_at`, which fails when a task, a file descriptor or an open
connection of it is left.
"""

from __future__ import annotations

import gc
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
import trio.lowlevel

from actors.errors import PeerGone, SessionRefused
from actors.exits import PeerLost, Refused, explain
from actors.messages import (
    AppendAudio,
    ChangeSession,
    CreateResponse,
    OrderRefused,
    SessionLive,
    SessionOrder,
)
from actors.wire.openai_session import AudioFormat, SessionSettings
from gateway.configuration.config import OpenAISettings, Secret
from gateway.session.realtime import Patience, RealtimeSession, connect_to, url_for
from tests.model_servers import Peer, Script, listening, rehearsal_model
from tests.worlds import tone

SETTINGS = SessionSettings("You answer the phone.")
HASTY = Patience(connect_s=2.0, retry_pause_s=0.01, close_s=0.1)
IMPATIENT = attrs.evolve(HASTY, connect_s=0.4)
"""For servers that are waited for in vain."""
CLOSED_S = 0.25
"""A lost leg is gone within this."""
SLACK_S = 0.75
"""What a busy machine adds."""


def descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


async def closed_down_to(count: int) -> None:
    """Wait until the server has closed its ends, too; fails when anything is left."""
    with trio.fail_after(2):
        while descriptors() > count:  # noqa: ASYNC110 (the kernel announces nothing)
            await trio.sleep(0.01)


@asynccontextmanager
async def session_at(
    url: str,
    *,
    patience: Patience = HASTY,
    key: str = "sk-test",
    model: str = "gpt-realtime-2.1",
    settings: SessionSettings = SETTINGS,
) -> AsyncIterator[RealtimeSession]:
    """Open a session for the length of a block, and close it within its bound."""
    openai = OpenAISettings(api_key=Secret(key), realtime_url=url)
    session = RealtimeSession(connect_to(openai, model, patience), settings, patience)
    with trio.fail_after(15):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.run)
            yield session
            began_s = trio.current_time()
            await session.aclose()
            assert trio.current_time() - began_s < CLOSED_S + SLACK_S
            nursery.cancel_scope.deadline = trio.current_time() + SLACK_S
        assert not nursery.cancel_scope.cancelled_caught, "a task was left"


async def failure_of(session: RealtimeSession) -> PeerLost | Refused:
    """The ending that `receive` raises when there are no more facts."""
    try:
        while True:
            await session.receive()
    except (PeerGone, SessionRefused) as failure:
        return ending(failure)


def ending(failure: PeerGone | SessionRefused) -> PeerLost | Refused:
    """A failure as a value that can be compared."""
    why = explain(failure, actor="test")
    assert isinstance(why, PeerLost | Refused)
    return why


async def stuck_at(
    session: RealtimeSession, order: SessionOrder
) -> tuple[PeerLost | Refused, float]:
    """Give the same order until it fails. Returns how, and how long that took."""
    while True:
        began_s = trio.current_time()
        try:
            await session.send(order)
        except PeerGone as failure:
            return ending(failure), trio.current_time() - began_s
        await trio.lowlevel.checkpoint()


async def outcome(script: Script, patience: Patience = HASTY) -> tuple[PeerLost | Refused, int]:
    """What becomes of a session with this server, and how often it connected."""
    async with listening(script) as server:
        before = descriptors()
        async with session_at(server.url, patience=patience) as session:
            failure = await failure_of(session)
        await server.empty()
        assert descriptors() <= before, "a socket was left"
        return failure, server.connections


# Becoming live.


async def test_a_session_is_live_with_the_servers_id() -> None:
    async with (
        rehearsal_model("model: {}", tone) as server,
        session_at(server.url, patience=Patience()) as session,
    ):
        live = await session.receive()

        assert isinstance(live, SessionLive)
        assert live.session_id == server.sessions[0].session["id"]
        assert server.sessions[0].errors == []


@pytest.mark.parametrize("kinds", [("audio/pcm", "audio/pcm"), ("audio/pcmu", "audio/pcm")])
async def test_an_echo_with_other_formats_is_a_refusal(kinds: tuple[str, str]) -> None:
    """A call in 24 kHz PCM is static on the line."""

    async def script(peer: Peer) -> None:
        await peer.go_live(kind=kinds[0], kind_out=kinds[1])
        await peer.attend()

    failure, connections = await outcome(script)

    assert isinstance(failure, Refused)
    assert (failure.code, connections) == ("format_not_applied", 1)


async def test_an_echo_without_created_is_no_session() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        formats = {way: {"format": {"type": "audio/pcmu"}} for way in ("input", "output")}
        await peer.say("session.updated", session={"id": "sess_1", "audio": formats})
        await peer.attend()

    failure, connections = await outcome(script, IMPATIENT)

    assert (failure, connections) == (PeerLost("session", None, "not live within 0.4 s"), 2)


async def test_created_alone_is_no_session() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.say("session.created", session={"id": "sess_1"})
        await peer.attend()

    failure, connections = await outcome(script, IMPATIENT)

    assert (failure, connections) == (PeerLost("session", None, "not live within 0.4 s"), 2)


async def test_the_second_attempt_counts_when_the_first_came_to_nothing() -> None:
    async with (
        rehearsal_model(
            'model: {faults: [{at: "connect", do: refuse, http_status: 503, connections: 1}]}', tone
        ) as server,
        session_at(server.url, patience=Patience(retry_pause_s=0.01)) as session,
    ):
        assert isinstance(await session.receive(), SessionLive)
        assert server.connections == 2


@pytest.mark.parametrize("audio", ["g711_alaw", "pcm16"])
async def test_a_session_in_another_format_is_live_when_that_one_is_echoed(
    audio: AudioFormat,
) -> None:
    settings = attrs.evolve(SETTINGS, audio=audio)
    async with (
        rehearsal_model("model: {}", tone) as server,
        session_at(server.url, patience=Patience(), settings=settings) as session,
    ):
        assert isinstance(await session.receive(), SessionLive)
        assert server.sessions[0].errors == []


async def test_mulaw_is_a_refusal_where_pcm_was_asked_for() -> None:
    async def script(peer: Peer) -> None:
        await peer.go_live()
        await peer.attend()

    async with listening(script) as server:
        settings = attrs.evolve(SETTINGS, audio="pcm16")
        async with session_at(server.url, settings=settings) as session:
            failure = await failure_of(session)

    assert failure == Refused("format_not_applied", "the session did not take on pcm16")


async def test_a_change_is_taken_and_kept_for_whoever_comes_after() -> None:
    async with (
        rehearsal_model("model: {}", tone) as server,
        session_at(server.url, patience=Patience()) as session,
    ):
        await session.receive()
        before = server.sessions[0].session["audio"]
        await session.send(ChangeSession("Sell flowers.", "de"))
        await session.send(ChangeSession(language="fr"))
        model = server.sessions[0]
        with trio.fail_after(2):
            while len(model.received) < 3:  # noqa: ASYNC110 (it announces nothing)
                await trio.sleep(0.01)

        assert session.settings == attrs.evolve(
            SETTINGS, instructions="Sell flowers.", language="fr"
        )
        assert model.session["instructions"] == "Sell flowers."
        assert (model.errors, model.violations) == ([], [])
        before["input"]["transcription"]["language"] = "fr"
        assert model.session["audio"] == before


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("wss://api.openai.com/v1/realtime", "wss://api.openai.com/v1/realtime?model=m%2F1"),
        (
            "wss://x.openai.azure.com/openai/v1/realtime?model=mine",
            "wss://x.openai.azure.com/openai/v1/realtime?model=mine",
        ),
        ("ws://127.0.0.1:1/?deployment=a+b", "ws://127.0.0.1:1/?deployment=a+b"),
        ("ws://127.0.0.1:1/?api-version=", "ws://127.0.0.1:1/?api-version=&model=m%2F1"),
    ],
)
def test_a_url_that_names_a_model_is_taken_at_its_word(base: str, url: str) -> None:
    assert url_for(base, "m/1") == url


async def test_azures_way_in_is_a_header_of_its_own() -> None:
    async with rehearsal_model("model: {}", tone) as server:
        url = server.url.replace("/v1/realtime", "/openai/v1/realtime?model=gpt-realtime")
        openai = OpenAISettings(api_key=Secret("sk-test"), realtime_url=url, auth="api_key")
        session = RealtimeSession(connect_to(openai, "gpt-realtime-2.1"), SETTINGS)
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(session.run)
                live = await session.receive()
                await session.aclose()

        assert isinstance(live, SessionLive)
        assert server.sessions[0].model == "gpt-realtime"


# Not becoming live.


@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_an_upgrade_that_stays_refused_is_tried_once(status: int) -> None:
    fault = f'{{at: "connect", do: refuse, http_status: {status}}}'
    async with (
        rehearsal_model(f"model: {{faults: [{fault}]}}", tone) as server,
        session_at(server.url) as session,
    ):
        failure = await failure_of(session)

        assert failure == Refused(f"http_{status}", "the server refused the connection")
        assert server.connections == 1


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_an_upgrade_that_may_do_better_is_tried_twice(status: int) -> None:
    fault = f'{{at: "connect", do: refuse, http_status: {status}}}'
    async with (
        rehearsal_model(f"model: {{faults: [{fault}]}}", tone) as server,
        session_at(server.url) as session,
    ):
        failure = await failure_of(session)

        reason = f"cannot connect: it was refused with {status}"
        assert failure == PeerLost("session", None, reason)
        assert server.connections == 2


async def test_a_port_where_nobody_listens_is_given_up_at_once() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        began_s = trio.current_time()
        async with session_at(f"ws://127.0.0.1:{unused.getsockname()[1]}/") as session:
            failure = await failure_of(session)

    assert isinstance(failure, PeerLost)
    assert failure.reason.startswith("cannot connect: ")
    assert trio.current_time() - began_s < HASTY.connect_s


async def test_a_host_that_answers_nothing_costs_two_attempts() -> None:
    """A listener whose queue is full drops what else knocks, as a firewall does."""
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        url = f"ws://127.0.0.1:{full.getsockname()[1]}/"
        began_s = trio.current_time()
        async with session_at(url, patience=IMPATIENT) as session:
            failure = await failure_of(session)

    assert isinstance(failure, PeerLost)
    assert 0.8 <= trio.current_time() - began_s < 0.8 + 2 * SLACK_S


async def test_a_server_that_never_answers_the_upgrade_costs_two_attempts() -> None:
    began_s = trio.current_time()
    failure, connections = await outcome(Peer.ignore, IMPATIENT)

    assert isinstance(failure, PeerLost)
    assert connections == 2
    assert 0.8 <= trio.current_time() - began_s < 0.8 + 2 * SLACK_S


async def test_a_server_that_closes_instead_of_answering_costs_no_waiting() -> None:
    async def script(peer: Peer) -> None:
        await peer.stream.receive_some()

    began_s = trio.current_time()
    failure, connections = await outcome(script)

    reason = "cannot connect: it closed instead of answering the upgrade"
    assert (failure, connections) == (PeerLost("session", None, reason), 2)
    assert trio.current_time() - began_s < HASTY.connect_s


@pytest.mark.parametrize(
    "answer",
    [
        b"\x00\xff\x15\x03\x01" * 20,
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 301 Moved\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 999999 What\r\n\r\n",
    ],
    ids=["noise", "a page", "half an upgrade", "a redirect", "a status that is none"],
)
async def test_a_server_that_does_not_speak_websocket_is_given_up(answer: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.stream.receive_some()
        await peer.stream.send_all(answer)
        await peer.ignore()

    failure, connections = await outcome(script)

    assert isinstance(failure, PeerLost)
    assert connections == 2


async def test_a_server_without_tls_is_no_bug_of_ours() -> None:
    async def script(peer: Peer) -> None:
        await peer.stream.receive_some()
        await peer.stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await peer.ignore()

    async with listening(script) as server:
        url = server.url.replace("ws://", "wss://")
        async with session_at(url) as session:
            failure = await failure_of(session)

    assert isinstance(failure, PeerLost)
    assert failure.reason.startswith("cannot connect: TLS failed")


async def test_a_wrong_key_is_told_by_the_close_frame_alone() -> None:
    async with (
        rehearsal_model("model: {}", tone) as server,
        session_at(server.url, key="sk-wrong") as session,
    ):
        failure = await failure_of(session)

        assert isinstance(failure, Refused)
        assert (failure.code, server.connections) == ("invalid_api_key", 1)


@pytest.mark.parametrize("close_reason", ["", "invalid_request_error.beta_api_shape_disabled"])
async def test_a_refusal_is_heard_though_the_server_closed_over_our_words(
    close_reason: str,
) -> None:
    """The event comes with the upgrade and the close behind it: our update meets a closed door."""

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.fail("beta_api_shape_disabled")
        await peer.close(4000, close_reason)

    failure, connections = await outcome(script)

    assert isinstance(failure, Refused)
    assert (failure.code, connections) == ("beta_api_shape_disabled", 1)


async def test_a_model_that_does_not_exist_is_refused_once() -> None:
    async with (
        rehearsal_model("model: {}", tone) as server,
        session_at(server.url, model="gpt-nothing") as session,
    ):
        failure = await failure_of(session)

        assert isinstance(failure, Refused)
        assert (failure.code, server.connections) == ("model_not_found", 1)


async def test_a_set_up_that_is_refused_names_the_parameter() -> None:
    async with (
        rehearsal_model("model: {}", tone) as server,
        session_at(server.url, settings=attrs.evolve(SETTINGS, voice="nobody")) as session,
    ):
        failure = await failure_of(session)

        assert isinstance(failure, Refused)
        assert "session.audio.output.voice" in failure.message
        assert server.connections == 1


async def test_a_server_with_a_fault_of_its_own_is_asked_a_second_time() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.fail(None, "server_error")
        await peer.attend()

    failure, connections = await outcome(script)

    reason = "failed to set up: server_error"
    assert (failure, connections) == (PeerLost("session", None, reason), 2)


# Being live.


async def test_unknown_events_are_counted_and_unreadable_ones_dropped() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.say("session.rumoured")
        await peer.say("session.created", session={"id": "sess_1"})
        await peer.stream.send_all(b"\x81\x03{[}" + b"\x82\x02\xff\xfe")
        formats = {way: {"format": {"type": "audio/pcmu"}} for way in ("input", "output")}
        await peer.say("session.updated", session={"id": "sess_1", "audio": formats})
        await peer.say("response.dreamt")
        await peer.say("response.dreamt")
        await peer.say("response.output_audio.delta", response_id="r", item_id="i", delta="no!")
        await peer.fail("response_cancel_not_active")
        await peer.attend()

    async with listening(script) as server, session_at(server.url) as session:
        facts = [await session.receive(), await session.receive()]

        assert facts == [SessionLive("sess_1"), OrderRefused("response_cancel_not_active")]
        counts = {"session.rumoured": 1, "response.dreamt": 2, "unreadable": 3}
        assert dict(session.ignored) == counts


async def test_the_kinds_of_unknown_events_that_are_counted_are_bounded() -> None:
    async def script(peer: Peer) -> None:
        await peer.go_live()
        for number in range(300):
            await peer.say(f"response.dreamt_{number}")
        await peer.fail("no_more")
        await peer.attend()

    async with listening(script) as server, session_at(server.url) as session:
        await session.receive()
        await session.receive()

        assert len(session.ignored) <= 101
        assert session.ignored["other"] == 200


@pytest.mark.parametrize("code", ["insufficient_quota", "session_expired", "invalid_api_key"])
async def test_a_fatal_error_ends_the_session_with_its_code(code: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.go_live()
        await peer.fail(code)
        await peer.attend()

    failure, connections = await outcome(script)

    assert isinstance(failure, Refused)
    assert (failure.code, connections) == (code, 1)


async def test_a_session_that_expires_says_so_and_not_that_it_was_lost() -> None:
    async with (
        rehearsal_model("model: {faults: [{at: {at_ms: 50}, do: expire}]}", tone) as server,
        session_at(server.url) as session,
    ):
        failure = await failure_of(session)

        assert isinstance(failure, Refused)
        assert failure.code == "session_expired"


@pytest.mark.parametrize("code", [1000, 1001, 1011, 1012])
async def test_a_server_that_closes_is_gone_with_its_code_and_words(code: int) -> None:
    async def script(peer: Peer) -> None:
        await peer.go_live()
        await peer.close(code, "keepalive ping timeout")
        await peer.attend()

    failure, connections = await outcome(script)

    assert (failure, connections) == (PeerLost("session", code, "keepalive ping timeout"), 1)


async def test_a_connection_that_just_ends_broke() -> None:
    async def script(peer: Peer) -> None:
        await peer.go_live()

    failure, connections = await outcome(script)

    assert (failure, connections) == (PeerLost("session", None, "the connection broke"), 1)


@pytest.mark.parametrize(
    "noise",
    [
        b"\x83\x00",  # an opcode nobody has defined
        b"\xf1\x02ab",  # reserved bits
        b"\x81\x02\xff\xff",  # text that is no UTF-8
        b"\x81\x80abcd",  # masked by a server
        b"\x88\x01a",  # a close frame with half a code
        b"\x80\x01a",  # a continuation of nothing
        b"\x82\x7f\x00\x00\x00\x00\x7f\xff\xff\xff" + bytes(65536),  # 2 GiB to come
    ],
    ids=["opcode", "reserved bits", "not UTF-8", "masked", "half a code", "continued", "endless"],
)
async def test_a_server_that_breaks_the_protocol_is_gone(noise: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.go_live()
        await peer.stream.send_all(noise)
        if len(noise) > 65536:
            for _ in range(70):
                await peer.stream.send_all(bytes(65536))
        await peer.ignore()

    failure, connections = await outcome(script)

    assert isinstance(failure, PeerLost)
    assert connections == 1


async def test_a_server_that_does_not_read_is_gone_after_the_bound_of_a_send() -> None:
    async def script(peer: Peer) -> None:
        await peer.go_live()
        await trio.sleep_forever()

    payload = "A" * 100_000
    async with listening(script) as server:
        before = descriptors()
        async with session_at(server.url, patience=attrs.evolve(HASTY, send_s=0.2)) as session:
            failure, waited_s = await stuck_at(session, AppendAudio(payload))
            # The rest of a broken sentence would be nonsense, and waiting again a waste.
            began_s = trio.current_time()
            with pytest.raises(PeerGone):
                await session.send(AppendAudio(payload))
            waited_again_s = trio.current_time() - began_s
        left = descriptors()

    assert failure == PeerLost("session", None, "did not read for 0.2 s")
    assert 0.2 <= waited_s < 0.2 + SLACK_S
    assert waited_again_s < 0.2
    assert left <= before + 1  # The server's end.


async def test_a_server_without_a_pong_is_gone_and_wakes_the_reader() -> None:
    async def script(peer: Peer) -> None:
        await peer.go_live()
        await peer.ignore()

    failure, connections = await outcome(script, attrs.evolve(HASTY, ping_every_s=0.05, pong_s=0.1))

    assert (failure, connections) == (PeerLost("session", None, "no pong within 0.1 s"), 1)


async def test_a_server_that_answers_pings_is_kept() -> None:
    patience = attrs.evolve(HASTY, ping_every_s=0.05, pong_s=0.4)
    async with (
        rehearsal_model("model: {}", tone) as server,
        session_at(server.url, patience=patience) as session,
    ):
        await session.receive()
        await trio.sleep(0.8)  # A dozen pings, and twice the patience for one.
        await session.send(CreateResponse("greeting"))

        assert type(await session.receive()).__name__ == "ResponseStarted"


# Leaving.


async def test_a_server_that_never_answers_the_close_costs_its_bound_and_is_left() -> None:
    async def script(peer: Peer) -> None:
        await peer.go_live()
        await peer.ignore()

    async with listening(script) as server:
        before = descriptors()
        async with session_at(server.url) as session:
            await session.receive()
        with trio.fail_after(1):
            await server.left.wait()
        assert descriptors() <= before


async def test_a_session_that_is_closed_says_goodbye_and_leaves() -> None:
    """A forgotten session goes on to cost money."""
    async with rehearsal_model("model: {}", tone) as server:
        before = descriptors()
        async with session_at(server.url, patience=attrs.evolve(HASTY, close_s=1.0)) as session:
            await session.receive()
            began_s = trio.current_time()
            await session.aclose()
            took_s = trio.current_time() - began_s
        await closed_down_to(before)
        assert took_s < 1.0  # Less than its patience: it was answered.


async def test_closing_twice_or_before_anything_happened_is_nothing() -> None:
    async with listening(Peer.ignore) as server, session_at(server.url) as session:
        await session.aclose()
        await session.aclose()
        assert isinstance(await failure_of(session), PeerLost)
        with pytest.raises(PeerGone):
            await session.send(CreateResponse("greeting"))


@pytest.mark.parametrize("after_s", [0.0, 0.001, 0.005, 0.02, 0.1])
async def test_closing_at_any_moment_of_the_connecting_leaves_nothing(after_s: float) -> None:
    async def script(peer: Peer) -> None:
        await peer.go_live()
        await peer.attend()

    async with listening(script) as server:
        before = descriptors()
        async with session_at(server.url, patience=Patience()):
            await trio.sleep(after_s)
        await server.empty()
        assert descriptors() <= before


@pytest.mark.parametrize("script", [Peer.ignore, Peer.go_live, Peer.attend])
async def test_closing_wakes_whoever_reads_or_writes(script: Script) -> None:
    async def serve(peer: Peer) -> None:
        await script(peer)
        await peer.ignore()

    ended: list[str] = []
    async with (
        listening(serve) as server,
        trio.open_nursery() as nursery,
        session_at(server.url) as session,
    ):

        async def read() -> None:
            assert isinstance(await failure_of(session), PeerLost)
            ended.append("reader")

        async def write() -> None:
            await stuck_at(session, AppendAudio("AAAA"))
            ended.append("writer")

        nursery.start_soon(read)
        nursery.start_soon(write)
        await trio.sleep(0.1)

    assert sorted(ended) == ["reader", "writer"]


async def test_two_goodbyes_at_once_are_one() -> None:
    async with rehearsal_model("model: {}", tone) as server, session_at(server.url) as session:
        await session.receive()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.aclose)
            nursery.start_soon(session.aclose)


async def test_a_session_whose_nursery_is_cancelled_leaves_nothing() -> None:
    async with rehearsal_model("model: {}", tone) as server:
        before = descriptors()
        openai = OpenAISettings(api_key=Secret("sk-test"), realtime_url=server.url)
        session = RealtimeSession(connect_to(openai, "gpt-realtime-2.1"), SETTINGS)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.run)
            await session.receive()
            nursery.cancel_scope.cancel()
        failure = await failure_of(session)
        await closed_down_to(before)

    assert failure == PeerLost("session", None, "closed")
