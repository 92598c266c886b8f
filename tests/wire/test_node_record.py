from __future__ import annotations

import msgspec
import pytest

from dht.items import MutableItem
from wire.descriptor import Descriptor, DescriptorError, ForgedError, MalformedError, Replica, RoomRoot
from wire.errors import LocalError
from wire.identity import NodeIdentity, ServerAddress
from wire.ids import NodeKey
from wire.node_record import node_record_key, open_node_record, sign_node_record

NODE = NodeIdentity(b"n" * 32)
OTHER = NodeIdentity(b"o" * 32)


def record(seq: int = 5) -> MutableItem:
    return sign_node_record(NODE, ["192.0.2.1", "2001:db8::1", "192.0.2.9"], 7400, seq=seq, now_unix=1_800_000_000)


def test_record_says_where_a_server_is_to_who_knows_its_key() -> None:
    assert open_node_record(record(), NODE.public) == [
        ServerAddress("192.0.2.1", 7400, NODE.public),
        ServerAddress("2001:db8::1", 7400, NODE.public),
    ]
    assert record().public_key == node_record_key(NODE.public)


def test_record_shows_others_neither_key_nor_address() -> None:
    encoded = record().to_bytes()

    assert NODE.public not in encoded
    assert bytes((192, 0, 2, 1)) not in encoded


def test_record_of_another_server_is_refused() -> None:
    with pytest.raises(DescriptorError):
        open_node_record(record(), OTHER.public)


@pytest.mark.parametrize("change", [{"seq": 6}, {"value": b"x" * 256}, {"signature": bytes(64)}])
def test_record_that_the_server_did_not_sign_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ForgedError):
        open_node_record(msgspec.structs.replace(record(), **change), NODE.public)


@pytest.mark.parametrize("keys", [[], [OTHER.public], [NODE.public, OTHER.public]])
def test_record_about_others_is_refused(keys: list[NodeKey]) -> None:
    replicas = tuple(Replica(node_key=key, port=1, ipv4="192.0.2.7") for key in keys)
    descriptor = Descriptor(issued_hours=1, valid_hours=1, replicas=replicas)
    item = RoomRoot(NODE.seed).sign_descriptor(descriptor, link_secret=b"samtala-node-rec", seq=1)

    with pytest.raises(MalformedError):
        open_node_record(item, NODE.public)


def test_key_that_is_none_is_our_own_error() -> None:
    with pytest.raises(LocalError):
        node_record_key(NodeKey(b"\xff" * 32))
