"""The audit log, in memory and in a file: the same promises, and what only a file can break."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

import attrs
import pytest
import trio

from actors.errors import AuditFailed
from actors.policy.audit import AuditEvent, AuditRow
from actors.policy.risk import Tier
from gateway.permission.audit_log import (
    AuditLog,
    MemoryAudit,
    SqliteAudit,
    Wanted,
    Written,
    first_broken,
    read_audit,
)
from tests.guards import DAWN


def row(event: AuditEvent = "asked", **fields: str) -> AuditRow:
    known = {"call_sid": "CA1", "tool_call_id": "call_1", "tool": "pay", "digest": "d" * 64}
    return AuditRow(event=event, risk="high", tier=Tier.KNOWN, **(known | fields))


@attrs.define
class Clock:
    """Stands for the clock on the wall."""

    now_s: float = 0.0

    def __call__(self) -> datetime:
        return DAWN + timedelta(seconds=self.now_s)


@attrs.define
class Kept:
    log: AuditLog
    clock: Clock
    path: Path | None = None

    def written(self) -> list[Written]:
        if isinstance(self.log, MemoryAudit):
            return self.log.written
        assert self.path is not None
        return list(read_audit(self.path))


@pytest.fixture(params=["memory", "file"])
async def kept(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Kept]:
    clock = Clock()
    if request.param == "memory":
        yield Kept(MemoryAudit(clock), clock)
        return
    path = tmp_path / "calls" / "audit.sqlite"
    log = SqliteAudit(path, clock)
    yield Kept(log, clock, path)
    await log.aclose()


async def test_rows_stand_in_order_and_as_they_were_given(kept: Kept) -> None:
    given = [
        row(caller="+4930123456", arguments='{"to":"Ä"}', detail="why"),
        row("began", tool="other"),
    ]
    await kept.log.write(given[0])
    kept.clock.now_s = 3.5
    await kept.log.write(given[1], row("finished"))

    written = kept.written()
    assert [one.row for one in written] == [*given, row("finished")]
    assert [one.number for one in written] == [1, 2, 3]
    assert [one.at[11:23] for one in written] == ["08:00:00.000", "08:00:03.500", "08:00:03.500"]
    assert first_broken(written) is None


async def test_rows_are_counted_by_what_they_are_and_when(kept: Kept) -> None:
    await kept.log.write(row("not_verified", caller="+1", detail="pin"))
    kept.clock.now_s = 3600
    await kept.log.write(
        row("not_verified", caller="+1"), row("not_verified", caller="+2"), row("verified")
    )

    async def count(**wanted: object) -> int:
        return await kept.log.count(Wanted(events=["not_verified"], **wanted))  # type: ignore[arg-type]

    assert await count() == 3
    assert await count(since=DAWN + timedelta(seconds=1)) == 2
    assert await count(since=DAWN) == 3
    assert await count(caller="+1") == 2
    assert await count(caller="+1", since=DAWN + timedelta(seconds=1)) == 1
    assert await count(detail="pin", tool="pay") == 1
    assert await count(tool="other") == 0
    assert await kept.log.count(Wanted(events=["not_verified", "verified"])) == 4


async def test_many_at_once_are_all_written_and_their_chain_holds(kept: Kept) -> None:
    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(
                kept.log.write, row(tool_call_id=f"{number}"), row("began", digest=f"{number}")
            )

    written = kept.written()
    assert len(written) == 40
    assert first_broken(written) is None
    pairs = [
        (one.row.event, two.row.event) for one, two in zip(written[::2], written[1::2], strict=True)
    ]
    assert pairs == [("asked", "began")] * 20


async def test_whoever_changes_or_takes_out_a_row_breaks_the_chain(kept: Kept) -> None:
    for number in range(5):
        await kept.log.write(row(digest=f"{number}"))

    written = kept.written()
    forged = attrs.evolve(written[2], row=attrs.evolve(written[2].row, tier=Tier.VERIFIED))
    assert first_broken([*written[:2], forged, *written[3:]]) == 3
    assert first_broken([*written[:2], *written[3:]]) == 4
    assert first_broken(written[1:]) == 2
    assert first_broken([written[0], written[2], written[1]]) == 3
    own = Written.behind(written[1], DAWN, forged.row)
    assert first_broken([*written[:2], own, *written[3:]]) == 4


async def test_what_was_begun_and_has_no_end_is_unknown_after_the_next_start(kept: Kept) -> None:
    await kept.log.write(
        *(row("began", tool_call_id=name) for name in ("1", "2", "3", "4")),
        row("finished", tool_call_id="1"),
        row("failed", tool_call_id="2"),
        row("refused", tool_call_id="3"),
    )
    log = kept.log
    if kept.path is not None:
        await kept.log.aclose()
        log = SqliteAudit(kept.path, kept.clock)
    try:
        assert await log.recover() == 1
        (*_, last) = kept.written()
        assert (last.row.event, last.row.tool_call_id) == ("unknown", "4")
        assert first_broken(kept.written()) is None
    finally:
        await log.aclose()


async def test_a_second_process_leaves_alone_what_the_first_has_begun(tmp_path: Path) -> None:
    path = tmp_path / "audit.sqlite"
    one, two = SqliteAudit(path, Clock()), SqliteAudit(path, Clock())
    await one.write(row("began"))
    assert await two.recover() == 0
    await two.write(row("asked", tool_call_id="2"))
    await one.write(row("finished"))
    await one.aclose()
    await two.aclose()

    assert [one.row.event for one in read_audit(path)] == ["began", "asked", "finished"]
    assert first_broken(read_audit(path)) is None


async def test_a_log_that_is_not_there_is_not_made_by_looking(tmp_path: Path) -> None:
    path = tmp_path / "calls" / "audit.sqlite"
    log = SqliteAudit(path, Clock())
    assert await log.recover() == 0
    await log.aclose()

    assert not path.parent.exists()
    with pytest.raises(AuditFailed):
        read_audit(path)


def modes_in(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}


async def test_only_its_owner_may_read_the_file(tmp_path: Path) -> None:
    log = SqliteAudit(tmp_path / "audit.sqlite", Clock())
    await log.write(row())
    modes = modes_in(tmp_path)
    await log.aclose()

    assert len(modes) >= 2
    assert set(modes.values()) == {0o600}


@pytest.mark.parametrize(
    "content", [b"no database at all, and longer than one", b"SQLite format 3\0"]
)
async def test_what_is_no_audit_log_is_not_written_to(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "audit.sqlite"
    path.write_bytes(content * 40)
    log = SqliteAudit(path, Clock())
    with pytest.raises(AuditFailed):
        await log.write(row())
    with pytest.raises(AuditFailed):
        await log.count(Wanted(events=["asked"]))
    await log.aclose()

    assert path.read_bytes() == content * 40


async def test_a_log_of_another_version_is_not_written_to(tmp_path: Path) -> None:
    path = tmp_path / "audit.sqlite"
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 7")
    db.close()
    log = SqliteAudit(path, Clock())
    with pytest.raises(AuditFailed, match="version 7"):
        await log.write(row())
    await log.aclose()


async def test_on_a_full_disk_nothing_is_written_and_later_it_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "audit.sqlite"
    log = SqliteAudit(path, Clock())
    await log.write(row())
    assert log._file is not None
    (pages,) = log._file.db.execute("PRAGMA page_count").fetchone()
    log._file.db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(AuditFailed, match="FULL"):
        await log.write(row("confirmed"), row("began", detail="x" * 100_000))
    log._file.db.execute("PRAGMA max_page_count = 100000")
    await log.write(row("refused"))
    await log.aclose()

    assert [one.row.event for one in read_audit(path)] == ["asked", "refused"]
    assert first_broken(read_audit(path)) is None


async def test_a_locked_file_is_a_failure_and_no_wait_without_end(tmp_path: Path) -> None:
    path = tmp_path / "audit.sqlite"
    log = SqliteAudit(path, Clock())
    await log.write(row())
    assert log._file is not None
    log._file.db.execute("PRAGMA busy_timeout = 50")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(AuditFailed, match="BUSY"):
        await log.write(row())
    other.execute("ROLLBACK")
    other.close()
    await log.write(row("refused"))
    await log.aclose()

    assert [one.row.event for one in read_audit(path)] == ["asked", "refused"]


async def test_a_write_that_was_cancelled_leaves_whole_rows_or_none(tmp_path: Path) -> None:
    path = tmp_path / "audit.sqlite"
    log = SqliteAudit(path, Clock())
    for number in range(10):
        with trio.move_on_after(0.0005 * number):
            await log.write(row("confirmed"), row("began"))
    await log.write(row("finished"))
    await log.aclose()

    events = [one.row.event for one in read_audit(path)]
    assert events.count("confirmed") == events.count("began")
    assert events[-1] == "finished"
    assert first_broken(read_audit(path)) is None
