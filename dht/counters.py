"""What a node counts. Plain numbers that only rise; whoever wants metrics reads them (this package knows no metrics)."""

from __future__ import annotations

import msgspec


class Counters(msgspec.Struct, kw_only=True):
    """Everything since the start. Keys of dictionaries are fixed snake_case words, fit for metric labels.

    `dropped`: `malformed unsolicited rate_limited read_only own egress_limited`.
    `answered`: the query methods of KRPC and `unknown`. `refused`: KRPC error codes of refused puts. `asked`: our own
    queries that are over, by method (`ping find_node get put`) and outcome (`answered refused silent`).
    `lookups`: `found missing complete` (complete: a lookup for nodes). `disjoint`: `found missing`, those of them that found
    nothing at first and went on along disjoint paths. `puts`: `stored unstored`.
    """

    datagrams_in: int = 0
    datagrams_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    send_errors: int = 0
    dropped: dict[str, int] = msgspec.field(default_factory=dict)
    answered: dict[str, int] = msgspec.field(default_factory=dict)
    refused: dict[int, int] = msgspec.field(default_factory=dict)
    asked: dict[tuple[str, str], int] = msgspec.field(default_factory=dict)
    lookups: dict[str, int] = msgspec.field(default_factory=dict)
    disjoint: dict[str, int] = msgspec.field(default_factory=dict)
    puts: dict[str, int] = msgspec.field(default_factory=dict)
    queries_sent: int = 0
    queries_failed: int = 0
    items_expired: int = 0
    items_rejected: int = 0
    """Items in answers that did not verify, belonged elsewhere, or were no strings."""

    def drop(self, reason: str) -> None:
        """Count a datagram that gets no answer."""
        self.dropped[reason] = self.dropped.get(reason, 0) + 1

    def answer(self, method: str) -> None:
        """Count an answered query."""
        self.answered[method] = self.answered.get(method, 0) + 1

    def end_query(self, method: bytes, outcome: str) -> None:
        """Count the end of a query of ours."""
        key = method.decode(), outcome
        self.asked[key] = self.asked.get(key, 0) + 1

    def refuse(self, code: int) -> None:
        """Count a refused put."""
        self.refused[code] = self.refused.get(code, 0) + 1

    def end_lookup(self, result: str) -> None:
        """Count a lookup's end."""
        self.lookups[result] = self.lookups.get(result, 0) + 1

    def end_disjoint(self, result: str) -> None:
        """Count the end of disjoint lookups."""
        self.disjoint[result] = self.disjoint.get(result, 0) + 1

    def end_put(self, result: str) -> None:
        """Count a put's end."""
        self.puts[result] = self.puts.get(result, 0) + 1
