"""`offhook simulate`, as somebody at a terminal meets it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import orjson
import pytest


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command, and what it says."""
    return subprocess.run(
        [sys.executable, "-m", "gateway", "simulate", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_one_seed_is_told_in_words() -> None:
    told = run("--seed", "1")

    assert told.returncode == 0, told.stderr
    for words in ("call 0 rings", "what goes wrong:", "F17: in call 0", "every invariant held"):
        assert words in told.stdout


def test_many_seeds_are_counted_and_the_last_line_is_json() -> None:
    counted = run("--seeds", "1:12", "--json")

    summary = orjson.loads(counted.stdout.splitlines()[-1])
    assert counted.returncode == 0, counted.stderr
    assert summary["passed"] is True
    assert summary["violations"] == []
    assert summary["calls"] >= 12
    assert summary["calls_struck"]
    assert summary["rows"]["audio"]["passed"] is True
    assert "Every invariant held." in counted.stderr


def test_with_the_bar_too_few_strikes_fail() -> None:
    counted = run("--seeds", "1:2", "--bar", "--jobs", "1")

    assert counted.returncode == 1
    assert "took effect in 0 calls only" in counted.stdout


def test_a_seeds_plan_can_be_printed_kept_and_played(tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(run("--seed", "1", "--show-plan").stdout)

    assert "id: F17" in plan.read_text()
    assert run("--seed", "1", "--plan", str(plan)).stdout == run("--seed", "1").stdout


def test_only_what_is_asked_for_goes_wrong() -> None:
    counted = run("--seeds", "1:20", "--faults", "f02", "--json", "--jobs", "1")
    quiet = run("--seeds", "1:5", "--faults", "none", "--json", "--jobs", "1")

    assert set(orjson.loads(counted.stdout)["calls_struck"]) == {"F02"}
    assert orjson.loads(quiet.stdout)["calls_struck"] == {}


def test_a_scenario_is_played_by_its_name() -> None:
    told = run("--seed", "3", "--faults", "none", "--scenario", "front-desk")

    assert told.returncode == 0, told.stdout + told.stderr
    assert "Acme Dental" in told.stdout


def test_what_is_simulated_and_what_is_not_is_listed() -> None:
    told = run("--list").stdout

    assert "F01, F02" in told
    assert "F52: There is one node" in told


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--seeds", "5:1"], "such as 1:1000"),
        (["--seeds", "some"], "such as 1:1000"),
        (["--faults", "F99"], "there is no fault F99; there is: F01"),
        (["--faults", "F36"], "F36 is not simulated: A tool that ignores cancellation"),
        (["--plan", "nowhere.yaml"], "nowhere.yaml: cannot be read"),
        (["--scenario", "front-dsk"], "did you mean `front-desk`?"),
        (["--soak", "ever"], "such as 24h"),
        (["--soak", "1h", "--lines", "0"], "from 1 to 100"),
        (["--seed", "1", "--seeds", "1:2"], "not allowed with"),
    ],
)
def test_bad_input_is_refused_with_the_way_out(arguments: list[str], words: str) -> None:
    refused = run(*arguments)

    assert refused.returncode == 2
    assert words in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_plan_with_a_typo_is_refused_where_it_is(tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text("faults:\n  - {id: mine, place: phone.up, do: dorp}\n")

    refused = run("--plan", str(plan), "--seed", "1")

    assert refused.returncode == 2
    assert "faults[0].do" in refused.stderr
    assert "did you mean `drop`?" in refused.stderr


def test_a_soak_too_short_to_compare_anything_does_not_pass() -> None:
    soaked = run("--soak", "0.1h", "--lines", "1", "--json")

    assert soaked.returncode == 1
    assert orjson.loads(soaked.stdout)["passed"] is False
    assert "soak for longer" in soaked.stderr


def test_stopped_it_tells_what_was_counted_and_leaves_no_process() -> None:
    command = [sys.executable, "-m", "gateway", "simulate", "--seeds", "1:100000", "--jobs", "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            time.sleep(4)
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            workers = [int(pid) for pid in children.read_text().split()]
            process.terminate()
            stdout, stderr = process.communicate(timeout=40)
        finally:
            process.kill()

    assert len(workers) >= 2
    assert process.returncode == 1
    assert b"stopped after" in stderr
    assert b"simulations with violations" in stdout
    for _ in range(100):
        if not any(is_running(pid) for pid in workers):
            break
        time.sleep(0.1)
    assert [pid for pid in workers if is_running(pid)] == []


def is_running(pid: int) -> bool:
    """Whether there is such a process, and it is not only waiting to be buried."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
