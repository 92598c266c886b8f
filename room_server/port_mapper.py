"""Asking a home router to forward our port: PCP (RFC 6887), and NAT-PMP (RFC 6886) where it speaks only that. Sans-IO.

    poll(now) ─▶ MAP requests, TCP and UDP ─▶ router      receive(answer) ─▶ mappings, renewed at half their lifetime
       unanswered: again after 3 s, 6 s, … 1024 s         answer of version 0 ─▶ NAT-PMP from now on
       refused: again after a while                       epoch went wrong (the router restarted) ─▶ everything anew

    PCP request 60 B    2, 1, 0 0, lifetime 4, client address 16, nonce 12, protocol 1, 0 0 0, port 2, external port 2, address 16
    PCP answer 60 B     2, 0x81, 0, result 1, lifetime 4, epoch 4, twelve 0, nonce 12, protocol 1, 0 0 0, port 2, external 2, address 16
    NAT-PMP request     0, 1 UDP or 2 TCP, 0 0, port 2, external port 2, lifetime 4
    NAT-PMP answer      0, 129 or 130, result 2, epoch 4, port 2, external port 2, lifetime 4

An answer counts only with our nonce (PCP), our port and a protocol that was asked for; the shell hears nobody but the router.
"""

from __future__ import annotations

import ipaddress
import math
import struct
from enum import IntEnum
from typing import Final

import msgspec

from room_server import limits

NONCE_BYTES: Final = 12
_PCP: Final = 2
_PMP: Final = 0
_MAP: Final = 1
_ANSWER_BIT: Final = 0x80
_PCP_REQUEST: Final = struct.Struct(">BBHI16s12sB3xHH16s")
_PCP_ANSWER: Final = struct.Struct(">BBxBII12x12sB3xHH16s")
_PMP_REQUEST: Final = struct.Struct(">BBHHHI")
_PMP_ANSWER: Final = struct.Struct(">BBHIHHI")
_PMP_SHORT: Final = struct.Struct(">BBH")
_UNSUPPORTED_VERSION: Final = 1
_NO_HOST: Final = bytes(10) + b"\xff\xff" + bytes(4)


class Protocol(IntEnum):
    """Transport protocols, by their IANA numbers."""

    TCP = 6
    UDP = 17


_PMP_OPCODES: Final = {Protocol.UDP: 1, Protocol.TCP: 2}


class Mapping(msgspec.Struct, frozen=True, kw_only=True):
    """What the router forwards to us. `external_host`: empty where it does not say. `until`: monotonic seconds."""

    protocol: Protocol
    external_port: int
    external_host: str
    until: float


class _Wish:
    """One mapping that we want, granted or not."""

    def __init__(self, protocol: Protocol, now: float) -> None:
        self.protocol = protocol
        self.mapping: Mapping | None = None
        self.ask_anew(now)

    def ask_anew(self, now: float) -> None:
        self.due_at = now
        self.sent = 0


class PortMapper:
    """Keeps one port forwarded for both protocols. Times are monotonic seconds, `random01` entropy in [0, 1).

    Args:
        port: ours, and the one that is wished for outside.
        client_host: our IPv4 address towards the router.
        nonce: 12 random bytes, the same for the mapper's life: who has it may change the mapping (RFC 6887 11.1).
        now: the time.
    """

    def __init__(self, *, port: int, client_host: str, nonce: bytes, now: float) -> None:
        assert len(nonce) == NONCE_BYTES
        self.refusal = ""
        """Why the router said no the last time; empty if it did not."""
        self._port = port
        self._client = _NO_HOST[:12] + ipaddress.IPv4Address(client_host).packed
        self._nonce = nonce
        self._version = _PCP
        self._wishes = [_Wish(protocol, now) for protocol in Protocol]
        self._epoch: tuple[int, float] | None = None

    def mappings(self, now: float) -> tuple[Mapping, ...]:
        """What is granted and has not run out."""
        found = (wish.mapping for wish in self._wishes)
        return tuple(mapping for mapping in found if mapping is not None and mapping.until > now)

    def next_deadline(self) -> float:
        """When `poll` has something to do."""
        return min(wish.due_at for wish in self._wishes)

    def poll(self, now: float, random01: float) -> list[bytes]:
        """The requests that are due."""
        requests = []
        for wish in self._wishes:
            if wish.due_at <= now:
                requests.append(self._request(wish, limits.MAP_LIFETIME_S))
                pause_s = min(limits.MAP_RETRY_S_MIN * 2 ** min(wish.sent, 16), limits.MAP_RETRY_S_MAX)
                wish.due_at = now + pause_s * (0.9 + 0.2 * random01)
                wish.sent += 1
        return requests

    def release(self) -> list[bytes]:
        """The requests that give back what is granted (lifetime 0)."""
        return [self._request(wish, 0) for wish in self._wishes if wish.mapping is not None]

    def _request(self, wish: _Wish, lifetime_s: int) -> bytes:
        mapping = wish.mapping
        external = self._port if mapping is None else mapping.external_port
        if self._version == _PMP:
            external = external if lifetime_s else 0
            return _PMP_REQUEST.pack(_PMP, _PMP_OPCODES[wish.protocol], 0, self._port, external, lifetime_s)
        host = _NO_HOST
        if mapping is not None and mapping.external_host:
            host = _NO_HOST[:12] + ipaddress.IPv4Address(mapping.external_host).packed
        return _PCP_REQUEST.pack(
            _PCP, _MAP, 0, lifetime_s, self._client, self._nonce, wish.protocol, self._port, external, host
        )

    def receive(self, data: bytes, now: float, random01: float) -> None:
        """Take what the router sent; what is no answer to us changes nothing."""
        if data[:2] == bytes((_PCP, _ANSWER_BIT | _MAP)) and len(data) >= _PCP_ANSWER.size:
            self._on_pcp(_PCP_ANSWER.unpack_from(data), now, random01)
        elif data[:1] == bytes((_PMP,)):
            self._on_pmp(data, now, random01)

    def _on_pcp(
        self, fields: tuple[int, int, int, int, int, bytes, int, int, int, bytes], now: float, r: float
    ) -> None:
        _, _, result, lifetime_s, epoch, nonce, protocol, port, external, host = fields
        wish = self._wish(protocol)
        if self._version != _PCP or wish is None or nonce != self._nonce or port != self._port:
            return
        if result:
            self._refuse(wish, f"PCP result {result}", now + lifetime_s)
            return
        shown = "" if host[:12] != _NO_HOST[:12] else str(ipaddress.IPv4Address(host[12:]))
        self._grant(wish, external, shown, now=now, lifetime_s=lifetime_s, random01=r)
        self._note_epoch(epoch, now, but=wish)

    def _on_pmp(self, data: bytes, now: float, random01: float) -> None:
        if len(data) < _PMP_SHORT.size:
            return
        _, opcode, result = _PMP_SHORT.unpack_from(data)
        if self._version == _PCP:
            # A router that speaks NAT-PMP alone says so (RFC 6886 3.5, RFC 6887 9).
            if opcode & _ANSWER_BIT and result == _UNSUPPORTED_VERSION:
                self._version = _PMP
                for wish in self._wishes:
                    wish.ask_anew(now)
            return
        opcodes = {_ANSWER_BIT | number: protocol for protocol, number in _PMP_OPCODES.items()}
        found = self._wish(opcodes.get(opcode, 0))
        if found is None or len(data) < _PMP_ANSWER.size:
            return
        _, _, result, epoch, port, external, lifetime_s = _PMP_ANSWER.unpack_from(data)
        if port != self._port:
            return
        if result:
            self._refuse(found, f"NAT-PMP result {result}", now)
            return
        self._grant(found, external, "", now=now, lifetime_s=lifetime_s, random01=random01)
        self._note_epoch(epoch, now, but=found)

    def _wish(self, protocol: int) -> _Wish | None:
        return next((wish for wish in self._wishes if wish.protocol == protocol and wish.sent), None)

    def _refuse(self, wish: _Wish, text: str, until: float) -> None:
        """Not now; what was granted before goes on until it runs out."""
        self.refusal = text
        now_max = wish.due_at  # The next try was planned when the request was sent.
        wish.due_at = max(min(until, now_max + limits.MAP_REFUSED_S_MAX), now_max, 0.0)

    def _grant(self, wish: _Wish, external: int, host: str, *, now: float, lifetime_s: int, random01: float) -> None:
        """Renewed between a half and five eighths of its lifetime (RFC 6887 11.2.1), not in a hurry if that is tiny."""
        self.refusal = ""
        lifetime = min(lifetime_s, limits.MAP_LIFETIME_S_MAX)
        wish.mapping = Mapping(protocol=wish.protocol, external_port=external, external_host=host, until=now + lifetime)
        wish.sent = 0
        wish.due_at = now + max(lifetime * (0.5 + random01 / 8), limits.MAP_RETRY_S_MIN)

    def _note_epoch(self, epoch: int, now: float, *, but: _Wish) -> None:
        """A router whose clock does not go on with ours has restarted and forgotten us (RFC 6887 8.5)."""
        before, self._epoch = self._epoch, (epoch, now)
        if before is None or _goes_on(epoch - before[0], now - before[1]):
            return
        for wish in self._wishes:
            if wish is not but:
                wish.ask_anew(now)


def _goes_on(server_s: int, client_s: float) -> bool:
    if server_s < -1:
        return False
    return client_s + 2 >= server_s - server_s / 16 and server_s + 2 >= client_s - client_s / 16


def default_gateway(routes: str) -> str | None:
    """The IPv4 default gateway in the text of /proc/net/route (proc(5)): the one with the lowest metric; None if there is none."""
    best: tuple[float, str | None] = (math.inf, None)
    for line in routes.splitlines()[1:]:
        fields = line.split()
        try:
            destination, gateway, flags, metric, mask = (*fields[1:3], int(fields[3], 16), int(fields[6]), fields[7])
            host = str(ipaddress.IPv4Address(bytes.fromhex(gateway)[::-1]))
        except (IndexError, ValueError):
            continue
        if int(destination, 16) == int(mask, 16) == 0 and flags & 2 and metric < best[0]:
            best = (metric, host)
    return best[1]
