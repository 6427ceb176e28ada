"""A session of the rehearsal model that is to say a line says it, whatever its script has next."""

from __future__ import annotations

import pytest

from gateway.lab.rehearsing.scenario import Answer, Failure, Fault, FaultPoint
from tests.model_client import Client, Json, hum, script


def line(words: str) -> Json:
    return {"metadata": {"purpose": "line"}, "instructions": f"Say exactly this: {words}"}


def said(client: Client) -> list[str]:
    return [done["transcript"] for done in client.all("response.output_audio_transcript.done")]


def test_a_line_is_said_word_for_word_and_uses_up_no_answer() -> None:
    client = Client.on_the_phone(script("The first answer.", "The second answer."))
    for params in (line("Press 1, please."), {}, line("And  2."), {}):
        client.send("response.create", response=params)
        client.run(5_000)

    assert said(client) == [
        "Press 1, please.",
        "The first answer.",
        "And  2.",
        "The second answer.",
    ]
    item_id = client.all("response.output_audio.done")[0]["item_id"]
    assert client.audio(item_id) == hum("Press 1, please.")
    assert client.model.violations == []


def test_a_line_that_is_cut_gives_no_answer_back() -> None:
    client = Client.on_the_phone(script("The first answer.", "The second answer."))
    client.send("response.create", response={})
    client.run(5_000)
    client.send("response.create", response=line("Press 1, please."))
    client.send("response.cancel")
    client.send("response.create", response={})
    client.run(5_000)

    assert said(client) == ["The first answer.", "The second answer."]


def test_a_fault_behind_an_answer_does_not_come_behind_a_line() -> None:
    fault = Fault(FaultPoint(answer=1), "close")
    client = Client.on_the_phone(script("The first answer.", faults=(fault,)))
    client.send("response.create", response=line("Press 1, please."))
    client.run(5_000)
    assert client.closed is None

    client.send("response.create", response={})
    client.run(5_000)
    assert client.closed is not None


def test_a_server_that_fails_next_fails_at_a_line_and_then_still_at_the_answer() -> None:
    client = Client.on_the_phone(script(Answer(fail=Failure("server_error")), "Afterwards."))
    for params in (line("Press 1, please."), {}, {}):
        client.send("response.create", response=params)
        client.run(5_000)

    done = [event["response"]["status"] for event in client.all("response.done")]
    assert done == ["failed", "failed", "completed"]


@pytest.mark.parametrize("params", [{"metadata": {"purpose": "line"}}, line(""), line("   ")])
def test_a_line_without_words_is_answered_by_the_script(params: Json) -> None:
    client = Client.on_the_phone(script("The first answer."))
    client.send("response.create", response=params)
    client.run(5_000)

    assert said(client) == ["The first answer."]
