"""Tools that are HTTP requests: what the model is told of them, and what becomes of its arguments.

Whoever speaks on the telephone chooses the arguments. They end up as values in a path, a query or a
JSON body, and nowhere else; where the request goes is the owner's word.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final
from urllib.parse import quote, unquote

import attrs
import orjson
import structlog

from actors.control import CallControl
from actors.errors import EffectUnknown, ToolRefused
from actors.messages import HANGUP
from actors.toolbox import ARGUMENTS_MAX_CHARS, ToolSchema
from gateway.configuration.http_tool import PLACEHOLDER, HttpTool
from gateway.configuration.json_schema import complaints
from gateway.web.public_web import Answer, Question, Unanswered, Web

log: structlog.stdlib.BoundLogger = structlog.get_logger()

MAYBE_DONE: Final = "whether it took effect is not known"
COMPLAINTS_MAX: Final = 5
SAID_MAX_CHARS: Final = 2_000
"""Of an answer that says what was wrong."""
_DECODED_TIMES: Final = 3
"""A server behind a server behind a server may each decode once."""
_BREAKS_PATH: Final = re.compile(r"[/\\\x00-\x1f\x7f-\x9f\u2028\u2029]")
_DOTS: Final = frozenset({".", ".."})
_CHARSETS: Final = {
    "utf-8": "utf-8-sig", "utf8": "utf-8-sig", "us-ascii": "ascii", "ascii": "ascii",
    "iso-8859-1": "cp1252", "latin1": "cp1252", "windows-1252": "cp1252",
    "iso-8859-15": "iso-8859-15", "utf-16": "utf-16",
}  # fmt: skip
_TEXTUAL: Final = frozenset(
    {
        "application/json", "application/xml", "application/x-ndjson", "application/javascript",
        "application/problem+json",
    }
)  # fmt: skip


@attrs.define(eq=False)
class HttpTools:
    """These tools of an agent. Fits `Toolset`.

    Args:
        tools: As they were declared.
        web: What they go over; `None`: nothing, and each of them is refused.

    """

    _tools: Sequence[HttpTool]
    _web: Web | None

    def schemas(self) -> tuple[ToolSchema, ...]:
        """See `Toolset`."""
        return tuple(
            ToolSchema(
                *(one.name, one.description, one.parameters),
                risk=one.risk,
                read_back=one.read_back,
                longest_s=one.longest_s,
                check=partial(checked, one),
            )
            for one in self._tools
        )

    async def run(self, name: str, arguments: str, call: CallControl | None = None) -> str:
        """See the `Tools` port. Bounded in time and size by what was declared."""
        del call
        tool = next((one for one in self._tools if one.name == name), None)
        if tool is None:
            names = ", ".join([*(one.name for one in self._tools), HANGUP])
            raise ToolRefused(f"there is no tool {name!r}; there are: {names}")
        question = question_of(tool, checked(tool, arguments))
        if self._web is None:
            raise ToolRefused("there is no network here to ask over")
        try:
            answer = await self._web.ask(question)
        except Unanswered as unanswered:
            log.warning("http_tool.unanswered", tool=name, why=unanswered.why)
            if unanswered.maybe_done:
                raise EffectUnknown(f"{unanswered}; {MAYBE_DONE}") from None
            raise ToolRefused(str(unanswered)) from None
        log.info("http_tool.answered", tool=name, status=answer.status, bytes=len(answer.body))
        return told(answer)

    def longest_s(self, name: str) -> float | None:
        """See the `Tools` port."""
        return next((one.longest_s for one in self._tools if one.name == name), None)


def checked(tool: HttpTool, arguments: str) -> dict[str, Any]:
    """The arguments, if they are what was declared.

    Raises:
        ToolRefused: They are not. Quotes none of them.

    """
    values = loaded(arguments)
    found = list(complaints(tool.parameters, values))
    if found:
        raise ToolRefused("bad arguments: " + "; ".join(found[:COMPLAINTS_MAX]))
    return dict(values)


def loaded(arguments: str) -> Any:  # noqa: ANN401 - any JSON.
    """What a model wrote, as it can be sent.

    Raises:
        ToolRefused: It cannot.

    """
    if len(arguments) > ARGUMENTS_MAX_CHARS:
        raise ToolRefused(f"the arguments are longer than {ARGUMENTS_MAX_CHARS} characters")
    try:
        values = orjson.loads(arguments or "{}")
        # Longer ones it makes floats of: another number than the one that was confirmed.
        json.loads(arguments or "{}", parse_int=_exact)
    except (ValueError, RecursionError):
        raise ToolRefused("bad arguments: they are not JSON") from None
    return values


def _exact(digits: str) -> int:
    number = int(digits)
    if not -(2**63) <= number < 2**64:
        raise ToolRefused("bad arguments: a number has too many digits to be sent as it is")
    return number


def question_of(tool: HttpTool, values: Mapping[str, Any]) -> Question:
    """The request that these arguments make of a tool.

    Raises:
        ToolRefused: One of them would lead elsewhere than its place in the path.

    """
    placed = tool.in_url()
    rest = {key: value for key, value in values.items() if key not in placed}
    return Question(
        url=filled(tool.url, values),
        method=tool.method,
        headers={name: value.reveal() for name, value in tool.headers},
        body=orjson.dumps(rest) if tool.body == "json" else None,
        timeout_s=tool.timeout_s,
        max_bytes=tool.max_bytes,
        allowed=tool.allow_private,
    )


def filled(template: str, values: Mapping[str, Any]) -> str:
    """A URL with values in it. Scheme, host, and how many parts its path has stay as they are.

    A pair of the query whose value nobody gave is left out.

    Raises:
        ToolRefused: A value would be more than a part of the path.

    """
    head, mark, query = template.partition("?")
    path = PLACEHOLDER.sub(lambda found: _in_path(found[1], values), head)
    # Parts that are harmless by themselves may not be together.
    for part in path.partition("://")[2].split("/")[1:]:
        if any(one in _DOTS for one in _decodings(part)):
            raise ToolRefused("bad arguments: they would lead to another path")
    pairs = [
        PLACEHOLDER.sub(lambda found: quote(_text(values[found[1]]), safe=""), pair)
        for pair in query.split("&")
        if all(name in values for name in PLACEHOLDER.findall(pair))
    ]
    return f"{path}?{'&'.join(pairs)}" if mark and any(pairs) else path


def told(answer: Answer) -> str:
    """What the model is given of an answer: JSON, whatever it is.

    Raises:
        ToolRefused: It is neither text nor JSON.

    """
    kind, _, more = answer.content_type.partition(";")
    kind = kind.strip().lower()
    is_good = 200 <= answer.status < 300
    if not answer.body:
        return json.dumps({"status": answer.status})
    text = _decoded(answer.body, kind, more)
    if text is None:
        raise ToolRefused(f"its answer, with status {answer.status}, is neither text nor JSON")
    value: object = text
    if is_good and (kind == "application/json" or kind.endswith("+json") or not kind):
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError:
            value = text
    if not is_good:
        value = {"error": f"its status is {answer.status}", "said": text[:SAID_MAX_CHARS]}
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (ValueError, RecursionError):
        return json.dumps(text, ensure_ascii=False)


def _in_path(name: str, values: Mapping[str, Any]) -> str:
    text = _text(values[name])
    if not text.strip():
        raise ToolRefused(f"bad arguments: {name}: must not be empty")
    for one in _decodings(text):
        if _BREAKS_PATH.search(one) or one.strip() in _DOTS or _is_spoilt(one, text):
            raise ToolRefused(f"bad arguments: {name}: must not hold / or \\, nor be dots")
    return quote(text, safe="")


def _decodings(text: str) -> list[str]:
    """The text, and what servers may take it for."""
    found = [text]
    for _ in range(_DECODED_TIMES):
        found.append(unquote(found[-1], errors="replace"))
    return found


def _is_spoilt(decoded: str, text: str) -> bool:
    """Whether it holds bytes that are no text: what is a slash to a careless server looks so."""
    return "\ufffd" in decoded and "\ufffd" not in text


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    # Half a surrogate pair is a Python string, and no text that could be sent.
    return str(value).encode(errors="replace").decode()


def _decoded(body: bytes, kind: str, more: str) -> str | None:
    """The text of a body; `None`: it is none."""
    is_text = kind.startswith("text/") or kind in _TEXTUAL or kind.endswith(("+json", "+xml"))
    if kind and not is_text:
        return None
    declared = re.search(r"charset\s*=\s*\"?([A-Za-z0-9_-]{1,32})", more)
    charset = _CHARSETS.get(declared[1].lower() if declared else "utf-8")
    if charset is None:
        return None
    try:
        text = body.decode(charset)
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text
