"""Schemas of somebody else's: what is kept of them means the same, and takes little time."""

from __future__ import annotations

from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.mcp.schema import SCHEMA_MAX_BYTES, Unusable, mismatches, plain, usable
from tests.growth import LINEAR, growth

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.5, 1.0, "", "a", "ab"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=6,
)
TYPES = st.sampled_from(["string", "integer", "number", "boolean", "array", "object", "null"])
COUNTS = st.integers(0, 2)
PLAIN = st.fixed_dictionaries(
    {},
    optional={
        "type": TYPES | st.lists(TYPES, min_size=1, max_size=2, unique=True),
        "enum": st.lists(VALUES, min_size=1, max_size=3),
        "const": VALUES,
        "minimum": COUNTS,
        "exclusiveMaximum": COUNTS,
        "minLength": COUNTS,
        "maxLength": COUNTS,
        "maxItems": COUNTS,
        "minProperties": COUNTS,
        "pattern": st.sampled_from(["^a", "b$", "a*"]),
        "required": st.lists(st.sampled_from("abc"), max_size=2, unique=True),
        "description": st.just("words"),
    },
)


def larger(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    several = st.lists(inner, min_size=1, max_size=2)
    return st.builds(
        lambda plain, more: plain | more,
        PLAIN,
        st.fixed_dictionaries(
            {},
            optional={
                "properties": st.dictionaries(st.sampled_from("abc"), inner, max_size=2),
                "additionalProperties": st.booleans() | inner,
                "items": inner,
                "prefixItems": several,
                "anyOf": several,
                "oneOf": several,
                "allOf": several,
            },
        ),
    )


SCHEMAS = st.recursive(PLAIN, larger, max_leaves=5)


@settings(max_examples=100, deadline=None)
@given(SCHEMAS, VALUES)
def test_what_fits_is_what_the_reference_says(schema: dict[str, Any], value: object) -> None:
    """Wrapped, since arguments are an object."""
    whole = usable({"properties": {"x": schema}})
    fits = jsonschema.Draft202012Validator(schema).is_valid(value)

    assert (next(mismatches(whole, {"x": value}), None) is None) == fits


def test_references_are_written_out() -> None:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$defs": {
            "When": {"type": "string", "description": "a day"},
            "Two": {"$ref": "#/$defs/When"},
        },
        "properties": {"a": {"$ref": "#/$defs/Two"}, "b": {"$ref": "#/$defs/When", "default": "x"}},
        "required": ["a"],
    }

    assert usable(schema) == {
        "type": "object",
        "properties": {
            "a": {"type": "string", "description": "a day"},
            "b": {"type": "string", "description": "a day", "default": "x"},
        },
        "required": ["a"],
    }


def doubling(depth: int) -> dict[str, Any]:
    """A small schema that is large when it is written out."""
    return {
        "$defs": {f"n{at}": {"allOf": [{"$ref": f"#/$defs/n{at + 1}"}] * 2} for at in range(depth)}
        | {f"n{depth}": {}},
        "properties": {"a": {"$ref": "#/$defs/n0"}},
    }


def deep(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(depth):
        schema = {"properties": {"a": schema}}
    return schema


@pytest.mark.parametrize(
    "schema",
    [
        None,
        [],
        {"type": "string"},
        {"type": ["object", "null"]},
        {"properties": {"a": {"$ref": "#"}}},
        {"properties": {"a": {"$ref": "#/properties/a"}}},
        {"properties": {"a": {"$ref": "http://127.0.0.1/x.json"}}},
        {"properties": {"a": {"$ref": "file:///etc/passwd"}}},
        {"properties": {"a": {"$ref": "#/nowhere"}}},
        {"properties": {"a": {"$ref": 1}}},
        {"properties": {"a" * 65: {}}},
        {"properties": {"a\n": {}}},
        {"properties": {"a": 1}},
        {"properties": {"a": {"type": "date"}}},
        {"properties": {"a": {"enum": list(range(301))}}},
        {"properties": {"a": {"minimum": "1"}}},
        {"properties": {"a": {"minimum": float("nan")}}},
        {"properties": {"a": {"default": 10**30}}},
        {"properties": {"a": {"anyOf": []}}},
        {"required": "a"},
        {"description": "x" * SCHEMA_MAX_BYTES},
        doubling(12),
        deep(20),
        deep(2_000),
    ],
)
def test_what_is_no_schema_or_too_much_is_not_used(schema: object) -> None:
    with pytest.raises(Unusable):
        usable(schema)


def test_what_takes_long_is_left_to_the_server() -> None:
    """Neither a pattern that backtracks nor a thousand forms for a thousand values."""
    pattern = usable({"properties": {"a": {"pattern": "^(a+)+$"}, "b": {"pattern": "(?=a)"}}})
    forms = [{"const": number} for number in range(600)]
    many = usable({"properties": {"a": {"items": {"anyOf": forms}}}})
    found = list(mismatches(pattern, {"a": "a" * 8_000 + "b"}))
    found += mismatches(many, {"a": [-1] * 3_000})

    assert found == ["a: must be of the form ^(a+)+$"]
    assert "pattern" not in pattern["properties"]["b"]
    assert growth(lambda size: list(mismatches(pattern, {"a": "a" * size + "b"})), 500) < LINEAR
    assert growth(lambda size: list(mismatches(many, {"a": [-1] * size})), 200) < LINEAR


def test_an_unseen_character_is_left_out_of_a_text() -> None:
    assert plain("a\u202eb\x00c\ud800\u200bd\n") == "abcd"
    assert plain(None) == ""
    assert len(plain("x" * 5_000)) == 1_024
