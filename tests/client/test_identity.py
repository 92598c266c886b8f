from __future__ import annotations

import msgspec
import pytest

from client.identity import (
    Credential,
    Identity,
    clean_name,
    key_fingerprint,
    may_replace,
    person_of,
    safety_number,
)
from mls import Member
from tests.client.builders import NOW_S, entropy_of, identity_of
from wire.errors import DecodeError


def member_of(identity: Identity, *, credential: bytes | None = None, leaf: int = 0) -> Member:
    return Member(
        leaf_index=leaf,
        identity=identity.credential() if credential is None else credential,
        signature_public_key=identity.signature_key.public,
    )


def test_a_true_credential_gives_a_verified_person() -> None:
    alice = identity_of("alice")

    person = person_of(member_of(alice), NOW_S)

    assert person.is_verified
    assert (person.name, person.device_label, person.user_key) == ("alice", "laptop", alice.user_key)


def test_an_expired_certificate_is_not_verified() -> None:
    alice = identity_of("alice")

    assert not person_of(member_of(alice), alice.certificate.expires_s + 1).is_verified


def test_a_certificate_of_another_device_is_not_verified_and_lends_no_user_key() -> None:
    alice, mallory = identity_of("alice"), identity_of("mallory")

    person = person_of(member_of(mallory, credential=alice.credential()), NOW_S)

    assert not person.is_verified
    assert person.user_key == mallory.signature_key.public


def test_a_certificate_signed_by_somebody_else_is_not_verified() -> None:
    alice, mallory = identity_of("alice"), identity_of("mallory")
    stolen = Credential(1, alice.user_key, "alice", mallory.certificate)

    person = person_of(member_of(mallory, credential=msgspec.msgpack.encode(stolen)), NOW_S)

    assert not person.is_verified


@pytest.mark.parametrize("label", ["desk", "laptop2", ""])
def test_changed_labels_break_the_certificate(label: str) -> None:
    alice = identity_of("alice")
    certificate = msgspec.structs.replace(alice.certificate, label=label)
    credential = Credential(1, alice.user_key, "alice", certificate)

    assert not person_of(member_of(alice, credential=msgspec.msgpack.encode(credential)), NOW_S).is_verified


@pytest.mark.parametrize("garbage", [b"", b"\xff", b"alice", msgspec.msgpack.encode([1, b"", "x", None])])
def test_garbage_for_a_credential_is_nobody(garbage: bytes) -> None:
    person = person_of(member_of(identity_of("alice"), credential=garbage), NOW_S)

    assert (person.name, person.is_verified) == ("?", False)


@pytest.mark.parametrize("expires_s", [-1, 1 << 63])
def test_certificates_with_impossible_dates_are_not_verified(expires_s: int) -> None:
    alice = identity_of("alice")
    certificate = msgspec.structs.replace(alice.certificate, expires_s=expires_s)
    credential = msgspec.msgpack.encode(Credential(1, alice.user_key, "alice", certificate))

    assert not person_of(member_of(alice, credential=credential), NOW_S).is_verified


def test_another_device_of_the_same_person_may_take_a_leaf() -> None:
    alice = identity_of("alice")
    phone = Identity.for_user(alice.user_seed, name="alice", label="phone", entropy=entropy_of("phone"), now_s=NOW_S)

    assert may_replace(member_of(alice), member_of(phone))
    assert may_replace(member_of(alice), member_of(alice))


def test_another_person_of_the_same_name_may_not() -> None:
    alice = identity_of("alice")
    other = Identity.generate(name="alice", label="laptop", entropy=entropy_of("other"), now_s=NOW_S)

    assert not may_replace(member_of(alice), member_of(other))


def test_a_stolen_credential_may_not_replace_its_owner() -> None:
    alice, mallory = identity_of("alice"), identity_of("mallory")

    assert not may_replace(member_of(alice), member_of(mallory, credential=alice.credential()))


def test_identities_survive_storing() -> None:
    alice = identity_of("alice")

    assert Identity.from_bytes(alice.to_bytes()) == alice


def test_garbage_is_no_stored_identity() -> None:
    with pytest.raises(DecodeError):
        Identity.from_bytes(b"garbage")


def test_renaming_keeps_the_keys() -> None:
    alice = identity_of("alice").renamed("Alice of Malmö")

    assert person_of(member_of(alice), NOW_S).is_verified
    assert person_of(member_of(alice), NOW_S).name == "Alice of Malmö"


def test_safety_numbers_are_equal_for_both_and_different_for_others() -> None:
    alice, bob, mallory = (identity_of(name).user_key for name in ("alice", "bob", "mallory"))

    number = safety_number(alice, bob)

    assert number == safety_number(bob, alice)
    assert len(number) == 60
    assert number.isdigit()
    assert number != safety_number(alice, mallory)


def test_fingerprints_tell_keys_apart() -> None:
    assert key_fingerprint(b"a" * 32) != key_fingerprint(b"b" * 32)
    assert len(key_fingerprint(b"a" * 32)) == 8


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("bob", "bob"),
        (" bob ", "bob"),
        ("bo\x1b[31mb", "bo[31mb"),
        ("\u202ebob", "bob"),
        ("", "?"),
        ("\n\n", "?"),
        ("x" * 99, "x" * 64),
    ],
)
def test_names_are_safe_to_print(raw: str, shown: str) -> None:
    assert clean_name(raw) == shown
