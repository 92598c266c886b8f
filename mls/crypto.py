"""Cipher suite 0x0003: X25519, ChaCha20-Poly1305, SHA-256, Ed25519 (RFC 9420 5.1), and HPKE base mode (RFC 9180).

Libsodium (through PyNaCl) does curves and AEAD, the standard library does SHA-256 and HMAC; here they are only put
together. Randomness comes in as `entropy`, a function from a number of bytes to that many unpredictable bytes.

Failures that a peer can cause raise `InvalidSignature`, `DecryptionFailed` or `InvalidLeafNode`. Sizes of keys,
signatures and nonces are checked before libsodium sees them, because its bindings read fixed sizes.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from functools import lru_cache
from typing import Final

import msgspec
import nacl.exceptions
from nacl import bindings

from mls.codec import Reader, decode, u16, u32, vector, vector_length
from mls.errors import DecryptionFailed, InvalidArgument, InvalidLeafNode, InvalidSignature

__all__ = [
    "CIPHER_SUITE",
    "Entropy",
    "HPKECiphertext",
    "KeyPair",
    "SignatureKey",
    "aead_open",
    "aead_seal",
    "check_public_key",
    "derive_key_pair",
    "derive_secret",
    "derive_tree_secret",
    "encryption_context",
    "expand_with_label",
    "extract",
    "generate_key_pair",
    "hpke_export_receiver",
    "hpke_export_sender",
    "hpke_open",
    "hpke_seal",
    "mac",
    "macs_equal",
    "public_key_of",
    "random_bytes",
    "ref_hash",
    "sha256",
    "sign_with_label",
    "verify_with_label",
]

Entropy = Callable[[int], bytes]

CIPHER_SUITE: Final = 0x0003
HASH_BYTES: Final = 32
KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
SIGNATURE_BYTES: Final = 64
ZERO: Final = bytes(HASH_BYTES)

_KEM_SUITE: Final = b"KEM" + u16(0x0020)
_HPKE_SUITE: Final = b"HPKE" + u16(0x0020) + u16(0x0001) + u16(0x0003)
_KDF_BLOCKS_MAX: Final = 255

_FIELD_PRIME: Final = (1 << 255) - 19
_LOW_ORDER_POINTS: Final = frozenset(
    point.to_bytes(32, "little")
    for point in (
        0,
        1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
        _FIELD_PRIME - 1,
        _FIELD_PRIME,
        _FIELD_PRIME + 1,
    )
)


def random_bytes(entropy: Entropy, size: int) -> bytes:
    """Draw exactly `size` bytes.

    Raises:
        InvalidArgument: the source gave another number of bytes.
    """
    drawn = entropy(size)
    if len(drawn) != size:
        raise InvalidArgument(f"entropy gave {len(drawn)} bytes instead of {size}")
    return drawn


# Hashes and key derivation (RFC 9420 5.1, 5.2, 8)


def sha256(data: bytes) -> bytes:
    """Hash of the suite, 32 bytes."""
    return hashlib.sha256(data).digest()


def mac(key: bytes, data: bytes) -> bytes:
    """HMAC-SHA256, 32 bytes."""
    return hmac.digest(key, data, "sha256")


def macs_equal(first: bytes, second: bytes) -> bool:
    """Compare two tags in constant time."""
    return hmac.compare_digest(first, second)


def extract(salt: bytes, key_material: bytes) -> bytes:
    """KDF.Extract: HKDF-SHA256 (RFC 5869 2.2)."""
    return hmac.digest(salt, key_material, "sha256")


def _expand(secret: bytes, info: bytes, length: int) -> bytes:
    if length <= HASH_BYTES:
        return hmac.digest(secret, info + b"\x01", "sha256")[:length]
    assert length <= _KDF_BLOCKS_MAX * HASH_BYTES, "callers bound what they derive"
    block, derived = b"", bytearray()
    for counter in range(1, -(-length // HASH_BYTES) + 1):
        block = hmac.digest(secret, block + info + bytes([counter]), "sha256")
        derived += block
    return bytes(derived[:length])


@lru_cache(maxsize=128)
def _label_prefix(label: str, length: int) -> bytes:
    return u16(length) + vector(b"MLS 1.0 " + label.encode())


def expand_with_label(secret: bytes, label: str, context: bytes, length: int) -> bytes:
    """ExpandWithLabel (RFC 9420 8), `length` bytes."""
    return _expand(secret, _label_prefix(label, length) + vector(context), length)


def derive_secret(secret: bytes, label: str) -> bytes:
    """DeriveSecret (RFC 9420 8), 32 bytes."""
    return hmac.digest(secret, _label_prefix(label, HASH_BYTES) + b"\x00\x01", "sha256")


def derive_tree_secret(secret: bytes, label: str, generation: int, length: int) -> bytes:
    """DeriveTreeSecret (RFC 9420 9.1), `length` bytes."""
    return _expand(secret, _label_prefix(label, length) + b"\x04" + u32(generation), length)


def ref_hash(label: bytes, value: bytes) -> bytes:
    """RefHash (RFC 9420 5.2): a name for a KeyPackage or a proposal, 32 bytes."""
    return sha256(vector(label) + vector(value))


# Signatures (RFC 9420 5.1.2)


class SignatureKey(msgspec.Struct, frozen=True, kw_only=True):
    """An Ed25519 key pair: `private` is the 32-byte seed, `public` the 32-byte key."""

    private: bytes
    public: bytes

    @classmethod
    def generate(cls, entropy: Entropy) -> SignatureKey:
        """Make a new key from 32 bytes of entropy."""
        return cls.from_private(random_bytes(entropy, 32))

    @classmethod
    def from_private(cls, private: bytes) -> SignatureKey:
        """Complete a key from its 32-byte seed.

        Raises:
            InvalidArgument: the seed has another length.
        """
        if len(private) != bindings.crypto_sign_SEEDBYTES:
            raise InvalidArgument("an Ed25519 seed has 32 bytes")
        public, _ = bindings.crypto_sign_seed_keypair(private)
        return cls(private=private, public=public)


@lru_cache(maxsize=16)
def _signature_prefix(label: str) -> bytes:
    return vector(b"MLS 1.0 " + label.encode())


def _sign_content(label: str, content: bytes) -> bytes:
    return _signature_prefix(label) + vector_length(len(content)) + content


def sign_with_label(key: SignatureKey, label: str, content: bytes) -> bytes:
    """SignWithLabel, 64 bytes."""
    signed: bytes = bindings.crypto_sign(_sign_content(label, content), key.private + key.public)
    return signed[:SIGNATURE_BYTES]


def verify_with_label(public_key: bytes, label: str, content: bytes, signature: bytes) -> None:
    """VerifyWithLabel.

    Raises:
        InvalidSignature: it does not verify, or key or signature have a wrong size.
    """
    if len(signature) != SIGNATURE_BYTES or len(public_key) != KEY_BYTES:
        raise InvalidSignature(f"{label}: wrong size of key or signature")
    try:
        bindings.crypto_sign_open(signature + _sign_content(label, content), public_key)
    except nacl.exceptions.CryptoError as error:
        raise InvalidSignature(label) from error


# Authenticated encryption


def aead_seal(key: bytes, nonce: bytes, associated: bytes, plaintext: bytes) -> bytes:
    """ChaCha20-Poly1305 (RFC 8439): the ciphertext and its 16-byte tag."""
    return bindings.crypto_aead_chacha20poly1305_ietf_encrypt(plaintext, associated, nonce, key)


def aead_open(key: bytes, nonce: bytes, associated: bytes, ciphertext: bytes) -> bytes:
    """Open what `aead_seal` sealed.

    Raises:
        DecryptionFailed: the tag does not match.
    """
    try:
        return bindings.crypto_aead_chacha20poly1305_ietf_decrypt(ciphertext, associated, nonce, key)
    except nacl.exceptions.CryptoError as error:
        raise DecryptionFailed("the tag does not match") from error


# Public key encryption: HPKE base mode, DHKEM(X25519, HKDF-SHA256) (RFC 9180 4.1, 5.1; RFC 9420 5.1.3)


class KeyPair(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An X25519 key pair, 32 bytes each."""

    private: bytes
    public: bytes


class HPKECiphertext(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An encapsulated key and a ciphertext under it (RFC 9420 7.6)."""

    kem_output: bytes
    ciphertext: bytes

    def encode(self) -> bytes:
        """Encode for the wire."""
        return vector(self.kem_output) + vector(self.ciphertext)

    @classmethod
    def read(cls, reader: Reader) -> HPKECiphertext:
        """Decode one."""
        return cls(kem_output=reader.opaque(), ciphertext=reader.opaque())


def _labeled_extract(suite: bytes, salt: bytes, label: bytes, key_material: bytes) -> bytes:
    return extract(salt, b"HPKE-v1" + suite + label + key_material)


def _labeled_expand(suite: bytes, secret: bytes, label: bytes, info: bytes, length: int) -> bytes:
    return _expand(secret, u16(length) + b"HPKE-v1" + suite + label + info, length)


_PSK_ID_HASH: Final = _labeled_extract(_HPKE_SUITE, b"", b"psk_id_hash", b"")


def public_key_of(private: bytes) -> bytes:
    """Public X25519 key of a 32-byte private key.

    Raises:
        InvalidArgument: the private key has another length.
    """
    if len(private) != KEY_BYTES:
        raise InvalidArgument("an X25519 private key has 32 bytes")
    return bindings.crypto_scalarmult_base(private)


def generate_key_pair(entropy: Entropy) -> KeyPair:
    """Make a new key pair from 32 bytes of entropy."""
    private = random_bytes(entropy, KEY_BYTES)
    return KeyPair(private=private, public=bindings.crypto_scalarmult_base(private))


def derive_key_pair(key_material: bytes) -> KeyPair:
    """KEM.DeriveKeyPair (RFC 9180 7.1.3)."""
    secret = _labeled_extract(_KEM_SUITE, b"", b"dkp_prk", key_material)
    private = _labeled_expand(_KEM_SUITE, secret, b"sk", b"", KEY_BYTES)
    return KeyPair(private=private, public=bindings.crypto_scalarmult_base(private))


def check_public_key(public_key: bytes) -> None:
    """Refuse encryption keys that nobody can encrypt to.

    A member with a key of low order would make every later commit fail for everybody else: X25519 with such a key gives
    zero, which RFC 9180 7.1.4 refuses.

    Raises:
        InvalidLeafNode: wrong size, or one of the low-order points.
    """
    if len(public_key) != KEY_BYTES:
        raise InvalidLeafNode(f"an encryption key of {len(public_key)} bytes")
    if public_key[:31] + bytes([public_key[31] & 0x7F]) in _LOW_ORDER_POINTS:
        raise InvalidLeafNode("an encryption key of low order")


def _diffie_hellman(private: bytes, public: bytes) -> bytes:
    if len(public) != KEY_BYTES:
        raise DecryptionFailed(f"a public key of {len(public)} bytes")
    try:
        return bindings.crypto_scalarmult(private, public)
    except nacl.exceptions.CryptoError as error:
        raise DecryptionFailed("a public key of low order") from error


def _shared_secret(dh: bytes, kem_output: bytes, receiver: bytes) -> bytes:
    secret = _labeled_extract(_KEM_SUITE, b"", b"eae_prk", dh)
    return _labeled_expand(_KEM_SUITE, secret, b"shared_secret", kem_output + receiver, HASH_BYTES)


def _encapsulate(public: bytes, entropy: Entropy) -> tuple[bytes, bytes]:
    ephemeral = generate_key_pair(entropy)
    dh = _diffie_hellman(ephemeral.private, public)
    return _shared_secret(dh, ephemeral.public, public), ephemeral.public


def _decapsulate(receiver: KeyPair, kem_output: bytes) -> bytes:
    return _shared_secret(_diffie_hellman(receiver.private, kem_output), kem_output, receiver.public)


def _schedule_context(info: bytes) -> bytes:
    return b"\x00" + _PSK_ID_HASH + _labeled_extract(_HPKE_SUITE, b"", b"info_hash", info)


_EMPTY_CONTEXT: Final = _schedule_context(b"")


def encryption_context(label: str, context: bytes) -> bytes:
    """Digest of EncryptContext (RFC 9420 5.1.3), for `hpke_seal` and `hpke_open`.

    Separate from them, because one context may serve thousands of recipients and be megabytes long (a Welcome's).
    """
    return _schedule_context(vector(b"MLS 1.0 " + label.encode()) + vector(context))


def _key_and_nonce(shared_secret: bytes, context: bytes) -> tuple[bytes, bytes]:
    secret = _labeled_extract(_HPKE_SUITE, shared_secret, b"secret", b"")
    key = _labeled_expand(_HPKE_SUITE, secret, b"key", context, KEY_BYTES)
    return key, _labeled_expand(_HPKE_SUITE, secret, b"base_nonce", context, NONCE_BYTES)


def hpke_seal(public_key: bytes, context: bytes, plaintext: bytes, entropy: Entropy) -> HPKECiphertext:
    """EncryptWithLabel, under a context from `encryption_context`.

    Raises:
        DecryptionFailed: nobody can encrypt to this key (see `check_public_key`).
    """
    shared_secret, kem_output = _encapsulate(public_key, entropy)
    key, nonce = _key_and_nonce(shared_secret, context)
    return HPKECiphertext(kem_output=kem_output, ciphertext=aead_seal(key, nonce, b"", plaintext))


def hpke_open(receiver: KeyPair, context: bytes, sealed: HPKECiphertext) -> bytes:
    """DecryptWithLabel, under a context from `encryption_context`.

    Raises:
        DecryptionFailed: not sealed to this key under this context.
    """
    key, nonce = _key_and_nonce(_decapsulate(receiver, sealed.kem_output), context)
    return aead_open(key, nonce, b"", sealed.ciphertext)


def seal_to_key(public_key: bytes, label: str, context: bytes, plaintext: bytes, entropy: Entropy) -> bytes:
    """EncryptWithLabel to any X25519 key (RFC 9420 5.1.3), as one piece; for what travels beside a group's messages.

    Raises:
        DecryptionFailed: nobody can encrypt to this key.
    """
    return hpke_seal(public_key, encryption_context(label, context), plaintext, entropy).encode()


def open_sealed(private: bytes, label: str, context: bytes, sealed: bytes) -> bytes:
    """Open what `seal_to_key` sealed.

    Raises:
        DecodeError: it is malformed.
        DecryptionFailed: it is for another key, label or context, or was changed.
    """
    receiver = KeyPair(private=private, public=public_key_of(private))
    return hpke_open(receiver, encryption_context(label, context), decode(sealed, HPKECiphertext.read))


def _export(shared_secret: bytes, exporter_context: bytes) -> bytes:
    secret = _labeled_extract(_HPKE_SUITE, shared_secret, b"secret", b"")
    exporter = _labeled_expand(_HPKE_SUITE, secret, b"exp", _EMPTY_CONTEXT, HASH_BYTES)
    return _labeled_expand(_HPKE_SUITE, exporter, b"sec", exporter_context, HASH_BYTES)


def hpke_export_sender(public_key: bytes, exporter_context: bytes, entropy: Entropy) -> tuple[bytes, bytes]:
    """Draw a secret that only the key's owner can compute: (kem_output, 32-byte secret) (RFC 9420 8.3)."""
    shared_secret, kem_output = _encapsulate(public_key, entropy)
    return kem_output, _export(shared_secret, exporter_context)


def hpke_export_receiver(receiver: KeyPair, exporter_context: bytes, kem_output: bytes) -> bytes:
    """Compute the 32-byte secret that `hpke_export_sender` drew.

    Raises:
        DecryptionFailed: the KEM output is no usable key.
    """
    return _export(_decapsulate(receiver, kem_output), exporter_context)
