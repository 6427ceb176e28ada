"""The rules by themselves, and against a server that may be slow, deaf, silent or forgetful."""

from __future__ import annotations

from collections import deque
from typing import Literal

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from actors.errors import FATAL_CODES
from actors.messages import (
    CancelResponse,
    CreateResponse,
    OrderRefused,
    ResponseFinished,
    ResponseStarted,
    ResponseStatus,
    SpeechStarted,
    SpeechStopped,
    ToolOutputAccepted,
)
from actors.policy.turns import (
    CONFIRM_MS,
    RETRY_MS,
    SERVER_TURN_MS,
    UNCONFIRMED_MAX,
    GaveUp,
    Phase,
    TurnOrder,
    Turns,
)

GREETING = CreateResponse("greeting", "Say hello.")
TOOLS = CreateResponse("tools")
Orders = list[TurnOrder] | GaveUp
UNKNOWN = "a response nobody told of"
BUSY = "conversation_already_has_active_response"


def started(
    turns: Turns, name: str = "r1", purpose: str | None = None, now_ms: float = 0
) -> Orders:
    """With a purpose, it obeys the latest order."""
    number = turns.number if purpose is not None else None
    return turns.response_started(ResponseStarted(name, purpose, number), now_ms=now_ms)


def finished(
    turns: Turns,
    name: str = "r1",
    status: ResponseStatus = "completed",
    now_ms: float = 0,
    reason: str | None = None,
) -> Orders:
    return turns.response_finished(ResponseFinished(name, status, reason), now_ms=now_ms)


def test_a_wish_is_ordered_at_once_when_there_is_room() -> None:
    turns = Turns()

    assert turns.wants(GREETING, now_ms=0) == [GREETING]
    assert turns.phase is Phase.ASKED


def test_a_second_wish_waits_for_the_first_ones_end() -> None:
    turns = Turns()
    turns.wants(GREETING, now_ms=0)

    assert turns.wants(TOOLS, now_ms=1) == []
    started(turns, "r1", "greeting")
    turns = Turns()
    started(turns, "r1")

    assert turns.wants(TOOLS, now_ms=1) == []
    assert finished(turns, "r1") == [TOOLS]


def test_a_wish_about_an_output_outlives_a_response_that_did_not_know_it() -> None:
    turns = Turns()
    turns.wants(GREETING, now_ms=0)
    turns.wants(TOOLS, now_ms=1, about=frozenset({"call_1"}))
    started(turns, "r1", "greeting")

    assert finished(turns, "r1") == [TOOLS]


def test_a_wish_is_fulfilled_by_a_response_of_the_server_that_knows_the_output() -> None:
    turns = Turns()
    turns.speech_started(now_ms=0)
    turns.wants(TOOLS, now_ms=1, about=frozenset({"call_1"}))
    turns.output_accepted("call_1")
    turns.speech_stopped(now_ms=100)
    started(turns, "r1", now_ms=200)

    assert finished(turns, "r1", now_ms=900) == []
    assert turns.due_ms() is None


def test_all_the_outputs_of_two_wishes_have_to_be_known() -> None:
    turns = Turns()
    turns.speech_started(now_ms=0)
    turns.wants(TOOLS, now_ms=1, about=frozenset({"call_1"}))
    turns.wants(TOOLS, now_ms=1, about=frozenset({"call_2"}))
    turns.output_accepted("call_2")
    turns.speech_stopped(now_ms=100)
    started(turns, "r1", now_ms=200)

    assert finished(turns, "r1", now_ms=900) == [TOOLS]


def test_an_output_known_before_it_was_asked_about_is_answered_once() -> None:
    """The server's own answer comes late, just behind our order, and knows the output."""
    turns = Turns()
    turns.speech_started(now_ms=0)
    turns.wants(TOOLS, now_ms=1, about=frozenset({"call_1"}))
    turns.output_accepted("call_1")
    turns.speech_stopped(now_ms=100)

    assert turns.tick(now_ms=100 + SERVER_TURN_MS) == [TOOLS]
    started(turns, "r1", now_ms=3_200)
    turns.refused(BUSY, now_ms=3_210)

    assert finished(turns, "r1", now_ms=9_000) == []
    assert turns.due_ms() is None


def test_nothing_is_ordered_while_the_caller_speaks() -> None:
    turns = Turns()
    turns.speech_started(now_ms=0)

    assert turns.wants(GREETING, now_ms=1) == []
    assert turns.due_ms() is None


@pytest.mark.parametrize(
    ("after_ms", "orders"), [(SERVER_TURN_MS - 1, []), (SERVER_TURN_MS, [TOOLS])]
)
def test_the_servers_own_answer_comes_first_for_three_seconds(
    after_ms: int, orders: list[CreateResponse]
) -> None:
    turns = Turns()
    turns.speech_started(now_ms=0)
    turns.wants(TOOLS, now_ms=1, about=frozenset({"call_1"}))

    assert turns.speech_stopped(now_ms=1_000) == []
    assert turns.due_ms() == 1_000 + SERVER_TURN_MS
    assert turns.tick(now_ms=1_000 + after_ms) == orders


def test_a_server_that_never_answers_by_itself_is_not_waited_for() -> None:
    turns = Turns(server_answers=False)
    turns.speech_started(now_ms=0)
    turns.wants(TOOLS, now_ms=1)

    assert turns.speech_stopped(now_ms=1_000) == [TOOLS]


@pytest.mark.parametrize(("after_ms", "orders"), [(CONFIRM_MS - 1, []), (CONFIRM_MS, [GREETING])])
def test_an_order_nobody_heard_of_is_given_again(
    after_ms: int, orders: list[CreateResponse]
) -> None:
    turns = Turns()
    turns.wants(GREETING, now_ms=500)

    assert turns.due_ms() == 500 + CONFIRM_MS
    assert turns.tick(now_ms=500 + after_ms) == orders


def test_a_server_that_never_confirms_an_order_is_given_up() -> None:
    turns = Turns()
    turns.wants(GREETING, now_ms=0)
    for number in range(1, UNCONFIRMED_MAX):
        assert turns.tick(now_ms=number * CONFIRM_MS) == [GREETING]

    assert turns.tick(now_ms=UNCONFIRMED_MAX * CONFIRM_MS) == GaveUp("no_response")


def test_any_word_of_a_response_is_a_sign_of_life() -> None:
    turns = Turns()
    now_ms = 0.0
    for number in range(10):
        turns.wants(GREETING, now_ms=now_ms)
        now_ms += CONFIRM_MS
        assert turns.tick(now_ms=now_ms) == [GREETING]
        started(turns, f"r{number}", "greeting", now_ms)
        finished(turns, f"r{number}", "completed", now_ms)


def test_a_turn_the_server_forgot_is_answered_at_our_word() -> None:
    turns = Turns()
    turns.speech_started(now_ms=0)
    turns.speech_stopped(now_ms=1_000)

    assert turns.tick(now_ms=1_000 + SERVER_TURN_MS) == [CreateResponse("retry")]


def test_an_order_nobody_heard_of_waits_for_the_caller_before_it_is_given_again() -> None:
    turns = Turns()
    turns.wants(GREETING, now_ms=0)
    turns.speech_started(now_ms=9_000)

    assert turns.tick(now_ms=CONFIRM_MS) == []
    assert turns.due_ms() is None
    turns.speech_stopped(now_ms=20_000)
    assert turns.tick(now_ms=20_000 + SERVER_TURN_MS) == [GREETING]


def test_our_response_is_cancelled_when_it_starts_while_the_caller_speaks() -> None:
    """And the wish for it is not forgotten."""
    turns = Turns()
    turns.wants(TOOLS, now_ms=0, about=frozenset({"call_1"}))
    turns.speech_started(now_ms=10)

    assert started(turns, "r1", "tools", 20) == [CancelResponse("r1")]
    assert finished(turns, "r1", "cancelled", 30, "client_cancelled") == []
    turns.speech_stopped(now_ms=1_000)
    assert turns.tick(now_ms=1_000 + SERVER_TURN_MS) == [TOOLS]


def test_the_servers_response_is_the_servers_affair_while_the_caller_speaks() -> None:
    turns = Turns()
    turns.speech_started(now_ms=10)

    assert started(turns, "r1", None, 20) == []


@pytest.mark.parametrize("server_interrupts", [True, False])
def test_an_active_response_is_cancelled_by_whoever_is_to_do_it(
    server_interrupts: bool,
) -> None:
    turns = Turns(server_interrupts=server_interrupts)
    started(turns, "r1")

    orders = turns.speech_started(now_ms=10)

    assert orders == ([] if server_interrupts else [CancelResponse("r1")])


def test_a_refused_order_waits_for_the_end_of_the_response_in_its_way() -> None:
    turns = Turns()
    turns.wants(TOOLS, now_ms=0, about=frozenset({"call_1"}))

    assert turns.refused(BUSY, now_ms=10) == []
    assert turns.phase is Phase.ACTIVE
    assert turns.due_ms() is None
    assert finished(turns, "unknown", now_ms=500) == [TOOLS]


def test_a_refusal_behind_the_news_of_the_servers_response_changes_nothing() -> None:
    turns = Turns()
    turns.wants(TOOLS, now_ms=0, about=frozenset({"call_1"}))
    started(turns, "r1", None, 10)
    turns.refused(BUSY, now_ms=20)

    assert finished(turns, "r1", now_ms=500) == [TOOLS]


@pytest.mark.parametrize("code", ["response_cancel_not_active", "item_truncate_invalid", ""])
def test_other_refusals_are_not_about_creating(code: str) -> None:
    turns = Turns()
    turns.wants(GREETING, now_ms=0)

    assert turns.refused(code, now_ms=10) == []
    assert turns.phase is Phase.ASKED


def test_a_response_that_ends_without_having_begun_is_known_by_its_order() -> None:
    """Else the greeting would be asked for, and spoken, once more."""
    turns = Turns()
    turns.wants(GREETING, now_ms=0)

    assert finished(turns, "r9", "cancelled") == []
    assert turns.wants(TOOLS, now_ms=1) == []

    ours = ResponseFinished("r8", "completed", number=turns.number)
    assert turns.response_finished(ours, now_ms=10) == []
    assert turns.due_ms() is None


def test_a_response_that_fails_without_having_begun_is_asked_for_again() -> None:
    turns = Turns()
    turns.wants(GREETING, now_ms=0)
    ours = ResponseFinished("r8", "failed", number=turns.number)

    assert turns.response_finished(ours, now_ms=0) == []
    assert turns.tick(now_ms=RETRY_MS[0]) == [CreateResponse("retry", GREETING.instructions)]


def test_the_end_of_another_response_is_not_the_end_of_the_active_one() -> None:
    turns = Turns()
    started(turns, "r1")
    finished(turns, "r0", "cancelled")

    assert turns.phase is Phase.ACTIVE
    assert turns.wants(TOOLS, now_ms=0) == []


def test_a_failed_response_is_asked_for_again_after_a_pause() -> None:
    turns = Turns()
    started(turns, "r1")
    now_ms = 1_000.0
    for pause_ms in RETRY_MS:
        assert finished(turns, "r1", "failed", now_ms, "server_error") == []
        assert turns.due_ms() == now_ms + pause_ms
        assert turns.tick(now_ms=now_ms + pause_ms - 1) == []
        now_ms += pause_ms
        assert turns.tick(now_ms=now_ms) == [CreateResponse("retry")]
        started(turns, "r1", "retry", now_ms)

    assert finished(turns, "r1", "failed", now_ms, "server_error") == GaveUp("server_error")


def test_a_failed_greeting_is_still_the_greeting_when_it_is_asked_for_again() -> None:
    """What is to be said exactly must not become whatever the model likes."""
    turns = Turns()
    turns.wants(GREETING, now_ms=0)
    started(turns, "r1", "greeting")
    finished(turns, "r1", "failed")

    assert turns.tick(now_ms=RETRY_MS[0]) == [CreateResponse("retry", GREETING.instructions)]


def test_a_later_failure_is_not_taken_for_the_greetings() -> None:
    turns = Turns()
    turns.wants(GREETING, now_ms=0)
    started(turns, "r1", "greeting")
    finished(turns, "r1")
    finished(turns, "r2", "failed")

    assert turns.tick(now_ms=RETRY_MS[0]) == [CreateResponse("retry")]


def test_an_order_obeyed_after_all_is_cancelled_when_somebody_has_spoken_for_it() -> None:
    """The order was slow; the server's own answer came and went, and said what there was."""
    turns = Turns()
    turns.wants(TOOLS, now_ms=0)
    started(turns, "r1", None, 10)
    finished(turns, "r1", now_ms=20)

    assert turns.response_started(ResponseStarted("r2", "tools", 1), now_ms=30) == [
        CancelResponse("r2")
    ]
    assert finished(turns, "r2", "cancelled", 40) == []
    assert turns.due_ms() is None


def test_an_order_given_again_is_fulfilled_by_the_first_one_when_that_is_obeyed_late() -> None:
    turns = Turns()
    turns.wants(TOOLS, now_ms=0, about=frozenset({"call_1"}))
    assert turns.tick(now_ms=CONFIRM_MS) == [TOOLS]
    turns.response_started(ResponseStarted("r1", "tools", 1), now_ms=CONFIRM_MS + 1)
    turns.refused(BUSY, now_ms=CONFIRM_MS + 2)

    assert finished(turns, "r1", now_ms=CONFIRM_MS + 500) == []
    assert turns.due_ms() is None


def test_a_wish_that_comes_back_is_not_lost_in_one_that_asks_for_less() -> None:
    """The server's response, in the way of our order, began before the output was known."""
    turns = Turns()
    turns.wants(TOOLS, now_ms=0, about=frozenset({"call_1"}))
    turns.wants(GREETING, now_ms=1)
    started(turns, "r1", None, 10)
    turns.output_accepted("call_1")
    turns.refused(BUSY, now_ms=20)

    assert finished(turns, "r1", now_ms=500) == [TOOLS]


def test_a_success_forgives_the_failures_before_it() -> None:
    turns = Turns()
    for number in range(10):
        started(turns, f"r{number}")
        assert not isinstance(finished(turns, f"r{number}", "failed"), GaveUp)
        started(turns, f"s{number}")
        finished(turns, f"s{number}", "completed")


@pytest.mark.parametrize("code", sorted(FATAL_CODES))
def test_what_no_retry_helps_against_is_given_up_at_once(code: str) -> None:
    turns = Turns()
    started(turns, "r1")

    assert finished(turns, "r1", "failed", 0, code) == GaveUp(code)


def test_a_failure_without_a_word_is_a_failure() -> None:
    turns = Turns()
    for _ in RETRY_MS:
        finished(turns, "r1", "failed")

    assert finished(turns, "r1", "failed") == GaveUp("failed")


def test_a_response_is_cancelled_only_while_it_is_being_made() -> None:
    turns = Turns()

    assert turns.cancels("r1") == []
    started(turns, "r1")
    assert turns.cancels("r0") == []
    assert turns.cancels("r1") == [CancelResponse("r1")]
    finished(turns, "r1")
    assert turns.cancels("r1") == []


FACTS = st.one_of(
    st.builds(SpeechStarted, st.just("item"), st.just(0)),
    st.builds(SpeechStopped, st.just("item"), st.just(0)),
    st.builds(ResponseStarted, st.sampled_from("rst"), st.sampled_from([None, "tools", "retry"])),
    st.builds(
        ResponseFinished,
        st.sampled_from("rst"),
        st.sampled_from(["completed", "cancelled", "incomplete", "failed"]),
    ),
    st.builds(ToolOutputAccepted, st.sampled_from("abc")),
    st.builds(OrderRefused, st.sampled_from([BUSY, "response_cancel_not_active"])),
)


class Believing(RuleBasedStateMachine):
    """What may be ordered, judged by what was told; drives `Turns` as its actor does."""

    turns: Turns
    now_ms: float = 0.0
    speaking = False
    active: str | None = None
    """The response being made, as far as was told."""
    asked_ms: float | None = None
    gave_up: GaveUp | None = None
    """Whatever follows does not matter any more."""

    def told(self, fact: object) -> list[TurnOrder]:
        """Tell it a fact, and check what it orders."""
        orders: Orders = []
        turns, now_ms = self.turns, self.now_ms
        match fact:
            case SpeechStarted():
                self.speaking = True
                orders = turns.speech_started(now_ms=now_ms)
            case SpeechStopped():
                self.speaking = False
                orders = turns.speech_stopped(now_ms=now_ms)
            case ResponseStarted():
                self.active, self.asked_ms = fact.response_id, None
                orders = turns.response_started(fact, now_ms=now_ms)
            case ResponseFinished():
                if self.active in (None, UNKNOWN, fact.response_id):
                    self.active = self.asked_ms = None
                orders = turns.response_finished(fact, now_ms=now_ms)
            case ToolOutputAccepted(tool_call_id):
                turns.output_accepted(tool_call_id)
            case OrderRefused(code):
                asked_ms = self.asked_ms
                if code == BUSY and asked_ms is not None and now_ms < asked_ms + CONFIRM_MS:
                    self.active, self.asked_ms = UNKNOWN, None
                orders = turns.refused(code, now_ms=now_ms)
            case _:
                raise AssertionError(fact)
        return self.ordered(orders)

    def ordered(self, orders: Orders) -> list[TurnOrder]:
        """Check orders against the rules that hold whatever a server does."""
        if isinstance(orders, GaveUp):
            self.gave_up = orders
            return []
        for order in orders:
            if isinstance(order, CreateResponse):
                assert not self.speaking
                assert self.active is None
                assert self.asked_ms is None or self.now_ms >= self.asked_ms + CONFIRM_MS
                self.asked_ms = self.now_ms
        assert len(orders) <= 1
        return list(orders)

    def passed(self, ms: float) -> list[TurnOrder]:
        """Let time go by, waking up when the policy wants to."""
        until_ms = self.now_ms + ms
        orders: list[TurnOrder] = []
        for _ in range(100):
            due_ms = self.turns.due_ms()
            if due_ms is None or due_ms > until_ms or self.gave_up is not None:
                self.now_ms = until_ms
                return orders
            self.now_ms = max(self.now_ms, due_ms)
            orders += self.ordered(self.turns.tick(now_ms=self.now_ms))
        raise AssertionError("it is always due")


class AnyFacts(Believing):
    """Facts in any order, from a server that makes no sense."""

    @initialize(interrupts=st.booleans(), answers=st.booleans())
    def begin(self, interrupts: bool, answers: bool) -> None:
        self.turns = Turns(interrupts, answers)

    @rule(fact=FACTS)
    def fact(self, fact: object) -> None:
        if self.gave_up is None:
            self.told(fact)

    @rule(about=st.frozensets(st.sampled_from("abc")))
    def want(self, about: frozenset[str]) -> None:
        if self.gave_up is None:
            self.ordered(self.turns.wants(TOOLS, now_ms=self.now_ms, about=about))

    @rule(ms=st.sampled_from([0, 1, 499, 500, 2_999, 3_000, 10_000, 60_000]))
    def time(self, ms: int) -> None:
        if self.gave_up is None:
            self.passed(ms)


class Server(Believing):
    """A server with its one response at a time, and a line with delay to it and back."""

    up: deque[object]
    down: deque[object]
    response: str | None = None
    obeys: int | None = None
    answers = True
    interrupts = True
    numbered = 0
    caller = False
    delay_ms = 0.0
    """How long something may have been on the line."""
    known: frozenset[str] = frozenset()
    wishes: list[frozenset[str]]
    """What a response has to know to fulfil each wish that is not fulfilled."""
    hopes: dict[str, list[frozenset[str]]]
    """Wishes that a response fulfils, unless it fails or is cancelled at its start."""
    knew: dict[str, frozenset[str]]
    """The outputs that a response knows."""

    @initialize(interrupts=st.booleans(), answers=st.booleans())
    def begin(self, interrupts: bool, answers: bool) -> None:
        self.turns = Turns(interrupts, answers)
        self.interrupts, self.answers = interrupts, answers
        self.up, self.down, self.wishes = deque(), deque(), []
        self.hopes, self.knew = {}, {}

    def create(self, order: CreateResponse | None) -> None:
        self.numbered += 1
        self.response = f"resp_{self.numbered}"
        self.obeys = order.number if order else None
        purpose = order.purpose if order else None
        self.down.append(ResponseStarted(self.response, purpose, self.obeys))
        self.knew[self.response] = self.known

    def finish(self, status: ResponseStatus, reason: str | None = None) -> None:
        assert self.response is not None
        self.down.append(ResponseFinished(self.response, status, reason, number=self.obeys))
        self.response = None

    @precondition(lambda self: self.gave_up is None)
    @rule(number=st.integers(0, 2))
    def want(self, number: int) -> None:
        """Outputs go before the wish, down the same line."""
        about = frozenset(f"call_{self.numbered}_{n}" for n in range(number))
        self.up.extend(about)
        self.wishes.append(about)
        self.up.extend(self.ordered(self.turns.wants(TOOLS, now_ms=self.now_ms, about=about)))

    @precondition(lambda self: self.up)
    @rule()
    def arrive(self) -> None:
        match self.up.popleft():
            case CreateResponse() as order:
                if self.response is None:
                    self.create(order)
                else:
                    self.down.append(OrderRefused(BUSY))
            case CancelResponse(response_id):
                if self.response == response_id:
                    self.finish("cancelled", "client_cancelled")
                else:
                    self.down.append(OrderRefused("response_cancel_not_active"))
            case str(tool_call_id):
                self.known |= {tool_call_id}
                self.down.append(ToolOutputAccepted(tool_call_id))
            case other:
                raise AssertionError(other)

    @precondition(lambda self: self.down and self.gave_up is None)
    @rule()
    def hear(self) -> None:
        fact = self.down.popleft()
        orders = self.told(fact)
        self.up.extend(orders)
        match fact:
            case ResponseStarted(response_id) if CancelResponse(response_id) in orders:
                self.hopes[response_id] = []
            case ResponseStarted(response_id):
                self.hope(response_id)
            case ResponseFinished(response_id, "failed"):
                self.wishes += self.hopes.pop(response_id, [])
            case ResponseFinished(response_id) if response_id not in self.hopes:
                self.hope(response_id)
            case _:
                pass

    def hope(self, response_id: str) -> None:
        """Take wishes for fulfilled by what is heard of now."""
        knew = self.knew[response_id]
        self.hopes[response_id] = [about for about in self.wishes if about <= knew]
        self.wishes = [about for about in self.wishes if not about <= knew]

    @precondition(lambda self: not self.caller)
    @rule()
    def speak(self) -> None:
        self.caller = True
        self.down.append(SpeechStarted("item", 0))
        if self.response is not None and self.interrupts:
            self.finish("cancelled", "turn_detected")

    @precondition(lambda self: self.caller)
    @rule(cough=st.booleans())
    def stop_speaking(self, cough: bool) -> None:
        self.caller = False
        self.down.append(SpeechStopped("item", 0))
        if self.answers and not cough and self.response is None:
            self.create(None)

    @precondition(lambda self: self.response is not None)
    @rule(status=st.sampled_from(["completed", "incomplete", "failed"]))
    def end(self, status: ResponseStatus) -> None:
        self.finish(status)

    @rule(ms=st.sampled_from([1, 500, 3_000, 10_000]))
    def time(self, ms: int) -> None:
        """Whatever takes the line longer than an order is waited for was lost on it."""
        while ms > 0:
            step_ms = min(ms, 500)
            ms -= step_ms
            self.delay_ms += step_ms
            while self.delay_ms >= CONFIRM_MS and (self.up or self.down) and self.gave_up is None:
                if self.up:
                    self.arrive()
                else:
                    self.hear()
            if not self.up and not self.down:
                self.delay_ms = 0.0
            if self.gave_up is None:
                self.up.extend(self.passed(step_ms))

    @precondition(lambda self: any(isinstance(order, CreateResponse) for order in self.up))
    @rule()
    def lose_an_order(self) -> None:
        order = next(order for order in self.up if isinstance(order, CreateResponse))
        self.up.remove(order)

    @precondition(lambda self: any(isinstance(fact, ResponseStarted) for fact in self.down))
    @rule()
    def keep_a_start_to_itself(self) -> None:
        """And then nobody can know that it ought not to have talked over the caller."""
        fact = next(fact for fact in self.down if isinstance(fact, ResponseStarted))
        self.down.remove(fact)

    def teardown(self) -> None:
        """When it goes quiet, every wish comes true, unless it was given up for good reason."""
        if not hasattr(self, "up"):
            return
        for _ in range(200):
            if self.gave_up is not None:
                return
            if self.up:
                self.arrive()
            elif self.down:
                self.hear()
            elif self.response is not None:
                self.finish("completed")
            elif self.caller:
                self.stop_speaking(cough=True)
            elif self.turns.due_ms() is not None:
                self.time(1_000)
            else:
                break
        else:
            raise AssertionError("it never goes quiet")
        assert self.wishes == []
        assert self.turns.phase is Phase.IDLE


TestAnyFacts = AnyFacts.TestCase
TestAnyFacts.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestServer = Server.TestCase
TestServer.settings = settings(max_examples=250, stateful_step_count=50, deadline=None)


# A session that is lost, and the next one.


def test_nothing_is_ordered_while_there_is_no_session() -> None:
    turns = Turns()
    turns.session_lost("nothing", hears_again=False, now_ms=0)

    assert turns.wants(CreateResponse("tools"), now_ms=1) == []
    assert turns.due_ms() is None
    assert turns.session_live(now_ms=2) == [CreateResponse("tools")]


def test_what_was_ordered_is_ordered_again() -> None:
    turns = Turns()
    (first,) = turns.wants(CreateResponse("tools"), now_ms=0, about=frozenset({"t1"}))

    assert turns.session_lost("nothing", hears_again=False, now_ms=1) == []
    (second,) = turns.session_live(now_ms=2)

    assert isinstance(first, CreateResponse)
    assert isinstance(second, CreateResponse)
    assert (first.losses, second.losses) == (0, 1)
    assert second == first
    assert second.number > first.number


@pytest.mark.parametrize(
    ("said", "again"), [("nothing", "greeting"), ("part", "retry"), ("all", None)]
)
def test_a_greeting_that_was_begun_is_never_repeated(
    said: Literal["nothing", "part", "all"], again: str | None
) -> None:
    turns = Turns()
    turns.wants(CreateResponse("greeting", "Say hello."), now_ms=0)
    turns.response_started(ResponseStarted("r1", "greeting", turns.number), now_ms=1)

    turns.session_lost(said, hears_again=False, now_ms=2)
    orders = turns.session_live(now_ms=3)

    purposes = [order.purpose for order in orders if isinstance(order, CreateResponse)]
    assert purposes == ([] if again is None else [again])


def test_an_answer_of_the_servers_own_that_was_lost_is_asked_for() -> None:
    turns = Turns()
    turns.speech_started(now_ms=0)
    turns.speech_stopped(now_ms=1)
    turns.response_started(ResponseStarted("r1"), now_ms=2)

    turns.session_lost("part", hears_again=False, now_ms=3)

    assert turns.session_live(now_ms=4) == [CreateResponse("retry")]


def test_a_turn_that_is_heard_again_is_answered_by_the_server() -> None:
    turns = Turns()
    turns.speech_started(now_ms=0)
    turns.speech_stopped(now_ms=1)

    turns.session_lost("nothing", hears_again=True, now_ms=2)

    assert turns.session_live(now_ms=3) == []
    assert turns.speech_stopped(now_ms=4) == []
    assert turns.response_started(ResponseStarted("r2"), now_ms=5) == []


def test_an_idle_call_that_loses_its_session_wants_nothing() -> None:
    turns = Turns()

    turns.session_lost("nothing", hears_again=False, now_ms=2)

    assert turns.session_live(now_ms=3) == []


def test_where_the_server_answers_nobody_every_turn_is_answered_at_our_word() -> None:
    turns = Turns(server_answers=False)
    turns.speech_started(now_ms=0)

    assert turns.speech_stopped(now_ms=1) == [CreateResponse("turn")]


def test_a_response_that_was_ordered_before_a_turn_is_no_answer_to_it() -> None:
    turns = Turns(server_answers=False)
    turns.wants(CreateResponse("tools"), now_ms=0)
    first = turns.number
    turns.speech_started(now_ms=1)
    turns.speech_stopped(now_ms=2)

    turns.response_started(ResponseStarted("r1", "tools", first), now_ms=3)
    orders = turns.response_finished(ResponseFinished("r1", "completed"), now_ms=4)

    assert orders == [CreateResponse("turn")]
