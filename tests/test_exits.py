from __future__ import annotations

from typing import get_args

import attrs
import pytest

from actors.errors import LaneOverflow, PeerGone, ProtocolError, SessionRefused, ToolRefused
from actors.exits import (
    AgentHungUp,
    CallerHungUp,
    Crashed,
    Exit,
    Killed,
    PeerLost,
    Refused,
    Side,
    Stalled,
    TimedOut,
    Transferred,
    explain,
    loggable,
)

GONE = PeerGone("carrier", 1006, "the network is down")
EXPLAINED: list[tuple[Exception, Exit]] = [
    (GONE, PeerLost("carrier", 1006, "the network is down")),
    (PeerGone("session", None, "silent"), PeerLost("session", None, "silent")),
    (ProtocolError("carrier", "too much"), PeerLost("carrier", None, "too much")),
    (SessionRefused("invalid_api_key", "no"), Refused("invalid_api_key", "no")),
    (LaneOverflow("bargein", 4096), Stalled("bargein", 4096)),
    (KeyError("item_1"), Crashed("bargein", "KeyError: 'item_1'")),
    (ToolRefused("no such tool"), Crashed("bargein", "ToolRefused: no such tool")),
    (ExceptionGroup("nursery", [GONE]), PeerLost("carrier", 1006, "the network is down")),
    (
        ExceptionGroup("outer", [ExceptionGroup("inner", [LaneOverflow("turns", 1)])]),
        Stalled("turns", 1),
    ),
    (
        ExceptionGroup("two", [GONE, KeyError("item_1")]),
        Crashed("bargein", "KeyError: 'item_1'"),
    ),
]
SIDES: list[tuple[Exit, Side]] = [
    (CallerHungUp(), "caller"),
    (AgentHungUp("done", goodbye_heard=True), "agent"),
    (Transferred(), "agent"),
    (PeerLost("carrier", None, ""), "carrier"),
    (PeerLost("session", 1011, ""), "session"),
    (Refused("insufficient_quota", ""), "session"),
    (Stalled("turns", 4096), "gateway"),
    (Crashed("turns", "KeyError: 1"), "gateway"),
    (TimedOut(3600), "gateway"),
    (TimedOut(90.5, "cost"), "gateway"),
    (Killed(), "gateway"),
]


@pytest.mark.parametrize(
    ("error", "why"), EXPLAINED, ids=[f"{type(e).__name__}-{e}"[:40] for e, _ in EXPLAINED]
)
def test_what_an_actor_raises_is_an_ending(error: Exception, why: Exit) -> None:
    assert explain(error, actor="bargein") == why


@pytest.mark.parametrize(("why", "side"), SIDES, ids=[f"{type(w).__name__}-{s}" for w, s in SIDES])
def test_every_ending_says_whose_it_was(why: Exit, side: Side) -> None:
    assert why.side == side


def test_every_ending_and_every_side_is_among_them() -> None:
    assert {type(why) for why, _ in SIDES} == set(get_args(Exit))
    assert {side for _, side in SIDES} == set(get_args(Side))


@pytest.mark.parametrize("why", [why for why, _ in SIDES], ids=lambda why: type(why).__name__)
def test_no_ending_can_be_changed(why: Exit) -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(why, attrs.fields(type(why))[0].name, "other")


@pytest.mark.parametrize(
    "why",
    [
        AgentHungUp("secret", goodbye_heard=True, tool_call_id="secret"),
        PeerLost("session", 1011, "secret"),
        Refused("invalid_api_key", "secret"),
        Crashed("turns", "ValueError: secret"),
    ],
    ids=lambda why: type(why).__name__,
)
def test_a_log_is_told_the_ending_and_nobodys_words(why: Exit) -> None:
    told = loggable(why)

    assert (told["ending"], told["side"]) == (type(why).__name__, why.side)
    assert "secret" not in repr(told)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (GONE, "carrier is gone (1006): the network is down"),
        (PeerGone("session", None, "silent"), "session is gone: silent"),
        (SessionRefused("session_expired", "60 min"), "the session was refused (session_expired)"),
        (ProtocolError("carrier", "media.payload is empty"), "carrier: media.payload is empty"),
        (LaneOverflow("turns", 9), "lane turns is full at 9"),
        (ToolRefused("there is no tool"), "there is no tool"),
    ],
)
def test_every_error_reads_as_a_sentence(error: Exception, text: str) -> None:
    assert str(error).startswith(text)
