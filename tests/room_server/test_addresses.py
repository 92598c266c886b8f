from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from room_server import limits
from room_server.addresses import UNLIMITED, Addresses, Quota, Rates, household
from room_server.config import LimitsConfig
from tests.room_server.builders import app
from tests.room_server.cluster import TestNode, cluster_of, member_of, open_session, status_when
from tests.room_server.network import network_client
from tests.room_server.test_door import at_least, count_of
from wire.errors import RefusalCode
from wire.ids import ClientId, RoomId
from wire.messages import Append, AppendRefused, GetNodeInfo

ROOM = RoomId(b"a room with walls"[:16])
RATES = Rates(connections=3, connects_per_s=1.0, requests_per_s=10.0, exempt=("10.0.0.0/8", "fd00::/8"))


def test_address_has_so_many_connections_at_once() -> None:
    addresses = Addresses(RATES)
    entered = [addresses.enter("192.0.2.1", 0.0) for _ in range(3)]

    assert all(entered)
    assert addresses.enter("192.0.2.1", 100.0) is None
    assert addresses.enter("192.0.2.2", 100.0), "others are not concerned"
    assert entered[0] is not None
    addresses.leave(entered[0])
    assert addresses.enter("192.0.2.1", 100.0)


def test_coming_and_going_is_limited_too() -> None:
    addresses = Addresses(RATES)
    for _ in range(3):
        quota = addresses.enter("192.0.2.1", 0.0)
        assert quota is not None
        addresses.leave(quota)

    assert addresses.enter("192.0.2.1", 0.5) is None
    assert addresses.enter("192.0.2.1", 1.5)


@pytest.mark.parametrize(
    ("host", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("gone", "gone"),
    ],
)
def test_household_is_what_counts(host: str, counted: str) -> None:
    assert household(host) == counted


@pytest.mark.parametrize("host", ["10.1.2.3", "::ffff:10.1.2.3", "fd00::1"])
def test_exempt_networks_are_not_counted(host: str) -> None:
    addresses = Addresses(RATES)

    assert all(addresses.enter(host, 0.0) is UNLIMITED for _ in range(1000))
    addresses.leave(UNLIMITED)
    assert len(addresses) == 0


def test_burst_is_taken_at_once_and_then_turns_come_at_the_rate() -> None:
    quota = Quota("x", RATES, 0.0)

    assert quota.has_now(60, 0.0)
    assert not quota.has_now(50, 0.0), "and nothing was taken"
    assert quota.has_now(40, 0.0)
    waits = [quota.reserve(5, 0.0, wait_s_max=2.0) for _ in range(5)]
    assert waits == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.5])
    assert quota.reserve(5, 0.5, wait_s_max=2.0) == pytest.approx(2.0), "the one that was refused took nothing"
    assert not quota.has_now(1, 0.6)
    assert quota.has_now(1, 1000.0)


@given(st.lists(st.tuples(st.integers(1, 40), st.floats(0.0, 3.0)), max_size=60))
def test_whatever_is_asked_never_more_than_the_rate_is_done(steps: list[tuple[int, float]]) -> None:
    quota, now, done = Quota("x", RATES, 0.0), 0.0, []
    for cost, pause_s in steps:
        now += pause_s
        wait_s = 0.0 if quota.has_now(cost, now) else quota.reserve(cost, now, wait_s_max=2.0)
        if wait_s <= 2.0:
            done.append((now + wait_s, cost))
    for until, _ in done:
        assert sum(cost for at, cost in done if at <= until) <= 100 + 10.0 * until + 1e-6


def test_memory_is_bounded_however_many_addresses_come() -> None:
    addresses = Addresses(RATES)
    stayed = addresses.enter("192.0.2.1", 0.0)
    for number in range(limits.ADDRESSES_MAX + 1000):
        quota = addresses.enter(f"2001:db8:{number >> 16:x}:{number & 0xFFFF:x}::1", 0.0)
        assert quota is not None
        addresses.leave(quota)

    assert len(addresses) == limits.ADDRESSES_MAX + 1
    assert stayed is not None
    assert addresses.enter("192.0.2.1", 0.0) is stayed


def test_changed_rates_hold_for_those_who_come() -> None:
    addresses = Addresses(RATES)
    stayed = addresses.enter("192.0.2.1", 0.0)
    addresses.change(msgspec.structs.replace(RATES, connections=1, exempt=()))

    assert stayed is not None
    assert addresses.enter("10.0.0.1", 0.0)
    assert addresses.enter("10.0.0.1", 0.0) is None
    addresses.leave(stayed)


def test_rates_are_those_of_the_configuration() -> None:
    rates = Rates.of(LimitsConfig(address_connects_per_min=120))

    assert rates.connects_per_s == 2.0
    assert "127.0.0.0/8" in rates.exempt


async def flood(node: TestNode) -> None:
    """Ask as much as the connection takes, and read nothing."""
    async with network_client(node.address) as client:
        number = 0
        while True:
            await client.say(*(GetNodeInfo(number + one) for one in range(1, 200)))
            number += 200


async def test_flood_from_one_address_is_told_busy_and_costs_bounded_memory(tmp_path: Path) -> None:
    tight = LimitsConfig(address_connections=12, address_connects_per_min=1, address_requests_per_s=10, exempt=())
    async with cluster_of(tmp_path, start=False) as cluster:
        node = cluster.nodes[0]
        node.config = msgspec.structs.replace(node.config, limits=tight)
        for each in cluster.nodes:
            await cluster.start(each)
        await cluster.create_room(ROOM)
        await status_when(cluster.nodes[1], ROOM, lambda status: status.spare_failures == 1)

        async with member_of(node, ROOM) as client, trio.open_nursery() as nursery:
            session = await open_session(client, ROOM, ClientId(b"c" * 16))
            for _ in range(4):
                nursery.start_soon(flood, node)
            appends = [Append(ROOM, ClientId(b"c" * 16), session, 1 + 32 * place, (app(0),) * 32) for place in range(9)]
            await client.say(*appends)
            verdict = await client.hear_any()
            while not isinstance(verdict, AppendRefused):
                verdict = await client.hear_any()
            assert verdict.code is RefusalCode.BUSY
            assert 0 < verdict.retry_after_s <= 10

            for _ in range(30):
                await (await trio.open_tcp_stream("127.0.0.1", node.address.port)).aclose()
            await at_least(node, 'samtala_client_disconnects_total{reason="address_limit"}', 15)
            answered = await count_of(node, 'samtala_requests_rejected_total{reason="busy"}')
            assert answered < 100, "a flood is not read while its turn has not come"
            assert await count_of(node, "samtala_send_queue_bytes") < 200_000
            nursery.cancel_scope.cancel()
