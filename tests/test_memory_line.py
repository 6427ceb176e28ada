"""The line of memory: order, delays, what a network may do to frames, and how it ends."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio

from gateway.lab.memory_line import (
    Arrival,
    ConnectionClosed,
    Frame,
    MemorySocket,
    memory_line,
)


async def read_all(end: MemorySocket) -> list[tuple[int, str | bytes]]:
    """Everything that arrives, with the ms at which it did, until the line is closed."""
    began_s, read = trio.current_time(), list[tuple[int, str | bytes]]()
    try:
        while True:
            message = await end.get_message()
            read.append((round((trio.current_time() - began_s) * 1000), message))
    except ConnectionClosed:
        return read


async def test_frames_arrive_after_their_delay_and_in_order(autojump_clock: object) -> None:
    delays = iter([50, 10, 30])
    client, server = memory_line(up_ms=lambda: next(delays))
    await client.send_message("a")
    await client.send_message("b")
    await client.aclose(1000)

    assert await read_all(server) == [(50, "a"), (50, "b")]
    assert server.closed is not None
    assert server.closed.code == 1000


async def test_a_network_may_lose_repeat_delay_and_reorder(autojump_clock: object) -> None:
    def tamper(frame: Frame) -> Sequence[Arrival]:
        match frame:
            case "lost":
                return []
            case "twice":
                return [Arrival(frame), Arrival(frame)]
            case "late":
                return [Arrival(frame, late_ms=100)]
            case "overtaken":
                return [Arrival(frame, late_ms=100, overtakes=True)]
            case _:
                return [Arrival(frame)]

    client, server = memory_line(up_ms=10, tamper_up=tamper)
    for message in ("lost", "twice", "overtaken", "next", "late", "last"):
        await client.send_message(message)
    await client.aclose()

    assert await read_all(server) == [
        (10, "twice"),
        (10, "twice"),
        (10, "next"),
        (110, "overtaken"),
        (110, "late"),
        (110, "last"),
    ]


async def test_a_reader_is_woken_by_a_frame_that_overtakes_the_one_it_waits_for(
    autojump_clock: object,
) -> None:
    client, server = memory_line(
        up_ms=10,
        tamper_up=lambda frame: [Arrival(frame, 500 if frame == "slow" else 0, overtakes=True)],
    )
    async with trio.open_nursery() as nursery:

        async def send() -> None:
            await client.send_message("slow")
            await trio.sleep(0.1)
            await client.send_message("quick")

        nursery.start_soon(send)
        assert await server.get_message() == "quick"
        assert await server.get_message() == "slow"


async def test_a_stalled_end_lets_its_peer_wait_until_it_reads_again(
    autojump_clock: object,
) -> None:
    client, server = memory_line()
    server.stalled = True
    with trio.move_on_after(5) as patience:
        await client.send_message("never")
    assert patience.cancelled_caught
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.send_message, "at last")
        await trio.sleep(1)
        server.stalled = False

    assert await server.get_message() == "at last"


async def test_a_sender_waits_for_a_reader_that_is_4096_frames_behind(
    autojump_clock: object,
) -> None:
    client, server = memory_line()
    for _ in range(4096):
        with trio.fail_after(0.001):  # At once, or not at all.
            await client.send_message("frame")
    with trio.move_on_after(1) as patience:
        await client.send_message("one too many")
    assert patience.cancelled_caught

    await server.get_message()
    with trio.fail_after(0.001):
        await client.send_message("there is room again")


@pytest.mark.parametrize("waits", ["reads", "sends"])
async def test_a_broken_line_ends_both_ends_at_once(waits: str, autojump_clock: object) -> None:
    client, server = memory_line(up_ms=1000, down_ms=1000)
    server.stalled = True
    async with trio.open_nursery() as nursery:

        async def wait(end: MemorySocket) -> None:
            with pytest.raises(ConnectionClosed) as caught:
                await (end.send_message("x") if waits == "sends" else end.get_message())
            assert caught.value.reason is not None
            assert caught.value.reason.code == 1006

        nursery.start_soon(wait, client)
        await trio.sleep(1)
        client.break_off()
        with trio.fail_after(0.001):
            await wait(server)


async def test_a_cancelled_read_loses_nothing(autojump_clock: object) -> None:
    client, server = memory_line(up_ms=100)
    await client.send_message("still there")
    with trio.move_on_after(0.05):
        await server.get_message()

    assert await server.get_message() == "still there"
