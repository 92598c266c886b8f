"""Which servers a room has now, as those before them say: epoch certificates, chained from the first servers on.

    servers of epoch 0 ──f+1 sign──▶ servers of epoch 1 ──f+1 sign──▶ servers of epoch 2 …

A room's owner signs where it is (`wire.descriptor`); this is for when the owner is away, or a client was. When the
replication group of a room ends an epoch, each of its voters signs a statement: this operation was the last, these are
the servers after it. With f + 1 signatures, f being the servers that may fail at once, at least one that works said so.
Whoever knows the servers of any epoch follows the chain to those of today while one old server can be reached, and
believes nobody else. An epoch here counts memberships (`GroupEpoch`), not keys of members (`RoomEpoch`).

    certificate = statement (exact bytes) + [(node key, Ed25519 over label ‖ statement)]

When a majority of servers is gone for good, nobody can end their epoch. One that is left may begin the next alone
(`vr.host.forced_epoch`): its statement says so (`is_forced`) and has its signature only. Servers pass it on and build on it;
a client never follows it by itself, because messages may be missing and one server could lie: only the owner's word will do.

The statement binds replication's own record of the configuration; to clients these are opaque bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
import nacl.exceptions
import nacl.signing

from wire import limits
from wire.errors import DecodeError, PeerError
from wire.identity import HOST_CHARACTERS_MAX, PORT_MAX, NodeIdentity, ServerAddress
from wire.ids import NODE_KEY_BYTES, ROOM_ID_BYTES, GroupEpoch, NodeKey, RoomId

VERSION: Final = 2
_LABEL: Final = b"samtala/epoch-certificate/v1"
_SIGNATURE_BYTES: Final = 64
_IDENTIFIER_BYTES: Final = 16
_NUMBER_MAX: Final = 1 << 63


class CertificateError(PeerError):
    """A chain of certificates that cannot be believed. The leaves say why."""

    cause = "certificate"


class ForgedCertificateError(CertificateError):
    """A signature is wrong, or not of one who could sign."""


class ShortCertificateError(CertificateError):
    """Too few of the servers before have signed."""


class ReplayedCertificateError(CertificateError):
    """It is about another room, or does not follow what we know."""


class ForcedEpochError(CertificateError):
    """The room was recovered by force on a server that was left: that counts only with the owner's word."""


class Server(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A server with a vote: id of its data folder (16 bytes), its key (32 bytes), and a hint where it is reached."""

    replica_id: bytes
    node_key: NodeKey
    host: str
    port: int


class EpochStatement(msgspec.Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """What a voter of the epoch before `epoch` signs. `op` and `checksum` are those of the operation that ended it.

    `configuration` is replication's encoding of the whole new configuration; `servers` are its voters, in its order.
    `is_forced`: nobody ended the epoch before; `op` is the last operation that the one server had, which goes on.
    """

    version: int = VERSION
    room_id: RoomId
    epoch: GroupEpoch
    op: int
    checksum: bytes
    configuration: bytes
    servers: tuple[Server, ...]
    is_forced: bool = False


class EpochSignature(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One voter's word: its key and 64 bytes of Ed25519."""

    node_key: NodeKey
    signature: bytes


class EpochCertificate(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An encoded statement and who signed it."""

    statement: bytes
    signatures: tuple[EpochSignature, ...]


class RoomServers(msgspec.Struct, frozen=True, array_like=True):
    """The servers of a room in one epoch, as far as we know and believe."""

    epoch: GroupEpoch
    servers: tuple[Server, ...]

    @property
    def signatures_needed(self) -> int:
        """f + 1: with a majority of n - f out of n, so many include one that works."""
        size = len(self.servers)
        return size - (size // 2 + 1) + 1

    def signatures_for(self, statement: EpochStatement) -> int:
        """How many of these servers have to say that `statement` comes next, for other servers to build on it."""
        return 1 if statement.is_forced else self.signatures_needed

    @property
    def node_keys(self) -> frozenset[NodeKey]:
        """Their keys."""
        return frozenset(server.node_key for server in self.servers)

    @property
    def addresses(self) -> list[ServerAddress]:
        """Where they are said to be; servers without an address are left out."""
        return [ServerAddress(server.host, server.port, server.node_key) for server in self.servers if server.host]


_ENCODER: Final = msgspec.msgpack.Encoder()
_STATEMENT_DECODER: Final[msgspec.msgpack.Decoder[EpochStatement]] = msgspec.msgpack.Decoder(EpochStatement)
_CERTIFICATE_DECODER: Final[msgspec.msgpack.Decoder[EpochCertificate]] = msgspec.msgpack.Decoder(EpochCertificate)
_MALFORMED: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def encode_statement(statement: EpochStatement) -> bytes:
    """Encode what is signed, deterministically."""
    return _ENCODER.encode(statement)


def decode_statement(data: bytes) -> EpochStatement:
    """Decode and check a statement; who signed it is another question.

    Raises:
        DecodeError: malformed, of another version, or out of bounds.
    """
    if len(data) > limits.CERTIFICATE_BYTES_MAX:
        raise DecodeError("an epoch statement is too large")
    try:
        statement = _STATEMENT_DECODER.decode(data)
    except _MALFORMED as error:
        raise DecodeError("malformed epoch statement") from error
    if statement.version != VERSION or len(statement.room_id) != ROOM_ID_BYTES:
        raise DecodeError("an epoch statement of another version")
    if not 0 < statement.epoch < _NUMBER_MAX or not 0 < statement.op < _NUMBER_MAX or not statement.checksum:
        raise DecodeError("an epoch statement without epoch or operation")
    check_servers(statement.servers)
    return statement


def check_servers(servers: Sequence[Server]) -> None:
    """Check that these can be the servers of a room.

    Raises:
        DecodeError: none, too many, repeated ones, or ids, keys, hosts or ports out of bounds.
    """
    keys = {server.node_key for server in servers}
    ids = {server.replica_id for server in servers}
    if not 0 < len(servers) <= limits.SERVERS_PER_ROOM_MAX or {len(keys), len(ids)} != {len(servers)}:
        raise DecodeError("servers missing, repeated or too many")
    if any(len(key) != NODE_KEY_BYTES for key in keys) or any(len(name) != _IDENTIFIER_BYTES for name in ids):
        raise DecodeError("a server's key or id of a wrong size")
    if any(len(server.host) > HOST_CHARACTERS_MAX or not 0 < server.port <= PORT_MAX for server in servers):
        raise DecodeError("a server's address out of bounds")


def encode_certificate(certificate: EpochCertificate) -> bytes:
    """Encode a certificate."""
    return _ENCODER.encode(certificate)


def decode_certificate(data: bytes) -> EpochCertificate:
    """Decode a certificate within its bounds; nothing is verified.

    Raises:
        DecodeError: malformed, too large, or with more signatures than servers may have a vote.
    """
    if len(data) > limits.CERTIFICATE_BYTES_MAX:
        raise DecodeError("an epoch certificate is too large")
    try:
        certificate = _CERTIFICATE_DECODER.decode(data)
    except _MALFORMED as error:
        raise DecodeError("malformed epoch certificate") from error
    if len(certificate.signatures) > limits.SERVERS_PER_ROOM_MAX:
        raise DecodeError("an epoch certificate with too many signatures")
    return certificate


def sign_statement(statement: bytes, identity: NodeIdentity) -> EpochSignature:
    """Say that this is so, as a voter of the epoch before."""
    return EpochSignature(identity.public, identity.sign(_LABEL + statement))


def verify_signature(statement: bytes, signature: EpochSignature, known: RoomServers) -> None:
    """Check one voter's word.

    Raises:
        ForgedCertificateError: not a voter's, or wrong.
    """
    if signature.node_key not in known.node_keys:
        raise ForgedCertificateError("an epoch is signed by a server that had no vote")
    if len(signature.signature) != _SIGNATURE_BYTES:
        raise ForgedCertificateError("an epoch's signature has a wrong size")
    try:
        nacl.signing.VerifyKey(signature.node_key).verify(_LABEL + statement, signature.signature)
    except (nacl.exceptions.CryptoError, ValueError) as error:
        raise ForgedCertificateError("an epoch's signature does not hold") from error


def follow_certificate(certificate: EpochCertificate, known: RoomServers, *, room_id: RoomId) -> RoomServers:
    """The servers after `known`, if enough of `known` say so; every signature must hold.

    Raises:
        DecodeError: the statement is none.
        ReplayedCertificateError: of another room, or not the epoch after the known one.
        ForgedCertificateError: a signature is wrong or a stranger's.
        ForcedEpochError: a server that was left went on alone.
        ShortCertificateError: too few distinct servers have signed.
    """
    statement = decode_statement(certificate.statement)
    if statement.room_id != room_id or statement.epoch != known.epoch + 1:
        raise ReplayedCertificateError(f"epoch {statement.epoch} of a room does not follow epoch {known.epoch} of ours")
    for signature in certificate.signatures:
        verify_signature(certificate.statement, signature, known)
    signers = {signature.node_key for signature in certificate.signatures}
    if statement.is_forced and signers:
        raise ForcedEpochError(
            f"the room was recovered by force on one of its {len(known.servers)} servers; messages may be missing, and only "
            "the room's owner can say that this is right (`samtala room vouch`)"
        )
    if len(signers) < known.signatures_needed:
        raise ShortCertificateError(
            f"epoch {statement.epoch} is signed by {len(signers)} servers, not by {known.signatures_needed}"
        )
    return RoomServers(statement.epoch, statement.servers)


def follow_chain(certificates: Iterable[bytes], known: RoomServers, *, room_id: RoomId) -> RoomServers:
    """The servers at the end of a chain of encoded certificates that begins right after `known`.

    Raises:
        DecodeError, CertificateError: see `follow_certificate`.
    """
    for encoded in certificates:
        known = follow_certificate(decode_certificate(encoded), known, room_id=room_id)
    return known
