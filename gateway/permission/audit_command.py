"""`offhook audit`: what was asked for, decided and done, and whether anybody changed that since."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from actors.errors import AuditFailed
from gateway.configuration.config import load
from gateway.permission.audit_log import FILE_NAME, Written, first_broken, read_audit

HOLDS: Final = 0
BROKEN: Final = 1
UNREADABLE: Final = 2
SHOWN: Final = 200
"""Rows in the table, the newest."""
ARGUMENTS_SHOWN: Final = 80
_STYLES: Final[Mapping[str, str]] = {
    "refused": "yellow", "declined": "yellow", "not_verified": "yellow", "unknown": "red",
    "failed": "red", "finished": "green",
}  # fmt: skip


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    command.description = (
        f"Show the audit log of tools, calls/{FILE_NAME}, newest last, and check its chain of "
        f"hashes. Exit status: {HOLDS} it holds, {BROKEN} a row was changed, removed or put in, "
        f"{UNREADABLE} there is no log that could be read. That the newest rows were cut off shows "
        "only beside a newest hash that was kept elsewhere."
    )
    command.add_argument("--config", type=Path, help="default: offhook.toml, if there is one")
    command.add_argument("--call", metavar="SID", help="only the rows of this call")
    command.add_argument("--verify", action="store_true", help="only check, and show no rows")


def main(arguments: argparse.Namespace, *, environ: Mapping[str, str]) -> int:
    """Run the command on this terminal. Returns its exit status.

    Raises:
        ConfigError: The configuration cannot be read, which says where the log is.

    """
    path = load(arguments.config, environ).calls.directory / FILE_NAME
    return show(
        path, call_sid=arguments.call, only_verify=arguments.verify, out=sys.stdout, err=sys.stderr
    )


def show(path: Path, *, call_sid: str | None, only_verify: bool, out: TextIO, err: TextIO) -> int:
    """Show a log and check it. Returns the exit status."""
    if not path.exists():
        err.write(f"offhook: there is no {path} yet: it begins with the first tool of a call\n")
        return UNREADABLE
    try:
        rows = read_audit(path)
    except AuditFailed as error:
        err.write(f"offhook: {error.reason}\n")
        return UNREADABLE
    console = Console(file=out, highlight=False, width=None if out.isatty() else 160)
    picked = [one for one in rows if call_sid in (None, one.row.call_sid)]
    if not only_verify:
        console.print(_table(picked[-SHOWN:]))
        if len(picked) > SHOWN:
            console.print(f"{len(picked) - SHOWN} older rows are not shown.")
    broken = first_broken(rows)
    if broken is not None:
        console.print(f"The chain is broken at row {broken} of {len(rows)}.", style="bold red")
        return BROKEN
    newest = f" The newest hash is {rows[-1].hash}." if rows else ""
    console.print(f"The chain of {len(rows)} rows holds.{newest}", soft_wrap=True)
    return HOLDS


def _table(rows: Sequence[Written]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("row", "at (UTC)", "call", "caller", "tool", "risk", "tier", "what", "why"):
        table.add_column(name, overflow="fold")
    for one in rows:
        row = one.row
        why = row.arguments[:ARGUMENTS_SHOWN] if row.event == "asked" else row.detail
        cells = (
            *(str(one.number), one.at[:19].replace("T", " "), row.call_sid[:10]),
            *(_masked(row.caller), row.tool, row.risk, row.tier.name.lower()),
        )
        table.add_row(*map(_plain, cells), Text(row.event, _STYLES.get(row.event, "")), _plain(why))
    return table


def _plain(text: str) -> Text:
    """A text of somebody else's, with nothing in it that a terminal obeys."""
    return Text("".join(filter(str.isprintable, text)))


def _masked(number: str) -> str:
    return f"…{number[-3:]}" if len(number) > len("123") else number
