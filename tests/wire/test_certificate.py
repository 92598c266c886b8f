from __future__ import annotations

import hashlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.certificates import ROOM, certificate, encoded, identity, server, servers
from wire import limits
from wire.certificate import (
    VERSION,
    EpochCertificate,
    EpochSignature,
    ForcedEpochError,
    ForgedCertificateError,
    ReplayedCertificateError,
    RoomServers,
    Server,
    ShortCertificateError,
    check_servers,
    decode_certificate,
    decode_statement,
    encode_certificate,
    follow_certificate,
    follow_chain,
)
from wire.errors import DecodeError, PeerError
from wire.ids import GroupEpoch, NodeKey, RoomId
from wire.messages import ServersChanged, encode

FIRST = servers(0, (1, 2, 3))
SECOND = servers(1, (1, 2, 3, 4, 5))
THIRD = servers(2, (6, 7, 8))


def test_chain_is_followed_from_any_epoch_to_the_last() -> None:
    chain = [encoded(SECOND, signers=(1, 3)), encoded(THIRD, signers=(2, 4, 5))]

    assert follow_chain(chain, FIRST, room_id=ROOM) == THIRD
    assert follow_chain(chain[1:], SECOND, room_id=ROOM) == THIRD
    assert follow_chain([], SECOND, room_id=ROOM) == SECOND


@pytest.mark.parametrize(("size", "needed"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (6, 3), (7, 4)])
def test_as_many_must_sign_as_include_one_that_works(size: int, needed: int) -> None:
    before, after = servers(0, range(1, size + 1)), servers(1, (9,))

    assert before.signatures_needed == needed
    assert follow_certificate(certificate(after, signers=range(1, needed + 1)), before, room_id=ROOM) == after
    with pytest.raises(ShortCertificateError):
        follow_certificate(certificate(after, signers=range(1, needed)), before, room_id=ROOM)


def test_one_server_that_goes_on_alone_is_not_followed_without_the_owner() -> None:
    alone = certificate(servers(1, (2,)), signers=(2,), is_forced=True)

    with pytest.raises(ForcedEpochError, match="only the room's owner"):
        follow_certificate(alone, FIRST, room_id=ROOM)
    with pytest.raises(ForcedEpochError):
        follow_certificate(certificate(SECOND, signers=(1, 2, 3), is_forced=True), FIRST, room_id=ROOM)
    with pytest.raises(ShortCertificateError):
        follow_certificate(certificate(SECOND, signers=(), is_forced=True), FIRST, room_id=ROOM)


def test_one_server_that_signs_twice_counts_once() -> None:
    with pytest.raises(ShortCertificateError):
        follow_certificate(certificate(SECOND, signers=(1, 1)), FIRST, room_id=ROOM)


@pytest.mark.parametrize("signers", [(1, 4), (1, 2, 9)])
def test_word_of_a_stranger_spoils_it(signers: tuple[int, ...]) -> None:
    with pytest.raises(ForgedCertificateError):
        follow_certificate(certificate(SECOND, signers=signers), FIRST, room_id=ROOM)


def test_new_servers_cannot_vouch_for_themselves() -> None:
    with pytest.raises(ForgedCertificateError):
        follow_certificate(certificate(THIRD, signers=(6, 7, 8)), SECOND, room_id=ROOM)


def test_epoch_left_out_or_seen_before_is_refused() -> None:
    for known in (FIRST, THIRD, RoomServers(GroupEpoch(3), FIRST.servers)):
        with pytest.raises(ReplayedCertificateError):
            follow_certificate(certificate(THIRD, signers=(1, 2, 3)), known, room_id=ROOM)


def test_certificate_of_another_room_is_refused() -> None:
    other = certificate(SECOND, signers=(1, 2), room_id=RoomId(b"s" * 16))

    with pytest.raises(ReplayedCertificateError):
        follow_certificate(other, FIRST, room_id=ROOM)


def test_signature_of_another_statement_is_refused() -> None:
    signatures = certificate(servers(1, (1, 2, 9)), signers=(1, 2)).signatures
    statement = certificate(SECOND, signers=()).statement

    with pytest.raises(ForgedCertificateError):
        follow_certificate(EpochCertificate(statement, signatures), FIRST, room_id=ROOM)


def test_signature_of_a_wrong_size_is_refused() -> None:
    good = certificate(SECOND, signers=(1, 2))
    bad = EpochSignature(identity(1).public, b"x")

    with pytest.raises(ForgedCertificateError):
        follow_certificate(EpochCertificate(good.statement, (bad, *good.signatures)), FIRST, room_id=ROOM)


@pytest.mark.parametrize(
    "wrong",
    [
        (),
        tuple(server(name) for name in range(1, limits.SERVERS_PER_ROOM_MAX + 2)),
        (server(1), server(1)),
        (server(1), Server(b"\x01" * 16, identity(2).public, "h", 1)),
        (Server(b"short", identity(1).public, "h", 1),),
        (Server(b"\x01" * 16, NodeKey(b"short"), "h", 1),),
        (server(1, host="h" * 254),),
        (server(1, port=0),),
        (server(1, port=65536),),
    ],
)
def test_servers_out_of_bounds_are_refused(wrong: tuple[Server, ...]) -> None:
    with pytest.raises(DecodeError):
        check_servers(wrong)
    with pytest.raises(DecodeError):
        decode_statement(certificate(RoomServers(GroupEpoch(1), wrong), signers=()).statement)


@pytest.mark.parametrize(
    "change", [{"version": VERSION + 1}, {"epoch": 0}, {"op": 0}, {"checksum": b""}, {"room_id": b"r"}]
)
def test_statement_out_of_bounds_is_refused(change: dict[str, object]) -> None:
    statement = decode_statement(certificate(SECOND, signers=()).statement)

    with pytest.raises(DecodeError):
        decode_statement(msgspec.msgpack.encode(msgspec.structs.replace(statement, **change)))


def test_too_many_signatures_and_too_many_bytes_are_refused() -> None:
    good = certificate(SECOND, signers=(1,))
    with pytest.raises(DecodeError):
        decode_certificate(encode_certificate(EpochCertificate(good.statement, good.signatures * 8)))
    with pytest.raises(DecodeError):
        decode_certificate(encode_certificate(EpochCertificate(bytes(limits.CERTIFICATE_BYTES_MAX), ())))
    with pytest.raises(DecodeError):
        decode_statement(bytes(limits.CERTIFICATE_BYTES_MAX + 1))


@given(at=st.integers(0, 10_000), cut=st.integers(0, 3), junk=st.binary(max_size=3))
def test_mutated_certificates_are_refused_or_say_the_same(at: int, cut: int, junk: bytes) -> None:
    data = encoded(SECOND, signers=(1, 2))
    at %= len(data)
    mutated = data[:at] + junk + data[at + cut :]
    try:
        after = follow_chain([mutated], FIRST, room_id=ROOM)
    except PeerError:
        return
    assert after == SECOND


def test_bytes_are_what_they_have_always_been() -> None:
    """Stored and sent between versions: what one signs, all others must read. Update `VERSION` if this changes."""
    data = encoded(SECOND, signers=(1, 2))

    assert decode_certificate(data) == certificate(SECOND, signers=(1, 2))
    assert (len(data), hashlib.sha256(data).hexdigest()[:16]) == (594, "61036953867edb54")


def test_largest_certificates_fit_into_a_frame() -> None:
    hosts = tuple(server(name, host="h" * 253) for name in range(1, limits.SERVERS_PER_ROOM_MAX + 1))
    largest = encoded(RoomServers(GroupEpoch(1), hosts), signers=range(1, limits.SERVERS_PER_ROOM_MAX + 1))
    message = ServersChanged(ROOM, (bytes(limits.CERTIFICATE_BYTES_MAX),) * limits.CERTIFICATES_PER_FRAME_MAX)

    assert len(largest) + 2048 < limits.CERTIFICATE_BYTES_MAX  # Two KiB are left for the configuration.
    assert len(encode(message)) <= limits.FRAME_BYTES_MAX
