from __future__ import annotations

from typing import Any

import pytest

from mls.codec import decode
from mls.crypto import CIPHER_SUITE, ZERO, KeyPair, generate_key_pair, macs_equal
from mls.errors import DecryptionFailed, InvalidSignature, NotForUs, Unsupported
from mls.framing import open_envelope
from mls.key_packages import key_package_reference
from mls.key_schedule import GroupContext, JoinerSecrets
from mls.proposals import KeyPackage
from mls.welcome import GroupInfo, GroupSecrets, Welcome, seal_welcome, sign_group_info
from tests.mls.builders import key_of, seeded
from tests.mls.vectors import OUR_SUITE, hex_bytes, load


@pytest.mark.parametrize("entry", load("welcome", OUR_SUITE))
def test_official_vectors(entry: dict[str, Any]) -> None:
    key_package = decode(open_envelope(hex_bytes(entry["key_package"]))[1], KeyPackage.read)
    welcome = decode(open_envelope(hex_bytes(entry["welcome"]))[1], Welcome.read)
    init_key = KeyPair(private=hex_bytes(entry["init_priv"]), public=key_package.init_key)

    secrets = welcome.group_secrets(key_package_reference(key_package), init_key)
    joiner = JoinerSecrets.derive(secrets.joiner_secret, ZERO)
    info = welcome.group_info(joiner)

    info.verify(hex_bytes(entry["signer_pub"]))
    epoch_secrets, _ = joiner.epoch_secrets(info.context.encode())
    tag = epoch_secrets.confirmation_tag(info.context.confirmed_transcript_hash)
    assert macs_equal(tag, info.confirmation_tag)


CONTEXT = GroupContext(group_id=b"g", epoch=1, tree_hash=bytes(32), confirmed_transcript_hash=bytes(32))


def info_of() -> GroupInfo:
    return sign_group_info(key_of("alice"), CONTEXT, extensions=(), confirmation_tag=bytes(32), signer=0)


def test_a_group_info_is_signed() -> None:
    info = info_of()

    assert decode(info.encode(), GroupInfo.read) == info
    info.verify(key_of("alice").public)
    with pytest.raises(InvalidSignature):
        info.verify(key_of("bob").public)


def test_a_group_info_without_extensions_offers_neither_tree_nor_key() -> None:
    assert info_of().tree() is None
    assert info_of().external_public_key() is None


def test_a_welcome_opens_for_each_newcomer_and_nobody_else() -> None:
    pairs = [generate_key_pair(seeded(number)) for number in range(3)]
    joiner = JoinerSecrets.derive(b"joiner", ZERO)
    secrets = [GroupSecrets(joiner_secret=b"joiner", path_secret=path) for path in (b"one", None, b"three")]
    newcomers = [(bytes([at]), pairs[at].public, secrets[at]) for at in range(3)]

    welcome = seal_welcome(info_of(), joiner, newcomers, seeded("welcome"))

    assert decode(welcome.encode(), Welcome.read) == welcome
    assert [welcome.group_secrets(bytes([at]), pairs[at]) for at in range(3)] == secrets
    assert welcome.group_info(joiner) == info_of()
    with pytest.raises(NotForUs):
        welcome.group_secrets(b"other", pairs[0])
    with pytest.raises(DecryptionFailed):
        welcome.group_secrets(b"\x00", pairs[1])
    with pytest.raises(DecryptionFailed):
        welcome.group_info(JoinerSecrets.derive(b"other", ZERO))


def test_a_welcome_of_another_suite_is_refused() -> None:
    welcome = Welcome(cipher_suite=CIPHER_SUITE + 1, secrets=(), encrypted_group_info=b"")

    with pytest.raises(Unsupported):
        welcome.group_secrets(b"", generate_key_pair(seeded(1)))
