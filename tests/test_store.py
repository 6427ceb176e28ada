"""The folders of calls: what `call.json` says, and that it is always there."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import attrs
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from actors.exits import AgentHungUp, CallerHungUp, Crashed, Exit, Killed, PeerLost
from actors.messages import (
    BargedIn,
    CallerTranscript,
    ItemCut,
    ItemTranscript,
    PlayoutStarted,
    ResponseFinished,
    SpeechStarted,
    SpeechStopped,
    ToolCall,
    ToolFinished,
    ToolStarted,
    Usage,
)
from actors.policy.journal import CallRecord, Journal
from gateway.records.store import FolderStore, MemoryStore, UnsafeCallId, call_folder, to_json
from tests.facts import FACTS


def a_record(why: Exit | None = None, *, call_sid: str = "CA1") -> CallRecord:
    journal = Journal(attrs.evolve(FACTS, call_sid=call_sid))
    call = ToolCall("call_1", "hours", '{"day": "Tuesday"}')
    for at_ms, message in (
        (1000, SpeechStarted("ask", 0)),
        (2000, SpeechStopped("ask", 1000)),
        (2100, CallerTranscript("ask", "When?")),
        (2300, PlayoutStarted("answer", "resp_1")),
        (2310, ItemTranscript("answer", "Nine to five.")),
        (2400, ResponseFinished("resp_1", "completed", None, (call,), Usage(1, 2, 0, 1, 3, 4))),
        (2410, ToolStarted("call_1", "hours")),
        (2500, ToolFinished("call_1", "hours", "returned", "{}")),
        (2600, BargedIn((ItemCut("answer", 300, 1200),))),
    ):
        journal.note(at_ms, message)
    return journal.record(why or CallerHungUp(), ended_ms=3000, drops={"speech": 2})


def parsed(record: CallRecord) -> dict[str, Any]:
    value: dict[str, Any] = orjson.loads(to_json(record))
    return value


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_call_json_has_the_documented_shape() -> None:
    """Other people's tools read it: a key that goes away breaks them."""
    call = parsed(a_record())

    assert list(call) == [field.name for field in attrs.fields(CallRecord)]
    assert set(call["transcript"][0]) == {
        *("who", "began_ms", "ended_ms", "item_id", "text", "heard", "unheard"),
        *("heard_ms", "received_ms", "interrupted"),
    }
    assert call["tool_calls"] == [
        {
            "tool_call_id": "call_1",
            "name": "hours",
            "arguments": '{"day": "Tuesday"}',
            "output": "{}",
            "outcome": "returned",
            "started_ms": 2410,
            "finished_ms": 2500,
        }
    ]
    assert call["barge_ins"] == [
        {"at_ms": 2600, "items": [{"item_id": "answer", "heard_ms": 300, "received_ms": 1200}]}
    ]
    assert call["turns"] == [
        {
            "caller_stopped_ms": 2000,
            "first_audio_ms": 300,
            "first_heard_ms": None,
            "item_id": "ask",
        }
    ]
    assert call["usage"]["output_audio_tokens"] == 4
    assert call["drops"] == {"speech": 2}
    assert (call["call_sid"], call["duration_ms"], call["refused_orders"]) == ("CA1", 3000, {})


def test_an_ending_names_its_exit_its_side_and_its_fields() -> None:
    ending = parsed(a_record(PeerLost("session", 1011, "keepalive")))["ending"]

    assert ending == {
        "exit": "PeerLost",
        "side": "session",
        "peer": "session",
        "code": 1011,
        "reason": "keepalive",
    }


@pytest.mark.parametrize("kind", get_args(Exit))
def test_every_exit_can_be_written(kind: type[Any]) -> None:
    """A call that ended in a way nobody thought of must still have its record."""
    samples = {"str": "session", "Peer": "session", "int": 1, "float": 1.0, "bool": True}
    fields = (field for field in attrs.fields(kind) if field.init)
    why = kind(*(samples.get(str(field.type), 1) for field in fields))
    ending = parsed(a_record(why))["ending"]

    assert ending["exit"] == kind.__name__
    assert ending["side"] == why.side


@given(st.text(st.characters(codec=None), max_size=40))
def test_no_text_can_cost_a_record(text: str) -> None:
    """Lone surrogates, for one: Python makes them of file names that are not UTF-8."""
    call = parsed(a_record(Crashed("turns", text)))

    assert call["ending"]["error"] == text.encode("utf-8", "replace").decode()


async def test_a_call_gets_a_folder_with_its_record_and_its_picture(tmp_path: Path) -> None:
    record = a_record(AgentHungUp("done", goodbye_heard=True))
    await FolderStore(tmp_path / "calls").finish(record)
    folder = tmp_path / "calls" / "CA1"

    assert names_in(folder) == ["call.json", "timeline.svg"]
    assert (folder / "call.json").read_bytes() == to_json(record)
    assert (folder / "timeline.svg").read_text().startswith("<svg")


async def test_a_folder_that_the_recording_made_is_used(tmp_path: Path) -> None:
    (tmp_path / "CA1").mkdir()
    (tmp_path / "CA1" / "recording.wav").write_bytes(b"RIFF")
    await FolderStore(tmp_path).finish(a_record())

    assert (tmp_path / "CA1" / "recording.wav").read_bytes() == b"RIFF"
    assert (tmp_path / "CA1" / "call.json").exists()


async def test_a_picture_that_cannot_be_written_does_not_cost_the_record(tmp_path: Path) -> None:
    (tmp_path / "CA1" / "timeline.svg" / "in the way").mkdir(parents=True)
    with capture_logs() as logs:
        await FolderStore(tmp_path).finish(a_record())

    assert orjson.loads((tmp_path / "CA1" / "call.json").read_bytes())["call_sid"] == "CA1"
    assert [one["event"] for one in logs] == ["timeline.not_drawn"]


@pytest.mark.parametrize(
    "call_sid", ["", ".", "..", "../CA1", "a/b", "/etc", "CA1\n", "CA\0", "a" * 129, "CÄ", "a.b"]
)
async def test_a_call_id_that_is_no_name_for_a_folder_is_refused(
    tmp_path: Path, call_sid: str
) -> None:
    with pytest.raises(UnsafeCallId) as refusal:
        await FolderStore(tmp_path / "calls").finish(a_record(call_sid=call_sid))

    assert names_in(tmp_path) == []
    assert str(refusal.value) == f"a call id of {len(call_sid)} characters is no name for a folder"


@pytest.mark.parametrize("call_sid", ["CA" + "0f" * 16, "a-b_C9", "a" * 128])
def test_a_call_id_of_plain_characters_is_a_folder(call_sid: str) -> None:
    assert call_folder(Path("calls"), call_sid) == Path("calls") / call_sid


async def test_a_disk_that_refuses_is_an_error_for_the_call_to_log(tmp_path: Path) -> None:
    (tmp_path / "calls").write_text("a file where a folder should be")
    with pytest.raises(OSError, match="calls"):
        await FolderStore(tmp_path / "calls").finish(a_record())


async def test_a_memory_store_remembers() -> None:
    store = MemoryStore()
    record = a_record(Killed())
    await store.finish(record)

    assert store.records == [record]
