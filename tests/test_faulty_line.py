"""Each fault of a frame, at a line of memory in virtual time."""

from __future__ import annotations

import base64
import json

import orjson
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from actors.errors import ProtocolError
from actors.wire import openai, twilio
from gateway.lab.faults.fault_plan import CLOSE, Do, Fault, FaultPlan, Place, Striker
from gateway.lab.faults.faulty_line import Leg, faulty_line, spoils_audio
from gateway.lab.faults.frame_damage import DAMAGES
from gateway.lab.memory_line import ConnectionClosed, MemorySocket

FRAMES = 6


def media(number: int) -> str:
    payload = base64.b64encode(bytes([number]) * 160).decode()
    content = {"track": "inbound", "timestamp": str(20 * number), "payload": payload}
    return orjson.dumps({"event": "media", "streamSid": "MZ1", "media": content}).decode()


class Heard:
    """What arrives at one end, with the ms at which it does; a number where it is one of ours."""

    def __init__(self) -> None:
        self.frames: list[tuple[int, int | str | bytes]] = []
        self.code: int | None = None

    async def listen(self, socket: MemorySocket) -> None:
        numbers = {media(number): number for number in range(FRAMES)}
        try:
            while True:
                frame = await socket.get_message()
                at_ms = round(trio.current_time() * 1000)
                known = numbers.get(frame) if isinstance(frame, str) else None
                self.frames.append((at_ms, frame if known is None else known))
        except ConnectionClosed as closed:
            self.code = closed.reason.code if closed.reason is not None else None

    @property
    def numbers(self) -> list[int | str | bytes]:
        return [frame for _, frame in self.frames]


async def spoken(*faults: Fault, leg: Leg = "phone", up: bool = True) -> Heard:
    """Six frames, 20 ms apart, 40 ms under way, and a goodbye. Returns what the peer got."""
    striker = Striker(FaultPlan(faults))
    client, server = faulty_line(striker, leg, 0, up_ms=40, down_ms=40)
    sender, receiver = (client, server) if up else (server, client)
    heard = Heard()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(heard.listen, receiver)
        with trio.move_on_after(10):
            for number in range(FRAMES):
                try:
                    await sender.send_message(media(number))
                except ConnectionClosed:
                    break
                await trio.sleep(0.02)
            await sender.aclose()
        await trio.sleep(10)
        nursery.cancel_scope.cancel()
    return heard


def fault(do: Do, *, nth: int = 3, times: int = 1, ms: int = 0, detail: str = "") -> Fault:
    return Fault(id="F", place="phone.up", do=do, nth=nth, times=times, ms=ms, detail=detail)


async def test_without_faults_all_arrives_in_order(autojump_clock: trio.abc.Clock) -> None:
    heard = await spoken()

    assert heard.frames == [(40 + 20 * number, number) for number in range(FRAMES)]
    assert heard.code == 1000


async def test_what_is_dropped_leaves_a_gap(autojump_clock: trio.abc.Clock) -> None:
    assert (await spoken(fault("drop", times=2))).numbers == [0, 1, 4, 5]


async def test_what_is_late_holds_up_all_behind_it(autojump_clock: trio.abc.Clock) -> None:
    """Which is a burst: they come together."""
    heard = await spoken(fault("delay", ms=500))

    assert heard.frames == [(40, 0), (60, 1), (580, 2), (580, 3), (580, 4), (580, 5)]
    assert heard.code == 1000


async def test_what_is_reordered_is_overtaken(autojump_clock: trio.abc.Clock) -> None:
    heard = await spoken(fault("reorder", ms=50))

    assert heard.frames == [(40, 0), (60, 1), (100, 3), (120, 4), (130, 2), (140, 5)]


async def test_three_frames_can_come_in_reverse(autojump_clock: trio.abc.Clock) -> None:
    reversed_three = [fault("reorder", nth=2 + place, ms=(2 - place) * 25) for place in range(3)]

    assert (await spoken(*reversed_three)).numbers == [0, 3, 2, 1, 4, 5]


@pytest.mark.parametrize(("ms", "numbers"), [(0, [0, 1, 2, 2, 3, 4, 5]), (50, [0, 1, 2, 3, 4, 2])])
async def test_what_is_doubled_comes_again_at_once_or_later(
    ms: int, numbers: list[int], autojump_clock: trio.abc.Clock
) -> None:
    heard = await spoken(fault("duplicate", ms=ms))

    assert heard.numbers[: len(numbers)] == numbers
    assert sorted(map(str, heard.numbers)) == sorted(map(str, [0, 1, 2, 2, 3, 4, 5]))


async def test_what_is_truncated_comes_by_half(autojump_clock: trio.abc.Clock) -> None:
    heard = await spoken(fault("truncate"))

    assert heard.numbers == [0, 1, media(2)[: len(media(2)) // 2], 3, 4, 5]


async def test_what_is_corrupted_comes_as_something_else(autojump_clock: trio.abc.Clock) -> None:
    heard = await spoken(fault("corrupt", detail="binary"))

    assert heard.numbers == [0, 1, media(2).encode(), 3, 4, 5]


async def test_what_is_injected_comes_beside_it(autojump_clock: trio.abc.Clock) -> None:
    heard = await spoken(fault("inject", detail="not_object"))

    assert heard.numbers == [0, 1, 2, "[]", 3, 4, 5]


async def test_a_half_open_line_tells_nobody(autojump_clock: trio.abc.Clock) -> None:
    heard = await spoken(fault("half_close"))

    assert heard.numbers == [0, 1]
    assert heard.code is None


async def test_a_half_open_line_that_is_torn_down_is_found_out(
    autojump_clock: trio.abc.Clock,
) -> None:
    client, server = faulty_line(Striker(FaultPlan((fault("half_close", nth=1),))), "phone", 0)
    await client.send_message(media(0))
    client.abort()

    with pytest.raises(ConnectionClosed) as closed:
        await server.get_message()
    assert closed.value.reason is not None
    assert closed.value.reason.code == 1006


async def test_a_broken_line_is_found_out_at_once_by_both(autojump_clock: trio.abc.Clock) -> None:
    """What was still under way is lost with it."""
    client, server = faulty_line(
        Striker(FaultPlan((fault("break", nth=2),))), "phone", 0, up_ms=40, down_ms=40
    )
    await client.send_message(media(0))
    await client.send_message(media(1))

    for socket in (client, server):
        with pytest.raises(ConnectionClosed) as closed:
            await socket.get_message()
        assert closed.value.reason is not None
        assert closed.value.reason.code == 1006
    assert trio.current_time() == 0


async def test_a_peer_that_hangs_keeps_its_sender_waiting(autojump_clock: trio.abc.Clock) -> None:
    client, server = faulty_line(Striker(FaultPlan((fault("hang", nth=2),))), "phone", 0)
    await client.send_message(media(0))
    await client.send_message(media(1))

    with trio.move_on_after(60) as patience:
        await client.send_message(media(2))

    assert patience.cancelled_caught
    assert await server.get_message() == media(0)
    with trio.move_on_after(60) as patience:
        await server.get_message()
    assert patience.cancelled_caught


async def test_a_sender_can_fail_for_a_reason_of_its_own() -> None:
    bug = Fault(id="F55", place="phone.down", do="raise", nth=2, detail="RuntimeError")
    _, server = faulty_line(Striker(FaultPlan((bug,))), "phone", 0)
    await server.send_message(media(0))

    with pytest.raises(RuntimeError, match="a bug"):
        await server.send_message(media(1))


async def test_a_goodbye_can_be_lost(autojump_clock: trio.abc.Clock) -> None:
    lost = Fault(id="F34", place="phone.up", do="drop", kind=CLOSE)
    heard = await spoken(lost)

    assert heard.numbers == list(range(FRAMES))
    assert heard.code is None


async def test_faults_on_one_frame_add_up(autojump_clock: trio.abc.Clock) -> None:
    heard = await spoken(fault("duplicate"), fault("delay", ms=100))

    assert [frame for frame in heard.frames if frame[1] == 2] == [(180, 2), (180, 2)]


async def test_a_dead_line_lets_nothing_through_of_any_fault(
    autojump_clock: trio.abc.Clock,
) -> None:
    heard = await spoken(fault("half_close"), fault("inject", detail="key"))

    assert heard.numbers == [0, 1]


@pytest.mark.parametrize("leg", ["phone", "model"])
@pytest.mark.parametrize("up", [True, False])
async def test_each_way_of_each_line_has_its_own_faults(
    leg: Leg, up: bool, autojump_clock: trio.abc.Clock
) -> None:
    places: tuple[Place, ...] = ("phone.up", "phone.down", "model.up", "model.down")
    faults = [
        Fault(id="F17", place=place, do="drop", nth=1 + number)
        for number, place in enumerate(places)
    ]
    lost = places.index("phone.up" if leg == "phone" else "model.up") + (not up)

    heard = await spoken(*faults, leg=leg, up=up)

    assert heard.numbers == [number for number in range(FRAMES) if number != lost]


async def test_a_changed_script_counts_as_struck_when_it_shows() -> None:
    told = "the caller talks"
    changed = Fault(id="F01", place="script", do="rewrite", kind="media", nth=2, detail=told)
    striker = Striker(FaultPlan((changed,)))
    client, _ = faulty_line(striker, "phone", 0)

    await client.send_message(media(0))
    assert not striker.struck
    await client.send_message(media(1))
    assert striker.struck["F01"] == 1


async def test_a_new_line_of_the_same_call_counts_on() -> None:
    striker = Striker(FaultPlan((fault("drop", nth=2),)))
    for _ in range(2):
        client, _server = faulty_line(striker, "phone", 0)
        await client.send_message(media(0))

    assert striker.struck["F"] == 1


def test_what_may_spoil_audio_says_so() -> None:
    lost = Fault(id="F17", place="phone.up", do="drop", kind="media")

    assert spoils_audio(lost)
    assert not spoils_audio(Fault(id="F19", place="phone.up", do="drop", kind="mark"))
    assert not spoils_audio(Fault(id="F12", place="phone.up", do="inject", detail="deep"))


KEY = '{"event":"dtmf","streamSid":"MZ1","dtmf":{"digit":"1"}}'
CREATED = '{"type":"response.created","event_id":"e1","response":{"id":"resp_1"}}'


@pytest.mark.parametrize("name", sorted(DAMAGES))
@pytest.mark.parametrize("text", [media(1), KEY, CREATED, '{"event":"connected"}'])
def test_every_damage_can_be_done_to_every_frame_and_is_always_the_same(
    name: str, text: str
) -> None:
    assert DAMAGES[name](text) == DAMAGES[name](text)
    assert DAMAGES[name](text) != text or name not in {"not_json", "binary", "unknown_kind"}


MALFORMED = {
    *("not_json", "not_object", "deep", "no_content", "not_a_number", "big_number"),
    *("bad_base64", "padded_base64", "empty_payload"),
}
"""What no frame of audio may be. The others are well-formed, or no text."""

OF_THE_MODEL = {"refused", "server_error", "rate_limited"}


@pytest.mark.parametrize("name", sorted(DAMAGES))
def test_what_is_called_malformed_is_refused_by_the_codec_and_nothing_else_is(name: str) -> None:
    damaged = DAMAGES[name](media(1))
    if isinstance(damaged, bytes) or name in OF_THE_MODEL:
        return
    try:
        twilio.decode(damaged)
    except ProtocolError:
        assert name in MALFORMED
    else:
        assert name not in MALFORMED


@pytest.mark.parametrize("name", sorted(OF_THE_MODEL))
def test_an_error_of_the_models_is_one_that_is_understood(name: str) -> None:
    assert isinstance(openai.decode(DAMAGES[name](CREATED)), openai.ErrorEvent)


def test_the_echo_of_another_format_is_not_confirmed() -> None:
    mulaw = {"format": {"type": "audio/pcmu"}}
    echo = json.dumps(
        {"type": "session.updated", "session": {"audio": {"input": mulaw, "output": mulaw}}}
    )
    sound, spoilt = openai.decode(echo), openai.decode(DAMAGES["other_format"](echo))

    assert isinstance(sound, openai.SessionUpdated)
    assert isinstance(spoilt, openai.SessionUpdated)
    assert openai.formats_confirmed(sound.session)
    assert not openai.formats_confirmed(spoilt.session)


@given(st.binary(min_size=2, max_size=400))
def test_damaged_audio_is_other_audio(ulaw: bytes) -> None:
    payload = base64.b64encode(ulaw).decode()
    text = orjson.dumps({"event": "media", "media": {"payload": payload}}).decode()

    garbled = orjson.loads(DAMAGES["garbled_payload"](text))["media"]["payload"]
    shortened = orjson.loads(DAMAGES["short_payload"](text))["media"]["payload"]

    assert all(a != b for a, b in zip(base64.b64decode(garbled), ulaw, strict=True))
    assert base64.b64decode(shortened) == ulaw[:-1]


@pytest.mark.parametrize("name", sorted(DAMAGES))
async def test_two_faults_may_meet_in_one_frame(name: str, autojump_clock: object) -> None:
    """What the first has spoilt, the second cannot always change; the line goes on."""
    for spoiling in sorted(DAMAGES):
        plan = FaultPlan(
            tuple(
                Fault(id=detail, place="phone.up", do="corrupt", detail=detail)
                for detail in (spoiling, name)
            )
        )
        client, server = faulty_line(Striker(plan), "phone", 0)
        await client.send_message('{"event":"media","media":{"payload":"AAAA","timestamp":"1"}}')
        await client.send_message('{"event":"stop"}')
        with trio.fail_after(60):
            while await server.get_message() != '{"event":"stop"}':
                pass
