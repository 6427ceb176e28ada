"""The part of JSON Schema that arguments of a function need: checked, and checked against. Pure.

A schema is what the model is told, word for word; so what is not understood here is a mistake, and
not ignored.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import pydantic
import pydantic_core

from gateway.configuration.convert import closest, nearest

Schema = dict[str, Any]

DEPTH_MAX: Final = 8
_TYPES: Final = ("string", "integer", "number", "boolean", "array", "object")
_COMMON: Final = ("type", "description", "enum")
_OWN: Final[Mapping[str, tuple[str, ...]]] = {
    "string": ("minLength", "maxLength", "pattern"),
    "integer": ("minimum", "maximum"),
    "number": ("minimum", "maximum"),
    "boolean": (),
    "array": ("items", "minItems", "maxItems"),
    "object": ("properties", "required", "additionalProperties"),
}
_LENGTHS: Final = ("minLength", "maxLength", "minItems", "maxItems")


def object_schema(table: Mapping[str, Any]) -> Schema:
    """The schema of arguments from what somebody wrote: a schema, or a table by name.

    In a table, each parameter is a schema with `required` in it, which is true unless it says so.
    What is wrong with it is found by `schema_flaws`, afterwards.
    """
    if table.get("type") == "object":
        return dict(table)
    properties: Schema = {}
    required: list[str] = []
    for name, one in table.items():
        if not isinstance(one, dict):
            properties[name] = one
            continue
        needed = one.get("required", True)
        if isinstance(needed, bool) and one.get("type") != "object":
            one = {key: value for key, value in one.items() if key != "required"}  # noqa: PLW2901
        if needed is not False:
            required.append(name)
        properties[name] = one
    return {"type": "object", "properties": properties, "required": required}


def closed(schema: Schema) -> Schema:
    """The same, with no room for arguments that it does not name."""
    if schema["type"] == "array" and "items" in schema:
        return schema | {"items": closed(schema["items"])}
    if schema["type"] != "object":
        return schema
    properties = {name: closed(one) for name, one in schema.get("properties", {}).items()}
    return schema | {"properties": properties, "additionalProperties": False}


def schema_flaws(schema: object, place: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    """What cannot be used of a schema: where in it, and the rest of a sentence."""
    if not isinstance(schema, dict):
        yield place, 'must be a table, as { type = "string" }'
        return
    if depth > DEPTH_MAX:
        yield place, f"is nested deeper than {DEPTH_MAX}, and no phone call is about that"
        return
    kind = schema.get("type")
    if kind not in _TYPES:
        near = closest(str(kind), _TYPES) or "string"
        shown = "is missing" if kind is None else f"is {kind!r}"
        yield (
            _join(place, "type"),
            f"{shown}: one of {', '.join(_TYPES)}; did you mean {near}?",
        )
        return
    known = (*_COMMON, *_OWN[kind])
    for key in schema:
        if key not in known:
            yield _join(place, key), f"is unknown for {_a(kind)}{nearest(key, known)}"
    if not isinstance(schema.get("description", ""), str):
        yield _join(place, "description"), "must be text in quotes"
    yield from _enum_flaws(schema, kind, place)
    yield from _bound_flaws(schema, place)
    if kind == "array" and "items" in schema:
        yield from schema_flaws(schema["items"], _join(place, "items"), depth + 1)
    if kind == "object":
        yield from _object_flaws(schema, place, depth)


def complaints(schema: Schema, value: object, place: str = "") -> Iterator[str]:
    """What is wrong with a value, for a model to do better. Quotes nothing of it."""
    shown = place or "arguments"
    kind: str = schema["type"]
    if not _is_a(value, kind):
        yield f"{shown}: must be {_a(kind)}"
        return
    if "enum" in schema and not any(_same(value, one) for one in schema["enum"]):
        yield f"{shown}: must be one of {', '.join(map(str, schema['enum']))}"
    if isinstance(value, str):
        yield from _size("characters", len(value), schema, ("minLength", "maxLength"), shown)
        if "pattern" in schema and not _fits(schema["pattern"], value):
            yield f"{shown}: must be of the form {schema['pattern']}"
    elif isinstance(value, dict):
        yield from _object_complaints(schema, value, place)
    elif isinstance(value, list):
        yield from _size("items", len(value), schema, ("minItems", "maxItems"), shown)
        if "items" in schema:
            for index, one in enumerate(value):
                yield from complaints(schema["items"], one, _join(place, str(index)))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        if value < schema.get("minimum", -math.inf):
            yield f"{shown}: must be {schema['minimum']} or more"
        if value > schema.get("maximum", math.inf):
            yield f"{shown}: must be {schema['maximum']} or less"


def _enum_flaws(schema: Schema, kind: str, place: str) -> Iterator[tuple[str, str]]:
    if "enum" not in schema:
        return
    values = schema["enum"]
    if not isinstance(values, list) or not values:
        yield _join(place, "enum"), 'must be a list of values, as ["a", "b"]'
    elif wrong := [one for one in values if not _is_a(one, kind)]:
        yield _join(place, "enum"), f"holds {wrong[0]!r}, which is no {kind}"


def _bound_flaws(schema: Schema, place: str) -> Iterator[tuple[str, str]]:
    for key in ("minimum", "maximum"):
        if key in schema and not _is_a(schema[key], "number"):
            yield _join(place, key), "must be a number, as 1"
    for key in _LENGTHS:
        if key in schema and not (_is_a(schema[key], "integer") and schema[key] >= 0):
            yield _join(place, key), "must be a whole number from 0 on, as 1"
    if "pattern" in schema:
        try:
            _compiled(schema["pattern"])
        except (pydantic_core.SchemaError, TypeError) as error:
            why = str(error).splitlines()[0] if isinstance(error, TypeError) else "no such pattern"
            yield _join(place, "pattern"), f"cannot be used ({why}); as ^[0-9]+$"


def _object_flaws(schema: Schema, place: str, depth: int) -> Iterator[tuple[str, str]]:
    properties = schema.get("properties", {})
    if not isinstance(properties, dict):
        yield _join(place, "properties"), "must be a table of schemas, by name"
        return
    for name, one in properties.items():
        yield from schema_flaws(one, _join(place, name), depth + 1)
    required = schema.get("required", [])
    if not isinstance(required, list):
        yield _join(place, "required"), 'must be a list of names, as ["order_id"]'
        return
    for name in required:
        if name not in properties:
            yield _join(place, "required"), f"holds {name!r}{_or_none(str(name), properties)}"
    if schema.get("additionalProperties", False) is not False:
        yield _join(place, "additionalProperties"), "must be false: what is not named is not sent"


def _object_complaints(schema: Schema, value: Mapping[str, Any], place: str) -> Iterator[str]:
    properties: Mapping[str, Schema] = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{_join(place, name)}: is missing"
    for name, one in value.items():
        if name in properties:
            yield from complaints(properties[name], one, _join(place, name))
        else:
            yield f"{place or 'arguments'}: holds what there is not; there is {_all(properties)}"


def _size(what: str, size: int, schema: Schema, keys: tuple[str, str], shown: str) -> Iterator[str]:
    least, most = schema.get(keys[0], 0), schema.get(keys[1], math.inf)
    if size < least:
        yield f"{shown}: must have {least} {what} or more"
    if size > most:
        yield f"{shown}: must have {most} {what} or fewer"


def _is_a(value: object, kind: str) -> bool:
    match kind:
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "number":
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            return is_number and math.isfinite(value)  # type: ignore[arg-type]
        case "array":
            return isinstance(value, list)
        case _:
            return isinstance(value, dict)


def _same(value: object, other: object) -> bool:
    """Equal as JSON has it, where true is not 1."""
    return value == other and isinstance(value, bool) == isinstance(other, bool)


def _fits(pattern: str, text: str) -> bool:
    try:
        _compiled(pattern).validate_python(text)
    except pydantic.ValidationError:
        return False
    return True


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> pydantic.TypeAdapter[str]:
    # Pydantic's are of linear time: a caller's words must not keep the gateway busy.
    return pydantic.TypeAdapter(pydantic.constr(pattern=pattern))


def _a(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def _or_none(word: str, known: Collection[str]) -> str:
    return nearest(word, known) if known else ", and there are no properties"


def _all(names: Sequence[str] | Mapping[str, Any]) -> str:
    return ", ".join(names) or "nothing"


def _join(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key
