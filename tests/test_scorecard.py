"""The scorecard says what its data says, and its data only what was measured."""

from __future__ import annotations

import pytest

from tests.scorecard import DATA, PAGE, Row, ScorecardError, page, read, run, verdict_of, write

MET = Row(
    row="calls",
    promise="Calls | survive.",
    bar="2,000 calls",
    command="true | cat",
    measured="2,000 calls, 0 violations",
    passed=True,
    date="2026-11-20",
    commit="abc1234",
)
MISSED = Row(
    row="speed",
    promise="It is fast.",
    bar="300",
    command="true",
    measured="70",
    passed=False,
    date="2026-11-20",
    commit="abc1234",
)
OPEN = Row(row="soak", promise="It lasts.", bar="24 h", command="true")


def test_the_page_is_what_the_data_makes() -> None:
    """Else: `./scripts/scorecard --page`."""
    assert PAGE.read_text(encoding="utf-8") == page(read(DATA.read_text(encoding="utf-8")))


def test_the_data_is_written_as_it_is_read() -> None:
    """By hand or by the script: the file looks the same."""
    text = DATA.read_text(encoding="utf-8")

    assert write(read(text)) == text


def test_a_page_is_honest_about_what_is_not_met() -> None:
    made = page([MET, MISSED, OPEN])

    assert "Promises: 3. Met: 1. Not met: 1. Not measured yet: 1." in made
    assert "| speed | It is fast. | 300 | 70 | **not met** | 2026-11-20 | `abc1234` |" in made
    assert "| soak | It lasts. | 24 h |  | not measured yet |  |  |" in made


def test_a_bar_in_a_cell_does_not_end_the_cell() -> None:
    assert "| calls | Calls \\| survive. |" in page([MET])


def test_a_command_says_what_it_measured_in_its_last_line() -> None:
    output, status = run('echo working; echo \'{"measured": "7", "passed": true, "n": 7}\'')

    assert verdict_of(output, status, "any") == ("7", True)


def test_a_command_may_say_it_for_each_of_its_rows() -> None:
    a = '{"measured": "8", "passed": false}'
    output = f'{{"measured": "7", "passed": true, "rows": {{"a": {a}}}}}'

    assert verdict_of(output, 0, "a") == ("8", False)
    assert verdict_of(output, 0, "b") == ("7", True)


@pytest.mark.parametrize(
    "output",
    [
        "",
        "all is well",
        "[1, 2]",
        '{"measured": "7"}',
        '{"measured": 7, "passed": true}',
        '{"measured": "", "passed": true}',
        '{"measured": "7", "passed": "yes"}',
        '{"measured": "7", "passed": true}\nTraceback',
    ],
)
def test_whatever_does_not_say_what_it_measured_is_no_measurement(output: str) -> None:
    with pytest.raises(ScorecardError):
        verdict_of(output, 1, "any")


@pytest.mark.parametrize(
    "change",
    [
        "passed: true",
        "measured: seven",
        "measured: seven\n  passed: true",
        "command: 'false'\n  by: me",
    ],
)
def test_data_that_claims_what_nobody_measured_is_refused(change: str) -> None:
    row = f"- row: a\n  promise: b\n  bar: c\n  command: d\n  {change}\n"
    with pytest.raises(ScorecardError):
        read(row)


def test_two_rows_of_one_name_are_refused() -> None:
    with pytest.raises(ScorecardError, match="two rows"):
        read(write([OPEN, OPEN]))
