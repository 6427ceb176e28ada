from __future__ import annotations

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from actors.errors import LaneOverflow
from actors.lanes import Lane, OnFull


async def test_what_is_put_is_taken_in_order() -> None:
    lane = Lane[int]("facts", 3)
    for number in range(3):
        lane.put(number)

    assert [await lane.take() for _ in range(3)] == [0, 1, 2]


def test_a_full_control_lane_says_which_it_is_and_keeps_what_it_has() -> None:
    lane = Lane[int]("facts", 2)
    lane.put(1)
    lane.put(2)
    with pytest.raises(LaneOverflow) as overflow:
        lane.put(3)

    assert (overflow.value.lane, overflow.value.size) == ("facts", 2)
    assert (lane.drain(), lane.dropped) == ([1, 2], 0)


def test_a_full_audio_lane_drops_its_oldest_and_counts_it() -> None:
    lane = Lane[int]("speech", 2, OnFull.DROP_OLDEST)
    for number in range(5):
        lane.put(number)

    assert (lane.drain(), lane.dropped, lane.peak) == ([3, 4], 3, 2)


def test_nothing_is_dropped_at_the_bound() -> None:
    lane = Lane[int]("speech", 2, OnFull.DROP_OLDEST)
    lane.put(1)
    lane.put(2)

    assert (len(lane), lane.dropped) == (2, 0)


async def test_a_drained_lane_is_empty_and_of_use() -> None:
    lane = Lane[int]("facts", 2)
    lane.put(1)

    assert lane.drain() == [1]
    assert lane.drain() == []
    lane.put(2)
    assert await lane.take() == 2


async def test_a_cancelled_take_loses_nothing(autojump_clock: trio.testing.MockClock) -> None:
    """Whichever of the two comes first: the item, or the end of the wait."""
    lane = Lane[int]("facts", 8)
    taken: list[int] = []
    with trio.move_on_after(1):
        taken.append(await lane.take())
    lane.put(1)
    with trio.CancelScope() as cancelled:
        cancelled.cancel()
        taken.append(await lane.take())

    assert taken + lane.drain() == [1]


async def test_an_item_that_arrives_with_the_cancellation_is_taken_or_kept() -> None:
    lane = Lane[int]("facts", 8)
    taken: list[int] = []
    with trio.CancelScope() as reading:
        async with trio.open_nursery() as nursery:

            async def read() -> None:
                taken.append(await lane.take())

            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            lane.put(1)
            reading.cancel()

    assert taken + lane.drain() == [1]


async def test_a_waiting_reader_is_no_burden_on_the_lane() -> None:
    lane = Lane[int]("facts", 1)
    taken: list[int] = []
    async with trio.open_nursery() as nursery:

        async def read() -> None:
            async for number in lane:
                taken.append(number)
                if number == 2:
                    return

        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        lane.put(1)  # Handed over at once.
        lane.put(2)

    assert (taken, lane.peak) == ([1, 2], 1)


@given(steps=st.lists(st.sampled_from(["put", "drain"]), max_size=40), size=st.integers(1, 5))
def test_an_audio_lane_holds_the_newest(steps: list[str], size: int) -> None:
    lane = Lane[int]("speech", size, OnFull.DROP_OLDEST)
    model: list[int] = []
    put = dropped = peak = 0
    for step in steps:
        if step == "put":
            put += 1
            lane.put(put)
            model.append(put)
            dropped += len(model) > size
            model = model[-size:]
        else:
            assert lane.drain() == model
            model = []
        peak = max(peak, len(model))

        assert (len(lane), lane.dropped, lane.peak) == (len(model), dropped, peak)
