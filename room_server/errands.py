"""Operations of the roster for servers that are only told it: one that keeps it has them executed.

    told                                   keeps it
      PeerErrand(id, operation) ─────────▶ is it one of our servers? perform, one errand after the other
      ◀───────────── PeerErrandDone(id, code)

Once sent, an errand may be executed although no answer comes: who wanted it is told so, and looks before it tries again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import structlog
import trio

from room_server import limits
from room_server.errors import ClusterError, ConnectionCutError
from room_server.roster import Operation, RosterCode, decode_operation, encode_operation
from wire.errors import DecodeError
from wire.ids import NodeKey
from wire.messages import Message
from wire.peer_messages import PeerErrand, PeerErrandDone

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

_NOT_DONE: Final = -1
_NO_ANSWER: Final = "the servers that keep the roster did not answer; look with `samtala cluster status`"
_CODES: Final = frozenset(RosterCode)


class Errands:
    """See the module.

    Args:
        tell: queues a message for a server; False while there is no link to it.
        perform: has an operation executed here; raises ClusterError.
    """

    def __init__(
        self, *, tell: Callable[[NodeKey, Message], bool], perform: Callable[[Operation], Awaitable[RosterCode]]
    ) -> None:
        self._tell = tell
        self._perform = perform
        self._id = 0
        self._code = _NOT_DONE
        self._answered = trio.Event()
        self._one_at_a_time = trio.Lock()
        self._queue: OrderedDict[NodeKey, PeerErrand] = OrderedDict()
        """One for each server: it sends the next when it has its answer."""
        self._woken = trio.Event()

    async def ask(self, keepers: Iterable[NodeKey], operation: Operation) -> RosterCode:
        """Have one operation executed by the first of these servers that is linked.

        Raises:
            ClusterError: none is linked, or there is no answer; then it may still be executed.
        """
        async with self._one_at_a_time:
            self._id += 1
            self._code, self._answered = _NOT_DONE, trio.Event()
            errand = PeerErrand(self._id, encode_operation(operation))
            if not any(self._tell(keeper, errand) for keeper in keepers):
                raise ClusterError("this server is only told the roster, and none that keeps it is linked")
            with trio.move_on_after(limits.ROSTER_WAIT_S_MAX + limits.BETWEEN_EPOCHS_S_MAX):
                await self._answered.wait()
                return self._code_of_answer()
        raise ClusterError(_NO_ANSWER)

    def _code_of_answer(self) -> RosterCode:
        if self._code == _NOT_DONE:
            raise ClusterError(_NO_ANSWER)
        return RosterCode(self._code)

    def on_done(self, message: PeerErrandDone) -> None:
        """A server answers.

        Raises:
            ConnectionCutError: with a code that there is not.
        """
        if message.code != _NOT_DONE and message.code not in _CODES:
            raise ConnectionCutError("protocol", "an errand done in a way that there is not")
        if message.id == self._id:
            self._code = message.code
            self._answered.set()

    def on_errand(self, node_key: NodeKey, errand: PeerErrand) -> None:
        """A server of our cluster wants an operation executed.

        Raises:
            ConnectionCutError: it is none.
        """
        try:
            decode_operation(errand.operation)
        except DecodeError as error:
            raise ConnectionCutError("decode", "a peer's errand is no operation") from error
        if node_key in self._queue or len(self._queue) < limits.CLUSTER_NODES_MAX:
            self._queue[node_key] = errand
            self._woken.set()

    async def run(self) -> None:
        """Do errands until cancelled."""
        while True:
            if not self._queue:
                self._woken = trio.Event()
                await self._woken.wait()
            node_key, errand = self._queue.popitem(last=False)
            try:
                code = int(await self._perform(decode_operation(errand.operation)))
            except ClusterError as error:
                log.warning("errand_not_done", reason=str(error))
                code = _NOT_DONE
            self._tell(node_key, PeerErrandDone(errand.id, code))
