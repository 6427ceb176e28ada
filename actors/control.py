"""What a tool may do to the call it runs in."""

from __future__ import annotations

from typing import Protocol

import attrs

from actors.errors import CarrierRefused
from actors.lanes import Lane
from actors.messages import ChangeSession, SessionOrder
from actors.policy.record import CallFacts
from actors.ports import Carrier, Transfer, TransferOutcome


class CallControl(Protocol):
    """One call, as its tools see it. Whatever it does ends with the call."""

    @property
    def facts(self) -> CallFacts:
        """Who calls whom, and the agent that answered."""

    async def press(self, digits: str) -> None:
        """Send keys to the far end, once all that was said has been heard. Cancellable.

        Args:
            digits: `0` to `9`, `*`, `#`, `A` to `D`, and `w` for half a second of waiting.

        Raises:
            CarrierRefused: The carrier cannot, or did not.

        """

    async def transfer(self, to: Transfer) -> TransferOutcome:
        """Connect the caller to somebody else, once all that was said has been heard.

        When somebody answers, the call ends, and the tool with it.

        Raises:
            CarrierRefused: The carrier cannot, or did not.

        """

    async def collect_digits(
        self,
        *,
        most: int,
        end_key: str | None = "#",
        first_s: float = 10.0,
        between_s: float = 4.0,
        private: bool = False,
    ) -> str:
        """Wait for the caller to press keys, and return them without the end key. Cancellable.

        Args:
            most: Returns at once when there are so many.
            end_key: The key that says that there are no more; `None`: there is none.
            first_s: How long to wait for the first.
            between_s: How long to wait for each after that.
            private: Neither the model, nor any record or log, is told of them. Only the caller of
                this function ever has them.

        """

    def change(self, *, instructions: str | None = None, language: str | None = None) -> None:
        """Let the conversation go on by other instructions, or in another language.

        Args:
            instructions: Replace the agent's own; `None`: they stay.
            language: ISO 639-1, of what the caller speaks; `None`: it stays.

        """


@attrs.define(eq=False)
class LiveCall:
    """A call that runs. Fits `CallControl`."""

    facts: CallFacts
    carrier: Carrier
    session: Lane[SessionOrder]

    async def press(self, digits: str) -> None:
        """See `CallControl`."""
        await self.carrier.press(digits)

    async def transfer(self, to: Transfer) -> TransferOutcome:
        """See `CallControl`."""
        return await self.carrier.transfer(to)

    async def collect_digits(
        self,
        *,
        most: int,
        end_key: str | None = "#",
        first_s: float = 10.0,
        between_s: float = 4.0,
        private: bool = False,
    ) -> str:
        """See `CallControl`."""
        raise CarrierRefused("keys cannot be collected")

    def change(self, *, instructions: str | None = None, language: str | None = None) -> None:
        """See `CallControl`."""
        self.session.put(ChangeSession(instructions, language))
