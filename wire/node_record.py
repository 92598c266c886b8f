"""Where one server is: a record that it signs itself, so that it may move without any room's owner.

    node key N ──▶ blinded key, sealing key ──▶ a descriptor (`wire.descriptor`) with one replica: N itself

The same sealing and blinding as for rooms, with the node key in the place of the root key and a fixed word in that of the
link's secret. Who knows N (from a room's descriptor, a configuration) finds the record and opens it; for nodes of the DHT it
names nobody. The highest sequence number wins; who answers at the address must still show N by TLS, so an old record
costs a dial and no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from dht.items import MutableItem
from wire.descriptor import Descriptor, MalformedError, Replica, RoomRoot, blinded_public_key, open_descriptor
from wire.identity import NodeIdentity, ServerAddress
from wire.ids import NodeKey

_WORD: Final = b"samtala-node-rec"
_HOUR_S: Final = 3600
_VALID_HOURS: Final = 24 * 7
"""For people: nobody refuses an old record, the DHT forgets it after hours and TLS checks the key."""


def node_record_key(node_key: NodeKey) -> bytes:
    """Return the 32-byte key under which a server's record is found.

    Raises:
        LocalError: `node_key` is no Ed25519 key.
    """
    return blinded_public_key(node_key, _WORD)


def sign_node_record(
    identity: NodeIdentity, hosts: Sequence[str], port: int, *, seq: int, now_unix: int
) -> MutableItem:
    """Return the record of a server that is at `port` of the first IPv4 and the first IPv6 address of `hosts`.

    Raises:
        LocalError: an address or a number is out of bounds.
    """
    ipv4 = next((host for host in hosts if ":" not in host), None)
    ipv6 = next((host for host in hosts if ":" in host), None)
    replica = Replica(node_key=identity.public, port=port, ipv4=ipv4, ipv6=ipv6)
    descriptor = Descriptor(issued_hours=now_unix // _HOUR_S, valid_hours=_VALID_HOURS, replicas=(replica,))
    return RoomRoot(identity.seed).sign_descriptor(descriptor, link_secret=_WORD, seq=seq)


def open_node_record(item: MutableItem, node_key: NodeKey) -> list[ServerAddress]:
    """Return where a server says it is, after checking that it says so itself; two addresses at most.

    Raises:
        DescriptorError: another server's record, forged, or no such record.
        LocalError: `node_key` is no Ed25519 key.
    """
    descriptor = open_descriptor(item, root_public=node_key, link_secret=_WORD)
    if [replica.node_key for replica in descriptor.replicas] != [node_key]:
        raise MalformedError("a server's record is about itself alone")
    [replica] = descriptor.replicas
    return [ServerAddress(host, port, node_key) for host, port in replica.addresses]
