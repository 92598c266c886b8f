"""From one epoch's secrets to the next (RFC 9420 8).

    init_secret[n-1] ─▶ Extract ◀─ commit_secret                 (the ratchet tree's contribution)
                           │ "joiner", GroupContext[n]
                     joiner_secret                               (what a Welcome carries)
                           │
                        Extract ◀─ psk_secret                    (zero without pre-shared keys)
                           ├─ welcome_secret
                           │ "epoch", GroupContext[n]
                     epoch_secret ─▶ the secrets of `EpochSecrets`, and init_secret[n]

Intermediate values live only inside these functions. Python cannot wipe them; it can forget them.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence

import msgspec

from mls.codec import Reader, u8, u16, u64, vector
from mls.crypto import (
    CIPHER_SUITE,
    HASH_BYTES,
    KEY_BYTES,
    NONCE_BYTES,
    ZERO,
    KeyPair,
    derive_key_pair,
    derive_secret,
    expand_with_label,
    extract,
    mac,
    sha256,
)
from mls.errors import DecodeError, InvalidArgument, Unsupported
from mls.limits import EXPORT_BYTES_MAX
from mls.nodes import PROTOCOL_VERSION, Extension, encode_extensions, read_extensions

__all__ = [
    "EpochSecrets",
    "GroupContext",
    "JoinerSecrets",
    "PSKType",
    "PreSharedKeyID",
    "ResumptionUsage",
    "confirmed_transcript_hash",
    "interim_transcript_hash",
    "joiner_secret",
    "psk_secret",
]


class GroupContext(msgspec.Struct, frozen=True, kw_only=True):
    """What all members of an epoch agree on (RFC 9420 8.1)."""

    group_id: bytes
    epoch: int
    tree_hash: bytes
    confirmed_transcript_hash: bytes
    extensions: tuple[Extension, ...] = ()
    cipher_suite: int = CIPHER_SUITE

    def encode(self) -> bytes:
        """Encode for hashing, signing and the wire."""
        return (
            u16(PROTOCOL_VERSION)
            + u16(self.cipher_suite)
            + vector(self.group_id)
            + u64(self.epoch)
            + vector(self.tree_hash)
            + vector(self.confirmed_transcript_hash)
            + encode_extensions(self.extensions)
        )

    @classmethod
    def read(cls, reader: Reader) -> GroupContext:
        """Decode one, of any cipher suite.

        Raises:
            Unsupported: another protocol version.
        """
        if reader.u16() != PROTOCOL_VERSION:
            raise Unsupported("a group of another protocol version")
        return cls(
            cipher_suite=reader.u16(),
            group_id=reader.opaque(),
            epoch=reader.u64(),
            tree_hash=reader.opaque(),
            confirmed_transcript_hash=reader.opaque(),
            extensions=read_extensions(reader),
        )


class EpochSecrets(msgspec.Struct, frozen=True, kw_only=True):
    """Secrets of one epoch (RFC 9420 table 4), 32 bytes each.

    The encryption secret is not among them: it belongs to the secret tree, which deletes it on first use.
    """

    sender_data_secret: bytes
    exporter_secret: bytes
    external_secret: bytes
    confirmation_key: bytes
    membership_key: bytes
    resumption_psk: bytes
    epoch_authenticator: bytes
    init_secret: bytes

    @classmethod
    def derive(cls, epoch_secret: bytes) -> tuple[EpochSecrets, bytes]:
        """Derive all secrets of an epoch: (secrets, encryption_secret)."""
        secrets = cls(
            sender_data_secret=derive_secret(epoch_secret, "sender data"),
            exporter_secret=derive_secret(epoch_secret, "exporter"),
            external_secret=derive_secret(epoch_secret, "external"),
            confirmation_key=derive_secret(epoch_secret, "confirm"),
            membership_key=derive_secret(epoch_secret, "membership"),
            resumption_psk=derive_secret(epoch_secret, "resumption"),
            epoch_authenticator=derive_secret(epoch_secret, "authentication"),
            init_secret=derive_secret(epoch_secret, "init"),
        )
        return secrets, derive_secret(epoch_secret, "encryption")

    def external_key_pair(self) -> KeyPair:
        """The key pair by which outsiders reach the group (RFC 9420 8)."""
        return derive_key_pair(self.external_secret)

    def confirmation_tag(self, transcript_hash: bytes) -> bytes:
        """MAC over the confirmed transcript hash: 32 bytes (RFC 9420 6.1)."""
        return mac(self.confirmation_key, transcript_hash)

    def export(self, label: str, context: bytes, length: int) -> bytes:
        """MLS-Exporter (RFC 9420 8.5).

        Raises:
            InvalidArgument: more bytes than the KDF can give, or none.
        """
        if not 0 < length <= EXPORT_BYTES_MAX:
            raise InvalidArgument(f"exported secrets have 1 to {EXPORT_BYTES_MAX} bytes")
        return expand_with_label(derive_secret(self.exporter_secret, label), "exported", sha256(context), length)


class JoinerSecrets(msgspec.Struct, frozen=True, kw_only=True):
    """What follows from a joiner secret and the pre-shared keys, before the group context is known."""

    member_secret: bytes

    @classmethod
    def derive(cls, joiner: bytes, psks: bytes) -> JoinerSecrets:
        """Mix the joiner secret with the PSK secret."""
        return cls(member_secret=extract(joiner, psks))

    def welcome_key_and_nonce(self) -> tuple[bytes, bytes]:
        """Key and nonce of the encrypted GroupInfo of a Welcome (RFC 9420 12.4.3.1)."""
        welcome_secret = derive_secret(self.member_secret, "welcome")
        key = expand_with_label(welcome_secret, "key", b"", KEY_BYTES)
        return key, expand_with_label(welcome_secret, "nonce", b"", NONCE_BYTES)

    def epoch_secrets(self, context: bytes) -> tuple[EpochSecrets, bytes]:
        """All secrets of the epoch with an encoded GroupContext: (secrets, encryption_secret)."""
        return EpochSecrets.derive(expand_with_label(self.member_secret, "epoch", context, HASH_BYTES))


def joiner_secret(init_secret: bytes, commit_secret: bytes, context: bytes) -> bytes:
    """Secret that a Welcome carries to new members, 32 bytes (RFC 9420 8)."""
    return expand_with_label(extract(init_secret, commit_secret), "joiner", context, HASH_BYTES)


def confirmed_transcript_hash(interim: bytes, confirmed_input: bytes) -> bytes:
    """Next confirmed transcript hash, from the encoded ConfirmedTranscriptHashInput (RFC 9420 8.2)."""
    return sha256(interim + confirmed_input)


def interim_transcript_hash(confirmed: bytes, confirmation_tag: bytes) -> bytes:
    """Interim transcript hash of an epoch (RFC 9420 8.2)."""
    return sha256(confirmed + vector(confirmation_tag))


# Pre-shared keys (RFC 9420 8.4)


class PSKType(enum.IntEnum):
    """Where a pre-shared key comes from."""

    EXTERNAL = 1
    RESUMPTION = 2


class ResumptionUsage(enum.IntEnum):
    """What a resumption secret is used for."""

    APPLICATION = 1
    REINIT = 2
    BRANCH = 3


class PreSharedKeyID(msgspec.Struct, frozen=True, kw_only=True):
    """Name of a pre-shared key. External: `psk_id`. Resumption: `usage`, `psk_group_id`, `psk_epoch`."""

    psk_type: PSKType
    psk_id: bytes = b""
    usage: ResumptionUsage = ResumptionUsage.APPLICATION
    psk_group_id: bytes = b""
    psk_epoch: int = 0
    psk_nonce: bytes

    def encode(self) -> bytes:
        """Encode for the wire and the key schedule."""
        if self.psk_type is PSKType.EXTERNAL:
            name = vector(self.psk_id)
        else:
            name = u8(self.usage) + vector(self.psk_group_id) + u64(self.psk_epoch)
        return u8(self.psk_type) + name + vector(self.psk_nonce)

    @classmethod
    def read(cls, reader: Reader) -> PreSharedKeyID:
        """Decode one."""
        psk_type = reader.u8()
        if psk_type == PSKType.EXTERNAL:
            return cls(psk_type=PSKType.EXTERNAL, psk_id=reader.opaque(), psk_nonce=reader.opaque())
        if psk_type != PSKType.RESUMPTION:
            raise DecodeError(f"pre-shared key of unknown type {psk_type}")
        usage = reader.u8()
        if not ResumptionUsage.APPLICATION <= usage <= ResumptionUsage.BRANCH:
            raise DecodeError(f"resumption secret for unknown usage {usage}")
        return cls(
            psk_type=PSKType.RESUMPTION,
            usage=ResumptionUsage(usage),
            psk_group_id=reader.opaque(),
            psk_epoch=reader.u64(),
            psk_nonce=reader.opaque(),
        )


def psk_secret(psks: Sequence[tuple[PreSharedKeyID, bytes]]) -> bytes:
    """Contribution of the named pre-shared keys, in order; zero for none."""
    secret = ZERO
    for index, (name, key) in enumerate(psks):
        label = name.encode() + u16(index) + u16(len(psks))
        secret = extract(expand_with_label(extract(ZERO, key), "derived psk", label, HASH_BYTES), secret)
    return secret
