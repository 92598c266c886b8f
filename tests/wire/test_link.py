from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.errors import LocalError
from wire.link import HINTS_MAX, Hint, Link, LinkError, LinkFault, parse_link

VECTOR = json.loads((Path(__file__).parent.parent / "vectors" / "dht.json").read_text())["proposal_descriptor"]
TEXT: str = VECTOR["link"]
ROOT = bytes.fromhex("03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8")
LINK = Link(root_public=ROOT, secret=bytes.fromhex(VECTOR["link_secret"]))

hosts = st.ip_addresses().map(str) | st.from_regex(r"[a-z][a-z0-9]{0,10}(\.[a-z][a-z0-9]{0,5}){0,3}", fullmatch=True)
hints = st.builds(Hint, host=hosts, port=st.integers(1, 65535))


def fault(text: str) -> LinkError:
    with pytest.raises(LinkError) as caught:
        parse_link(text)
    return caught.value


def test_the_vector_is_read_and_written_exactly() -> None:
    assert parse_link(TEXT) == LINK
    assert LINK.to_text() == TEXT


@pytest.mark.parametrize(
    "text",
    [
        TEXT.lower(),
        f"  {TEXT}\n",
        f"<{TEXT}>",
        f"{TEXT[:40]}\n  {TEXT[40:]}",
        "samtala://" + TEXT[8:],
        LINK.to_web("chat.example"),
        "http://chat.example/j/x#" + TEXT,
    ],
)
def test_people_paste_links_in_many_ways(text: str) -> None:
    assert parse_link(text) == LINK


def test_the_web_form_keeps_the_link_behind_the_fragment() -> None:
    assert LINK.to_web("chat.example") == "https://chat.example/#" + TEXT[8:]


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=16, max_size=16), st.lists(hints, max_size=HINTS_MAX))
def test_every_link_survives(root: bytes, secret: bytes, some: list[Hint]) -> None:
    link = Link(root_public=root, secret=secret, hints=tuple(some))

    assert parse_link(link.to_text()) == link
    assert parse_link(link.to_web("h")) == link


@pytest.mark.parametrize(
    ("some", "characters"),
    [
        ((Hint(host="192.0.2.1", port=7610),), 101),
        (tuple(Hint(host=f"192.0.2.{n}", port=7610) for n in range(3)), 124),
        ((Hint(host="a" * 16 + ".org", port=7610),), 127),
    ],
)
def test_links_are_as_short_as_planned(some: tuple[Hint, ...], characters: int) -> None:
    link = Link(root_public=ROOT, secret=LINK.secret, hints=some)

    assert len(link.to_text()) == characters


def test_every_slip_of_one_character_is_noticed() -> None:
    body = TEXT[8:]
    for place in range(len(body)):
        other = "A" if body[place] != "A" else "B"
        if place == 0:
            continue  # the version: reported as such or as a slip
        assert fault(f"SAMTALA:{body[:place]}{other}{body[place + 1 :]}").fault is LinkFault.BAD_CHECK


@pytest.mark.parametrize("cut", range(9, len(TEXT)))
def test_a_cut_link_says_so(cut: int) -> None:
    assert fault(TEXT[:cut]).fault is LinkFault.TRUNCATED


def test_a_link_cut_in_its_hints_is_noticed() -> None:
    text = Link(root_public=ROOT, secret=LINK.secret, hints=(Hint(host="192.0.2.1", port=7610),)).to_text()

    for cut in range(len(TEXT) + 1, len(text)):
        assert fault(text[:cut]).fault is LinkFault.BAD_CHECK


@pytest.mark.parametrize("text", ["", "hello", "https://chat.example/", "SAMTLA:AAAA", "mailto:a@b.example"])
def test_other_texts_are_no_links(text: str) -> None:
    error = fault(text)

    assert error.fault is LinkFault.NOT_A_LINK
    assert error.suggestion is None


@pytest.mark.parametrize("text", [TEXT[8:], "SAMTLA:" + TEXT[8:], "chat.example/#" + TEXT[8:]])
def test_a_whole_link_under_a_wrong_name_is_suggested(text: str) -> None:
    assert fault(text).suggestion == TEXT


def test_lookalike_characters_are_suggested_back() -> None:
    written = TEXT[:8] + TEXT[8:].replace("O", "0").replace("B", "8", 1)
    error = fault(written)

    assert error.fault is LinkFault.BAD_CHARACTER
    assert error.suggestion == TEXT
    assert TEXT in str(error)


def test_a_character_of_no_alphabet_is_named() -> None:
    error = fault(TEXT[:20] + "!" + TEXT[21:])

    assert error.fault is LinkFault.BAD_CHARACTER
    assert "!" in str(error)
    assert error.suggestion is None


def link_text(data: bytes) -> str:
    import base64
    import hashlib

    data += hashlib.blake2b(data, digest_size=2).digest()
    return "SAMTALA:" + base64.b32encode(data).decode().rstrip("=")


def test_another_version_is_told_from_a_slip() -> None:
    assert fault(link_text(b"\x02" + ROOT + LINK.secret)).fault is LinkFault.WRONG_VERSION


@pytest.mark.parametrize(
    "tail",
    [
        b"\x03" + bytes(8),
        b"\x00",
        b"\x01\x7f\0\0\x01",
        b"\x01\x7f\0\0\x01\0\0",
        b"\x83a b\0\x50",
        b"\x83a\xff.\0\x50",
        b"\xff" + b"a" * 127 + b"\0\x50",
        (b"\x01\x7f\0\0\x01\0\x50") * (HINTS_MAX + 1),
    ],
)
def test_hints_that_are_none_are_refused(tail: bytes) -> None:
    assert fault(link_text(b"\x01" + ROOT + LINK.secret + tail)).fault is LinkFault.BAD_HINT


def test_an_endless_text_is_not_looked_at() -> None:
    assert fault("SAMTALA:" + "A" * 10_000).fault is LinkFault.TOO_LONG


@given(
    st.text(max_size=200) | st.text(alphabet="ABCDEFGHIJKLMNOPQRSTUVWXYZ234567018", min_size=80).map("SAMTALA:".__add__)
)
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse_link(text)
    except LinkError:
        return


@pytest.mark.parametrize(
    "link",
    [
        Link(root_public=b"", secret=bytes(16)),
        Link(root_public=ROOT, secret=bytes(15)),
        Link(root_public=ROOT, secret=bytes(16), hints=(Hint(host="192.0.2.1", port=0),)),
        Link(root_public=ROOT, secret=bytes(16), hints=(Hint(host="a b", port=1),)),
        Link(root_public=ROOT, secret=bytes(16), hints=(Hint(host="a" * 101, port=1),)),
        Link(root_public=ROOT, secret=bytes(16), hints=(Hint(host="a", port=1),) * (HINTS_MAX + 1)),
    ],
)
def test_a_link_out_of_bounds_is_not_written(link: Link) -> None:
    with pytest.raises(LocalError):
        link.to_text()


def test_what_servers_see_differs_from_what_opens_the_room() -> None:
    other_secret = Link(root_public=ROOT, secret=bytes(16))

    assert len(LINK.room_id) == 16
    assert len(LINK.join_secret) == 32
    assert LINK.room_id == other_secret.room_id
    assert LINK.join_secret != other_secret.join_secret
    assert LINK.join_secret.hex() == "ea4de4b0bade75da7f376cfed52855f515a3e52761a14b53594cf4475bb990c7"
    assert LINK.room_id.hex() == "4bc31526d3daf2f7d1b347a00c20f2b6"


def test_a_printed_link_tells_no_secret() -> None:
    shown = repr(LINK)

    assert LINK.secret.hex() not in shown
    assert repr(LINK.secret) not in shown
    assert ROOT.hex() not in shown
