"""Identifiers that programs exchange, each its own type so that they cannot be swapped.

| name | bytes | meaning |
|---|---|---|
| `RoomId` | 16 | what servers know a room by; equal to the VR group id; from the link's root key, which servers never see |
| `NodeKey` | 32 | Ed25519 public key of a server: its identity, pinned by peers and clients |
| `ClientId` | 16 | random, one per client and room; names a VR session across reconnects, never a person |
| `Sequence` | int | position of an entry in a room, first is 1, no gaps, the same for everyone |
| `RoomEpoch` | int | MLS epoch of a room (RFC 9420 §4); not the VR epoch |
| `GroupEpoch` | int | epoch of a room's replication group: counts which servers it has had, first is 0 |
"""

from typing import NewType

RoomId = NewType("RoomId", bytes)
NodeKey = NewType("NodeKey", bytes)
ClientId = NewType("ClientId", bytes)
Sequence = NewType("Sequence", int)
RoomEpoch = NewType("RoomEpoch", int)
GroupEpoch = NewType("GroupEpoch", int)

ROOM_ID_BYTES = 16
NODE_KEY_BYTES = 32
CLIENT_ID_BYTES = 16
