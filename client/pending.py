"""What callers of a room wait for: the fate of a message, the fate of a change."""

from __future__ import annotations

import msgspec
import trio

from client.errors import RefusedError, SamtalaError, UnavailableError
from client.room_state import ChangeOutcome, Outcome, OutcomeKind
from wire.ids import Sequence


class SentMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message that a majority of the room's servers has on disk."""

    sequence: Sequence
    message_id: bytes


class PendingMessage:
    """A message on its way. `message_id` makes a later retry safe."""

    def __init__(self, message_id: bytes) -> None:
        self.message_id = message_id
        self._done = trio.Event()
        self._sent: SentMessage | None = None
        self._error: SamtalaError | None = None

    @property
    def is_done(self) -> bool:
        """Tell whether its fate is known."""
        return self._done.is_set()

    async def acknowledged(self) -> SentMessage:
        """Return when a majority of the servers has it on disk.

        Raises:
            UnavailableError: it was certainly not sent.
            OutcomeUnknownError: the client was closed before the answer came.
            RefusedError: the servers refuse it.
        """
        await self._done.wait()
        if self._error is not None:
            raise self._error
        assert self._sent is not None, "done is either"
        return self._sent

    def settle(self, outcome: Outcome) -> None:
        """Its fate is known."""
        match outcome.kind:
            case OutcomeKind.ACKNOWLEDGED:
                self._sent = SentMessage(sequence=outcome.sequence, message_id=self.message_id)
                self._done.set()
            case OutcomeKind.UNSENT:
                self.fail(UnavailableError("it was not sent before the last restart; try again"))
            case OutcomeKind.FAILED:
                self.fail(RefusedError("the room's servers refuse this message"))

    def fail(self, error: SamtalaError) -> None:
        """It was not sent, or nobody will know here."""
        if not self._done.is_set():
            self._error = error
            self._done.set()


class PendingChange:
    """A change of members on its way."""

    def __init__(self) -> None:
        self._done = trio.Event()
        self._outcome: ChangeOutcome | None = None
        self._error: SamtalaError | None = None

    async def done(self) -> Sequence:
        """Return its place in the log.

        Raises:
            RefusedError: it cannot be made.
            OutcomeUnknownError: the client was closed before it was seen in the log.
        """
        await self._done.wait()
        if self._outcome is None:
            assert self._error is not None, "done is either"
            raise self._error
        if self._outcome.sequence is None:
            raise RefusedError(self._outcome.reason)
        return self._outcome.sequence

    async def wait(self) -> None:
        """Return when it is over, well or not."""
        await self._done.wait()

    def settle(self, outcome: ChangeOutcome) -> None:
        """Its fate is known."""
        self._outcome = outcome
        self._done.set()

    def fail(self, error: SamtalaError) -> None:
        """Nobody will know here."""
        if not self._done.is_set():
            self._error = error
            self._done.set()
