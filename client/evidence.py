"""Evidence of a fork: two members of a room were shown different histories, and both signed what they saw. Pure.

    our statement: room, sequence, chain hash, signed by our device ──┐
    their message: the same, signed inside MLS by their device ───────┴─▶ ForkEvidence, checkable by anybody

It shows that the two signers contradict each other about the room's one history. Servers that order honestly never bring
that about; so either servers lied to one of the two, or one of the two lies. It contains one message's plaintext.
"""

from __future__ import annotations

from typing import Final

import msgspec
from nacl import bindings
from nacl.exceptions import CryptoError

from client.identity import Identity, Person, read_person, sign
from client.payload import Payload, decode_payload
from mls import PeerError, SignedMessage
from wire.errors import DecodeError
from wire.ids import RoomId, Sequence
from wire.room import CHAIN_BYTES

_VERSION: Final = 1
_LABEL: Final = b"samtala/witness/v1"
_SIGNATURE_BYTES: Final = 64


class ForkEvidence(msgspec.Struct, frozen=True, array_like=True):
    """As it is stored and passed on. Credentials are those of the two devices in the room."""

    version: int
    room_id: RoomId
    sequence: Sequence
    chain: bytes
    credential: bytes
    device_key: bytes
    signature: bytes
    their_credential: bytes
    theirs: SignedMessage


class ForkFinding(msgspec.Struct, frozen=True, kw_only=True):
    """What checked evidence says: two people, and the hash that each saw over all history through `sequence`."""

    room_id: RoomId
    sequence: Sequence
    one: Person
    one_chain: bytes
    other: Person
    other_chain: bytes


_DECODER: Final[msgspec.msgpack.Decoder[ForkEvidence]] = msgspec.msgpack.Decoder(ForkEvidence)


def make_evidence(
    identity: Identity, room_id: RoomId, chain: bytes, *, seen: Payload, theirs: SignedMessage, their_credential: bytes
) -> bytes:
    """Sign what we saw at the place that another member's message speaks of.

    Args:
        identity: ours in the room.
        room_id: the room.
        chain: the hash that we know there.
        seen: their message.
        theirs: the same as they signed it.
        their_credential: of their leaf.
    """
    evidence = ForkEvidence(
        version=_VERSION,
        room_id=room_id,
        sequence=seen.seen_sequence,
        chain=chain,
        credential=identity.credential(),
        device_key=identity.signature_key.public,
        signature=sign(identity.device_seed, _statement(room_id, seen.seen_sequence, chain)),
        their_credential=their_credential,
        theirs=theirs,
    )
    return msgspec.msgpack.encode(evidence)


def check_evidence(data: bytes) -> ForkFinding:
    """Check evidence that somebody shows us.

    Raises:
        DecodeError: it proves nothing: malformed, a signature that does not hold, another room, or no contradiction.
    """
    try:
        evidence = _DECODER.decode(data)
        group_id, plaintext = evidence.theirs.open()
    except (msgspec.MsgspecError, UnicodeDecodeError, PeerError) as error:
        raise DecodeError(f"no evidence: {error}") from error
    theirs = decode_payload(plaintext)
    _check_statement(evidence)
    if group_id != evidence.room_id:
        raise DecodeError("the message is of another room")
    if theirs.seen_sequence != evidence.sequence or theirs.seen_chain == evidence.chain:
        raise DecodeError("the two do not contradict each other")
    return ForkFinding(
        room_id=evidence.room_id,
        sequence=evidence.sequence,
        one=read_person(evidence.credential, evidence.device_key),
        one_chain=evidence.chain,
        other=read_person(evidence.their_credential, evidence.theirs.public_key),
        other_chain=theirs.seen_chain,
    )


def _check_statement(evidence: ForkEvidence) -> None:
    if evidence.version != _VERSION or len(evidence.chain) != CHAIN_BYTES or not 0 <= evidence.sequence < 1 << 63:
        raise DecodeError("a statement of another version, or out of bounds")
    if len(evidence.signature) != _SIGNATURE_BYTES:
        raise DecodeError("a signature of a wrong size")
    statement = _statement(evidence.room_id, evidence.sequence, evidence.chain)
    try:
        bindings.crypto_sign_open(evidence.signature + statement, evidence.device_key)
    except (CryptoError, ValueError) as error:
        raise DecodeError("the witness did not sign that") from error


def _statement(room_id: RoomId, sequence: Sequence, chain: bytes) -> bytes:
    return _LABEL + room_id + sequence.to_bytes(8, "big") + chain
