"""`offhook audit` and `offhook pin`, as somebody sees them."""

from __future__ import annotations

import io
import sqlite3
import tomllib
from pathlib import Path

import argon2
import attrs
import pytest
import trio

from gateway.configuration.config import load
from gateway.permission.audit_command import BROKEN, HOLDS, UNREADABLE, show
from gateway.permission.audit_log import SqliteAudit
from gateway.permission.pin_command import DONE, NOT_DONE, make
from tests.test_audit_log import Clock, row
from tests.test_main import offhook


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "calls" / "audit.sqlite"

    async def fill() -> None:
        log = SqliteAudit(file, Clock())
        await log.write(
            row("asked", arguments='{"to":"Anna"}', caller="+4930123456"),
            row("refused", detail="not the owner"),
            attrs.evolve(row("asked", tool="\x1b[2Jrm"), call_sid="CA2"),
        )
        await log.aclose()

    trio.run(fill)
    return file


def shown(path: Path, **how: object) -> tuple[int, str]:
    out, err = io.StringIO(), io.StringIO()
    given = {"call_sid": None, "only_verify": False} | how
    status = show(path, out=out, err=err, **given)  # type: ignore[arg-type]
    return status, out.getvalue() + err.getvalue()


def test_the_log_is_a_table_and_its_chain_holds(path: Path) -> None:
    status, text = shown(path)

    assert status == HOLDS
    assert "not the owner" in text
    assert '{"to":"Anna"}' in text
    assert "The chain of 3 rows holds." in text
    assert "\x1b" not in text
    assert "+4930123456" not in text


def test_one_call_is_shown_alone_and_all_are_checked(path: Path) -> None:
    status, text = shown(path, call_sid="CA2")

    assert status == HOLDS
    assert "Anna" not in text
    assert "The chain of 3 rows holds." in text


def test_only_the_check_shows_no_rows(path: Path) -> None:
    assert "Anna" not in shown(path, only_verify=True)[1]


@pytest.mark.parametrize(
    "change",
    ["UPDATE audit SET tier = 'verified' WHERE number = 2", "DELETE FROM audit WHERE number = 1"],
)
def test_whoever_changed_the_file_is_found(path: Path, change: str) -> None:
    db = sqlite3.connect(path)
    with db:
        db.execute(change)
    db.close()

    status, text = shown(path)
    assert status == BROKEN
    assert "broken at row 2" in text


def test_a_file_that_is_none_is_said(tmp_path: Path) -> None:
    err = io.StringIO()
    path = tmp_path / "audit.sqlite"
    assert show(path, call_sid=None, only_verify=True, out=io.StringIO(), err=err) == UNREADABLE
    assert f"there is no {path} yet" in err.getvalue()
    (tmp_path / "audit.sqlite").write_text("no database, whatever it is called")
    assert shown(tmp_path / "audit.sqlite")[0] == UNREADABLE


async def test_the_command_finds_the_log_by_the_configuration(path: Path, tmp_path: Path) -> None:
    config = tmp_path / "offhook.toml"
    config.write_text(f'[calls]\ndirectory = "{path.parent}"\n')
    ended = await offhook(tmp_path, "audit", "--config", str(config))

    assert ended.status == HOLDS
    assert "not the owner" in ended.out


def typed(*lines: str):  # type: ignore[no-untyped-def]  # noqa: ANN201
    """Stands for a terminal that shows nothing of what is typed."""
    waiting = list(lines)

    def ask(prompt: str) -> str:
        assert prompt
        if not waiting:
            raise EOFError
        return waiting.pop(0)

    return ask


def test_a_pin_is_asked_for_twice_and_only_its_hash_is_seen(tmp_path: Path) -> None:
    out, err = io.StringIO(), io.StringIO()
    assert make(typed("804613", "804613"), out=out, err=err) == DONE

    assert "804613" not in out.getvalue() + err.getvalue()
    hashed = tomllib.loads(out.getvalue())["owner"]["pin"]
    assert argon2.PasswordHasher().verify(hashed, "804613")
    (tmp_path / "offhook.toml").write_text(f"{out.getvalue()}verify_anywhere = true\n")
    pin = load(tmp_path / "offhook.toml", {}).owner.pin
    assert pin is not None
    assert pin.reveal() == hashed


@pytest.mark.parametrize(
    "lines",
    [
        ("804613", "804614"),
        ("123", "123"),
        ("12345678901234", "12345678901234"),
        ("abcd", "abcd"),
        ("\uff11\uff13\uff15\uff17", "\uff11\uff13\uff15\uff17"),
        ("1234", "1234"),
        ("000000", "000000"),
        ("9876", "9876"),
        ("804613",),
        (),
    ],
)
def test_what_is_no_pin_or_everybodys_is_refused(lines: tuple[str, ...]) -> None:
    out, err = io.StringIO(), io.StringIO()

    assert make(typed(*lines), out=out, err=err) == NOT_DONE
    assert out.getvalue() == ""
    assert not [line for line in lines if line in err.getvalue()]
