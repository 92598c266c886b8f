from __future__ import annotations

import os
import ssl
from pathlib import Path

import nacl.signing
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.errors import AddressError, HandshakeError, KeyFileError
from wire.identity import (
    NodeIdentity,
    ServerAddress,
    format_node_address,
    key_from_certificate,
    key_text,
    parse_key_text,
    parse_node_address,
)
from wire.ids import NodeKey

SEED = bytes(range(32))
KEYS = st.binary(min_size=32, max_size=32).map(NodeKey)


def test_certificate_is_a_function_of_the_key() -> None:
    assert NodeIdentity(SEED).certificate_der == NodeIdentity(SEED).certificate_der


def test_certificates_of_two_keys_can_be_held_by_one_store() -> None:
    """Both were traps: equal subjects hide each other in OpenSSL's store, a new serial is a new certificate."""
    identities = [NodeIdentity(bytes([number]) * 32) for number in (1, 2)]
    store = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    store.load_verify_locations(cadata=b"".join(identity.certificate_der for identity in identities))

    assert store.cert_store_stats()["x509"] == 2
    for identity in identities:
        assert identity.certificate_der.count(key_text(identity.public).encode()) == 2, "subject and issuer"


def test_certificate_is_signed_by_its_own_key() -> None:
    identity = NodeIdentity(SEED)
    certificate = identity.certificate_der
    algorithm_and_signature_bytes = 7 + 3 + 64

    signed, signature = certificate[4:-algorithm_and_signature_bytes], certificate[-64:]

    assert nacl.signing.VerifyKey(identity.public).verify(signed, signature) == signed


@given(seed=st.binary(min_size=32, max_size=32))
def test_key_comes_back_out_of_the_certificate(seed: bytes) -> None:
    identity = NodeIdentity(seed)

    assert key_from_certificate(identity.certificate_der) == identity.public


@given(at=st.integers(0, 400), size=st.integers(0, 400), junk=st.binary(max_size=8))
def test_mutated_certificates_only_ever_raise_handshake_error(at: int, size: int, junk: bytes) -> None:
    certificate = NodeIdentity(SEED).certificate_der
    mutated = certificate[: at % len(certificate)] + junk + certificate[at % len(certificate) + size :]

    try:
        key = key_from_certificate(mutated)
    except HandshakeError:
        return
    assert len(key) == 32


@given(data=st.binary(max_size=200))
def test_garbage_is_no_certificate(data: bytes) -> None:
    with pytest.raises(HandshakeError):
        key_from_certificate(data)


def test_other_kinds_of_keys_are_refused() -> None:
    certificate = NodeIdentity(SEED).certificate_der
    x25519 = certificate.replace(bytes.fromhex("302a300506032b6570"), bytes.fromhex("302a300506032b656e"))

    with pytest.raises(HandshakeError, match="Ed25519"):
        key_from_certificate(x25519)


def test_entropy_decides_the_identity() -> None:
    assert NodeIdentity.generate(lambda size: b"e" * size).public == NodeIdentity(b"e" * 32).public
    assert NodeIdentity.generate().public != NodeIdentity.generate().public


def test_repr_shows_no_secret() -> None:
    identity = NodeIdentity(SEED)

    assert repr(identity) == f"NodeIdentity({key_text(identity.public)})"


def test_signatures_hold_under_the_public_key() -> None:
    identity = NodeIdentity(SEED)

    assert nacl.signing.VerifyKey(identity.public).verify(b"message", identity.sign(b"message")) == b"message"


def test_private_key_pem_is_what_tls_takes(tmp_path: Path) -> None:
    identity = NodeIdentity(SEED)
    file = tmp_path / "both.pem"
    file.write_text(identity.certificate_pem + identity.private_key_pem)

    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(file)


def test_saved_key_is_loaded_and_private(tmp_path: Path) -> None:
    path = tmp_path / "node.key"

    NodeIdentity(SEED).save(path)

    assert path.stat().st_mode & 0o777 == 0o600
    assert NodeIdentity.load(path).public == NodeIdentity(SEED).public


def test_saved_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "node.key"
    NodeIdentity(SEED).save(path)

    with pytest.raises(KeyFileError, match="exists"):
        NodeIdentity.generate().save(path)

    assert NodeIdentity.load(path).public == NodeIdentity(SEED).public


def test_key_in_a_folder_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="cannot write"):
        NodeIdentity(SEED).save(tmp_path / "nowhere" / "node.key")
    with pytest.raises(KeyFileError, match="cannot read"):
        NodeIdentity.load(tmp_path / "nowhere" / "node.key")


def test_key_that_everybody_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "node.key"
    NodeIdentity(SEED).save(path)
    os.chmod(path, 0o644)

    with pytest.raises(KeyFileError, match="chmod 600"):
        NodeIdentity.load(path)


@pytest.mark.parametrize("content", ["", "samtala-node-key-v1 ", "samtala-node-key-v1 abc\n", "x" * 10_000, "\xff\xfe"])
def test_file_that_is_no_key_is_refused_without_showing_it(tmp_path: Path, content: str) -> None:
    path = tmp_path / "node.key"
    path.write_text(content, encoding="latin-1")
    path.chmod(0o600)

    with pytest.raises(KeyFileError, match="is not a node key") as caught:
        NodeIdentity.load(path)

    assert "abc" not in str(caught.value)


def test_every_cut_of_a_key_file_is_refused(tmp_path: Path) -> None:
    NodeIdentity(SEED).save(tmp_path / "whole")
    whole = (tmp_path / "whole").read_bytes()
    cut = tmp_path / "cut"
    for size in range(len(whole) - 1):
        cut.write_bytes(whole[:size])
        cut.chmod(0o600)

        with pytest.raises(KeyFileError):
            NodeIdentity.load(cut)


@given(key=KEYS)
def test_key_text_comes_back(key: NodeKey) -> None:
    assert parse_key_text(key_text(key)) == key == parse_key_text(key_text(key).upper())


@given(key=KEYS, host=st.sampled_from(["localhost", "node-a.example.org", "10.0.0.1", "::1", "fe80::1:2"]))
def test_address_comes_back(key: NodeKey, host: str) -> None:
    text = format_node_address(host, 7610, key)

    assert parse_node_address(text) == ServerAddress(host, 7610, key)
    assert str(parse_node_address(text)) == text


GOOD_KEY = key_text(NodeKey(b"k" * 32))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("localhost:7610", "no key"),
        (f"localhost#{GOOD_KEY}", "no host"),
        (f":7610#{GOOD_KEY}", "no host"),
        (f"localhost:#{GOOD_KEY}", "no port"),
        (f"localhost:0#{GOOD_KEY}", "no port"),
        (f"localhost:65536#{GOOD_KEY}", "no port"),
        (f"localhost:7\N{FULLWIDTH DIGIT SIX}10#{GOOD_KEY}", "no port"),
        (f"::1:7610#{GOOD_KEY}", "brackets"),
        (f"a b:7610#{GOOD_KEY}", "no host"),
        (f"{'a' * 254}:7610#{GOOD_KEY}", "no host"),
        ("localhost:7610#", "not a server key"),
        (f"localhost:7610#{GOOD_KEY[:-1]}", "not a server key"),
        (f"localhost:7610#{GOOD_KEY}a", "not a server key"),
        (f"localhost:7610#{GOOD_KEY[:-1]}b", "not a server key"),
        (f"localhost:7610#{'1' * 52}", "not a server key"),
        (f"localhost:7610#{GOOD_KEY}é", "not a server key"),
    ],
)
def test_wrong_address_says_which_part(text: str, reason: str) -> None:
    with pytest.raises(AddressError, match=reason):
        parse_node_address(text)


@given(text=st.text(max_size=80))
def test_any_text_is_an_address_or_an_address_error(text: str) -> None:
    try:
        parse_node_address(text)
    except AddressError:
        return
    raise AssertionError("hypothesis found a key by chance")
