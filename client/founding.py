"""A new room: keys, link, first epoch, genesis record and signed descriptor. Pure.

    root key R, link secret s ──▶ link ──▶ room id, join key           MLS group of epoch 0 ──▶ write and read keys
                                      └────────────┬───────────────────────────┘
                           genesis: replicas, keys, sealed join bundle, signed descriptor ──▶ to every server of the room

Only the founder ever holds the root's private key; servers get signed bytes (dht.md §3). The room's name is in the group's
extensions: members know it, servers do not.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Sequence
from typing import Final

import msgspec

from client.archive import NO_HISTORY, HistoryPolicy
from client.commits import NewLink, seal_group_info
from client.facts import LINK_SECRET_BYTES, RoomFacts, facts_extension, facts_of, keys_of
from client.identity import Identity
from client.room_state import Cursor, Mark, Phase, RoomMemory
from client.seals import epoch_secrets, public_key
from mls import Entropy, Extension, Group
from wire.certificate import Server
from wire.descriptor import Descriptor, Replica, RoomRoot, descriptor_seq
from wire.ids import GroupEpoch
from wire.ids import Sequence as EntrySequence
from wire.link import Hint, Link
from wire.messages import NodeAddress
from wire.room import GENESIS_VERSION, Genesis, GenesisMember, chain_start, encode_genesis

HINTS_WANTED: Final = 3
"""Addresses put into a link: one is enough to find the others, three survive two dead servers and fit a small QR code."""
DESCRIPTOR_HOURS: Final = 2 * 365 * 24
"""How long the founder's word about the servers holds, unless renewed."""
_SEED_BYTES: Final = 32


class NewRoom(msgspec.Struct, frozen=True, kw_only=True):
    """Everything of a room that does not exist on any server yet. `root_seed` is the founder's alone."""

    link: Link
    root_seed: bytes
    group: Group
    genesis: bytes
    descriptor: bytes
    memory: RoomMemory


def found_room(
    name: str,
    nodes: Sequence[NodeAddress],
    identity: Identity,
    *,
    by_approval: bool = False,
    history: HistoryPolicy = NO_HISTORY,
    by_quorum: bool = True,
    entropy: Entropy,
    now_us: int,
) -> NewRoom:
    """Make a new room.

    Args:
        name: what members call it.
        nodes: its servers, each with its replica id and numeric address or host name.
        identity: the founder's.
        by_approval: whether the link only lets people knock.
        history: what newcomers may read of what was before them.
        by_quorum: whether its servers, too, may say which servers it has next; else only the founder.
        entropy: source of randomness.
        now_us: unix microseconds.
    """
    facts = facts_extension(RoomFacts(1, name, identity.user_key, by_approval=by_approval, history_days=history.days))
    return found_by_keys(
        nodes, identity, facts,
        root_seed=entropy(_SEED_BYTES), secret=entropy(LINK_SECRET_BYTES), by_quorum=by_quorum, entropy=entropy,
        now_us=now_us,
    )  # fmt: skip


def found_by_keys(
    nodes: Sequence[NodeAddress],
    identity: Identity,
    content: Extension,
    *,
    root_seed: bytes,
    secret: bytes,
    by_quorum: bool = True,
    entropy: Entropy,
    now_us: int,
) -> NewRoom:
    """Make a room whose keys are given: its root's 32-byte seed and its link's 16-byte secret. See `found_room`.

    Args:
        nodes: its servers.
        identity: its first member.
        content: what its members agree on.
        root_seed: of its root key.
        secret: of its link.
        by_quorum: as in `found_room`.
        entropy: source of randomness.
        now_us: unix microseconds.
    """
    root = RoomRoot(root_seed)
    hints = tuple(Hint(host=node.host, port=node.port) for node in nodes[:HINTS_WANTED])
    link = Link(root_public=root.public, secret=secret, hints=hints)
    keys = keys_of(link)
    now_s = now_us // 1_000_000
    group = Group.create(
        link.room_id, identity.signature_key, identity.credential(),
        entropy=entropy, now=now_s, extensions=(content,),
    )  # fmt: skip
    descriptor = Descriptor(
        issued_hours=now_s // 3600, valid_hours=DESCRIPTOR_HOURS, replicas=tuple(_replica(node) for node in nodes)
    )
    item = root.sign_descriptor(descriptor, link_secret=secret, seq=descriptor_seq(0, 1)).to_bytes()
    secrets = epoch_secrets(group)
    genesis = Genesis(
        version=GENESIS_VERSION,
        room_id=link.room_id,
        created_us=now_us,
        members=tuple(GenesisMember(node.replica_id, node.node_key, node.host, node.port) for node in nodes),
        write_key=secrets.write_key,
        read_key=secrets.read_key,
        join_key=public_key(link.join_secret),
        admin_key=public_key(admin_seed_of(root_seed)),
        group_info=seal_group_info(group, secrets, keys, entropy),
        descriptor=item,
        by_approval=facts_of(group).by_approval,
        by_quorum=by_quorum,
    )
    beginning = Cursor(EntrySequence(0), chain_start(link.room_id))
    return NewRoom(
        link=link,
        root_seed=root_seed,
        group=group,
        genesis=encode_genesis(genesis),
        descriptor=item,
        memory=first_memory(group, beginning, Phase.LIVE),
    )


def first_memory(group: Group, cursor: Cursor, phase: Phase) -> RoomMemory:
    """What a room remembers when this device has just come into it."""
    return RoomMemory(
        phase=phase,
        cursor=cursor,
        epoch_state=group.epoch_state(),
        ratchet_state=group.ratchet_state(),
        marks=(Mark(cursor.sequence, cursor.chain),),
        in_flight=(),
        message_ids=(),
        undecryptable=0,
        alarms=0,
    )


class Owner:
    """The device that made a room (`client.room.Ownership`)."""

    def __init__(self, root_seed: bytes, descriptor: Descriptor, entropy: Entropy, *, epoch: int = 0) -> None:
        self.admin_seed = admin_seed_of(root_seed)
        self._root = RoomRoot(root_seed)
        self._descriptor = descriptor
        self._entropy = entropy
        self._epoch = epoch

    def new_link(self) -> NewLink:
        """A link that takes the place of all earlier ones, with the same servers."""
        secret = self._entropy(LINK_SECRET_BYTES)
        seq = descriptor_seq(self._epoch, 1)
        item = self._root.sign_descriptor(self._descriptor, link_secret=secret, seq=seq)
        return NewLink(secret=secret, descriptor=item.to_bytes())


def sign_servers(
    root_seed: bytes, servers: Sequence[Server], epoch: GroupEpoch, *, link_secret: bytes, now_s: int
) -> bytes:
    """The owner's record that a room's servers of an epoch are these, for holders of the link."""
    descriptor = Descriptor(
        issued_hours=now_s // 3600, valid_hours=DESCRIPTOR_HOURS, replicas=tuple(map(_replica, servers))
    )
    seq = descriptor_seq(epoch, 1)
    return RoomRoot(root_seed).sign_descriptor(descriptor, link_secret=link_secret, seq=seq).to_bytes()


def admin_seed_of(root_seed: bytes) -> bytes:
    """Seed of the key by which servers know the room's owner, 32 bytes."""
    return hashlib.blake2b(key=root_seed, digest_size=_SEED_BYTES, person=b"samtala-admin").digest()


def _replica(node: NodeAddress | Server) -> Replica:
    try:
        version = ipaddress.ip_address(node.host).version
    except ValueError:
        return Replica(node_key=node.node_key, port=node.port)
    return Replica(
        node_key=node.node_key,
        port=node.port,
        ipv4=node.host if version == 4 else None,
        ipv6=node.host if version == 6 else None,
    )
