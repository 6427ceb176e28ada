"""JSON Schema as somebody else's server has it: made small and safe, and checked against. Pure.

The server is not trusted with our time. So references are written out, what cannot be checked in
little time is left to the server itself, and patterns are matched in linear time.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

import attrs
import orjson
import pydantic
import pydantic_core

Schema = dict[str, Any]

SCHEMA_MAX_BYTES: Final = 16 * 1024
"""All of them are told to the model, in every session."""
DEPTH_MAX: Final = 16
NODES_MAX: Final = 1_000
NAME_MAX_CHARS: Final = 64
TEXT_MAX_CHARS: Final = 1_024
"""Of a description. OpenAI takes no more of a function's."""
ENUM_MAX: Final = 300
"""There are 249 countries."""
PATTERN_MAX_CHARS: Final = 256
CHECKED_MAX: Final = 20_000
"""Parts of a schema times parts of a value that are compared: some 20 ms. More is left to the
server, which has to check its arguments anyway."""
_TYPES: Final = ("string", "integer", "number", "boolean", "array", "object", "null")
_UNSEEN: Final = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)
"""What nobody sees in a text, and a model reads nevertheless."""


@attrs.frozen
class Unusable(Exception):
    """A schema that is not used. Quotes nothing of it."""

    why: str

    def __str__(self) -> str:
        return self.why


def usable(schema: object) -> Schema:
    """The part of a schema of arguments that we understand, with its references written out.

    Raises:
        Unusable: It is none, or too much.

    """
    if not isinstance(schema, dict):
        raise Unusable("its schema is not an object")
    if schema.get("type", "object") != "object":
        raise Unusable("its arguments are not an object")
    _measure(schema)
    found = _Inlining(schema).node({"type": "object"} | schema, 0, ())
    found.setdefault("properties", {})
    _measure(found)
    return found


def plain(text: object, most: int = TEXT_MAX_CHARS) -> str:
    """Somebody else's text: what can be seen of it, and not more than so many characters."""
    return _UNSEEN.sub("", text)[:most].strip() if isinstance(text, str) else ""


def mismatches(schema: Schema, value: object) -> Iterator[str]:
    """What is wrong with a value, for a model to do better. Quotes nothing of it.

    Lazy: whoever takes only the first few does not pay for the rest.
    """
    if _parts(schema) * _parts(value) <= CHECKED_MAX:
        yield from _mismatches(schema, value, "")


def _measure(schema: Schema) -> None:
    try:
        size = len(orjson.dumps(schema))
    except (orjson.JSONEncodeError, RecursionError):
        raise Unusable("its schema is not JSON that could be sent") from None
    if size > SCHEMA_MAX_BYTES:
        raise Unusable(f"its schema is longer than {SCHEMA_MAX_BYTES} bytes")


# Making one usable.


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_names(value: object) -> bool:
    return isinstance(value, list) and all(_is_name(one) for one in value)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= NAME_MAX_CHARS and value.isprintable()


def _is_type(value: object) -> bool:
    kinds = value if isinstance(value, list) else [value]
    return bool(kinds) and all(one in _TYPES for one in kinds)


def _is_enum(value: object) -> bool:
    return isinstance(value, list) and 0 < len(value) <= ENUM_MAX


def _is_anything(value: object) -> bool:
    del value
    return True


_PLAIN: Final[Mapping[str, Callable[[object], bool]]] = {
    "type": _is_type,
    "required": _is_names,
    "enum": _is_enum,
    "const": _is_anything,
    "default": _is_anything,
    "minimum": _is_number,
    "maximum": _is_number,
    "exclusiveMinimum": _is_number,
    "exclusiveMaximum": _is_number,
    "minLength": _is_count,
    "maxLength": _is_count,
    "minItems": _is_count,
    "maxItems": _is_count,
    "minProperties": _is_count,
    "maxProperties": _is_count,
}
"""Keywords that hold no schemas, and what they have to be. What else there is (`if`, `not`,
`unevaluatedProperties`, `$dynamicRef`, ...) is left out, and to the server."""
_ONE: Final = ("items", "additionalProperties")
_SEVERAL: Final = ("anyOf", "oneOf", "allOf", "prefixItems")


@attrs.define
class _Inlining:
    """Writes references out, as long as that comes to an end soon."""

    _root: Schema
    _nodes: int = 0

    def node(self, schema: object, depth: int, within: tuple[str, ...]) -> Schema:
        """One schema, without what is not understood. `within`: the references that led here."""
        self._nodes += 1
        if depth > DEPTH_MAX or self._nodes > NODES_MAX:
            raise Unusable("its schema is nested too deep, or too large")
        if schema is True:
            return {}
        if not isinstance(schema, dict):
            raise Unusable("its schema holds what is none")
        if "$ref" in schema:
            pointer = schema["$ref"]
            if not isinstance(pointer, str) or pointer in within:
                raise Unusable("its schema refers to itself")
            rest = {key: one for key, one in schema.items() if key != "$ref"}
            target = self._target(pointer)
            merged = target | rest if isinstance(target, dict) else rest
            return self.node(merged, depth + 1, (*within, pointer))
        return dict(self._kept(schema, depth, within))

    def _kept(
        self, schema: Schema, depth: int, within: tuple[str, ...]
    ) -> Iterator[tuple[str, Any]]:
        for key, value in schema.items():
            if key in _PLAIN:
                if not _PLAIN[key](value):
                    raise Unusable(f"its schema has a {key} that is none")
                yield key, value
            elif key == "description":
                yield key, plain(value)
            elif key == "pattern" and _can_match(value):
                yield key, value
            elif key == "properties":
                if not isinstance(value, dict) or not all(_is_name(name) for name in value):
                    raise Unusable("its schema has properties that are none")
                yield key, {name: self.node(one, depth + 1, within) for name, one in value.items()}
            elif key in _SEVERAL:
                if not isinstance(value, list) or not value:
                    raise Unusable(f"its schema has an {key} that is none")
                yield key, [self.node(one, depth + 1, within) for one in value]
            elif key in _ONE:
                yield key, False if value is False else self.node(value, depth + 1, within)

    def _target(self, pointer: str) -> object:
        """What a reference refers to, in this very schema: nothing is fetched."""
        if pointer != "#" and not pointer.startswith("#/"):
            raise Unusable("its schema refers to another document")
        found: object = self._root
        for part in pointer.split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            if not isinstance(found, dict) or name not in found:
                raise Unusable("its schema refers to what is not there")
            found = found[name]
        return found


def _can_match(pattern: object) -> bool:
    """Whether it can be matched in linear time: no looking ahead or back."""
    if not isinstance(pattern, str) or len(pattern) > PATTERN_MAX_CHARS:
        return False
    try:
        _compiled(pattern)
    except pydantic_core.SchemaError:
        return False
    return True


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> pydantic.TypeAdapter[str]:
    # Pydantic's are of linear time: neither the server nor a caller keeps the gateway busy.
    return pydantic.TypeAdapter(pydantic.constr(pattern=pattern))


# Checking against one.


def _parts(value: object) -> int:
    """How many values are in a value, itself included."""
    match value:
        case dict():
            return 1 + sum(_parts(one) for one in value.values())
        case list():
            return 1 + sum(_parts(one) for one in value)
        case _:
            return 1


def _mismatches(schema: Schema, value: object, place: str) -> Iterator[str]:
    shown = place or "arguments"
    kinds = schema.get("type")
    if kinds is not None:
        wanted = kinds if isinstance(kinds, list) else [kinds]
        if not any(_is_a(value, kind) for kind in wanted):
            yield f"{shown}: must be of type {' or '.join(wanted)}"
            return
    if "enum" in schema and not any(_same(value, one) for one in schema["enum"]):
        yield f"{shown}: must be one of {_json(schema['enum'])}"
    if "const" in schema and not _same(value, schema["const"]):
        yield f"{shown}: must be {_json(schema['const'])}"
    yield from _combined(schema, value, place)
    match value:
        case str():
            yield from _outside(schema, len(value), "Length", "characters", shown)
            if "pattern" in schema and not _fits(schema["pattern"], value):
                yield f"{shown}: must be of the form {schema['pattern']}"
        case list():
            yield from _outside(schema, len(value), "Items", "items", shown)
            yield from _in_list(schema, value, place)
        case dict():
            yield from _outside(schema, len(value), "Properties", "properties", shown)
            yield from _in_object(schema, value, place)
        case int() | float() if not isinstance(value, bool):
            yield from _not_between(schema, value, shown)
        case _:
            pass


def _combined(schema: Schema, value: object, place: str) -> Iterator[str]:
    shown = place or "arguments"
    for one in schema.get("allOf", ()):
        yield from _mismatches(one, value, place)
    if "anyOf" in schema and not any(_suits(one, value) for one in schema["anyOf"]):
        yield f"{shown}: must be of one of its forms"
    if "oneOf" in schema and sum(_suits(one, value) for one in schema["oneOf"]) != 1:
        yield f"{shown}: must be of exactly one of its forms"


def _suits(schema: Schema, value: object) -> bool:
    return next(_mismatches(schema, value, ""), None) is None


def _in_list(schema: Schema, value: list[Any], place: str) -> Iterator[str]:
    first: list[Schema] = schema.get("prefixItems", [])
    for index, (own, one) in enumerate(zip(first, value, strict=False)):
        yield from _mismatches(own, one, _join(place, str(index)))
    rest = schema.get("items", {})
    for index, one in enumerate(value[len(first) :], len(first)):
        if rest is False:
            yield f"{place or 'arguments'}: must have {len(first)} items or fewer"
            return
        yield from _mismatches(rest, one, _join(place, str(index)))


def _in_object(schema: Schema, value: Mapping[str, Any], place: str) -> Iterator[str]:
    known: Mapping[str, Schema] = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{_join(place, name)}: is missing"
    more = schema.get("additionalProperties", {})
    for name, one in value.items():
        if name in known:
            yield from _mismatches(known[name], one, _join(place, name))
        elif more is False:
            there = ", ".join(known) or "nothing"
            yield f"{place or 'arguments'}: holds what there is not; there is {there}"
        else:
            yield from _mismatches(more, one, _join(place, "..."))


def _outside(schema: Schema, size: int, of: str, what: str, shown: str) -> Iterator[str]:
    if size < schema.get(f"min{of}", 0):
        yield f"{shown}: must have {schema[f'min{of}']} {what} or more"
    if size > schema.get(f"max{of}", math.inf):
        yield f"{shown}: must have {schema[f'max{of}']} {what} or fewer"


def _not_between(schema: Schema, value: float, shown: str) -> Iterator[str]:
    if value < schema.get("minimum", -math.inf):
        yield f"{shown}: must be {schema['minimum']} or more"
    if value > schema.get("maximum", math.inf):
        yield f"{shown}: must be {schema['maximum']} or less"
    if "exclusiveMinimum" in schema and value <= schema["exclusiveMinimum"]:
        yield f"{shown}: must be more than {schema['exclusiveMinimum']}"
    if "exclusiveMaximum" in schema and value >= schema["exclusiveMaximum"]:
        yield f"{shown}: must be less than {schema['exclusiveMaximum']}"


def _is_a(value: object, kind: str) -> bool:
    match kind:
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "null":
            return value is None
        case "integer":
            # 1.0 is one. Source: JSON Schema 2020-12 Validation, 6.1.1.
            return _is_number(value) and float(value).is_integer()  # type: ignore[arg-type]
        case "number":
            return _is_number(value)
        case "array":
            return isinstance(value, list)
        case _:
            return isinstance(value, dict)


def _same(value: object, other: object) -> bool:
    """Equal as JSON has it, where true is not 1, at any depth."""
    match value, other:
        case list(), list():
            return len(value) == len(other) and all(map(_same, value, other))
        case dict(), dict():
            return value.keys() == other.keys() and all(
                _same(one, other[key]) for key, one in value.items()
            )
        case _:
            return value == other and isinstance(value, bool) == isinstance(other, bool)


def _fits(pattern: str, text: str) -> bool:
    try:
        _compiled(pattern).validate_python(text)
    except pydantic.ValidationError:
        return False
    return True


def _json(value: object) -> str:
    return orjson.dumps(value).decode()[:200]


def _join(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key
