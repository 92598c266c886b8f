r"""Message keys of one epoch, each usable once (RFC 9420 9).

    encryption_secret            The tree of secrets has the shape of the ratchet tree. A node's secret is deleted when
        /      \                 its children's are derived, a leaf's when its two ratchets start, a ratchet's when it
      ...      ...               steps, a key when its message was accepted: an old state cannot be computed from a new.
      leaf: handshake ratchet, application ratchet ─▶ (key, nonce) of generation 0, 1, 2 ...

Receiving takes two steps. `peek` computes the key of a generation and changes nothing that matters; `consume` deletes it,
and must be called only after the sender's signature was verified. Otherwise any member could forge messages in another's
name and burn that member's generations. Deriving node secrets inside `peek` is harmless: what they yield stays derivable.

Generations that were jumped over stay available in a bounded store, oldest dropped first.
"""

from __future__ import annotations

import enum
from typing import Final

import msgspec

from mls import tree_math
from mls.crypto import HASH_BYTES, KEY_BYTES, NONCE_BYTES, derive_tree_secret, expand_with_label
from mls.errors import GenerationTooFar, Replayed, StateCorrupt
from mls.limits import GENERATION_MAX, GENERATIONS_AHEAD_MAX, SKIPPED_KEYS_MAX, SKIPPED_KEYS_PER_SENDER_MAX

__all__ = ["MessageKey", "RatchetType", "SecretTree", "SecretTreeState", "SenderRatchet"]


class RatchetType(enum.IntEnum):
    """The two ratchets of a leaf."""

    HANDSHAKE = 0
    APPLICATION = 1


_LABELS: Final = {RatchetType.HANDSHAKE: "handshake", RatchetType.APPLICATION: "application"}


class MessageKey(msgspec.Struct, frozen=True, gc=False):
    """Key and nonce of one message, with what `SenderRatchet.consume` needs to move past it."""

    generation: int
    key: bytes
    nonce: bytes
    next_secret: bytes = b""
    skipped: tuple[tuple[int, bytes, bytes], ...] = ()


class SenderRatchet:
    """One hash ratchet (RFC 9420 9.1): the secret of `generation`, and keys of older generations not yet used."""

    __slots__ = ("generation", "secret", "skipped")

    def __init__(
        self, secret: bytes, generation: int = 0, skipped: dict[int, tuple[bytes, bytes]] | None = None
    ) -> None:
        self.secret = secret
        self.generation = generation
        self.skipped: dict[int, tuple[bytes, bytes]] = skipped or {}

    def peek(self, generation: int) -> MessageKey:
        """Key of a generation; the ratchet stays where it is.

        Raises:
            Replayed: the generation was used, or is older than the keys kept.
            GenerationTooFar: too many steps ahead.
        """
        if generation < self.generation:
            found = self.skipped.get(generation)
            if found is None:
                raise Replayed(f"generation {generation} was used or dropped")
            return MessageKey(generation, found[0], found[1])
        if generation - self.generation > GENERATIONS_AHEAD_MAX or generation == GENERATION_MAX:
            raise GenerationTooFar(f"generation {generation}, the next is {self.generation}")
        secret = self.secret
        skipped = []
        for step in range(self.generation, generation):
            if generation - step <= SKIPPED_KEYS_PER_SENDER_MAX:
                skipped.append((step, *_key_and_nonce(secret, step)))
            secret = derive_tree_secret(secret, "secret", step, HASH_BYTES)
        key, nonce = _key_and_nonce(secret, generation)
        next_secret = derive_tree_secret(secret, "secret", generation, HASH_BYTES)
        return MessageKey(generation, key, nonce, next_secret, tuple(skipped))

    def consume(self, used: MessageKey) -> int:
        """Delete a key that `peek` gave and that decrypted an authentic message; returns how many more keys are kept."""
        before = len(self.skipped)
        if used.generation < self.generation:
            del self.skipped[used.generation]
        else:
            for generation, key, nonce in used.skipped:
                self.skipped[generation] = (key, nonce)
            self.secret = used.next_secret
            self.generation = used.generation + 1
            while len(self.skipped) > SKIPPED_KEYS_PER_SENDER_MAX:
                self.drop_oldest()
        return len(self.skipped) - before

    def drop_oldest(self) -> None:
        """Give up the oldest unused key."""
        del self.skipped[min(self.skipped)]


def _key_and_nonce(secret: bytes, generation: int) -> tuple[bytes, bytes]:
    key = derive_tree_secret(secret, "key", generation, KEY_BYTES)
    return key, derive_tree_secret(secret, "nonce", generation, NONCE_BYTES)


class SecretTreeState(msgspec.Struct, frozen=True, array_like=True):
    """A secret tree as it is stored: its secrets, and per started leaf two (secret, generation, skipped)."""

    leaf_count: int
    node_secrets: dict[int, bytes]
    ratchets: dict[int, tuple[tuple[bytes, int, dict[int, tuple[bytes, bytes]]], ...]]


class SecretTree:
    """All message keys of one epoch."""

    __slots__ = ("_node_secrets", "_ratchets", "_skipped_count", "leaf_count")

    def __init__(self, encryption_secret: bytes, leaf_count: int) -> None:
        self.leaf_count = leaf_count
        self._node_secrets: dict[int, bytes] = {tree_math.root(leaf_count): encryption_secret}
        self._ratchets: dict[int, tuple[SenderRatchet, SenderRatchet]] = {}
        self._skipped_count = 0

    @property
    def encryption_secret(self) -> bytes | None:
        """The root of it all, 32 bytes; None once any key was asked for."""
        return self._node_secrets.get(tree_math.root(self.leaf_count))

    def peek(self, leaf_index: int, ratchet: RatchetType, generation: int) -> MessageKey:
        """Key of a sender's generation, without using it up.

        Raises:
            Replayed: the generation was used, or is older than the keys kept.
            GenerationTooFar: too many steps ahead.
        """
        return self._ratchet(leaf_index, ratchet).peek(generation)

    def consume(self, leaf_index: int, ratchet: RatchetType, used: MessageKey) -> None:
        """Delete a key whose message was decrypted and whose signature was verified."""
        self._skipped_count += self._ratchet(leaf_index, ratchet).consume(used)
        while self._skipped_count > SKIPPED_KEYS_MAX:
            self._drop_skipped()

    def next_key(self, leaf_index: int, ratchet: RatchetType) -> MessageKey:
        """Take the next key of our own ratchet; it is deleted here at once.

        Raises:
            GenerationTooFar: the ratchet is exhausted; commit to start a new epoch.
        """
        own = self._ratchet(leaf_index, ratchet)
        key = own.peek(own.generation)
        own.consume(key)
        return key

    def generation(self, leaf_index: int, ratchet: RatchetType) -> int:
        """Next generation of a sender's ratchet."""
        return self._ratchet(leaf_index, ratchet).generation

    def _ratchet(self, leaf_index: int, ratchet: RatchetType) -> SenderRatchet:
        assert 0 <= leaf_index < self.leaf_count, "callers check that the sender's leaf is not blank"
        pair = self._ratchets.get(leaf_index)
        if pair is None:
            pair = self._ratchets[leaf_index] = self._start(leaf_index)
        return pair[ratchet]

    def _start(self, leaf_index: int) -> tuple[SenderRatchet, SenderRatchet]:
        secrets, leaf = self._node_secrets, 2 * leaf_index
        node, below = leaf, []
        while node not in secrets:
            if node == tree_math.root(self.leaf_count):
                raise StateCorrupt("a secret tree with a hole")
            below.append(node)
            node = tree_math.parent(node)
        while node != leaf:
            secret = secrets.pop(node)
            secrets[tree_math.left(node)] = expand_with_label(secret, "tree", b"left", HASH_BYTES)
            secrets[tree_math.right(node)] = expand_with_label(secret, "tree", b"right", HASH_BYTES)
            node = below.pop()
        secret = secrets.pop(leaf)
        handshake, application = (
            SenderRatchet(expand_with_label(secret, _LABELS[ratchet], b"", HASH_BYTES)) for ratchet in RatchetType
        )
        return handshake, application

    def _drop_skipped(self) -> None:
        fullest = max((ratchet for pair in self._ratchets.values() for ratchet in pair), key=lambda r: len(r.skipped))
        fullest.drop_oldest()
        self._skipped_count -= 1

    def state(self) -> SecretTreeState:
        """Everything, for storing. Changes with every message."""
        return SecretTreeState(
            leaf_count=self.leaf_count,
            node_secrets=self._node_secrets,
            ratchets={
                leaf: tuple((ratchet.secret, ratchet.generation, ratchet.skipped) for ratchet in pair)
                for leaf, pair in self._ratchets.items()
            },
        )

    @classmethod
    def of_state(cls, state: SecretTreeState) -> SecretTree:
        """The tree that was stored."""
        tree = cls(b"", state.leaf_count)
        tree._node_secrets = dict(state.node_secrets)
        for leaf, (handshake, application) in state.ratchets.items():
            pair = (SenderRatchet(*handshake), SenderRatchet(*application))
            tree._ratchets[leaf] = pair
            tree._skipped_count += len(pair[0].skipped) + len(pair[1].skipped)
        return tree
