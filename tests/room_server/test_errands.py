from __future__ import annotations

import pytest
import trio
import trio.testing

from room_server.errands import Errands
from room_server.errors import ClusterError, ConnectionCutError
from room_server.roster import Operation, Remove, RosterCode, encode_operation
from tests.room_server.rosters import key
from wire.ids import NodeKey
from wire.messages import Message
from wire.peer_messages import PeerErrand, PeerErrandDone

OPERATION: Operation = Remove(key(1), key(2))


class Side:
    """One server's errands, and what it told whom."""

    def __init__(self, *linked: NodeKey, code: RosterCode | None = RosterCode.DONE) -> None:
        self.linked = linked
        self.told: list[tuple[NodeKey, Message]] = []
        self.performed: list[Operation] = []
        self._code = code
        self.errands = Errands(tell=self._tell, perform=self._perform)

    def _tell(self, node_key: NodeKey, message: Message) -> bool:
        if node_key in self.linked:
            self.told.append((node_key, message))
        return node_key in self.linked

    async def _perform(self, operation: Operation) -> RosterCode:
        await trio.lowlevel.checkpoint()
        self.performed.append(operation)
        if self._code is None:
            raise ClusterError("no majority")
        return self._code


async def test_an_errand_goes_to_the_first_that_is_linked_and_comes_back() -> None:
    asker, doer = Side(key(5)), Side(key(9), code=RosterCode.LAST_NODE)
    codes: list[RosterCode] = []

    async def ask() -> None:
        codes.append(await asker.errands.ask([key(4), key(5), key(6)], OPERATION))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(doer.errands.run)
        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        [(to, errand)] = asker.told
        assert (to, isinstance(errand, PeerErrand)) == (key(5), True)
        assert isinstance(errand, PeerErrand)
        doer.errands.on_errand(key(9), errand)
        await trio.testing.wait_all_tasks_blocked()
        [(_, done)] = doer.told
        assert isinstance(done, PeerErrandDone)
        asker.errands.on_done(PeerErrandDone(done.id + 7, 0))
        asker.errands.on_done(done)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    assert doer.performed == [OPERATION]
    assert codes == [RosterCode.LAST_NODE]


async def test_an_errand_that_could_not_be_decided_is_told_as_such() -> None:
    doer = Side(key(9), code=None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(doer.errands.run)
        doer.errands.on_errand(key(9), PeerErrand(3, encode_operation(OPERATION)))
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    assert doer.told == [(key(9), PeerErrandDone(3, -1))]


async def test_no_answer_and_nobody_to_ask_are_told(autojump_clock: trio.testing.MockClock) -> None:
    with pytest.raises(ClusterError, match="none that keeps it is linked"):
        await Side().errands.ask([key(4)], OPERATION)
    with pytest.raises(ClusterError, match="did not answer"):
        await Side(key(4)).errands.ask([key(4)], OPERATION)


async def test_each_server_has_one_errand_at_a_time() -> None:
    doer = Side(key(9))
    for number in range(100):
        doer.errands.on_errand(key(9), PeerErrand(number, encode_operation(OPERATION)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(doer.errands.run)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    assert doer.told == [(key(9), PeerErrandDone(99, 0))]


def test_what_is_no_errand_ends_the_link() -> None:
    with pytest.raises(ConnectionCutError):
        Side().errands.on_errand(key(9), PeerErrand(1, b"nonsense"))
    with pytest.raises(ConnectionCutError):
        Side().errands.on_done(PeerErrandDone(1, 99))
