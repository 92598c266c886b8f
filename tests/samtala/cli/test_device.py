from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest

from tests.samtala.cli.servers import Community, open_community


@pytest.fixture(scope="module")
def community(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Community]:
    with open_community(tmp_path_factory.mktemp("devices")) as running:
        yield running


def test_lost_device_is_shut_out_although_it_keeps_everything(community: Community) -> None:
    made = community.samtala("room", "create", "lobby", "--node", community.addresses[0], "--my-name", "alice")
    assert made.code == 0, made.err
    code = community.samtala("recovery", "create").out.strip()
    restored = community.samtala("recovery", "restore", "--code", code, person="phone")
    assert (restored.code, restored.out) == (0, "lobby\n"), restored.err
    assert community.samtala("send", "lobby", "from the phone", person="phone").code == 0

    [here, phone] = community.samtala("device", "list", "--json").objects
    assert (here["me"], phone["me"]) == (True, False)
    revoked = community.samtala("device", "revoke", str(phone["device"]), "--json")

    assert revoked.code == 0, revoked.err
    assert [entry["device"] for entry in revoked.objects] == [phone["device"]]
    assert community.samtala("send", "lobby", "after", "--timeout", "10").code == 0
    refused = community.samtala("send", "lobby", "still me?", person="phone")
    assert refused.code == 4, refused.err
    heard = community.samtala("tail", "lobby", "--since", "0", "--no-follow", "--timeout", "3", person="phone").out
    assert "from the phone" in heard
    assert "after" not in heard
    assert len(community.samtala("device", "list", "--json").objects) == 1


@pytest.mark.parametrize("answer", ["y", "n"])
def test_another_device_is_linked_by_a_code_if_the_words_are_the_same(community: Community, answer: str) -> None:
    room, owner, laptop = f"home-{answer}", f"owner-{answer}", f"laptop-{answer}"
    made = community.samtala("room", "create", room, "--node", community.addresses[0], person=owner)
    assert made.code == 0, made.err

    with subprocess.Popen(
        community.command("device", "link", "--json", person=owner),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as linking:  # fmt: skip
        assert linking.stdin is not None
        assert linking.stdout is not None
        code = json.loads(linking.stdout.readline())["code"]
        linking.stdin.write(f"{answer}\n")
        linking.stdin.flush()
        joined = community.samtala("device", "join", code, "--json", person=laptop)
        shown = json.loads(linking.stdout.readline())

    assert joined.objects[0]["words"] == shown["words"]
    if answer == "n":
        assert (linking.returncode, joined.code) == (4, 4)
        assert len(community.samtala("device", "list", "--json", person=owner).objects) == 1
        return
    assert (linking.returncode, joined.code) == (0, 0), joined.err
    assert joined.objects[1] == {"room": room, "joined": True, "failure": "", "said": 0}
    assert community.samtala("send", room, "from the laptop", person=laptop).code == 0
    assert len(community.samtala("device", "list", "--json", person=owner).objects) == 2


def test_what_is_no_device_is_told(community: Community) -> None:
    assert community.samtala("device", "join", "SAMTALA:x", person="nobody").code == 2
    assert community.samtala("device", "link", "--node", "nowhere", person="nobody").code == 2
    assert community.samtala("device", "link", person="nobody").code == 5
    assert community.samtala("device", "revoke").code == 2
    assert community.samtala("device", "revoke", "x", "--others").code == 2
    assert community.samtala("device", "revoke", "nosuchone", person="nobody").code == 3
    assert community.samtala("device", "revoke", "--others", person="nobody").code == 0


def test_owner_replaces_the_link_and_rescues_the_room(community: Community) -> None:
    made = community.samtala("room", "create", "owned", "--node", community.addresses[0], person="owner")
    old = made.out.strip()
    assert community.samtala("room", "link", "owned", person="owner").out.strip() == old

    [rotated] = community.samtala("room", "link", "owned", "--rotate", "--json", person="owner").objects
    rescued = community.samtala("room", "rescue", "owned", person="owner")

    assert rotated["link"] != old
    assert rescued.code == 0, rescued.err
    assert community.samtala("send", "owned", "still here", person="owner").code == 0
    joined = community.samtala("join", str(rotated["link"]), "--name", "guest", person="guest")
    assert joined.code == 0, joined.err
    assert community.samtala("send", "owned", "me too", person="guest").code == 0
    assert community.samtala("room", "link", "owned", "--rotate", person="guest").code == 4
    assert community.samtala("room", "rescue", "owned", person="guest").code == 4
    assert community.samtala("room", "evidence", "owned", person="guest").out == ""
