from __future__ import annotations

import pytest

import mls
from client.facts import keys_of, room_name
from client.founding import HINTS_WANTED, NewRoom, found_room
from client.room_core import RoomCore
from client.room_state import Phase
from client.seals import epoch_secrets, open_bundle, public_key
from dht.items import MutableItem
from tests.client.builders import NOW_S, entropy_of, identity_of
from wire.descriptor import open_descriptor
from wire.ids import NodeKey, RoomEpoch
from wire.link import parse_link
from wire.messages import NodeAddress
from wire.room import Genesis, chain_start, decode_genesis

NODES = tuple(
    NodeAddress(name, NodeKey(name.encode() * 32), name.encode() * 16, host, 7610, True)
    for name, host in (("a", "192.0.2.1"), ("b", "2001:db8::1"), ("c", "c.example"), ("d", "192.0.2.4"))
)


def made(name: str = "lobby") -> tuple[NewRoom, Genesis]:
    room = found_room(name, NODES, identity_of("alice"), entropy=entropy_of("room"), now_us=NOW_S * 1_000_000)
    return room, decode_genesis(room.genesis)


def test_the_genesis_names_the_servers_and_the_keys_of_the_first_epoch() -> None:
    room, genesis = made()
    secrets = epoch_secrets(room.group)

    assert genesis.room_id == room.link.room_id
    assert [member.node_key for member in genesis.members] == [node.node_key for node in NODES]
    assert (genesis.write_key, genesis.read_key) == (secrets.write_key, secrets.read_key)
    assert genesis.join_key == public_key(room.link.join_secret)
    assert genesis.admin_key not in {genesis.join_key, room.link.root_public, public_key(room.root_seed)}


def test_servers_learn_neither_root_nor_secret_nor_name() -> None:
    room, _ = made("very secret name")

    for secret in (room.root_seed, room.link.root_public, room.link.secret, room.link.join_secret, b"very secret name"):
        assert secret not in room.genesis


def test_holders_of_the_link_open_the_join_bundle_and_the_descriptor() -> None:
    room, genesis = made()
    link = parse_link(room.link.to_text())

    bundle = open_bundle(genesis.group_info, key=keys_of(link).bundle_key, room_id=link.room_id, epoch=RoomEpoch(0))
    descriptor = open_descriptor(
        MutableItem.from_bytes(genesis.descriptor), root_public=link.root_public, link_secret=link.secret
    )

    assert bundle.group_info == room.group.group_info()
    assert [replica.ipv4 or replica.ipv6 for replica in descriptor.replicas] == [
        "192.0.2.1",
        "2001:db8::1",
        None,
        "192.0.2.4",
    ]
    assert not descriptor.expired(NOW_S + 365 * 86_400)


def test_the_link_has_a_few_addresses() -> None:
    room, _ = made()

    assert [hint.host for hint in room.link.hints] == ["192.0.2.1", "2001:db8::1", "c.example"]
    assert len(room.link.hints) == HINTS_WANTED


def test_the_founder_can_begin_at_once() -> None:
    room, _ = made()

    core = RoomCore(keys_of(room.link), identity_of("alice"), room.group, memory=room.memory, entropy=entropy_of(1))

    assert core.phase is Phase.LIVE
    assert core.cursor.chain == chain_start(room.link.room_id)


@pytest.mark.parametrize("name", ["lobby", "Malmö makers", "日本"])
def test_members_read_the_name_from_the_group(name: str) -> None:
    room, _ = made(name)

    assert room_name(room.group) == name


def test_a_group_without_a_name_is_called_by_its_id() -> None:
    alice = identity_of("alice")
    group = mls.Group.create(b"\xab" * 16, alice.signature_key, alice.credential(), entropy=entropy_of(1), now=NOW_S)
    odd = mls.Group.create(
        b"\xab" * 16, alice.signature_key, alice.credential(), entropy=entropy_of(1), now=NOW_S,
        extensions=(mls.Extension(extension_type=mls.ROOM_EXTENSION, data=b"\xff"),),
    )  # fmt: skip

    assert room_name(group) == room_name(odd) == "abababab"
