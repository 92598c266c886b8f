"""How one room came to its servers of now: what we saw end, what others sign, and the certificates made of it. Pure.

    an epoch ends here ──▶ begin(statement, our signature) ──┐
    peers say what they signed ──▶ add(certificate) ─────────┴─▶ f + 1 of the voters before: a certificate, kept and told

A statement that we saw come true is certain without any signature; one of others only with f + 1, or with that of one voter
if it says itself that the epoch was begun by force. Either way it names the servers whose signatures count for the next one. Each record is a note beside the room's group (`Host.keep_note`) and
outlives the room's stay here, so that a server the room has left can still say where it went.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from room_server import limits
from vr.configuration import Configuration
from vr.errors import DecodeError as VrDecodeError
from wire.certificate import (
    EpochCertificate,
    EpochSignature,
    EpochStatement,
    RoomServers,
    Server,
    decode_certificate,
    decode_statement,
    encode_certificate,
    encode_statement,
    verify_signature,
)
from wire.errors import DecodeError
from wire.ids import GroupEpoch, NodeKey, RoomId
from wire.room import Genesis, Move


class EpochNote(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What is stored of one epoch: its certificate, perhaps short of signatures, and the owner's record of then."""

    certificate: bytes
    descriptor: bytes
    is_seen: bool
    """We saw the epoch begin; else others say so."""


_NOTE_DECODER: Final[msgspec.msgpack.Decoder[EpochNote]] = msgspec.msgpack.Decoder(EpochNote)


class _Record:
    """One epoch. `signatures` are verified, by node key."""

    __slots__ = ("descriptor", "encoded", "is_seen", "signatures", "statement")

    def __init__(self, encoded: bytes, *, descriptor: bytes, is_seen: bool) -> None:
        self.encoded = encoded
        self.statement = decode_statement(encoded)
        self.descriptor = descriptor
        self.is_seen = is_seen
        self.signatures: dict[NodeKey, EpochSignature] = {}

    @property
    def servers(self) -> RoomServers:
        return RoomServers(self.statement.epoch, self.statement.servers)

    @property
    def certificate(self) -> bytes:
        ordered = tuple(self.signatures[key] for key in sorted(self.signatures))
        return encode_certificate(EpochCertificate(self.encoded, ordered))


class EpochBook:
    """The epochs of one room, first is 0, whose servers the genesis names."""

    def __init__(self, genesis: Genesis) -> None:
        self.room_id: RoomId = genesis.room_id
        self._first = RoomServers(
            GroupEpoch(0),
            tuple(Server(member.replica_id, member.node_key, member.host, member.port) for member in genesis.members),
        )
        self._records: list[_Record] = []
        self.certificates: list[bytes] = []
        """Encoded `wire.certificate.EpochCertificate`s, of epoch 1 first: complete ones, without a gap."""

    # --- looking -----------------------------------------------------------------------------------------------------

    @property
    def servers(self) -> RoomServers:
        """The newest servers that we are certain of."""
        return self._records[-1].servers if self._records else self._first

    def servers_at(self, epoch: int) -> RoomServers | None:
        """The servers of one epoch; None if we are not certain of them."""
        if epoch == 0:
            return self._first
        return self._records[epoch - 1].servers if epoch <= len(self._records) else None

    @property
    def configuration(self) -> Configuration | None:
        """Replication's record of the newest epoch; None for the first one, which the genesis tells."""
        return Configuration.from_bytes(self._records[-1].statement.configuration) if self._records else None

    @property
    def descriptor(self) -> bytes:
        """The newest of the owner's records that came with an epoch; empty if none did."""
        return next((record.descriptor for record in reversed(self._records) if record.descriptor), b"")

    @property
    def is_certified(self) -> bool:
        """All epochs that we know have complete certificates: anybody would believe them."""
        return len(self.certificates) == len(self._records)

    def names(self, node_key: NodeKey, replica_id: bytes) -> bool:
        """Whether this server, with this data folder, serves the room now."""
        configuration = self.configuration
        if configuration is None:
            return (node_key, replica_id) in {(server.node_key, server.replica_id) for server in self._first.servers}
        return (node_key, replica_id) in {(member.node_key, member.replica_id) for member in configuration.replicas}

    def concerns(self, node_key: NodeKey) -> bool:
        """Whether this server has, or ever had, a vote in the room: it signs, or has to be told."""
        every = (self._first, *(record.servers for record in self._records))
        return any(node_key in servers.node_keys for servers in every)

    def notes(self) -> list[tuple[int, bytes]]:
        """What to keep, each with the number of its epoch; what was kept under the same number goes."""
        return [
            (
                record.statement.epoch,
                msgspec.msgpack.encode(EpochNote(record.certificate, record.descriptor, record.is_seen)),
            )
            for record in self._records
        ]

    def told(self) -> tuple[bytes, ...]:
        """Certificates for other servers of the room, short ones too: the newest, as many as one message holds."""
        return tuple(record.certificate for record in self._records[-limits.EPOCHS_TOLD_MAX :])

    # --- writing -----------------------------------------------------------------------------------------------------

    def load(self, notes: Iterable[bytes]) -> None:
        """Take back what was kept.

        Raises:
            DecodeError: the notes have rotted; those before stay.
        """
        for data in notes:
            try:
                note = _NOTE_DECODER.decode(data)
            except msgspec.MsgspecError as error:
                raise DecodeError("a note of an epoch does not decode") from error
            certificate = decode_certificate(note.certificate)
            record = _Record(certificate.statement, descriptor=note.descriptor, is_seen=note.is_seen)
            record.signatures = {signature.node_key: signature for signature in certificate.signatures}
            if record.statement.epoch <= len(self._records):
                self._merge(self._records[record.statement.epoch - 1], record.encoded, record.signatures)
                continue
            self._check_next(record)
            self._records.append(record)
        self._note_complete()

    def begin(self, statement: bytes, signature: EpochSignature | None, *, descriptor: bytes) -> bool:
        """An epoch began here; `signature` is ours if we had a vote. Tells whether certificates were completed.

        The same again changes nothing.
        """
        record = _Record(statement, descriptor=descriptor, is_seen=True)
        epoch = record.statement.epoch
        if epoch <= len(self._records):
            known = self._records[epoch - 1]
            known.is_seen = True
            known.descriptor = known.descriptor or descriptor
            record = known
        else:
            self._check_next(record)
            self._records.append(record)
        if signature is not None and record.encoded == statement:
            record.signatures[signature.node_key] = signature
        return self._note_complete()

    def describe(self, epoch: int, descriptor: bytes) -> bool:
        """Take the owner's record of servers that came without one; tells whether it was wanted."""
        if not descriptor or not 0 < epoch == len(self._records) or self._records[-1].descriptor:
            return False
        self._records[-1].descriptor = descriptor
        return True

    def add(self, encoded: bytes, *, may_be_forced: bool = False) -> bool:
        """Take a peer's certificate, short or not; tells whether anything new was in it.

        `may_be_forced`: of a room that we do not host yet. One that we host did not end because a single server says so.

        Raises:
            DecodeError: malformed.
            CertificateError: a signature does not hold, or it contradicts what we know.
        """
        certificate = decode_certificate(encoded)
        statement = decode_statement(certificate.statement)
        if statement.room_id != self.room_id or statement.epoch > len(self._records) + 1:
            return False
        before = self._first if statement.epoch == 1 else self._records[statement.epoch - 2].servers
        for signature in certificate.signatures:
            verify_signature(certificate.statement, signature, before)
        signatures = {signature.node_key: signature for signature in certificate.signatures}
        if statement.epoch <= len(self._records):
            return self._merge(self._records[statement.epoch - 1], certificate.statement, signatures)
        if len(signatures) < before.signatures_for(statement) or (statement.is_forced and not may_be_forced):
            return False
        record = _Record(certificate.statement, descriptor=b"", is_seen=False)
        _decode_configuration(record.statement)
        record.signatures = signatures
        self._records.append(record)
        self._note_complete()
        return True

    def _merge(self, record: _Record, statement: bytes, signatures: dict[NodeKey, EpochSignature]) -> bool:
        if record.encoded != statement:
            raise DecodeError("another server signs another beginning of an epoch that we know")
        is_new = not signatures.keys() <= record.signatures.keys()
        record.signatures |= signatures
        self._note_complete()
        return is_new

    def _check_next(self, record: _Record) -> None:
        statement = record.statement
        if statement.room_id != self.room_id or statement.epoch != len(self._records) + 1:
            raise DecodeError("an epoch is missing in the book of a room")
        _decode_configuration(statement)

    def _note_complete(self) -> bool:
        """Whether there are more complete certificates than before; they grow by signatures until they are told."""
        before = len(self.certificates)
        previous = self._first if not before else self._records[before - 1].servers
        for record in self._records[before:]:
            if len(record.signatures) < previous.signatures_for(record.statement):
                break
            self.certificates.append(record.certificate)
            previous = record.servers
        return len(self.certificates) > before


def make_statement(
    *,
    room_id: RoomId,
    configuration: Configuration,
    ended_by: tuple[int, bytes],
    move: Move | None,
    before: RoomServers,
    is_forced: bool = False,
) -> bytes:
    """What every voter says of a new epoch, in the same bytes.

    Args:
        room_id: the room.
        configuration: of the epoch that begins.
        ended_by: number and checksum of the operation that ended the one before.
        move: the owner's newest wish by then: where the servers are reached.
        before: the servers until then, for those that it does not name.
        is_forced: nobody ended the epoch before.
    """
    wished = () if move is None else (*move.servers, *move.standbys)
    places = {server.node_key: (server.host, server.port) for server in (*before.servers, *wished)}
    op, checksum = ended_by
    statement = EpochStatement(
        room_id=room_id,
        epoch=GroupEpoch(configuration.epoch),
        op=op,
        checksum=checksum,
        configuration=configuration.to_bytes(),
        servers=tuple(
            Server(member.replica_id, NodeKey(member.node_key), *places.get(NodeKey(member.node_key), ("", 1)))
            for member in configuration.members
        ),
        is_forced=is_forced,
    )
    return encode_statement(statement)


def certificates_of(notes: Sequence[bytes]) -> list[bytes]:
    """The certificates among the notes of a room that left: all that were complete when they were kept."""
    found = []
    for data in notes:
        try:
            found.append(_NOTE_DECODER.decode(data).certificate)
        except msgspec.MsgspecError:
            break
    return found


def _decode_configuration(statement: EpochStatement) -> Configuration:
    try:
        configuration = Configuration.from_bytes(statement.configuration)
    except VrDecodeError as error:
        raise DecodeError("an epoch's configuration does not decode") from error
    voters = [(member.replica_id, member.node_key) for member in configuration.members]
    named = [(server.replica_id, server.node_key) for server in statement.servers]
    if (
        bytes(configuration.group) != bytes(statement.room_id)
        or configuration.epoch != statement.epoch
        or voters != named
    ):
        raise DecodeError("an epoch's servers are not those of its configuration")
    return configuration
