from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.samtala.cli.servers import Community, open_community


@pytest.fixture(scope="module")
def community(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Community]:
    with open_community(tmp_path_factory.mktemp("history")) as running:
        yield running


def test_the_owner_says_what_newcomers_may_read(community: Community) -> None:
    made = community.samtala("room", "create", "annals", "--history", "30", "--node", community.addresses[0])
    assert "last 30 days" in made.err
    link = made.out.strip()
    assert community.samtala("room", "history", "annals").out == "30 days\n"

    joined = community.samtala("join", link, "--name", "bob", person="bob")

    assert "once somebody is there" in joined.err
    assert community.samtala("room", "history", "annals", "full", person="bob").code == 4
    assert community.samtala("room", "history", "annals", "sometimes").code == 2
    assert community.samtala("room", "create", "x", "--history", "-3", "--node", community.addresses[0]).code == 2
    [changed] = community.samtala("room", "history", "annals", "none", "--json").objects
    assert (changed["history"], changed["days"]) == ("none", 0)
    assert "history for newcomers: none" in community.samtala("room", "info", "annals", person="bob").out
