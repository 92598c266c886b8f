"""Items of BEP 44: what the DHT stores, and how it is signed.

    mutable      target = SHA-1(public key ‖ salt), signed over   [4:salt n:salt] 3:seqi N e 1:v value
    immutable    target = SHA-1(bencoded value)

A mutable item is a self-proving record: whoever holds the bytes may announce them again, without the key. That is what
replicas do with their rooms' descriptors. Our values are byte strings; other programs may store any bencoded value, so
what the node keeps for others (`StoredItem`) carries the encoding as it came.

The signer is a function from message to signature, because rooms sign with blinded keys that have no seed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final, Self

import msgspec
from nacl import bindings, exceptions

from dht import bencode
from dht.errors import DecodeError, InvalidItem, InvalidSignature
from dht.limits import SALT_BYTES_MAX, SEQUENCE_MAX, VALUE_BYTES_MAX

Sign = Callable[[bytes], bytes]

PUBLIC_KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
TARGET_BYTES: Final = 20


def mutable_target(public_key: bytes, salt: bytes = b"") -> bytes:
    """Return the 20 bytes under which a key's item with this salt is found (BEP 44)."""
    return hashlib.sha1(public_key + salt, usedforsecurity=False).digest()


def immutable_target(encoded_value: bytes) -> bytes:
    """Return the 20 bytes under which a bencoded value itself is found (BEP 44)."""
    return hashlib.sha1(encoded_value, usedforsecurity=False).digest()


def signed_buffer(seq: int, salt: bytes, value: bytes) -> bytes:
    """Return the bytes that are signed for the byte string `value` (BEP 44)."""
    return encoded_signed_buffer(seq, salt, bencode.encode(value))


def encoded_signed_buffer(seq: int, salt: bytes, encoded_value: bytes) -> bytes:
    """Return the bytes that are signed for a value that is bencoded already (BEP 44)."""
    salted = b"4:salt%d:%b" % (len(salt), salt) if salt else b""
    return salted + b"3:seqi%de1:v" % seq + encoded_value


def verify_signature(*, public_key: bytes, signature: bytes, message: bytes) -> None:
    """Check an Ed25519 signature.

    Raises:
        InvalidSignature: it is not the key's over this message, or key or signature has the wrong size.
    """
    if len(public_key) != PUBLIC_KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        raise InvalidSignature("a key has 32 bytes and a signature 64")
    try:
        bindings.crypto_sign_open(signature + message, public_key)
    except exceptions.BadSignatureError as error:
        raise InvalidSignature("the signature does not verify") from error


class MutableItem(msgspec.Struct, frozen=True, kw_only=True):
    """A signed record: `public_key` 32 bytes, `salt` at most 64, `seq` 63 bits, `value` raw, `signature` 64 bytes.

    Nothing is checked when one is made: `verify` says whether to believe it, `check_bounds` whether it may be stored.
    """

    public_key: bytes
    salt: bytes = b""
    seq: int
    value: bytes
    signature: bytes

    @property
    def target(self) -> bytes:
        """The 20 bytes under which the item is found."""
        return mutable_target(self.public_key, self.salt)

    def check_bounds(self) -> None:
        """Check sizes and ranges.

        Raises:
            InvalidItem: BEP 44 forbids the item.
        """
        if len(self.public_key) != PUBLIC_KEY_BYTES or len(self.signature) != SIGNATURE_BYTES:
            raise InvalidItem("a key has 32 bytes and a signature 64")
        if len(self.salt) > SALT_BYTES_MAX:
            raise InvalidItem(f"a salt has at most {SALT_BYTES_MAX} bytes, not {len(self.salt)}")
        if not 0 <= self.seq <= SEQUENCE_MAX:
            raise InvalidItem(f"a sequence number is from 0 to {SEQUENCE_MAX}, not {self.seq}")
        if len(bencode.encode(self.value)) > VALUE_BYTES_MAX:
            raise InvalidItem(f"a value has at most {VALUE_BYTES_MAX} bytes bencoded, not {len(self.value)} raw")

    def verify(self) -> None:
        """Check the signature.

        Raises:
            InvalidSignature: the key's owner did not sign this sequence number, salt and value.
        """
        message = signed_buffer(self.seq, self.salt, self.value)
        verify_signature(public_key=self.public_key, signature=self.signature, message=message)

    def to_bytes(self) -> bytes:
        """Return the stable encoding, for disk and genesis records: a bencoded dictionary of k, salt, seq, sig, v."""
        return bencode.encode(
            {b"k": self.public_key, b"salt": self.salt, b"seq": self.seq, b"sig": self.signature, b"v": self.value}
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Return the item that `to_bytes` encoded; its signature is not yet verified.

        Raises:
            DecodeError: not such an encoding, or out of bounds.
        """
        match bencode.decode(data):
            case {
                b"k": bytes(public_key),
                b"salt": bytes(salt),
                b"seq": int(seq),
                b"sig": bytes(signature),
                b"v": bytes(value),
                **rest,
            } if not rest:
                item = cls(public_key=public_key, salt=salt, seq=seq, value=value, signature=signature)
            case _:
                raise DecodeError("not an item: needs exactly k, salt, seq, sig and v")
        try:
            item.check_bounds()
        except InvalidItem as error:
            raise DecodeError(str(error)) from error
        return item


def sign_item(sign: Sign, *, public_key: bytes, seq: int, value: bytes, salt: bytes = b"") -> MutableItem:
    """Return the item that `sign`, the signer of `public_key`, signs.

    Raises:
        InvalidItem: BEP 44 forbids it.
        InvalidSignature: `sign` does not belong to `public_key`.
    """
    item = MutableItem(public_key=public_key, salt=salt, seq=seq, value=value, signature=bytes(SIGNATURE_BYTES))
    item.check_bounds()
    item = msgspec.structs.replace(item, signature=sign(signed_buffer(seq, salt, value)))
    item.verify()
    return item


def sign_item_with_seed(seed: bytes, *, seq: int, value: bytes, salt: bytes = b"") -> MutableItem:
    """Return an item signed with the Ed25519 key of a 32-byte seed.

    Raises:
        InvalidItem: BEP 44 forbids it.
    """
    public_key, secret_key = bindings.crypto_sign_seed_keypair(seed)

    def sign(message: bytes) -> bytes:
        signed: bytes = bindings.crypto_sign(message, secret_key)
        return signed[:SIGNATURE_BYTES]

    return sign_item(sign, public_key=public_key, seq=seq, value=value, salt=salt)
