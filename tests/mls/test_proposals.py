from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mls.codec import Reader, decode, u16
from mls.errors import DecodeError, LimitExceeded, Unsupported
from mls.framing import WireFormat, envelope, open_envelope
from mls.key_schedule import PreSharedKeyID, PSKType
from mls.limits import PROPOSALS_PER_COMMIT_MAX
from mls.nodes import Extension
from mls.proposals import (
    Commit,
    ExternalInit,
    GroupContextExtensions,
    KeyPackage,
    PreSharedKey,
    Proposal,
    ProposalReference,
    ProposalType,
    ReInit,
    Remove,
    encode_proposal,
    read_proposal,
)
from tests.mls.vectors import hex_bytes, load

MESSAGES = load("messages")
PROPOSALS = {
    "add_proposal": ProposalType.ADD,
    "update_proposal": ProposalType.UPDATE,
    "remove_proposal": ProposalType.REMOVE,
    "pre_shared_key_proposal": ProposalType.PSK,
    "re_init_proposal": ProposalType.REINIT,
    "external_init_proposal": ProposalType.EXTERNAL_INIT,
    "group_context_extensions_proposal": ProposalType.GROUP_CONTEXT_EXTENSIONS,
}


@pytest.mark.parametrize("entry", MESSAGES)
def test_official_vectors_of_proposals_decode_and_encode(entry: dict[str, Any]) -> None:
    for name, kind in PROPOSALS.items():
        encoded = u16(kind) + hex_bytes(entry[name])

        assert encode_proposal(decode(encoded, read_proposal)) == encoded


@pytest.mark.parametrize("entry", MESSAGES)
def test_official_vectors_of_commits_decode_and_encode(entry: dict[str, Any]) -> None:
    assert decode(hex_bytes(entry["commit"]), Commit.read).encode() == hex_bytes(entry["commit"])


@pytest.mark.parametrize("entry", MESSAGES)
def test_official_vectors_of_key_packages_keep_their_bytes(entry: dict[str, Any]) -> None:
    wire_format, body = open_envelope(hex_bytes(entry["mls_key_package"]))

    assert wire_format is WireFormat.KEY_PACKAGE
    assert envelope(wire_format, decode(body, KeyPackage.read).encoded) == hex_bytes(entry["mls_key_package"])


SMALL: list[Proposal] = [
    Remove(7),
    PreSharedKey(PreSharedKeyID(psk_type=PSKType.EXTERNAL, psk_id=b"id", psk_nonce=bytes(32))),
    ReInit(group_id=b"next", version=1, cipher_suite=3, extensions=()),
    ExternalInit(bytes(32)),
    GroupContextExtensions((Extension(extension_type=0xF5A1, data=b"x"),)),
]


@pytest.mark.parametrize("proposal", SMALL, ids=lambda proposal: type(proposal).__name__)
def test_proposals_come_back_alone_and_in_a_commit(proposal: Proposal) -> None:
    commit = Commit(proposals=(proposal, ProposalReference(bytes(32)), proposal), path=None)

    assert decode(encode_proposal(proposal), read_proposal) == proposal
    assert decode(commit.encode(), Commit.read) == commit


@pytest.mark.parametrize("kind", [0, 8, 0x0A0A, 0xF000, 0xFFFF])
def test_proposals_of_unknown_types_are_refused(kind: int) -> None:
    with pytest.raises(DecodeError):
        read_proposal(Reader(u16(kind) + bytes(40)))


def test_a_proposal_is_given_by_value_or_by_reference() -> None:
    with pytest.raises(DecodeError):
        decode(b"\x02\x03\x00\x00", Commit.read)


def test_a_commit_with_too_many_proposals_is_refused() -> None:
    commit = Commit(proposals=(Remove(1),) * (PROPOSALS_PER_COMMIT_MAX + 1), path=None)

    with pytest.raises(LimitExceeded):
        decode(commit.encode(), Commit.read)


@pytest.mark.parametrize("read", [KeyPackage.read])
def test_a_key_package_of_another_version_is_refused(read: Callable[[Reader], Any]) -> None:
    with pytest.raises(Unsupported):
        read(Reader(b"\x00\x02" + bytes(40)))
