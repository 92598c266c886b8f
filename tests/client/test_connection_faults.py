"""Servers that lie or fall silent, readers that are slow, calls on the way."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from client import connection_limits as limits
from client.connection import (
    ConnectionState,
    StateChanged,
    open_room_connection,
)
from client.errors import UnavailableError, UsageError
from tests.client.connections import CLIENT, EPOCH, NOBODY, Member, commit_block, doubles, member_of
from tests.client.room_server_double import ROOM_ID, Fault, OwnKeys, ServerDouble, SharedLog, no_faults
from tests.wire.certificates import encoded
from wire import limits as wire_limits
from wire.certificate import RoomServers, Server
from wire.ids import GroupEpoch, Sequence
from wire.messages import Ping
from wire.room import (
    chain_start,
    decode_block_header,
    encode_app_block,
)

pytestmark = pytest.mark.usefixtures("impatient")


@pytest.mark.parametrize("fault", [Fault.DROP, Fault.REPEAT])
async def test_server_that_skips_or_repeats_raises_an_alarm_and_is_left(fault: Fault) -> None:
    def faults(point: str) -> Fault:
        return fault if point == "delivering" else Fault.NONE

    log = SharedLog()
    async with doubles(faults, no_faults, log=log) as servers:
        async with member_of(servers[1:]) as writer:
            for number in range(120):
                await writer.connection.append_entry(EPOCH, b"%d" % number)
        async with member_of(servers) as member:
            await member.until(lambda: len(member.entries) == 120)

            assert member.deliveries == log.deliveries
            alarms = [change.alarm for change in member.states if change.alarm is not None]
            assert len(alarms) == 1
            assert member.connection.server == servers[1].address


async def test_server_with_another_history_raises_an_alarm_and_is_left() -> None:
    async with doubles(no_faults, no_faults) as servers:
        servers[0].lies_about_chain = True
        async with member_of(servers) as member:
            await member.connection.wait_live()

            assert member.connection.server == servers[1].address
            (alarm,) = [change.alarm for change in member.states if change.alarm is not None]
            assert "another history" in alarm.text


async def test_silent_server_is_left_when_somebody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PING_WAITING_S", 0.02)
    monkeypatch.setattr(limits, "ANSWER_WAITING_S_MIN", 0.05)
    monkeypatch.setattr(limits, "ANSWER_WAITING_S_MAX", 0.05)
    monkeypatch.setattr(limits, "PING_IDLE_S", 60.0)
    async with doubles(no_faults, no_faults) as servers, member_of(servers) as member:
        await member.connection.append_entry(EPOCH, b"one")
        await trio.testing.wait_all_tasks_blocked(0.05)
        servers[0].is_silent = True

        assert await member.connection.append_entry(EPOCH, b"two") == 2

        assert member.connection.server == servers[1].address
        assert any(isinstance(message, Ping) for message in servers[0].received)
        assert "silent" in member.connection.failures[-1]
        assert servers[0].log.entries == [b"one", b"two"]


async def test_server_that_answers_nothing_to_appends_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "APPEND_S_MAX", 0.05)
    monkeypatch.setattr(limits, "STANDSTILL_S", 0.01)
    async with doubles(no_faults, no_faults) as servers, member_of(servers) as member:
        await member.connection.append_entry(EPOCH, b"one")
        servers[0].is_cut_off = True

        assert await member.connection.append_entry(EPOCH, b"two") == 2

        assert member.connection.server == servers[1].address
        assert "cut off" in member.connection.failures[-1]
        assert servers[0].log.entries == [b"one", b"two"]


async def test_reader_leaves_a_server_that_says_it_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STANDSTILL_S", 0.01)
    async with doubles(no_faults, no_faults) as servers:
        for server in servers:
            server.says_so = True
        servers[0].is_cut_off = True
        async with member_of(servers) as member:
            await member.until(lambda: member.connection.server == servers[1].address)
            await member.connection.wait_caught_up()

            assert member.connection.spare_failures == 1


async def test_when_all_servers_stand_still_the_room_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STANDSTILL_S", 0.01)
    monkeypatch.setattr(limits, "STANDSTILL_RETRY_S", 60.0)
    async with doubles(no_faults, no_faults) as servers:
        log = servers[0].log
        log.execute(log.open_session(), 1, encode_app_block(EPOCH, [b"old"]))
        for server in servers:
            server.says_so = server.is_cut_off = True
        async with member_of(servers) as member:
            await member.until(lambda: any("read-only" in change.text for change in member.states[3:]))

            await member.until(lambda: member.entries == [b"old"])
            assert member.connection.state is ConnectionState.LIVE
            assert sum(server.connections for server in servers) == 2


async def test_idle_connection_is_kept_alive_by_pings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PING_IDLE_S", 0.01)
    async with doubles() as servers, member_of(servers) as member:
        await member.connection.wait_live()
        while sum(isinstance(message, Ping) for message in servers[0].received) < 3:
            await trio.testing.wait_all_tasks_blocked(0.005)

        assert servers[0].connections == 1


# --- a slow consumer, and calls --------------------------------------------------------------------------------------


async def test_slow_consumer_stops_the_reading_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EVENT_QUEUE_BYTES_MAX", 200_000)
    entry = bytes(20_000)
    async with doubles() as servers:
        async with member_of(servers) as writer:
            for _ in range(300):
                await writer.connection.append_entry(EPOCH, entry)
        async with open_room_connection(ROOM_ID, [servers[0].address], OwnKeys(), client_id=CLIENT) as connection:
            with trio.fail_after(10):
                await connection.wait_live()
                await trio.testing.wait_all_tasks_blocked(0.05)
                assert connection.after < 150, "it stopped reading"
                member = Member(connection)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(member.listen)
                    await member.until(lambda: len(member.entries) == 300)
                    nursery.cancel_scope.cancel()

            assert member.deliveries == servers[0].log.deliveries
            assert servers[0].connections == 2, "and was not cut"


async def test_server_is_not_blamed_for_a_slow_consumer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EVENT_QUEUE_BYTES_MAX", 1)
    async with doubles() as servers:
        async with member_of(servers) as writer:
            await writer.connection.append_entry(EPOCH, b"one")
        before = servers[0].connections
        for name in ("PING_IDLE_S", "PING_WAITING_S", "ANSWER_IDLE_S", "ANSWER_WAITING_S_MIN", "ANSWER_WAITING_S_MAX"):
            monkeypatch.setattr(limits, name, 0.01)
        async with open_room_connection(ROOM_ID, [servers[0].address], OwnKeys(), client_id=CLIENT) as connection:
            with trio.fail_after(5):
                await connection.wait_caught_up()
                for _ in range(20):
                    await trio.testing.wait_all_tasks_blocked(0.003)

            assert servers[0].connections == before + 1


async def test_events_end_when_the_connection_is_closed() -> None:
    async with doubles() as servers:
        async with open_room_connection(ROOM_ID, [servers[0].address], OwnKeys(), client_id=CLIENT) as connection:
            await connection.wait_live()
        events = [event async for event in connection.events()]

    assert isinstance(events[0], StateChanged)


async def test_status_is_what_the_server_says() -> None:
    async with doubles() as servers, member_of(servers) as member:
        await member.connection.append_entry(EPOCH, b"one")

        status = await member.connection.status()

        assert status.next_sequence == 2


async def test_call_without_a_server_fails_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CALL_S_MAX", 0.05)
    async with open_room_connection(ROOM_ID, [NOBODY], OwnKeys(), client_id=CLIENT) as connection:
        with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1: "):
            await connection.status()


async def test_calls_that_nobody_waits_for_make_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CALL_S_MAX", 0.0)
    async with open_room_connection(ROOM_ID, [NOBODY], OwnKeys(), client_id=CLIENT) as connection:
        for _ in range(limits.CALLS_MAX + 1):
            with pytest.raises(UnavailableError, match="no answer"):
                await connection.status()


async def test_call_survives_a_cut() -> None:
    cuts = iter([False] * 4 + [True])

    def faults(point: str) -> Fault:
        return Fault.CUT if point == "received" and next(cuts, False) else Fault.NONE

    async with doubles(faults) as servers, member_of(servers) as member:
        await member.connection.wait_live()
        assert (await member.connection.status()).next_sequence == 1
        assert servers[0].connections == 2


async def test_what_is_no_block_or_entry_is_refused_before_it_is_sent() -> None:
    async with doubles() as servers, member_of(servers) as member:
        with pytest.raises(UsageError):
            member.connection.append(b"garbage")
        with pytest.raises(UsageError):
            member.connection.append_soon(EPOCH, b"")
        with pytest.raises(UsageError):
            member.connection.append_soon(EPOCH, bytes(wire_limits.ENTRY_BYTES_MAX + 1))


async def test_windows_are_bounded_and_space_can_be_waited_for() -> None:
    async with doubles() as servers, member_of(servers) as member:
        await member.connection.append_entry(EPOCH, b"one")
        servers[0].is_silent = True
        block = encode_app_block(EPOCH, [b"e"])
        for _ in range(wire_limits.SESSION_WINDOW):
            member.connection.append(block)
        with pytest.raises(UnavailableError):
            member.connection.append(block)
        with trio.move_on_after(0.01) as waiting:
            await member.connection.wait_space()
        assert waiting.cancelled_caught

        servers[0].is_silent = False
        servers[0].cut_all()
        await member.connection.wait_space()

        assert (await member.connection.append(block).result()).sequence == wire_limits.SESSION_WINDOW + 2


async def test_more_entries_than_the_queue_holds_are_appended_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ENTRIES_WAITING_MAX", 5)
    async with doubles() as servers, member_of(servers) as member:
        async with trio.open_nursery() as nursery:
            for number in range(40):
                nursery.start_soon(member.connection.append_entry, EPOCH, b"%d" % number)

        assert sorted(servers[0].log.entries) == sorted(b"%d" % number for number in range(40))


async def test_joiner_follows_from_where_it_joined() -> None:
    keys = OwnKeys(None)
    async with doubles() as servers:
        async with member_of(servers) as member:
            for number in range(4):
                await member.connection.append_entry(EPOCH, b"%d" % number)
        async with member_of(servers, keys=keys) as member:
            await member.connection.wait_live()
            keys.number = 0
            member.connection.follow(Sequence(2), servers[0].log.chain(2))
            await member.until(lambda: len(member.entries) == 2)

            assert member.entries == [b"2", b"3"]
            assert member.connection.chain == servers[0].log.chain(4)


def test_delivered_blocks_have_headers() -> None:
    assert decode_block_header(commit_block(0)).count == 1
    assert len(chain_start(ROOM_ID)) == 32


def servers_among(epoch: int, doubles: list[ServerDouble]) -> RoomServers:
    return RoomServers(
        GroupEpoch(epoch),
        tuple(
            Server(bytes([place]) * 16, double.address.node_key, double.address.host, double.address.port)
            for place, double in enumerate(doubles)
        ),
    )


async def test_client_moves_along_with_the_room_and_loses_nothing() -> None:
    async with doubles(*[no_faults] * 6) as servers:
        old, new = servers[:3], servers[3:]
        first, second = servers_among(0, old), servers_among(1, new)
        move = encoded(second, signers=(1, 3))
        async with member_of(old, known=first) as member:
            await member.connection.append_entry(EPOCH, b"before")
            for double in old:
                double.is_cut_off = True
            pending = [member.connection.append_soon(EPOCH, b"meanwhile %d" % number) for number in range(20)]
            for double in old:
                await double.move(move)
            for entry in pending:
                await entry.result()
            await member.connection.append_entry(EPOCH, b"after")
            await member.until(lambda: len(member.entries) == 22)

            assert member.entries == [b"before", *(b"meanwhile %d" % number for number in range(20)), b"after"]
            assert member.moves == [second]
            assert member.connection.server in {double.address for double in new}
            assert sum(double.connections for double in old) == 1
            assert not any(state.alarm for state in member.states)


async def test_client_who_comes_late_follows_the_chain() -> None:
    async with doubles(*[no_faults] * 4) as servers:
        first, second, third = (servers_among(place, [servers[place]]) for place in range(3))
        for double in servers[:3]:
            double.certificates = (encoded(second, signers=(1,)), encoded(third, signers=(2,)))
        async with member_of(servers[:1], known=first) as member:
            await member.until(lambda: member.moves)
            await member.until(lambda: member.connection.server == servers[2].address)
            await member.connection.append_entry(EPOCH, b"here")

            assert member.moves == [third]


async def test_server_that_stays_is_kept_when_others_come() -> None:
    async with doubles(no_faults, no_faults) as servers:
        grown = servers_among(1, servers)
        async with member_of(servers[:1], known=servers_among(0, servers[:1])) as member:
            await member.connection.append_entry(EPOCH, b"before")
            await servers[0].move(encoded(grown, signers=(1,)))
            await member.connection.append_entry(EPOCH, b"after")
            await member.until(lambda: member.moves)

            assert servers[0].connections == 1
            servers[0].cut_all()
            await member.connection.append_entry(EPOCH, b"anywhere")


@pytest.mark.parametrize("signers", [(), (1,), (4, 5, 6), (1, 2, 9)])
async def test_room_that_did_not_move_raises_an_alarm_and_its_server_is_left(signers: tuple[int, ...]) -> None:
    async with doubles(*[no_faults] * 3) as servers:
        known, lie = servers_among(0, servers), encoded(servers_among(1, servers[:1]), signers=signers)
        servers[0].certificates = (lie,)
        async with member_of(servers, known=known) as member:
            await member.connection.append_entry(EPOCH, b"said elsewhere")
            await member.until(lambda: any(state.alarm for state in member.states))

            assert not member.moves
            assert member.connection.server != servers[0].address


async def test_replayed_move_raises_an_alarm() -> None:
    async with doubles(no_faults) as servers:
        known = servers_among(0, servers)
        move = encoded(servers_among(1, servers), signers=(1,))
        async with member_of(servers, known=known) as member:
            await member.connection.append_entry(EPOCH, b"before")
            await servers[0].move(move, move)
            await member.until(lambda: any(state.alarm for state in member.states))

            assert not member.moves
