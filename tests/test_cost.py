"""What a call costs, by the table."""

from __future__ import annotations

from datetime import date

import pytest

from actors.messages import Usage
from actors.policy.cost import PRICES, PRICES_AS_OF, cost_usd, price_of

MILLION = 1_000_000


@pytest.mark.parametrize(
    ("usage", "usd"),
    [
        (Usage(), 0.0),
        (Usage(input_text_tokens=MILLION), 4.0),
        (Usage(input_text_tokens=MILLION, cached_text_tokens=MILLION), 0.4),
        (Usage(input_audio_tokens=MILLION), 32.0),
        (Usage(input_audio_tokens=MILLION, cached_audio_tokens=MILLION // 2), 16.2),
        (Usage(output_text_tokens=MILLION), 24.0),
        (Usage(output_audio_tokens=MILLION), 64.0),
    ],
)
def test_every_kind_of_token_has_its_price(usage: Usage, usd: float) -> None:
    assert cost_usd("gpt-realtime-2.1", usage) == pytest.approx(usd)


def test_a_minute_of_each_side_costs_what_is_published() -> None:
    """600 tokens of the caller's, 1200 of the agent's."""
    assert cost_usd("gpt-realtime-2.1", Usage(input_audio_tokens=600)) == pytest.approx(0.0192)
    assert cost_usd("gpt-realtime-2.1", Usage(output_audio_tokens=1200)) == pytest.approx(0.0768)
    assert cost_usd("gpt-realtime-2.1-mini", Usage(output_audio_tokens=1200)) == 0.024


def test_a_model_of_a_certain_day_costs_the_same() -> None:
    assert price_of("gpt-realtime-2025-08-28") == PRICES["gpt-realtime"]


@pytest.mark.parametrize("model", ["", "gpt-next", "gpt-realtime-9", "my-deployment"])
def test_what_is_not_known_is_not_nothing(model: str) -> None:
    assert price_of(model) is None
    assert cost_usd(model, Usage(input_text_tokens=1)) is None


def test_the_table_has_a_date() -> None:
    assert date.fromisoformat(PRICES_AS_OF) >= date(2026, 11, 1)
