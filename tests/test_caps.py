"""What may go out in a day: counted before it goes, by a file and by its twin in memory."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from gateway.configuration.tool_settings import PolicySettings
from gateway.permission.caps import (
    DAY,
    FILE_NAME,
    CapReached,
    Caps,
    FileSpending,
    Kind,
    MemorySpending,
    Spending,
    SpendingFailed,
    Wish,
    flaw,
)

NOON = datetime(2026, 3, 29, 12, tzinfo=UTC)
CAPS = Caps(calls=2, messages=3, micros=1_000_000)

Make = Callable[[], Spending]


@pytest.fixture(params=["file", "memory"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Opens the same book, as after a restart, if it outlives one."""
    if request.param == "file":
        return lambda: FileSpending(tmp_path / "calls" / FILE_NAME)
    book = MemorySpending()
    return lambda: book


def wish(kind: Kind = "call", micros: int = 1000, after: timedelta = timedelta()) -> Wish:
    return Wish(kind=kind, micros=micros, at=NOON + after)


async def test_so_many_of_a_kind_go_out_and_no_more(make: Make) -> None:
    book = make()
    for _ in range(2):
        await book.reserve(wish(), CAPS)

    with pytest.raises(CapReached, match="no more than 2 calls"):
        await book.reserve(wish(), CAPS)
    for _ in range(3):
        await book.reserve(wish("message"), CAPS)
    with pytest.raises(CapReached, match="no more than 3 messages"):
        await book.reserve(wish("message"), CAPS)


async def test_what_both_cost_together_is_bounded_to_the_last_bit(make: Make) -> None:
    book = make()
    await book.reserve(wish("call", 600_000), CAPS)

    with pytest.raises(CapReached, match=r"1\.00 dollars"):
        await book.reserve(wish("message", 400_001), CAPS)
    await book.reserve(wish("message", 400_000), CAPS)
    with pytest.raises(CapReached):
        await book.reserve(wish("message", 1), CAPS)


async def test_a_restart_forgets_nothing(make: Make) -> None:
    await make().reserve(wish(), CAPS)
    await make().reserve(wish(), CAPS)

    with pytest.raises(CapReached):
        await make().reserve(wish(), CAPS)


async def test_what_was_released_can_be_spent_by_somebody_else(make: Make) -> None:
    book = make()
    first = await book.reserve(wish(micros=1_000_000), CAPS)
    await book.release(first)
    second = await book.reserve(wish(micros=1_000_000), CAPS)
    await book.release(first)

    assert second != first
    with pytest.raises(CapReached):
        await book.reserve(wish(), CAPS)


async def test_a_day_is_the_last_24_hours(make: Make) -> None:
    book = make()
    await book.reserve(wish(), CAPS)
    await book.reserve(wish(after=timedelta(hours=1)), CAPS)

    with pytest.raises(CapReached):
        await book.reserve(wish(after=DAY - timedelta(milliseconds=1)), CAPS)
    await book.reserve(wish(after=DAY), CAPS)
    with pytest.raises(CapReached):
        await book.reserve(wish(after=DAY), CAPS)


async def test_a_clock_that_was_set_back_opens_nothing(make: Make) -> None:
    book = make()
    for _ in range(2):
        await book.reserve(wish(), CAPS)

    with pytest.raises(CapReached):
        await book.reserve(wish(after=-30 * DAY), CAPS)


async def test_of_many_who_want_the_last_of_it_one_gets_it(make: Make) -> None:
    outcomes: list[str] = []

    async def try_it(book: Spending) -> None:
        try:
            await book.reserve(wish(), CAPS)
        except CapReached:
            outcomes.append("too much")
        else:
            outcomes.append("reserved")

    await make().reserve(wish(), CAPS)
    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(try_it, make())

    assert sorted(outcomes) == ["reserved", *["too much"] * 7]


async def test_nothing_is_allowed_where_the_caps_are_zero(make: Make) -> None:
    for caps in (attrs.evolve(CAPS, calls=0), attrs.evolve(CAPS, micros=0)):
        with pytest.raises(CapReached):
            await make().reserve(wish(), caps)


async def test_a_negative_price_is_no_way_to_more(make: Make) -> None:
    with pytest.raises(CapReached):
        await make().reserve(wish(micros=-1), CAPS)


@pytest.mark.parametrize("content", [b"this is no database, and longer than its header is" * 40])
async def test_a_file_that_is_none_lets_nothing_out(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    path.write_bytes(content)

    with pytest.raises(SpendingFailed):
        await FileSpending(path).reserve(wish(), CAPS)
    with pytest.raises(SpendingFailed):
        await FileSpending(path).release(1)
    assert path.read_bytes() == content


async def test_a_file_of_another_version_lets_nothing_out(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / FILE_NAME) as book:
        book.execute("PRAGMA user_version = 2")
    book.close()

    with pytest.raises(SpendingFailed):
        await FileSpending(tmp_path / FILE_NAME).reserve(wish(), CAPS)


async def test_a_folder_that_cannot_be_lets_nothing_out(tmp_path: Path) -> None:
    (tmp_path / "calls").write_text("a file")

    with pytest.raises(SpendingFailed):
        await FileSpending(tmp_path / "calls" / FILE_NAME).reserve(wish(), CAPS)


async def test_a_file_that_was_removed_is_begun_anew(tmp_path: Path) -> None:
    """Its owner did that: nobody else can."""
    book = FileSpending(tmp_path / FILE_NAME)
    for _ in range(2):
        await book.reserve(wish(), CAPS)
    (tmp_path / FILE_NAME).unlink()

    await book.reserve(wish(), CAPS)


async def test_a_process_that_dies_in_between_has_spent_it_or_not_and_locks_nobody_out(
    tmp_path: Path,
) -> None:
    path = tmp_path / FILE_NAME
    book = FileSpending(path)
    await book.reserve(wish(), CAPS)
    code = (
        "import os, sqlite3, sys\n"
        "book = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "book.execute('BEGIN IMMEDIATE')\n"
        "book.execute(\"INSERT INTO spending (kind, at_s, micros) VALUES ('call', 2e9, 5)\")\n"
        "os._exit(9)\n"
    )
    done = await trio.to_thread.run_sync(
        lambda: subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    )
    assert done.returncode == 9

    await book.reserve(wish(), CAPS)
    with pytest.raises(CapReached):
        await book.reserve(wish(), CAPS)


async def test_nobody_else_on_this_machine_may_look_into_it(tmp_path: Path) -> None:
    await FileSpending(tmp_path / "calls" / FILE_NAME).reserve(wish(), CAPS)

    assert (tmp_path / "calls").stat().st_mode & 0o777 == 0o700


@given(
    st.lists(st.tuples(st.sampled_from(["call", "message"]), st.integers(0, 400_000)), max_size=12)
)
def test_whatever_is_let_through_stays_below_all_caps(wishes: list[tuple[Kind, int]]) -> None:
    spent: list[tuple[Kind, int]] = []
    for kind, micros in wishes:
        if flaw(wish(kind, micros), spent, CAPS) is None:
            spent.append((kind, micros))

    assert sum(kind == "call" for kind, _ in spent) <= CAPS.calls
    assert sum(kind == "message" for kind, _ in spent) <= CAPS.messages
    assert sum(micros for _, micros in spent) <= CAPS.micros


def test_the_caps_are_those_of_the_policy() -> None:
    policy = PolicySettings(calls_per_day=7, messages_per_day=8, usd_per_day=0.29)

    assert Caps.of(policy) == Caps(calls=7, messages=8, micros=290_000)
