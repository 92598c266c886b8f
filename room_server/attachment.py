"""What one connection may do in one room: proofs checked, appends admitted. Pure.

A proof is a signature by a key that all members of an epoch share, over this server's key and both nonces
(`wire.messages.proof_message`): no account, no identity, one signature check per epoch and connection.

| act | needs |
|---|---|
| read entries of epoch e | READ of an epoch >= e (the gate in `feed`) |
| append a block of epoch e | WRITE of an epoch >= e; for a knock or an external commit JOIN is enough; ADMIN for an override or a new link |
| open a session | WRITE, JOIN or ADMIN |
| fetch a join bundle or Welcome | READ, WRITE or JOIN |

A block of an ended epoch is let through, because only the room may answer STALE or CONFLICT (the session's number must
be used up, and the block may be a resend of one that was accepted); how many is bounded until a newer proof comes. When
rule R3 or R4 undoes an epoch, WRITE proofs are undone with it: they may be of keys that are no more.
"""

from __future__ import annotations

from typing import Final, assert_never

import msgspec
import nacl.exceptions
import nacl.signing

from room_server import limits
from room_server.errors import RefusedError
from room_server.feed import Subscription
from room_server.room_share import NO_QUOTA, RoomQuota
from room_server.rooms import HostedRoom
from wire.errors import DecodeError, RefusalCode
from wire.ids import NodeKey, RoomEpoch
from wire.messages import Prove, proof_message
from wire.room import BlockHeader, BlockKind, Purpose, decode_block_header, decode_commit, needed_proof

_NO_EPOCH: Final = RoomEpoch(-1)


class Held(msgspec.Struct, frozen=True):
    """A block that has to wait, by session and number: why, and until when, monotonic seconds."""

    session: int
    number: int
    code: RefusalCode
    until: float


class Attachment:
    """One connection in one room. Epochs are the highest proven, -1 for none."""

    __slots__ = (
        "generation",
        "held",
        "is_admin",
        "join_key",
        "margin_told",
        "read_epoch",
        "room",
        "stale_blocks",
        "subscribe_call",
        "subscription",
        "write_epoch",
    )

    def __init__(self, room: HostedRoom) -> None:
        self.room = room
        self.read_epoch = _NO_EPOCH
        self.write_epoch = _NO_EPOCH
        self.join_key = b""
        """That of the link whose holder this is; empty for none."""
        self.is_admin = False
        self.stale_blocks = 0
        self.held: Held | None = None
        """The newest block that has to wait: what comes behind it waits, too."""
        self.generation = room.service.generation
        """That of the room when WRITE was proven."""
        self.subscription: Subscription | None = None
        self.subscribe_call: int | None = None
        """The call that began the subscription, until its client is told where the log ends."""
        self.margin_told: int | None = None
        """What the client was told last of how the room stands."""

    @property
    def is_joiner(self) -> bool:
        """JOIN is proven, and the link still holds."""
        return self.join_key == self.room.service.join_key

    @property
    def may_read(self) -> bool:
        """READ of some epoch is proven."""
        return self.read_epoch >= 0

    @property
    def may_open_session(self) -> bool:
        """WRITE, JOIN or ADMIN is proven."""
        return self.write_epoch >= 0 or self.is_joiner or self.is_admin

    @property
    def may_join(self) -> bool:
        """Any proof that lets a member or a joiner fetch what joining needs."""
        return self.may_read or self.may_open_session

    def check_proof(self, prove: Prove, *, node_key: NodeKey, server_nonce: bytes, client_nonce: bytes) -> None:
        """Verify a proof and remember what it opens.

        Raises:
            RefusedError: UNKNOWN_EPOCH (this replica has no key of that epoch: too old, or not there yet) or BAD_PROOF.
        """
        key = self._key_of(prove)
        if key is None:
            raise RefusedError(RefusalCode.UNKNOWN_EPOCH, f"the room is in epoch {self.room.service.epoch} here")
        signed = proof_message(
            purpose=prove.purpose,
            node_key=node_key,
            server_nonce=server_nonce,
            client_nonce=client_nonce,
            room_id=prove.room_id,
            epoch=prove.epoch,
        )
        try:
            nacl.signing.VerifyKey(key).verify(signed, prove.signature)
        except (nacl.exceptions.CryptoError, ValueError) as error:
            raise RefusedError(RefusalCode.BAD_PROOF, "the proof does not hold") from error
        self._remember(prove)

    def _key_of(self, prove: Prove) -> bytes | None:
        service = self.room.service
        match prove.purpose:
            case Purpose.READ:
                return service.read_key(prove.epoch)
            case Purpose.WRITE:
                return service.write_key_of(prove.epoch)
            case Purpose.JOIN:
                return service.join_key if prove.epoch == 0 else None
            case Purpose.ADMIN:
                return service.admin_key if prove.epoch == 0 else None
            case _:
                assert_never(prove.purpose)

    def _remember(self, prove: Prove) -> None:
        match prove.purpose:
            case Purpose.READ:
                self.read_epoch = max(self.read_epoch, prove.epoch)
                if self.subscription is not None:
                    self.subscription.read_epoch = self.read_epoch
            case Purpose.WRITE:
                self._forget_undone()
                self.write_epoch = max(self.write_epoch, prove.epoch)
                self.stale_blocks = 0
            case Purpose.JOIN:
                self.join_key = self.room.service.join_key
            case Purpose.ADMIN:
                self.is_admin = True
            case _:
                assert_never(prove.purpose)

    def why_not_append(self, block: bytes, now: float) -> RefusalCode | None:
        """Why this connection may not append `block` at `now`; None when it may (R1 to R4, e2ee.md §3.1)."""
        self._forget_undone()
        try:
            header = decode_block_header(block)
            if not self._is_proven(header, block):
                return RefusalCode.NOT_PROVEN
            is_external = header.kind is BlockKind.COMMIT and decode_commit(block).external
            if is_external or header.kind is BlockKind.KNOCK:
                at_once = float(limits.JOINS_AT_ONCE_MAX)
                if self.room.joins.wait_s(now, per_s=limits.JOINS_PER_S, at_once=at_once):
                    return RefusalCode.BUSY
        except DecodeError:
            return RefusalCode.MALFORMED
        if header.epoch != self.room.service.epoch:
            self.stale_blocks += 1
            if self.stale_blocks > limits.STALE_BLOCKS_MAX:
                return RefusalCode.NOT_PROVEN
        return None

    def why_wait(self, block: bytes, quota: RoomQuota, now: float) -> tuple[RefusalCode, float] | None:
        """Why a block that may be appended is not taken up now, and for how many seconds; what is no message always passes."""
        if quota is NO_QUOTA or block[0] != BlockKind.APP:
            return None
        return self.room.share.why_not(quota, self.room.service.stored_bytes, now)

    def _forget_undone(self) -> None:
        if self.generation != self.room.service.generation:
            self.generation = self.room.service.generation
            self.write_epoch = _NO_EPOCH

    def _is_proven(self, header: BlockHeader, block: bytes) -> bool:
        is_writer = header.epoch <= self.write_epoch
        if is_writer and header.kind is BlockKind.APP:
            return True
        match needed_proof(block):
            case Purpose.ADMIN:
                return self.is_admin
            case Purpose.JOIN:
                return is_writer or self.is_joiner
            case _:
                return is_writer
