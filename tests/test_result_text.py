"""A result as JSON text: the same as `json.dumps` says where it can, and something where not."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.policy.result_text import DEPTH_MAX, INTEGER_MAX_BITS, RESULT_MAX_CHARS, pieces

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


def text(value: object) -> str:
    return "".join(pieces(value))


@given(JSON)
def test_what_json_has_words_for_is_said_as_ever(value: Any) -> None:  # noqa: ANN401
    assert text(value) == json.dumps(value, ensure_ascii=False)


@given(
    st.recursive(
        st.binary() | st.floats() | st.dates() | st.sets(st.integers()) | st.none(),
        lambda inner: st.tuples(inner, inner) | st.dictionaries(st.integers() | st.none(), inner),
        max_leaves=20,
    )
)
def test_what_it_has_none_for_is_json_all_the_same(value: object) -> None:
    json.loads(text(value))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (b"\x00\xff", '"2 bytes"'),
        (date(2026, 11, 24), '"2026-11-24"'),
        ({1: True, None: 2.5, "a": ()}, '{"1": true, "null": 2.5, "a": []}'),
        (float("inf"), '"inf"'),
        (1 << INTEGER_MAX_BITS, f'"a number of {INTEGER_MAX_BITS + 1} bits"'),
        ({}, "{}"),
    ],
)
def test_a_value_is_said_in_few_words(value: object, said: str) -> None:
    assert text(value) == said


def test_what_contains_itself_is_said_once_and_what_comes_twice_is_said_twice() -> None:
    inner: list[object] = [1]
    outer: dict[str, object] = {"a": inner, "b": inner}
    outer["c"] = outer

    assert text(outer) == '{"a": [1], "b": [1], "c": "..."}'


def test_depth_is_bounded() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]

    assert text(deep) == "[" * DEPTH_MAX + '"..."' + "]" * DEPTH_MAX


def test_a_long_text_is_cut_before_it_is_written_down() -> None:
    assert len(next(pieces("x" * (RESULT_MAX_CHARS + 5)))) == RESULT_MAX_CHARS + 2


def test_who_stops_reading_has_paid_for_nothing_more() -> None:
    read: list[int] = []

    class Told(list[int]):
        """Stands for a list of a million, and notes how far it was read."""

        def __iter__(self) -> Any:  # noqa: ANN401 - any iterator.
            for number in range(10**6):
                read.append(number)
                yield number

    some = pieces(Told())
    for _ in range(10):
        next(some)

    assert len(read) <= 10
