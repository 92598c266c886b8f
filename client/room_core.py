"""One room as this device sees it: the log comes in, messages come out, and what we want to say goes in. Sans-IO.

                 post, propose ─────▶ ┌──────────┐ ─▶ change      store it first, in one transaction
     deliveries (in log order) ─────▶ │ RoomCore │ ─▶ appends     then send these blocks, in order
     results of appended blocks ────▶ └──────────┘ ─▶ outcomes    then tell who waits
                                           │
                   MLS group of epoch n, outbox, at most one staged commit of our own

Rules that everything else follows from:

1. The log decides. A commit of ours is merged when the log shows it, a message of ours is shown where the log has it; both
   are recognised by the digest of their block, which survives any crash and any change of session.
2. Nothing is sent before the ratchet that encrypted it is stored (`RoomChange.is_promise`).
3. The log takes blocks of the present epoch only. What was not seen when an epoch ends is encrypted again for the next one,
   under the same message id, and never before: so nothing is sent twice, whatever answers were lost (`client.outbox`).
4. Whatever cannot be read is shown as such. What contradicts the history that we hold is an alarm.
5. Of several commits that end one epoch the first *valid* one counts (e2ee.md §3.1, R3). Who applied a commit says so
   (`acknowledge`), unless somebody else did; who could not apply it stays, and after a while commits for the same epoch
   (`reopen`). What an admin then puts right (R4) is an alarm for those who have to start again.

A core whose `take_effects` could not be stored is dead: restore another from the store.
"""

from __future__ import annotations

from collections.abc import Iterable

import mls
from client import limits
from client.archive import Archive
from client.commits import MemberChange, commit_block, judge_commit
from client.facts import keys_in, policy_of, with_facts
from client.identity import Identity, Person, person_of
from client.letting_in import Knocks, welcome_for
from client.notes import Notes
from client.outbox import Flight, Outbox
from client.past import Past
from client.payload import HISTORY_KINDS, VERSION, Payload, PayloadKind, decode_payload, encode_payload
from client.room_state import (
    Block,
    ChangeOutcome,
    Cursor,
    Effects,
    InFlight,
    Outgoing,
    Phase,
    RoomChange,
    RoomKeys,
    RoomMemory,
    block_digest,
)
from client.seals import EpochSecrets, epoch_secrets
from client.timeline import ItemKind, sender_of, why_unreadable
from client.witness import Witness
from wire.errors import DecodeError
from wire.ids import RoomEpoch, Sequence
from wire.room import (
    Ack,
    BlockHeader,
    BlockKind,
    BlockResult,
    Delivery,
    Move,
    Place,
    ResultKind,
    chain_next,
    decode_block_header,
    decode_commit,
    decode_control,
    decode_entries,
    encode_app_block,
    encode_control_block,
)

_UNDONE = "the room went back behind a change of members that this device had taken part in; join again with the link"

_FALSE_ACKNOWLEDGEMENT = "a server acknowledged a message that is not in the room's history"


class RoomCore:
    """The pure heart of `client.room.Room`.

    Args:
        keys: room id and key of join bundles.
        identity: who we are.
        group: our MLS group; in phase JOINING the one that our external commit would begin.
        memory: what was stored; for a new room, that of its beginning.
        entropy: source of randomness.
    """

    def __init__(
        self, keys: RoomKeys, identity: Identity, group: mls.Group, *, memory: RoomMemory, entropy: mls.Entropy
    ) -> None:
        self.keys = keys_in(group, keys)
        self.identity = identity
        self.group = group
        self.phase = memory.phase
        self.cursor = memory.cursor
        self.notes = Notes(identity, undecryptable=memory.undecryptable, alarms=memory.alarms)
        self.knocks = Knocks(memory.knocks, group, self.keys)
        self._secrets = epoch_secrets(group)
        self._entropy = entropy
        self._outbox = Outbox(memory.in_flight)
        self._witness = Witness(keys.room_id, identity, marks=memory.marks, message_ids=memory.message_ids)
        self._floor = RoomEpoch(0)
        self._proposal: MemberChange | None = None
        self._attempts = 0
        self._must_renew = self._is_unacknowledged = self._is_stalled = False
        self._is_committer = group.epoch == 0
        self._reopenings = 0
        self._staged: tuple[bytes, MemberChange | None] | None = None
        """Digest of our commit in flight, and the wish that it serves."""
        self._change_outcome: ChangeOutcome | None = None
        self._appends: list[Block] = []
        self._sent: list[InFlight] = []
        self._stored_cursor = self.cursor
        self._stored_phase = self.phase
        self._is_epoch_new = False
        self._is_ratchet_new = False
        self.past = Past(keys.room_id, Archive(memory.archive), memory.quest)
        if self.phase is Phase.LIVE and self.past.archive.is_empty:
            self._begin_past()

    # Facts

    @property
    def epoch(self) -> RoomEpoch:
        """The epoch that we can read and write in."""
        return RoomEpoch(self.group.epoch)

    @property
    def secrets(self) -> EpochSecrets:
        """Shared secrets of `epoch`."""
        return self._secrets

    @property
    def undecryptable(self) -> int:
        """Entries that could not be read."""
        return self.notes.undecryptable

    @property
    def alarms(self) -> int:
        """Contradictions that were found."""
        return self.notes.alarms

    @property
    def is_full(self) -> bool:
        """Tell whether `post` must not be called now."""
        return self._outbox.is_full

    @property
    def is_in_flight(self) -> bool:
        """Tell whether the fate of something that we sent is open."""
        return bool(self._outbox.flights)

    @property
    def is_changing(self) -> bool:
        """Tell whether a change of members is under way."""
        return self._proposal is not None

    @property
    def unacknowledged(self) -> RoomEpoch | None:
        """Our epoch, while nothing in the log shows that somebody could apply the commit which began it."""
        return self.epoch if self._is_unacknowledged and self.phase is Phase.LIVE else None

    @property
    def is_committer(self) -> bool:
        """Tell whether our epoch was begun by us."""
        return self._is_committer

    @property
    def stalled(self) -> tuple[RoomEpoch, int] | None:
        """Our epoch and the attempts made so far, while the room is in another that we cannot follow into."""
        return (self.epoch, self._reopenings) if self._is_stalled and self.phase is Phase.LIVE else None

    def people(self, now_s: int) -> list[tuple[mls.Member, Person]]:
        """Members by leaf, with what their credentials say."""
        return [(member, person_of(member, now_s)) for member in self.group.members()]

    # What we want

    def post(self, outgoing: Outgoing) -> None:
        """Take a message to send. Ask `is_full` first."""
        self._outbox.post(outgoing)

    def withdraw(self, message_id: bytes) -> bool:
        """Take back a message; False if it may have left already."""
        return self._outbox.withdraw(message_id)

    def propose(self, change: MemberChange) -> None:
        """Ask for a change of members; one at a time, its fate comes as `Effects.change_outcome`."""
        assert not self.is_changing, "one change at a time"
        self._proposal = change
        self._attempts = 0

    def acknowledge(self, epoch: RoomEpoch) -> None:
        """Say that the commit which began `epoch` works, unless the log shows it already."""
        if self.unacknowledged == epoch:
            data = encode_control_block(epoch, Ack())
            self._appends.append(Block(block_digest(data), data))

    def reopen(self, epoch: RoomEpoch, now_s: int) -> None:
        """Commit for `epoch` once more, if we are still stuck in it. Refused attempts are counted, and end it."""
        if self.stalled is None or self.epoch != epoch or self._staged is not None:
            return
        if self._reopenings >= limits.REOPENINGS_MAX:
            self._break(self.cursor.sequence, "the room goes on in an epoch that this device cannot follow into")
            return
        self._reopenings += 1
        self._stage(self._proposal, now_s)

    # What the servers say

    def on_result(self, digest: bytes, result: BlockResult) -> None:
        """A server answered a block."""
        flight = self._outbox.flights.get(digest)
        if flight is None:
            return  # The log was faster.
        match result.kind:
            case ResultKind.ACCEPTED if result.sequence <= self.cursor.sequence:
                # The log shows something else there. What became of the block is certain when its epoch ends.
                self.notes.alarm(result.sequence, _FALSE_ACKNOWLEDGEMENT)
                self.on_unknown(digest)
            case ResultKind.ACCEPTED:
                self._outbox.accepted(digest, result.sequence)
                self._check_acknowledged()
            case ResultKind.STALE | ResultKind.CONFLICT:
                self._floor = max(self._floor, result.epoch)
                if flight.is_commit:
                    self._commit_lost(digest)
                else:
                    self._outbox.refused(digest)
            case ResultKind.MALFORMED | ResultKind.FORBIDDEN:
                self._outbox.failed(digest)
                if self._staged is not None and self._staged[0] == digest:
                    self._staged = None
                    self._finish_change(ChangeOutcome(None, f"the servers refuse it as {result.kind.name.lower()}"))

    def on_unknown(self, digest: bytes) -> None:
        """No answer will come for a block; whether it is in the log remains to be seen."""
        self._outbox.unknown(digest)
        if self._staged is not None and self._staged[0] == digest:
            self._staged = None

    def on_caught_up(self) -> None:
        """All of the log that there is has been delivered: what is still unresolved is settled by another epoch."""
        self._must_renew = bool(self._outbox.unresolved)
        self._is_stalled = self._is_stalled or self._floor > self.epoch

    def on_alarm(self, sequence: Sequence, text: str) -> None:
        """The connection found that a server contradicts the history through `sequence`."""
        self.notes.alarm(sequence, text)

    def on_deliveries(self, deliveries: Iterable[Delivery]) -> None:
        """The log goes on. Deliveries come in order and without gaps, or the room is broken."""
        for delivery in deliveries:
            if self.phase in {Phase.REMOVED, Phase.BROKEN}:
                return
            self._on_delivery(delivery)
        self._check_acknowledged()

    def _on_delivery(self, delivery: Delivery) -> None:
        sequence = delivery.first_sequence
        self.notes.time_us = delivery.timestamp_us
        if sequence != self.cursor.sequence + 1:
            self._break(sequence, f"a server skipped from {self.cursor.sequence} to {sequence}")
            return
        try:
            header = decode_block_header(delivery.block)
        except DecodeError:
            self._break(sequence, "a server delivered what is no block")
            return
        last = Sequence(sequence + header.count - 1)
        before = self.cursor
        self.cursor = Cursor(last, chain_next(before.chain, delivery))
        own = self._outbox.seen(block_digest(delivery.block), sequence)
        if self.phase is Phase.JOINING:
            self._while_joining(delivery, own)
        else:
            self._while_member(delivery, header, own)
        self._witness.mark(last, self.cursor.chain)

    def _while_member(self, delivery: Delivery, header: BlockHeader, own: Flight | None) -> None:
        if header.epoch == self.epoch and header.kind is not BlockKind.KNOCK:
            self._is_unacknowledged = False
        match header.kind:
            case BlockKind.COMMIT:
                self._on_commit(delivery, header.epoch, own)
            case BlockKind.CONTROL:
                self._on_control(delivery, header.epoch)
            case BlockKind.KNOCK:
                self.knocks.heard(delivery.block, self.group, self.keys, is_committer=self._is_committer)
            case BlockKind.APP if own is not None:
                self._show_own(delivery, own)
            case BlockKind.APP if not (self._is_stalled and header.epoch > self.epoch):
                self._read_entries(delivery)
            case _:
                return  # Written in an epoch that we could not follow into: as if it were not there.

    def _while_joining(self, delivery: Delivery, own: Flight | None) -> None:
        if own is not None:
            self.phase = Phase.LIVE
            self._is_unacknowledged = self._is_committer = True
            self._begin_past()
            self.notes.add(delivery, ItemKind.JOINED, sender=self.notes.me, is_mine=True)
        elif decode_block_header(delivery.block).kind is BlockKind.COMMIT:
            # The server said that ours was accepted, but another commit ended that epoch.
            self._break(delivery.first_sequence, "a server lied about our joining")

    def _begin_past(self) -> None:
        """We have just come in, or founded the room; else no untouched epoch is at hand."""
        if mls.record_of(self.group) is not None:
            self._archive()
            self.past.came_in(self.group, policy_of(self.group), self.cursor)

    def _archive(self) -> None:
        """Our epoch begins with the last entry that was read."""
        policy = policy_of(self.group)
        self.past.archive.enter(
            self.group, policy, env_key=self._secrets.env_key, place=self.cursor, time_us=self.notes.time_us
        )
        self.past.archive.keep(policy, self.notes.time_us)

    # Messages

    def _show_own(self, delivery: Delivery, own: Flight) -> None:
        for index, outgoing in enumerate(own.stored.outgoing):
            self._witness.is_new(self.identity.user_key, outgoing.message_id)
            if outgoing.kind in HISTORY_KINDS:
                continue
            kind = ItemKind.MESSAGE if outgoing.kind == PayloadKind.TEXT else ItemKind.LEFT
            self.notes.add(
                delivery, kind, index=index, sender=self.notes.me, is_mine=True,
                message_id=outgoing.message_id, text=outgoing.text,
            )  # fmt: skip

    def _read_entries(self, delivery: Delivery) -> None:
        try:
            entries = decode_entries(delivery.block)
        except DecodeError:
            count = decode_block_header(delivery.block).count
            for index in range(count):
                self.notes.refuse(delivery, index, "malformed")
            return
        for index, entry in enumerate(entries):
            self._read_entry(delivery, index, entry)
        self._is_ratchet_new = True

    def _read_entry(self, delivery: Delivery, index: int, entry: bytes) -> None:
        try:
            message = self.group.unprotect(entry)
        except mls.PeerError as error:
            self.notes.refuse(delivery, index, why_unreadable(error))
            return
        person = person_of(message.sender, delivery.timestamp_us // 1_000_000)
        sender = sender_of(person)
        try:
            payload = decode_payload(message.plaintext)
        except DecodeError:
            self.notes.refuse(delivery, index, "not a message that this version knows", sender)
            return
        if not self._witness.is_new(person.user_key, payload.message_id):
            self.notes.refuse(delivery, index, "a double: this message was shown before", sender)
            return
        alarm = self._witness.compare(delivery.first_sequence, payload, message)
        if alarm is not None:
            self.notes.alarm(Sequence(delivery.first_sequence + index), alarm, sender)
        if payload.kind in HISTORY_KINDS:
            self._hear(delivery, index, payload, message.sender)
        else:
            self.notes.show(delivery, index, payload, sender)

    def _hear(self, delivery: Delivery, index: int, payload: Payload, member: mls.Member) -> None:
        try:
            self.past.heard(payload, member)
        except DecodeError as error:
            self.notes.refuse(delivery, index, str(error))

    # Epochs

    def _on_commit(self, delivery: Delivery, epoch: RoomEpoch, own: Flight | None) -> None:
        if epoch != self.epoch:
            self._on_foreign_commit(delivery, epoch)
            return
        try:
            if own is not None:
                staged = mls.StagedCommit.from_bytes(own.stored.staged, self.identity.signature_key)
            else:
                staged = judge_commit(
                    decode_commit(delivery.block), self.group, self.keys,
                    env_key=self._secrets.env_key, now_s=delivery.timestamp_us // 1_000_000,
                )  # fmt: skip
        except (DecodeError, mls.PeerError) as error:
            self._stall(delivery.first_sequence, f"a change of members that does not hold: {error}")
            return
        self.notes.announce(delivery, staged, is_mine=own is not None)
        if self._staged is not None:
            self._on_race(own, delivery.first_sequence)
        for place in self._outbox.epoch_ended():
            self.notes.alarm(place, _FALSE_ACKNOWLEDGEMENT)
        if staged.self_removed:
            self.phase = Phase.REMOVED
        else:
            self._enter(staged.merge(), is_mine=own is not None)

    def _on_foreign_commit(self, delivery: Delivery, epoch: RoomEpoch) -> None:
        if epoch < self.epoch:
            self._break(delivery.first_sequence, _UNDONE)
        elif not self._is_stalled:
            self._break(delivery.first_sequence, "a server delivered a change of members of another epoch")

    def _stall(self, sequence: Sequence, text: str) -> None:
        """The room left our epoch by a commit that we cannot apply: wait whether anybody can."""
        self.notes.alarm(sequence, text)
        self._is_stalled = True
        self._floor = max(self._floor, RoomEpoch(self.epoch + 1))
        if self._staged is not None:
            self._commit_lost(self._staged[0])

    def _on_control(self, delivery: Delivery, epoch: RoomEpoch) -> None:
        try:
            body = decode_control(delivery.block)
        except DecodeError:
            self._break(delivery.first_sequence, "a server delivered what is no block")
            return
        if isinstance(body, Ack | Move | Place):
            return
        if (epoch, body.write_key) != (self.epoch, self._secrets.write_key):
            self._break(delivery.first_sequence, _UNDONE)
            return
        self._unstall()
        self._floor = epoch
        self.notes.alarm(delivery.first_sequence, "the room's owner took back a change of members that did not hold")

    def _unstall(self) -> None:
        self._is_stalled = False
        self._reopenings = 0

    def _on_race(self, own: Flight | None, sequence: Sequence) -> None:
        """An epoch ends while a commit of ours is in flight: was it this one?"""
        assert self._staged is not None
        digest, served = self._staged
        if own is None or own.stored.digest != digest:
            self._commit_lost(digest)
            return
        self._staged = None
        if served is self._proposal:
            self._finish_change(ChangeOutcome(sequence))

    def _enter(self, group: mls.Group, *, is_mine: bool) -> None:
        self._unstall()
        self._is_unacknowledged = True
        self._is_committer = is_mine
        self.group = group
        self.keys = keys_in(group, self.keys)
        self.knocks.entered(group, self.keys)
        self._secrets = epoch_secrets(group)
        self._is_epoch_new = True
        self._is_ratchet_new = True
        self._must_renew = False
        self._archive()

    def _commit_lost(self, digest: bytes) -> None:
        self._outbox.settle(digest)
        if self._staged is not None and self._staged[0] == digest:
            self._staged = None
            self._attempts += 1
            if self._attempts >= limits.COMMIT_ATTEMPTS_MAX:
                self._finish_change(ChangeOutcome(None, "other members' changes kept winning; try again later"))

    def _finish_change(self, outcome: ChangeOutcome) -> None:
        if self._proposal is not None:
            self._proposal = None
            self._change_outcome = outcome

    # Sending

    def _flush(self, now_s: int) -> None:
        may_send = self.phase is Phase.LIVE and self.epoch >= self._floor
        # What follows our own commit would be of the epoch after it.
        if not may_send or self._staged is not None:
            return
        if not self._outbox.unresolved:
            while self._outbox.may_fly:
                self._send_messages()
        if self._proposal is not None or self._must_renew or self.knocks.is_due:
            self._stage(self._proposal, now_s)

    def _send_messages(self) -> None:
        taken = self._outbox.next_group()
        entries = [self._protect(item.outgoing) for item in taken]
        data = encode_app_block(self.epoch, entries)
        block = Block(block_digest(data), data)
        self._sent.append(self._outbox.sent(block, taken))
        self._appends.append(block)
        self._is_ratchet_new = True

    def _protect(self, outgoing: Outgoing) -> bytes:
        payload = Payload(
            VERSION, outgoing.kind, outgoing.message_id, self.cursor.sequence, self.cursor.chain, outgoing.text
        )
        return self.group.protect(encode_payload(payload), entropy=self._entropy)

    def _stage(self, change: MemberChange | None, now_s: int) -> None:
        wanted = () if change is None else change.remove
        leaves = {member.signature_public_key: member.leaf_index for member in self.group.members()}
        remove = [leaves[key] for key in wanted if key in leaves]
        if wanted and not remove:
            self._finish_change(ChangeOutcome(None, "not a member any more"))
            return
        try:
            new_link = None if change is None else change.new_link
            approved = () if change is None else change.let_in
            let_in = self.knocks.admissible(self.group, self._entropy, now_s, approved=approved)
            if approved and not let_in:
                self._finish_change(ChangeOutcome(None, "nobody of them waits any more"))
                return
            staged = self.group.commit(
                add=[knock.key_package for knock in let_in],
                remove=remove,
                extensions=with_facts(
                    self.group,
                    link_secret=None if new_link is None else new_link.secret,
                    history=None if change is None else change.history,
                ),
                entropy=self._entropy,
                now=now_s,
            )
            block = commit_block(
                staged, self.keys, env_key=self._secrets.env_key, entropy=self._entropy, new_link=new_link,
                welcomes=welcome_for(let_in, staged.welcome),
            )  # fmt: skip
        except (mls.MLSError, DecodeError) as error:
            self._finish_change(ChangeOutcome(None, str(error)))
            return
        self._sent.append(self._outbox.sent_commit(block, staged.to_bytes()))
        self._staged = (block.digest, change)
        self._appends.append(block)

    # Contradictions

    def _check_acknowledged(self) -> None:
        for place in self._outbox.overdue(self.cursor.sequence):
            self.notes.alarm(place, _FALSE_ACKNOWLEDGEMENT)

    def _break(self, sequence: Sequence, text: str) -> None:
        self.phase = Phase.BROKEN
        self.notes.alarm(sequence, text)

    # Effects

    def take_effects(self, now_s: int, *, may_send: bool = True) -> Effects:
        """Build what is to be sent now, and give everything that has to be done since the last call, in order.

        Args:
            now_s: unix seconds, for the lifetime of KeyPackages.
            may_send: false while nobody would take it: what waits can still be withdrawn then.
        """
        if may_send:
            self._flush(now_s)
        outbox = self._outbox
        change = RoomChange(
            cursor=self.cursor if self.cursor != self._stored_cursor else None,
            phase=self.phase if self.phase is not self._stored_phase else None,
            epoch_state=self.group.epoch_state() if self._is_epoch_new else None,
            ratchet_state=self.group.ratchet_state() if self._is_ratchet_new else None,
            items=tuple(self.notes.items),
            marks=tuple(self._witness.new_marks),
            evidence=tuple(self._witness.evidence),
            sent=tuple(self._sent),
            settled=tuple(outbox.settled),
            unsent=tuple(outbox.unsent),
            knocks=self.knocks.take_stored(),
            archived=tuple(self.past.archive.added),
            forgotten=tuple(self.past.archive.dropped),
            quest=self.past.quest if self.past.is_quest_new else None,
        )
        effects = Effects(
            change=change,
            appends=tuple(self._appends),
            outcomes=tuple(outbox.outcomes),
            change_outcome=self._change_outcome,
        )
        for done in (self.notes.items, self._witness.new_marks, self._witness.evidence, self._sent, self._appends):
            done.clear()
        for told in (outbox.settled, outbox.unsent, outbox.outcomes):
            told.clear()
        self.past.stored()
        self._change_outcome = None
        self._is_epoch_new = self._is_ratchet_new = False
        self._stored_cursor, self._stored_phase = self.cursor, self.phase
        return effects
