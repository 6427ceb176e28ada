"""Every way in which a call can end: which side, why, and what is left. Nothing is."""

from __future__ import annotations

import attrs
import pytest
import trio
from structlog.testing import capture_logs

from actors.call import Limits
from actors.exits import (
    AgentHungUp,
    CallerHungUp,
    Crashed,
    Killed,
    PeerLost,
    Refused,
    Stalled,
    TimedOut,
)
from actors.messages import (
    CreateResponse,
    SessionFact,
    SessionLive,
    SessionOrder,
    SpeechStarted,
    SpeechStopped,
)
from gateway.lab.twilio.line_facts import LineEnded
from gateway.lab.world import World
from tests.worlds import CHAT, GOODBYE, LONG_ANSWER, Scripted, at, play, world


async def test_a_caller_who_hangs_up_ends_the_call_as_the_caller(
    autojump_clock: trio.abc.Clock,
) -> None:
    one = world(LONG_ANSWER + "caller: [{wait: agent_speaking, after_ms: 500, hang_up: true}]")
    why = await play(one)

    assert why == CallerHungUp()
    assert one.record.ending.side == "caller"
    assert one.open_sockets == 0


async def test_an_agent_who_hangs_up_is_heard_to_the_last_word(
    autojump_clock: trio.abc.Clock,
) -> None:
    one = world(GOODBYE)
    why = await play(one)

    assert why == AgentHungUp("done", goodbye_heard=True)
    assert all(said.unheard == "" for said in one.record.transcript if said.who == "agent")
    assert one.line.playout.cleared_bytes == 0
    (ended,) = [fact for fact in one.line.facts if isinstance(fact, LineEnded)]
    assert ended.unplayed_bytes == 0


async def test_a_phone_network_that_breaks_is_the_carriers_doing(
    autojump_clock: trio.abc.Clock,
) -> None:
    """No `stop`, no close frame: 1006 is what a server makes of a connection that just ended."""
    broke_s = 0.0

    async def break_line(one: World) -> None:
        nonlocal broke_s
        broke_s = trio.current_time()
        await one.phone_end.aclose(1006)

    one = world(LONG_ANSWER + "caller: [{wait: call_end}]")
    why = await play(one, at(2.0, break_line))

    assert why == PeerLost("carrier", 1006, "left without stop")
    assert one.ended_s is not None
    assert one.ended_s - broke_s <= 0.04 + 0.25


async def test_a_phone_network_that_falls_silent_is_lost_after_five_seconds(
    autojump_clock: trio.abc.Clock,
) -> None:
    async def stop_sending(one: World) -> None:
        one.swallows_frames = True
        await trio.lowlevel.checkpoint()

    one = world(LONG_ANSWER + "caller: [{wait: call_end}]")
    why = await play(one, at(2.0, stop_sending))

    assert why == PeerLost("carrier", None, "silent for 5 s")
    assert 6.9 < one.record.duration_ms / 1000 < 7.1


async def test_a_model_that_closes_ends_the_call_with_its_own_words(
    autojump_clock: trio.abc.Clock,
) -> None:
    one = world(
        LONG_ANSWER
        + """
  faults: [{at: {at_ms: 2000}, do: close, code: 1011, reason: keepalive ping timeout}]
caller: [{wait: call_end}]
"""
    )
    why = await play(one)

    assert why == PeerLost("session", 1011, "keepalive ping timeout")
    assert one.line.ending == "closed_by_server"


async def test_an_expired_session_is_a_refusal_and_not_an_accident(
    autojump_clock: trio.abc.Clock,
) -> None:
    one = world(
        LONG_ANSWER + "  faults: [{at: {at_ms: 3000}, do: expire}]\ncaller: [{wait: call_end}]"
    )
    why = await play(one)

    assert why == Refused("session_expired", "the session was ended by its server")


async def test_a_key_refused_after_the_upgrade_names_the_key(
    autojump_clock: trio.abc.Clock,
) -> None:
    one = world(
        """
model:
  faults:
    - {at: connect, do: close, code: 3000, reason: invalid_request_error.invalid_api_key}
caller: [{wait: call_end}]
"""
    )
    why = await play(one)

    assert isinstance(why, Refused)
    assert why.code == "invalid_api_key"
    assert one.connections == 1


async def test_a_quota_that_runs_out_mid_call_ends_it_with_that_reason(
    autojump_clock: trio.abc.Clock,
) -> None:
    one = world(
        """
model:
  answers: [{fail: {code: insufficient_quota}}]
caller: [{wait: call_end}]
"""
    )
    why = await play(one)

    assert isinstance(why, Refused)
    assert why.code == "insufficient_quota"


async def test_a_model_that_never_says_created_is_tried_twice_and_given_up(
    autojump_clock: trio.abc.Clock,
) -> None:
    one = world("model: {faults: [{at: connect, do: silence}]}\ncaller: [{wait: call_end}]")
    why = await play(one)

    assert why == PeerLost("session", None, "not live within 3 s")
    assert one.connections == 2
    assert one.record.duration_ms <= 6500


async def test_a_voice_that_does_not_exist_is_a_refused_set_up(
    autojump_clock: trio.abc.Clock,
) -> None:
    """One bad value voids the whole update, and a call with the defaults would be static."""
    one = world("caller: [{wait: call_end}]")
    one.session.settings = attrs.evolve(one.session.settings, voice="nobody")
    why = await play(one)

    assert isinstance(why, Refused)
    assert "session.audio.output.voice" in why.message


async def test_responses_that_keep_failing_are_asked_for_three_times(
    autojump_clock: trio.abc.Clock,
) -> None:
    one = world(
        """
model:
  answers:
    - {fail: {code: server_error}}
    - {fail: {code: server_error}}
    - {fail: {code: server_error}}
caller: [{wait: call_end}]
"""
    )
    why = await play(one)

    assert isinstance(why, Refused)
    assert why.code == "server_error"
    assert [response.purpose for response in one.record.responses] == [
        "greeting",
        "retry",
        "retry",
    ]


async def test_one_failed_response_is_made_good_by_the_next(
    autojump_clock: trio.abc.Clock,
) -> None:
    one = world(
        """
model:
  answers: [{fail: {code: rate_limit_exceeded}}, {items: [{say: "Here I am."}]}]
caller: [{wait: agent_quiet, hang_up: true}]
"""
    )
    why = await play(one)

    assert why == CallerHungUp()
    assert [said.heard for said in one.record.transcript] == ["Here I am."]


async def test_a_call_ends_at_its_longest_length(autojump_clock: trio.abc.Clock) -> None:
    one = world(CHAT, limits=Limits(call_s=30))
    why = await play(one)

    assert why == TimedOut(30)
    assert one.record.duration_ms == 30_000


async def test_a_call_lives_up_to_its_longest_length(autojump_clock: trio.abc.Clock) -> None:
    one = world("caller: [{wait_ms: 29000, hang_up: true}]", limits=Limits(call_s=30))
    why = await play(one)

    assert why == CallerHungUp()


async def test_a_cancelled_call_says_killed_and_still_leaves_its_record(
    autojump_clock: trio.abc.Clock,
) -> None:
    async def kill(one: World) -> None:
        one.call_scope.cancel()
        await trio.lowlevel.checkpoint()

    one = world(LONG_ANSWER + "caller: [{wait: call_end}]")
    why = await play(one, at(2.0, kill))

    assert why == Killed()
    assert one.record.duration_ms == pytest.approx(1960, abs=5)
    assert one.open_sockets == 0


async def test_a_lane_that_may_lose_nothing_ends_the_call_when_it_is_full(
    autojump_clock: trio.abc.Clock,
) -> None:
    """Two chunks at once, and room for one."""
    one = world(LONG_ANSWER + "caller: [{wait: call_end}]", limits=Limits(orders=1))
    why = await play(one)

    assert why == Stalled("to_carrier", 1)


async def test_a_crash_ends_its_call_with_a_traceback_and_a_record(
    autojump_clock: trio.abc.Clock,
) -> None:
    class Stumbling:
        """Stands for a session whose adapter has a bug."""

        async def run(self) -> None:
            await trio.lowlevel.checkpoint()

        async def receive(self) -> SessionFact:
            raise ZeroDivisionError("a bug")

        async def send(self, order: SessionOrder) -> None:
            await trio.sleep_forever()

        async def aclose(self) -> None:
            await trio.lowlevel.checkpoint()

    one = world("caller: [{wait: call_end}]")
    one.session = Stumbling()  # type: ignore[assignment]
    with capture_logs() as logs:
        why = await play(one)

    assert why == Crashed("session.reader", "ZeroDivisionError: a bug")
    (crash,) = [line for line in logs if line["event"] == "actor.crashed"]
    assert "ZeroDivisionError: a bug" in crash["traceback"]
    assert one.record.ending == why


async def test_a_model_that_goes_silent_in_a_response_is_given_up_after_twenty_seconds(
    autojump_clock: trio.abc.Clock,
) -> None:
    """Its socket stays open and answers pings; only the caller would notice."""
    one = world(
        LONG_ANSWER + "  faults: [{at: {at_ms: 600}, do: silence}]\ncaller: [{wait: call_end}]"
    )
    why = await play(one)

    assert why == PeerLost("session", None, "silent for 20 s in a response")
    assert one.record.duration_ms < 21_000


async def test_a_model_that_never_begins_an_answer_is_asked_twice_and_given_up(
    autojump_clock: trio.abc.Clock,
) -> None:
    """It heard the caller, and then nothing more came."""
    session = Scripted(SessionLive("s"), SpeechStarted("item", 0), SpeechStopped("item", 500))
    one = world("caller: [{wait: call_end}]", greet=False)
    one.session = session  # type: ignore[assignment]
    why = await play(one)

    assert isinstance(why, Refused)
    assert why.code == "no_response"
    assert session.orders == [CreateResponse("retry"), CreateResponse("retry")]
    assert one.record.duration_ms < 16_000


async def test_a_recorder_that_breaks_costs_the_recording_and_not_the_call(
    autojump_clock: trio.abc.Clock,
) -> None:
    class FullDisk:
        """Stands for a disk without room."""

        async def caller(self, at_ms: int, ulaw: bytes) -> None:
            raise OSError(28, "No space left on device")

        async def agent(self, at_ms: int, ulaw: bytes) -> None:
            raise OSError(28, "No space left on device")

        async def cut(self, at_ms: int) -> None:
            raise OSError(28, "No space left on device")

        async def aclose(self) -> None:
            raise OSError(28, "No space left on device")

    one = world(GOODBYE, recorder=FullDisk())
    why = await play(one)

    assert isinstance(why, AgentHungUp)


async def test_a_store_that_fails_does_not_keep_the_sockets_open(
    autojump_clock: trio.abc.Clock,
) -> None:
    class BrokenStore:
        """Stands for a disk that is gone."""

        async def finish(self, record: object) -> None:
            raise OSError(5, "Input/output error")

    one = world(
        LONG_ANSWER + "caller: [{wait: agent_speaking, hang_up: true}]",
        store=BrokenStore(),
    )
    with capture_logs() as logs:
        why = await play(one)

    assert why == CallerHungUp()
    assert one.open_sockets == 0
    assert one.carrier_end.closed is not None
    assert [line["part"] for line in logs if line["event"] == "call.goodbye_failed"] == ["store"]
