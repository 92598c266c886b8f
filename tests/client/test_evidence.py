"""Evidence convinces somebody who was not there, and only of what happened."""

from __future__ import annotations

import msgspec
import pytest

from client.evidence import ForkEvidence, check_evidence, make_evidence
from client.identity import Identity
from client.payload import Payload, encode_payload
from mls import Group, SignedMessage
from tests.client.builders import NOW_S, ROOM_ID, entropy_of, identity_of
from wire.errors import DecodeError
from wire.ids import RoomId, Sequence

OURS, THEIRS = b"o" * 32, b"t" * 32


def signed_claim(chain: bytes = THEIRS, *, room_id: bytes = ROOM_ID, sequence: int = 7) -> SignedMessage:
    """What bob signed: two members of one group, so that somebody can read it."""
    alice, bob = identity_of("alice"), identity_of("bob")
    founder = Group.create(room_id, alice.signature_key, alice.credential(), entropy=entropy_of(1), now=NOW_S)
    staged, _ = Group.join_external(
        founder.group_info(), bob.signature_key, bob.credential(), entropy=entropy_of(2), now=NOW_S
    )
    ours = founder.process_commit(staged.commit, NOW_S).merge()
    payload = Payload(1, 1, b"m" * 16, Sequence(sequence), chain, "hej")
    entry = staged.merge().protect(encode_payload(payload), entropy=entropy_of(3))
    return ours.unprotect(entry).signed


def evidence_of(theirs: SignedMessage, *, chain: bytes = OURS, sequence: int = 7) -> ForkEvidence:
    identity: Identity = identity_of("alice")
    seen = Payload(1, 1, b"m" * 16, Sequence(sequence), THEIRS, "hej")
    credential = identity_of("bob").credential()
    data = make_evidence(identity, ROOM_ID, chain, seen=seen, theirs=theirs, their_credential=credential)
    return msgspec.msgpack.decode(data, type=ForkEvidence)


GOOD = evidence_of(signed_claim())


def test_two_signed_claims_that_contradict_each_other_are_evidence() -> None:
    finding = check_evidence(msgspec.msgpack.encode(GOOD))

    assert (finding.room_id, finding.sequence) == (ROOM_ID, 7)
    assert (finding.one.name, finding.one_chain, finding.one.is_verified) == ("alice", OURS, True)
    assert (finding.other.name, finding.other_chain, finding.other.is_verified) == ("bob", THEIRS, True)


@pytest.mark.parametrize(
    "forged",
    [
        msgspec.structs.replace(GOOD, chain=b"x" * 32),
        msgspec.structs.replace(GOOD, chain=b"short"),
        msgspec.structs.replace(GOOD, sequence=Sequence(8)),
        msgspec.structs.replace(GOOD, sequence=Sequence(-1)),
        msgspec.structs.replace(GOOD, version=2),
        msgspec.structs.replace(GOOD, signature=bytes(64)),
        msgspec.structs.replace(GOOD, signature=b""),
        msgspec.structs.replace(GOOD, room_id=RoomId(b"o" * 16)),
        msgspec.structs.replace(GOOD, device_key=identity_of("mallory").signature_key.public),
        msgspec.structs.replace(GOOD, theirs=msgspec.structs.replace(GOOD.theirs, signature=bytes(64))),
        msgspec.structs.replace(GOOD, theirs=msgspec.structs.replace(GOOD.theirs, context=b"another group")),
        msgspec.structs.replace(GOOD, theirs=msgspec.structs.replace(GOOD.theirs, content=b"")),
        msgspec.structs.replace(
            GOOD, theirs=msgspec.structs.replace(GOOD.theirs, public_key=identity_of("alice").signature_key.public)
        ),
        evidence_of(signed_claim(OURS)),
        evidence_of(signed_claim(sequence=6)),
        evidence_of(signed_claim(room_id=b"another room....")),
    ],
)
def test_whatever_is_changed_or_does_not_contradict_proves_nothing(forged: ForkEvidence) -> None:
    with pytest.raises(DecodeError):
        check_evidence(msgspec.msgpack.encode(forged))


def test_noise_is_no_evidence() -> None:
    with pytest.raises(DecodeError):
        check_evidence(b"noise")
