"""Which log goes on, when disks may have forgotten: votes that say what they never had (PAR FAST 2018; VRR 4.2 step 3).

Every DoViewChange says three things of its sender's log, one after the other:

    … commit | present: headers, through head_op | unknown: through nacks_above | nack: never durable here

A sound log has no unknown part. Holes of known identity end at a known operation; a lost tail of unknown length nacks
nothing. The log of one view is one chain, so of each log view only the longest vote is a candidate. A candidate goes on when

    1. a nack quorum (n - q + 1) is not past its log view: nothing was committed in a later one, and
    2. a nack quorum nacks the operation after its head: that was committed nowhere, and nothing behind it.

Who was never NORMAL in the candidate's log view acknowledged nothing in it, whatever its disk forgot since: it nacks what
was prepared in that view. Which operations those are is known once the log that the view began with is seen whole
(`shows_start_of_view`). If neither rule decides, more votes are waited for; if all are in, no replica may guess.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from vr.configuration import Configuration
from vr.log import HEADER_BYTES, NUMBERS_MAX, decode_header
from vr.messages import DoViewChange
from vr.types import OpNumber, ReplicaIndex

NACKS_NOTHING = OpNumber(NUMBERS_MAX - 1)
"""A vote whose log may have gone on for any length nacks nothing."""


class Undecided(msgspec.Struct, frozen=True, kw_only=True):
    """No log can be chosen: `op` may have been committed. `nacks` deny it, `needed` would have to."""

    op: OpNumber
    nacks: int
    needed: int
    missing: tuple[ReplicaIndex, ...]

    @property
    def is_final(self) -> bool:
        """Has everybody voted? Then only a repaired disk can help."""
        return not self.missing


def choose_log(configuration: Configuration, votes: Mapping[ReplicaIndex, DoViewChange]) -> DoViewChange | Undecided:
    """The vote whose log goes on, or why none may."""
    messages = tuple(votes.values())
    candidates = candidate_logs(messages)
    for candidate in candidates:
        if is_last_log_view(configuration, messages, candidate) and is_end(configuration, messages, candidate):
            return candidate
    best = candidates[0]
    return Undecided(
        op=OpNumber(best.head_op + 1),
        nacks=len(nacks_after(messages, best)),
        needed=configuration.nack_quorum,
        missing=tuple(ReplicaIndex(index) for index in range(configuration.size) if index not in votes),
    )


def by_completeness(messages: Iterable[DoViewChange]) -> list[DoViewChange]:
    """The highest log view first, of one log view the longest, of equals always the same."""
    return sorted(messages, key=lambda vote: (vote.log_view, vote.head_op, vote.commit, -vote.replica), reverse=True)


def candidate_logs(messages: Collection[DoViewChange]) -> list[DoViewChange]:
    """Of each log view the longest vote, the highest log view first; none lacks what a voter knows to be committed."""
    longest: dict[int, DoViewChange] = {}
    for vote in by_completeness(messages):
        longest.setdefault(vote.log_view, vote)
    return list(longest.values())


def is_last_log_view(configuration: Configuration, messages: Sequence[DoViewChange], candidate: DoViewChange) -> bool:
    """So many were never NORMAL in a later view that nothing can have been committed there."""
    not_past = sum(vote.log_view <= candidate.log_view for vote in messages)
    return not_past >= configuration.nack_quorum


def is_end(configuration: Configuration, messages: Sequence[DoViewChange], candidate: DoViewChange) -> bool:
    """So many never had what would follow the candidate's head that it is committed nowhere."""
    knows_more = any(vote.commit > candidate.head_op for vote in messages)
    return not knows_more and enough_nacks(configuration, nacks_after(messages, candidate))


def enough_nacks(configuration: Configuration, nacks: Collection[ReplicaIndex]) -> bool:
    """Whoever is left is no quorum."""
    return len(nacks) >= configuration.nack_quorum


def nacks_after(messages: Sequence[DoViewChange], candidate: DoViewChange) -> list[ReplicaIndex]:
    """Who certainly never made durable what would follow the candidate's head in its log."""
    is_start_shown = shows_start_of_view(messages, candidate)
    return [
        vote.replica
        for vote in messages
        if vote.nacks_above <= candidate.head_op or (is_start_shown and vote.log_view < candidate.log_view)
    ]


def shows_start_of_view(messages: Sequence[DoViewChange], candidate: DoViewChange) -> bool:
    """Does the candidate reach into its own log view? Then all that follows its head was prepared in that view."""
    if any(vote.log_view == candidate.log_view and vote.is_certain for vote in messages):
        return True
    return bool(candidate.headers) and decode_header(candidate.headers[-HEADER_BYTES:]).view == candidate.log_view
