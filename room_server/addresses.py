"""What one address may take: connections at once, new ones a minute, requests a second. Pure.

    accept ─▶ enter(address) ─▶ Quota, or None: close          Quota.has_now(cost) ─▶ act
    end    ─▶ leave(quota)                                     Quota.reserve(cost) ─▶ act after so many seconds

Who asks faster than it may is slowed down: its turn comes later, and until then its connection is not read, so that the
flood stays where it comes from. All connections of an address wait in one line.

An address is one IPv4 address or one /64 of IPv6, which is what a household gets. Addresses that share a proxy are exempt
by configuration. Somebody who left is remembered until the table is full, and the one longest gone is forgotten first:
memory is bounded by ADDRESSES_MAX and the connections that there may be.
"""

from __future__ import annotations

import ipaddress
import math
from collections import OrderedDict
from ipaddress import IPv4Address as IPv4
from ipaddress import IPv6Address as IPv6
from typing import Final

import msgspec

from room_server import limits
from room_server.config import LimitsConfig

_HOUSEHOLD_BITS: Final = 64
_BURST_S: Final = 10.0
"""Seconds' worth of requests that may come at once: who was away sends what was written meanwhile."""


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """What an address may take. `exempt`: networks to which nothing of this applies."""

    connections: int
    connects_per_s: float
    requests_per_s: float
    exempt: tuple[str, ...] = ()

    @classmethod
    def of(cls, config: LimitsConfig) -> Rates:
        """As configured."""
        return cls(
            connections=config.address_connections,
            connects_per_s=config.address_connects_per_min / 60,
            requests_per_s=float(config.address_requests_per_s),
            exempt=config.exempt,
        )


class Quota:
    """What is left to one address, shared by its connections. Times are monotonic seconds."""

    __slots__ = ("_at", "_connects", "_rates", "_requests", "address", "connections")

    def __init__(self, address: str, rates: Rates, now: float) -> None:
        self.address = address
        self.connections = 0
        self._rates = rates
        self._at = now
        self._connects = float(rates.connections)
        self._requests = rates.requests_per_s * _BURST_S

    def may_connect(self, now: float) -> bool:
        """Take one new connection, unless there are too many or they come too fast."""
        self._refill(now)
        if self.connections >= self._rates.connections or self._connects < 1:
            return False
        self._connects -= 1
        self.connections += 1
        return True

    def has_now(self, cost: int, now: float) -> bool:
        """Take `cost` requests if so many are left; nothing is taken otherwise."""
        if self._requests < cost:
            self._refill(now)
            if self._requests < cost:
                return False
        self._requests -= cost
        return True

    def reserve(self, cost: int, now: float, *, wait_s_max: float) -> float:
        """Take `cost` requests in turn: the seconds to wait before acting on them.

        More than `wait_s_max`: nothing is taken, and nothing may be done but to say so.
        """
        self._refill(now)
        wait_s = max(cost - self._requests, 0.0) / self._rates.requests_per_s
        if wait_s <= wait_s_max:
            self._requests -= cost
        return wait_s

    def _refill(self, now: float) -> None:
        passed_s, self._at = now - self._at, now
        rates = self._rates
        self._connects = min(self._connects + passed_s * rates.connects_per_s, float(rates.connections))
        self._requests = min(self._requests + passed_s * rates.requests_per_s, rates.requests_per_s * _BURST_S)


UNLIMITED: Final = Quota("", Rates(connections=2**31, connects_per_s=math.inf, requests_per_s=math.inf), now=0.0)
"""For addresses that are exempt, and where nobody counts."""


class Addresses:
    """The quotas of all addresses."""

    def __init__(self, rates: Rates) -> None:
        self._rates = rates
        self._present: dict[str, Quota] = {}
        self._gone: OrderedDict[str, Quota] = OrderedDict()
        self._exempt = _Exempt(rates.exempt)

    def __len__(self) -> int:
        return len(self._present) + len(self._gone)

    def change(self, rates: Rates) -> None:
        """Other rates from now on, for those who come; who is here keeps what it has until it leaves."""
        self._rates = rates
        self._gone.clear()
        self._exempt = _Exempt(rates.exempt)

    def enter(self, host: str, now: float) -> Quota | None:
        """Let a connection from a numeric address in; None if it may not."""
        if host in self._exempt:
            return UNLIMITED
        address = household(host)
        quota = self._present.get(address) or self._gone.pop(address, None) or Quota(address, self._rates, now)
        if quota.may_connect(now):
            self._present[address] = quota
            return quota
        if not quota.connections:
            self._remember(quota)
        return None

    def leave(self, quota: Quota) -> None:
        """A connection that entered has ended."""
        if quota is UNLIMITED:
            return
        quota.connections -= 1
        if not quota.connections:
            del self._present[quota.address]
            self._remember(quota)

    def _remember(self, quota: Quota) -> None:
        self._gone[quota.address] = quota
        if len(self._gone) > limits.ADDRESSES_MAX:
            self._gone.popitem(last=False)


class _Exempt:
    """Tells whether an address belongs to an exempt network."""

    def __init__(self, networks: tuple[str, ...]) -> None:
        self._networks = [ipaddress.ip_network(network) for network in networks]

    def __contains__(self, host: str) -> bool:
        address = _parse(host)
        if isinstance(address, IPv6) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return address is not None and any(address in network for network in self._networks)


def household(host: str) -> str:
    """The address that counts: IPv4 whole, also inside IPv6; of IPv6 the first 64 bits. Names stay as they are."""
    address = _parse(host)
    match address:
        case IPv6():
            if address.ipv4_mapped is not None:
                return str(address.ipv4_mapped)
            return str(ipaddress.IPv6Network((int(address) >> _HOUSEHOLD_BITS << _HOUSEHOLD_BITS, _HOUSEHOLD_BITS)))
        case IPv4():
            return str(address)
        case None:
            return host


def _parse(host: str) -> IPv4 | IPv6 | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
