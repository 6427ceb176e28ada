"""The scorecard: runs the commands behind our promises, notes what they say, and makes a page.

A row's command says in its last line of stdout, as JSON, what was measured and whether that
passes: `{"measured": "2,000 calls, 0 violations", "passed": true}`. A command of several rows may
say it for each: `{"rows": {"audio": {"measured": ..., "passed": ...}}, ...}`. Whatever else is in
there is not for the page. Run by `scripts/scorecard`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import attrs
import cattrs
import orjson
import yaml

ROOT: Final = Path(__file__).parent.parent
DATA: Final = ROOT / "docs/scorecard.yaml"
PAGE: Final = ROOT / "docs/scorecard.md"

HEADER: Final = """\
# What offhook promises, and what was measured. `./scripts/scorecard ROW...` measures rows again and
# rewrites this file and scorecard.md; promises, bars and commands are written by hand.
"""


@attrs.frozen
class ScorecardError(Exception):
    """Nothing was measured. Says why."""

    what: str

    def __str__(self) -> str:
        return self.what


@attrs.frozen(kw_only=True)
class Row:
    """One promise."""

    row: str
    """Its name on the command line."""
    promise: str
    bar: str
    """What has to be measured for the promise to hold."""
    command: str
    """Run by bash at the top of the repository, in its environment."""
    measured: str = ""
    """Empty: not measured yet."""
    passed: bool | None = None
    date: str = ""
    """UTC, of the day."""
    commit: str = ""

    def __attrs_post_init__(self) -> None:
        if bool(self.measured) != (self.passed is not None):
            raise ValueError(f"{self.row}: what is measured passes or not, and nothing else does")
        if self.passed is not None and not (self.date and self.commit):
            raise ValueError(f"{self.row}: measured when, and at which commit?")

    @property
    def verdict(self) -> str:
        """One word, or three."""
        return {True: "met", False: "**not met**", None: "not measured yet"}[self.passed]


_converter: Final = cattrs.Converter(forbid_extra_keys=True)


def read(text: str) -> list[Row]:
    """The rows of the data file.

    Raises:
        ScorecardError: It is not one.

    """
    try:
        rows = _converter.structure(yaml.safe_load(text), list[Row])
    except (cattrs.BaseValidationError, ValueError, TypeError) as error:
        raise ScorecardError("; ".join(cattrs.transform_error(error))) from error
    names = [row.row for row in rows]
    if len(set(names)) != len(names):
        raise ScorecardError("two rows have one name")
    return rows


def write(rows: list[Row]) -> str:
    """The data file of these rows."""
    raw = [attrs.asdict(row) for row in rows]
    return HEADER + yaml.safe_dump(raw, sort_keys=False, allow_unicode=True, width=96)


def page(rows: list[Row]) -> str:
    """The page for people."""
    met = sum(row.passed is True for row in rows)
    missed = sum(row.passed is False for row in rows)
    unmeasured = len(rows) - met - missed
    lines = "\n".join(_line(row) for row in rows)
    commands = "\n".join(f"| {row.row} | `{_cell(row.command)}` |" for row in rows)
    return f"""\
# Scorecard

What offhook promises, the bar for each promise, and what was measured: when, and at which commit.
Promises: {len(rows)}. Met: {met}. Not met: {missed}. Not measured yet: {unmeasured}.
A row that is not met stays here until it is.
Times are those of two shared cores.

| row | promise | bar | measured | | date | commit |
| --- | --- | --- | --- | --- | --- | --- |
{lines}

## Measure it again

`./scripts/scorecard ROW...` runs the commands of these rows, notes what they say, the date and the commit, and makes this page anew; without a row, all of them.
It refuses when there are changes that are not committed, unless `--dirty` is given, and then the commit says so.
Each command can be run by itself, in the environment that `./scripts/test` makes (`. .venv/bin/activate`).
Where chance is in play it comes from seeds: the same commit says the same again, but for times.

| row | command |
| --- | --- |
{commands}

This page is made from [`scorecard.yaml`](scorecard.yaml) by `./scripts/scorecard --page`.
"""  # noqa: E501 - one sentence, one line.


def _line(row: Row) -> str:
    commit = f"`{row.commit}`" if row.commit else ""
    cells = (row.row, row.promise, row.bar, row.measured, row.verdict, row.date, commit)
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def verdict_of(output: str, status: int, row: str) -> tuple[str, bool]:
    """What a command measured for a row, and whether that passes, from everything it printed.

    Raises:
        ScorecardError: It does not say.

    """
    lines = [line for line in output.splitlines() if line.strip()]
    try:
        said: Any = orjson.loads(lines[-1])
        said = said.get("rows", {}).get(row, said)
        measured, passed = said["measured"], said["passed"]
    except (IndexError, orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        what = f"no measurement in its last line; it ended with status {status}"
        raise ScorecardError(what) from error
    if not isinstance(measured, str) or not measured or not isinstance(passed, bool):
        raise ScorecardError("`measured` is a text and `passed` is true or false")
    return measured, passed


def run(command: str) -> tuple[str, int]:
    """Run a command, showing what it prints. Blocks for as long as it takes.

    Returns:
        Its output and its exit status.

    """
    with subprocess.Popen(
        command, shell=True, executable="/bin/bash", cwd=ROOT, text=True, stdout=subprocess.PIPE
    ) as process:
        output = ""
        for line in process.stdout or ():
            sys.stdout.write(f"  {line}")
            output += line
    return output, process.returncode


def _commit(*, dirty: bool) -> str:
    """The commit that is measured, with a mark if it is not quite that.

    Raises:
        ScorecardError: There are changes, and nobody said that this is all right.

    """
    changes = _git("status", "--porcelain", "--", ".", ":!docs/scorecard.*")
    commit = _git("rev-parse", "--short", "HEAD")
    if not changes:
        return commit
    if not dirty:
        raise ScorecardError("there are changes that are not committed (--dirty measures them)")
    return f"{commit} and changes"


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        check=True,
    ).stdout.strip()


def main(arguments: list[str]) -> int:
    """Measure rows, or only make the page. Returns 1 when a row is not met, 2 when nothing was."""
    parser = argparse.ArgumentParser(prog="scripts/scorecard", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="names of rows; else all of them")
    parser.add_argument("--page", action="store_true", help="measure nothing, make the page anew")
    parser.add_argument("--dirty", action="store_true", help="measure what is not committed")
    args = parser.parse_args(arguments)
    try:
        rows = read(DATA.read_text(encoding="utf-8"))
        if not args.page:
            return _measure_rows(rows, args.rows or [row.row for row in rows], dirty=args.dirty)
        PAGE.write_text(page(rows), encoding="utf-8")
    except ScorecardError as error:
        sys.stderr.write(f"scorecard: {error}\n")
        return 2
    return 0


def _measure_rows(rows: list[Row], names: list[str], *, dirty: bool) -> int:
    """Measure rows one by one, and keep what is measured even if the next one fails.

    What several rows have for a command is run once.
    """
    known = [row.row for row in rows]
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise ScorecardError(f"no such row: {', '.join(unknown)}; there is: {', '.join(known)}")
    commit = _commit(dirty=dirty)
    worst = 0
    ran: dict[str, tuple[str, int]] = {}
    for index, row in enumerate(rows):
        if row.row not in names:
            continue
        if row.command not in ran:
            sys.stdout.write(f"{row.row}: {row.command}\n")
            ran[row.command] = run(row.command)
        try:
            measured, passed = verdict_of(*ran[row.command], row.row)
        except ScorecardError as error:
            sys.stderr.write(f"scorecard: {row.row}: {error}\n")
            worst = 2
            continue
        rows[index] = attrs.evolve(
            row,
            measured=measured,
            passed=passed,
            date=datetime.now(UTC).date().isoformat(),
            commit=commit,
        )
        sys.stdout.write(f"{row.row}: {measured}: {'met' if passed else 'NOT MET'}\n")
        worst = max(worst, 0 if passed else 1)
        DATA.write_text(write(rows), encoding="utf-8")
        PAGE.write_text(page(rows), encoding="utf-8")
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
