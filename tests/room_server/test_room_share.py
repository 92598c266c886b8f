"""What rooms may take: the arithmetic, an edge that holds blocks back, and people who lose nothing by it."""

from __future__ import annotations

import math
from pathlib import Path

import hypothesis.strategies as st
import msgspec
import pytest
import trio
from hypothesis import given

from client.room import Room
from room_server import limits
from room_server.config import LimitsConfig
from room_server.room_share import NO_QUOTA, Bucket, Quotas, RoomQuota, RoomShare
from room_server.roster import Policy, RoomMakers
from tests.client.communities import community, lobby, person, read_until
from tests.room_server.builders import app, commit
from tests.room_server.cluster import Cluster
from tests.room_server.fakes import Client, append
from wire.errors import RefusalCode
from wire.messages import Appended, AppendRefused
from wire.room import ResultKind, decode_result

FIVE_A_SECOND = RoomQuota(blocks_per_s=5.0)


def test_the_strictest_of_node_and_cluster_holds_and_changes_are_taken_up() -> None:
    policies: list[Policy | None] = [None]
    quotas = Quotas(LimitsConfig(), lambda: policies[0])
    assert quotas.of_rooms() is NO_QUOTA

    policies[0] = Policy(RoomMakers.EVERYBODY, 3, room_blocks_per_s=50, room_mb=0)
    assert quotas.of_rooms() == RoomQuota(blocks_per_s=50.0)
    quotas.change(LimitsConfig(room_blocks_per_s=80, room_mb=2))
    assert quotas.of_rooms() == RoomQuota(blocks_per_s=50.0, stored_bytes=2 * 1024 * 1024)
    policies[0] = None
    assert quotas.of_rooms() == RoomQuota(blocks_per_s=80.0, stored_bytes=2 * 1024 * 1024)


@given(st.lists(st.floats(0, 3), max_size=60), st.floats(0.5, 20), st.integers(1, 5))
def test_no_more_pass_than_at_once_and_by_time(pauses: list[float], per_s: float, at_once: int) -> None:
    bucket, now, passed = Bucket(), 100.0, 0
    for pause in pauses:
        now += pause
        wait_s = bucket.wait_s(now, per_s=per_s, at_once=at_once)
        passed += not wait_s
        assert 0 <= wait_s <= 1 / per_s
    assert passed <= at_once + (now - 100.0) * per_s + 1e-6


def test_who_waits_as_long_as_it_is_told_passes() -> None:
    bucket = Bucket()
    assert bucket.wait_s(1.0, per_s=4.0, at_once=1) == 0
    assert bucket.wait_s(1.0, per_s=4.0, at_once=1) == 0.25
    assert bucket.wait_s(1.25, per_s=4.0, at_once=1) == 0


def test_a_room_is_full_at_its_quota() -> None:
    share = RoomShare()
    quota = RoomQuota(stored_bytes=100.0)

    assert share.why_not(quota, 99, 0.0) is None
    full = share.why_not(quota, 100, 0.0)
    assert full is not None
    assert full[0] is RefusalCode.FULL
    assert share.why_not(NO_QUOTA, 1 << 60, 0.0) is None


def test_bytes_of_accepted_blocks_are_counted_once_and_survive_a_checkpoint(member: Client) -> None:
    [room] = member.backend.rooms
    session = member.open_session()
    block, foreign = app(0), app(9)
    for number in (1, 1):
        member.say(append(session, number, block))
        member.backend.commit()
    member.say(append(session, 2, commit(0)))
    member.backend.commit()
    member.say(append(session, 3, foreign))

    assert room.service.stored_bytes == len(block) + len(commit(0))
    state = msgspec.msgpack.decode(room.service.snapshot())
    room.service.restore(msgspec.msgpack.encode(state[:-1]))  # From before they were counted.
    assert room.service.stored_bytes == 0
    room.service.restore(msgspec.msgpack.encode(state))
    assert room.service.stored_bytes == len(block) + len(commit(0))


def refusals(heard: list[object]) -> list[tuple[int, RefusalCode]]:
    return [(one.number, one.code) for one in heard if isinstance(one, AppendRefused)]


def test_what_comes_behind_a_block_that_waits_waits_too_and_nothing_is_skipped(member: Client) -> None:
    member.backend.rooms.quota = lambda: RoomQuota(blocks_per_s=0.2)  # Two at once.
    session = member.open_session()

    heard = member.say(append(session, 1, app(0), app(0), app(0)), append(session, 4, app(0)))
    assert refusals([*heard]) == [(3, RefusalCode.BUSY), (4, RefusalCode.BUSY)]
    assert [refused.retry_after_s for refused in heard if isinstance(refused, AppendRefused)] == [5.0, 5.0]
    member.backend.clock = 6.0
    assert refusals([*member.say(append(session, 4, app(0)))]) == [(4, RefusalCode.BUSY)], "3 did not come yet"
    assert refusals([*member.say(append(session, 3, app(0), app(0)))]) == [(4, RefusalCode.BUSY)]
    member.backend.clock = 11.0
    assert refusals([*member.say(append(session, 4, app(0)))]) == []

    member.backend.commit()
    [appended] = member.hear()
    assert isinstance(appended, Appended)
    assert [(number, decode_result(result).sequence) for number, result in appended.results] == [
        (1, 1), (2, 2), (3, 3), (4, 4),
    ]  # fmt: skip


def test_a_full_room_takes_no_messages_but_what_mends_it(member: Client) -> None:
    session = member.open_session()
    member.say(append(session, 1, app(0)))
    member.backend.commit()
    member.hear()
    member.backend.rooms.quota = lambda: RoomQuota(stored_bytes=1.0)

    assert refusals([*member.say(append(session, 2, app(0)))]) == [(2, RefusalCode.FULL)]
    member.say(append(session, 2, commit(0)))
    member.backend.commit()
    [appended] = member.hear()

    assert isinstance(appended, Appended)
    assert decode_result(appended.results[0][1]).kind is ResultKind.ACCEPTED


def limit(cluster: Cluster, **changes: int) -> None:
    """Reload all nodes with other limits."""
    for node in cluster.nodes:
        assert node.running is not None
        limited = msgspec.structs.replace(node.config.limits, **changes)
        assert node.running.reload(msgspec.structs.replace(node.config, limits=limited)) == []


async def hindered(room: Room, wanted: str) -> None:
    """Wait until what is written has to wait, and it is said why."""
    while wanted not in room.hindrance:  # noqa: ASYNC110 - nothing tells of it
        await trio.sleep(0.002)


async def test_a_burst_above_the_quota_arrives_whole_once_and_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "QUOTA_BURST_S", 0.4)
    async with community(tmp_path) as cluster, person(tmp_path, "alice") as alice, person(tmp_path, "bob") as bob:
        ours = await lobby(cluster, alice)
        theirs = await bob.join(ours.link)
        limit(cluster, room_blocks_per_s=5)
        texts = [f"message {number}" for number in range(40)]

        posted = [await ours.post(texts[0])]
        with trio.fail_after(10):
            for text in texts[
                1:20
            ]:  # One after the other, until one has to wait: entries that come together share a block.
                await posted[-1].acknowledged()
                posted.append(await ours.post(text))
                if "its share" in ours.hindrance:
                    break
            await hindered(ours, "its share")
        posted += [await ours.post(text) for text in texts[len(posted) :]]
        for pending in posted:
            await pending.acknowledged()

        assert [message.text for message in await read_until(theirs, texts[-1])] == texts


async def test_a_message_to_a_full_room_waits_until_there_is_space(tmp_path: Path) -> None:
    async with community(tmp_path) as cluster, person(tmp_path, "alice") as alice:
        ours = await lobby(cluster, alice)
        for _ in range(20):
            await ours.send("x" * 60_000)
        limit(cluster, room_mb=1)

        pending = await ours.post("one more")
        await hindered(ours, "all the space")
        limit(cluster)
        await pending.acknowledged()

        assert [message.text for message in await read_until(ours, "one more")][20:] == ["one more"]
        assert ours.hindrance == ""


def test_infinity_is_no_quota() -> None:
    assert RoomQuota(math.inf, math.inf) == NO_QUOTA
