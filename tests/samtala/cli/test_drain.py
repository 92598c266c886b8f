from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.samtala.cli.servers import Community, open_community


@pytest.fixture(scope="module")
def community(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Community]:
    with open_community(tmp_path_factory.mktemp("drain")) as running:
        yield running


def config_of(community: Community, name: str) -> str:
    return str(community.folder / name / "node.toml")


def test_a_server_is_drained_and_comes_back_while_people_write(community: Community) -> None:
    made = community.samtala("room", "create", "lobby", "--node", community.addresses[0])
    assert made.code == 0, made.err
    for name in "abc":
        config = config_of(community, name)
        assert community.samtala("node", "health", "--config", config).out == f"{name} is ready\n"
        [drained] = community.samtala("node", "drain", "--config", config, "--json").objects
        assert drained == {"draining": True, "led": 0}
        sick = community.samtala("node", "health", "--config", config)
        assert (sick.code, sick.out) == (1, f"{name} is draining\n")
        assert community.samtala("send", "lobby", f"while {name} is drained").code == 0
        [back] = community.samtala("node", "drain", "--undo", "--config", config, "--json").objects
        assert back["draining"] is False
        assert community.samtala("node", "health", "--config", config).code == 0


def test_it_is_refused_where_rooms_would_stand_still(community: Community) -> None:
    config = config_of(community, "a")
    community.kill(2)
    try:
        while community.samtala("status", "--config", config, "--json").objects[0]["rooms"]["margin"]:  # type: ignore[index]  # JSON
            continue  # Until the others have missed it.
        refused = community.samtala("node", "drain", "--config", config)
        assert refused.code == 7
        assert "would stand still" in refused.err
        assert community.samtala("node", "drain", "--force", "--config", config).code == 0
        assert community.samtala("node", "drain", "--undo", "--config", config).code == 0
    finally:
        community.restart(2)


def test_a_server_that_does_not_run_is_told(tmp_path: Path, community: Community) -> None:
    for command in ("drain", "health"):
        done = community.samtala("node", command, "--socket", str(tmp_path / "none.sock"))
        assert done.code == 5
        assert "no node answers" in done.err
