from __future__ import annotations

from typing import Any

import nacl.exceptions
import pytest
from nacl import bindings

from mls import crypto
from mls.crypto import HPKECiphertext, KeyPair, SignatureKey
from mls.errors import DecryptionFailed, InvalidArgument, InvalidLeafNode, InvalidSignature
from tests.mls.builders import seeded
from tests.mls.vectors import OUR_SUITE, SHA256_SUITES, hex_bytes, load

BASICS = load("crypto-basics", SHA256_SUITES)


@pytest.mark.parametrize("entry", BASICS, ids=lambda entry: f"suite={entry['cipher_suite']}")
def test_official_vectors_of_hashes_and_derivations(entry: dict[str, Any]) -> None:
    ref, expand = entry["ref_hash"], entry["expand_with_label"]
    derive, tree = entry["derive_secret"], entry["derive_tree_secret"]

    assert crypto.ref_hash(ref["label"].encode(), hex_bytes(ref["value"])) == hex_bytes(ref["out"])
    assert crypto.expand_with_label(
        hex_bytes(expand["secret"]), expand["label"], hex_bytes(expand["context"]), expand["length"]
    ) == hex_bytes(expand["out"])
    assert crypto.derive_secret(hex_bytes(derive["secret"]), derive["label"]) == hex_bytes(derive["out"])
    assert crypto.derive_tree_secret(
        hex_bytes(tree["secret"]), tree["label"], tree["generation"], tree["length"]
    ) == hex_bytes(tree["out"])


@pytest.mark.parametrize("entry", BASICS, ids=lambda entry: f"suite={entry['cipher_suite']}")
def test_official_vectors_of_signatures(entry: dict[str, Any]) -> None:
    vector = entry["sign_with_label"]
    key = SignatureKey.from_private(hex_bytes(vector["priv"]))
    content, signature = hex_bytes(vector["content"]), hex_bytes(vector["signature"])

    assert key.public == hex_bytes(vector["pub"])
    crypto.verify_with_label(key.public, vector["label"], content, signature)
    assert crypto.sign_with_label(key, vector["label"], content) == signature


@pytest.mark.parametrize("entry", load("crypto-basics", OUR_SUITE))
def test_official_vectors_of_encryption(entry: dict[str, Any]) -> None:
    vector = entry["encrypt_with_label"]
    pair = KeyPair(private=hex_bytes(vector["priv"]), public=hex_bytes(vector["pub"]))
    context = crypto.encryption_context(vector["label"], hex_bytes(vector["context"]))
    plaintext = hex_bytes(vector["plaintext"])
    sealed = HPKECiphertext(kem_output=hex_bytes(vector["kem_output"]), ciphertext=hex_bytes(vector["ciphertext"]))

    assert crypto.public_key_of(pair.private) == pair.public
    assert crypto.hpke_open(pair, context, sealed) == plaintext
    assert crypto.hpke_open(pair, context, crypto.hpke_seal(pair.public, context, plaintext, seeded(1))) == plaintext


def test_long_derivations_continue_short_ones() -> None:
    long = crypto.expand_with_label(bytes(32), "x", b"", 8_160)

    assert len(long) == 8_160
    assert long[:32] != crypto.expand_with_label(bytes(32), "x", b"", 32), "the length is part of the label"


@pytest.mark.parametrize("at", [0, 31, 32, 63])
def test_a_changed_signature_is_refused(at: int) -> None:
    key = SignatureKey.generate(seeded(1))
    signature = bytearray(crypto.sign_with_label(key, "label", b"content"))
    signature[at] ^= 1

    with pytest.raises(InvalidSignature):
        crypto.verify_with_label(key.public, "label", b"content", bytes(signature))


def test_signatures_are_bound_to_label_key_and_content() -> None:
    key, other = SignatureKey.generate(seeded(1)), SignatureKey.generate(seeded(2))
    signature = crypto.sign_with_label(key, "label", b"content")

    for public, label, content in (
        (other.public, "label", b"content"),
        (key.public, "lapel", b"content"),
        (key.public, "label", b"contend"),
    ):
        with pytest.raises(InvalidSignature):
            crypto.verify_with_label(public, label, content, signature)


def test_keys_and_signatures_of_wrong_sizes_never_reach_libsodium() -> None:
    key = SignatureKey.generate(seeded(1))
    signature = crypto.sign_with_label(key, "label", b"content")

    for public, tag in (
        (key.public[:31], signature),
        (key.public, signature[:63]),
        (b"", b""),
        (key.public + b"x", signature),
    ):
        with pytest.raises(InvalidSignature):
            crypto.verify_with_label(public, "label", b"content", tag)
    with pytest.raises(DecryptionFailed):
        crypto.hpke_open(crypto.generate_key_pair(seeded(1)), b"", HPKECiphertext(kem_output=b"short", ciphertext=b""))
    with pytest.raises(InvalidArgument):
        SignatureKey.from_private(b"short")
    with pytest.raises(InvalidArgument):
        crypto.public_key_of(b"short")


@pytest.mark.parametrize("point", sorted(crypto._LOW_ORDER_POINTS))
def test_low_order_points_are_refused_as_libsodium_would(point: bytes) -> None:
    with pytest.raises(nacl.exceptions.CryptoError):
        bindings.crypto_scalarmult(b"\x01" * 32, point)
    for key in (point, point[:31] + bytes([point[31] | 0x80])):
        with pytest.raises(InvalidLeafNode):
            crypto.check_public_key(key)


def test_ordinary_public_keys_are_accepted() -> None:
    for seed in range(20):
        crypto.check_public_key(crypto.generate_key_pair(seeded(seed)).public)
    with pytest.raises(InvalidLeafNode):
        crypto.check_public_key(bytes(31))


def test_a_ciphertext_opens_only_under_its_context_and_key() -> None:
    pair, other = crypto.generate_key_pair(seeded(1)), crypto.generate_key_pair(seeded(2))
    context = crypto.encryption_context("label", b"context")
    sealed = crypto.hpke_seal(pair.public, context, b"secret", seeded(3))

    for receiver, used in ((other, context), (pair, crypto.encryption_context("label", b"other"))):
        with pytest.raises(DecryptionFailed):
            crypto.hpke_open(receiver, used, sealed)


def test_both_ends_export_the_same_secret() -> None:
    pair = crypto.generate_key_pair(seeded(1))

    kem_output, secret = crypto.hpke_export_sender(pair.public, b"label", seeded(2))

    assert crypto.hpke_export_receiver(pair, b"label", kem_output) == secret
    assert crypto.hpke_export_receiver(pair, b"lapel", kem_output) != secret


def test_entropy_of_a_wrong_length_is_our_own_fault() -> None:
    with pytest.raises(InvalidArgument):
        SignatureKey.generate(lambda size: bytes(size - 1))
