"""Dialling servers back at their wish: what their own network cannot tell them is whether others reach them.

    DialBack(key, port) ─▶ one of our peers? asked lately? ─▶ TCP and TLS to where the question came from ─▶ Reach

Nobody can make us dial anybody else: the address is the one at which TCP has just answered us, never one that the
question names. A port below 1024 is dialled only if our configuration has it for that peer. Bounded in time, in number at
once, and per address.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

import trio

from room_server import limits
from room_server.addresses import household
from room_server.errors import RefusedError
from room_server.peers import Peer
from wire.errors import ClosedError, HandshakeError, RefusalCode
from wire.identity import ServerAddress
from wire.ids import NodeKey
from wire.messages import DialBack, DialledBack, Reach
from wire.tls import connect

_PORT_MAX: Final = 65_535


class DialBacks:
    """Answers those who ask to be dialled.

    Args:
        peers: who may be dialled.
    """

    def __init__(self, peers: Mapping[NodeKey, Peer]) -> None:
        self._peers = peers
        self._asked_at: OrderedDict[str, float] = OrderedDict()
        self._under_way = 0

    async def answer(self, message: DialBack, host: str) -> DialledBack:
        """Dial `host`, the numeric address that the question came from.

        Raises:
            RefusedError: no peer of ours, a port that we do not dial, too soon or too many; nothing was dialled.
        """
        self._admit(message, host)
        self._under_way += 1
        try:
            return DialledBack(message.id, await _dial(ServerAddress(host, message.port, message.node_key)), host)
        finally:
            self._under_way -= 1

    def _admit(self, message: DialBack, host: str) -> None:
        peer = self._peers.get(message.node_key)
        if peer is None or not host:
            raise RefusedError(RefusalCode.FORBIDDEN, "only servers in this one's configuration are dialled back")
        if message.port != peer.port and not limits.DIAL_BACK_PORT_MIN <= message.port <= _PORT_MAX:
            raise RefusedError(RefusalCode.FORBIDDEN, f"port {message.port} is not dialled")
        now, address = trio.current_time(), household(host)
        wait_s = self._asked_at.get(address, -limits.DIAL_BACK_EVERY_S) + limits.DIAL_BACK_EVERY_S - now
        if wait_s > 0:
            raise RefusedError(RefusalCode.BUSY, "you asked a moment ago", retry_after_s=wait_s)
        if self._under_way >= limits.DIAL_BACKS_AT_ONCE_MAX:
            raise RefusedError(RefusalCode.BUSY, "others ask as well", retry_after_s=limits.DIAL_BACK_S_MAX)
        self._asked_at[address] = now
        self._asked_at.move_to_end(address)
        if len(self._asked_at) > limits.DIAL_BACK_ADDRESSES_MAX:
            self._asked_at.popitem(last=False)


async def _dial(address: ServerAddress) -> Reach:
    with trio.move_on_after(limits.DIAL_BACK_S_MAX):
        try:
            tls = await connect(address)
        except HandshakeError:
            return Reach.STRANGER
        except ClosedError as error:
            return _reach_of(error)
        await tls.aclose()
        return Reach.REACHED
    return Reach.SILENT


def _reach_of(error: ClosedError) -> Reach:
    """What a failed connection tells; trio wraps the system's error in one of its own."""
    if error.__cause__ is None:
        return Reach.STRANGER  # It took the connection and hung up.
    causes = error.__cause__.__cause__
    is_closed = isinstance(causes, BaseExceptionGroup) and causes.subgroup(ConnectionRefusedError) is not None
    return Reach.CLOSED if is_closed else Reach.SILENT
