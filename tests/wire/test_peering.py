from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.errors import HandshakeError
from wire.identity import NodeIdentity
from wire.ids import NodeKey
from wire.messages import PeerHello, PeerProof
from wire.peering import Acceptor, Dialer, make_hello
from wire.versions import PROTOCOL_VERSION

ALICE, BOB, MALLORY = (NodeIdentity(letter * 32) for letter in (b"a", b"b", b"m"))
ROSTER = {ALICE.public, BOB.public, MALLORY.public}


def hello(identity: NodeIdentity, nonce: bytes = b"n") -> PeerHello:
    replica_id = identity.public[:16]
    return make_hello(identity, nonce=nonce * 32, replica_id=replica_id, name="node", software="test")


def test_peer_of_the_roster_is_proven() -> None:
    dialer = Dialer(ALICE, hello(ALICE), BOB.public)
    acceptor = Acceptor(hello(BOB), ROSTER)

    proof = dialer.on_hello(acceptor.on_hello(dialer.hello))

    assert acceptor.on_proof(proof) == dialer.hello


def test_stranger_is_refused() -> None:
    with pytest.raises(HandshakeError, match="no peer of ours"):
        Acceptor(hello(BOB), {BOB.public}).on_hello(hello(ALICE))


def test_proof_relayed_through_another_peer_is_refused() -> None:
    """Alice dials Mallory, who is in the roster too, and passes Bob's hello and Alice's answers on."""
    bob = Acceptor(hello(BOB), ROSTER)
    alice = Dialer(ALICE, hello(ALICE), MALLORY.public)
    bobs_hello = bob.on_hello(alice.hello)

    with pytest.raises(HandshakeError, match="another key"):
        alice.on_hello(bobs_hello)
    proof_for_mallory = alice.on_hello(hello(MALLORY, nonce=b"n"))

    with pytest.raises(HandshakeError, match="does not hold"):
        bob.on_proof(proof_for_mallory)


def test_replayed_proof_is_refused() -> None:
    dialer = Dialer(ALICE, hello(ALICE), BOB.public)
    yesterday = Acceptor(hello(BOB, nonce=b"1"), ROSTER)
    proof = dialer.on_hello(yesterday.on_hello(dialer.hello))
    today = Acceptor(hello(BOB, nonce=b"2"), ROSTER)
    today.on_hello(dialer.hello)

    with pytest.raises(HandshakeError, match="does not hold"):
        today.on_proof(proof)


@pytest.mark.parametrize(
    "change",
    [{"replica_id": b"another"}, {"nonce": b"x" * 32}, {"node_key": MALLORY.public}],
)
def test_proof_covers_what_the_dialer_said(change: dict[str, bytes]) -> None:
    said = hello(ALICE)
    dialer = Dialer(ALICE, said, BOB.public)
    acceptor = Acceptor(hello(BOB), ROSTER)
    fields = {name: getattr(said, name) for name in said.__struct_fields__} | change
    answer = acceptor.on_hello(PeerHello(**fields))

    with pytest.raises(HandshakeError, match="does not hold"):
        acceptor.on_proof(dialer.on_hello(answer))


def test_own_reflection_is_refused() -> None:
    with pytest.raises(HandshakeError, match="our own"):
        Acceptor(hello(BOB), ROSTER).on_hello(hello(BOB, nonce=b"x"))


def test_second_hello_is_refused() -> None:
    acceptor = Acceptor(hello(BOB), ROSTER)
    acceptor.on_hello(hello(ALICE))

    with pytest.raises(HandshakeError, match="second"):
        acceptor.on_hello(hello(MALLORY))


def test_proof_before_the_hello_is_refused() -> None:
    with pytest.raises(HandshakeError, match="before"):
        Acceptor(hello(BOB), ROSTER).on_proof(PeerProof(b"s" * 64))


@given(signature=st.binary(max_size=80))
def test_any_other_signature_is_refused(signature: bytes) -> None:
    acceptor = Acceptor(hello(BOB), ROSTER)
    acceptor.on_hello(hello(ALICE))

    with pytest.raises(HandshakeError):
        acceptor.on_proof(PeerProof(signature))


@pytest.mark.parametrize(
    "wrong",
    [
        PeerHello(PROTOCOL_VERSION + 1, b"r" * 16, "n", "s", ALICE.public, b"n" * 32),
        PeerHello(PROTOCOL_VERSION, b"r" * 16, "n", "s", NodeKey(b"short"), b"n" * 32),
        PeerHello(PROTOCOL_VERSION, b"r" * 16, "n", "s", ALICE.public, b"short"),
        PeerHello(PROTOCOL_VERSION, b"", "n", "s", ALICE.public, b"n" * 32),
        PeerHello(PROTOCOL_VERSION, b"r" * 65, "n", "s", ALICE.public, b"n" * 32),
    ],
)
def test_hello_out_of_bounds_is_refused_by_both(wrong: PeerHello) -> None:
    with pytest.raises(HandshakeError):
        Acceptor(hello(BOB), ROSTER).on_hello(wrong)
    with pytest.raises(HandshakeError):
        Dialer(BOB, hello(BOB), wrong.node_key).on_hello(wrong)
