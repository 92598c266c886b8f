from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from client import limits
from client.errors import UnavailableError, UsageError
from client.well_known import fetch_record, parse_web_host, record_path
from tests.client.web_server import web_server

TARGET = b"\xab" * 20


def put_file(folder: Path, data: bytes) -> None:
    path = folder / "www" / record_path(TARGET).lstrip("/")
    path.parent.mkdir(parents=True)
    path.write_bytes(data)


async def test_a_static_file_is_fetched_over_tls(tmp_path: Path) -> None:
    put_file(tmp_path, b"signed bytes")
    with web_server(tmp_path) as (port, authority):
        context = ssl.create_default_context(cafile=authority)

        assert await fetch_record("localhost", port, TARGET, context=context) == b"signed bytes"
        with pytest.raises(UnavailableError, match="status 404"):
            await fetch_record("localhost", port, bytes(20), context=context)


async def test_a_server_that_nobody_vouches_for_is_not_asked(tmp_path: Path) -> None:
    put_file(tmp_path, b"signed bytes")
    with web_server(tmp_path) as (port, _), pytest.raises(UnavailableError, match=r"(?i)certificate"):
        await fetch_record("localhost", port, TARGET, context=ssl.create_default_context())


async def test_an_answer_without_end_is_cut_off(tmp_path: Path) -> None:
    put_file(tmp_path, bytes(limits.WEB_BYTES_MAX + 1))
    with web_server(tmp_path) as (port, authority), pytest.raises(UnavailableError, match="no record"):
        await fetch_record("localhost", port, TARGET, context=ssl.create_default_context(cafile=authority))


async def test_a_closed_port_is_told() -> None:
    with pytest.raises(UnavailableError):
        await fetch_record("127.0.0.1", 9, TARGET, context=ssl.create_default_context())


@pytest.mark.parametrize(
    ("text", "place"), [("example.org", ("example.org", 443)), ("127.0.0.1:8443", ("127.0.0.1", 8443))]
)
def test_hosts_are_read_with_and_without_port(text: str, place: tuple[str, int]) -> None:
    assert parse_web_host(text) == place


@pytest.mark.parametrize("text", ["", ":443", "a:", "a:0", "a:65536", "https://a", "a/b:1", "a:b:1", "a:٣"])
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="HOST"):
        parse_web_host(text)
