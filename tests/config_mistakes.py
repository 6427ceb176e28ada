"""Valid configurations at random, and what can be wrong in one: a table of single mistakes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, Final

import attrs

NAMES: Final = ("sales", "night-desk", "support")
WITHOUT_RANGE: Final = "gpt-live-transcribe"


@attrs.frozen
class Mistake:
    """What a sentence about it has to name, beside the file or the name in the environment."""

    place: str
    """The key, or what was written in its place."""
    value: str
    nearest: str


@attrs.define
class Draft:
    """A configuration as somebody writes it."""

    directory: Path
    tables: dict[str, dict[str, Any]] = attrs.field(factory=dict[str, dict[str, Any]])
    """By section; `agents.sales` is one."""
    environ: dict[str, str] = attrs.field(factory=dict[str, str])

    @property
    def file(self) -> Path:
        return self.directory / "offhook.toml"

    def agents(self) -> list[str]:
        return [name for name in self.tables if name == "agent" or name.startswith("agents.")]

    def save(self) -> None:
        lines = []
        for section, table in self.tables.items():
            lines.append(f"[{section}]")
            lines += [f"{key} = {toml(value)}" for key, value in table.items()]
        self.file.write_text("\n".join(lines) + "\n")


def toml(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case list():
            return "[" + ", ".join(toml(part) for part in value) + "]"
        case str():
            return json.dumps(value)
        case _:
            return str(value)


def valid(rng: Random, directory: Path) -> Draft:
    """A configuration with nothing wrong in it."""
    draft = Draft(directory)
    (directory / "prompt.txt").write_text("You answer for Acme on {date}.")
    (directory / "orders.py").write_text(
        "from gateway import tool\n\n@tool\ndef look_up(order: int) -> str:\n    '''Look.'''\n"
        "    return 'there'\n"
    )
    draft.tables["agent"] = agent(rng)
    for index, name in enumerate(rng.sample(NAMES, rng.randint(0, 2))):
        mine = some(rng, {"voice": rng.choice(["cedar", "ash"]), "speed": 1.25, "language": "fr"})
        draft.tables[f"agents.{name}"] = {"numbers": [f"+4930{index}0001", f"+493{index}*"], **mine}
    draft.tables["server"] = some(
        rng, {"public_url": "https://gw.example.net", "bind": "127.0.0.1:0"}
    )
    draft.tables["calls"] = some(
        rng, {"max_call_s": rng.choice([60, 7200.5]), "max_concurrent": 7, "flight": "off"}
    ) | {"directory": str(directory / "calls")}
    draft.tables["openai"] = some(rng, {"realtime_url": "ws://127.0.0.1:1/v1/realtime"})
    draft.tables["twilio"] = {}
    draft.environ = {
        "OPENAI_API_KEY": "sk-1",
        "TWILIO_AUTH_TOKEN": "t",
        "TWILIO_ACCOUNT_SID": "AC1",
        "OFFHOOK_PUBLIC_URL": "https://gw.example.net",
    } | some(rng, {"OPENAI_TURN_DETECT_THRESHOLD": "0.6", "OFFHOOK_AGENT_SPEED": "1.5"})
    return draft


def agent(rng: Random) -> dict[str, Any]:
    return some(
        rng,
        {
            "numbers": ["+4930999"],
            "voice": rng.choice(["marin", "voice_abc1"]),
            "speed": rng.choice([0.25, 1, 1.5]),
            "phone_menus": rng.choice([True, False]),
            "language": "de",
            "silence_duration_ms": rng.randint(200, 900),
            "idle_timeout_ms": rng.choice([5000, 30000]),
            "noise_reduction": rng.choice(["near_field", "off"]),
            "max_output_tokens": rng.choice([1, 4096, "inf"]),
            "reasoning_effort": "low",
            "max_silence_s": rng.choice([10, "none"]),
            "max_cost_usd": 0.5,
            "filler": "",
            "create_response": rng.choice([True, False]),
            "audio": rng.choice(["pcm16", "g711_alaw"]),
        },
    )


def some(rng: Random, table: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if rng.random() < 0.5}


def write(draft: Draft, section: str, key: str, value: object) -> None:
    """Write it where it counts: nothing in the environment may win over it."""
    draft.tables.setdefault(section, {})[key] = value
    names = (f"OFFHOOK_{section}_{key}", f"OPENAI_TURN_DETECT_{key}", f"OFFHOOK_{key}")
    for name in names:
        draft.environ.pop(name.upper(), None)


# Each takes a valid draft, makes one mistake in it, and tells which.
Mutator = Callable[[Random, Draft], Mistake]


def misspelt_key(rng: Random, draft: Draft) -> Mistake:
    section, key = rng.choice(
        [
            ("agent", "instructions"),
            ("agent", "silence_duration_ms"),
            ("server", "public_url"),
            ("calls", "max_concurrent"),
            ("openai", "realtime_url"),
            ("twilio", "account_sid"),
        ]
    )
    at = rng.randrange(1, len(key) - 1)
    wrong = key[:at] + rng.choice(["", "x"]) + key[at + 1 :]
    draft.tables[section][wrong] = "1"
    return Mistake(f"{section}.{wrong}", wrong, key)


def misspelt_section(rng: Random, draft: Draft) -> Mistake:
    wrong, right = rng.choice(
        [("agnet", "agent"), ("servers", "server"), ("opneai", "openai"), ("twillio", "twilio")]
    )
    draft.tables[wrong] = {}
    return Mistake(f"[{wrong}]", wrong, right)


def out_of_range(rng: Random, draft: Draft) -> Mistake:
    key, least, most = rng.choice(
        [
            ("speed", 0.25, 1.5),
            ("threshold", 0, 1),
            ("prefix_padding_ms", 0, 2000),
            ("silence_duration_ms", 50, 5000),
            ("idle_timeout_ms", 5000, 30000),
            ("max_output_tokens", 1, 4096),
            ("temperature", 0.6, 1.2),
            ("max_call_s", 1, 14400),
            ("max_silence_s", 2, 3600),
            ("max_cost_usd", 0.01, 1000),
            ("wrap_up_s", 0, 600),
        ]
    )
    low = rng.random() < 0.5
    value = least - 1 if low else most + rng.randint(1, 1000)
    section = rng.choice(draft.agents())
    write(draft, section, key, value)
    return Mistake(f"{section}.{key}", str(value), f"{least if low else most}")


def out_of_range_elsewhere(rng: Random, draft: Draft) -> Mistake:
    key, value, near = rng.choice(
        [("max_call_s", 14401, "14400"), ("max_concurrent", 0, "1"), ("max_concurrent", -3, "1")]
    )
    write(draft, "calls", key, value)
    return Mistake(f"calls.{key}", str(value), near)


def no_such_choice(rng: Random, draft: Draft) -> Mistake:
    key, value, near = rng.choice(
        [
            ("turn_detection", "servervad", "server_vad"),
            ("turn_detection", "semantic-vad", "semantic_vad"),
            ("noise_reduction", "far field", "far_field"),
            ("audio", "ulaw", "g711_ulaw"),
            ("audio", "pcm", "pcm16"),
            ("opening", "caler", "caller"),
            ("reasoning_effort", "hihg", "high"),
            ("key_tones", "inband", "in_band"),
            ("on_failure", "hangup", "hang_up"),
            ("voice", "marine", "marin"),
            ("voice", "Ceder", "cedar"),
            ("transcription", "gpt4o-transcribe", "gpt-4o-transcribe"),
            ("transcription", "whisper", "whisper-1"),
            ("tool_choice", "autos", "auto"),
            ("tool_choice", "hangups", "hangup"),
            ("language", "deu", "de"),
            ("language", "en-US", "en"),
            ("language", "FR", "fr"),
        ]
    )
    section = rng.choice(draft.agents())
    write(draft, section, key, value)
    return Mistake(f"{section}.{key}", repr(value), near)


def no_such_choice_elsewhere(rng: Random, draft: Draft) -> Mistake:
    section, key, value, near = rng.choice(
        [
            ("calls", "flight", "event", "events"),
            ("server", "unknown_numbers", "refused", "refuse"),
            ("openai", "auth", "api-key", "api_key"),
        ]
    )
    write(draft, section, key, value)
    return Mistake(f"{section}.{key}", repr(value), near)


def wrong_kind(rng: Random, draft: Draft) -> Mistake:
    key, value, near = rng.choice(
        [
            ("speed", "1.2", "1.2"),
            ("silence_duration_ms", "500ms", "500"),
            ("idle_timeout_ms", 6000.5, "6000"),
            ("voice", 5, '"5"'),
            ("greeting_interruptible", "yes", "true"),
            ("keypad", 0, "false"),
            ("keywords", "Acme", '["Acme"]'),
            ("numbers", "+4930123456", '["+4930123456"]'),
            ("max_output_tokens", "infinite", "inf"),
            ("model", 2, '"2"'),
        ]
    )
    section = rng.choice(draft.agents())
    write(draft, section, key, value)
    shown = {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)
    return Mistake(f"{section}.{key}", shown, near)


def wrong_number(rng: Random, draft: Draft) -> Mistake:
    value, near = rng.choice(
        [
            ("+49 30 123456", "+4930123456"),
            ("004930123456", "+4930123456"),
            ("49-30-123456", "+4930123456"),
            ("+0049301", "+49301"),
        ]
    )
    section = rng.choice(draft.agents())
    if rng.random() < 0.5:
        key = rng.choice(["transfer_to", "transfer_by"])
        write(draft, section, key, value)
        if key == "transfer_by":
            write(draft, section, "transfer_to", "sip:desk@example.net")
    else:
        key = "numbers"
        write(draft, section, key, ["+4930555", value])
    return Mistake(f"{section}.{key}", repr(value), near)


def wrong_pattern(rng: Random, draft: Draft) -> Mistake:
    value, near = rng.choice([("4930*", "+4930*"), ("+49*30", "+4930*"), ("+49 30*", "+4930*")])
    section = rng.choice(draft.agents())
    write(draft, section, "numbers", [value])
    return Mistake(f"{section}.numbers", repr(value), near)


def number_of_two(rng: Random, draft: Draft) -> Mistake:
    number = "+4930777"
    write(draft, "agent", "numbers", [number])
    draft.tables["agents.other"] = {"numbers": ["+4930778", number]}
    return Mistake("agents.other.numbers", number, "agent.numbers")


def no_number(rng: Random, draft: Draft) -> Mistake:
    draft.tables["agents.other"] = {"voice": "cedar"}
    return Mistake("agents.other", "no agents.other.numbers", 'numbers = ["+')


def bad_name(rng: Random, draft: Draft) -> Mistake:
    name, near = rng.choice([("Front", "front"), ("8to5", "to5"), ("default", "other")])
    draft.tables[f"agents.{name}"] = {"numbers": ["+4930778"]}
    return Mistake(f"agents.{name}", name, near)


def missing_file(rng: Random, draft: Draft) -> Mistake:
    key, value, near = rng.choice(
        [
            ("instructions_file", "promt.txt", "prompt.txt"),
            ("tools", ["order.py"], "orders.py"),
        ]
    )
    section = rng.choice(draft.agents())
    write(draft, section, key, value)
    return Mistake(f"{section}.{key}", value if isinstance(value, str) else value[0], near)


def broken_tools(rng: Random, draft: Draft) -> Mistake:
    (draft.directory / "broken.py").write_text("import json\ndef look_up(:\n")
    section = rng.choice(draft.agents())
    write(draft, section, "tools", ["broken.py"])
    return Mistake(f"{section}.tools", "broken.py", "line 2")


def both_instructions(rng: Random, draft: Draft) -> Mistake:
    section = rng.choice(draft.agents())
    write(draft, section, "instructions", "You answer.")
    write(draft, section, "instructions_file", "prompt.txt")
    return Mistake(f"{section}.instructions_file", "'prompt.txt'", "instructions")


def without_effect(rng: Random, draft: Draft) -> Mistake:
    by, value, key, idle, near = rng.choice(
        [
            ("turn_detection", "server_vad", "eagerness", "high", "semantic_vad"),
            ("turn_detection", "semantic_vad", "threshold", 0.7, "server_vad"),
            ("turn_detection", "semantic_vad", "idle_timeout_ms", 6000, "server_vad"),
            ("turn_detection", "none", "create_response", False, "server_vad"),
            ("transcription", "off", "keywords", ["Acme"], "gpt-transcribe"),
            ("opening", "model", "greeting", "Hello there", "line"),
        ]
    )
    # Of an agent of its own: those of the draft have written keys of the same kind.
    draft.tables["agents.other"] = {"numbers": ["+4930778"], by: value, key: idle}
    shown = {False: "false"}.get(idle) if isinstance(idle, bool) else str(idle)
    return Mistake(f"agents.other.{key}", shown or "", near)


def alone(rng: Random, draft: Draft) -> Mistake:
    key, value, near = rng.choice(
        [
            ("transfer_by", "+4930123456", "transfer_to"),
            ("transfer_whisper", True, "transfer_to"),
            ("on_failure", "transfer", "transfer_to"),
        ]
    )
    section = rng.choice(draft.agents())
    write(draft, section, key, value)
    return Mistake(f"{section}.{key}", "true" if value is True else str(value), near)


def not_of_this_model(rng: Random, draft: Draft) -> Mistake:
    key, value = rng.choice([("reasoning_effort", "high"), ("parallel_tool_calls", True)])
    table = {"numbers": ["+4930778"], "model": rng.choice(["gpt-realtime", "gpt-realtime-1.5"])}
    # What the draft's default agent says of the other one would be a second mistake.
    draft.tables["agent"].pop("reasoning_effort", None)
    draft.tables["agents.other"] = table | {key: value}
    return Mistake(f"agents.other.{key}", str(table["model"]), "gpt-realtime-2.1")


def keywords_not_taken(rng: Random, draft: Draft) -> Mistake:
    model = rng.choice(["whisper-1", "gpt-realtime-whisper", "gpt-4o-transcribe"])
    draft.tables["agents.other"] = {
        "numbers": ["+4930778"],
        "transcription": model,
        "keywords": ["Acme"],
    }
    return Mistake("agents.other.keywords", repr(model), "gpt-transcribe")


def too_late(rng: Random, draft: Draft) -> Mistake:
    draft.tables["agents.other"] = {"numbers": ["+4930778"], "max_call_s": 40, "wrap_up_s": 50}
    return Mistake("agents.other.wrap_up_s", "50", "20")


def wrong_address(rng: Random, draft: Draft) -> Mistake:
    section, key, value, near = rng.choice(
        [
            ("server", "public_url", "http://gw.example.net", "https://gw.example.net"),
            ("server", "public_url", "gw.example.net", "https://gw.example.net"),
            ("server", "public_url", "https://gw.example.net/?a=1", "https://gw.example.net/"),
            ("openai", "realtime_url", "ws://api.example.net/v1", "wss://api.example.net/v1"),
            ("openai", "base_url", "api.example.net/v1", "https://api.example.net/v1"),
            ("twilio", "api_url", "http://api.twilio.com", "https://api.twilio.com"),
            ("agent", "fallback_url", "tcp://example.net", "wss://example.net"),
            ("server", "bind", "8080", "127.0.0.1:8080"),
            ("server", "bind", "127.0.0.1:99999", "127.0.0.1:8080"),
        ]
    )
    write(draft, section, key, value)
    return Mistake(f"{section}.{key}", repr(value), near)


def misspelt_name(rng: Random, draft: Draft) -> Mistake:
    wrong, right = rng.choice(
        [
            ("OFFHOOK_AGENT_VIOCE", "OFFHOOK_AGENT_VOICE"),
            ("OFFHOOK_PUBLIC_ULR", "OFFHOOK_PUBLIC_URL"),
            ("OFFHOOK_CALLS_MAXCONCURRENT", "OFFHOOK_CALLS_MAX_CONCURRENT"),
            ("OFFHOOK_AGENTS_OTHER_SPED", "_SPEED"),
        ]
    )
    draft.environ[wrong] = "1"
    return Mistake(wrong, wrong, right)


def wrong_in_environment(rng: Random, draft: Draft) -> Mistake:
    name, value, near = rng.choice(
        [
            ("OFFHOOK_AGENT_SPEED", "2", "1.5"),
            ("OFFHOOK_AGENT_SPEED", "fast", "number"),
            ("OFFHOOK_AGENT_VOICE", "marine", "marin"),
            ("OFFHOOK_AGENT_KEYPAD", "ja", "true"),
            ("OFFHOOK_AGENT_NUMBERS", "+4930999, 030", "+30"),
            ("OFFHOOK_AGENT_KEYWORDS", '["Acme"', '["a", "b"]'),
            ("OFFHOOK_AGENT_MAX_OUTPUT_TOKENS", "infinity", "inf"),
            ("OPENAI_VOICE", "marine", "marin"),
            ("OPENAI_TEMPERATURE", "2", "1.2"),
            ("OPENAI_MAX_TOKENS", "5000", "4096"),
            ("OPENAI_TURN_DETECT_TYPE", "servervad", "server_vad"),
            ("OPENAI_TURN_DETECT_THRESHOLD", "1.5", "1"),
            ("OPENAI_TRANSFER_TO", "+49 30 1", "+49301"),
            ("OPENAI_DISABLE", "maybe", "true"),
            ("OFFHOOK_BIND", "localhost", "127.0.0.1:8080"),
        ]
    )
    draft.environ[name] = value
    key = {"OPENAI_VOICE": "voice", "OPENAI_MAX_TOKENS": "max_output_tokens"}.get(name)
    if key is not None:
        draft.environ.pop(f"OFFHOOK_AGENT_{key.upper()}", None)
    return Mistake(name, value.rpartition(", ")[2], near)


def nobody_left(rng: Random, draft: Draft) -> Mistake:
    for section in draft.agents():
        if section != "agent":
            del draft.tables[section]
    draft.tables["agent"].pop("numbers", None)
    write(draft, "server", "unknown_numbers", "refuse")
    return Mistake("server.unknown_numbers", "'refuse'", "'default'")


def half_a_key(rng: Random, draft: Draft) -> Mistake:
    write(draft, "twilio", "api_key", "SK1")
    return Mistake("twilio.api_key", "api_key", "twilio.api_secret")


# These are for the doctor: a gateway starts with them.


def shut_down(rng: Random, draft: Draft) -> Mistake:
    model, near = rng.choice(
        [
            ("gpt-4o-realtime-preview-2024-10-01", "gpt-realtime-2.1"),
            ("gpt-realtime-mini-2025-10-06", "gpt-realtime-2.1-mini"),
        ]
    )
    for key in ("reasoning_effort", "max_cost_usd"):
        draft.tables["agent"].pop(key, None)
    write(draft, "agent", "model", model)
    return Mistake("agent.model", model, near)


def of_unknown_cost(rng: Random, draft: Draft) -> Mistake:
    write(draft, "agent", "model", "my-own-model")
    write(draft, "agent", "max_cost_usd", 2)
    return Mistake("agent.max_cost_usd", "my-own-model", "gpt-realtime-2.1")


def key_forgotten(rng: Random, draft: Draft) -> Mistake:
    del draft.environ["OPENAI_API_KEY"]
    return Mistake("openai.api_key", "not set", "OPENAI_API_KEY")


MUTATORS: Final[tuple[Mutator, ...]] = (
    misspelt_key,
    misspelt_section,
    out_of_range,
    out_of_range_elsewhere,
    no_such_choice,
    no_such_choice_elsewhere,
    wrong_kind,
    wrong_number,
    wrong_pattern,
    number_of_two,
    no_number,
    bad_name,
    missing_file,
    broken_tools,
    both_instructions,
    without_effect,
    alone,
    not_of_this_model,
    keywords_not_taken,
    too_late,
    wrong_address,
    misspelt_name,
    wrong_in_environment,
    nobody_left,
    half_a_key,
    shut_down,
    of_unknown_cost,
    key_forgotten,
)
BY_DOCTOR: Final = {shut_down, of_unknown_cost, key_forgotten}
