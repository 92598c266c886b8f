from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.samtala.cli.servers import Community, open_community


@pytest.fixture(scope="module")
def community(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Community]:
    with open_community(tmp_path_factory.mktemp("verify")) as running:
        yield running


def test_each_server_is_asked_and_told_of(community: Community) -> None:
    made = community.samtala("room", "create", "lobby", "--node", community.addresses[0])
    assert made.code == 0, made.err
    assert community.samtala("send", "lobby", "hej").code == 0

    shallow = community.samtala("room", "verify", "lobby", "--json")
    deep = community.samtala("room", "verify", "lobby", "--deep")

    assert [one["agreement"] for one in shallow.objects] == ["same"] * 3
    assert deep.code == 0
    assert deep.out.count("the same history through 1") == 3
    assert "3 of 3 servers" in deep.err
    assert community.samtala("room", "verify", "nowhere").code == 3
