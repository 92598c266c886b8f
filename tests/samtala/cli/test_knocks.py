from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.samtala.cli.servers import Community, open_community


@pytest.fixture(scope="module")
def community(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Community]:
    with open_community(tmp_path_factory.mktemp("knocks")) as running:
        yield running


def test_people_knock_and_the_owner_opens_to_whom_they_like(community: Community) -> None:
    made = community.samtala("room", "create", "club", "--approval", "--node", community.addresses[0])
    assert "can knock" in made.err
    link = made.out.strip()
    for person in ("bob", "eve"):
        waiting = community.samtala("join", link, "--name", person, "--timeout", "1.5", person=person)
        assert waiting.code == 5, waiting.err
        assert "you knocked" in waiting.err

    assert "2 knocked and wait" in community.samtala("room", "info", "club").out
    [listed] = community.samtala("room", "knocks", "club", "--json").objects
    assert [knock["name"] for knock in listed["waiting"]] == ["bob", "eve"]  # type: ignore[attr-defined]  # JSON
    assert community.samtala("room", "approve", "club", "nobody").code != 0
    assert community.samtala("room", "deny", "club", "eve").code == 0
    approved = community.samtala("room", "approve", "club", "bob")

    assert approved.code == 0, approved.err
    assert community.samtala("room", "knocks", "club").out == ""
    assert community.samtala("join", link, "--timeout", "15", person="bob").code == 0
    assert community.samtala("send", "club", "thanks", person="bob").code == 0
    assert community.samtala("room", "approve", "club", "eve", person="bob").code != 0
    assert community.samtala("join", link, "--timeout", "1.5", person="eve").code == 5
    assert community.samtala("room", "knocks", "club").out == ""
