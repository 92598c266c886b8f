from __future__ import annotations

from typing import Any

import pytest

from mls.codec import Reader, decode
from mls.crypto import ZERO, macs_equal
from mls.errors import DecodeError, InvalidArgument, Unsupported
from mls.framing import AuthenticatedContent
from mls.key_schedule import (
    EpochSecrets,
    GroupContext,
    JoinerSecrets,
    PreSharedKeyID,
    PSKType,
    ResumptionUsage,
    confirmed_transcript_hash,
    interim_transcript_hash,
    joiner_secret,
    psk_secret,
)
from mls.limits import EXPORT_BYTES_MAX
from tests.mls.vectors import SHA256_SUITES, hex_bytes, load


def by_suite(entry: dict[str, Any]) -> str:
    return f"suite={entry['cipher_suite']}"


@pytest.mark.parametrize("entry", load("key-schedule", SHA256_SUITES), ids=by_suite)
def test_official_vectors_of_the_key_schedule(entry: dict[str, Any]) -> None:
    init_secret = hex_bytes(entry["initial_init_secret"])
    for number, epoch in enumerate(entry["epochs"]):
        context = GroupContext(
            cipher_suite=entry["cipher_suite"],
            group_id=hex_bytes(entry["group_id"]),
            epoch=number,
            tree_hash=hex_bytes(epoch["tree_hash"]),
            confirmed_transcript_hash=hex_bytes(epoch["confirmed_transcript_hash"]),
        )
        assert context.encode() == hex_bytes(epoch["group_context"])
        assert decode(context.encode(), GroupContext.read) == context

        joiner = joiner_secret(init_secret, hex_bytes(epoch["commit_secret"]), context.encode())
        secrets, encryption_secret = JoinerSecrets.derive(joiner, hex_bytes(epoch["psk_secret"])).epoch_secrets(
            context.encode()
        )

        assert joiner == hex_bytes(epoch["joiner_secret"])
        assert encryption_secret == hex_bytes(epoch["encryption_secret"])
        for name in EpochSecrets.__struct_fields__:
            assert getattr(secrets, name) == hex_bytes(epoch[name]), name
        assert secrets.external_key_pair().public == hex_bytes(epoch["external_pub"])
        exporter = epoch["exporter"]
        assert secrets.export(exporter["label"], hex_bytes(exporter["context"]), exporter["length"]) == hex_bytes(
            exporter["secret"]
        )
        init_secret = secrets.init_secret


@pytest.mark.parametrize("entry", load("psk_secret", SHA256_SUITES), ids=by_suite)
def test_official_vectors_of_pre_shared_keys(entry: dict[str, Any]) -> None:
    psks = [
        (
            PreSharedKeyID(
                psk_type=PSKType.EXTERNAL, psk_id=hex_bytes(psk["psk_id"]), psk_nonce=hex_bytes(psk["psk_nonce"])
            ),
            hex_bytes(psk["psk"]),
        )
        for psk in entry["psks"]
    ]

    assert psk_secret(psks) == hex_bytes(entry["psk_secret"])


@pytest.mark.parametrize("entry", load("transcript-hashes", SHA256_SUITES), ids=by_suite)
def test_official_vectors_of_transcript_hashes(entry: dict[str, Any]) -> None:
    message = decode(hex_bytes(entry["authenticated_content"]), AuthenticatedContent.read)
    tag = message.auth.confirmation_tag
    assert tag is not None

    confirmed = confirmed_transcript_hash(
        hex_bytes(entry["interim_transcript_hash_before"]), message.confirmed_transcript_input()
    )

    assert message.encode() == hex_bytes(entry["authenticated_content"])
    assert confirmed == hex_bytes(entry["confirmed_transcript_hash_after"])
    assert interim_transcript_hash(confirmed, tag) == hex_bytes(entry["interim_transcript_hash_after"])
    secrets = EpochSecrets(
        confirmation_key=hex_bytes(entry["confirmation_key"]),
        **{name: b"" for name in EpochSecrets.__struct_fields__ if name != "confirmation_key"},
    )
    assert macs_equal(secrets.confirmation_tag(confirmed), tag)


def test_no_pre_shared_keys_contribute_zero() -> None:
    assert psk_secret([]) == ZERO


@pytest.mark.parametrize(
    "name",
    [
        PreSharedKeyID(psk_type=PSKType.EXTERNAL, psk_id=b"id", psk_nonce=bytes(32)),
        PreSharedKeyID(
            psk_type=PSKType.RESUMPTION, usage=ResumptionUsage.BRANCH, psk_group_id=b"g", psk_epoch=7, psk_nonce=b"n"
        ),
    ],
)
def test_names_of_pre_shared_keys_come_back(name: PreSharedKeyID) -> None:
    assert decode(name.encode(), PreSharedKeyID.read) == name


@pytest.mark.parametrize("encoded", ["0000", "0300", "02000000", "0204000000"])
def test_unknown_kinds_of_pre_shared_keys_are_refused(encoded: str) -> None:
    with pytest.raises(DecodeError):
        PreSharedKeyID.read(Reader(bytes.fromhex(encoded)))


@pytest.mark.parametrize("length", [0, -1, EXPORT_BYTES_MAX + 1])
def test_exports_are_bounded(length: int) -> None:
    secrets, _ = EpochSecrets.derive(bytes(32))

    assert len(secrets.export("label", b"", EXPORT_BYTES_MAX)) == EXPORT_BYTES_MAX
    with pytest.raises(InvalidArgument):
        secrets.export("label", b"", length)


def test_exports_differ_by_label_and_context() -> None:
    secrets, _ = EpochSecrets.derive(bytes(32))

    assert len({secrets.export(label, context, 32) for label in "ab" for context in (b"", b"c")}) == 4


def test_a_context_of_another_version_is_refused() -> None:
    with pytest.raises(Unsupported):
        GroupContext.read(Reader(b"\x00\x02\x00\x03"))
