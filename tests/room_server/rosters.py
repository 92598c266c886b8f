"""Rosters for tests: servers by number, and a roster that is told operations."""

from __future__ import annotations

from room_server.roster import ClusterGenesis, Operation, RosterCode, RosterService, encode_operation
from tests.wire.certificates import identity
from vr.log import Request
from vr.types import ClientId, OpNumber, RequestNumber, SessionNumber
from wire.cluster import NodeRecord, TokenHash, token_hash
from wire.ids import NodeKey

DAY_US = 86_400_000_000


def key(number: int) -> NodeKey:
    """The key of a server."""
    return identity(number).public


def record(number: int, name: str | None = None) -> NodeRecord:
    """What a server says of itself."""
    return NodeRecord(name or f"n{number}", key(number), bytes([number]) * 16, f"n{number}.example", 7610, "0.1.0")


def token(number: int) -> TokenHash:
    """The hash of an invitation's secret."""
    return token_hash(bytes([number]) * 16)


GENESIS = ClusterGenesis("makers", record(1), b"n" * 16)


class Told:
    """A roster and its clock."""

    def __init__(self) -> None:
        self.service = RosterService(GENESIS)
        self.now_us = 1_000_000

    def __call__(self, operation: Operation) -> RosterCode:
        """Apply one operation."""
        return self.body(encode_operation(operation))

    def body(self, body: bytes) -> RosterCode:
        """Apply one request's bytes."""
        request = Request(ClientId(b"c" * 16), SessionNumber(1), RequestNumber(1), body)
        [result] = self.service.apply(OpNumber(1), self.now_us, [request])
        return RosterCode(result[0])
