from __future__ import annotations

from typing import Any

import pytest

from mls import Group, KeyPackageBundle, SignatureKey
from tests.mls.builders import NOW
from tests.mls.vectors import OUR_SUITE, hex_bytes, load


def passive_client(entry: dict[str, Any]) -> Group:
    """The member that a passive-client vector describes, just joined."""
    bundle = KeyPackageBundle(
        key_package_bytes=hex_bytes(entry["key_package"]),
        init_private_key=hex_bytes(entry["init_priv"]),
        encryption_private_key=hex_bytes(entry["encryption_priv"]),
    )
    return Group.join(
        hex_bytes(entry["welcome"]),
        bundle,
        SignatureKey.from_private(hex_bytes(entry["signature_priv"])),
        NOW,
        ratchet_tree=None if entry["ratchet_tree"] is None else hex_bytes(entry["ratchet_tree"]),
        psks={hex_bytes(psk["psk_id"]): hex_bytes(psk["psk"]) for psk in entry["external_psks"]},
    )


@pytest.mark.parametrize("entry", load("passive-client-welcome", OUR_SUITE))
def test_official_vectors_of_welcomes(entry: dict[str, Any]) -> None:
    group = passive_client(entry)

    assert group.epoch_authenticator == hex_bytes(entry["initial_epoch_authenticator"])
