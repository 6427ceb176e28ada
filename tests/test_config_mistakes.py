"""Configurations with one mistake each: none is ignored, and each is told what would be right."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest

from gateway.configuration.config import ConfigError, load
from gateway.configuration.doctor import examine
from gateway.configuration.findings import Finding
from tests.config_mistakes import BY_DOCTOR, MUTATORS, Draft, valid

SEEDS = range(4 * len(MUTATORS))
NOW = datetime(2026, 11, 20, tzinfo=UTC)


def test_there_are_enough_of_them() -> None:
    assert len(SEEDS) >= 100


async def doctor(draft: Draft) -> list[Finding]:
    found: list[Finding] = []
    healthy = await examine(
        draft.file, draft.environ, found.append, utc_now=lambda: NOW, offline=True
    )
    assert healthy == all(finding.level != "fail" for finding in found)
    return found


@pytest.mark.parametrize("seed", range(20))
async def test_a_configuration_without_a_mistake_is_read(seed: int, tmp_path: Path) -> None:
    draft = valid(Random(seed), tmp_path)
    draft.save()

    load(draft.file, draft.environ)
    assert [str(one) for one in await doctor(draft) if one.level == "fail"] == []


@pytest.mark.parametrize("seed", SEEDS)
async def test_every_mistake_is_refused_with_its_place_its_value_and_the_nearest_valid_one(
    seed: int, tmp_path: Path
) -> None:
    rng = Random(seed)
    draft = valid(rng, tmp_path)
    mutate = MUTATORS[seed % len(MUTATORS)]
    mistake = mutate(rng, draft)
    draft.save()

    problems: tuple[str, ...] = ()
    if mutate not in BY_DOCTOR:
        with pytest.raises(ConfigError) as refused:
            load(draft.file, draft.environ)
        problems = refused.value.problems
    failed = tuple(one for one in await doctor(draft) if one.level == "fail")

    assert len(failed) == 1, failed
    sentence = str(failed[0])
    if problems:
        assert failed[0].text == problems[0]
        assert str(draft.file) in sentence or mistake.place in draft.environ
    # What is right must be said beside what is wrong, and not be a part of it.
    before, _, after = sentence.partition(mistake.value)
    up_to, _, behind = sentence.rpartition(mistake.value)
    assert mistake.place in sentence, sentence
    assert mistake.value in sentence, sentence
    assert mistake.nearest in before + after or mistake.nearest in up_to + behind, sentence
