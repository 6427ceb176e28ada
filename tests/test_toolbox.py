from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import attrs
import pydantic
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from actors.control import CallControl
from actors.errors import ToolRefused
from actors.toolbox import ARGUMENTS_MAX_CHARS, THREADS_MAX, Toolbox, ToolSchema
from tests.calls import RefusingCall


class Address(pydantic.BaseModel):
    street: str
    number: int = 1


@dataclass
class Window:
    opens: str
    closes: str


async def book(
    name: str,
    seats: int,
    *,
    price: float = 9.5,
    vegan: bool = False,
    size: Literal["small", "large"] = "small",
    note: str | None = None,
    days: list[int] | None = None,
) -> dict[str, object]:
    """Book a table.

    The model does not get to read this.
    """
    await trio.lowlevel.checkpoint()
    order = {"name": name, "seats": seats, "price": price, "vegan": vegan}
    return {**order, "size": size, "note": note, "days": days}


async def deliver(to: Address, when: Window) -> str:
    """Bring it."""
    await trio.lowlevel.checkpoint()
    return f"{type(to).__name__} {to.street} {to.number} {when.opens}"


async def now() -> str:
    """Tell the time."""
    await trio.lowlevel.checkpoint()
    return "noon"


def box(*functions: Callable[..., Any]) -> Toolbox:
    toolbox = Toolbox()
    for function in functions:
        toolbox.add(function)
    return toolbox


async def refusal(toolbox: Toolbox, name: str, arguments: str) -> str:
    with pytest.raises(ToolRefused) as refused:
        await toolbox.run(name, arguments)
    return refused.value.reason


def test_a_signature_is_a_schema() -> None:
    (schema,) = box(book).schemas()
    properties = schema.parameters["properties"]

    assert (schema.name, schema.description) == ("book", "Book a table.")
    assert schema.parameters["type"] == "object"
    assert schema.parameters["required"] == ["name", "seats"]
    assert schema.parameters["additionalProperties"] is False
    assert {name: part.get("type") for name, part in properties.items()} == {
        "name": "string",
        "seats": "integer",
        "price": "number",
        "vegan": "boolean",
        "size": "string",
        "note": None,
        "days": None,
    }
    assert properties["size"]["enum"] == ["small", "large"]
    assert properties["price"]["default"] == 9.5
    assert [part["type"] for part in properties["note"]["anyOf"]] == ["string", "null"]
    assert properties["days"]["anyOf"][0]["items"] == {"type": "integer"}


def test_a_function_without_parameters_takes_an_empty_object() -> None:
    assert box(now).schemas() == (
        ToolSchema(
            "now",
            "Tell the time.",
            {"type": "object", "properties": {}, "additionalProperties": False},
        ),
    )


def test_schemas_come_in_the_order_of_registration() -> None:
    assert [schema.name for schema in box(now, book, deliver).schemas()] == [
        *("now", "book", "deliver"),
    ]


def test_a_schema_is_json() -> None:
    for schema in box(now, book, deliver).schemas():
        assert json.loads(json.dumps(schema.parameters)) == schema.parameters


def test_adding_gives_the_function_back() -> None:
    assert Toolbox().add(now) is now


def unannotated(day) -> str:  # type: ignore[no-untyped-def]  # noqa: ANN001 - the point.
    return str(day)


def variadic(*days: int) -> int:
    return sum(days)


def positional(day: int, /) -> int:
    return day


def keyworded(**days: int) -> int:
    return sum(days.values())


def private(_day: int) -> int:
    return _day


def hangup(reason: str) -> str:
    return reason


def unspeakable(lock: threading.Event) -> bool:
    return lock.is_set()


def unsayable(callback: Callable[[], int]) -> int:
    return callback()


@pytest.mark.parametrize(
    ("function", "parameter"),
    [
        (unannotated, "day"),
        (variadic, "days"),
        (positional, "day"),
        (keyworded, "days"),
        (private, "_day"),
        (hangup, ""),
        (unspeakable, ""),
        (unsayable, ""),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_function_no_model_could_call_is_refused_at_once(
    function: Callable[..., Any], parameter: str
) -> None:
    with pytest.raises(TypeError, match=f"tool {function.__name__}: .*{parameter}"):
        box(function)


def test_a_second_function_of_the_same_name_is_refused() -> None:
    """Whichever the model meant, it would be the wrong one."""
    toolbox = box(now)
    with pytest.raises(TypeError, match="tool now"):
        toolbox.add(now)


async def test_arguments_arrive_as_what_the_signature_says() -> None:
    toolbox = box(book, deliver, now)
    booked = await toolbox.run("book", '{"name":"Ada","seats":2,"days":[1,2],"note":null}')
    brought = await toolbox.run(
        "deliver", '{"to":{"street":"Elm"},"when":{"opens":"8","closes":"9"}}'
    )

    assert json.loads(booked) == {
        "name": "Ada",
        "seats": 2,
        "price": 9.5,
        "vegan": False,
        "size": "small",
        "note": None,
        "days": [1, 2],
    }
    assert json.loads(brought) == "Address Elm 1 8"


@pytest.mark.parametrize("arguments", ["", "{}", " {} "])
async def test_no_arguments_are_no_arguments(arguments: str) -> None:
    assert await box(now).run("now", arguments) == '"noon"'


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ('{"seats":2}', "name"),
        ('{"name":"Ada","seats":"secret"}', "seats"),
        ('{"name":"Ada","seats":2.5}', "seats"),
        ('{"name":"Ada","seats":2,"size":"secret"}', "size"),
        ('{"name":"Ada","seats":2,"days":[1,"secret"]}', "days.1"),
        ('{"name":"Ada","seats":2,"days":{"secret":1}}', "days"),
        ('{"name":["secret"],"seats":2}', "name"),
        ('{"name":"Ada","seats":2,"colour":"secret"}', "colour"),
        ('{"name":"secret","seats":', "arguments"),
        ('["secret"]', "arguments"),
        ('"secret"', "arguments"),
        ("null", "arguments"),
        ("secret", "arguments"),
        ("[" * 5_000, "arguments"),
        ('{"name":"\\ud800 secret","seats":2}', "arguments"),
    ],
)
async def test_a_refusal_names_the_argument_and_quotes_no_value(arguments: str, named: str) -> None:
    reason = await refusal(box(book), "book", arguments)

    assert reason.startswith("bad arguments: ")
    assert f"{named}: " in reason
    assert "secret" not in reason


async def test_every_argument_that_does_not_fit_is_named() -> None:
    reason = await refusal(box(book), "book", '{"seats":"x","price":"y"}')

    assert all(f"{name}: " in reason for name in ("name", "seats", "price"))


async def test_an_unknown_tool_is_refused_with_the_known_ones() -> None:
    reason = await refusal(box(now, book), "buy", "{}")

    assert reason == "there is no tool 'buy'; there are: now, book, hangup"


async def test_arguments_as_long_as_the_bound_are_read() -> None:
    toolbox = box(book)
    frame = len('{"name":"","seats":2}')
    longest = "x" * (ARGUMENTS_MAX_CHARS - frame)

    assert longest in await toolbox.run("book", f'{{"name":"{longest}","seats":2}}')
    reason = await refusal(toolbox, "book", f'{{"name":"{longest}x","seats":2}}')
    assert str(ARGUMENTS_MAX_CHARS) in reason


@attrs.frozen
class Opaque:
    """Stands for a result that JSON has no word for."""

    value: int


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (None, "null"),
        (True, "true"),
        ("noon", '"noon"'),
        ("Zwölf ☎", '"Zwölf ☎"'),
        ({"a": [1, 2.5, None]}, '{"a": [1, 2.5, null]}'),
        ((1, 2), "[1, 2]"),
        (Opaque(3), '"Opaque(value=3)"'),
        ({(1, 2): 3}, '{"(1, 2)": 3}'),
        ({"a": Opaque(3)}, '{"a": "Opaque(value=3)"}'),
        (float("nan"), '"nan"'),
        ([float("inf")], '["inf"]'),
        ("half a \ud83d", '"half a ?"'),
    ],
    ids=repr,
)
async def test_a_result_is_json_whatever_it_is(result: object, text: str) -> None:
    async def tell() -> object:
        await trio.lowlevel.checkpoint()
        return result

    said = await box(tell).run("tell", "{}")

    assert said == text
    json.loads(said)
    said.encode()


async def test_a_result_that_contains_itself_is_text() -> None:
    endless: list[object] = []
    endless.append(endless)

    async def tell() -> object:
        await trio.lowlevel.checkpoint()
        return endless

    assert await box(tell).run("tell", "{}") == '["..."]'


async def test_what_a_function_raises_comes_through() -> None:
    async def fail() -> None:
        await trio.lowlevel.checkpoint()
        raise KeyError("day")

    with pytest.raises(KeyError, match="day"):
        await box(fail).run("fail", "{}")


async def test_a_plain_function_runs_in_a_thread_beside_the_call() -> None:
    """The call goes on meanwhile: the function waits for what only the call can do."""
    call = threading.current_thread()
    go = threading.Event()

    def look_up(day: str) -> str:
        """Look it up in a blocking library."""
        assert go.wait(5)
        return f"{day} {threading.current_thread() is call}"

    said: list[str] = []

    async def run() -> None:
        said.append(await box(look_up).run("look_up", '{"day":"Monday"}'))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await trio.testing.wait_all_tasks_blocked()
        assert said == []
        go.set()

    assert said == ['"Monday False"']


async def test_a_plain_function_that_hangs_is_abandoned_and_its_place_kept() -> None:
    go, gone = threading.Event(), threading.Event()

    def hang() -> None:
        """Hang."""
        go.wait(5)
        gone.set()

    toolbox = box(hang)
    with trio.move_on_after(0.01) as deadline:
        await toolbox.run("hang", "{}")

    assert deadline.cancelled_caught
    assert not gone.is_set()
    assert toolbox._threads.borrowed_tokens == 1
    go.set()
    with trio.fail_after(5):
        while toolbox._threads.borrowed_tokens:  # noqa: ASYNC110 - a thread tells nobody.
            await trio.sleep(0.001)
    assert gone.is_set()


async def test_threads_are_bounded() -> None:
    """One more than there is room for waits, and can be cancelled while it does."""
    go = threading.Event()

    def hang() -> None:
        """Hang."""
        go.wait(5)

    toolbox = box(hang)
    async with trio.open_nursery() as nursery:
        for _ in range(THREADS_MAX + 1):
            nursery.start_soon(toolbox.run, "hang", "{}")
        await trio.testing.wait_all_tasks_blocked()
        assert toolbox._threads.borrowed_tokens == THREADS_MAX
        assert toolbox._threads.statistics().tasks_waiting == 1
        go.set()


async def test_an_async_function_is_cancelled_at_its_deadline(
    autojump_clock: trio.testing.MockClock,
) -> None:
    ended: list[float] = []

    async def wait() -> None:
        try:
            await trio.sleep(100)
        finally:
            ended.append(trio.current_time())

    began = trio.current_time()
    with trio.move_on_after(2):
        await box(wait).run("wait", "{}")

    assert ended == [began + 2]


@given(
    st.text()
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ).map(json.dumps)
)
def test_any_arguments_are_run_or_refused(arguments: str) -> None:
    async def run() -> None:
        try:
            await box(book).run("book", arguments)
        except ToolRefused as refused:
            refused.reason.encode()

    trio.run(run)


# The call itself.


@attrs.define(eq=False, kw_only=True)
class Changeable(RefusingCall):
    """Stands for a call of which only the persona changes."""

    changes: list[tuple[str | None, str | None]] = attrs.field(factory=list)
    threads: list[threading.Thread] = attrs.field(factory=list)

    async def collect_digits(
        self,
        *,
        most: int,
        end_key: str | None = "#",
        first_s: float = 10.0,
        between_s: float = 4.0,
        private: bool = False,
        fresh: bool = False,
    ) -> str:
        await trio.lowlevel.checkpoint()
        return f"{most}{end_key}{first_s}{between_s}{private}{fresh}"

    def change(self, *, instructions: str | None = None, language: str | None = None) -> None:
        self.threads.append(threading.current_thread())
        self.changes.append((instructions, language))


async def ask(city: str, call: CallControl) -> str:
    """Ask."""
    return f"{city} {call.facts.agent!r} {await call.collect_digits(most=1)}"


def persona(control: CallControl, name: str) -> str:
    """Become somebody else."""
    control.change(instructions=f"You are {name}.", language="de")
    return control.facts.agent


async def test_a_function_that_wants_the_call_is_given_it_and_the_model_knows_nothing() -> None:
    toolbox = box(ask)

    assert list(toolbox.schemas()[0].parameters["properties"]) == ["city"]
    output = json.loads(await toolbox.run("ask", '{"city": "Rome"}', Changeable()))
    assert output == "Rome '' 1#10.04.0FalseFalse"
    with pytest.raises(ToolRefused, match="call"):
        await toolbox.run("ask", '{"city": "Rome", "call": {}}', Changeable())


async def test_outside_a_call_it_is_refused() -> None:
    with pytest.raises(ToolRefused, match="only be run in a call"):
        await box(ask).run("ask", '{"city": "Rome"}')


async def test_a_plain_function_changes_the_call_in_the_calls_own_thread() -> None:
    call = Changeable()
    await box(persona).run("persona", '{"name": "Max"}', call)

    assert call.changes == [("You are Max.", "de")]
    assert call.threads == [threading.current_thread()]


async def test_a_plain_function_cannot_do_what_takes_time() -> None:
    def impatient(call: CallControl) -> None:
        """Press."""
        call.press("1")  # type: ignore[unused-coroutine]

    with pytest.raises(AttributeError, match="async def"):
        await box(impatient).run("impatient", "{}", Changeable())


def test_one_call_is_enough() -> None:
    async def both(one: CallControl, other: CallControl) -> None:
        """Want two."""

    with pytest.raises(TypeError, match="one and other are both the call"):
        Toolbox().add(both)
