"""The shell over real sockets: no gap, no double, whatever is cut."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio
import trio.testing

from client import connection_limits as limits
from client.connection import (
    ConnectionState,
    Deliveries,
    RoomConnection,
    ServersMoved,
    SessionState,
    StateChanged,
    open_room_connection,
)
from client.errors import OutcomeUnknownError, StaleEpochError, UnavailableError, UsageError
from tests.client.room_server_double import ROOM_ID, Fault, Faults, OwnKeys, ServerDouble, SharedLog, no_faults
from tests.wire.certificates import encoded
from wire import limits as wire_limits
from wire.certificate import RoomServers, Server
from wire.identity import NodeIdentity, ServerAddress
from wire.ids import ClientId, GroupEpoch, RoomEpoch, Sequence
from wire.messages import Append, OpenSession, Ping
from wire.room import (
    CommitBody,
    Delivery,
    ResultKind,
    chain_start,
    decode_block_header,
    decode_entries,
    encode_app_block,
    encode_commit_block,
)

EPOCH = RoomEpoch(0)
CLIENT = ClientId(b"c" * 16)
NOBODY = ServerAddress("127.0.0.1", 1, NodeIdentity(b"n" * 32).public)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses are real here, so they are short."""
    monkeypatch.setattr(limits, "BACKOFF_S_MIN", 0.001)
    monkeypatch.setattr(limits, "BACKOFF_S_MAX", 0.01)
    monkeypatch.setattr(limits, "PROOF_RETRY_S", 0.002)
    monkeypatch.setattr(limits, "RESEND_S_MIN", 0.001)


@asynccontextmanager
async def doubles(*faults: Faults, log: SharedLog | None = None) -> AsyncIterator[list[ServerDouble]]:
    """One server for each kind of faults."""
    log = log or SharedLog()
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(ServerDouble(log, index + 1, faults=kind).serving())
            for index, kind in enumerate(faults or (no_faults,))
        ]


class Member:
    """A connection and what it was given."""

    def __init__(self, connection: RoomConnection) -> None:
        self.connection = connection
        self.deliveries: list[Delivery] = []
        self.states: list[StateChanged] = []
        self.moves: list[RoomServers] = []
        self.grew = trio.Event()

    async def listen(self) -> None:
        async for event in self.connection.events():
            if isinstance(event, Deliveries):
                self.deliveries += event.deliveries
            elif isinstance(event, ServersMoved):
                self.moves.append(event.known)
            else:
                self.states.append(event)
            self.grew.set()
            self.grew = trio.Event()

    async def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            await self.grew.wait()

    @property
    def entries(self) -> list[bytes]:
        return [entry for delivery in self.deliveries for entry in decode_entries(delivery.block)]


@asynccontextmanager
async def member_of(
    servers: list[ServerDouble],
    *,
    keys: OwnKeys | None = None,
    after: int = 0,
    session: SessionState | None = None,
    known: RoomServers | None = None,
) -> AsyncIterator[Member]:
    """A member that listens."""
    addresses = [server.address for server in servers]
    with trio.fail_after(20):
        async with (
            open_room_connection(
                ROOM_ID,
                addresses,
                keys or OwnKeys(),
                client_id=CLIENT,
                after=Sequence(after),
                session=session,
                known=known,
            ) as connection,
            trio.open_nursery() as nursery,
        ):
            member = Member(connection)
            nursery.start_soon(member.listen)
            yield member
            nursery.cancel_scope.cancel()


def commit_block(epoch: int) -> bytes:
    body = CommitBody(commit=b"c", group_info=b"g", next_write_key=b"w" * 32, next_read_key=b"r" * 32)
    return encode_commit_block(RoomEpoch(epoch), body)


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


# --- servers that lie or fall silent ---------------------------------------------------------------------------------


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
