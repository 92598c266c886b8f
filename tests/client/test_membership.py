from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from client import limits
from client.errors import RefusedError
from client.membership import Newcomer
from client.room_state import Phase
from client.store import Store, knock_name, open_store
from tests.client.builders import identity_of
from tests.client.communities import community, lobby, notices_until, person, read_until
from tests.room_server.cluster import Cluster, eventually
from wire.identity import ServerAddress
from wire.ids import NodeKey, Sequence
from wire.link import Link, parse_link
from wire.messages import GetWelcome, Message, StoredWelcomeReply


class InThread:
    """A store as rooms use it."""

    def __init__(self, store: Store) -> None:
        self.store = store

    async def run(self, act):  # type: ignore[no-untyped-def]  # a fake of a generic method
        return act(self.store)


def store_in(folder: Path) -> InThread:
    folder.mkdir(exist_ok=True)
    return InThread(open_store(folder / "store.db", b"k" * 32))


async def test_a_newcomer_is_stored_before_and_after(tmp_path: Path) -> None:
    async with community(tmp_path) as cluster, person(tmp_path, "alice") as alice:
        ours = await lobby(cluster, alice)
        link = parse_link(ours.link)
        store = store_in(tmp_path / "bob")

        await Newcomer(link, identity_of("bob"), store).join([node.address for node in cluster.nodes])

        stored = store.store.room(link.room_id)
        assert stored is not None
        assert stored.phase is Phase.JOINING
        assert stored.record.name == "lobby"
        assert len(store.store.memory(link.room_id).in_flight) == 1
        assert (await notices_until(ours, "JOINED"))[-1].sender.name == "bob"
        store.store.close()


async def test_another_links_secret_opens_nothing(tmp_path: Path) -> None:
    async with community(tmp_path) as cluster, person(tmp_path, "alice") as alice:
        ours = await lobby(cluster, alice)
        link = parse_link(ours.link)
        wrong = Link(root_public=link.root_public, secret=b"x" * 16, hints=link.hints)
        store = store_in(tmp_path / "mallory")
        newcomer = Newcomer(wrong, identity_of("mallory"), store)

        with trio.move_on_after(1) as giving_up:
            await newcomer.join([node.address for node in cluster.nodes])

        assert giving_up.cancelled_caught
        assert any("proof" in failure.lower() for failure in newcomer.failures)
        assert store.store.rooms() == []
        store.store.close()


async def test_the_same_key_twice_is_refused(tmp_path: Path) -> None:
    async with community(tmp_path) as cluster, person(tmp_path, "alice") as alice:
        ours = await lobby(cluster, alice)
        link = parse_link(ours.link)
        servers = [node.address for node in cluster.nodes]
        store = store_in(tmp_path / "bob")
        await Newcomer(link, identity_of("bob"), store).join(servers)

        with pytest.raises(RefusedError, match="in the room already"):
            await Newcomer(link, identity_of("bob"), store).join(servers)

        store.store.close()


async def test_servers_out_of_reach_are_listed(tmp_path: Path) -> None:
    store = store_in(tmp_path / "bob")
    link = Link(root_public=b"r" * 32, secret=b"s" * 16)
    newcomer = Newcomer(link, identity_of("bob"), store)
    assert newcomer.failures == ()

    with trio.move_on_after(0.5):
        await newcomer.join([ServerAddress("127.0.0.1", 9, NodeKey(b"k" * 32))])

    assert "127.0.0.1:9" in newcomer.failures[0]
    store.store.close()


async def crowd(cluster: Cluster, link: Link, folder: Path, count: int) -> list[InThread]:
    """So many people with one link at one moment; their stores, once all are in."""
    servers = [node.address for node in cluster.nodes]
    stores = [store_in(folder / f"guest {number}") for number in range(count)]
    async with trio.open_nursery() as nursery:
        for number, store in enumerate(stores):
            nursery.start_soon(Newcomer(link, identity_of(f"guest {number}"), store).join, servers)
    return stores


async def test_a_crowd_is_let_in_by_a_member_in_a_few_epochs(tmp_path: Path) -> None:
    async with community(tmp_path) as cluster, person(tmp_path, "alice") as alice:
        ours = await lobby(cluster, alice)

        stores = await crowd(cluster, parse_link(ours.link), tmp_path, 12)

        await eventually(lambda: len(ours._driver.view.group.members()) == 13)
        assert ours.epoch < 12
        assert ours.alarms == 0
        phases = [stored.phase for store in stores for stored in store.store.rooms()]
        assert phases.count(Phase.LIVE) >= 12 - ours.epoch, "most came by a Welcome"
        for store in stores:
            store.store.close()


async def test_a_crowd_gets_in_where_nobody_is_there_to_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "KNOCK_WAIT_S", 0.3)
    async with community(tmp_path) as cluster:
        async with person(tmp_path, "alice") as alice:
            link = parse_link((await lobby(cluster, alice)).link)

        stores = await crowd(cluster, link, tmp_path, 4)

        async with person(tmp_path, "alice") as alice:
            ours = await alice.room("lobby")
            await ours.caught_up()
            assert (ours.epoch, len(await ours.members()), ours.alarms) == (4, 5, 0)
        for store in stores:
            assert not store.store.get(knock_name(link.room_id)), "the next stay is under another key"
            store.store.close()


class FalseWelcome:
    """A connection to a room in which a member has put something else where a Welcome belongs."""

    async def call(self, build: Callable[[int], Message]) -> Message:
        question = build(1)
        assert isinstance(question, GetWelcome)
        return StoredWelcomeReply(1, question.room_id, b"no Welcome", Sequence(1), b"c" * 32)


async def test_a_false_welcome_does_not_bar_the_other_ways_in(tmp_path: Path) -> None:
    store = store_in(tmp_path / "bob")
    newcomer = Newcomer(Link(root_public=b"r" * 32, secret=b"s" * 16), identity_of("bob"), store)
    await newcomer._make_package()

    assert not await newcomer._is_welcome(FalseWelcome())  # type: ignore[arg-type]  # all that it asks for

    assert store.store.rooms() == []
    store.store.close()


async def test_whoever_was_let_in_by_a_member_reads_and_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with community(tmp_path) as cluster, person(tmp_path, "alice") as alice, person(tmp_path, "bob") as bob:
        ours = await lobby(cluster, alice)
        lost = []

        async def lose(newcomer: Newcomer, connection: object) -> bool:
            lost.append(newcomer)
            return False

        monkeypatch.setattr(Newcomer, "_try", lose)
        theirs = await bob.join(ours.link)
        await theirs.send("hej")
        await read_until(ours, "hej")

        assert (len(lost), ours.epoch, theirs.code) == (1, 1, ours.code)


async def test_a_room_by_approval_lets_in_whom_its_owner_approves_and_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "APPROVAL_LOOK_S", (0.1, 0.2))
    async with community(tmp_path) as cluster:
        async with person(tmp_path, "alice") as alice:
            ours = await alice.create_room("lobby", nodes=[str(cluster.nodes[0].address)], by_approval=True)
            link = ours.link
        async with person(tmp_path, "bob") as bob, person(tmp_path, "mallory") as mallory:
            for stranger in (bob, mallory):
                with trio.move_on_after(1.0) as waiting:
                    await stranger.join(link)
                assert waiting.cancelled_caught
                assert "let you in" in stranger.tried[-1]

        async with person(tmp_path, "alice") as alice, person(tmp_path, "bob") as bob:
            ours = await alice.room("lobby")
            await ours.caught_up()
            known = {waiting.name: waiting for waiting in ours.knocks()}
            assert known.keys() == {"bob", "mallory"}
            assert known["bob"].fingerprint == bob.fingerprint
            await ours.deny([known["mallory"]])
            await ours.approve([known["bob"]])
            with pytest.raises(RefusedError, match="waits any more"):
                await ours.approve([known["mallory"]])

            theirs = await bob.join(link)
            assert not await bob._store.run(lambda store: store.get(knock_name(theirs.room_id)))
            await theirs.send("thank you")
            await read_until(ours, "thank you")
            assert [member.name for member in await ours.members()] == ["alice", "bob"]
            with pytest.raises(RefusedError, match="only the room's owner"):
                await theirs.approve([known["mallory"]])


async def test_somebody_who_comes_back_does_not_wait_for_ever_at_one_door(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "APPROVAL_WAIT_S", 0.3)
    async with community(tmp_path) as cluster, person(tmp_path, "alice") as alice:
        club = await alice.create_room("club", nodes=[str(cluster.nodes[0].address)], by_approval=True)
        code, file = await alice.make_recovery()
        async with person(tmp_path, "alices phone") as phone:
            [failed] = await phone.recover(file, code)

            assert "let you in" in failed.failure
            assert [waiting.key for waiting in club.knocks()] == [alice.identity.user_key]
            await club.approve(club.knocks())
            assert (await phone.join(club.link)).phase is Phase.LIVE


async def test_who_waits_for_approval_is_remembered(tmp_path: Path) -> None:
    async with community(tmp_path) as cluster:
        async with person(tmp_path, "alice") as alice, person(tmp_path, "bob") as bob:
            ours = await alice.create_room("lobby", nodes=[str(cluster.nodes[0].address)], by_approval=True)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(bob.join, ours.link)
                await eventually(lambda: len(ours.knocks()) == 1)
                nursery.cancel_scope.cancel()

        async with person(tmp_path, "alice") as alice:
            ours = await alice.room("lobby")
            assert [waiting.name for waiting in ours.knocks()] == ["bob"]
            await ours.deny(ours.knocks())
            assert ours.knocks() == []
        async with person(tmp_path, "alice") as alice:
            assert (await alice.room("lobby")).knocks() == []
