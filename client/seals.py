"""What servers store but must not read: commits and join bundles, sealed; and the keys that an epoch gives its members.

| sealed | under | opened by |
|---|---|---|
| commit that ends epoch n | `env_key` of epoch n, exported from MLS | members of epoch n, and who opened its join bundle |
| join bundle of epoch n: GroupInfo and `env_key` | key derived from the link's join secret | holders of the link |
| knock: a KeyPackage | the same | the same |

XChaCha20-Poly1305 with a random 24-byte nonce in front. Associated data name purpose, room and epoch, so that nothing can
be pasted elsewhere. `write_seed` and `read_seed` are Ed25519 seeds shared by all members of an epoch: with them a client
proves to a server that it may write or read, without saying who it is (e2ee.md §3.1). Pure.
"""

from __future__ import annotations

import hashlib
from enum import Enum
from typing import Final

import msgspec
from nacl import bindings
from nacl.exceptions import CryptoError

from mls import Entropy, Group
from wire.errors import DecodeError
from wire.ids import RoomEpoch, RoomId

KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 24
_TAG_BYTES: Final = 16
_BUNDLE_PERSON: Final = b"samtala-bundle"


class _Purpose(Enum):
    COMMIT = b"samtala/seal/commit/v1"
    BUNDLE = b"samtala/seal/bundle/v1"
    KNOCK = b"samtala/seal/knock/v1"


class EpochSecrets(msgspec.Struct, frozen=True, kw_only=True):
    """What an epoch's members share beside messages, 32 bytes each."""

    env_key: bytes
    write_seed: bytes
    read_seed: bytes

    @property
    def write_key(self) -> bytes:
        """Public key by which servers admit writers of the epoch."""
        return public_key(self.write_seed)

    @property
    def read_key(self) -> bytes:
        """Public key by which servers admit readers of the epoch."""
        return public_key(self.read_seed)


class OpenBundle(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A join bundle opened: the GroupInfo (an MLSMessage with the tree) and the epoch's `env_key`."""

    group_info: bytes
    env_key: bytes


_BUNDLE_DECODER: Final[msgspec.msgpack.Decoder[OpenBundle]] = msgspec.msgpack.Decoder(OpenBundle)


def epoch_secrets(group: Group) -> EpochSecrets:
    """Export an epoch's secrets (RFC 9420 8.5)."""
    return EpochSecrets(
        env_key=group.export("samtala env", b"", KEY_BYTES),
        write_seed=group.export("samtala write", b"", KEY_BYTES),
        read_seed=group.export("samtala read", b"", KEY_BYTES),
    )


def bundle_key(join_secret: bytes) -> bytes:
    """Key of join bundles, from the link's 32-byte join secret."""
    return hashlib.blake2b(key=join_secret, digest_size=KEY_BYTES, person=_BUNDLE_PERSON).digest()


def public_key(seed: bytes) -> bytes:
    """The Ed25519 public key of a 32-byte seed."""
    key, _ = bindings.crypto_sign_seed_keypair(seed)
    return key


def seal_commit(commit: bytes, *, env_key: bytes, room_id: RoomId, epoch: RoomEpoch, entropy: Entropy) -> bytes:
    """Seal the commit that ends `epoch`."""
    return _seal(_Purpose.COMMIT, commit, key=env_key, place=_place(room_id, epoch), entropy=entropy)


def open_commit(sealed: bytes, *, env_key: bytes, room_id: RoomId, epoch: RoomEpoch) -> bytes:
    """Open the commit that ends `epoch`.

    Raises:
        DecodeError: it was not sealed by somebody with `env_key` for this room and epoch.
    """
    return _open(_Purpose.COMMIT, sealed, key=env_key, place=_place(room_id, epoch))


def seal_bundle(bundle: OpenBundle, *, key: bytes, room_id: RoomId, epoch: RoomEpoch, entropy: Entropy) -> bytes:
    """Seal what newcomers by link need to join `epoch`; `key` from `bundle_key`."""
    return _seal(
        _Purpose.BUNDLE, msgspec.msgpack.encode(bundle), key=key, place=_place(room_id, epoch), entropy=entropy
    )


def open_bundle(sealed: bytes, *, key: bytes, room_id: RoomId, epoch: RoomEpoch) -> OpenBundle:
    """Open a join bundle.

    Raises:
        DecodeError: it was not sealed by somebody with the link, for this room and epoch.
    """
    opened = _open(_Purpose.BUNDLE, sealed, key=key, place=_place(room_id, epoch))
    try:
        bundle = _BUNDLE_DECODER.decode(opened)
    except msgspec.MsgspecError as error:
        raise DecodeError("malformed join bundle") from error
    if len(bundle.env_key) != KEY_BYTES:
        raise DecodeError("join bundle with a key of a wrong size")
    return bundle


def seal_knock(key_package: bytes, *, key: bytes, room_id: RoomId, epoch: RoomEpoch, entropy: Entropy) -> bytes:
    """Seal a newcomer's KeyPackage; `key` from `bundle_key`."""
    return _seal(_Purpose.KNOCK, key_package, key=key, place=_place(room_id, epoch), entropy=entropy)


def open_knock(sealed: bytes, *, key: bytes, room_id: RoomId, epoch: RoomEpoch) -> bytes:
    """Open a newcomer's KeyPackage.

    Raises:
        DecodeError: it was not sealed by somebody with the link, for this room and epoch.
    """
    return _open(_Purpose.KNOCK, sealed, key=key, place=_place(room_id, epoch))


def _place(room_id: RoomId, epoch: RoomEpoch) -> bytes:
    return room_id + epoch.to_bytes(8, "big")


def _seal(purpose: _Purpose, plaintext: bytes, *, key: bytes, place: bytes, entropy: Entropy) -> bytes:
    nonce = entropy(_NONCE_BYTES)
    associated = purpose.value + place
    sealed: bytes = bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(plaintext, associated, nonce, key)
    return nonce + sealed


def _open(purpose: _Purpose, sealed: bytes, *, key: bytes, place: bytes) -> bytes:
    if len(sealed) < _NONCE_BYTES + _TAG_BYTES:
        raise DecodeError("too short for a seal")
    nonce, body = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
    try:
        opened: bytes = bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(body, purpose.value + place, nonce, key)
    except CryptoError as error:
        raise DecodeError("a seal that does not open: another key, room or epoch, or changed on the way") from error
    return opened
