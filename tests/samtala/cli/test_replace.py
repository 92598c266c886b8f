from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.samtala.cli.servers import Community, open_community


@pytest.fixture(scope="module")
def community(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Community]:
    with open_community(tmp_path_factory.mktemp("replace")) as running:
        yield running


def test_only_rooms_of_ours_are_touched_and_none_gets_fewer_servers(community: Community) -> None:
    made = community.samtala("room", "create", "lobby", "--node", community.addresses[0])
    assert community.samtala("join", made.out.strip(), "--name", "bob", person="bob").code == 0

    fewer = community.samtala("node", "replace", "c", "--with", "b", "--json")
    elsewhere = community.samtala("node", "replace", "x", "--with", "b", "--json")
    others = community.samtala("node", "replace", "c", "--with", "b", person="bob")

    assert fewer.code == 5
    assert fewer.objects[0]["state"] == "failed"
    assert "survive less" in str(fewer.objects[0]["failure"])
    assert (elsewhere.code, elsewhere.objects[0]["state"]) == (0, "not there")
    assert (others.code, others.out) == (0, "")
    assert "Nothing is changed" in others.err
