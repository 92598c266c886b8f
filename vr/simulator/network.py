"""The network between the nodes: loses, doubles, delays, reorders, corrupts, partitions, holds packets back for seconds.

Each packet is one encoded message (a real host puts several into one frame: losing them one by one is the harsher
world). Packets outlive the process that sent them and the one they were sent to, as datagrams would; the protocol must
stand that, although its links will mostly be TCP.

Corruption never reaches a replica, because links are authenticated: the damaged copy goes to the decoder alone, which
must answer with its typed error or a message, and with nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log
from random import Random

from vr.simulator.schedule import Schedule
from vr.simulator.swarm import NetworkFaults

Deliver = Callable[[int, int, bytes], None]
Corrupt = Callable[[bytes], None]


class Network:
    """Links between `node_count` nodes, by index. `deliver(source, target, data)` and `corrupt(data)` are the far end."""

    def __init__(
        self,
        schedule: Schedule,
        random: Random,
        *,
        faults: NetworkFaults,
        node_count: int,
        deliver: Deliver,
        corrupt: Corrupt,
    ) -> None:
        self.faults = faults
        self.sent = self.lost = self.doubled = self.held = self.corrupted = 0
        self._schedule = schedule
        self._random = random
        self._draw = random.random
        self._after = schedule.after
        self._node_count = node_count
        self._deliver = deliver
        self._corrupt = corrupt
        self._blocked: set[tuple[int, int]] = set()
        self._clogged_until_us: dict[tuple[int, int], int] = {}

    def send(self, source: int, target: int, data: bytes) -> None:
        """Put one packet on the link; it arrives never, once or several times."""
        assert source != target, "a node does not send to itself"
        self.sent += 1
        link = (source, target)
        faults = self.faults
        draw = self._draw
        if link in self._blocked or draw() < faults.loss:
            self.lost += 1
            return
        if faults.hold and draw() < faults.hold:
            self.held += 1
            self._after(int(draw() * faults.hold_us_max), self._deliver, source, target, data)
        if faults.corrupt and draw() < faults.corrupt:
            self.corrupted += 1
            self._corrupt(self._damage(data))
        self._after(self._delay_us(link), self._deliver, source, target, data)
        if faults.duplicate and draw() < faults.duplicate:
            self.doubled += 1
            self._after(self._delay_us(link), self._deliver, source, target, data)

    def _delay_us(self, link: tuple[int, int]) -> int:
        # An exponential delay: what Random.expovariate(1.0) gives, without the call.
        delay_us = self.faults.delay_us_min + int(-log(1.0 - self._draw()) * self.faults.delay_us_mean)
        if self._clogged_until_us and (clogged_until_us := self._clogged_until_us.get(link)) is not None:
            delay_us += max(0, clogged_until_us - self._schedule.now_us)
        return delay_us

    def _damage(self, data: bytes) -> bytes:
        damaged = bytearray(data)
        draw = self._random
        match draw.randrange(3):
            case 0:
                damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
            case 1:
                del damaged[draw.randrange(len(damaged)) :]
            case _:
                position = draw.randrange(len(damaged))
                damaged[position:position] = draw.randbytes(draw.randrange(1, 9))
        return bytes(damaged)

    def block(self, source: int, target: int) -> None:
        """Lose everything sent from `source` to `target` until `unblock_all`."""
        self._blocked.add((source, target))

    def clog(self, source: int, target: int, *, duration_us: int) -> None:
        """Everything sent on this link waits until the clog is over."""
        self._clogged_until_us[(source, target)] = self._schedule.now_us + duration_us

    def isolate(self, node: int) -> None:
        """Cut one node off, both ways."""
        for peer in range(self._node_count):
            if peer != node:
                self.block(node, peer)
                self.block(peer, node)

    def split(self, side: set[int], *, one_way: bool) -> None:
        """Cut `side` from the rest; `one_way` lets the rest still be heard by `side`."""
        for inside in sorted(side):
            for outside in range(self._node_count):
                if outside not in side:
                    self.block(inside, outside)
                    if not one_way:
                        self.block(outside, inside)

    def unblock_all(self) -> None:
        """End all partitions and clogs."""
        self._blocked.clear()
        self._clogged_until_us.clear()

    def is_blocked(self, source: int, target: int) -> bool:
        """Whether packets from `source` to `target` are lost now."""
        return (source, target) in self._blocked

    def counts(self) -> dict[str, int]:
        """How many packets met each fault."""
        return {
            "packet_lost": self.lost,
            "packet_doubled": self.doubled,
            "packet_held": self.held,
            "packet_corrupted": self.corrupted,
        }

    def calm(self) -> None:
        """No more faults: what is still held arrives late, everything sent from now on arrives once and soon."""
        self.unblock_all()
        self.faults = self.faults.calmed()
