from __future__ import annotations

from typing import Any

import pytest

from tests.mls.builders import NOW
from tests.mls.test_joining import passive_client
from tests.mls.vectors import OUR_SUITE, hex_bytes, load


@pytest.mark.parametrize("entry", load("passive-client-handling-commit", OUR_SUITE))
def test_official_vectors_of_commits(entry: dict[str, Any]) -> None:
    group = passive_client(entry)
    psks = {hex_bytes(psk["psk_id"]): hex_bytes(psk["psk"]) for psk in entry["external_psks"]}

    assert group.epoch_authenticator == hex_bytes(entry["initial_epoch_authenticator"])
    for epoch in entry["epochs"]:
        for proposal in epoch["proposals"]:
            group.process_proposal(hex_bytes(proposal))
        group = group.process_commit(hex_bytes(epoch["commit"]), NOW, psks=psks).merge()
        assert group.epoch_authenticator == hex_bytes(epoch["epoch_authenticator"])
