"""The rehearsal model's events come in the order that was recorded from the real server."""

from __future__ import annotations

import pytest

from gateway.lab.openai.model import Close
from gateway.lab.rehearsing.scenario import Answer, Failure, Fault, FaultPoint, Item
from tests.model_client import ULAW, VAD, Client, Json, hum, script, silence, tone, tool_answer

LONG = "We are open from nine in the morning until six in the evening, every day but Sunday."

AUDIO_ITEM = [
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
    "response.output_audio_transcript.delta",
    "response.output_audio.delta",
]
AUDIO_ITEM_END = [
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "conversation.item.done",
    "response.output_item.done",
]
RESPONSE_END = ["response.done", "rate_limits.updated"]
CALL_ITEM = [
    "response.output_item.added",
    "conversation.item.added",
    "response.function_call_arguments.delta",
    "response.function_call_arguments.done",
    "conversation.item.done",
    "response.output_item.done",
]
TURN = [
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "input_audio_buffer.committed",
    "conversation.item.added",
    "conversation.item.done",
    "response.created",
]


def output(call_id: str) -> Json:
    return {"type": "function_call_output", "call_id": call_id, "output": "{}"}


def test_order_a_a_spoken_turn_is_answered() -> None:
    client = Client.on_the_phone(script("Yes."))
    client.speak(600, then_silent_ms=500)
    client.run(3000)

    assert client.kinds() == [*TURN, *AUDIO_ITEM, *AUDIO_ITEM_END, *RESPONSE_END]
    user, agent = client.model.conversation.items()
    assert user["content"] == [{"type": "input_audio", "transcript": None}]
    assert agent["content"] == [{"type": "output_audio", "transcript": "Yes."}]
    assert client.one("response.done")["response"]["output"] == [agent]


def test_order_b_a_tool_turn_follows_on_its_preamble() -> None:
    client = Client.on_the_phone(script(tool_answer("Hm.", "One moment."), LONG))
    client.send("response.create")
    client.run(3000)
    audio = [*AUDIO_ITEM, *AUDIO_ITEM_END]

    # The second item is long enough for words and sound to alternate.
    kinds = [kind for kind in client.kinds() if not kind.endswith(".delta")]
    expected = ["response.created", *audio, *audio, *CALL_ITEM, *RESPONSE_END]
    assert kinds == [kind for kind in expected if not kind.endswith(".delta")]
    done = client.one("response.function_call_arguments.done")
    assert (done["name"], done["arguments"]) == ("opening_hours", '{"day":"Saturday"}')
    response = client.one("response.done")["response"]
    assert [item["type"] for item in response["output"]] == ["message", "message", "function_call"]
    assert client.model.unanswered == [done["call_id"]]

    events = client.send("conversation.item.create", item=output(done["call_id"]))
    assert client.kinds(events) == ["conversation.item.added", "conversation.item.done"]
    assert client.model.unanswered == []
    assert client.kinds(client.send("response.create")) == ["response.created"]
    assert client.model.violations == []


def test_order_c_a_caller_who_interrupts_winds_the_response_down() -> None:
    client = Client.on_the_phone(script(LONG))
    client.send("response.create")
    client.run(600)
    events = client.speak(100)
    cut = client.kinds(events)

    at = cut.index("input_audio_buffer.speech_started")
    assert cut[at:] == ["input_audio_buffer.speech_started", *AUDIO_ITEM_END, *RESPONSE_END]
    response = client.one("response.done")["response"]
    assert response["status"] == "cancelled"
    assert response["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
    assert response["output"][0]["status"] == "incomplete"
    assert LONG.startswith(response["output"][0]["content"][0]["transcript"])
    client.run(5000)
    assert client.events[-1] == events[-1], "nothing of it comes late"


def test_a_response_that_was_finished_is_not_cancelled_by_speech() -> None:
    """The usual case on a phone: all of it was delivered, and most of it is still playing."""
    client = Client.on_the_phone(script(LONG))
    client.send("response.create")
    client.run(3000)
    seen = len(client.events)
    client.speak(100)

    assert client.kinds(client.events[seen:]) == ["input_audio_buffer.speech_started"]
    assert client.one("response.done")["response"]["status"] == "completed"


def test_deltas_are_about_250_ms_of_no_whole_frames_at_4_to_5_times_real_time() -> None:
    client = Client.on_the_phone(script(LONG))
    client.send("response.create")
    client.run(5000)
    deltas = client.all("response.output_audio.delta")
    sizes = [len(delta["delta"]) * 3 // 4 for delta in deltas]
    times = [
        client.times_ms[n]
        for n, event in enumerate(client.events)
        if event["type"] == "response.output_audio.delta"
    ]

    assert client.audio(deltas[0]["item_id"]) == hum(LONG)
    assert sizes[0] < 1600
    assert all(1850 < size < 2150 for size in sizes[1:-1])
    assert all(size % 160 for size in sizes[:-1])
    assert times[0] == 350
    assert 4.0 < len(hum(LONG)) / 8 / (times[-1] - times[0]) < 5.2


def test_the_transcript_runs_ahead_and_adds_up() -> None:
    client = Client.on_the_phone(script(LONG))
    client.send("response.create")
    client.run(5000)
    kinds = [event["type"] for event in client.events]
    words = client.all("response.output_audio_transcript.delta")
    last_word = len(kinds) - 1 - kinds[::-1].index("response.output_audio_transcript.delta")

    assert "".join(event["delta"] for event in words) == LONG
    assert kinds[last_word:].count("response.output_audio.delta") > 5


def test_every_item_of_a_response_has_its_own_output_index() -> None:
    client = Client.on_the_phone(script(tool_answer("Hm.", "One moment.")))
    client.send("response.create")
    client.run(3000)

    added = client.all("response.output_item.added")
    assert [event["output_index"] for event in added] == [0, 1, 2]
    assert len({event["item"]["id"] for event in added}) == 3


def test_speech_is_placed_on_the_time_line_of_the_audio() -> None:
    client = Client.on_the_phone(script("Yes."))
    client.append(silence(1000))
    client.run(60_000)  # Wall time without audio is not heard.
    client.append(tone(400) + silence(500))

    assert client.one("input_audio_buffer.speech_started")["audio_start_ms"] == 1000 - 300
    assert client.one("input_audio_buffer.speech_stopped")["audio_end_ms"] == 1000 + 400 + 500


def test_speech_at_the_very_start_does_not_begin_before_the_audio() -> None:
    client = Client.on_the_phone(script("Yes."))
    client.append(tone(100))

    assert client.one("input_audio_buffer.speech_started")["audio_start_ms"] == 0


def test_a_turn_does_not_end_when_audio_stops_coming() -> None:
    client = Client.on_the_phone(script("Yes."))
    client.speak(600, then_silent_ms=480)
    client.run(60_000)

    assert client.all("input_audio_buffer.speech_stopped") == []
    client.append(silence(20))
    assert len(client.all("input_audio_buffer.speech_stopped")) == 1


@pytest.mark.parametrize(("voice_ms", "heard"), [(40, False), (60, True)])
def test_a_click_is_no_speech(voice_ms: int, heard: bool) -> None:
    client = Client.on_the_phone(script())
    client.append(silence(200) + tone(voice_ms) + silence(200))

    assert bool(client.all("input_audio_buffer.speech_started")) is heard


def test_noise_below_the_threshold_is_no_speech() -> None:
    client = Client.on_the_phone(script())
    client.append(tone(1000, peak=650))  # -37 dBFS; the threshold is at -35.

    assert client.events == []


@pytest.mark.parametrize("kind", ["audio/pcm", "audio/pcma"])
def test_speech_is_heard_in_every_format(kind: str) -> None:
    from gateway.lab.openai.formats import encode  # noqa: PLC0415

    rate = {"rate": 24000} if kind == "audio/pcm" else {}
    client = Client.on_the_phone(script("Yes."))
    client.configure(audio={"input": {"format": {"type": kind, **rate}, "turn_detection": VAD}})
    client.append(encode(kind, silence(500) + tone(400) + silence(500)))

    assert client.one("input_audio_buffer.speech_started")["audio_start_ms"] == 200
    assert client.one("input_audio_buffer.speech_stopped")["audio_end_ms"] == 1400


def test_mulaw_in_a_session_left_at_its_defaults_is_not_understood() -> None:
    """A gateway that forgets the format sends noise, and gets six bytes for every one it wants."""
    client = Client.connected(script("Hello."))
    client.send("response.create")
    client.run(3000)
    item = client.all("response.output_item.added")[0]["item"]

    assert len(client.audio(item["id"])) == 6 * len(hum("Hello."))


def test_without_interrupt_response_the_answer_goes_on_and_the_next_one_is_refused() -> None:
    client = Client.on_the_phone(script(LONG * 3))
    quiet = {**VAD, "interrupt_response": False}
    client.configure(audio={"input": {"turn_detection": quiet}})
    client.send("response.create")
    client.run(400)
    client.speak(200, then_silent_ms=500)
    client.run(10_000)

    assert client.one("response.done")["response"]["status"] == "completed"
    assert client.model.errors == ["conversation_already_has_active_response"]


def test_without_create_response_a_turn_is_only_taken_down() -> None:
    client = Client.on_the_phone(script("Yes."))
    client.configure(audio={"input": {"turn_detection": {**VAD, "create_response": False}}})
    client.events.clear()
    client.speak(300, then_silent_ms=500)
    client.run(5000)

    assert client.kinds() == TURN[:-1]


def test_without_turn_detection_turns_are_made_by_hand() -> None:
    client = Client.on_the_phone(script("Yes."))
    client.configure(audio={"input": {**ULAW, "turn_detection": None}})
    client.events.clear()
    client.speak(300, then_silent_ms=1000)
    assert client.events == []

    events = client.send("input_audio_buffer.commit")
    assert client.kinds(events) == TURN[2:-1]
    assert client.kinds(client.send("response.create")) == ["response.created"]


def test_a_second_response_is_refused_by_the_name_of_the_first() -> None:
    client = Client.on_the_phone(script(LONG))
    (created,) = client.send("response.create")
    (error,) = client.send("response.create")

    assert error["error"]["code"] == "conversation_already_has_active_response"
    assert created["response"]["id"] in error["error"]["message"]


def test_out_of_band_responses_run_beside_and_survive_the_caller() -> None:
    client = Client.on_the_phone(script(LONG, LONG))
    client.send("response.create")
    client.send("response.create", response={"conversation": "none", "metadata": {"kind": "aside"}})
    client.run(500)
    client.speak(100)
    client.run(5000)
    by_status = {d["response"]["status"]: d["response"] for d in client.all("response.done")}

    assert by_status["cancelled"]["metadata"] is None
    assert by_status["completed"]["metadata"] == {"kind": "aside"}
    assert by_status["completed"]["conversation_id"] is None
    assert len(client.model.conversation.items()) == 1


def test_metadata_comes_back_in_both_ends_of_a_response() -> None:
    client = Client.on_the_phone(script("Hello."))
    client.send("response.create", response={"metadata": {"kind": "greeting"}})
    client.run(3000)

    assert client.one("response.created")["response"]["metadata"] == {"kind": "greeting"}
    assert client.one("response.done")["response"]["metadata"] == {"kind": "greeting"}


@pytest.mark.parametrize("named", [True, False])
def test_a_cancelled_response_says_so(named: bool) -> None:
    client = Client.on_the_phone(script(LONG))
    (created,) = client.send("response.create")
    client.run(600)
    client.send("response.cancel", **({"response_id": created["response"]["id"]} if named else {}))
    details = client.one("response.done")["response"]["status_details"]

    assert details == {"type": "cancelled", "reason": "client_cancelled"}
    assert client.model.active_response is None


@pytest.mark.parametrize("fields", [{}, {"response_id": "resp_nobody"}])
def test_cancelling_nothing_is_an_error(fields: Json) -> None:
    client = Client.on_the_phone(script())
    client.send("response.cancel", **fields)

    assert client.model.errors == ["response_cancel_not_active"]


def test_an_answer_of_which_nothing_was_sent_is_still_to_come() -> None:
    """A caller who pauses within a question does not use up two answers."""
    client = Client.on_the_phone(script("First.", "Second."))
    client.send("response.create")
    client.run(100)
    client.send("response.cancel")
    client.send("response.create")
    client.run(3000)

    assert client.one("response.output_audio_transcript.done")["transcript"] == "First."


def test_when_answers_run_out_it_says_so() -> None:
    client = Client.on_the_phone(script())
    client.send("response.create")
    client.run(5000)

    transcript = client.one("response.output_audio_transcript.done")["transcript"]
    assert transcript == "I have nothing more to say."


def test_a_text_response_has_no_audio() -> None:
    client = Client.on_the_phone(script("Six."))
    client.send("response.create", response={"output_modalities": ["text"]})
    client.run(1000)

    assert client.kinds() == [
        "response.created",
        *AUDIO_ITEM[:3],
        "response.output_text.delta",
        "response.output_text.done",
        *AUDIO_ITEM_END[2:],
        *RESPONSE_END,
    ]
    assert client.one("response.content_part.done")["part"] == {"type": "text", "text": "Six."}


def test_a_response_stops_at_its_token_limit() -> None:
    """20 tokens are one second of audio."""
    client = Client.on_the_phone(script(LONG))
    client.send("response.create", response={"max_output_tokens": 20})
    client.run(5000)
    response = client.one("response.done")["response"]

    assert response["status"] == "incomplete"
    assert response["status_details"]["reason"] == "max_output_tokens"
    assert response["output"][0]["status"] == "incomplete"
    assert len(client.audio(response["output"][0]["id"])) == 8000


def test_a_failed_response_has_no_output_and_costs_nothing() -> None:
    failure = Failure("rate_limit_exceeded", "Try again in 2 s.", "tokens")
    client = Client.on_the_phone(script(Answer(fail=failure), "Hello."))
    client.send("response.create")
    client.run(500)
    response = client.one("response.done")["response"]

    assert client.kinds() == ["response.created", *RESPONSE_END]
    assert response["status"] == "failed"
    assert response["status_details"]["error"]["code"] == "rate_limit_exceeded"
    assert (response["output"], response["usage"]["total_tokens"]) == ([], 0)


def test_usage_adds_up_and_grows_with_the_conversation() -> None:
    client = Client.on_the_phone(script(LONG, LONG))
    for _ in range(2):
        client.speak(1000, then_silent_ms=500)
        client.run(5000)
    first, second = (event["response"]["usage"] for event in client.all("response.done"))

    for usage in (first, second):
        given, made = usage["input_token_details"], usage["output_token_details"]
        assert usage["input_tokens"] == given["text_tokens"] + given["audio_tokens"]
        assert usage["output_tokens"] == made["text_tokens"] + made["audio_tokens"]
        assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert second["input_tokens"] > first["input_tokens"]
    assert second["input_token_details"]["cached_tokens"] > 0
    assert first["output_token_details"]["audio_tokens"] == -(-len(hum(LONG)) // 400)


def spoken(client: Client) -> str:
    """Let the next answer be delivered. Returns its item."""
    client.send("response.create")
    client.run(5000)
    return str(client.all("response.output_item.added")[-1]["item"]["id"])


def truncate(client: Client, item_id: str, end_ms: int, index: int = 0) -> Json:
    (event,) = client.send(
        "conversation.item.truncate", item_id=item_id, content_index=index, audio_end_ms=end_ms
    )
    return event


@pytest.mark.parametrize(
    ("end_ms", "code"),
    [(1, None), (1000, None), (1001, "invalid_value"), (0, "unsupported_content_type")],
)
def test_an_item_is_truncated_within_what_was_sent(end_ms: int, code: str | None) -> None:
    client = Client.on_the_phone(script("x" * 20))
    event = truncate(client, spoken(client), end_ms)

    assert event.get("error", {}).get("code") == code
    assert client.model.truncates == (code is None)
    assert client.model.overlong_truncates == (end_ms > 1000)


def test_an_overlong_truncate_names_both_lengths_and_not_the_event() -> None:
    client = Client.on_the_phone(script("x" * 74))
    item_id = spoken(client)
    (event,) = client.send(
        "conversation.item.truncate",
        item_id=item_id,
        content_index=0,
        audio_end_ms=3760,
        event_id="mine",
    )

    assert event["error"]["message"] == "Audio content of 3700ms is already shorter than 3760ms"
    assert event["error"]["event_id"] is None


def test_a_truncated_item_is_shorter_and_has_no_words() -> None:
    client = Client.on_the_phone(script(LONG))
    item_id = spoken(client)
    truncate(client, item_id, 500)

    assert truncate(client, item_id, 501)["error"]["code"] == "invalid_value"
    assert client.model.conversation.items()[0]["content"][0]["transcript"] is None


def test_only_what_was_sent_can_be_truncated_while_more_is_coming() -> None:
    client = Client.on_the_phone(script(LONG))
    client.send("response.create")
    client.run(360)  # One delta of at most 190 ms.
    item_id = client.one("response.output_item.added")["item"]["id"]
    sent_ms = len(client.audio(item_id)) // 8

    assert truncate(client, item_id, sent_ms + 1)["error"]["code"] == "invalid_value"
    assert truncate(client, item_id, sent_ms)["type"] == "conversation.item.truncated"


def test_truncating_while_more_is_coming_does_not_send_anything_twice() -> None:
    client = Client.on_the_phone(script(LONG))
    client.send("response.create")
    client.run(600)
    item_id = client.one("response.output_item.added")["item"]["id"]
    truncate(client, item_id, 100)
    client.run(5000)

    assert client.audio(item_id) == hum(LONG)


def test_what_has_no_audio_cannot_be_truncated() -> None:
    client = Client.on_the_phone(script(tool_answer()))
    call = spoken(client)
    client.speak(400, then_silent_ms=500)
    user = client.one("input_audio_buffer.committed")["item_id"]

    for item_id in (call, user):
        error = truncate(client, item_id, 100)["error"]
        assert error["code"] == "unsupported_content_type"


def test_only_the_first_content_can_be_truncated() -> None:
    client = Client.on_the_phone(script(LONG))

    assert truncate(client, spoken(client), 100, index=1)["error"]["param"] == "content_index"


def test_a_retrieved_item_brings_its_audio() -> None:
    client = Client.on_the_phone(script("Yes."))
    item_id = spoken(client)
    truncate(client, item_id, 100)
    (event,) = client.send("conversation.item.retrieve", item_id=item_id)

    assert len(event["item"]["content"][0]["audio"]) == -(-800 // 3) * 4
    assert "audio" not in client.model.conversation.items()[0]["content"][0]


def test_a_tool_output_sent_early_is_taken_up_after_the_response() -> None:
    client = Client.on_the_phone(script(tool_answer(), tool_answer(LONG)))
    spoken(client)
    call_id = client.one("response.function_call_arguments.done")["call_id"]
    client.send("response.create")

    assert client.send("conversation.item.create", item=output(call_id)) == []
    client.run(9000)
    kinds = client.kinds()
    assert kinds[-4:] == [*RESPONSE_END, "conversation.item.added", "conversation.item.done"]
    assert client.events[-1]["item"]["call_id"] == call_id


def test_a_second_output_and_an_unoffered_tool_are_violations() -> None:
    client = Client.on_the_phone(script(tool_answer(name="launch")))
    spoken(client)
    call_id = client.one("response.function_call_arguments.done")["call_id"]
    for _ in range(2):
        client.send("conversation.item.create", item=output(call_id))

    assert client.model.violations == [
        "the script calls launch, which was not offered",
        f"a second output for {call_id}",
    ]


def test_arguments_may_be_no_json_at_all() -> None:
    """Models do that, above all when they are interrupted."""
    client = Client.on_the_phone(script(tool_answer(arguments='{"day": ')))
    spoken(client)

    assert client.one("response.function_call_arguments.done")["arguments"] == '{"day": '


def test_the_callers_words_come_from_the_scenario_in_order() -> None:
    client = Client.on_the_phone(script("Yes.", "No."), caller_lines=["Is it?", "Is it not?"])
    client.configure(audio={"input": {"transcription": {"model": "gpt-transcribe"}}})
    for _ in range(3):
        client.speak(300, then_silent_ms=500)
        client.run(3000)
    completed = client.all("conversation.item.input_audio_transcription.completed")

    assert [event["transcript"] for event in completed] == ["Is it?", "Is it not?", ""]
    committed = client.all("input_audio_buffer.committed")
    assert [e["item_id"] for e in completed] == [e["item_id"] for e in committed]


def test_a_silent_caller_is_nudged_once_the_answer_can_have_been_played() -> None:
    client = Client.on_the_phone(script("Hello.", "Still there?"))
    client.configure(audio={"input": {"turn_detection": {**VAD, "idle_timeout_ms": 5000}}})
    client.events.clear()
    client.send("response.create")
    client.run(100)
    done_ms = 350 + round(300 / 4.5)  # "Hello." plays for 300 ms.
    client.run(done_ms + 300 + 5000 - 100 - 2)
    assert client.all("input_audio_buffer.timeout_triggered") == []

    nudge = client.run(10)
    assert client.kinds(nudge) == ["input_audio_buffer.timeout_triggered", *TURN[2:]]


def test_a_caller_who_speaks_is_not_nudged() -> None:
    client = Client.on_the_phone(script("Hello."))
    client.configure(audio={"input": {"turn_detection": {**VAD, "idle_timeout_ms": 5000}}})
    client.send("response.create")
    client.run(3000)
    client.speak(200)
    client.run(60_000)

    assert client.all("input_audio_buffer.timeout_triggered") == []


def test_a_session_expires_with_an_error_and_a_close() -> None:
    client = Client.on_the_phone(script())
    client.run(60 * 60 * 1000)

    assert client.model.errors == ["session_expired"]
    assert client.closed == Close(1001, "invalid_request_error.session_expired")
    assert client.model.next_wake_ms() is None
    assert client.send("response.create") == []


def faulty(at: FaultPoint, do: str, **more: object) -> Client:
    fault = Fault(at, do, **more)  # type: ignore[arg-type]
    return Client.connected(script(LONG, LONG, faults=(fault,)))


def test_a_fault_in_an_answer_strikes_after_its_first_audio() -> None:
    client = faulty(FaultPoint(answer=2), "close", code=1011, reason="keepalive ping timeout")
    client.send("response.create")
    client.run(9000)
    client.send("response.create")
    client.run(9000)
    second = client.all("response.created")[1]["response"]["id"]
    deltas = client.all("response.output_audio.delta")

    assert client.closed == Close(1011, "keepalive ping timeout")
    assert [delta["response_id"] for delta in deltas].count(second) == 1


def test_a_fault_in_an_answer_without_audio_strikes_at_its_end() -> None:
    fault = Fault(FaultPoint(answer=1), "close")
    client = Client.connected(script(tool_answer(), faults=(fault,)))
    client.send("response.create")
    client.run(500)

    assert client.kinds()[-2:] == RESPONSE_END
    assert client.closed == Close(1011, "")


def test_a_fault_by_time_strikes_on_time() -> None:
    client = faulty(FaultPoint(at_ms=3000), "expire")
    client.run(2999)
    errors_before = list(client.model.errors)
    client.run(1)

    assert (errors_before, client.model.errors) == ([], ["session_expired"])
    assert client.closed is not None


def test_silence_at_connect_is_a_session_that_never_begins() -> None:
    client = faulty(FaultPoint(connect=True), "silence")
    client.configure()
    client.run(9000)

    assert (client.events, client.closed) == ([], None)


def test_an_error_may_come_alone_or_before_a_close() -> None:
    quota = Failure("insufficient_quota", "You exceeded your quota.", "insufficient_quota")
    alone = faulty(FaultPoint(connect=True), "error", error=quota)
    closing = faulty(FaultPoint(connect=True), "close", code=4000, error=quota)

    assert alone.kinds() == ["error", "session.created"]
    assert closing.kinds() == ["error"]
    assert closing.closed == Close(4000, "")


def test_the_same_seed_gives_the_same_session() -> None:
    def events(seed: int) -> list[Json]:
        client = Client.on_the_phone(script(LONG), seed=seed)
        client.speak(300, then_silent_ms=500)
        client.run(5000)
        return client.events

    assert events(1) == events(1)
    assert events(1) != events(2)


def test_items_and_sounds_are_said_in_the_order_of_the_script() -> None:
    answer = Answer(items=(Item(say="One."), Item(say="Two.")), after_ms=0, speed=10)
    client = Client.on_the_phone(script(answer))
    client.send("response.create")
    client.run(1000)

    done = client.all("response.output_audio_transcript.done")
    assert [event["transcript"] for event in done] == ["One.", "Two."]
