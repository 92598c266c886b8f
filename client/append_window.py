"""The appending half of a session: numbers, what is unanswered, what has to be sent again. Pure.

    offer(block) ─▶ [ answered │ sent, unanswered │ not sent yet │ waiting beyond the window ]

A request keeps its number for ever and is sent again with the same bytes until it is answered: the servers execute it once
(VRR 4.1). Only the loss of the session itself leaves an outcome open.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Generic, TypeVar

import msgspec

from wire import limits
from wire.errors import RefusalCode

Token = TypeVar("Token")
APPEND_BYTES_MAX = limits.FRAME_BYTES_MAX - 4096
LOST_SESSION_CODES = frozenset({RefusalCode.EVICTED, RefusalCode.UNKNOWN_SESSION})


class SessionState(msgspec.Struct, frozen=True, array_like=True):
    """What a client may keep across its own restarts: unanswered are (number, block)."""

    session: int
    next_number: int
    unanswered: tuple[tuple[int, bytes], ...] = ()


class Unanswered(msgspec.Struct, Generic[Token]):
    """A block that has a number; `token` is whatever the embedder wants back."""

    number: int
    block: bytes
    token: Token


class AppendWindow(Generic[Token]):
    """At most SESSION_WINDOW unanswered blocks of one session; the rest waits here, in order."""

    def __init__(self) -> None:
        self.session = 0
        self._next_number = 1
        self._unanswered: dict[int, Unanswered[Token]] = {}
        self._waiting: deque[tuple[bytes, Token]] = deque()
        self._sent_through = 0
        self._not_before = 0.0

    @property
    def is_idle(self) -> bool:
        """Is nothing unanswered and nothing waiting?"""
        return not self._unanswered and not self._waiting

    @property
    def unanswered_count(self) -> int:
        """Blocks that have a number and no answer."""
        return len(self._unanswered)

    @property
    def room_count(self) -> int:
        """How many more blocks could be sent at once."""
        return max(limits.SESSION_WINDOW - len(self._unanswered) - len(self._waiting), 0)

    @property
    def not_before(self) -> float:
        """The servers asked not to be bothered before this time, monotonic seconds."""
        return self._not_before

    def state(self) -> SessionState:
        """For keeping."""
        unanswered = tuple((item.number, item.block) for item in self._unanswered.values())
        return SessionState(self.session, self._next_number, unanswered)

    def restore(self, state: SessionState, tokens: Iterable[Token]) -> None:
        """Go on with a kept session; `tokens` for its unanswered blocks, in order."""
        assert self.is_idle
        self.session, self._next_number = state.session, state.next_number
        for (number, block), token in zip(state.unanswered, tokens, strict=True):
            self._unanswered[number] = Unanswered(number, block, token)

    def offer(self, block: bytes, token: Token) -> None:
        """Append `block` as soon as the window lets it."""
        self._waiting.append((block, token))

    def opened(self, session: int) -> None:
        """A session was registered; numbers begin at 1."""
        assert not self._unanswered, "what belonged to an older session was given up"
        self.session = session
        self._next_number = 1
        self._sent_through = 0

    def reconnected(self) -> None:
        """On a new connection everything unanswered is sent again."""
        self._sent_through = 0
        self._not_before = 0.0

    def take(self, now: float) -> list[tuple[int, tuple[bytes, ...]]]:
        """(first number, blocks) of each Append to send now: consecutive, within a frame."""
        if self.session == 0 or now < self._not_before:
            return []
        while self._waiting and len(self._unanswered) < limits.SESSION_WINDOW:
            block, token = self._waiting.popleft()
            self._unanswered[self._next_number] = Unanswered(self._next_number, block, token)
            self._next_number += 1
        appends: list[tuple[int, tuple[bytes, ...]]] = []
        run: list[Unanswered[Token]] = []
        size = 0
        for item in self._unanswered.values():
            if item.number <= self._sent_through:
                continue
            size += len(item.block) + 8
            if run and (size > APPEND_BYTES_MAX or len(run) == limits.BLOCKS_PER_APPEND_MAX):
                appends.append((run[0].number, tuple(member.block for member in run)))
                run, size = [], len(item.block) + 8
            run.append(item)
        if run:
            appends.append((run[0].number, tuple(member.block for member in run)))
            self._sent_through = run[-1].number
        return appends

    def answered(self, session: int, number: int) -> Token | None:
        """An answer came: gives the token, or None for a repeat or another session."""
        if session != self.session:
            return None
        item = self._unanswered.pop(number, None)
        return None if item is None else item.token

    def refused(self, session: int, number: int, retry_at: float) -> None:
        """Blocks from `number` on were not taken up: they are sent again, not before `retry_at`."""
        if session == self.session:
            self._sent_through = min(self._sent_through, number - 1)
            self._not_before = max(self._not_before, retry_at)

    def lose_session(self) -> list[Token]:
        """The servers forgot the session: outcomes of what was sent stay unknown; gives their tokens."""
        lost = [item.token for item in self._unanswered.values()]
        self._unanswered.clear()
        self.session = 0
        self._next_number = 1
        self._sent_through = 0
        return lost

    def give_up(self) -> tuple[list[Token], list[Token]]:
        """The end: (outcome unknown, certainly not sent)."""
        waiting = [token for _, token in self._waiting]
        self._waiting.clear()
        return self.lose_session(), waiting
