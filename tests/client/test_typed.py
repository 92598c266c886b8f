from __future__ import annotations

import pytest

from client.archive import HistoryPolicy
from client.errors import UsageError
from client.identity import signing_key
from client.typed import check_name, parse_history, parse_room_link, parse_server
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
