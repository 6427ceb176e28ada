"""What a rehearsed model was saying when its line broke, so that the next one goes on from there.

Pure. A real model is told what was heard of it, and says the rest; a script has to be told.
"""

from __future__ import annotations

from typing import Any

import attrs
import orjson

from gateway.lab.openai.progress import Progress
from gateway.lab.rehearsing.scenario import ModelScript


@attrs.define(eq=False)
class Unfinished:
    """Follows what one model says, and keeps what it has begun and not finished."""

    progress: Progress
    settled: int = attrs.field(init=False)
    """Answers that were said to their end, or given up."""
    _items: dict[str, None] = attrs.field(factory=dict[str, None], init=False)
    """Of it: items of which audio was said."""

    def __attrs_post_init__(self) -> None:
        self.settled = self.progress.answers_used

    def speaks(self, frame: str | bytes) -> None:
        """The model says this."""
        event: dict[str, Any] = orjson.loads(frame)
        match event.get("type"):
            case "response.created":
                self._items.clear()
            case "response.done":
                self._items.clear()
                self.settled = self.progress.answers_used
            case "response.output_audio.delta":
                self._items.setdefault(str(event.get("item_id")))
            case _:
                pass

    def rest_of(self, script: ModelScript) -> ModelScript:
        """The script for the next model of the call: what it begins with is what is left.

        Goes back in the progress by one, where something is.
        """
        place = self.progress.answers_used - 1
        if place < self.settled or place >= len(script.answers):
            return script
        answer = script.answers[place]
        items = answer.items[len(self._items) :]
        if answer.items and not items:
            return script
        self.progress.answers_used = place
        rest = attrs.evolve(answer, items=items)
        answers = (*script.answers[:place], rest, *script.answers[place + 1 :])
        return attrs.evolve(script, answers=answers)
