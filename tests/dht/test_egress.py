from __future__ import annotations

from dht.egress import EGRESS_BURST_S, Egress
from dht.limits import EGRESS_BYTES_PER_S, EGRESS_NETWORK_BYTES_PER_S, PROVEN_S
from dht.routing_table import Admission

HOST = "192.0.2.1"
NEIGHBOUR = "192.0.2.2"


def taken(egress: Egress, hosts: list[str], now: float, *, is_shared: bool = True) -> int:
    return sum(1_000 for host in hosts if egress.allows(host, 1_000, now, is_shared=is_shared))


def test_a_network_gets_its_burst_and_then_its_rate() -> None:
    egress = Egress(Admission())

    assert taken(egress, [HOST, NEIGHBOUR] * 50, 0.0) <= EGRESS_BURST_S * EGRESS_NETWORK_BYTES_PER_S
    assert taken(egress, [HOST] * 50, 1.0) <= EGRESS_NETWORK_BYTES_PER_S + 1_000


def test_a_refusal_takes_nothing_from_what_all_share() -> None:
    egress = Egress(Admission())
    taken(egress, [HOST] * 10_000, 0.0)

    others = [f"20.0.{number}.1" for number in range(200)]

    assert taken(egress, others, 0.0) > EGRESS_BURST_S * EGRESS_BYTES_PER_S - 8_000


def test_what_all_share_is_bounded_and_what_is_not_shared_is_not() -> None:
    egress = Egress(Admission())
    others = [f"20.{number // 256}.{number % 256}.1" for number in range(500)]

    assert taken(egress, others, 0.0) <= EGRESS_BURST_S * EGRESS_BYTES_PER_S
    assert taken(egress, others, 0.0, is_shared=False) == 500_000


def test_a_proof_frees_its_host_for_a_while_and_nobody_else() -> None:
    egress = Egress(Admission())
    egress.proofs.prove(HOST, 0.0)

    assert taken(egress, [HOST] * 100, 1.0) == 100_000
    assert taken(egress, [NEIGHBOUR] * 100, 1.0) < 100_000
    assert taken(egress, [HOST] * 100, PROVEN_S + 1.0) < 100_000
