from __future__ import annotations

import pytest

from client.moving import MovePlan
from client.publicity import descriptor_warning, plan_warning, public_warning
from wire.certificate import Server
from wire.descriptor import Descriptor, Replica
from wire.ids import GroupEpoch, NodeKey

PUBLIC, HOME, SHARED = ["93.184.216.34"], ["192.168.1.7"], ["100.64.0.9"]


def placed(servers: list[list[str]]) -> list[list[tuple[str, int]]]:
    """Each server on a port of its own."""
    return [[(host, 7610 + number) for host in hosts] for number, hosts in enumerate(servers)]


@pytest.mark.parametrize(
    "servers",
    [
        [PUBLIC, PUBLIC, HOME],
        [PUBLIC],
        [PUBLIC, ["2606:2800:220:1::1"], SHARED],
        [["room.example"], [], HOME],
        [["192.168.1.7", "2606:2800:220:1::1"]],
        [["127.0.0.1"], ["::1"], ["localhost"]],
    ],
)
def test_majority_that_may_be_public_needs_no_warning(servers: list[list[str]]) -> None:
    assert public_warning(placed(servers)) is None


@pytest.mark.parametrize(
    ("servers", "words"),
    [
        ([PUBLIC, HOME, SHARED], "1 of 3 servers has an address"),
        ([PUBLIC, PUBLIC, HOME, HOME, HOME], "2 of 5 servers have addresses"),
        ([HOME], "0 of 1 servers have addresses"),
        ([["127.0.0.1"], HOME, PUBLIC], "the room needs 2"),
        ([["fe80::1%eth0"], ["localhost"], PUBLIC], "1 of 3"),
    ],
)
def test_fewer_public_servers_than_a_majority_are_warned_of(servers: list[list[str]], words: str) -> None:
    warning = public_warning(placed(servers))

    assert warning is not None
    assert words in warning


def test_servers_that_one_of_them_carries_count_as_one() -> None:
    carried = [[(PUBLIC[0], 7610)]] * 3

    warning = public_warning(carried)

    assert warning is not None
    assert "1 of 3" in warning
    assert public_warning([*carried[:2], [("198.41.0.4", 7610)]]) is None


def test_new_rooms_and_moves_are_judged_alike() -> None:
    replicas = tuple(Replica(node_key=bytes([number]) * 32, port=1, ipv4=HOME[0]) for number in range(3))
    descriptor = Descriptor(issued_hours=1, valid_hours=1, replicas=replicas)
    servers = tuple(Server(b"", NodeKey(replica.node_key), HOME[0], 1) for replica in replicas)
    plan = MovePlan(epoch=GroupEpoch(0), names={}, now=(), wanted=servers, newcomers=())

    assert descriptor_warning(descriptor) == plan_warning(plan) == public_warning([[(HOME[0], 1)]] * 3) is not None
