"""Files of tools: what is taken from them, and how a mistake in one is told."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from actors.toolbox import Toolbox
from gateway.tools.tool_files import ToolFileError, load_tools, tool

ORDERS = '''
from dataclasses import dataclass
from gateway import tool
from actors.control import CallControl

@dataclass
class Order:
    number: int

def _price(number: int) -> int:
    return 100 * number

@tool
def price(number: int) -> int:
    """What an order costs.

    More words, for whoever reads the file.
    """
    return _price(number)

@tool
async def agent(order: Order, call: CallControl) -> str:
    """Who speaks."""
    return f"{call.facts.agent} {order.number}"
'''


def file(folder: Path, text: str, name: str = "orders.py") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def names(box: Toolbox) -> list[str]:
    return [schema.name for schema in box.schemas()]


async def test_every_function_with_the_mark_is_a_tool_and_no_other(tmp_path: Path) -> None:
    box = load_tools([file(tmp_path, ORDERS)])

    assert names(box) == ["price", "agent"]
    assert box.schemas()[0].description == "What an order costs."
    assert json.loads(await box.run("price", '{"number": 3}')) == 300
    assert set(box.schemas()[1].parameters["properties"]) == {"order"}


async def test_the_last_definition_of_a_name_wins(tmp_path: Path) -> None:
    other = (
        'from gateway import tool\n\n@tool\ndef price() -> str:\n    """Free."""\n    return "0"\n'
    )
    box = load_tools([file(tmp_path, ORDERS), file(tmp_path, other, "free.py")])

    assert sorted(names(box)) == ["agent", "price"]
    assert json.loads(await box.run("price", "{}")) == "0"


async def test_a_file_that_was_edited_is_read_again_and_a_loaded_one_stays(tmp_path: Path) -> None:
    """Also within the second in which bytecode would be taken for current."""
    path = file(tmp_path, ORDERS)
    before = load_tools([path])
    path.write_text(ORDERS.replace("100 *", "200 *"))

    assert json.loads(await load_tools([path]).run("price", '{"number": 3}')) == 600
    assert json.loads(await before.run("price", '{"number": 3}')) == 300
    assert os.listdir(tmp_path) == ["orders.py"]  # noqa: PTH208 - nobody waits for it.


MARK = "from gateway import tool\n\n"
LATER = "from __future__ import annotations\nimport datetime\nfrom gateway import tool\n\n"


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        pytest.param("def f(:\n", 1, "invalid syntax", id="syntax"),
        pytest.param("x = 1\nraise RuntimeError('no database')\n", 2, "no database", id="raises"),
        pytest.param("import nothing_of_that_name\n", 1, "nothing_of_that_name", id="import"),
        pytest.param("raise SystemExit(3)\n", 1, "SystemExit", id="exits"),
        pytest.param("def price() -> int:\n    return 1\n", None, "has no tools", id="no-mark"),
        pytest.param(f"{MARK}@tool\ndef f(x): ...\n", 3, "x has no annotation", id="annotation"),
        pytest.param(f"{MARK}@tool\ndef f(x: 'Nowhere'): ...\n", 3, "Nowhere", id="unknown-type"),
        pytest.param(f"{MARK}@tool\ndef hangup(): ...\n", 3, "has that one", id="hangup"),
        pytest.param("x = '\0'", None, "null bytes", id="binary"),
        pytest.param(f"x = 1{'+1' * 20_000}", None, "RecursionError", id="too-deep"),
        pytest.param(
            f"{LATER}@tool\ndef f(x: datetime.Date): ...\n", 5, "Date", id="misspelt-type"
        ),
        pytest.param(f"{LATER}@tool\ndef f(x: {{}}['a']): ...\n", 5, "KeyError", id="odd-type"),
        pytest.param(f"{MARK}@tool\ndef größe(): ...\n", 3, "größe", id="name-no-model-takes"),
        pytest.param(f"{MARK}@tool\ndef {'f' * 65}(): ...\n", 3, "64 letters", id="long-name"),
        pytest.param(f"{MARK}@tool\nclass A: ...\n", None, "it is a class", id="class"),
        pytest.param(f"{MARK}@tool\nasync def f(): yield 1\n", 3, "it yields", id="yields"),
        pytest.param(
            f"{MARK}@tool\ndef f(a: str = 5): ...\n", 3, "default of a does not fit", id="default"
        ),
        pytest.param(
            f"from actors.control import CallControl\n{MARK}@tool\n"
            "def f(a: CallControl | None): ...\n",
            4,
            "a has to be CallControl alone",
            id="maybe-a-call",
        ),
        pytest.param(f"{MARK}f = tool(lambda: 1)\n", 3, "lambda", id="no-name-of-its-own"),
        pytest.param(
            f"{MARK}@tool(longest_s='5')\ndef f(): ...\n", 3, "in seconds, not '5'", id="no-time"
        ),
        pytest.param(
            f"{MARK}@tool(read_back='Cancel {{ordr}}.')\ndef f(order: int): ...\n",
            3,
            "read_back holds {ordr}, and there is no such parameter",
            id="read-back-of-nothing",
        ),
        pytest.param(
            f"{MARK}@tool(read_back='{{order.real}}')\ndef f(order: int): ...\n",
            3,
            "a brace that is not around the name of a parameter",
            id="read-back-that-is-code",
        ),
        pytest.param(
            f"{MARK}@tool(read_back=' ')\ndef f(): ...\n", 3, "is a sentence", id="read-back-empty"
        ),
        pytest.param(
            f"{MARK}@tool(read_back=3)\ndef f(): ...\n", 3, "is a sentence", id="read-back-odd"
        ),
        pytest.param(
            f"import functools\n{MARK}f = tool(functools.partial(print))\n",
            4,
            "has no name",
            id="no-function",
        ),
    ],
)
def test_a_mistake_names_file_and_line(
    tmp_path: Path, text: str, line: int | None, what: str
) -> None:
    path = file(tmp_path, text)
    modules = set(sys.modules)
    with pytest.raises(ToolFileError) as refused:
        load_tools([path])

    assert refused.value.line == line
    where = f"{path}: " if line is None else f"{path}:{line}: "
    assert str(refused.value).startswith(where)
    assert what in str(refused.value)
    assert {name for name in set(sys.modules) - modules if "offhook_tools" in name} <= {
        f"offhook_tools_{number}_orders" for number in range(10_000)
    }


PROXY = """
class Proxy:
    def __call__(self): ...
    def __getattr__(self, name): {answer}

proxy = Proxy()
"""


@pytest.mark.parametrize("answer", ["raise RuntimeError('not here')", "return 1"])
def test_an_object_that_answers_to_any_name_is_no_tool(tmp_path: Path, answer: str) -> None:
    """Proxies of frameworks and clients of databases stand at the top of many files."""
    box = load_tools([file(tmp_path, PROXY.format(answer=answer) + ORDERS)])

    assert sorted(names(box)) == ["agent", "price"]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ToolFileError, match=r"gone\.py: No such file"):
        load_tools([tmp_path / "gone.py"])


def test_a_host_adds_a_marked_function_on_the_terms_of_its_mark() -> None:
    @tool(risk="low", read_back="Look.", longest_s=20)
    def look_up() -> str:
        return "found"

    def pay() -> str:
        return "paid"

    box = Toolbox()
    box.add(look_up)
    box.add(pay)
    stricter = Toolbox()
    stricter.add(look_up, risk="high")

    first, second = box.schemas()
    assert (first.risk, first.read_back, first.longest_s) == ("low", "Look.", 20)
    assert second.risk == "high"
    assert [one.risk for one in stricter.schemas()] == ["high"]
