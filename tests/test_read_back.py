"""What callers are asked before something is done: all of it, and nothing that fakes it."""

# ruff: noqa: RUF001 - lookalikes are what some of these arguments are made of.

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.errors import ToolRefused
from actors.toolbox import ReadBack, ToolSchema
from gateway.permission.phrases import PHRASES, phrases_of
from gateway.permission.read_back import Questions
from gateway.permission.spoken_values import LONGEST_CHARS
from tests.growth import LINEAR, growth

END = " To confirm, press 1 or say yes. To refuse, press 2 or say no."


def schema(read_back: ReadBack | None, *names: str, **defaults: object) -> ToolSchema:
    properties: dict[str, Any] = {name: {} for name in names}
    properties |= {name: {"default": value} for name, value in defaults.items()}
    return ToolSchema("send_money", "", {"properties": properties}, "high", read_back)


def asked(read_back: ReadBack | None = None, **values: object) -> str:
    question = Questions()(schema(read_back, *values), values)
    assert question.startswith("Please confirm. ")
    return question.removeprefix("Please confirm. ").removesuffix(END)


def test_without_a_sentence_the_name_and_every_argument_are_read() -> None:
    said = asked(to="Anna", amount=12, urgent=True, note=None, lines=["a", "b"])

    assert said == "send money, to: Anna, amount: 12, urgent: yes, note: nothing, lines: a, b."


def test_what_the_sentence_leaves_out_is_read_behind_it() -> None:
    assert asked("Send {amount} euros to {to}.", to="Anna", amount=12, note="rent") == (
        "Send 12 euros to Anna, note: rent."
    )
    assert asked(lambda given: f"Send it to {given['to']}", to="Anna", note="rent") == (
        "Send it to Anna, note: rent."
    )


def test_what_the_model_leaves_out_is_as_the_function_has_it() -> None:
    one = schema("Meet for {minutes} minutes at {place}", "place", minutes=30)

    assert "Meet for 30 minutes at the office." in Questions()(one, {"place": "the office"})
    assert "for 5 minutes" in Questions()(one, {"place": "x", "minutes": 5})


def test_words_that_a_function_takes_are_between_marks_too() -> None:
    texts = {"subject": "Hi. It says: come", "text": "Hi. It says: come tomorrow.", "to": "Anna"}
    said = asked(
        lambda given: f"Write to {given['to']}: {given['subject']}. It says: {given['text']}",
        **texts,
    )

    assert said == (
        "Write to Anna: quote: Hi. It says: come end of quote. "
        "It says: quote: Hi. It says: come tomorrow. end of quote."
    )


def test_a_picture_in_colour_is_no_hidden_letter() -> None:
    assert asked("Write {text}", text="sun ☀\ufe0f and 🎉") == (
        "Write quote: sun and end of quote."
    )


def test_an_argument_is_no_template() -> None:
    assert asked("Tell {to} that {what}", to="{what}", what="hi") == "Tell what that hi."


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("+49 30 123456", "plus 4 9 3, 0 1 2, 3 4 5, 6"),
        ("+15550001111", "plus 1 5 5, 5 0 0, 0 1 1, 1 1"),
        (4711471, "4 7 1, 1 4 7, 1"),
        ("1234", "1234"),
        (3.5, "3 point 5"),
        (1000.5, "1000 point 5"),
        (12345.67, "1 2 3, 4 5 point 6 7"),
        (100000.0, "1 0 0, 0 0 0 point 0"),
        (-5, "minus 5"),
        (-12345, "minus 1 2 3, 4 5"),
        (1e-05, "0 point 0 0 0 0 1"),
        (1e16, "1 0 0, 0 0 0, 0 0 0, 0 0 0, 0 0 0, 0 0"),
        ("1000.50", "1000 point 5 0"),
        ("1,000.50", "1000 point 5 0"),
        ("10.000,50", "1 0 0, 0 0 point 5 0"),
        ("10.000", "1 0 0, 0 0"),
        ("-5", "minus 5"),
        ("030.123.45", "0 3 0, 1 2 3, 4 5"),
        ("bob.smith-x@ex_ample.com", "bob dot smith hyphen x at ex underscore ample dot com"),
        ("2026-11-24", "Tuesday 24 November 2026"),
        ("2026-11-24T15:00", "Tuesday 24 November 2026, 15:00"),
        ("2026-13-24", "2 0 2, 6 1 3, 2 4"),
        ("Anna  \n Berg", "Anna Berg"),
        ("<speak>Hi</speak>", "speak Hi /speak"),
        ("See you at ten. Bring it.", "quote: See you at ten. Bring it. end of quote"),
        ("Bob!", "quote: Bob! end of quote"),
        ("5, to Alice", "quote: 5, to Alice end of quote"),
        ("", "nothing"),
        ("🎉", "nothing"),
        ([], "nothing"),
        ({"a": 1, "b": "x"}, "a: 1, b: x"),
    ],
)
def test_values_are_said_so_that_they_can_be_told_apart(value: object, said: str) -> None:
    assert asked("Do {it}", it=value) == f"Do {said}."


@pytest.mark.parametrize("language", sorted(PHRASES))
def test_every_language_has_all_its_words(language: str) -> None:
    words = phrases_of(language)

    assert len(words.months.split()) == 12
    assert len(words.weekdays.split()) == 7
    assert len(words.signs.split()) == 5
    values = {"day": "2026-11-24T15:00", "mail": "a@b.de", "text": "a b c d"}
    question = Questions(language)(schema("{day} {mail} {text}", *values), values)
    assert question.startswith(words.confirm)
    assert question.endswith(words.how)
    assert words.end_of_quote in question
    by_keys = Questions(language, by_keys=True)(schema("x"), {})
    assert by_keys.endswith(words.how_by_keys)
    assert words.yes not in by_keys.casefold().split()


@pytest.mark.parametrize(
    ("language", "known"), [("de-AT", "de"), ("pl", "en"), (None, "en"), ("", "en"), ("FR", "fr")]
)
def test_a_language_that_is_not_there_is_english(language: str | None, known: str) -> None:
    assert phrases_of(language) is PHRASES[known]


@pytest.mark.parametrize(
    "fake",
    [
        "Press 1 to hear the weather",
        "press one to hear the weather",
        "PRESS  the  number\n1",
        "pressing two cancels",
        "hit the star key",
        "dial 1",
        "just say yes",
        "say: YES!",
        "To confirm the weather",
        "please confirm",
        "drücken Sie die 1",
        "Drücken Sie einfach die Eins",
        "sagen Sie ja",
        "appuyez sur la touche 1",
        "dites oui",
        "pulse el uno",
        "diga sí",
        "prema 1",
        "dica sì",
        "druk op 1",
        "zeg ja",
        "hello end of quote and now",
        "Ende des Zitats",
        "Ｐｒｅｓｓ １",
        "pre\u0301ss 1",
        "press-1",
        "p\u200bress 1",
        "\u202epress 1",
        "zu\u00adm",
        "bell \a",
        "hidden \ufe00\ufe01 letters",
        "hidden \U000e0101",
        "a\u3164b",
        "sun ☀\ufe0f\ufe0f",
        "a\ufe0f",
    ],
)
@pytest.mark.parametrize("place", ["text", "list", "dict", "key"])
def test_what_sounds_like_the_question_is_refused(fake: str, place: str) -> None:
    value: object = {"text": fake, "list": [fake], "dict": {"a": fake}, "key": {fake: 1}}[place]
    for read_back in (None, "Do {it}", lambda _: "Do it"):
        with pytest.raises(ToolRefused) as refused:
            asked(read_back, it=value)
        assert fake not in refused.value.reason


def test_a_fake_in_two_arguments_is_one_too() -> None:
    with pytest.raises(ToolRefused):
        asked("Tell {to} that {what}", to="press", what="1 for the weather")


def test_what_only_reminds_of_it_is_said() -> None:
    for text in ("I will be there at 1", "No, not today", "yes", "He pressed for an answer today"):
        assert text in asked("Say {it}", it=text)


def test_an_argument_that_the_function_does_not_have_is_refused() -> None:
    with pytest.raises(ToolRefused, match="does not have"):
        Questions()(schema(None, "to"), {"to": "x", "weather": "y"})


def test_what_is_too_long_to_be_remembered_is_refused_and_what_just_fits_is_not() -> None:
    fits = LONGEST_CHARS - len("Do .")
    assert asked("Do {it}", it="x" * fits)
    with pytest.raises(ToolRefused, match="shorter"):
        asked("Do {it}", it="x" * (fits + 1))


@pytest.mark.parametrize("read_back", [None, "Do {it}", lambda given: f"Do {given['it']}"])
@pytest.mark.parametrize("end", ["1", "@a", "a."])
def test_what_is_too_long_is_refused_in_linear_time(read_back: ReadBack | None, end: str) -> None:
    def refused(size: int) -> None:
        with pytest.raises(ToolRefused, match="shorter"):
            asked(read_back, it=end * size + "a")

    assert growth(refused, 1_000) < LINEAR


def test_what_is_nested_without_end_is_refused() -> None:
    value: object = 1
    for _ in range(50):
        value = [value]
    with pytest.raises(ToolRefused, match="nested"):
        asked(None, it=value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(JSON, st.sampled_from(sorted(PHRASES)))
def test_whatever_the_arguments_are_the_frame_is_around_them_once(
    value: object, language: str
) -> None:
    words = phrases_of(language)
    try:
        question = Questions(language)(schema(None, "it"), {"it": value})
    except ToolRefused:
        return

    assert question.startswith(words.confirm)
    assert question.endswith(words.how)
    assert question.count(words.how) == 1
    assert question.isprintable()


def test_all_words_of_a_quotation_are_between_its_marks() -> None:
    said = asked("Write {text}", text="One. Two! Three? Four.", note="five. six. seven. eight.")

    assert said == (
        "Write quote: One. Two! Three? Four. end of quote, "
        "note: quote: five. six. seven. eight. end of quote."
    )
