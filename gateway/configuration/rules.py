"""What a single setting's value must be beyond its type: ranges, names, forms. Pure.

Each rule says what is wrong as the rest of a sentence, with the nearest value that is right.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from gateway.configuration import tool_values
from gateway.configuration.convert import closest, split_bind, url_flaw
from gateway.configuration.models import CUSTOM_VOICE, VOICES

TWILIO_LONGEST_S: Final = 14_400.0
"""Four hours: Twilio ends every call then. Source: "Voice limits", Twilio docs."""

_CODES: Final = (
    "aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy "
    "da de dv dz ee el en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu "
    "hy hz ia id ie ig ii ik io is it iu ja jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb "
    "lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng nl nn no nr nv ny oc oj om "
    "or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st su sv sw "
    "ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu"
)
LANGUAGES: Final = frozenset(_CODES.split())
"""ISO 639-1."""

_NAMES: Final = {
    "arabic": "ar", "chinese": "zh", "czech": "cs", "danish": "da", "deutsch": "de", "dutch": "nl",
    "english": "en", "español": "es", "finnish": "fi", "french": "fr", "german": "de",
    "greek": "el", "hebrew": "he", "hindi": "hi", "hungarian": "hu", "italian": "it",
    "japanese": "ja", "korean": "ko", "norwegian": "no", "polish": "pl", "portuguese": "pt",
    "romanian": "ro", "russian": "ru", "spanish": "es", "swedish": "sv", "turkish": "tr",
    "ukrainian": "uk",
}  # fmt: skip
"""What people write instead."""

_E164: Final = re.compile(r"\+[1-9][0-9]{1,14}", re.ASCII)
_SIP: Final = re.compile(r"sips?:[^\s@<>\"]{1,64}@[A-Za-z0-9.:\[\]-]{1,128}(;[^\s<>\"]{1,128})?")
_PATTERN: Final = re.compile(r"\+([1-9][0-9]{0,14})?\*", re.ASCII)
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
"""Of a function. Source: "function calling", OpenAI docs."""

Rule = Callable[[Any], str | None]


def value_flaw(section: str, key: str, value: object) -> str | None:
    """What is wrong with a value of the right type. Every agent's section counts as `agent`."""
    rule = RULES.get(("agent" if section.startswith("agents.") else section, key))
    return None if rule is None or value is None else rule(value)


def is_number(text: str) -> bool:
    """Whether this can be called: a number in international form, or a SIP URI."""
    return _E164.fullmatch(text) is not None or _SIP.fullmatch(text) is not None


def _range(value: float | str, *, least: float, most: float) -> str | None:
    if isinstance(value, str):  # "inf", where that is a value.
        return None
    if least <= value <= most:
        return None
    near = least if math.isnan(value) or value < least else most
    return f"must be {least:g} to {most:.15g}, not {value}; the nearest is {near:.15g}"


def _voice(voice: str) -> str | None:
    if voice in VOICES:
        return None
    if voice.startswith(CUSTOM_VOICE) and _NAME.fullmatch(voice) and len(voice) > len(CUSTOM_VOICE):
        return None
    known = ", ".join(VOICES)
    meant = closest(voice, VOICES) or VOICES[0]
    return (
        f"must be one of {known}, or the id of a voice of your own ({CUSTOM_VOICE}...), "
        f"not {voice!r}; did you mean {meant}?"
    )


def _language(code: str) -> str | None:
    if code in LANGUAGES:
        return None
    lower = code.strip().casefold()
    named = closest(lower, _NAMES, cutoff=0.8)
    known = (lower, _NAMES.get(named or "", ""), lower[:2])
    meant = next((part for part in known if part in LANGUAGES), "en")
    return f"must be two letters of ISO 639-1, not {code!r}; did you mean {meant}?"


def _callee(number: str) -> str | None:
    if is_number(number):
        return None
    return (
        f"must be a number, as +4930123456, or a SIP URI, as sip:desk@example.com, "
        f"not {number!r}; did you mean {_callable(number)}?"
    )


def _numbers(numbers: tuple[str, ...]) -> str | None:
    for index, number in enumerate(numbers):
        if not is_number(number) and _PATTERN.fullmatch(number) is None:
            star = "*" if "*" in number else ""
            meant = _callable(number) + star
            return (
                "must hold numbers, as +4930123456, patterns, as +4930*, or SIP URIs, "
                f"not {number!r}; did you mean {meant}?"
            )
        if number in numbers[:index]:
            return f"holds {number!r} twice; once is enough: {number}"
    return None


def _callable(text: str) -> str:
    """The number in international form that somebody may have meant."""
    digits = re.sub(r"[^0-9]", "", text)
    if "@" in text:
        return f"sip:{re.sub(r'^[a-z]*:', '', re.sub(r'[^!-~]', '', text.strip()))}"
    if text.strip().startswith("00"):
        digits = digits[2:]
    digits = digits.lstrip("0")[:15]
    return f"+{digits}" if digits else "+4930123456"


def _said(text: str) -> str | None:
    if text.strip():
        return None
    return f"must say something, as 'You answer the phone of Acme.', not {text!r}"


def _model(name: str) -> str | None:
    if name and name.isascii() and name.isprintable() and " " not in name:
        return None
    meant = "".join(name.split()) if name.isascii() and name.strip() else "gpt-realtime-2.1"
    return f"must name a model, as {meant}, not {name!r}"


def _tool_choice(name: str) -> str | None:
    if _NAME.fullmatch(name):
        return None
    meant = re.sub(r"[^A-Za-z0-9_-]", "_", name.strip())[:64] or "auto"
    return f"must be auto, none, required or the name of a function, not {name!r}; as {meant}"


def _keywords(words: tuple[str, ...]) -> str | None:
    for word in words:
        if not word.strip():
            return f"must hold words, not {word!r}; leave it out"
    return None


def _bind(bind: str) -> str | None:
    try:
        split_bind(bind)
    except ValueError as error:
        return str(error)
    return None


def _account(sid: str) -> str | None:
    """Only what can be said without having seen the account's page: tests call theirs AC1."""
    if sid.startswith("AC") and sid.isascii() and sid.isalnum():
        return None
    meant = "AC" + re.sub(r"[^0-9A-Za-z]", "", sid).removeprefix("ac").removeprefix("AC")
    return f"must be an account's SID, as {meant}, not {sid!r}"


_https: Final = partial(url_flaw, scheme="https", on_loopback="http")
_wss: Final = partial(url_flaw, scheme="wss", on_loopback="ws", with_query=True)

RULES: Final[Mapping[tuple[str, str], Rule]] = {
    ("agent", "numbers"): _numbers,
    ("agent", "model"): _model,
    ("agent", "voice"): _voice,
    # Source of the ranges without another: "session.update", OpenAI API reference.
    ("agent", "speed"): partial(_range, least=0.25, most=1.5),
    ("agent", "instructions"): _said,
    ("agent", "language"): _language,
    ("agent", "keywords"): _keywords,
    ("agent", "threshold"): partial(_range, least=0, most=1),
    # No bound is published. Longer padding would hold the beginning of every turn back; a shorter
    # silence would end turns within words.
    ("agent", "prefix_padding_ms"): partial(_range, least=0, most=2_000),
    ("agent", "silence_duration_ms"): partial(_range, least=50, most=5_000),
    ("agent", "idle_timeout_ms"): partial(_range, least=5_000, most=30_000),
    ("agent", "max_output_tokens"): partial(_range, least=1, most=4096),
    ("agent", "tool_choice"): _tool_choice,
    # Of the protocol that had it. Source: "Realtime beta", OpenAI docs of 2024.
    ("agent", "temperature"): partial(_range, least=0.6, most=1.2),
    ("agent", "max_call_s"): partial(_range, least=1, most=TWILIO_LONGEST_S),
    # Shorter, and a caller who thinks is asked whether they are there.
    ("agent", "max_silence_s"): partial(_range, least=2, most=3_600),
    ("agent", "max_cost_usd"): partial(_range, least=0.01, most=1_000),
    ("agent", "wrap_up_s"): partial(_range, least=0, most=600),
    ("agent", "transfer_to"): _callee,
    ("agent", "transfer_by"): _callee,
    ("agent", "fallback_model"): _model,
    ("agent", "fallback_url"): _wss,
    ("agent", "apology"): _said,
    # Sooner, and every tool would have one; later, and the caller has asked whether we are there.
    ("agent", "tool_filler_after_s"): partial(_range, least=0.5, most=10),
    ("server", "bind"): _bind,
    ("server", "public_url"): _https,
    ("calls", "max_call_s"): partial(_range, least=1, most=TWILIO_LONGEST_S),
    ("calls", "max_concurrent"): partial(_range, least=1, most=100_000),
    ("openai", "realtime_url"): _wss,
    ("openai", "base_url"): _https,
    ("twilio", "account_sid"): _account,
    ("twilio", "api_url"): _https,
    ("owner", "numbers"): tool_values.numbers,
    ("owner", "pin"): tool_values.pin,
    ("owner", "totp_secret"): tool_values.totp_secret,
    ("policy", "low"): tool_values.functions,
    ("policy", "high"): tool_values.functions,
    ("policy", "confirm_s"): partial(_range, least=5, most=30),
    ("policy", "countries"): tool_values.countries,
    ("policy", "number_types"): tool_values.number_types,
    ("policy", "calls_per_day"): partial(_range, least=0, most=1_000),
    ("policy", "messages_per_day"): partial(_range, least=0, most=10_000),
    ("policy", "usd_per_day"): partial(_range, least=0, most=10_000),
    ("policy", "call_usd_per_min"): partial(_range, least=0, most=10),
    ("policy", "message_usd"): partial(_range, least=0, most=10),
    ("policy", "max_call_s"): partial(_range, least=30, most=TWILIO_LONGEST_S),
    ("email", "host"): tool_values.host,
    ("email", "port"): partial(_range, least=1, most=65_535),
    ("email", "sender"): tool_values.address,
    ("email", "recipients"): tool_values.recipients,
    ("email", "messages_to"): tool_values.address,
    ("calendar", "url"): _https,
    ("calendar", "timezone"): tool_values.timezone,
    ("research", "model"): _model,
    ("research", "longest_s"): partial(_range, least=5, most=120),
    ("research", "per_call"): partial(_range, least=1, most=100),
}
"""By section and key. A value of `None` is always allowed where the type has it."""
