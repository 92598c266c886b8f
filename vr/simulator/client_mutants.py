"""Mutants of what clients rely on: sessions, reads and leases. See vr.simulator.mutants."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from vr import forwarding, normal, reads, view_change
from vr.ready import Reply
from vr.sessions import SessionTable, Verdict
from vr.simulator.checkers import SessionChecker
from vr.simulator.mutation import Mutant, Patch, Rule, always, by_scenario, mutant, nothing
from vr.simulator.service import JournalService
from vr.simulator.worlds import deposed_readers, leases
from vr.state import ReplicaState
from vr.types import ClientId, OpNumber, RequestNumber, SessionNumber

COPY_OPS = 4  # how old a copy of the service may become


def _no_dedupe(_: Rule) -> Rule:
    return lambda *_arguments: Verdict.EXECUTE


def _enqueue_repeats(_: Rule) -> Rule:
    def enqueue(state: ReplicaState, request: Any, *, is_log_full: bool) -> None:
        forwarding._enqueue(state, request)  # noqa: SLF001 - a mutant is made of the core's insides

    return enqueue


def _evict_by_hash(_: Rule) -> Rule:
    calls = itertools.count()

    def first_to_go(table: SessionTable) -> object:
        sessions = list(table._sessions)  # noqa: SLF001 - as above
        return sessions[next(calls) % len(sessions)]

    return first_to_go


def _restored_in_other_order(original: Rule) -> Rule:
    def restore(table: SessionTable, snapshot: bytes) -> None:
        original(table, snapshot)
        table._sessions = dict(sorted(table._sessions.items()))  # noqa: SLF001 - as above

    return restore


def _prepared_for_ever(original: Rule) -> Rule:
    def reset_queue(state: ReplicaState) -> None:
        prepared, registering = dict(state.prepared), set(state.registering)
        original(state)
        state.prepared.update(prepared)
        state.registering |= registering

    return reset_queue


def _results_not_kept(original: Rule) -> Rule:
    def record(table: SessionTable, executed: Any, results: Sequence[bytes], op: OpNumber, timestamp_us: int) -> None:
        original(table, executed, [b""] * len(results), op, timestamp_us)

    return record


def _any_register_answers(_: Rule) -> Rule:
    def reply_register(state: ReplicaState, request: Any, op: OpNumber, session: SessionNumber) -> None:
        waiting = state.pending.get((request.client, request.session, request.number))
        if waiting is not None and forwarding.take_pending(state, request):
            result = waiting.request.body
            state.effects.replies.append(
                Reply(client=request.client, session=session, number=RequestNumber(0), op=op, result=result)
            )

    return reply_register


def _from_a_copy(original: Rule) -> Rule:
    def last_number(service: JournalService, client: ClientId, session: SessionNumber) -> int:
        op, copy = service.__dict__.setdefault("_mutant_copy", (0, {}))
        if service.last_op - op >= COPY_OPS:
            op, copy = service.__dict__["_mutant_copy"] = (service.last_op, dict(service._last_numbers))  # noqa: SLF001 - of our own kind
        number: int = copy.get((client, session), 0)
        return number

    return last_number


CLIENT_MUTANTS: tuple[Mutant, ...] = (
    mutant(
        "any_register_answers",
        "a register executed late, of a session given up, answers the register that waits",
        60,
        Patch(normal, "_reply_register", _any_register_answers),
    ),
    mutant(
        "no_dedupe",
        "a repeated request is executed again",
        20,
        Patch(SessionTable, "judge", _no_dedupe),
        Patch(forwarding, "_enqueue_request", _enqueue_repeats),
    ),
    mutant(
        "eviction_by_chance",
        "each replica evicts another session",
        300,
        Patch(SessionTable, "first_to_go", _evict_by_hash),
    ),
    mutant(
        "eviction_order_forgotten",
        "after a restart the session with the lowest number is evicted first",
        300,
        Patch(SessionTable, "restore", _restored_in_other_order),
    ),
    mutant(
        "read_without_quorum",
        "a primary reads without asking whether it still leads",
        300,
        Patch(reads, "has_lease", always(True)),
    ),
    mutant(
        "read_below_view_start",
        "a new primary answers reads before it knows what its predecessors committed",
        150,
        Patch(reads, "read_floor", lambda _: lambda state: state.commit_number),
        bend=deposed_readers,
    ),
    mutant(
        "stale_read_at_deposed_primary",
        "a primary that was deposed reads on, and nobody compares operation numbers",
        100,
        Patch(reads, "has_lease", always(True)),
        Patch(SessionChecker, "on_read", nothing),
        bend=deposed_readers,
    ),
    mutant(
        "reads_show_a_copy",
        "reads look at a copy of the service that is a few operations old",
        50,
        Patch(JournalService, "last_number", _from_a_copy),
    ),
    mutant("lease_not_kept", "a lease binds nobody", 60, Patch(view_change, "is_bound", always(False)), bend=leases),
    mutant("results_not_kept", "a repeat gets another answer", 50, Patch(SessionTable, "record", _results_not_kept)),
    by_scenario(
        "table_on_prepare",
        "VRR 4.1: prepared requests count as executed after a view change",
        "prepared_and_dropped",
        Patch(view_change, "reset_queue", _prepared_for_ever),
    ),
    mutant(
        "lease_without_boot_wait",
        "who restarts forgets the lease it granted",
        100,
        Patch(reads, "wait_after_boot", nothing),
        bend=leases,
    ),
)
"""Each must die within its budget."""
