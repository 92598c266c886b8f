"""The shell over real sockets: no gap, no double, whatever is cut."""

from __future__ import annotations

import random

import pytest
import trio
import trio.testing

from client.connection import (
    ConnectionState,
    open_room_connection,
)
from client.errors import OutcomeUnknownError, StaleEpochError, UnavailableError
from tests.client.connections import CLIENT, EPOCH, NOBODY, commit_block, doubles, member_of
from tests.client.room_server_double import ROOM_ID, Fault, Faults, OwnKeys, no_faults
from wire.identity import ServerAddress
from wire.ids import RoomEpoch
from wire.messages import Append, OpenSession
from wire.room import (
    ResultKind,
    encode_app_block,
)

pytestmark = pytest.mark.usefixtures("impatient")


async def test_appended_entries_are_acknowledged_and_delivered() -> None:
    async with doubles() as servers, member_of(servers) as member:
        first = await member.connection.append_entry(EPOCH, b"one")
        second = await member.connection.append_entry(EPOCH, b"two")
        await member.until(lambda: len(member.entries) == 2)

        assert (first, second) == (1, 2)
        assert member.entries == [b"one", b"two"]
        assert member.connection.after == 2
        assert member.connection.chain == servers[0].log.chain(2)


async def test_entries_of_one_turn_travel_in_one_block() -> None:
    async with doubles() as servers, member_of(servers) as member:
        await member.connection.append_entry(EPOCH, b"first")
        pending = [member.connection.append_soon(EPOCH, b"%d" % number) for number in range(50)]
        results = [await one.result() for one in pending]

        assert [result.sequence for result in results] == list(range(2, 52))
        assert len(servers[0].log.deliveries) == 2


async def test_blocks_are_pipelined() -> None:
    async with doubles() as servers, member_of(servers) as member:
        blocks = [encode_app_block(EPOCH, [b"%d" % number]) for number in range(10)]
        pending = [member.connection.append(block) for block in blocks]
        results = [await one.result() for one in pending]

        assert [result.sequence for result in results] == list(range(1, 11))
        assert sum(isinstance(message, Append) for message in servers[0].received) == 1
        assert [one.number for one in pending] == list(range(1, 11))


async def test_many_tasks_may_wait_for_one_outcome() -> None:
    async with doubles() as servers, member_of(servers) as member:
        pending = member.connection.append(encode_app_block(EPOCH, [b"e"]))
        results = []

        async def wait() -> None:
            results.append((await pending.result()).sequence)

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(wait)

        assert results == [1, 1, 1]


async def test_reader_opens_no_session() -> None:
    async with doubles() as servers, member_of(servers) as member:
        await member.connection.wait_caught_up()

        assert member.connection.is_caught_up
        assert not any(isinstance(message, OpenSession) for message in servers[0].received)


async def test_delivery_begins_where_it_is_told_to() -> None:
    async with doubles() as servers:
        async with member_of(servers) as member:
            for number in range(5):
                await member.connection.append_entry(EPOCH, b"%d" % number)
        async with member_of(servers, after=3) as member:
            await member.connection.wait_caught_up()
            await member.until(lambda: len(member.entries) == 2)

            assert member.entries == [b"3", b"4"]


async def test_first_server_that_answers_is_taken() -> None:
    async with doubles() as servers:
        silent = await trio.open_tcp_listeners(0, host="127.0.0.1")
        addresses = [NOBODY, servers[0].address]
        async with open_room_connection(ROOM_ID, addresses, OwnKeys(), client_id=CLIENT) as connection:
            with trio.fail_after(5):
                await connection.wait_live()

            assert connection.server == servers[0].address
            assert len(connection.failures) == 1
            assert "127.0.0.1:1: " in connection.failures[0]
        await silent[0].aclose()


async def test_server_with_another_key_is_passed_over() -> None:
    async with doubles() as servers:
        impostor = ServerAddress("127.0.0.1", servers[0].address.port, NOBODY.node_key)
        async with open_room_connection(
            ROOM_ID, [impostor, servers[0].address], OwnKeys(), client_id=CLIENT
        ) as connection:
            with trio.fail_after(5):
                await connection.wait_live()

            assert "another key" in connection.failures[0]


async def test_servers_can_be_found_again() -> None:
    async with doubles() as servers:

        async def refresh() -> list[ServerAddress]:
            return [servers[0].address]

        async with open_room_connection(ROOM_ID, [NOBODY], OwnKeys(), client_id=CLIENT, refresh=refresh) as connection:
            with trio.fail_after(5):
                await connection.wait_live()

            assert connection.server == servers[0].address


async def test_states_tell_the_story() -> None:
    async with doubles(no_faults, no_faults) as servers, member_of(servers) as member:
        await member.connection.wait_live()
        servers[0].cut_all()
        await member.until(lambda: [change.state for change in member.states].count(ConnectionState.LIVE) == 2)

        assert [change.state for change in member.states] == [
            ConnectionState.CONNECTING,
            ConnectionState.LIVE,
            ConnectionState.OFFLINE,
            ConnectionState.CONNECTING,
            ConnectionState.LIVE,
        ]
        assert member.states[-1].server == servers[1].address


async def test_waiting_for_live_survives_failed_attempts() -> None:
    async with doubles() as servers, open_room_connection(ROOM_ID, [NOBODY], OwnKeys(), client_id=CLIENT) as connection:
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(connection.wait_live)
                while not connection.failures:
                    await trio.lowlevel.checkpoint()

                connection.set_servers([servers[0].address])


# --- exactly once ----------------------------------------------------------------------------------------------------


def chaos(seed: int) -> Faults:
    """Everything that may go wrong without anybody lying."""
    rng = random.Random(seed)

    def faults(point: str) -> Fault:
        if rng.random() >= 0.12:
            return Fault.NONE
        return rng.choice(
            {"received": [Fault.CUT, Fault.BUSY, Fault.GAP], "executed": [Fault.CUT]}.get(point, [Fault.CUT])
        )

    return faults


@pytest.mark.parametrize("seed", range(12))
async def test_no_gap_and_no_double_whatever_is_cut(seed: int) -> None:
    async with doubles(*(chaos(100 * seed + index) for index in range(3))) as servers, member_of(servers) as member:
        sent = [b"entry %d" % number for number in range(120)]
        acknowledged: dict[int, bytes] = {}

        async def send(part: list[bytes]) -> None:
            for entry in part:
                acknowledged[await member.connection.append_entry(EPOCH, entry)] = entry

        async with trio.open_nursery() as nursery:
            for index in range(4):
                nursery.start_soon(send, sent[index::4])
        await member.until(lambda: len(member.entries) == len(sent))

        log = servers[0].log
        assert sorted(log.entries) == sorted(sent), "each once"
        assert member.deliveries == log.deliveries, "no gap, no double, in order"
        assert [acknowledged[sequence] for sequence in range(1, 121)] == log.entries, "acknowledged where it is"
        assert member.connection.chain == log.chain(len(sent))
        for index in range(4):
            assert [entry for entry in log.entries if entry in sent[index::4]] == sent[index::4], (
                "in each sender's order"
            )


@pytest.mark.parametrize("point", ["received", "executed", "delivering"])
@pytest.mark.parametrize("after", range(6))
async def test_cut_at_each_point(point: str, after: int) -> None:
    countdown = iter([False] * after + [True])

    def faults(at: str) -> Fault:
        return Fault.CUT if at == point and next(countdown, False) else Fault.NONE

    async with doubles(faults) as servers, member_of(servers) as member:
        for number in range(8):
            assert await member.connection.append_entry(EPOCH, b"%d" % number) == number + 1
        await member.until(lambda: len(member.entries) == 8)

        assert member.entries == [b"%d" % number for number in range(8)] == servers[0].log.entries


async def test_session_goes_on_after_a_restart() -> None:
    """The first run is cut after its block was executed, before it learns so; the second run asks again."""
    faulty = [True]

    def faults(point: str) -> Fault:
        return Fault.CUT if point == "executed" and faulty[0] else Fault.NONE

    async with doubles(faults) as servers:
        async with member_of(servers) as member:
            pending = member.connection.append(encode_app_block(EPOCH, [b"once"]))
            while servers[0].log.next_sequence == 1:
                await trio.testing.wait_all_tasks_blocked()
            state = member.connection.session
        with pytest.raises(OutcomeUnknownError):
            await pending.result()

        faulty[0] = False
        async with member_of(servers, session=state) as member:
            (restored,) = member.connection.restored
            assert (await restored.result()).sequence == 1
            assert await member.connection.append_entry(EPOCH, b"two") == 2

        assert servers[0].log.entries == [b"once", b"two"]


async def test_evicted_session_leaves_outcomes_unknown_and_another_is_opened() -> None:
    evictions = iter([False, True])

    def faults(point: str) -> Fault:
        return Fault.EVICT if point == "received" and armed and next(evictions, False) else Fault.NONE

    armed: list[bool] = []
    async with doubles(faults) as servers, member_of(servers) as member:
        await member.connection.append_entry(EPOCH, b"one")
        armed.append(True)
        await member.connection.append_entry(EPOCH, b"two")
        with pytest.raises(OutcomeUnknownError) as caught:
            await member.connection.append_entry(EPOCH, b"three")

        assert caught.value.retry_id == f"{CLIENT.hex()}-256-3"
        assert await member.connection.append_entry(EPOCH, b"four") == 3
        assert servers[0].log.entries == [b"one", b"two", b"four"]


async def test_close_leaves_unknown_what_was_sent() -> None:
    async with doubles() as servers:
        async with member_of(servers) as member:
            await member.connection.append_entry(EPOCH, b"one")
            servers[0].is_silent = True
            sent = member.connection.append(encode_app_block(EPOCH, [b"two"]))
            while sent.number == 0:
                await trio.testing.wait_all_tasks_blocked()
            unsent = member.connection.append(encode_app_block(RoomEpoch(9), [b"three"]))

        assert member.connection.state is ConnectionState.CLOSED
        with pytest.raises(OutcomeUnknownError):
            await sent.result()
        with pytest.raises(UnavailableError):
            await unsent.result()


# --- epochs ----------------------------------------------------------------------------------------------------------


async def test_entries_of_an_old_epoch_are_stale_and_change_nothing() -> None:
    async with doubles() as servers, member_of(servers) as member:
        assert (await member.connection.append(commit_block(0)).result()).kind is ResultKind.ACCEPTED
        with pytest.raises(StaleEpochError) as caught:
            await member.connection.append_entry(EPOCH, b"late")

        assert caught.value.epoch == 1
        assert servers[0].log.entries == []


async def test_appends_of_a_new_epoch_wait_for_its_proof() -> None:
    keys = OwnKeys()
    async with doubles() as servers, member_of(servers, keys=keys) as member:
        await member.connection.append(commit_block(0)).result()
        pending = member.connection.append_soon(RoomEpoch(1), b"new")
        await member.until(lambda: member.deliveries)
        assert not pending.is_done

        keys.number = 1
        member.connection.keys_changed()

        assert (await pending.result()).sequence == 2
        await member.until(lambda: len(member.deliveries) == 2)


async def test_who_was_away_reads_from_epoch_to_epoch() -> None:
    """Servers deliver as far as READ is proven; each commit brings the keys of the next epoch."""
    async with doubles() as servers:
        keys = OwnKeys()
        async with member_of(servers, keys=keys) as member:
            for epoch in range(4):
                await member.connection.append_entry(RoomEpoch(epoch), b"in %d" % epoch)
                await member.connection.append(commit_block(epoch)).result()
                keys.number = epoch + 1
                member.connection.keys_changed()
        old_keys = OwnKeys(0)
        async with member_of(servers, keys=old_keys) as member:
            for epoch in range(4):
                await member.until(lambda: len(member.deliveries) == 2 * epoch + 2)  # noqa: B023 (awaited at once)
                old_keys.number = epoch + 1
                member.connection.keys_changed()
            await member.connection.wait_caught_up()

            assert await member.connection.append_entry(RoomEpoch(4), b"back") == 9


async def test_lagging_replica_is_left_for_another() -> None:
    async with doubles(no_faults, no_faults) as servers:
        servers[0].log.epoch = 1
        servers[0].known_epoch = 0
        async with member_of(servers, keys=OwnKeys(1)) as member:
            await member.connection.wait_live()

            assert member.connection.server == servers[1].address
            assert "lags behind" in member.connection.failures[0]


async def test_lagging_replica_that_catches_up_is_kept() -> None:
    async with doubles() as servers:
        servers[0].log.epoch = 1
        servers[0].known_epoch = 0
        async with member_of(servers, keys=OwnKeys(1)) as member:
            while not servers[0].received:
                await trio.testing.wait_all_tasks_blocked()
            servers[0].known_epoch = 1
            await member.connection.wait_live()

            assert servers[0].connections == 1
