"""Seeds in which something was found once, or in which much meets: none of it may come back."""

from __future__ import annotations

import pytest

from gateway.lab.simulator.simulation import simulate

FOUND = {
    46: "A tool that raised SystemExit ended the gateway, and every call in it.",
    130: "Audio of a response that was over came when the caller spoke, and was played to them.",
    449: "A frame being sent to the model when its call ended was counted nowhere.",
    847: "A dead phone was waited for for 12 s, because a transfer began each wait anew.",
}
MET = {
    386: "Four calls: a session that is never created, and a recorder that stands still.",
    800: "The machine sleeps for ten minutes in the middle of two calls and of a tool.",
    864: "The gateway is told to stop while a slow store is still writing a record.",
}


@pytest.mark.parametrize("seed", FOUND | MET)
def test_a_seed_that_broke_a_promise_once_keeps_all_of_them(seed: int) -> None:
    assert simulate(seed).violations == ()
