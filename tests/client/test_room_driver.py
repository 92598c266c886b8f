from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import msgspec
import pytest
import trio

from client import limits
from client.commits import MemberChange
from client.connection import Alarm, ConnectionState, PendingAppend, StateChanged
from client.errors import OutcomeUnknownError, RefusedError, UnavailableError
from client.room_core import RoomCore
from client.room_driver import RoomDriver, owes_commit
from client.room_state import ChangeOutcome, InFlight, Outgoing, Phase
from client.store import RoomRecord, Store, StoreError, open_store
from client.timeline import ItemKind
from mls import new_key_package
from tests.client.builders import KEYS, NOW_S, ROOM_ID, entropy_of, found_room, identity_of
from tests.client.test_membership import InThread
from tests.room_server.cluster import eventually
from wire.identity import ServerAddress
from wire.ids import NodeKey, RoomEpoch, Sequence

NOBODY = ServerAddress("127.0.0.1", 9, NodeKey(b"k" * 32))
HEJ = Outgoing(b"m" * 16, 1, "hej")


class FullDisk(InThread):
    """A store that takes nothing any more."""

    async def run(self, act):  # type: ignore[no-untyped-def]  # a fake of a generic method
        raise StoreError("the disk is full")


def driver_on(store: InThread, **changes: object) -> RoomDriver:
    founder = found_room()
    memory = msgspec.structs.replace(founder.disk.memory(), **changes)
    store.store.begin_room(ROOM_ID, RoomRecord(link="", name="lobby", identity=b""), memory)
    core = RoomCore(KEYS, founder.identity, founder.core.group, memory=memory, entropy=entropy_of(1))
    return RoomDriver(core, store, join_secret=b"j" * 32)


@pytest.fixture
def database(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store.db", b"k" * 32)


@asynccontextmanager
async def offline(driver: RoomDriver) -> AsyncIterator[RoomDriver]:
    """The driver runs, and no server can be reached."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(driver.run, [NOBODY]))
        yield driver
        await driver.aclose()


async def test_what_waits_can_be_taken_back_once(database: Store) -> None:
    async with offline(driver_on(InThread(database))) as driver:
        pending = await driver.post(HEJ)

        assert await driver.withdraw(HEJ.message_id)
        assert not await driver.withdraw(HEJ.message_id)
        with pytest.raises(UnavailableError, match="taken back"):
            await pending.acknowledged()


async def test_closing_tells_each_waiter_what_is_known(database: Store) -> None:
    async with offline(driver_on(InThread(database))) as driver:
        pending = await driver.post(HEJ)
        change = await driver.propose(MemberChange())
        await driver.aclose()

        with pytest.raises(UnavailableError, match="closed before it was sent"):
            await pending.acknowledged()
        with pytest.raises(OutcomeUnknownError, match="change"):
            await change.done()
        with pytest.raises(UnavailableError, match="the room is closed"):
            await driver.post(HEJ)
        assert driver.is_over
        assert driver.state.text == "closed"


async def test_acts_that_nobody_got_to_are_answered_too(database: Store) -> None:
    driver = driver_on(InThread(database))
    pending = await driver.post(HEJ)
    driver._scope.cancel()

    await driver.run([NOBODY])

    with pytest.raises(UnavailableError):
        await pending.acknowledged()


async def test_an_outbox_that_is_full_says_so(database: Store) -> None:
    async with offline(driver_on(InThread(database))) as driver:
        for number in range(limits.OUTBOX_MAX):
            await driver.post(Outgoing(number.to_bytes(16, "big"), 1, "x"))
        late = await driver.post(HEJ)

        with pytest.raises(UnavailableError, match="are waiting"):
            await late.acknowledged()


async def test_a_store_that_fails_ends_the_room_and_tells_everybody(database: Store) -> None:
    driver = driver_on(InThread(database))
    driver._store = FullDisk(database)
    pending = await driver.post(HEJ)
    driver._core.on_deliveries([])
    driver._core.notes.alarm(Sequence(1), "something to store")

    with trio.fail_after(5):
        await driver.run([NOBODY])

    assert isinstance(driver.failure, StoreError)
    with pytest.raises(StoreError, match="disk is full"):
        await pending.acknowledged()


async def test_the_connection_is_told_honestly(database: Store) -> None:
    async with offline(driver_on(InThread(database))) as driver:
        await eventually(lambda: driver.state.state.value == "offline")

        assert "127.0.0.1:9" in driver.state.text or driver.state.server == NOBODY
        assert not driver.is_current


async def test_a_removed_member_runs_no_connection(database: Store) -> None:
    driver = driver_on(InThread(database), phase=Phase.REMOVED)

    with trio.fail_after(5):
        await driver.run([NOBODY])

    assert driver.is_over


async def test_a_second_change_waits_for_the_first(database: Store) -> None:
    async with offline(driver_on(InThread(database))) as driver:
        first = await driver.propose(MemberChange())
        with trio.move_on_after(0.05) as waiting:
            await driver.propose(MemberChange())

        assert waiting.cancelled_caught
        first.settle(ChangeOutcome(Sequence(3)))
        assert await first.done() == 3


async def test_what_was_in_flight_before_a_restart_stays_open_until_the_servers_are_seen(database: Store) -> None:
    flights = (InFlight(b"d" * 32, (HEJ,)),)
    async with offline(driver_on(InThread(database), in_flight=flights)) as driver:
        assert driver.view.is_in_flight
        assert database.unsent(ROOM_ID) == []


async def test_a_server_that_contradicts_the_room_is_one_alarm_however_often_it_is_tried(database: Store) -> None:
    driver = driver_on(InThread(database))
    event = StateChanged(ConnectionState.OFFLINE, NOBODY, "lies", Alarm("another history through 4", Sequence(4)))

    for _ in range(3):
        driver._on_state(event)
    driver._on_state(StateChanged(ConnectionState.OFFLINE, NOBODY, "refused"))

    (item,) = driver._core.take_effects(0).change.items
    assert (item.kind, item.sequence, item.text) == (ItemKind.ALARM, 4, "another history through 4")


async def test_a_block_that_the_servers_never_take_fails_its_messages(database: Store) -> None:
    driver = driver_on(InThread(database))
    pending = await driver.post(HEJ)
    async with trio.open_nursery() as nursery, offline(driver):
        await eventually(lambda: driver._core.is_full or HEJ.message_id in driver._waiters)
        (block,) = driver._core.take_effects(0).appends
        refused = PendingAppend(block.data, RoomEpoch(0))
        refused.fail(lambda: RefusedError("too long"))
        nursery.start_soon(driver._await_result, block.digest, refused)
        with pytest.raises(RefusedError, match="refuse this message"):
            await pending.acknowledged()


async def test_whoever_never_committed_does_so_soon_unless_alone_there(database: Store) -> None:
    driver = driver_on(InThread(database))
    founder = driver._core
    assert not owes_commit(founder.group)
    assert driver._until_renewal(int(time.time()))[0] > limits.RENEW_S - 60

    bob = new_key_package(identity_of("bob").signature_key, b"bob", entropy_of("bob"), NOW_S)
    founder.group = founder.group.commit(
        add=[bob.key_package_bytes], force_path=False, entropy=entropy_of(2), now=NOW_S
    ).merge()
    assert owes_commit(founder.group)
    assert driver._until_renewal(int(time.time())) == (limits.FIRST_COMMIT_S, 2 * limits.FIRST_COMMIT_S)

    founder.group = founder.group.commit(entropy=entropy_of(3), now=NOW_S).merge()
    assert not owes_commit(founder.group)
