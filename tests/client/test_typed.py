from __future__ import annotations

import pytest

from client.archive import HistoryPolicy
from client.errors import UsageError
from client.identity import signing_key
from client.typed import check_name, parse_history, parse_public_nodes, parse_room_link, parse_server
from wire.link import Link


def test_what_is_meant_is_understood() -> None:
    link = Link(root_public=signing_key(b"r" * 32), secret=b"s" * 16)

    assert parse_room_link(link.to_text()) == link
    check_name("Åsa", "a name")


@pytest.mark.parametrize("text", ["", "SAMTALA:", "https://example.org", "SAMTALA:AAAA"])
def test_what_is_no_link_is_told(text: str) -> None:
    with pytest.raises(UsageError, match="no link to a room"):
        parse_room_link(text)


@pytest.mark.parametrize(
    ("text", "days"), [("none", 0), ("0", 0), ("full", -1), ("30", 30), (" Full ", -1), ("3650", 3650)]
)
def test_histories_are_understood(text: str, days: int) -> None:
    assert parse_history(text) == HistoryPolicy(days)


def test_nodes_of_the_public_network_are_named_or_the_usual_ones() -> None:
    assert parse_public_nodes(["192.0.2.1:6881", "[2001:db8::1]:1"]) == (("192.0.2.1", 6881), ("2001:db8::1", 1))
    assert ("router.bittorrent.com", 6881) in parse_public_nodes(["default"])
    assert parse_public_nodes([]) == ()


@pytest.mark.parametrize("text", ["", "yes", "host", ":1", "host:0", "host:65536", "host:x"])
def test_what_is_no_node_of_the_public_network_is_told(text: str) -> None:
    with pytest.raises(UsageError, match="no node of the public DHT"):
        parse_public_nodes([text])


@pytest.mark.parametrize("text", ["", "all", "-1", "3651", "1.5", "٣", "9" * 5000])
def test_what_is_no_history_is_told(text: str) -> None:
    with pytest.raises(UsageError, match="none, full, or a number of days"):
        parse_history(text)


@pytest.mark.parametrize("text", ["", "host", "host:7610", "host:0#x"])
def test_what_is_no_address_is_told(text: str) -> None:
    with pytest.raises(UsageError, match="no server's address"):
        parse_server(text)


@pytest.mark.parametrize("name", ["", "x" * 65, "a\nb", "\u202etxt"])
def test_what_is_no_name_is_told(name: str) -> None:
    with pytest.raises(UsageError, match="printable"):
        check_name(name, "a name")
