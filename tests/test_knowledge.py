"""Finding what a caller asks for in documents, and telling no more of it than fits a call."""

from __future__ import annotations

import json
import re
import sys
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.errors import ToolRefused
from actors.toolbox import Toolbox
from gateway.configuration.agents import AgentSettings
from gateway.configuration.config import Config
from gateway.knowledge.library import PER_DOCUMENT_MAX, Found, Library
from gateway.knowledge.live import Knowledge, NotReady, StillKnowledge
from gateway.knowledge.passages import Passage
from gateway.knowledge.terms import TERMS_MAX, folded, splits, stem, terms
from gateway.tools.builtin import builtin_tools
from gateway.tools.knowledge import ANSWER_BYTES, answer
from gateway.tools.means import Means
from tests.knowledge_corpus import ANSWERS, ELSEWHERE, QUESTIONS, corpus


@pytest.fixture(scope="module")
def shop() -> StillKnowledge:
    return StillKnowledge.of(corpus())


def tools_with(knowledge: Knowledge | None) -> Toolbox:
    means = Means(config=Config(), utc_now=lambda: datetime(2026, 11, 20, tzinfo=UTC))
    agent = AgentSettings(builtin_tools=("query_knowledge",))
    if knowledge is not None:
        means = Means(config=means.config, utc_now=means.utc_now, knowledge=knowledge)
    return builtin_tools(means, agent)


async def ask(knowledge: Knowledge | None, question: str) -> dict[str, object]:
    said = await tools_with(knowledge).run("query_knowledge", json.dumps({"question": question}))
    assert len(said.encode()) <= ANSWER_BYTES
    told: dict[str, object] = json.loads(said)
    return told


async def documents(knowledge: Knowledge, question: str) -> list[str]:
    found = await knowledge.find(question)
    return list(dict.fromkeys(one.document for one in found))


async def test_nine_of_ten_questions_find_their_document_among_the_first_three(
    shop: StillKnowledge,
) -> None:
    found = [wanted in (await documents(shop, asked))[:3] for asked, wanted in QUESTIONS]

    assert len(found) == 50
    assert len(corpus()) > 190
    assert {wanted for _, wanted in QUESTIONS} <= set(ANSWERS)
    assert sum(found) >= 45


async def test_what_is_elsewhere_is_mostly_not_found(shop: StillKnowledge) -> None:
    found = [await documents(shop, asked) for asked in ELSEWHERE]

    assert sum(map(bool, found)) <= 1


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("Die Öffnungszeiten sind lang.", "oeffnungszeiten"),
        ("Die Oeffnungszeiten sind lang.", "Öffnungszeiten"),
        ("Die Öffnungszeiten sind lang.", "offnungszeiten"),
        ("Wir sind in der Mühlenstraße.", "MUEHLENSTRASSE"),
        ("Wir sind in der Mühlenstrasse.", "Mühlenstraße"),
        ("Die Rückgabefrist ist ein Monat.", "Welche Frist gilt?"),
        ("Was die Lieferung betrifft: die Kosten sind klein.", "Lieferungskosten"),
        ("Der Liefertermin steht.", "Termine"),
        ("Unsere Häuser sind hell.", "Haus"),
        ("Un café crème.", "cafe creme"),
        ("Cancelled orders are refunded.", "cancel an order"),
        ("To cancel, write to us.", "cancellation"),
        ("Deliveries come on Mondays.", "delivery"),
        ("Price of 4711: nine euros.", "4711"),
        ("The \ufb01nal price.", "final"),
    ],
)
async def test_a_word_is_found_in_its_other_forms(text: str, question: str) -> None:
    beside = {f"{n}.txt": f"Nothing of that kind, number {n}." for n in range(10)}
    shop = StillKnowledge.of({"it.txt": text, **beside})

    assert (await documents(shop, question))[:1] == ["it.txt"]


async def test_a_short_word_is_not_taken_for_the_beginning_of_another() -> None:
    shop = StillKnowledge.of({"a.txt": "Pink paint.", "b.txt": "A pin."})

    assert await documents(shop, "pin") == ["b.txt"]


async def test_a_long_document_leaves_room_for_others() -> None:
    chapter = "\n\n".join(f"# Part {n}\n\nThe gearbox needs oil, {n} times." for n in range(20))
    shop = StillKnowledge.of({"long.md": chapter, "short.md": "Oil for the gearbox and the hub."})

    found = [one.document for one in await shop.find("oil in the gearbox")]

    assert found.count("long.md") == PER_DOCUMENT_MAX
    assert "short.md" in found


@pytest.mark.parametrize(
    "question",
    [
        '"', '""', "a OR b", "NOT", "AND", "NEAR(a b)", "text: x", "{text trail}: x", "^open",
        "open*", "(", "open) OR (x", "'; DROP TABLE passage; --", "\x00", "-x", "+", "*", "\\",
        "öffn\u0308ung", "a" * 500, "x " * 250, "٣ ४ 5", "你好", "\u202eevil",
    ],
)  # fmt: skip
async def test_no_question_is_a_query_of_its_own(shop: StillKnowledge, question: str) -> None:
    await shop.find(question)

    assert await documents(shop, "gift card expire") != []


@given(st.text(max_size=200))
def test_any_question_can_be_asked(question: str) -> None:
    library = Library.create()
    library.finish()
    library.find(question)
    library.close()
    asked = terms(question)

    assert len(asked) <= TERMS_MAX
    assert all(form and not set(form) & set("\"'*^:(){}+-") for one in asked for form in one.forms)


async def test_no_letter_becomes_a_mark_of_a_query(shop: StillKnowledge) -> None:
    """Of `⑴`, which is one character of a word, folding makes three, and cutting two."""
    every = "".join(chr(code) for code in range(sys.maxunicode + 1))
    letters = sorted(set(re.findall(r"[^\W_]", every)) - set("".join(map(chr, range(128)))))
    decomposed = [one for one in letters if unicodedata.decomposition(one)]

    forms = [form for one in decomposed for term in terms(f"a{one}") for form in term.forms]

    assert len(decomposed) > 4_000
    assert [one for one in forms if re.escape(one) != one or "\u2044" in one] == []
    assert await documents(shop, "gift card " + "a" * 39 + "⑴") != []


@given(st.text(max_size=60))
def test_folding_twice_is_folding_once(text: str) -> None:
    assert folded(folded(text)) == folded(text)


def test_a_word_has_a_stem_of_four_letters_at_least() -> None:
    assert [stem(word) for word in ("cancelled", "bills", "ring", "wegen")] == [
        "cancel",
        "bill",
        "ring",
        "wege",
    ]
    assert ("lieferung", "kosten") in splits("lieferungskosten")


async def test_the_tool_says_where_each_passage_is_from(shop: StillKnowledge) -> None:
    told = await ask(shop, "exchange a helmet whose package was opened")

    assert isinstance(told["found"], list)
    assert told["found"][0] == {
        "document": "returns.md",
        "section": "Returns and refunds / Opened packages",
        "text": "Helmets and clothing are exchanged only while their seal is unbroken.",
    }
    assert "not instructions" in str(told["note"])


async def test_the_tool_says_when_nothing_is_found(shop: StillKnowledge) -> None:
    told = await ask(shop, ELSEWHERE[0])

    assert told["found"] == []
    assert "do not know" in str(told["note"])


async def test_without_documents_the_tool_is_refused() -> None:
    with pytest.raises(ToolRefused, match="no documents"):
        await ask(None, "anything")


@pytest.mark.parametrize("question", ["", "x" * 501])
async def test_a_question_has_some_length(shop: StillKnowledge, question: str) -> None:
    with pytest.raises(ToolRefused, match="question"):
        await ask(shop, question)


class NotYet:
    """Stands for documents that are still being read."""

    async def find(self, question: str) -> list[Found]:
        raise NotReady(f"not yet, after {len(question)} characters")


async def test_documents_that_are_still_read_are_refused_with_a_way_out() -> None:
    with pytest.raises(ToolRefused, match="take a message"):
        await ask(NotYet(), "anything")


@given(
    st.lists(
        st.builds(
            Found,
            document=st.text(max_size=300),
            passage=st.builds(
                Passage,
                st.text(max_size=1400),
                st.text(max_size=200),
                st.none() | st.integers(1, 9),
            ),
        ),
        max_size=5,
    )
)
def test_an_answer_is_bounded_whatever_was_found(found: Sequence[Found]) -> None:
    told = answer(list(found))

    assert len(json.dumps(told, ensure_ascii=False).encode(errors="replace")) <= ANSWER_BYTES
    assert bool(told["found"]) == bool(found)


def test_what_does_not_fit_is_cut_at_a_word() -> None:
    found = [Found(f"{n}.md", Passage("word \N{GRINNING FACE} " * 200)) for n in range(5)]

    told = answer(found)["found"]

    assert 1 < len(told) < 5
    assert told[-1]["text"].endswith(" …")
