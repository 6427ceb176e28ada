"""What may import what, and what nobody writes. A test that fails shows who broke its rule."""

from __future__ import annotations

import ast
import random
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parent.parent
SOURCES: Final = sorted(
    path.relative_to(ROOT).as_posix()
    for room in ("actors", "gateway")
    for path in (ROOT / room).rglob("*.py")
)
PURE: Final = {"trio", "structlog", "time", "random", "gateway"}
FORBIDDEN: Final = {
    "actors/": {"gateway", "quart", "quart_trio", "hypercorn", "httpx", "trio_websocket", "os"},
    "actors/policy/": PURE | {"actors.wire", "actors.call"},
    "actors/wire/": PURE | {"actors.policy", "actors.call"},
    "actors/messages.py": PURE,
    "actors/errors.py": PURE,
    "actors/exits.py": PURE,
    "actors/ports.py": PURE,
}
SHARED: Final = {
    "approvals",
    "control",
    "errors",
    "exits",
    "lanes",
    "messages",
    "notes",
    "policy",
    "ports",
    "speaking",
    "wire",
}
"""What every actor may import."""
SPOKEN: Final = {
    "recording": {"CallerHeard", "AgentSent", "AgentCut", "RecordingFact"},
    "toolbox": {"ToolSchema"},
}
"""Messages and names that live with whom they are for."""
ASSEMBLY: Final = "actors/call.py"
"""The one who knows who exists."""
READS_THE_ENVIRONMENT: Final = {"gateway/configuration/config.py", "gateway/__main__.py"}
REHEARSES: Final = {"gateway/__main__.py", "gateway/rehearsal.py"}
OPENS_CHANNELS: Final = {"actors/lanes.py", "gateway/web/http1.py"}
"""The second fits Hypercorn's own interface, and is as bounded."""
EDGES: Final = {
    "gateway/app.py": {"secrets"},
    "gateway/phone_call.py": {"datetime.datetime.now"},
    "gateway/twilio/twilio_rest.py": {"random.uniform"},
    "gateway/lab/openai/model_server.py": {"time"},
    "gateway/lab/twilio/phone.py": {"secrets"},
    "gateway/lab/simulator/simulate_command.py": {"time"},
    "gateway/lab/twilio/webhooks.py": {"uuid.uuid4"},
}
"""Who hands in the real clock and the real dice: for tokens, the date of a record, the jitter of
retries, the ids of a rehearsal over real sockets, and how long somebody waited for a simulation.
Everybody else is handed them."""
LAB: Final = "gateway/lab/"


def tree(path: str) -> ast.Module:
    return ast.parse((ROOT / path).read_text())


def imports(path: str) -> set[str]:
    """Every module a file imports, at any depth and under any condition, and its parents."""
    found: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide what they import"
            module = node.module or ""
            found.add(module)
            found.update(f"{module}.{alias.name}" for alias in node.names)
    parts = (name.split(".") for name in found)
    return {".".join(names[: end + 1]) for names in parts for end in range(len(names))}


def calls(path: str) -> Iterator[tuple[str, ast.Call]]:
    """Every call in a file, by its dotted name without subscripts."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            function = node.func.value if isinstance(node.func, ast.Subscript) else node.func
            yield ast.unparse(function), node


def test_there_is_something_to_look_at() -> None:
    assert len([path for path in SOURCES if path.startswith("actors/")]) > 15
    assert ASSEMBLY in SOURCES


@pytest.mark.parametrize("place", sorted(FORBIDDEN))
def test_each_layer_imports_only_what_is_below_it(place: str) -> None:
    wrong = {
        path: names
        for path in SOURCES
        if path.startswith(place) and (names := imports(path) & FORBIDDEN[place])
    }

    assert wrong == {}


def test_an_actor_imports_no_other_actor() -> None:
    """Of another it knows the messages, at most; who exists is the call's business."""
    actors = {Path(path).stem for path in SOURCES if Path(path).parent == Path("actors")}
    actors -= SHARED | {"__init__"}
    wrong = {
        f"{path}: {name}"
        for path in SOURCES
        if path.startswith("actors/") and path != ASSEMBLY
        for name in imports(path)
        for module in actors
        if name.startswith(f"actors.{module}.")
        and name.removeprefix(f"actors.{module}.") not in SPOKEN.get(module, set())
    }

    assert wrong == set()


def test_only_the_configuration_reads_the_environment() -> None:
    wrong = {
        path
        for path in SOURCES
        for node in ast.walk(tree(path))
        if ast.unparse(node) in {"os.environ", "os.getenv", "os.environb"}
    }

    assert wrong <= READS_THE_ENVIRONMENT


def test_a_real_call_needs_nothing_of_the_rehearsal() -> None:
    wrong = {
        path for path in SOURCES if not path.startswith(LAB) and "gateway.lab" in imports(path)
    }

    assert wrong <= REHEARSES


def test_nobody_swallows_a_cancellation() -> None:
    wrong = {
        f"{path}:{node.lineno}"
        for path in SOURCES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ExceptHandler)
        and (
            node.type is None
            or {"BaseException", "BaseExceptionGroup", "Cancelled"} & names(node.type)
        )
    }

    assert wrong == set()


def names(node: ast.expr) -> set[str]:
    """Every name in an expression, whatever it is an attribute of."""
    return {
        part.id if isinstance(part, ast.Name) else part.attr
        for part in ast.walk(node)
        if isinstance(part, ast.Name | ast.Attribute)
    }


def test_every_channel_is_a_lane() -> None:
    wrong = {
        path
        for path in SOURCES
        if not path.startswith(LAB)
        for name, _ in calls(path)
        if name.endswith("open_memory_channel")
    }

    assert wrong <= OPENS_CHANNELS


def test_no_channel_is_unbounded() -> None:
    wrong = {
        f"{path}:{call.lineno}"
        for path in SOURCES
        for name, call in calls(path)
        if name.endswith("open_memory_channel") and ("inf" in ast.unparse(call) or not call.args)
    }

    assert wrong == set()


def test_every_lane_of_a_call_has_a_name_and_a_bound_that_can_be_set() -> None:
    lanes = [call for name, call in calls(ASSEMBLY) if name == "Lane"]

    assert len(lanes) >= 8
    for lane in lanes:
        name, size, *_ = lane.args
        assert isinstance(name, ast.Constant)
        assert ast.unparse(size).startswith("limits.")
    assert len({ast.unparse(lane.args[0]) for lane in lanes}) == len(lanes)


def test_lanes_are_made_by_the_call_alone() -> None:
    wrong = {
        path
        for path in SOURCES
        if path.startswith("actors/") and path != ASSEMBLY
        for name, _ in calls(path)
        if name == "Lane"
    }

    assert wrong == set()


def used(path: str) -> set[str]:
    """Every imported name a file uses, by what it is called at home, and its parents."""
    homes: dict[str, str] = {}
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                homes[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                homes[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    found: set[str] = set(homes.values())
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Attribute):
            first, *rest = ast.unparse(node).split(".")
            if first in homes:
                found.add(".".join([homes[first], *rest]))
    parts = (name.split(".") for name in found)
    return {".".join(names[: end + 1]) for names in parts for end in range(len(names))}


def banned() -> set[str]:
    """The wall's clock and everybody's dice, as the linter knows them."""
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    return set(lint["flake8-tidy-imports"]["banned-api"])


def test_time_and_chance_come_from_outside() -> None:
    """So that a whole gateway can run twice the same way. The linter says it where it happens."""
    found = {path: names for path in SOURCES if (names := used(path) & banned())}

    assert found == EDGES


def test_the_linter_forgives_no_file_that_we_do_not() -> None:
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    forgiven = {path for path, rules in lint["per-file-ignores"].items() if "TID251" in rules}

    assert forgiven <= {"tests/*", *EDGES}


def test_every_function_of_chance_is_banned() -> None:
    assert {f"random.{name}" for name in random.__all__ if name != "Random"} <= banned()


def test_every_random_has_a_seed() -> None:
    """`Random()` asks the system for one."""
    wrong = {
        f"{path}:{call.lineno}"
        for path in SOURCES
        for name, call in calls(path)
        if (name.endswith("Random") and not call.args)
        or any(
            keyword.arg == "factory" and ast.unparse(keyword.value).endswith("Random")
            for keyword in call.keywords
        )
    }

    assert wrong == set()


def test_every_shield_has_a_deadline() -> None:
    wrong = {
        f"{path}:{call.lineno}"
        for path in SOURCES
        for name, call in calls(path)
        if any(keyword.arg == "shield" for keyword in call.keywords)
        and not name.endswith(("move_on_after", "move_on_at", "fail_after", "fail_at"))
    }

    assert wrong == set()


@pytest.mark.parametrize("room", ["actors", "actors/policy", "actors/wire"])
def test_messages_and_policies_carry_no_type_of_a_peers_library(room: str) -> None:
    wrong = {
        path
        for path in SOURCES
        if Path(path).parent == Path(room) and {"openai", "twilio"} & imports(path)
    }

    assert wrong == set()
