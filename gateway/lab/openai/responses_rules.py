"""What the Responses API accepts, as far as a web search goes, and what an answer looks like.

Pure. Source: "Create a model response" and "Web search", OpenAI docs; `openai` SDK 3.51,
`types/responses`; where those are silent, errors that people reported from the live server.
"""

from __future__ import annotations

from typing import Any, Final

import attrs

from gateway.lab.openai.shapes import (
    Anything,
    Choice,
    Flag,
    Keys,
    ListOf,
    MapOf,
    Nullable,
    Number,
    Refusal,
    Tagged,
    Text,
)

Json = dict[str, Any]

MODELS: Final = (
    *("gpt-6-astra", "gpt-6.1-sol", "gpt-6.1-terra", "gpt-6-sol", "gpt-6-luna", "gpt-5.6-sol"),
    *("gpt-5.6-terra", "gpt-5.6-luna", "gpt-5.5", "gpt-5.4", "gpt-5.4-mini", "gpt-5.4-nano"),
    *("gpt-5.2", "gpt-5.1", "gpt-5", "gpt-5-mini", "gpt-5-nano", "gpt-4.1", "gpt-4.1-mini"),
    *("gpt-4.1-nano", "gpt-4o", "gpt-4o-mini", "o3", "o4-mini"),
)
"""Some that there are."""
_CANNOT_SEARCH: Final = ("gpt-4.1-nano",)
_DOES_NOT_REASON: Final = ("gpt-4",)
OUTPUT_TOKENS_LEAST: Final = 16
_INPUT_CHARS: Final = 10 * 1024 * 1024

_LOCATION: Final = Keys(
    {
        "type": Choice(("approximate",)),
        "city": Nullable(Text()),
        "country": Nullable(Text(pattern="[A-Z]{2}")),
        "region": Nullable(Text()),
        "timezone": Nullable(Text()),
    },
    required=("type",),
)
SEARCH: Final = Keys(
    {
        "type": Text(),
        "external_web_access": Flag(),
        "filters": Nullable(Keys({"allowed_domains": Nullable(ListOf(Text(), longest=100))})),
        "search_context_size": Choice(("low", "medium", "high")),
        "user_location": Nullable(_LOCATION),
    },
    required=("type",),
)
REASONING: Final = Keys(
    {
        "effort": Nullable(Choice(("none", "minimal", "low", "medium", "high", "xhigh", "max"))),
        "summary": Nullable(Choice(("auto", "concise", "detailed"))),
        "generate_summary": Nullable(Choice(("auto", "concise", "detailed"))),
        "context": Anything(),
        "mode": Anything(),
    }
)
REQUEST: Final = Keys(
    {
        "model": Text(),
        "input": Text(_INPUT_CHARS),
        "instructions": Nullable(Text()),
        "tools": ListOf(
            Tagged("type", {"web_search": SEARCH, "web_search_2025_08_26": SEARCH}), longest=128
        ),
        "max_tool_calls": Nullable(Number(1, whole=True)),
        "max_output_tokens": Nullable(Number(OUTPUT_TOKENS_LEAST, whole=True)),
        "store": Nullable(Flag()),
        "reasoning": Nullable(REASONING),
        "metadata": Nullable(MapOf(Text(512), most=16, longest_key=64)),
        "temperature": Nullable(Number(0, 2)),
        "top_p": Nullable(Number(0, 1)),
        "tool_choice": Choice(("none", "auto", "required")),
        "parallel_tool_calls": Nullable(Flag()),
        "truncation": Nullable(Choice(("auto", "disabled"))),
        "safety_identifier": Nullable(Text(128)),
        "service_tier": Nullable(Text()),
        "user": Text(),
        # Known to the server. We would have to do something about them, and do not.
        **{
            key: Choice((None, False))
            for key in (
                *("access_programs", "background", "context_management", "conversation", "image"),
                *("include", "moderation", "previous_response_id", "prompt", "prompt_cache_key"),
                *("prompt_cache_options", "prompt_cache_retention", "stream", "stream_options"),
                *("text", "top_logprobs"),
            )
        },
    },
    required=("model", "input"),
)


@attrs.frozen
class Cited:
    """A page that an answer names."""

    url: str
    title: str


@attrs.frozen
class Research:
    """What comes of one question."""

    say: str = ""
    cites: tuple[Cited, ...] = ()
    """Each is cited at the end of the text, as a link in Markdown."""
    refusal: str | None = None
    """Instead of saying anything."""
    incomplete: str | None = None
    """Why it ends early: `max_output_tokens`, `content_filter`."""
    failed: str | None = None
    """The code of an error that ends it: `server_error`, `rate_limit_exceeded`."""
    http_status: int = 200
    """With another one there is an error instead of a response."""
    code: str | None = None
    """Of that error."""
    headers: tuple[tuple[str, str], ...] = ()
    after_s: float = 0.0
    """How long the search takes."""


def check(request: object) -> Json:
    """A request that the server would take.

    Raises:
        Refusal: It would not.

    """
    REQUEST.check(request, "")
    asked: Json = dict(request) if isinstance(request, dict) else {}
    model = asked["model"]
    if model not in MODELS:
        raise Refusal("model_not_found", f"The requested model '{model}' does not exist.", "model")
    effort = (asked.get("reasoning") or {}).get("effort")
    if effort is not None and model.startswith(_DOES_NOT_REASON):
        raise Refusal(
            "unsupported_parameter",
            "Unsupported parameter: 'reasoning.effort' is not supported with this model.",
            "reasoning.effort",
        )
    if asked.get("temperature") is not None and not model.startswith(_DOES_NOT_REASON):
        raise Refusal(
            "unsupported_parameter",
            "Unsupported parameter: 'temperature' is not supported with this model.",
            "temperature",
        )
    if asked.get("tools"):
        if model in _CANNOT_SEARCH:
            raise Refusal(
                "invalid_value",
                f"Hosted tool 'web_search' is not supported with {model}.",
                "tools",
            )
        if effort == "minimal":
            raise Refusal(
                "invalid_value",
                "The following tools cannot be used with reasoning.effort 'minimal': web_search.",
                "tools",
            )
    return asked


def response(asked: Json, research: Research, number: int, created_at_s: int) -> Json:
    """What the server answers to a request that it takes."""
    status = "completed"
    if research.failed is not None:
        status = "failed"
    elif research.incomplete is not None:
        status = "incomplete"
    failure = {"code": research.failed, "message": "The server had an error."}
    return {
        "id": f"resp_{number:048x}",
        "object": "response",
        "created_at": created_at_s,
        "status": status,
        "background": False,
        "error": None if research.failed is None else failure,
        "incomplete_details": None if status != "incomplete" else {"reason": research.incomplete},
        "instructions": asked.get("instructions"),
        "max_output_tokens": asked.get("max_output_tokens"),
        "max_tool_calls": asked.get("max_tool_calls"),
        "model": asked["model"],
        "output": [] if status == "failed" else _output(asked, research, number, status),
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": (asked.get("reasoning") or {}).get("effort"), "summary": None},
        "store": asked.get("store", True),
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": asked.get("tool_choice", "auto"),
        "tools": asked.get("tools", []),
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": None if status == "failed" else _usage(asked, research),
        "user": None,
        "metadata": asked.get("metadata") or {},
    }


def _output(asked: Json, research: Research, number: int, status: str) -> list[Json]:
    output: list[Json] = [{"id": f"rs_{number:048x}", "type": "reasoning", "summary": []}]
    if asked.get("tools"):
        output.append(
            {
                "id": f"ws_{number:048x}",
                "type": "web_search_call",
                "status": "completed",
                "action": {"type": "search", "query": "as asked"},
            }
        )
    if research.refusal is not None:
        content: Json = {"type": "refusal", "refusal": research.refusal}
    elif research.say:
        content = _said(research)
    else:
        return output
    message = {"id": f"msg_{number:048x}", "type": "message", "role": "assistant"}
    return [*output, {**message, "status": status, "content": [content]}]


def _said(research: Research) -> Json:
    text, annotations = research.say, []
    for cited in research.cites:
        host = cited.url.split("/")[2]
        link = f"([{host}]({cited.url}))"
        text += " "
        annotations.append(
            {
                "type": "url_citation",
                "start_index": len(text),
                "end_index": len(text) + len(link),
                "url": cited.url,
                "title": cited.title,
            }
        )
        text += link
    return {"type": "output_text", "text": text, "annotations": annotations, "logprobs": []}


def _usage(asked: Json, research: Research) -> Json:
    """About four characters make a token."""
    told, said = len(asked["input"]) // 4 + 300, len(research.say) // 4 + 64
    return {
        "input_tokens": told,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": said,
        "output_tokens_details": {"reasoning_tokens": 64},
        "total_tokens": told + said,
    }
