"""What a node keeps for others, and what it keeps for its own rooms (BEP 44, and our rules where that is silent).

    kept      announced by somebody; lives two hours from the last announcement; bounded in all and per network;
              when full, what is farthest from our id leaves
    pinned    announced by this node's owner; never expires, never leaves, always answered

Both obey the same rule of change: a higher sequence number wins, whoever brings it, since only the key's owner can have
signed it. A pinned item that the network knows a newer version of therefore becomes the newer version, still pinned.
"""

from __future__ import annotations

import bisect
import contextlib
from typing import TypeAlias

import msgspec

from dht import bencode
from dht.errors import InvalidSignature, QuotaExceeded
from dht.items import MutableItem, encoded_signed_buffer, immutable_target, mutable_target, verify_signature
from dht.krpc import ErrorCode
from dht.limits import (
    ITEM_LIFE_S,
    ITEMS_MAX,
    ITEMS_PER_NETWORK_MAX,
    PINNED_MAX,
    SALT_BYTES_MAX,
    SEQUENCE_MAX,
    VALUE_BYTES_MAX,
)
from dht.node_id import distance


class SignedValue(msgspec.Struct, frozen=True, kw_only=True):
    """A mutable item as it came: its value is any bencoded value, not only a string."""

    public_key: bytes
    salt: bytes
    seq: int
    encoded_value: bytes
    signature: bytes

    @property
    def target(self) -> bytes:
        """The 20 bytes under which it is found."""
        return mutable_target(self.public_key, self.salt)

    def verify(self) -> None:
        """Check the signature.

        Raises:
            InvalidSignature: the key's owner did not sign this.
        """
        message = encoded_signed_buffer(self.seq, self.salt, self.encoded_value)
        verify_signature(public_key=self.public_key, signature=self.signature, message=message)

    @classmethod
    def of(cls, item: MutableItem) -> SignedValue:
        """Return the same item with its value encoded."""
        return cls(
            public_key=item.public_key,
            salt=item.salt,
            seq=item.seq,
            encoded_value=bencode.encode(item.value),
            signature=item.signature,
        )

    def to_item(self) -> MutableItem | None:
        """Return the same item with its value decoded, None if the value is no string."""
        value = bencode.decode(self.encoded_value)
        if not isinstance(value, bytes):
            return None
        return MutableItem(
            public_key=self.public_key, salt=self.salt, seq=self.seq, value=value, signature=self.signature
        )


class PlainValue(msgspec.Struct, frozen=True, kw_only=True):
    """An immutable item: its target is the hash of its bytes."""

    encoded_value: bytes

    @property
    def target(self) -> bytes:
        """The 20 bytes under which it is found."""
        return immutable_target(self.encoded_value)


Stored: TypeAlias = SignedValue | PlainValue


class StoreRefusal(Exception):  # noqa: N818 - an answer, not a fault
    """Why a put is refused, in the words of the protocol. Caught by the responder, never seen outside."""

    def __init__(self, code: ErrorCode, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class Kept(msgspec.Struct, kw_only=True):
    """An item kept for others, since when, and the network it came from (None: not counted)."""

    stored: Stored
    announced_at: float
    network: bytes | None


class Storage:
    """Items by target. `own_id` decides which are far away."""

    def __init__(self, own_id: bytes) -> None:
        self._own_id = own_id
        self._kept: dict[bytes, Kept] = {}  # oldest announcement first
        self._by_distance: list[tuple[int, bytes]] = []
        self._per_network: dict[bytes, int] = {}
        self._pinned: dict[bytes, SignedValue] = {}

    def __len__(self) -> int:
        return len(self._kept) + len(self._pinned)

    def get(self, target: bytes, now: float) -> Stored | None:
        """Return the item under a target, if it is pinned or still alive."""
        pinned = self._pinned.get(target)
        if pinned is not None:
            return pinned
        kept = self._kept.get(target)
        return kept.stored if kept is not None and now - kept.announced_at < ITEM_LIFE_S else None

    def is_pinned(self, target: bytes) -> bool:
        """Whether the owner of the node wants this item answered always."""
        return target in self._pinned

    def pinned(self) -> list[SignedValue]:
        """Return all pinned items."""
        return list(self._pinned.values())

    def pin(self, item: SignedValue) -> None:
        """Keep a verified item for good. A newer version that is here already stays.

        Raises:
            QuotaExceeded: `PINNED_MAX` items are pinned.
        """
        target = item.target
        if target not in self._pinned and len(self._pinned) >= PINNED_MAX:
            raise QuotaExceeded(f"{PINNED_MAX} items are pinned already")
        present = self._pinned.get(target)
        if present is None and target in self._kept:
            kept = self._kept[target].stored
            present = kept if isinstance(kept, SignedValue) else None
            self._drop(target)
        self._pinned[target] = item if present is None or present.seq < item.seq else present

    def unpin(self, target: bytes, now: float) -> None:
        """Let a pinned item live on as any other, if there is room. Nothing happens if it is not pinned."""
        item = self._pinned.pop(target, None)
        if item is None:
            return
        with contextlib.suppress(StoreRefusal):
            self._keep(Kept(stored=item, announced_at=now, network=None))

    def put_signed(self, item: SignedValue, *, cas: int | None, network: bytes | None, now: float) -> bool:
        """Take a mutable item that a stranger announces. Return whether it changed what is stored.

        Raises:
            StoreRefusal: too large, forged, older than ours, or no room.
        """
        if len(item.encoded_value) > VALUE_BYTES_MAX:
            raise StoreRefusal(ErrorCode.VALUE_TOO_BIG, "value too big")
        if len(item.salt) > SALT_BYTES_MAX:
            raise StoreRefusal(ErrorCode.SALT_TOO_BIG, "salt too big")
        if not 0 <= item.seq <= SEQUENCE_MAX:
            raise StoreRefusal(ErrorCode.PROTOCOL, "sequence number out of range")
        target = item.target
        present = self.get(target, now)
        if isinstance(present, SignedValue):
            if cas is not None and cas != present.seq:
                raise StoreRefusal(ErrorCode.CAS_MISMATCH, "cas mismatch")
            if item.seq < present.seq or (item.seq == present.seq and item.encoded_value != present.encoded_value):
                raise StoreRefusal(ErrorCode.SEQUENCE_LESS, "sequence number less than current")
        # The costly check comes last. An announcement of exactly what is here needs none.
        if item != present:
            try:
                item.verify()
            except InvalidSignature as error:
                raise StoreRefusal(ErrorCode.INVALID_SIGNATURE, "invalid signature") from error
        if target in self._pinned:
            self._pinned[target] = item
        else:
            self._keep(Kept(stored=item, announced_at=now, network=network))
        return item != present

    def put_plain(self, item: PlainValue, *, network: bytes | None, now: float) -> None:
        """Take an immutable item that a stranger announces.

        Raises:
            StoreRefusal: too large, or no room.
        """
        if len(item.encoded_value) > VALUE_BYTES_MAX:
            raise StoreRefusal(ErrorCode.VALUE_TOO_BIG, "value too big")
        if item.target not in self._pinned:
            self._keep(Kept(stored=item, announced_at=now, network=network))

    def expire(self, now: float) -> int:
        """Forget what nobody announced for two hours; return how many items that were."""
        expired = 0
        while self._kept:
            target, kept = next(iter(self._kept.items()))
            if now - kept.announced_at < ITEM_LIFE_S:
                break
            self._drop(target)
            expired += 1
        return expired

    def move_to(self, own_id: bytes) -> None:
        """Measure distances from another id of ours from now on."""
        self._own_id = own_id
        self._by_distance = sorted((distance(target, own_id), target) for target in self._kept)

    def _keep(self, kept: Kept) -> None:
        target = kept.stored.target
        previous = self._kept.get(target)
        if previous is None or previous.network != kept.network:
            self._check_room(target, kept.network)
        if previous is not None:
            self._drop(target)
        self._kept[target] = kept
        bisect.insort(self._by_distance, (distance(target, self._own_id), target))
        if kept.network is not None:
            self._per_network[kept.network] = self._per_network.get(kept.network, 0) + 1
        if len(self._kept) > ITEMS_MAX:
            self._drop(self._by_distance[-1][1])

    def _check_room(self, target: bytes, network: bytes | None) -> None:
        if network is not None and self._per_network.get(network, 0) >= ITEMS_PER_NETWORK_MAX:
            raise StoreRefusal(ErrorCode.SERVER, "too many items from your network")
        full = target not in self._kept and len(self._kept) >= ITEMS_MAX
        if full and distance(target, self._own_id) > self._by_distance[-1][0]:
            raise StoreRefusal(ErrorCode.SERVER, "full, and your target is far away")

    def _drop(self, target: bytes) -> None:
        kept = self._kept.pop(target)
        place = bisect.bisect_left(self._by_distance, (distance(target, self._own_id), target))
        del self._by_distance[place]
        if kept.network is not None:
            self._per_network[kept.network] -= 1
            if not self._per_network[kept.network]:
                del self._per_network[kept.network]
