"""The DHT's figures beside its targets (dht.md 4), in virtual time but for memory: `python -m bench --only dht`.

| part | network |
|---|---|
| reads | 5,000 hosts as after days, median round trip 90 ms |
| silent | 300 hosts of which a quarter stopped answering a moment ago |
| liars | 300 hosts of which 3 in 10 lie, in four ways |
| Sybils | 300 hosts, and 100 liars beside a target before something is put there |
| churn | 30 hosts whose places change owners (sessions of 200 minutes, median), 2 % loss, 12 hours, hourly announcements |
| join | 150 hosts that join one after the other |
| memory | 4,000 items of 600 bytes in one host |
"""

from __future__ import annotations

import tracemalloc

import msgspec
from rich.table import Table

from dht.items import sign_item_with_seed
from dht.limits import ITEMS_MAX
from dht.simulator.adversary import Lie
from dht.simulator.measure import dead_share, percentile, publish, read
from dht.simulator.world import Churn, grown, new_item, settled, surround
from dht.storage import SignedValue, Storage

READ_NODES = 5_000
SYBILS = 100
CHURN_NODES = 30
CHURN_HOURS = 12
_ITEMS = 20


class DhtFigure(msgspec.Struct, frozen=True, kw_only=True):
    """One figure, its unit in the name; `target` is the most it may be, or the least if `is_least`."""

    name: str
    value: float
    target: float
    is_least: bool = False

    @property
    def is_met(self) -> bool:
        """Whether the target is met."""
        return self.value >= self.target if self.is_least else self.value <= self.target


def run() -> list[DhtFigure]:
    """Measure everything, in a minute."""
    return [*_reads(), *_silent(), *_liars(), _sybils(), *_churn(), _join(), _memory()]


def _reads() -> list[DhtFigure]:
    network = settled(1, READ_NODES)
    figures = read(network, publish(network, _ITEMS), 200)
    return [
        DhtFigure(name=f"hops to value, median, {READ_NODES} hosts", value=figures.hops_median, target=2),
        DhtFigure(name="queries per get, median", value=figures.queries_median, target=30),
        DhtFigure(name="time to first value p50, s", value=figures.first_p50_s, target=0.25),
        DhtFigure(name="time to first value p99, s", value=figures.first_p99_s, target=1.0),
    ]


def _silent() -> list[DhtFigure]:
    network = settled(2, 300)
    items = publish(network, _ITEMS)
    network.silent.update(network.rng.sample(sorted(network.nodes), 75))
    readers = [address for address in network.nodes if address not in network.silent]
    ends = []
    for number in range(60):
        began = network.now
        network.watch_get(readers[number], items[number % _ITEMS])
        ends.append(network.now - began)
    return [DhtFigure(name="a quarter silent: complete get p99, s", value=round(percentile(ends, 0.99), 2), target=1.5)]


def _liars() -> list[DhtFigure]:
    shown = []
    for lie in (Lie.DROPPER, Lie.COLLUDER, Lie.FORGER, Lie.REPLAYER):
        network = settled(4, 210, lies=[lie] * 90)
        figures = read(network, publish(network, _ITEMS), 100)
        share = 100 * figures.found / figures.reads
        shown.append(DhtFigure(name=f"3 in 10 are {lie.value}s: read, %", value=share, target=99, is_least=True))
    return shown


def _sybils() -> DhtFigure:
    """Far more than k withstands. One lookup reads 65 of 100 here; the target is ours."""
    network = settled(12, 300)
    item = new_item(network)
    writer = network.rng.choice(sorted(network.nodes))
    surround(network, item.target, SYBILS)
    network.put(writer, item)
    figures = read(network, [item], 20)
    share = 100 * figures.found / figures.reads
    return DhtFigure(
        name=f"{SYBILS} Sybils were beside the target first: read, %", value=share, target=99, is_least=True
    )


def _churn() -> list[DhtFigure]:
    network = settled(5, CHURN_NODES, lost=0.02)
    staying = list(network.nodes)[:3]
    items = publish(network, _ITEMS)
    Churn(network, staying=staying)
    found = reads = 0
    p99s = []
    for _ in range(CHURN_HOURS):
        network.run(3_600.0)
        figures = read(network, items, 20)
        found, reads = found + figures.found, reads + figures.reads
        p99s.append(figures.first_p99_s)
        for number, item in enumerate(items):
            network.put(staying[number % len(staying)], item)
    return [
        DhtFigure(name=f"found in {CHURN_HOURS} h of churn, %", value=100 * found / reads, target=99.9, is_least=True),
        DhtFigure(name="churn, 2 % loss: time to first value p99, s", value=max(p99s), target=1.5),
        DhtFigure(name="dead table entries, %", value=round(100 * dead_share(network), 1), target=6),
    ]


def _join() -> DhtFigure:
    network = grown(6, 150)
    return DhtFigure(name="datagrams per join", value=round(network.sent / 150), target=150)


def _memory() -> DhtFigure:
    items = [
        SignedValue.of(sign_item_with_seed(n.to_bytes(32, "big"), seq=1, value=bytes(600))) for n in range(ITEMS_MAX)
    ]
    encoded = msgspec.msgpack.encode(items)
    del items
    storage = Storage(bytes(20))
    tracemalloc.start()
    for item in msgspec.msgpack.decode(encoded, type=list[SignedValue]):
        storage.put_signed(item, cas=None, network=None, now=0.0)
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return DhtFigure(name=f"memory of {ITEMS_MAX} items, MiB", value=round(used / (1 << 20), 1), target=8)


def table_of(figures: list[DhtFigure]) -> Table:
    """Return the table for people."""
    table = Table("figure", "Samtala", "target", "")
    for figure in figures:
        sign = "≥" if figure.is_least else "≤"
        table.add_row(figure.name, f"{figure.value:g}", f"{sign} {figure.target:g}", "" if figure.is_met else "missed")
    return table
