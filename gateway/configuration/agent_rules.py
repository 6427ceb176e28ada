"""What the settings of an agent allow one by one and not together. Pure.

Two kinds of mistake: what a session would be refused for, and what somebody wrote that would have
no effect. The second is one only where it was written: an agent inherits more than it needs.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Final

import attrs

from actors.messages import HANGUP
from gateway.configuration.agents import ALL_TOOLS, AgentSettings
from gateway.configuration.convert import closest, nearest
from gateway.configuration.models import MODELS, RECOGNISER, RECOGNISERS, TAKES_KEYWORDS, reasons

SEND_DTMF: Final = "send_dtmf"
TRANSFER_CALL: Final = "transfer_call"
_GOVERNED: Final = (
    ("threshold", "turn_detection", ("semantic_vad", "none"), "server_vad"),
    ("prefix_padding_ms", "turn_detection", ("semantic_vad", "none"), "server_vad"),
    ("silence_duration_ms", "turn_detection", ("semantic_vad", "none"), "server_vad"),
    ("idle_timeout_ms", "turn_detection", ("semantic_vad", "none"), "server_vad"),
    ("eagerness", "turn_detection", ("server_vad", "none"), "semantic_vad"),
    ("create_response", "turn_detection", ("none",), "server_vad"),
    ("interrupt_response", "turn_detection", ("none",), "server_vad"),
    ("language", "transcription", ("off",), RECOGNISER),
    ("keywords", "transcription", ("off",), RECOGNISER),
    ("greeting", "opening", ("model", "caller"), "line"),
    ("greeting_interruptible", "opening", ("caller",), "line"),
    ("tool_filler_after_s", "tool_filler", (None,), "One moment, please."),
)
"""Keys that have no effect with some values of another key, and the value that gives them one."""
_CHOICES: Final = ("auto", "none", "required")
_PLACEHOLDER: Final = re.compile(r"\{([A-Za-z_]{3,10})\}")
_WOVEN: Final = ("date", "caller")

Flaw = tuple[str, str]
"""A key, and what is wrong with it, as the rest of a sentence."""


@attrs.frozen
class Surroundings:
    """What an agent's settings are judged by, beside themselves."""

    max_call_s: float
    """Of every call."""
    is_azure: bool = False
    """Models are then named by whoever deployed them."""
    functions: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)
    """The functions in each file of tools, by path."""
    more_functions: Collection[str] = ()
    """Those that a host application brings."""
    http_tools: Collection[str] | None = None
    """The names of those that are HTTP requests; `None`: nobody knows here."""
    mcp: Collection[str] | None = None
    """Likewise those of servers."""


def flaws(agent: AgentSettings, written: Collection[str], around: Surroundings) -> Iterator[Flaw]:
    """Every combination that cannot work.

    Args:
        agent: Complete.
        written: The keys that were written for this very agent, and not inherited.
        around: The rest of the configuration.

    """
    yield from _refused_by_models(agent, written, around)
    yield from _without_effect(agent, written, around)
    yield from _tools(agent, around)
    if agent.on_failure == "transfer" and agent.transfer_to is None:
        yield (
            _blame(written, "on_failure", "transfer_to"),
            (
                "does not go together: on_failure = 'transfer' needs a transfer_to, as "
                "'+4930123456'; or write on_failure = 'message'"
            ),
        )
    if agent.fallback_model == agent.model and agent.fallback_url is None:
        yield (
            _blame(written, "fallback_model", "model"),
            (
                f"is {agent.model!r} for both model and fallback_model: name another one, as "
                f"{next(name for name in MODELS if name != agent.model)}, or a fallback_url"
            ),
        )


def picked(wanted: Collection[str], declared: Collection[str]) -> tuple[str, ...]:
    """Which of the declared tools an agent has: those that it names, or all of them."""
    return tuple(name for name in declared if name in wanted or ALL_TOOLS in wanted)


def remarks(agent: AgentSettings) -> Iterator[Flaw]:
    """What is allowed and yet probably not meant."""
    if agent.temperature is not None:
        yield (
            "temperature",
            (
                f"is {agent.temperature:g}, and has no effect: no session takes a temperature any "
                "more. Take it out"
            ),
        )
    for key, model in (("model", agent.model), ("fallback_model", agent.fallback_model)):
        if model is not None and model not in MODELS:
            close = closest(model, MODELS, cutoff=0.8)
            if close is not None:
                yield key, f"is {model!r}, which is not known; did you mean {close}?"
            else:
                yield key, f"is {model!r}, which is not known; known are {', '.join(_current())}"
    for name in dict.fromkeys(_PLACEHOLDER.findall(agent.instructions)):
        close = closest(name, _WOVEN, cutoff=0.55)
        if name not in _WOVEN and close is not None:
            yield "instructions", f"holds {{{name}}}; did you mean {{{close}}}?"


def _refused_by_models(
    agent: AgentSettings, written: Collection[str], around: Surroundings
) -> Iterator[Flaw]:
    for model_key in ("model", "fallback_model"):
        model: str | None = getattr(agent, model_key)
        for key in ("reasoning_effort", "parallel_tool_calls"):
            value: object = getattr(agent, key)
            if model is not None and value is not None and reasons(model) is False:
                yield (
                    _blame(written, key, model_key),
                    (
                        f"does not go together: {key} = {_toml(value)} is for gpt-realtime-2 and "
                        f"later, and {model_key} is {model!r}; did you mean gpt-realtime-2.1? "
                        f"Or write {key} = 'none'"
                    ),
                )
    recogniser = agent.transcription
    if recogniser not in ("off", *RECOGNISERS) and not around.is_azure:
        close = closest(recogniser, ("off", *RECOGNISERS)) or next(iter(RECOGNISERS))
        yield (
            "transcription",
            (
                f"must be off or one of {', '.join(RECOGNISERS)}, not {recogniser!r}; "
                f"did you mean {close}?"
            ),
        )
    elif agent.keywords and recogniser in RECOGNISERS and recogniser not in TAKES_KEYWORDS:
        yield (
            _blame(written, "keywords", "transcription"),
            (
                f"does not go together: keywords = {_toml(agent.keywords)} are for "
                f"{' and '.join(sorted(TAKES_KEYWORDS))}, and transcription is {recogniser!r}; "
                "did you mean gpt-transcribe? Or write keywords = []"
            ),
        )


def _without_effect(
    agent: AgentSettings, written: Collection[str], around: Surroundings
) -> Iterator[Flaw]:
    for key, by, idle, needed in _GOVERNED:
        says_something = key in written and getattr(agent, key) not in (None, ())
        if says_something and getattr(agent, by) in idle:
            yield key, _idle(agent, key, by, needed)
    if "opening" in written and agent.opening == "line" and agent.greeting is None:
        yield "opening", "is 'line', and greeting is empty: write one, or opening = 'caller'"
    if agent.transfer_to is None:
        for key in ("transfer_by", "transfer_whisper"):
            if key in written and getattr(agent, key):
                yield key, _needs(agent, key, "transfer_to = '+4930123456'")
    alone = agent.fallback_model is None and agent.fallback_url is None
    if alone and "fallback_api_key" in written and agent.fallback_api_key is not None:
        yield (
            "fallback_api_key",
            "needs a fallback_model, as 'gpt-realtime-2.1-mini', or a fallback_url: write one",
        )
    longest_s = around.max_call_s if agent.max_call_s is None else agent.max_call_s
    if "wrap_up_s" in written and agent.wrap_up_s >= longest_s:
        yield (
            "wrap_up_s",
            (
                f"must be less than max_call_s, which is {longest_s:g}, not {agent.wrap_up_s:g}; "
                f"did you mean {min(30.0, longest_s / 2):g}?"
            ),
        )


def _tools(agent: AgentSettings, around: Surroundings) -> Iterator[Flaw]:
    declared = around.http_tools
    for name in agent.http_tools:
        if name != ALL_TOOLS and declared is not None and name not in declared:
            known = nearest(name, declared) if declared else f": write [tools.{name}]"
            yield "http_tools", f"holds {name!r}, and there is no [tools.{name}]{known}"
    servers = around.mcp
    for name in agent.mcp:
        if name != ALL_TOOLS and servers is not None and name not in servers:
            known = nearest(name, servers) if servers else f": write [mcp.{name}]"
            yield "mcp", f"holds {name!r}, and there is no [mcp.{name}]{known}"
    choice = agent.tool_choice
    if any(choice.startswith(f"{name}_") for name in picked(agent.mcp, servers or ())):
        return  # Which tools a server has is known when it is asked.
    names = {HANGUP, *around.more_functions, *picked(agent.http_tools, declared or ())}
    names.update(agent.builtin_tools)
    for path in agent.tools:
        names.update(around.functions.get(str(path), ()))
    if agent.phone_menus:
        names.add(SEND_DTMF)
    if agent.transfer_to is not None:
        names.add(TRANSFER_CALL)
    if choice in _CHOICES or choice in names:
        return
    close = closest(choice, (*_CHOICES, *names)) or "auto"
    yield (
        "tool_choice",
        (
            f"is {choice!r}, and there is no such function, but {', '.join(sorted(names))}; "
            f"did you mean {close}?"
        ),
    )


def _idle(agent: AgentSettings, key: str, by: str, value: str) -> str:
    return (
        f"is {_toml(getattr(agent, key))}, and has no effect with {by} = "
        f"{_toml(getattr(agent, by))}: take it out, or write {by} = {value!r}"
    )


def _needs(agent: AgentSettings, key: str, what: str) -> str:
    return f"is {_toml(getattr(agent, key))}, and has no effect without {what}: write it too"


def _blame(written: Collection[str], *keys: str) -> str:
    """Which of them to complain about: the first that was written here."""
    return next((key for key in keys if key in written), keys[0])


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(list(value)) if isinstance(value, tuple) else repr(value)


def _current() -> list[str]:
    return [name for name, end in MODELS.items() if end is None]
