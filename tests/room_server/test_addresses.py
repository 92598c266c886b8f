from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from room_server import limits
from room_server.addresses import UNLIMITED, Addresses, Quota, Rates, household
from room_server.config import LimitsConfig
from tests.room_server.builders import app
from tests.room_server.cluster import cluster_of, member_of, open_session, status_when
from tests.room_server.network import network_client
from tests.room_server.test_door import count_of
from wire.errors import PeerError, RefusalCode
from wire.ids import ClientId, RoomId
from wire.messages import Append, AppendRefused, GetNodeInfo, Message, NodeInfo, Refused

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


def test_burst_is_taken_then_the_rate_and_the_wait_is_told() -> None:
    quota = Quota("x", RATES, 0.0)

    assert [quota.take(50, 0.0), quota.take(50, 0.0)] == [0.0, 0.0]
    assert quota.take(5, 0.0) == pytest.approx(0.5)
    assert quota.take(5, 0.3) == pytest.approx(0.2)
    assert quota.take(5, 0.5) == 0.0
    assert quota.take(1, 0.5) > 0
    assert quota.take(100_000, 1000.0) == 0.0, "what is larger than any burst passes when the burst is whole"
    assert quota.take(1, 1000.0) > 0


@given(st.lists(st.tuples(st.integers(1, 300), st.floats(0.0, 3.0)), max_size=60))
def test_whoever_waits_as_told_gets_through_and_never_more_than_the_rate(steps: list[tuple[int, float]]) -> None:
    quota, now, taken = Quota("x", RATES, 0.0), 0.0, 0
    for cost, pause_s in steps:
        now += pause_s
        wait_s = quota.take(cost, now)
        if wait_s:
            now += wait_s + 1e-6
            assert quota.take(cost, now) == 0.0
        taken += cost
        assert taken <= 100 + 10.0 * now + 300 + 1e-3


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


async def test_flood_from_one_address_is_told_busy_and_costs_bounded_memory(tmp_path: Path) -> None:
    tight = LimitsConfig(address_connections=12, address_connects_per_min=1, address_requests_per_s=20, exempt=())
    async with cluster_of(tmp_path, start=False) as cluster:
        node = cluster.nodes[0]
        node.config = msgspec.structs.replace(node.config, limits=tight)
        for each in cluster.nodes:
            await cluster.start(each)
        await cluster.create_room(ROOM)
        await status_when(cluster.nodes[1], ROOM, lambda status: status.spare_failures == 1)

        async with member_of(node, ROOM) as client:
            session = await open_session(client, ROOM, ClientId(b"c" * 16))
            refused: list[Refused] = []
            for number in range(1, 400):
                await client.say(GetNodeInfo(number))
            while not refused:
                answer = await client.hear_any()
                assert isinstance(answer, NodeInfo | Refused)
                refused += [answer] if isinstance(answer, Refused) else []
            assert refused[0].code is RefusalCode.BUSY
            assert 0 < refused[0].retry_after_s <= 10
            await client.say(Append(ROOM, ClientId(b"c" * 16), session, 1, (app(0),)))
            verdict: Message = refused[0]
            while not isinstance(verdict, AppendRefused):
                verdict = await client.hear_any()
            assert (verdict.code, verdict.number) == (RefusalCode.BUSY, 1)
            assert verdict.retry_after_s > 0

            met = 0
            for _ in range(30):
                try:
                    async with network_client(node.address):
                        met += 1
                except PeerError:
                    continue
            assert met <= 10
            assert await count_of(node, 'samtala_client_disconnects_total{reason="address_limit"}') >= 15
            assert await count_of(node, "samtala_send_queue_bytes") <= limits.SEND_QUEUE_BYTES_MAX
