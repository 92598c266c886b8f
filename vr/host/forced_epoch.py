"""When a majority of a group is gone for good: one survivor goes on alone, and says what that may cost.

    open folder, node stopped ─▶ survey: what is certain, what is kept, what cannot be known ─▶ people decide
                                              │ force
                                              ▼
      1. history, one transaction: the next epoch, whose only member is this replica
      2. log: what cannot be read, and all above it, is given up
                                              │ start, as ever
                                              ▼
      an epoch that begins with everything that is left, committed; others join by `Host.reconfigure`

No protocol can do this safely: what the others acknowledged without this replica is lost, and what it holds beyond the last
operation known to be committed may never have been acknowledged, or was replaced by the others. If they do come back as a
majority, there are two groups of one name. They never mix: the new epoch has no stop sign, so nobody of the old one is ever
told that it began (`vr.reconfiguration.tell_epoch`), and messages of an epoch count only if they come from its members. Who
knows the group from outside has to be told whom to believe, by somebody they believe already.

A crash between 1 and 2 leaves a replica that waits for a log nobody else has: force it again.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from vr.configuration import Configuration, Member
from vr.host.errors import GroupDamaged
from vr.host.opening import OpenStorage
from vr.log import Entry
from vr.ready import DurableState
from vr.recovery import Restored
from vr.storage.history import StoredGroup
from vr.storage.meta import meta_record
from vr.types import Checksum, GroupId, OpNumber, ReplicaId, ViewNumber


class Survivor(msgspec.Struct, frozen=True, kw_only=True):
    """What one replica has of a group.

    `commit`: everything through here is known to be committed. `kept`, `kept_checksum`: the last operation that can be read
    with all before it. `head`: the last one that was ever written here, as far as can be told; `is_head_certain` False:
    there may have been more. `is_voting`: it had begun to leave `log_view`, so the others may have gone on without it.
    """

    group: GroupId
    configuration: Configuration
    replica_id: ReplicaId
    log_view: ViewNumber
    commit: OpNumber
    kept: OpNumber
    kept_checksum: Checksum
    head: OpNumber
    is_head_certain: bool
    is_voting: bool

    @property
    def is_whole(self) -> bool:
        """Is everything that was written here still here?"""
        return self.is_head_certain and self.kept == self.head

    @property
    def others(self) -> int:
        """How many members the group has beside this replica."""
        return sum(member.replica_id != self.replica_id for member in self.configuration.members)

    @property
    def rank(self) -> tuple[int, int, int]:
        """Of several survivors the one with the greatest lost the least: epoch, view, last operation."""
        return self.configuration.epoch, self.log_view, self.kept

    def next_configuration(self) -> Configuration:
        """Of the epoch that begins by force: this replica alone."""
        own = next(member for member in self.configuration.replicas if member.replica_id == self.replica_id)
        return self.configuration.successor((Member(own.replica_id, own.node_key),))

    def account(self) -> list[str]:
        """What going on from here keeps and what it may cost, in sentences for whoever decides."""
        needed = self.configuration.quorum
        lines = [
            f"epoch {self.configuration.epoch}, {self.configuration.size} members, {needed} of them decide",
            f"operations 1 to {self.commit} are known to be committed: they stay",
        ]
        if self.kept > self.commit:
            lines.append(
                f"operations {self.commit + 1} to {self.kept} are here and stay; whether they were committed only the others"
                " knew: some may be of people who were never told so, and others may have come in their place"
            )
        if self.kept < self.head:
            lines.append(f"operations {self.kept + 1} to {self.head} were here and cannot be read any more: LOST")
        if not self.is_head_certain:
            lines.append(
                "the end of the log was lost with part of the disk: how many operations, nobody can tell: LOST"
            )
        if self.is_voting:
            lines.append("this replica had left its view: the others may have gone on in a later one")
        if self.others:
            lines.append(
                f"whatever the other {self.others} acknowledged after operation {self.kept}, without this replica: LOST"
            )
        return lines


def survey(storage: OpenStorage, group: GroupId) -> Survivor:
    """Look at what this folder has of a group.

    Raises:
        GroupDamaged: nothing that a group could go on from, or no such group here.
    """
    if group in storage.damaged:
        raise GroupDamaged(storage.damaged[group])
    found = next((pair for pair in storage.restored if pair[0].group == group), None)
    if found is None:
        raise GroupDamaged(f"no group {group.hex()} in this folder")
    stored, restored = found
    if restored.state is None:
        raise GroupDamaged(f"group {group.hex()} has no operation here: there is nothing to go on from")
    survivor = _survivor(stored, restored, restored.state, storage.folder.replica_id)
    if survivor.kept == 0:
        raise GroupDamaged(f"of group {group.hex()} no operation can be read: there is nothing to go on from")
    return survivor


def _survivor(stored: StoredGroup, restored: Restored, state: DurableState, replica_id: ReplicaId) -> Survivor:
    configuration = Configuration.from_bytes(stored.configuration)
    checkpoint = restored.checkpoint
    kept, checksum, commit = OpNumber(0), configuration.genesis_checksum(), state.commit
    if checkpoint is not None:
        kept, checksum = checkpoint.op, checkpoint.checksum
        commit = OpNumber(max(commit, checkpoint.op))
    head = kept
    is_broken = False
    for entry in restored.entries:
        if entry.op <= kept:
            continue
        head = OpNumber(max(head, entry.op))
        follows = isinstance(entry, Entry) and entry.op == kept + 1 and entry.header.parent == checksum
        is_broken = is_broken or not follows
        if isinstance(entry, Entry) and not is_broken:
            kept, checksum = entry.op, entry.checksum
            commit = OpNumber(max(commit, entry.header.commit))
    return Survivor(
        group=stored.group,
        configuration=configuration,
        replica_id=replica_id,
        log_view=state.log_view,
        commit=OpNumber(min(commit, kept)),
        kept=kept,
        kept_checksum=checksum,
        head=head,
        is_head_certain=restored.head_certain and state.is_head_certain,
        is_voting=state.view > state.log_view,
    )


def force(storage: OpenStorage, survivor: Survivor, notes: Sequence[tuple[int, bytes]] = ()) -> Configuration:
    """Let the survivor go on alone, durably; `notes` of the embedder are kept in the same transaction. Close the folder next.

    Raises:
        HistoryUnusable, StoragePoisoned: the disk refused; force it again when it is mended.
    """
    configuration = survivor.next_configuration()
    storage.history.force_epoch(survivor.group, configuration, notes)
    if not survivor.is_whole:
        state = _state_of(storage, survivor.group)
        given_up = msgspec.structs.replace(
            state,
            commit=survivor.commit,
            truncate_above=survivor.kept,
            is_head_certain=True,
            frozen_do_view_change=None,
        )
        storage.log.write([meta_record(survivor.group, given_up)])
        storage.log.sync()
    return configuration


def _state_of(storage: OpenStorage, group: GroupId) -> DurableState:
    state = next(restored.state for stored, restored in storage.restored if stored.group == group)
    assert state is not None, "surveyed"
    return state
