from __future__ import annotations

from dht.external_address import ExternalAddress
from dht.limits import EXTERNAL_ADDRESS_VOTES_MAX

US = ("198.51.100.1", 7610)
OTHER = ("203.0.113.1", 7610)


def test_a_majority_of_ten_networks_says_where_we_are() -> None:
    external = ExternalAddress()

    changed = [external.vote((f"20.0.{n}.1", 1), US) for n in range(11)]

    assert changed == [False] * 9 + [True, False]
    assert external.host == US[0]


def test_one_network_has_one_vote() -> None:
    external = ExternalAddress()
    for n in range(100):
        external.vote((f"20.0.0.{n}", 1), US)

    assert external.host is None


def test_half_is_no_majority() -> None:
    external = ExternalAddress()
    for n in range(10):
        external.vote((f"20.0.{n}.1", 1), US if n % 2 else OTHER)

    assert external.host is None


def test_when_we_move_new_votes_replace_old_ones() -> None:
    external = ExternalAddress()
    for n in range(20):
        external.vote((f"20.0.{n}.1", 1), US)

    changed = [external.vote((f"20.0.{n}.1", 1), OTHER) for n in range(20)]

    assert sum(changed) == 1
    assert external.host == OTHER[0]


def test_old_votes_are_forgotten() -> None:
    external = ExternalAddress()
    for n in range(EXTERNAL_ADDRESS_VOTES_MAX):
        external.vote((f"20.0.{n}.1", 1), US)
    for n in range(EXTERNAL_ADDRESS_VOTES_MAX):
        external.vote((f"30.0.{n}.1", 1), OTHER)

    assert external.host == OTHER[0]
