"""Where a room is: a short record, sealed for link holders, signed under a key that names nobody.

    root key R, link secret s, period ──▶ h ──▶ blinded key A = h·R ──▶ DHT target = SHA-1(A)
                                     └──▶ sealing key K

The room's root key signs for the blinded key without a private key ever leaving the owner: the signing scalar is h·a.
Holders of the link compute A and K; nodes of the DHT see a key they cannot connect to anything, and a value of one of
few sizes. Replicas hold the signed bytes, never a key, and announce them again. (Tor's v3 onion services and RFC 9498
blind in the same way.)

    value  = nonce 24 ‖ XChaCha20-Poly1305(K, padded, associated data = A ‖ seq)
    padded = length 2 ‖ plain ‖ zeros, to one of `PADDED_BYTES`
    plain  = version 1 ‖ flags 1 ‖ issued 4 ‖ validity 2 ‖ capabilities 2 ‖ count 1 ‖ protocol 1 ‖ replicas
    replica = node key 32 ‖ address flags 1 (1 = IPv4, 2 = IPv6) ‖ port 2 ‖ [IPv4 4] ‖ [IPv6 16]

The nonce is a hash under K of what is sealed: sealing the same record twice gives the same bytes and tells nothing.
The record's sequence number is `epoch << 32 | revision`, so a newer membership wins whatever happens to clocks.
"""

from __future__ import annotations

import hashlib
import ipaddress
import struct
from typing import Final

import msgspec
from nacl import bindings, exceptions

from dht.errors import InvalidItem, InvalidSignature
from dht.items import MutableItem, sign_item
from wire.errors import LocalError, PeerError

VERSION: Final = 1
REPLICAS_MAX: Final = 9
"""Replicas of one room; also what fits a datagram with both addresses each."""
PADDED_BYTES: Final = (216, 344, 472, 600)
"""Sizes that records are padded to: 3, 5, 7 and 9 replicas with both addresses. The count stays hidden in between."""
VALUE_BYTES_MAX: Final = 640
"""Bytes of a sealed record: with 8 nodes in the reply a datagram still passes IPv6's smallest path."""

_HEADER: Final = struct.Struct(">BBIHHBB")
_REPLICA: Final = struct.Struct(">32sBH")
_HAS_IPV4, _HAS_IPV6 = 1, 2
_SEED_BYTES, _SECRET_BYTES, _KEY_BYTES, _NONCE_BYTES, _TAG_BYTES = 32, 16, 32, 24, 16
_HOUR_S: Final = 3600


class DescriptorError(PeerError):
    """A record that cannot be believed. The leaves say why."""

    cause = "descriptor"


class WrongKeyError(DescriptorError):
    """The item belongs to another room, link or period."""


class ForgedError(DescriptorError):
    """The signature is not the room owner's."""


class SealError(DescriptorError):
    """The signed value does not open: sealed for another link, or not sealed by us at all."""


class MalformedError(DescriptorError):
    """The record opened but is not one of this version, or breaks its bounds."""


class Replica(msgspec.Struct, frozen=True, kw_only=True):
    """One server of a room: its Ed25519 key, its port (TCP and UDP), and where it was when the owner signed.

    The key authenticates; addresses are hints and may be missing.
    """

    node_key: bytes
    port: int
    ipv4: str | None = None
    ipv6: str | None = None

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """The (host, port) pairs to try, IPv4 first."""
        return tuple((host, self.port) for host in (self.ipv4, self.ipv6) if host is not None)


class Descriptor(msgspec.Struct, frozen=True, kw_only=True):
    """Where a room's replicas are. Hours count from the Unix epoch; `protocol` is the lowest that all replicas speak."""

    issued_hours: int
    valid_hours: int
    flags: int = 0
    capabilities: int = 0
    protocol: int = 1
    replicas: tuple[Replica, ...]

    def expired(self, now_unix: float) -> bool:
        """Whether the owner's promise has run out; addresses may still be worth a try."""
        return now_unix >= (self.issued_hours + self.valid_hours) * _HOUR_S


class RoomRoot:
    """A room's root key: the owner's alone, and needed only to change where the room is.

    Args:
        seed: 32 bytes of an Ed25519 key.

    Raises:
        LocalError: the seed has another size.
    """

    __slots__ = ("_prefix", "_scalar", "public")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != _SEED_BYTES:
            raise LocalError(f"a root seed has {_SEED_BYTES} bytes, not {len(seed)}")
        self.public: bytes = bindings.crypto_sign_seed_keypair(seed)[0]
        expanded = bytearray(hashlib.sha512(seed).digest())
        expanded[0] &= 248
        expanded[31] = expanded[31] & 63 | 64
        self._scalar, self._prefix = bytes(expanded[:32]), bytes(expanded[32:])

    def __repr__(self) -> str:
        return "RoomRoot(…)"

    def sign_descriptor(self, descriptor: Descriptor, *, link_secret: bytes, seq: int, period: int = 0) -> MutableItem:
        """Return the sealed record, signed under the blinded key of this link and period.

        Raises:
            LocalError: the descriptor or the sequence number is out of bounds.
        """
        public = blinded_public_key(self.public, link_secret, period)
        key = _sealing_key(self.public, link_secret, period)
        _check(0 <= seq < 1 << 63, "a sequence number has 63 bits")
        value = _seal(encode_descriptor(descriptor), key=key, associated=public + struct.pack(">Q", seq))
        factor = _blinding_factor(self.public, link_secret, period)
        suffix = link_secret + struct.pack(">I", period)
        prefix = _hash32(b"samtala/dht/blind-nonce/v1" + self._prefix + suffix)
        scalar = bindings.crypto_core_ed25519_scalar_mul(factor, self._scalar)

        def sign(message: bytes) -> bytes:
            return _sign_expanded(message, scalar=scalar, prefix=prefix, public=public)

        try:
            return sign_item(sign, public_key=public, seq=seq, value=value)
        except InvalidItem as error:
            raise LocalError(str(error)) from error


def descriptor_seq(epoch: int, revision: int) -> int:
    """Return the item's sequence number: a later membership wins, then a later revision.

    Raises:
        LocalError: the epoch needs more than 31 bits or the revision more than 32.
    """
    _check(0 <= epoch < 1 << 31, "an epoch has 31 bits")
    _check(0 <= revision < 1 << 32, "a revision has 32 bits")
    return epoch << 32 | revision


def blinded_public_key(root_public: bytes, link_secret: bytes, period: int = 0) -> bytes:
    """Return the 32-byte key that the room's record is signed with and found under.

    Raises:
        LocalError: a size is wrong, or `root_public` is no Ed25519 key.
    """
    factor = _blinding_factor(root_public, link_secret, period)
    _check(bindings.crypto_core_ed25519_is_valid_point(root_public), "the root key is no point of prime order")
    blinded: bytes = bindings.crypto_scalarmult_ed25519_noclamp(factor, root_public)
    return blinded


def open_descriptor(item: MutableItem, *, root_public: bytes, link_secret: bytes, period: int = 0) -> Descriptor:
    """Return what the owner said, after checking that it was the owner. Expiry is `Descriptor.expired`.

    Raises:
        WrongKeyError: another room's item, or another link's or period's.
        ForgedError: the signature does not verify.
        SealError: the value does not open.
        MalformedError: what it holds is no descriptor.
    """
    if item.salt or item.public_key != blinded_public_key(root_public, link_secret, period):
        raise WrongKeyError("the record is another room's, or this link was replaced")
    try:
        item.verify()
    except InvalidSignature as error:
        raise ForgedError("the record is not signed by the room's owner") from error
    key = _sealing_key(root_public, link_secret, period)
    associated = item.public_key + struct.pack(">q", item.seq)
    return decode_descriptor(_open(item.value, key=key, associated=associated))


def encode_descriptor(descriptor: Descriptor) -> bytes:
    """Return the plain encoding (see the module's text).

    Raises:
        LocalError: a number or size is out of bounds, or an address does not parse.
    """
    _check(len(descriptor.replicas) <= REPLICAS_MAX, f"a room has at most {REPLICAS_MAX} replicas")
    try:
        header = _HEADER.pack(
            VERSION,
            descriptor.flags,
            descriptor.issued_hours,
            descriptor.valid_hours,
            descriptor.capabilities,
            len(descriptor.replicas),
            descriptor.protocol,
        )
        return header + b"".join(map(_encode_replica, descriptor.replicas))
    except (struct.error, ValueError) as error:
        raise LocalError(f"a descriptor does not encode: {error}") from error


def _encode_replica(replica: Replica) -> bytes:
    _check(len(replica.node_key) == _KEY_BYTES, f"a node key has {_KEY_BYTES} bytes")
    flags, addresses = 0, b""
    if replica.ipv4 is not None:
        flags, addresses = flags | _HAS_IPV4, addresses + ipaddress.IPv4Address(replica.ipv4).packed
    if replica.ipv6 is not None:
        flags, addresses = flags | _HAS_IPV6, addresses + ipaddress.IPv6Address(replica.ipv6).packed
    return _REPLICA.pack(replica.node_key, flags, replica.port) + addresses


def decode_descriptor(plain: bytes) -> Descriptor:
    """Return the descriptor of a plain encoding, all of it.

    Raises:
        MalformedError: another version, cut short, unknown address kinds, or bytes left over.
    """
    if len(plain) < _HEADER.size or plain[0] != VERSION:
        raise MalformedError("a record of another version, or cut short")
    _, flags, issued, valid, capabilities, count, protocol = _HEADER.unpack_from(plain)
    if count > REPLICAS_MAX:
        raise MalformedError(f"{count} replicas are more than {REPLICAS_MAX}")
    replicas, position = [], _HEADER.size
    for _ in range(count):
        replica, position = _decode_replica(plain, position)
        replicas.append(replica)
    if position != len(plain):
        raise MalformedError("bytes after the last replica")
    return Descriptor(
        issued_hours=issued,
        valid_hours=valid,
        flags=flags,
        capabilities=capabilities,
        protocol=protocol,
        replicas=tuple(replicas),
    )


def _decode_replica(plain: bytes, position: int) -> tuple[Replica, int]:
    if position + _REPLICA.size > len(plain):
        raise MalformedError("a replica is cut short")
    node_key, flags, port = _REPLICA.unpack_from(plain, position)
    position += _REPLICA.size
    end = position + 4 * bool(flags & _HAS_IPV4) + 16 * bool(flags & _HAS_IPV6)
    if flags & ~(_HAS_IPV4 | _HAS_IPV6) or end > len(plain):
        raise MalformedError("a replica's addresses are cut short or of an unknown kind")
    ipv4 = ipv6 = None
    if flags & _HAS_IPV4:
        ipv4 = str(ipaddress.IPv4Address(plain[position : position + 4]))
    if flags & _HAS_IPV6:
        ipv6 = str(ipaddress.IPv6Address(plain[end - 16 : end]))
    return Replica(node_key=node_key, port=port, ipv4=ipv4, ipv6=ipv6), end


def _seal(plain: bytes, *, key: bytes, associated: bytes) -> bytes:
    needed = 2 + len(plain)
    size = next((size for size in PADDED_BYTES if size >= needed), None)
    assert size is not None, "nine replicas with both addresses fit the largest size"
    padded = (struct.pack(">H", len(plain)) + plain).ljust(size, b"\0")
    nonce = hashlib.blake2b(associated + padded, digest_size=_NONCE_BYTES, key=key, person=b"samtala-nonce").digest()
    sealed: bytes = bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(padded, associated, nonce, key)
    return nonce + sealed


def _open(value: bytes, *, key: bytes, associated: bytes) -> bytes:
    if len(value) - _NONCE_BYTES - _TAG_BYTES not in PADDED_BYTES:
        raise SealError(f"no sealed record has {len(value)} bytes")
    nonce, sealed = value[:_NONCE_BYTES], value[_NONCE_BYTES:]
    try:
        padded: bytes = bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(sealed, associated, nonce, key)
    except exceptions.CryptoError as error:
        raise SealError("the record does not open with this link") from error
    (length,) = struct.unpack_from(">H", padded)
    if length > len(padded) - 2 or any(padded[2 + length :]):
        raise MalformedError("the padding is wrong")
    return padded[2 : 2 + length]


def _blinding_factor(root_public: bytes, link_secret: bytes, period: int) -> bytes:
    suffix = _link_suffix(root_public, link_secret, period)
    wide = hashlib.blake2b(b"samtala/dht/blind/v1" + suffix, digest_size=64).digest()
    factor: bytes = bindings.crypto_core_ed25519_scalar_reduce(wide)
    return factor


def _sealing_key(root_public: bytes, link_secret: bytes, period: int) -> bytes:
    return _hash32(b"samtala/dht/desc-key/v1" + _link_suffix(root_public, link_secret, period))


def _link_suffix(root_public: bytes, link_secret: bytes, period: int) -> bytes:
    _check(len(root_public) == _KEY_BYTES, f"a root key has {_KEY_BYTES} bytes")
    _check(len(link_secret) == _SECRET_BYTES, f"a link secret has {_SECRET_BYTES} bytes")
    _check(0 <= period < 1 << 32, "a period has 32 bits")
    return root_public + link_secret + struct.pack(">I", period)


def _sign_expanded(message: bytes, *, scalar: bytes, prefix: bytes, public: bytes) -> bytes:
    """Sign with a scalar instead of a seed: RFC 8032 5.1.6 from its second step on."""
    reduce = bindings.crypto_core_ed25519_scalar_reduce
    nonce = reduce(hashlib.sha512(prefix + message).digest())
    commitment = bindings.crypto_scalarmult_ed25519_base_noclamp(nonce)
    challenge = reduce(hashlib.sha512(commitment + public + message).digest())
    product = bindings.crypto_core_ed25519_scalar_mul(challenge, scalar)
    signature: bytes = commitment + bindings.crypto_core_ed25519_scalar_add(nonce, product)
    return signature


def _hash32(message: bytes) -> bytes:
    return hashlib.blake2b(message, digest_size=32).digest()


def _check(condition: bool, text: str) -> None:
    if not condition:
        raise LocalError(text)
