"""Closed shapes of JSON values: what the Realtime API accepts, and how it refuses the rest.

Pure. Every shape has `check(value, path)`, which returns nothing or raises the `Refusal` that the
API would answer with.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Protocol

import attrs


@attrs.frozen
class Refusal(Exception):
    """Why a client event is refused, as the `error` event tells it."""

    code: str
    message: str
    param: str | None = None

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class Shape(Protocol):
    """What a JSON value must look like."""

    def check(self, value: object, path: str) -> None:
        """Accept `value`, which stands at `path`.

        Raises:
            Refusal: It does not fit.

        """


def _wrong_type(path: str, expected: str, value: object) -> Refusal:
    got = {dict: "an object", list: "an array", str: "a string", bool: "a boolean"}.get(
        type(value), "null" if value is None else "a number"
    )
    return Refusal(
        "invalid_type", f"Invalid type for '{path}': expected {expected}, got {got}.", path
    )


def _wrong_value(path: str, message: str) -> Refusal:
    return Refusal("invalid_value", f"Invalid value for '{path}': {message}", path)


def missing(path: str) -> Refusal:
    """A parameter that must be there is not."""
    return Refusal("missing_required_parameter", f"Missing required parameter: '{path}'.", path)


def unknown(path: str) -> Refusal:
    """A parameter that must not be there is."""
    return Refusal("unknown_parameter", f"Unknown parameter: '{path}'.", path)


@attrs.frozen
class Anything:
    """Any JSON value: the API does not look inside, or we do not."""

    def check(self, value: object, path: str) -> None:
        """Accept."""


@attrs.frozen
class Text:
    """A string."""

    longest: int | None = None
    """In characters."""
    pattern: str | None = None

    def check(self, value: object, path: str) -> None:
        """Accept a string that is not too long and matches the pattern as a whole."""
        if not isinstance(value, str):
            raise _wrong_type(path, "a string", value)
        if self.longest is not None and len(value) > self.longest:
            raise Refusal(
                "string_above_max_length",
                f"Invalid '{path}': string too long. Expected a string with maximum length"
                f" {self.longest}, but got a string with length {len(value)} instead.",
                path,
            )
        if self.pattern is not None and re.fullmatch(self.pattern, value) is None:
            raise _wrong_value(path, f"expected a string that matches the pattern {self.pattern}.")


@attrs.frozen
class Choice:
    """One of some constants, of which no two are equal across types."""

    values: tuple[object, ...]

    def check(self, value: object, path: str) -> None:
        """Accept one of the constants."""
        if not any(value == valid and type(value) is type(valid) for valid in self.values):
            supported = ", ".join(f"'{valid}'" for valid in self.values)
            raise _wrong_value(path, f"supported values are: {supported}.")


@attrs.frozen
class Flag:
    """A boolean."""

    def check(self, value: object, path: str) -> None:
        """Accept a boolean."""
        if not isinstance(value, bool):
            raise _wrong_type(path, "a boolean", value)


@attrs.frozen
class Number:
    """A number within bounds, both included."""

    low: float | None = None
    high: float | None = None
    whole: bool = False

    def check(self, value: object, path: str) -> None:
        """Accept a number within bounds."""
        kinds = (int,) if self.whole else (int, float)
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise _wrong_type(path, "an integer" if self.whole else "a number", value)
        if self.low is not None and value < self.low:
            raise _wrong_value(path, f"expected a value >= {self.low:g}.")
        if self.high is not None and value > self.high:
            raise _wrong_value(path, f"expected a value <= {self.high:g}.")


@attrs.frozen
class Nullable:
    """A shape, or null."""

    shape: Shape

    def check(self, value: object, path: str) -> None:
        """Accept null, or what the shape accepts."""
        if value is not None:
            self.shape.check(value, path)


@attrs.frozen
class ListOf:
    """An array."""

    shape: Shape
    shortest: int = 0
    longest: int | None = None

    def check(self, value: object, path: str) -> None:
        """Accept an array of what the shape accepts."""
        if not isinstance(value, list):
            raise _wrong_type(path, "an array", value)
        if len(value) < self.shortest or (self.longest is not None and len(value) > self.longest):
            raise _wrong_value(path, f"an array of {len(value)} is too short or too long.")
        for index, element in enumerate(value):
            self.shape.check(element, f"{path}[{index}]")


@attrs.frozen
class MapOf:
    """An object whose keys are the client's own."""

    shape: Shape
    most: int | None = None
    longest_key: int | None = None

    def check(self, value: object, path: str) -> None:
        """Accept an object of what the shape accepts."""
        if not isinstance(value, dict):
            raise _wrong_type(path, "an object", value)
        if self.most is not None and len(value) > self.most:
            raise _wrong_value(path, f"expected at most {self.most} pairs.")
        for key, element in value.items():
            Text(self.longest_key).check(key, f"{path}.{key}")
            self.shape.check(element, f"{path}.{key}")


@attrs.frozen
class Keys:
    """An object with a closed set of keys."""

    keys: Mapping[str, Shape]
    required: tuple[str, ...] = ()

    def check(self, value: object, path: str) -> None:
        """Accept an object without unknown keys and with all required ones."""
        if not isinstance(value, dict):
            raise _wrong_type(path, "an object", value)
        prefix = f"{path}." if path else ""
        for key in value:
            if key not in self.keys:
                raise unknown(prefix + key)
        for key in self.required:
            if key not in value:
                raise missing(prefix + key)
        for key, element in value.items():
            self.keys[key].check(element, prefix + key)


@attrs.frozen
class Tagged:
    """An object whose other keys depend on one of them."""

    tag: str
    shapes: Mapping[str, Shape]

    def check(self, value: object, path: str) -> None:
        """Accept what the shape chosen by the tag accepts."""
        if not isinstance(value, dict):
            raise _wrong_type(path, "an object", value)
        where = f"{path}.{self.tag}" if path else self.tag
        if self.tag not in value:
            raise missing(where)
        tag = value[self.tag]
        Choice(tuple(self.shapes)).check(tag, where)
        self.shapes[tag].check(value, path)


@attrs.frozen
class ByKind:
    """A shape for strings, another for objects, a third for other values."""

    string: Shape
    object: Shape | None = None
    other: Shape | None = None

    def check(self, value: Any, path: str) -> None:  # noqa: ANN401 (any JSON value at all)
        """Accept what the shape for this kind of value accepts."""
        if isinstance(value, dict) and self.object is not None:
            self.object.check(value, path)
        elif not isinstance(value, str) and self.other is not None:
            self.other.check(value, path)
        else:
            self.string.check(value, path)
