"""Numbers and names of Viewstamped Replication, each its own type so that they cannot be swapped.

| name | representation | meaning |
|---|---|---|
| `GroupId` | 16 bytes | one replicated service, such as a room |
| `ReplicaId` | 16 bytes | random; names one data folder for its lifetime, never reused |
| `ReplicaIndex` | int | position in the configuration's members (VRR 4: the replica number) |
| `ViewNumber` | int | epoch * 2**32 + n, so that one comparison orders epochs and views |
| `OpNumber` | int | first operation is 1; 0 stands for the group's birth |
| `Checksum` | 16 bytes | BLAKE2b-128 |
| `SessionNumber` | int | op_number * 256 + place in the batch of the committed register; 0: none |
| `RequestNumber` | int | 1, 2, … without gaps within a session; 0 for a register |
"""

from typing import Final, NewType

GroupId = NewType("GroupId", bytes)
ReplicaId = NewType("ReplicaId", bytes)
ReplicaIndex = NewType("ReplicaIndex", int)
ViewNumber = NewType("ViewNumber", int)
OpNumber = NewType("OpNumber", int)
Checksum = NewType("Checksum", bytes)
ClientId = NewType("ClientId", bytes)
SessionNumber = NewType("SessionNumber", int)
RequestNumber = NewType("RequestNumber", int)

IDENTIFIER_BYTES: Final = 16
CHECKSUM_BYTES: Final = 16
VIEW_BITS: Final = 32
LAST_VIEW: Final = (1 << VIEW_BITS) - 1
"""Number of the view in which an epoch is over: nobody leads it, nothing is prepared in it."""


def make_view(epoch: int, number: int) -> ViewNumber:
    """View `number` of `epoch`."""
    assert 0 <= number < 1 << VIEW_BITS
    return ViewNumber(epoch << VIEW_BITS | number)


def view_epoch(view: ViewNumber) -> int:
    """The epoch of a view."""
    return view >> VIEW_BITS


def view_in_epoch(view: ViewNumber) -> int:
    """The n of a view: its number within the epoch."""
    return view & ((1 << VIEW_BITS) - 1)
