"""Arguments for a function, as a model would write them: drawn from the function's JSON schema.

Pure. Of the schema only what `actors.toolbox` produces is understood: types, enumerations,
alternatives and references.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Final

Schema = dict[str, Any]

_DEEPEST: Final = 4
"""Levels of objects in objects. Deeper, a schema that refers to itself would never end."""


def draw_arguments(random: Random, schema: Schema, words: Callable[[], str]) -> dict[str, Any]:
    """Draw what a call of the function is given. Its texts are `words()`.

    Optional parameters are left out half of the time.
    """
    drawn = _Draw(random, schema.get("$defs", {}), words).value(schema, 0)
    return drawn if isinstance(drawn, dict) else {}


class _Draw:
    def __init__(self, random: Random, defs: Schema, words: Callable[[], str]) -> None:
        self._random = random
        self._defs = defs
        self._words = words

    def value(self, schema: Schema, depth: int) -> Any:  # noqa: ANN401 - any JSON value.
        if "$ref" in schema:
            return self.value(self._defs.get(schema["$ref"].rpartition("/")[2], {}), depth)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self._random.choice(schema["enum"])
        if alternatives := schema.get("anyOf") or schema.get("oneOf"):
            return self.value(self._random.choice(alternatives), depth)
        match schema.get("type"):
            case "integer":
                least = schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1)
                return self._random.randint(least, schema.get("maximum", least + 100))
            case "number":
                least = schema.get("minimum", 0)
                return self._random.uniform(least, schema.get("maximum", least + 100))
            case "boolean":
                return self._random.random() < 0.5
            case "null":
                return None
            case "array":
                least = schema.get("minItems", 0)
                count = 0 if depth >= _DEEPEST else self._random.randint(least, least + 2)
                return [self.value(schema.get("items", {}), depth + 1) for _ in range(count)]
            case "object":
                return self._object(schema, depth)
            case _:
                return self._words()

    def _object(self, schema: Schema, depth: int) -> Schema:
        required = schema.get("required", ())
        return {
            name: self.value(inner, depth + 1)
            for name, inner in schema.get("properties", {}).items()
            if name in required or (depth < _DEEPEST and self._random.random() < 0.5)
        }
