from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from room_server import limits
from room_server.port_mapper import PortMapper, Protocol, default_gateway

NONCE = bytes(range(12))
NONCE_HEX = NONCE.hex()
PORT_HEX = "1dba"  # 7610
CLIENT_HEX = "00000000000000000000ffffc0a80107"  # ::ffff:192.168.1.7
OUTSIDE_HEX = "00000000000000000000ffffcb007105"  # ::ffff:203.0.113.5
NO_HOST_HEX = "00000000000000000000ffff00000000"
LIFETIME_HEX = "00001c20"  # 7200


def mapper() -> PortMapper:
    return PortMapper(port=7610, client_host="192.168.1.7", nonce=NONCE, now=0.0)


def pcp_answer(
    protocol: str = "06", *, result: str = "00", lifetime: str = LIFETIME_HEX, epoch: int = 100,
    nonce: str = NONCE_HEX, port: str = PORT_HEX, external: str = PORT_HEX,
) -> bytes:  # fmt: skip
    """RFC 6887 7.2 and 11.1, field by field."""
    head = f"0281 00{result} {lifetime} {epoch:08x} {'00' * 12}"
    return bytes.fromhex(f"{head} {nonce} {protocol} 000000 {port} {external} {OUTSIDE_HEX}")


def pmp_answer(opcode: str = "82", *, result: str = "0000", epoch: int = 100, external: str = PORT_HEX) -> bytes:
    """RFC 6886 3.3, field by field."""
    return bytes.fromhex(f"00{opcode} {result} {epoch:08x} {PORT_HEX} {external} {LIFETIME_HEX}")


def speaking_pmp() -> PortMapper:
    asking = mapper()
    asking.poll(0.0, 0.5)
    asking.receive(bytes.fromhex("0081 0001 00000064"), 0.1, 0.5)
    asking.poll(0.1, 0.5)
    return asking


def test_requests_have_the_layout_of_rfc_6887() -> None:
    tcp, udp = mapper().poll(0.0, 0.5)

    head, tail = f"0201 0000 {LIFETIME_HEX} {CLIENT_HEX} {NONCE_HEX}", f"000000 {PORT_HEX} {PORT_HEX} {NO_HOST_HEX}"
    assert tcp == bytes.fromhex(f"{head} 06 {tail}")
    assert udp == bytes.fromhex(f"{head} 11 {tail}")
    assert len(tcp) == 60


def test_requests_have_the_layout_of_rfc_6886_after_an_answer_of_version_0() -> None:
    asking = mapper()
    asking.poll(0.0, 0.5)

    asking.receive(bytes.fromhex("0081 0001 00000064"), 0.1, 0.5)

    tcp, udp = asking.poll(0.1, 0.5)
    assert tcp == bytes.fromhex(f"0002 0000 {PORT_HEX} {PORT_HEX} {LIFETIME_HEX}")
    assert udp == bytes.fromhex(f"0001 0000 {PORT_HEX} {PORT_HEX} {LIFETIME_HEX}")


def test_grant_is_told_renewed_at_half_its_life_and_given_back() -> None:
    asking = mapper()
    asking.poll(0.0, 0.5)
    asking.receive(pcp_answer("06", external="1dbb"), 1.0, 0.0)
    asking.receive(pcp_answer("11"), 1.0, 0.0)

    tcp, udp = asking.mappings(2.0)
    assert (tcp.protocol, tcp.external_port, tcp.external_host) == (Protocol.TCP, 7611, "203.0.113.5")
    assert (udp.protocol, udp.external_port) == (Protocol.UDP, 7610)
    assert asking.next_deadline() == 1.0 + 3600
    assert asking.mappings(1.0 + 7200) == (), "it has run out"
    renewal = asking.poll(3601.0, 0.5)[0]
    assert renewal[-20:] == bytes.fromhex(f"{PORT_HEX} 1dbb {OUTSIDE_HEX}"), "the same again is wished for"
    assert [request[4:8] for request in asking.release()] == [bytes(4), bytes(4)]


def test_nat_pmp_grant_and_its_end() -> None:
    asking = speaking_pmp()
    asking.receive(pmp_answer("82", external="1dbb"), 1.0, 0.0)

    [tcp] = asking.mappings(2.0)
    assert (tcp.protocol, tcp.external_port, tcp.external_host) == (Protocol.TCP, 7611, "")
    assert asking.release() == [bytes.fromhex(f"0002 0000 {PORT_HEX} 0000 00000000")]


@pytest.mark.parametrize(
    "answer",
    [
        pcp_answer(nonce="ff" * 12),
        pcp_answer(port="0001"),
        pcp_answer("84"),
        pcp_answer()[:59],
        b"\x01" + pcp_answer()[1:],
        b"\x02\x01" + pcp_answer()[2:],
        pmp_answer(),
        b"",
        b"\0",
    ],
)
def test_what_is_no_answer_to_us_changes_nothing(answer: bytes) -> None:
    asking = mapper()
    asking.poll(0.0, 0.5)
    deadline = asking.next_deadline()

    asking.receive(answer, 1.0, 0.5)

    assert asking.mappings(1.0) == ()
    assert asking.next_deadline() == deadline


def test_answer_before_any_question_changes_nothing() -> None:
    asking = mapper()
    asking.receive(pcp_answer(), 0.0, 0.5)

    assert asking.mappings(0.0) == ()


def test_silence_is_asked_again_ever_more_slowly() -> None:
    asking = mapper()
    now, pauses = 0.0, []
    for _ in range(14):
        asking.poll(now, 0.5)
        pauses.append(asking.next_deadline() - now)
        now = asking.next_deadline()

    assert pauses[:3] == pytest.approx([3.0, 6.0, 12.0])
    assert max(pauses) == pytest.approx(limits.MAP_RETRY_S_MAX)


def test_refusal_is_told_and_heeded() -> None:
    asking = mapper()
    asking.poll(0.0, 0.5)
    asking.receive(pcp_answer(result="02", lifetime="ffffffff"), 1.0, 0.5)
    asking.receive(pcp_answer("11", result="08", lifetime="0000001e"), 1.0, 0.5)

    assert asking.refusal == "PCP result 8"
    assert asking.next_deadline() == 31.0
    asking.poll(31.0, 0.5)
    assert asking.poll(3 + limits.MAP_REFUSED_S_MAX, 0.5) != [], "not for ever, whatever it says"


@pytest.mark.parametrize(("epoch", "is_reset"), [(3701, False), (5, True), (100, True), (9000, True)])
def test_router_that_restarted_is_asked_for_everything_anew(epoch: int, is_reset: bool) -> None:
    asking = mapper()
    asking.poll(0.0, 0.5)
    asking.receive(pcp_answer("06", epoch=100), 1.0, 0.0)
    asking.receive(pcp_answer("11", epoch=100), 1.0, 0.0)

    asking.poll(3601.0, 0.5)
    asking.receive(pcp_answer("06", epoch=epoch), 3602.0, 0.0)

    assert [request[36] for request in asking.poll(3602.0, 0.5)] == ([Protocol.UDP] if is_reset else [])


@given(data=st.lists(st.binary(max_size=70) | st.binary(max_size=60).map(lambda tail: b"\x02\x81" + tail)))
def test_noise_never_breaks_it_nor_makes_it_hurry(data: list[bytes]) -> None:
    asking = mapper()
    asking.poll(0.0, 0.5)
    for piece in data:
        asking.receive(piece, 1.0, 0.5)

    assert asking.mappings(1.0) == ()
    assert asking.next_deadline() >= 1.0


def test_default_gateway_is_read_off_the_routing_table() -> None:
    routes = (
        "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n"
        "eth0 00000000 0101A8C0 0003 0 0 100 00000000 0 0 0\n"
        "wlan0 00000000 0102A8C0 0003 0 0 600 00000000 0 0 0\n"
        "eth0 0001A8C0 00000000 0001 0 0 100 00FFFFFF 0 0 0\n"
        "torn\n"
    )

    assert default_gateway(routes) == "192.168.1.1"
    assert default_gateway("") is None
