"""The question that a caller answers by yes or no: exactly what will be done, and how to answer.

Pure. Every argument is in it: what the tool's own sentence leaves out is read behind it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import attrs

from actors.errors import ToolRefused
from actors.toolbox import PLACE, ToolSchema
from gateway.permission.phrases import Phrases, phrases_of
from gateway.permission.spoken_values import (
    LONGEST_CHARS,
    TOO_LONG,
    check,
    cleaned,
    in_words,
    is_quoted,
    quotation,
    spoken,
    spoken_text,
)

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9]{0,23}(?:[_-][A-Za-z0-9]{1,23}){0,3}")


@attrs.frozen
class Questions:
    """How the callers of an agent are asked. Fits `actors.guard.ReadOut`."""

    language: str | None = None
    """ISO 639-1, of what the caller speaks."""
    by_keys: bool = False
    """Nobody writes down what callers say: only keys can be an answer."""

    def __call__(self, schema: ToolSchema, values: Mapping[str, Any]) -> str:
        """The question about a run with these arguments.

        Raises:
            ToolRefused: They cannot be read back so that the caller knows what they are.

        """
        words = phrases_of(self.language)
        what = self._what(schema, values)
        if len(what) > LONGEST_CHARS:
            raise ToolRefused(TOO_LONG)
        return f"{words.confirm} {what} {words.how_by_keys if self.by_keys else words.how}"

    def _what(self, schema: ToolSchema, values: Mapping[str, Any]) -> str:
        words = phrases_of(self.language)
        known: dict[str, Any] = schema.parameters.get("properties") or {}
        if schema.runs_at is not None:
            known = {name: {} for name in map(_named, values)}
        if values.keys() - known.keys():
            raise ToolRefused("bad arguments: there is one that the function does not have")
        check(values)
        # What the model leaves out is as the function has it, and a sentence may speak of it.
        given = {
            name: values[name] if name in values else known[name].get("default")
            for name in known
            if name in values or "default" in known[name]
        }
        match schema.read_back:
            case None:
                said = set[str]()
                sentence = in_words(schema.name)
            case str() as template:
                said = set(PLACE.findall(template))
                sentence = PLACE.sub(lambda found: spoken(given.get(found[1]), words), template)
            case function:
                seen = _Seen(given)
                sentence = spoken_text(_quoting(cleaned(function(seen)), given, words), words)
                said = seen.looked_at
        left = [
            f"{in_words(name)}: {spoken(values[name], words)}"
            for name in known
            if name in values and name not in said
        ]
        return ", ".join([sentence.rstrip(" .,"), *left]) + "."


def _quoting(sentence: str, given: Mapping[str, Any], words: Phrases) -> str:
    """A sentence with marks around the texts in it, which a function takes as they are."""
    texts = (cleaned(one) for one in given.values() if isinstance(one, str))
    # The longer first: one may be a part of another.
    quoted = sorted(filter(is_quoted, set(texts)), key=len, reverse=True)
    if not quoted:
        return sentence
    return re.sub("|".join(map(re.escape, quoted)), lambda it: quotation(it[0], words), sentence)


def _named(name: str) -> str:
    """The name of an argument, where the model has made it up for all that anybody here knows.

    Raises:
        ToolRefused: It could say something itself.

    """
    if _NAME.fullmatch(name) is None:
        raise ToolRefused("bad arguments: one has a name that is none")
    return name


@attrs.define(eq=False)
class _Seen(Mapping[str, Any]):
    """Arguments that know which of them were looked at."""

    given: Mapping[str, Any]
    looked_at: set[str] = attrs.field(factory=set[str], init=False)

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - whatever JSON holds.
        """One of them."""
        self.looked_at.add(name)
        return self.given[name]

    def __iter__(self) -> Iterator[str]:
        """Their names."""
        return iter(self.given)

    def __len__(self) -> int:
        """How many there are."""
        return len(self.given)
