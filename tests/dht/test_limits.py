from __future__ import annotations

from dht import limits


def test_a_put_reaches_a_bucket_of_nodes() -> None:
    assert limits.PUT_REPLICAS == limits.BUCKET_NODES_MAX <= limits.LOOKUP_CANDIDATES_MAX


def test_a_lookup_cannot_outlive_its_queries() -> None:
    assert limits.SOFT_TIMEOUT_S_MIN < limits.SOFT_TIMEOUT_S_MAX < limits.HARD_TIMEOUT_S
    assert limits.LOOKUPS_MAX * limits.LOOKUP_PARALLEL <= limits.QUERIES_MAX


def test_a_reply_with_the_largest_value_and_all_nodes_fits_a_datagram() -> None:
    envelope = 200

    assert limits.VALUE_BYTES_MAX + limits.REPLY_NODES_MAX * 26 + envelope < limits.DATAGRAM_BYTES_MAX


def test_we_ask_one_address_less_than_libtorrent_bans_at() -> None:
    ten_seconds = limits.SENDS_PER_ADDRESS_BURST / 2 + 10 * limits.SENDS_PER_ADDRESS_PER_S

    assert ten_seconds <= 50
