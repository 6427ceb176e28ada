"""YAML files of people into frozen values, strictly: a refusal names the key and the way out.

Pure.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Final, Literal, TypeVar, get_args, get_origin

import attrs
import cattrs
import yaml
from cattrs.gen import make_dict_structure_fn

Shape = TypeVar("Shape")
_MERGE: Final = "tag:yaml.org,2002:merge"
Shorthand = Callable[[object], object | None]
"""Reads another way to write a value; `None`: this is not it."""


@attrs.frozen
class YamlFileError(Exception):
    """A file cannot be used. Says which file, which key, and what would have been valid."""

    source: str
    where: str
    """Path of keys, such as `model.answers[1].items[0]`; empty for the file as a whole."""
    what: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.source, self.where, self.what) if part)


def read(
    text: str,
    shape: type[Shape],
    source: str,
    *,
    error: type[YamlFileError] = YamlFileError,
    shorthands: Mapping[type, Shorthand] | None = None,
) -> Shape:
    """Read a value of an attrs class from YAML text.

    Args:
        text: The whole file.
        shape: What it has to be.
        source: The file's name, for refusals.
        error: What is raised.
        shorthands: Classes whose values may also be written in another way.

    Raises:
        YamlFileError: As `error`: it is not YAML, or not of this shape.

    """
    try:
        raw = yaml.load(text, _Loader)  # noqa: S506 - a safe one.
    except (yaml.YAMLError, RecursionError) as problem:
        raise error(source, "", f"not YAML: {problem}") from problem
    try:
        return _make_converter(shorthands or {}).structure(raw, shape)
    except (cattrs.BaseValidationError, ValueError, TypeError, KeyError) as problem:
        where, what = _first_problem(problem, "")
        raise error(source, where, what) from problem


class _Loader(yaml.SafeLoader):
    """Refuses a key that is written twice: the first would be ignored without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Read one mapping."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE:
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key `{key.value}` is written twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def hint(wrong: str, valid: Iterable[str]) -> str:
    """The way out of a wrong word: the nearest valid one, or all of them."""
    valid = sorted(valid)
    near = get_close_matches(wrong, valid, n=1, cutoff=0.5)
    return f", did you mean `{near[0]}`?" if near else f"; there is: {', '.join(valid)}"


def _first_problem(error: BaseException, where: str) -> tuple[str, str]:
    """Follow the first leaf of what cattrs found wrong. Returns its key path and a sentence."""
    match error:
        case cattrs.ForbiddenExtraKeysError(cl=shape, extra_fields=extra):
            key = min(extra, key=str)
            valid = [field.name for field in attrs.fields(shape)]
            return _join(where, str(key)), f"no such key{hint(str(key), valid)}"
        case cattrs.BaseValidationError():
            # A key that is not known explains a key that is missing, so it comes first.
            problems = sorted(
                error.exceptions, key=lambda e: not isinstance(e, cattrs.ForbiddenExtraKeysError)
            )
            return _first_problem(problems[0], where + "".join(_steps(problems[0], where)))
        case KeyError():
            return where, "is missing"
        case _:
            return where, str(error)


def _steps(error: BaseException, where: str) -> Iterator[str]:
    for note in getattr(error, "__notes__", ()):
        if isinstance(note, cattrs.AttributeValidationNote):
            yield f".{note.name}" if where else note.name
        elif isinstance(note, cattrs.IterableValidationNote):
            yield f"[{note.index}]"


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


_KINDS: Final = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def _exactly(kind: type) -> Any:  # noqa: ANN401 (the hook's type is the kind it is made for)
    def check(value: object, _: object) -> object:
        number = kind is float and isinstance(value, int) and not isinstance(value, bool)
        if type(value) is not kind and not number:
            quoted = "; put it in quotes" if kind is str and value is not None else ""
            raise ValueError(f"must be {_KINDS[kind]}, not {value!r}{quoted}")
        return kind(value)

    return check


def _keys_of(kind: type, converter: cattrs.Converter, shorthand: Shorthand | None) -> Any:  # noqa: ANN401
    inner: Any = make_dict_structure_fn(kind, converter, _cattrs_forbid_extra_keys=True)

    def structure(value: Any, as_kind: Any) -> Any:  # noqa: ANN401
        if shorthand is not None and (known := shorthand(value)) is not None:
            return known
        if not isinstance(value, dict):
            raise ValueError(f"must have keys: {', '.join(attrs.fields_dict(kind))}")  # noqa: TRY004
        return inner(value, as_kind)

    return structure


def _list_of(kind: Any, converter: cattrs.Converter) -> Any:  # noqa: ANN401
    items: Any = types.GenericAlias(list, kind.__args__[:1])
    inner = converter.get_structure_hook(items, cache_result=False)

    def structure(value: Any, _: Any) -> Any:  # noqa: ANN401
        if not isinstance(value, list):
            raise ValueError("must be a list")  # noqa: TRY004
        return tuple(inner(value, items))

    return structure


def _mapping_of(kind: Any, converter: cattrs.Converter) -> Any:  # noqa: ANN401
    _, kept = get_args(kind)

    def structure(value: Any, _: Any) -> Any:  # noqa: ANN401
        if not isinstance(value, dict):
            raise ValueError("must have keys with values")  # noqa: TRY004
        if wrong := [key for key in value if not isinstance(key, str)]:
            raise ValueError(f"has the key {wrong[0]!r}, which must be text; put it in quotes")
        return {key: converter.structure(one, kept) for key, one in value.items()}

    return structure


def _is_mapping(kind: object) -> bool:
    origin: object = get_origin(kind)
    return origin is dict


def _is_list(kind: object) -> bool:
    origin: object = get_origin(kind)
    return origin is tuple


def _is_choice(kind: object) -> bool:
    origin: object = get_origin(kind)
    return origin is Literal


def _one_of(value: object, kind: Any) -> object:  # noqa: ANN401
    valid = list(get_args(kind))
    if value not in valid:
        raise ValueError(f"`{value}` is not possible{hint(str(value), valid)}")
    return value


def _make_converter(shorthands: Mapping[type, Shorthand]) -> cattrs.Converter:
    """All refusals are ours: what cattrs would coerce (5 to "5") is a typo in a file."""
    converter = cattrs.Converter(forbid_extra_keys=True)
    for kind in _KINDS:
        converter.register_structure_hook(kind, _exactly(kind))
    hooks = converter.register_structure_hook_factory
    hooks(attrs.has)(lambda kind, converter: _keys_of(kind, converter, shorthands.get(kind)))
    hooks(_is_list)(_list_of)
    hooks(_is_mapping)(_mapping_of)
    converter.register_structure_hook_func(_is_choice, _one_of)
    return converter
