"""Do the state machines still agree? Found within one interval of operations, and said loudly; never repaired by guessing.

    every DIGEST_OPS applied ──▶ digest of the snapshot, kept ──▶ rides on PrepareOk and Commit ──▶ compared with ours

Logs are equal by their chain; what deterministic services make of them is equal only if the services have no bug. A
difference proves that one of the two replicas is wrong, not which: an operator has to look. Peers are not trusted to be
sane, so a claim changes nothing here but a counter and the status. (TigerBeetle compares checkpoint ids for the same end.)
"""

from __future__ import annotations

from vr import limits
from vr.snapshot import checkpoint_digest, take_checkpoint
from vr.state import Divergence, ReplicaState
from vr.types import Checksum, OpNumber, ReplicaIndex


def note_applied(state: ReplicaState) -> None:
    """An operation was applied: at the end of an interval, remember the state's digest."""
    if state.applied_op % state.options.digest_ops:
        return
    state.digests[state.applied_op] = checkpoint_digest(state.configuration, take_checkpoint(state))
    while len(state.digests) > limits.DIGESTS_KEPT:
        del state.digests[next(iter(state.digests))]
    for other, (op, digest) in state.digest_claims.items():
        compare(state, other, op, digest)


def latest_digest(state: ReplicaState) -> tuple[OpNumber, Checksum]:
    """(op, digest) of the newest interval that we have finished; (0, empty) before the first."""
    op = next(reversed(state.digests), None)
    return (OpNumber(0), Checksum(b"")) if op is None else (op, state.digests[op])


def learn_digest(state: ReplicaState, other: ReplicaIndex, op: OpNumber, digest: Checksum) -> None:
    """A peer says what its state was after `op`: compare now, or when we get there."""
    if not digest or state.digest_claims.get(other) == (op, digest):
        return
    state.digest_claims[other] = (op, digest)
    compare(state, other, op, digest)


def compare(state: ReplicaState, other: ReplicaIndex, op: OpNumber, digest: Checksum) -> None:
    """Say so if a peer's state was another than ours after the same operation."""
    own = state.digests.get(op)
    if own is not None and own != digest:
        state.drop("state_machine_diverged")
        state.divergence = state.divergence or Divergence(op, other)
