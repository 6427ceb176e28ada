"""The flight recorder: what is in a log, what is not, and what it must never cost.

Rules of these tests: a slow disk is a pipe that nobody reads, a full one is `/dev/full`, and both
are real; so is time where they are used.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable
from io import FileIO
from pathlib import Path

import attrs
import orjson
import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from actors.exits import Exit
from actors.messages import AppendAudio, CallerAudio, Clear, KeyPressed, Mark, MarkEchoed, Play
from actors.wire import openai, twilio
from gateway.configuration.config import ConfigError, load
from gateway.lab.simulator.determinism import run_seeded
from gateway.lab.world import World
from gateway.records.flight import FILE_NAME, FINISH_S, FLUSH_BYTES, FileFlight, MemoryFlight
from gateway.records.flight_log import (
    FlightLog,
    NotAFlightLog,
    compress,
    parse,
    read_log,
    write_header,
)
from gateway.records.tap import UNREADABLE, base64_bytes, from_model, from_phone, to_model, to_phone
from gateway.twilio.media import TwilioCarrier
from tests.worlds import GOODBYE, at, play, world

TOKEN = "t0ken-that-nobody-may-see"
FULL_DISK = Path("/dev/full")
AT_ONCE_S = 1.0
"""Far longer than a note takes on a busy machine; the disk here waits for ever."""


def header() -> bytes:
    flight = MemoryFlight()
    run_seeded(lambda: play(world(GOODBYE, flight=flight)), seed=0)
    return write_header(flight.read().header)


HEADER = header()


def entries(log: FlightLog, place: str = "phone.in") -> list[object]:
    return [entry.content for entry in log.entries if entry.place == place]


# What is in it.


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        (CallerAudio("/////w==", b"\xff\xff\xff\xff", 40), ["media", 40, 4]),
        (MarkEchoed("m1"), ["mark", "m1"]),
        (KeyPressed("#"), ["dtmf", "#"]),
        (twilio.Connected(), ["connected"]),
        (twilio.Unrecognised("new"), ["other", "new"]),
        (
            twilio.Start("MZ1", "AC1", "CA1", "audio/x-mulaw", 8000, 1, (("token", TOKEN),)),
            ["start", "MZ1", "AC1", "CA1", "audio/x-mulaw", 8000, 1],
        ),
    ],
)
def test_a_frame_of_the_carriers_is_told_in_a_few_words(
    frame: twilio.Frame, told: list[object]
) -> None:
    assert from_phone(frame, with_audio=False) == told


def test_while_keys_are_hidden_neither_they_nor_their_tones_are_told() -> None:
    audio = CallerAudio("/////w==", b"\xff\xff\xff\xff", 40)

    assert from_phone(KeyPressed("7"), with_audio=True, keys_hidden=True) == ["dtmf", "hidden"]
    assert from_phone(audio, with_audio=True, keys_hidden=True) == ["media", 40, 4]


def test_audio_is_told_by_its_length_or_as_base64() -> None:
    ulaw = bytes(range(160))
    payload = b64encode(ulaw).decode()
    event = openai.encode(AppendAudio(payload))

    assert from_phone(CallerAudio(payload, ulaw, 0), with_audio=True) == ["media", 0, payload]
    assert to_phone(Play(ulaw), with_audio=False) == ["play", 160]
    assert to_phone(Play(ulaw), with_audio=True) == ["play", payload]
    assert to_phone(Mark("m"), with_audio=True) == ["mark", "m"]
    assert to_phone(Clear(), with_audio=False) == ["clear"]
    assert to_model(event, AppendAudio(payload), with_audio=False) == ["append", 160]
    assert to_model(event, AppendAudio(payload), with_audio=True) == ["append", payload]
    assert [base64_bytes(b64encode(bytes(size)).decode()) for size in range(9)] == [*range(9)]


DELTA = {"type": "response.output_audio.delta", "response_id": "r", "item_id": "i", "x": [1, 2]}


def told(text: str, *, with_audio: bool = False) -> object:
    """What a log has of an event of the model's."""
    content = from_model(text, openai.decode(text), with_audio=with_audio)
    line = orjson.dumps(content)
    assert b"\n" not in line
    return orjson.loads(line)


def test_a_delta_of_audio_keeps_all_but_its_audio() -> None:
    text = json.dumps({**DELTA, "delta": b64encode(bytes(250)).decode()})

    assert told(text) == {**DELTA, "delta": 250}
    assert told(text, with_audio=True) == json.loads(text)


def test_a_delta_written_in_an_odd_way_does_not_let_its_audio_through() -> None:
    escaped = json.dumps({**DELTA, "delta": "/+/+"}).replace("/", "\\/")
    twice = json.dumps({**DELTA, "delta": "AAAA"})[:-1] + ', "delta": "AAAA"}'
    bare = {key: value for key, value in DELTA.items() if key != "x"}

    assert told(escaped) == {**bare, "delta": 3}
    assert told(twice) == {**bare, "delta": 3}


def test_words_are_no_audio_and_line_breaks_between_tokens_are_no_lines() -> None:
    words = {"type": "response.output_audio_transcript.delta", "item_id": "i", "delta": "AAAA"}

    assert told(json.dumps(words)) == words
    assert told(json.dumps(words, indent=2)) == words


def test_a_sessions_own_secret_is_left_out() -> None:
    for secret in ('"ek_1"', '{"value": "ek_1", "expires_at": 1}'):
        text = f'{{"type": "session.created", "session": {{"id": "s", "client_secret": {secret}}}}}'
        assert told(text) == {
            "type": "session.created",
            "session": {"id": "s", "client_secret": None},
        }


def test_an_event_that_cannot_be_read_is_kept_in_part() -> None:
    assert from_model('{"type": ', None, with_audio=True) == '{"type": '
    assert from_model(b"\xff" * 999, None, with_audio=True) == "\ufffd" * UNREADABLE


async def test_no_message_with_a_token_in_it_is_told_not_even_one_that_cannot_be_read() -> None:
    flight = MemoryFlight()
    good = {
        "event": "start",
        "start": {
            "streamSid": "MZ1",
            "accountSid": "AC1",
            "callSid": "CA1",
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": {"token": TOKEN},
        },
    }
    messages = [json.dumps(good), json.dumps({**good, "start": {"token": TOKEN}}), '{"event": 7}']
    messages += ['{"event": "stop"}']

    async def receive() -> dict[str, object]:
        await trio.lowlevel.checkpoint()
        return {"type": "websocket.receive", "text": messages.pop(0)}

    async def send(_: object) -> None:
        await trio.lowlevel.checkpoint()

    carrier = TwilioCarrier(receive, send)
    carrier.tap = flight
    await carrier.introduce()
    await carrier.receive()
    flight.begin(HEADER)

    assert TOKEN.encode() not in flight.text()
    (start, first, second, stop) = entries(flight.read())
    assert start == ["start", "MZ1", "AC1", "CA1", "audio/x-mulaw", 8000, 1]
    assert isinstance(first, list)
    assert first[0] == "malformed"
    assert isinstance(second, list)
    assert second[0] == "malformed"
    assert stop == ["stop"]


def test_the_log_of_a_call_begins_before_its_stream_and_ends_with_its_ending() -> None:
    flight = MemoryFlight()
    run_seeded(lambda: play(world(GOODBYE, flight=flight)), seed=0)
    log = flight.read()
    kinds = [(entry.place, entry.content) for entry in log.entries]

    assert kinds[0] == ("model.connect", ["begin"])
    assert kinds[1] == ("model.connect", ["open"])
    assert kinds[2][0] == "model.out"
    assert [place for place, content in kinds if content == ["us", 1000]] == ["phone.closed"]
    assert kinds[-1][0] == "call"
    assert kinds[-1][1][1]["exit"] == "AgentHungUp"
    assert log.is_whole
    assert [entry.at_ms for entry in log.entries] == sorted(entry.at_ms for entry in log.entries)


def test_an_hour_without_audio_is_well_within_its_bound_and_compresses() -> None:
    flight = MemoryFlight()
    run_seeded(lambda: play(world(GOODBYE, flight=flight)), seed=0)
    log, text = flight.read(), flight.text()
    per_hour = len(text) / log.entries[-1].at_ms * 3600_000

    assert per_hour < 40 * 2**20
    assert len(compress(text)) < len(text) / 5


# How it is read.


def test_whatever_is_cut_off_all_whole_frames_before_it_are_read() -> None:
    lines = [b'[%d,"phone.in",["stop"]]' % number for number in range(12)]
    frames = [compress(HEADER + b"\n"), *(compress(line + b"\n") for line in lines)]
    data, ends = b"".join(frames), [0]
    for frame in frames:
        ends.append(ends[-1] + len(frame))

    for size in range(len(data) + 1):
        whole = max(number for number, end in enumerate(ends) if end <= size)
        if whole == 0:
            with pytest.raises(NotAFlightLog):
                read_log(data[:size])
        else:
            log = read_log(data[:size])
            assert [entry.at_ms for entry in log.entries] == [*range(whole - 1)]


def test_a_line_that_was_cut_in_two_is_left_out() -> None:
    log = parse(HEADER + b'\n[1,"phone.in",["stop"]]\n[2,"phone.in",["st')

    assert [entry.at_ms for entry in log.entries] == [1]


def test_a_header_of_a_later_version_with_more_in_it_is_read() -> None:
    more = {**orjson.loads(HEADER), "news": True}

    assert parse(orjson.dumps(more) + b"\n").header == parse(HEADER + b"\n").header


# Its file.


async def settled(condition: Callable[[], bool]) -> None:
    """Wait, in real time, until something is so."""
    with trio.fail_after(10):
        while not condition():  # noqa: ASYNC110 - another thread makes it so.
            await trio.sleep(0.005)


async def test_nothing_is_written_for_a_call_that_never_began(tmp_path: Path) -> None:
    flight = FileFlight(tmp_path / "CA1" / FILE_NAME)
    flight.note("model.connect", ["begin"])
    await flight.aclose()

    assert not flight.path.parent.exists()


async def test_what_was_noted_is_in_a_private_folder_before_the_call_is_over(
    tmp_path: Path,
) -> None:
    path = tmp_path / "calls" / "CA1" / FILE_NAME
    flight = FileFlight(path)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(flight.run)
        flight.note("model.connect", ["begin"])
        flight.begin(HEADER)
        for number in range(FLUSH_BYTES // 20):  # A burst: no second is waited.
            flight.note("phone.in", ["media", number, 160])
        await settled(lambda: path.exists() and path.stat().st_size > 0)
        first = read_log(path.read_bytes())
        flight.note("call", ["ended", {"exit": "Killed"}])
        await flight.aclose()
        await flight.aclose()
        flight.note("phone.in", ["too late"])
        nursery.cancel_scope.cancel()
    log = read_log(path.read_bytes())

    assert entries(first, "model.connect") == [["begin"]]
    assert log.is_whole
    assert len(entries(log)) == FLUSH_BYTES // 20
    assert path.parent.stat().st_mode & 0o077 == 0
    assert path.stat().st_mode & 0o777 == 0o600


async def test_the_log_of_another_call_of_that_name_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "CA1" / FILE_NAME
    first, second = FileFlight(path), FileFlight(path)
    first.begin(HEADER)
    await first.aclose()
    second.begin(HEADER)
    with capture_logs() as logs:
        await second.aclose()

    assert read_log(path.read_bytes()).header == parse(HEADER + b"\n").header
    assert [entry["event"] for entry in logs] == ["flight.abandoned"]
    assert "File exists" in logs[0]["error"]


async def test_a_process_that_stood_still_is_noted_and_an_idle_one_is_not(
    autojump_clock: MockClock,
) -> None:
    flight = MemoryFlight()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(flight.run)
        await trio.sleep(10.1)
        assert flight.lines == []
        autojump_clock.jump(2)
        await trio.sleep(10)
        nursery.cancel_scope.cancel()
    flight.begin(HEADER)
    (entry,) = flight.read().stood_still

    assert 1750 <= entry.content[1] <= 2000


def test_a_header_says_nobodys_telephone_number() -> None:
    assert b"+1555" not in HEADER


def test_how_a_call_ended_always_has_room_and_what_had_none_is_counted_before_it() -> None:
    async def main() -> FlightLog:
        flight = FileFlight(Path("nowhere"), waiting_max_bytes=len(HEADER) + 100)
        flight.begin(HEADER)
        for _ in range(9):
            flight.note("phone.in", ["stop"])
        flight.note("call", ["ended", {"exit": "Killed"}])
        await trio.lowlevel.checkpoint()
        return parse(b"".join(line + b"\n" for line in flight._lines))

    log = run_seeded(main, seed=0)

    assert log.is_whole
    assert log.lost == 9 - len(entries(log))
    assert log.lost > 0


async def test_a_log_that_is_full_says_so_and_takes_no_more(tmp_path: Path) -> None:
    most = len(HEADER) + 10 * len(b'[0.123,"phone.in",["stop"]]')
    flight = FileFlight(tmp_path / "CA1" / FILE_NAME, content_max_bytes=most)
    flight.begin(HEADER)
    for _ in range(50):
        flight.note("phone.in", ["stop"])
    await flight.aclose()
    log = read_log(flight.path.read_bytes())

    assert 9 <= len(entries(log)) <= 11  # Times have one digit more or less.
    assert log.entries[-1].place == "flight"
    assert log.entries[-1].content == ["full"]
    assert not log.is_whole


def as_it_is(path: Path) -> FileIO:
    """Open a file that stands for a disk."""
    return FileIO(path, "w")


async def slow_disk(folder: Path) -> Path:
    """A file that can be opened, and written to, as soon as somebody reads it."""
    path = folder / "pipe"
    os.mkfifo(path)
    await trio.lowlevel.checkpoint()
    return path


async def read_pipe(path: Path) -> bytes:
    return await trio.to_thread.run_sync(path.read_bytes)


async def test_a_slow_disk_costs_entries_and_the_log_says_how_many(tmp_path: Path) -> None:
    path = await slow_disk(tmp_path)
    flight = FileFlight(path, open_file=as_it_is, waiting_max_bytes=len(HEADER) + 1000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(flight.run)
        flight.begin(HEADER)
        began_s = trio.current_time()
        for _ in range(1000):
            flight.note("phone.in", ["stop"])
        took_s = trio.current_time() - began_s
        with trio.move_on_after(0.05) as patience:
            await flight.aclose()
        log: list[FlightLog] = [read_log(await read_pipe(path))]
        nursery.cancel_scope.cancel()
    kept = len(entries(log[0]))

    assert took_s < AT_ONCE_S
    assert patience.cancelled_caught
    assert 30 <= kept <= 40  # 1000 bytes of 27 or so, each.


async def test_entries_without_room_are_counted_where_they_are_missing(tmp_path: Path) -> None:
    path = await slow_disk(tmp_path)
    flight = FileFlight(path, open_file=as_it_is, waiting_max_bytes=len(HEADER) + 200)
    flight.begin(HEADER)
    for _ in range(50):
        flight.note("phone.in", ["stop"])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(flight.run)
        data: list[bytes] = []

        async def read() -> None:
            data.append(await read_pipe(path))

        nursery.start_soon(read)
        await settled(lambda: flight._waiting_bytes == 0)
        flight.note("phone.in", ["mark", "m1"])
        await flight.aclose()
        await settled(lambda: bool(data))
        nursery.cancel_scope.cancel()
    log = read_log(data[0])

    assert log.lost == 50 - (len(entries(log)) - 1)
    assert log.lost > 40
    assert [entry.place for entry in log.entries[-2:]] == ["flight", "phone.in"]


async def test_a_full_disk_is_one_warning_and_silence_from_then_on() -> None:
    flight = FileFlight(FULL_DISK, open_file=as_it_is)
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(flight.run)
            flight.begin(HEADER)
            for _ in range(3):
                for _ in range(FLUSH_BYTES // 20):
                    flight.note("phone.in", ["stop"])
                await trio.sleep(0.05)
            await flight.aclose()
            nursery.cancel_scope.cancel()

    assert [entry["event"] for entry in logs] == ["flight.abandoned"]
    assert "No space left" in logs[0]["error"]


async def test_a_folder_that_cannot_be_made_is_one_warning_too(tmp_path: Path) -> None:
    (tmp_path / "calls").write_text("a file, and no folder")
    flight = FileFlight(tmp_path / "calls" / "CA1" / FILE_NAME)
    flight.begin(HEADER)
    with capture_logs() as logs:
        await flight.aclose()

    assert [entry["event"] for entry in logs] == ["flight.abandoned"]


async def hang_up(one: World) -> None:
    await one.phone_end.aclose(1006)


async def test_a_call_ends_in_time_whatever_the_disk_does_with_its_log(tmp_path: Path) -> None:
    good = tmp_path / "CA1" / FILE_NAME
    pipe = await slow_disk(tmp_path)
    took_s: dict[Path, float] = {}
    endings: dict[Path, Exit] = {}

    async def call(path: Path) -> None:
        flight = FileFlight(path) if path == good else FileFlight(path, open_file=as_it_is)
        one = world(GOODBYE, flight=flight)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(flight.run)
            endings[path] = await play(one, at(0.6, hang_up))
            nursery.cancel_scope.cancel()
        assert one.ended_s is not None
        took_s[path] = one.ended_s

    began_s = trio.current_time()
    async with trio.open_nursery() as nursery:
        for path in (good, FULL_DISK, pipe):
            nursery.start_soon(call, path)
    over_s = {path: ended_s - began_s - 0.6 for path, ended_s in took_s.items()}
    await read_pipe(pipe)  # Lets the thread go that waits for it.

    assert {type(why).__name__ for why in endings.values()} == {"PeerLost"}
    assert over_s[good] < FINISH_S + AT_ONCE_S
    assert over_s[FULL_DISK] < FINISH_S + AT_ONCE_S
    assert over_s[pipe] < FINISH_S + AT_ONCE_S
    assert read_log(good.read_bytes()).is_whole


VICTIM = """
import sys, trio
from pathlib import Path
from gateway.records.flight import FileFlight

async def main():
    flight = FileFlight(Path(sys.argv[1]))
    flight.begin(sys.argv[2].encode())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(flight.run)
        for number in range(10**9):
            flight.note("phone.in", ["media", number, 160])
            await trio.sleep(0.00001)

trio.run(main)
"""


async def test_what_was_written_before_a_kill_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "CA1" / FILE_NAME
    with subprocess.Popen(  # noqa: ASYNC220 - it never waits for us.
        [sys.executable, "-c", VICTIM, str(path), HEADER.decode()],
        cwd=Path(__file__).parent.parent,
    ) as victim:
        await settled(lambda: path.exists() and path.stat().st_size > 5000)
        victim.kill()
    log = read_log(path.read_bytes())
    counted = [entry.content[1] for entry in log.entries]

    assert len(counted) > 100
    assert counted == [*range(len(counted))]


# Its setting.


def test_the_setting_is_one_of_three_words() -> None:
    assert load(None, {}).calls.flight == "events"
    assert load(None, {"OFFHOOK_CALLS_FLIGHT": "audio"}).calls.flight == "audio"
    with pytest.raises(ConfigError) as refused:
        load(None, {"OFFHOOK_CALLS_FLIGHT": "on"})
    assert refused.value.problems == (
        "OFFHOOK_CALLS_FLIGHT must be one of off, events, audio, not 'on'; did you mean off?",
    )


def test_no_key_of_the_models_server_is_in_a_header() -> None:
    log = parse(HEADER + b"\n")

    assert b"sk-" not in HEADER
    assert b"earer" not in HEADER
    assert attrs.asdict(log.header.session)["instructions"]
