"""Agents: who answers the phone, and what they are told. Pure."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Final, Literal

import attrs

from actors.toolbox import Toolbox
from gateway.configuration.convert import Secret
from gateway.configuration.http_tool import HttpTool
from gateway.configuration.mcp_server import McpServer
from gateway.configuration.tool_settings import BuiltinTool

DEFAULT: Final = "default"
"""The name of the agent of `[agent]`."""
ALL_TOOLS: Final = "*"
"""In `http_tools`: every one that there is."""

Opening = Literal["line", "model", "caller"]
TurnDetection = Literal["server_vad", "semantic_vad", "none"]
Eagerness = Literal["low", "medium", "high", "auto"]
NoiseReduction = Literal["near_field", "far_field", "off"]
Effort = Literal["minimal", "low", "medium", "high", "xhigh"]
AudioFormat = Literal["g711_ulaw", "g711_alaw", "pcm16"]
KeyTones = Literal["redirect", "in_band"]
OnFailure = Literal["hang_up", "transfer", "message"]

PHONE_MENUS: Final = """\
# When a machine answers

You may reach a phone menu, a queue or voice mail instead of a person. Then:
- Listen to the whole menu before you choose. Say nothing while it speaks: many menus listen for \
words as well as keys, and start again when they hear any.
- Choose with the function send_dtmf, in a response without words. Send only digits that the menu \
offered, or that you were asked to enter. After a number that is asked for, send `#` if the menu \
wants it; between two menus that follow each other without a pause, `w` waits half a second.
- One choice at a time: after each, listen to what comes next.
- "Invalid option", "I did not understand" or the same menu once more: you may have been too early \
or wrong. Listen to the whole menu again, then choose again. Never send the same digits a third \
time.
- No option fits, or you do not get ahead: send 0 and ask for a person. Many menus connect to one \
when nothing is pressed, too.
- Hold music, "please hold", "you are number three": wait in silence, however long it takes, and \
answer nothing. Speak again only when somebody speaks to you.
- Voice mail or an answering machine: do not talk to it, unless your task says to leave a message. \
If it does, wait for the tone, say it once, briefly, and hang up.
- Do not converse with machines unless a voice menu asks you to speak; then answer it in as few \
words as it needs.
- As soon as a person speaks, say who you are and why you call.\
"""
"""Guidance for the far end being a machine, added to the instructions by `phone_menus`."""

WITHHELD: Final = "a withheld number"
NUMBERLESS: Final = {"+266696687", "+7378742833", "+2562533", "+8656696", "+86282452253"}
"""What carriers send for no number: ANONYMOUS, RESTRICTED, BLOCKED, UNKNOWN, UNAVAILABLE, as they
are spelt on a keypad."""
_SHOWN_CALLER: Final = re.compile(r"\+?[0-9]{2,15}|sips?:[\w.+-]{1,32}@[\w.-]{1,64}", re.ASCII)
"""What of a caller's own making may stand in instructions: nobody gives orders by caller id."""
_WEEKDAYS: Final = (
    "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday",
)  # fmt: skip
"""English whatever the locale is: instructions are compared, and hashed."""


@attrs.frozen(kw_only=True)
class AgentSettings:
    """One agent. Every field is a key of `[agent]`, and of every `[agents.NAME]`."""

    numbers: tuple[str, ...] = ()
    """Called numbers that are this agent's: `+4930123456`, or with `*` for any rest: `+4930*`."""
    enabled: bool = True
    """False: its callers are politely refused."""

    model: str = "gpt-realtime-2.1"
    voice: str = "marin"
    """A name, or the id of a custom voice, `voice_...`."""
    speed: float = 1.0
    """0.25 to 1.5."""
    instructions: str = (
        "You are a friendly assistant on the telephone. Keep your answers short. "
        "When the caller is done, say goodbye and hang up."
    )
    """`{date}` and `{caller}` are replaced: today's date, and the caller's number."""
    instructions_file: Path | None = None
    """Instead of `instructions`: a file of text, found from where the configuration is."""
    phone_menus: bool = False
    """Adds guidance for calls on which a machine answers: menus, hold music, voice mail."""

    opening: Opening = "line"
    """Who speaks first: the agent with `greeting`, the agent with its own words, or the caller."""
    greeting: str | None = "Hello! How can I help you?"
    greeting_interruptible: bool = True

    language: str | None = None
    """ISO 639-1, for the recogniser of the caller's words; `None`: it finds out."""
    transcription: str = "gpt-transcribe"
    """The recogniser's model, or `off`."""
    keywords: tuple[str, ...] = ()
    """Names and terms that the recogniser may meet."""

    turn_detection: TurnDetection = "server_vad"
    """`none`: the caller ends every turn with the `#` key."""
    threshold: float = 0.5
    prefix_padding_ms: int = 300
    silence_duration_ms: int = 500
    idle_timeout_ms: int | None = None
    eagerness: Eagerness = "auto"
    """For `semantic_vad`; the four above are for `server_vad`."""
    create_response: bool = True
    """False: the gateway asks for every answer itself."""
    interrupt_response: bool = True

    noise_reduction: NoiseReduction = "off"
    max_output_tokens: int | Literal["inf"] = "inf"
    reasoning_effort: Effort | None = None
    tool_choice: str = "auto"
    """`auto`, `none`, `required`, or the name of a function."""
    parallel_tool_calls: bool | None = None
    temperature: float | None = None
    """Read where an old configuration has it, and never sent: no session takes it any more."""
    audio: AudioFormat = "g711_ulaw"
    """What the session speaks. The phone always speaks mu-law. `pcm16` makes every turn of the
    caller up to 73 ms later: that much is held back by the resampler."""

    max_call_s: float | None = None
    """`None`: as `calls.max_call_s` says."""
    max_silence_s: float | None = 30.0
    """Silence of both sides after which the agent asks, and after as much again says goodbye."""
    max_cost_usd: float | None = None
    wrap_up_s: float = 30.0
    """How long before its longest length the agent is told to come to an end."""

    tools: tuple[Path, ...] = ()
    """Files of Python functions; the last definition of a name wins."""
    http_tools: tuple[str, ...] = (ALL_TOOLS,)
    """Names of `[tools.NAME]`; `*`: all of them."""
    builtin_tools: tuple[BuiltinTool, ...] = ()
    """Those that come with the gateway. See docs/tools.md."""
    mcp: tuple[str, ...] = (ALL_TOOLS,)
    """Names of `[mcp.NAME]`, servers of tools; `*`: all of them."""
    tool_filler: str | None = "One moment, please."
    """Said when a tool is slow and nobody speaks; `None`: nothing."""
    tool_filler_after_s: float = 1.5
    keypad: bool = True
    """Whether the model is told of the keys that the caller presses."""
    key_tones: KeyTones = "redirect"
    """How `send_dtmf` sends: by the carrier, on a stream opened anew, or as tones in the audio."""
    transfer_to: str | None = attrs.field(default=None, repr=False)
    """A number or a SIP URI: gives the agent `transfer_call`."""
    transfer_by: str | None = attrs.field(default=None, repr=False)
    """What the callee of a transfer is shown; `None`: the caller's number."""
    transfer_whisper: bool = False
    """Whether the callee is first told what the call is about."""

    fallback_model: str | None = None
    """Answers when `model` cannot be had."""
    fallback_url: str | None = None
    """Where the fallback is; `None`: where `model` is."""
    fallback_api_key: Secret | None = None
    filler: str | None = "One moment, please."
    """Said when the session was lost and another one is being opened."""
    apology: str = "Sorry, we have a technical problem."
    """Said when there is none to be had. What follows is `on_failure`."""
    on_failure: OnFailure = "hang_up"


@attrs.frozen
class Agent:
    """An agent that can take a call."""

    name: str = DEFAULT
    settings: AgentSettings = attrs.field(factory=AgentSettings)
    version: str = ""
    """A hash of everything that makes it what it is: its settings, its instructions, its tools."""
    tools: Toolbox | None = attrs.field(default=None, eq=False, repr=False)
    """The functions of its files, as they were when it was made. `None`: it has no files."""
    http_tools: tuple[HttpTool, ...] = ()
    """Those that are HTTP requests."""
    mcp: tuple[McpServer, ...] = ()
    """The servers whose tools it has."""


def instructions_for(settings: AgentSettings, caller: str, today: date) -> str:
    """What the model is told at the beginning of a call.

    Args:
        settings: Of the agent. Its `instructions` are the text, wherever it came from.
        caller: As the carrier names them: `+4930123456`, `sip:...`, or something else for nobody.
        today: Where the agent works.

    """
    text = settings.instructions
    if settings.phone_menus:
        text = f"{text}\n\n{PHONE_MENUS}"
    known = caller not in NUMBERLESS and _SHOWN_CALLER.fullmatch(caller) is not None
    woven = {
        "{date}": f"{_WEEKDAYS[today.weekday()]}, {today.isoformat()}",
        "{caller}": caller if known else WITHHELD,
    }
    # In one pass: what is put in place of one is not looked at again.
    return re.sub(r"\{date\}|\{caller\}", lambda found: woven[found[0]], text)
