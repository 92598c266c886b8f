"""Our node and libtorrent's, put and get in both directions, on loopback addresses of their own (BEP 5, 43, 44)."""

from __future__ import annotations

import hashlib
import importlib.util
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import msgspec
import pytest
import trio
from nacl import bindings

from dht.endpoint import Waiter
from dht.errors import SocketUnavailable
from dht.events import PutEnded
from dht.items import MutableItem, sign_item_with_seed
from dht.node import Node, _over, open_node

pytestmark = [
    pytest.mark.foreign,
    pytest.mark.skipif(
        importlib.util.find_spec("libtorrent") is None,
        reason="libtorrent is not installed: pip install libtorrent",
    ),
]

DEADLINE_S = 40.0
SEED = b"foreign!" * 4
FOREIGN_NODES = 3


def session_settings(host: str, port: int, bootstrap: tuple[str, int]) -> dict[str, Any]:
    """libtorrent as a lone DHT node on loopback, its rules on addresses and rates loosened."""
    import libtorrent

    return {
        "listen_interfaces": f"{host}:{port}",
        "enable_dht": True,
        "enable_lsd": False,
        "enable_upnp": False,
        "enable_natpmp": False,
        "dht_bootstrap_nodes": f"{bootstrap[0]}:{bootstrap[1]}",
        "alert_mask": libtorrent.alert.category_t.dht_notification,
        "dht_restrict_routing_ips": False,
        "dht_restrict_search_ips": False,
        "dht_block_ratelimit": 100_000,
        "dht_upload_rate_limit": 10_000_000,
    }


@contextmanager
def foreign_nodes(bootstrap: tuple[str, int]) -> Iterator[list[Any]]:
    import libtorrent

    base = random.randrange(20_000, 50_000)
    with ExitStack() as stack:
        sessions = []
        for number in range(FOREIGN_NODES):
            session = libtorrent.session(session_settings(f"127.0.0.{21 + number}", base + number, bootstrap))
            stack.callback(session.pause)
            sessions.append(session)
        yield sessions


async def alert_of(session: Any, kind: str, matches: Callable[[Any], bool] = lambda _: True) -> Any:
    """Wait for an alert of a kind; the caller's deadline ends it."""
    while True:
        await trio.to_thread.run_sync(session.wait_for_alert, 200)
        for alert in session.pop_alerts():
            if type(alert).__name__ == kind and matches(alert):
                return alert


async def bootstrapped(sessions: list[Any], node: Node) -> None:
    """Wait until all of them know us and we know them: a get before that is silently lost by libtorrent."""
    for session in sessions:
        await alert_of(session, "dht_bootstrap_alert")
    while node.stats().nodes < FOREIGN_NODES:
        await trio.lowlevel.checkpoint()


def expanded(seed: bytes) -> bytes:
    """The 64 bytes that libtorrent calls a private key."""
    secret = bytearray(hashlib.sha512(seed).digest())
    secret[0] &= 248
    secret[31] = secret[31] & 63 | 64
    return bytes(secret)


@pytest.mark.timeout(60)
async def test_what_we_put_libtorrent_gets() -> None:
    mine = sign_item_with_seed(SEED, seq=7, value=b"from samtala", salt=b"room")
    with trio.fail_after(DEADLINE_S):
        async with (
            open_node(host="127.0.0.20") as node,
            open_node(host="127.0.0.19", bootstrap=[node.address]) as other,
        ):
            with foreign_nodes(node.address) as sessions:
                await bootstrapped(sessions, node)
                await other.bootstrap()
                result = await other.put(mine)
                assert result.refused == {}
                assert result.stored >= FOREIGN_NODES

                sessions[1].dht_get_mutable_item(mine.public_key, mine.salt)
                alert = await alert_of(sessions[1], "dht_mutable_item_alert", lambda some: some.seq == 7)

                assert bytes(alert.signature) == mine.signature
                assert alert.item == mine.value


@pytest.mark.timeout(60)
async def test_what_libtorrent_puts_we_get_and_announce_again() -> None:
    public = bindings.crypto_sign_seed_keypair(SEED)[0]
    with trio.fail_after(DEADLINE_S):
        async with open_node(host="127.0.0.20") as node:
            with foreign_nodes(node.address) as sessions:
                await bootstrapped(sessions, node)
                sessions[0].dht_put_mutable_item(expanded(SEED), public, b"from libtorrent", b"salt")
                put = await alert_of(sessions[0], "dht_put_alert")
                assert put.num_success >= 1

                async with open_node(host="127.0.0.19", read_only=True) as reader:
                    found = await reader.get(public, b"salt", seeds=[node.address])
                    assert found is not None
                    assert found.value == b"from libtorrent"
                    again = await reader.put(found, seeds=[node.address])
                    assert again.refused == {}
                    assert again.stored >= FOREIGN_NODES
                assert node.stats().counters.answered["put"] >= 2


@pytest.mark.timeout(60)
async def test_libtorrent_refuses_with_the_codes_we_know() -> None:
    """BEP 44. Items that our own interface would not send are put through the core."""
    good = sign_item_with_seed(SEED, seq=5, value=b"good")

    async def refused(node: Node, item: MutableItem, seeds: list[tuple[str, int]], cas: int | None = None) -> set[int]:
        endpoint, waiter = node._endpoints[0], Waiter()
        waiter.begin(endpoint, endpoint.dht.put(item, trio.current_time(), cas=cas, seeds=seeds))
        end = (await _over(waiter))[0]
        assert isinstance(end, PutEnded)
        assert end.result.stored == 0
        return set(end.result.refused)

    with trio.fail_after(DEADLINE_S):
        async with open_node(host="127.0.0.20") as node:
            with foreign_nodes(node.address) as sessions:
                await bootstrapped(sessions, node)
                seeds = [(f"127.0.0.{21 + n}", session.listen_port()) for n, session in enumerate(sessions)]
                async with open_node(host="127.0.0.19", read_only=True) as writer:
                    assert (await writer.put(good, seeds=seeds)).stored >= FOREIGN_NODES
                    older = sign_item_with_seed(SEED, seq=4, value=b"older")
                    newer = sign_item_with_seed(SEED, seq=6, value=b"newer")
                    replace = msgspec.structs.replace

                    assert await refused(writer, older, seeds) == {302}
                    assert await refused(writer, newer, seeds, cas=3) == {301}
                    assert await refused(writer, replace(good, seq=9), seeds) == {206}
                    assert await refused(writer, replace(good, value=bytes(997)), seeds) == {205}
                    assert await refused(writer, replace(good, salt=bytes(65)), seeds) == {207}
                    largest = sign_item_with_seed(SEED, seq=10, value=bytes(996))
                    assert (await writer.put(largest, seeds=seeds)).refused == {}


@contextmanager
def foreign_node_of_both_families() -> Iterator[int]:
    """One of theirs on 127.0.0.21 and ::1, with nobody to begin from; gives its port."""
    import libtorrent

    port = random.randrange(20_000, 50_000)
    change = {"listen_interfaces": f"127.0.0.21:{port},[::1]:{port}", "dht_bootstrap_nodes": ""}
    session = libtorrent.session(session_settings("127.0.0.21", port, ("127.0.0.1", 1)) | change)
    try:
        yield port
    finally:
        session.pause()


@pytest.mark.timeout(60)
async def test_items_pass_over_ipv6_and_libtorrent_tells_who_knows_only_ipv4_of_ipv6() -> None:
    """BEP 32: it answers our `want`. The node of IPv6 that it names speaks no IPv4."""
    mine = sign_item_with_seed(SEED, seq=3, value=b"over six")
    try:
        with trio.fail_after(DEADLINE_S), foreign_node_of_both_families() as port:
            async with open_node(host="::1", bootstrap=[("::1", port)]) as six:
                while (await six.put(mine, seeds=[("::1", port)])).stored == 0:
                    await trio.lowlevel.checkpoint()
                assert await six.get(mine.public_key, seeds=[("::1", port)]) == mine

                known: list[tuple[str, int]] = []
                while six.address not in known:
                    # It names those that it has heard of twice.
                    await six.bootstrap()
                    theirs = [("127.0.0.21", port)]
                    async with open_node(host="127.0.0.19", second=("::1", 0), bootstrap=theirs) as both:
                        await both.bootstrap()
                        known = both.known_nodes()
    except SocketUnavailable as error:
        pytest.skip(f"no IPv6 here: {error}")
