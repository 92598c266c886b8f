"""How many bytes leave for those who have not shown that they are where they say.

A source address may be forged, and most answers are larger than their question. Until a host has shown, by a token or a
pong, that it receives at its address, its network gets few bytes a second of anything; and items kept for others share
one allowance, whoever asks. A refusal takes nothing from either budget: a network that used up its own must not use up
everybody's.
"""

from __future__ import annotations

from typing import Final

from dht.limits import ADDRESSES_MAX, EGRESS_BYTES_PER_S, EGRESS_NETWORK_BYTES_PER_S, PROVEN_S
from dht.node_id import network_of
from dht.rates import Proofs, Rates
from dht.routing_table import Admission

EGRESS_BURST_S: Final = 2.0
"""Seconds' worth of either budget that may leave at once."""


class Egress:
    """Budgets of bytes to the unproven. `proofs` are hosts that are free of them."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._values: Rates[None] = Rates(
            per_s=EGRESS_BYTES_PER_S, burst=EGRESS_BURST_S * EGRESS_BYTES_PER_S, sources_max=1
        )
        self._networks: Rates[bytes] = Rates(
            per_s=EGRESS_NETWORK_BYTES_PER_S,
            burst=EGRESS_BURST_S * EGRESS_NETWORK_BYTES_PER_S,
            sources_max=ADDRESSES_MAX,
        )
        self.proofs: Proofs[str] = Proofs(life_s=PROVEN_S, sources_max=ADDRESSES_MAX)

    def allows(self, host: str, size: int, now: float, *, is_shared: bool) -> bool:
        """Take `size` bytes for a host and return True, or take nothing and return False.

        `is_shared`: they carry an item that is kept for others.
        """
        if not self._admission.meters(host) or self.proofs.is_proven(host, now):
            return True
        network = network_of(host)
        if self._networks.delay(network, now, cost=size) > 0:
            return False
        if is_shared and not self._values.allows(None, now, cost=size):
            return False
        self._networks.take(network, now, cost=size)
        return True
