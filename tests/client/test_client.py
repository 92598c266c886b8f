from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import trio

from client import limits
from client.client import open_client
from client.errors import (
    NotFoundError,
    OutcomeUnknownError,
    PreconditionError,
    RefusedError,
    UnavailableError,
    UsageError,
)
from client.room_state import InFlight, Outgoing, Phase, RoomChange
from client.store import Store
from client.timeline import ItemKind
from tests.client.communities import community, lobby, notices_until, person, read_until
from tests.room_server.cluster import eventually
from wire.link import Hint, parse_link


async def test_a_room_is_made_found_by_its_link_and_talked_in(tmp_path: Path) -> None:
    async with community(tmp_path) as cluster, person(tmp_path, "alice") as alice, person(tmp_path, "bob") as bob:
        ours = await lobby(cluster, alice)
        theirs = await bob.join(ours.link)

        first = await ours.send("hej")
        second = await theirs.send("hallå")

        assert (first.sequence, second.sequence) == (2, 3)
        seen = await read_until(ours, "hallå")
        assert [(message.sequence, message.sender.name, message.text, message.mine) for message in seen] == [
            (2, "alice", "hej", True),
            (3, "bob", "hallå", False),
        ]
        again = await read_until(theirs, "hallå")
        assert [(message.sequence, message.text) for message in again] == [(2, "hej"), (3, "hallå")]
        assert theirs.name == "lobby"
        assert ours.code == theirs.code
        assert [(member.name, member.is_me) for member in await theirs.members()] == [("alice", False), ("bob", True)]
        assert all(member.is_verified for member in await ours.members())
        assert (await ours.status()).spare_failures == 1


async def test_a_restarted_client_goes_on_where_it_was(tmp_path: Path) -> None:
    async with community(tmp_path) as cluster, person(tmp_path, "alice") as alice:
        ours = await lobby(cluster, alice)
        async with person(tmp_path, "bob") as bob:
            theirs = await bob.join(ours.link)
            await ours.send("one")
            await theirs.send("two")
            await read_until(theirs, "two")
        await ours.send("three")
        await ours.update_keys()
        await ours.send("four")

        async with person(tmp_path, "bob") as bob:
            theirs = await bob.room("lobby")
            news = await read_until(theirs, "four", since=None)
            whole = await read_until(theirs, "four")
            sent = await theirs.send("five")

            assert [message.text for message in news] == ["three", "four"]
            assert [message.text for message in whole] == ["one", "two", "three", "four"]
            assert [message.sequence for message in whole] == [2, 3, 4, 6]
            assert sent.sequence == 7
            assert theirs.undecryptable == 0


async def test_nobody_notices_that_a_server_died(tmp_path: Path) -> None:
    async with community(tmp_path) as cluster, person(tmp_path, "alice") as alice, person(tmp_path, "bob") as bob:
        ours = await lobby(cluster, alice)
        theirs = await bob.join(ours.link)
        leader = (await ours.status()).primary
        sequences: list[int] = []

        async def talk() -> None:
            for number in range(40):
                sent = await ours.send(f"line {number}")
                sequences.append(sent.sequence)
            await ours.send("end")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(talk)
            await eventually(lambda: len(sequences) >= 10)
            await cluster.kill(next(node for node in cluster.nodes if node.address.node_key == leader))
            messages = await read_until(theirs, "end")

        assert [message.text for message in messages] == [*(f"line {number}" for number in range(40)), "end"]
        assert [message.sequence for message in messages][:-1] == sequences
        assert ours.undecryptable == theirs.undecryptable == 0
        assert ours.alarms == theirs.alarms == 0


async def test_a_removed_member_is_out_for_reading_and_writing(tmp_path: Path) -> None:
    async with community(tmp_path) as cluster, person(tmp_path, "alice") as alice, person(tmp_path, "bob") as bob:
        ours = await lobby(cluster, alice)
        theirs = await bob.join(ours.link)
        await ours.caught_up()
        await notices_until(ours, "JOINED")
        member = next(member for member in await ours.members() if member.name == "bob")

        await ours.remove(member)

        notices = await notices_until(theirs, "REMOVED")
        assert notices[-1].sender.name == "bob"
        assert theirs.phase is Phase.REMOVED
        with pytest.raises(RefusedError, match="removed"):
            await theirs.send("let me in")
        await ours.send("alone")
        assert [message.text async for message in theirs.messages(0)] == []
        assert len(await ours.members()) == 1


async def test_coming_in_costs_the_room_one_commit(tmp_path: Path) -> None:
    async with (
        community(tmp_path) as cluster,
        person(tmp_path, "alice") as alice,
        person(tmp_path, "bob") as bob,
        person(tmp_path, "carol") as carol,
    ):
        ours = await lobby(cluster, alice)

        for client in (bob, carol):
            theirs = await client.join(ours.link)
            assert theirs.phase is Phase.LIVE

        assert theirs.epoch == 2


async def test_people_who_join_at_the_same_moment_all_get_in(tmp_path: Path) -> None:
    names = ["bob", "carol", "dave"]
    async with community(tmp_path) as cluster, person(tmp_path, "alice") as alice:
        ours = await lobby(cluster, alice)

        async def come(name: str) -> None:
            async with person(tmp_path, name) as client:
                room = await client.join(ours.link)
                await room.send(f"{name} is here")

        async with trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(come, name)

        await ours.send("all?")
        messages = await read_until(ours, "all?")
        assert {message.text for message in messages} == {f"{name} is here" for name in names} | {"all?"}
        assert len(await ours.members()) == 4
        assert ours.undecryptable == 0


async def test_a_room_is_found_through_the_dht_when_the_hints_are_dead(tmp_path: Path) -> None:
    async with community(tmp_path) as cluster, person(tmp_path, "alice") as alice, person(tmp_path, "bob") as bob:
        ours = await lobby(cluster, alice)
        theirs = await bob.join(ours.link)
        other = await alice.create_room("second", nodes=[str(cluster.nodes[1].address)])
        dead = msgspec.structs.replace(parse_link(other.link), hints=(Hint(host="127.0.0.1", port=9),))

        found = await bob.join(dead.to_text())

        assert found.name == "second"
        assert theirs.room_id != found.room_id
        assert [summary.name for summary in await bob.rooms()] == ["lobby", "second"]


async def test_an_old_message_is_finished_by_a_retry_and_never_sent_twice(tmp_path: Path) -> None:
    async with community(tmp_path) as cluster, person(tmp_path, "bob") as bob:
        async with person(tmp_path, "alice") as alice:
            ours = await lobby(cluster, alice)
            theirs = await bob.join(ours.link)
            sent = await ours.send("known")
            room_id = ours.room_id
            lost = Outgoing(b"L" * 16, 1, "lost before it left")
            await ours.aclose()
            change = RoomChange(sent=(InFlight(b"d" * 32, (lost,)),))
            await alice._store.run(lambda store: store.apply(room_id, change))

        async with person(tmp_path, "alice") as alice:
            ours = await alice.room("lobby")
            again = await ours.retry(sent.message_id)
            late = await ours.retry(lost.message_id)
            with pytest.raises(NotFoundError):
                await ours.retry(b"?" * 16)

            assert again.sequence == sent.sequence
            assert late.message_id == lost.message_id
            messages = await read_until(theirs, "lost before it left")
            assert [message.text for message in messages] == ["known", "lost before it left"]
            assert await ours.unsent() == []


async def test_a_join_that_was_cut_off_is_finished_later(tmp_path: Path) -> None:
    async with community(tmp_path) as cluster, person(tmp_path, "alice") as alice:
        ours = await lobby(cluster, alice)
        async with person(tmp_path, "bob") as bob:
            theirs = await bob.join(ours.link)
            await theirs.aclose()
            room_id = theirs.room_id

            def unfinish(store: Store) -> None:
                store.apply(room_id, RoomChange(phase=Phase.JOINING, sent=(InFlight(b"j" * 32, ()),)))

            await bob._store.run(unfinish)

        async with person(tmp_path, "bob") as bob:
            theirs = await bob.room("lobby")
            await ours.send("welcome")
            await read_until(theirs, "welcome")

            assert theirs.phase is Phase.LIVE
            assert len(await ours.members()) == 2


async def test_a_broken_room_is_mended_by_joining_again(tmp_path: Path) -> None:
    async with community(tmp_path) as cluster, person(tmp_path, "alice") as alice, person(tmp_path, "bob") as bob:
        ours = await lobby(cluster, alice)
        theirs = await bob.join(ours.link)
        await theirs.aclose()
        await bob._store.run(lambda store: store.apply(theirs.room_id, RoomChange(phase=Phase.BROKEN)))

        again = await bob.join(ours.link)
        await ours.send("better?")

        assert [message.text for message in await read_until(again, "better?")] == ["better?"]
        assert len(await ours.members()) == 2


async def test_leaving_says_goodbye_and_coming_back_is_possible(tmp_path: Path) -> None:
    async with community(tmp_path) as cluster, person(tmp_path, "alice") as alice, person(tmp_path, "bob") as bob:
        ours = await lobby(cluster, alice)
        await bob.join(ours.link)

        await bob.leave("lobby")

        notices = await notices_until(ours, "LEFT")
        assert notices[-1].sender.name == "bob"
        assert await bob.rooms() == []
        again = await bob.join(ours.link, name="robert")
        assert "robert" in {member.name for member in await again.members()}


async def test_closing_tells_senders_what_is_known(tmp_path: Path) -> None:
    async with community(tmp_path) as cluster, person(tmp_path, "alice") as alice:
        ours = await lobby(cluster, alice)
        await ours.caught_up()
        for node in cluster.nodes:
            await cluster.kill(node)
        await eventually(lambda: ours.connection.state.value != "live")
        waiting = await ours.post("nobody hears this")

        await ours.aclose()

        with pytest.raises(UnavailableError, match="closed before it was sent"):
            await waiting.acknowledged()
        with pytest.raises(UnavailableError, match="closed"):
            await ours.send("too late")


async def test_a_message_in_flight_at_the_end_has_an_unknown_outcome_with_its_id(tmp_path: Path) -> None:
    async with community(tmp_path) as cluster, person(tmp_path, "alice") as alice:
        ours = await lobby(cluster, alice)
        await ours.send("first")
        server = ours.connection.server
        assert server is not None
        # Where we are attached already, a message leaves; elsewhere it would wait until a majority answers.
        for node in cluster.nodes:
            if node.address.node_key != server.node_key:
                await cluster.kill(node)
        pending = await ours.post("no majority")
        await eventually(lambda: ours._driver.view.is_in_flight)
        assert not await ours.withdraw(pending)

        await ours.aclose()

        with pytest.raises(OutcomeUnknownError) as caught:
            await pending.acknowledged()
        assert caught.value.retry_id == pending.message_id.hex()


async def test_a_cancelled_send_that_did_not_leave_is_taken_back(tmp_path: Path) -> None:
    async with community(tmp_path) as cluster, person(tmp_path, "alice") as alice:
        ours = await lobby(cluster, alice)
        await ours.caught_up()
        for node in cluster.nodes:
            await cluster.kill(node)
        await eventually(lambda: ours.connection.state.value != "live")
        with trio.move_on_after(0.05):
            await ours.send("never mind")
        for node in cluster.nodes:
            await cluster.start(node)

        await ours.send("this one")

        assert [message.text for message in await read_until(ours, "this one")] == ["this one"]


async def test_a_cluster_without_majority_makes_no_room(tmp_path: Path) -> None:
    async with community(tmp_path) as cluster, person(tmp_path, "alice") as alice:
        for node in cluster.nodes[1:]:
            await cluster.kill(node)

        with pytest.raises(UnavailableError, match="majority"):
            await lobby(cluster, alice)

        assert await alice.rooms() == []


async def test_a_room_that_nobody_knows_is_said_to_be_so(tmp_path: Path) -> None:
    async with community(tmp_path) as cluster, person(tmp_path, "alice") as alice, person(tmp_path, "bob") as bob:
        ours = await lobby(cluster, alice)
        wrong = msgspec.structs.replace(parse_link(ours.link), secret=b"x" * 16)

        with pytest.raises(UnavailableError, match="nobody could say") as caught:
            await bob.join(wrong.to_text())

        assert any("hints of the link" in line for line in caught.value.tried)


async def test_two_clients_may_not_share_a_profile(tmp_path: Path) -> None:
    async with open_client(tmp_path / "me"):
        with pytest.raises(PreconditionError, match="in use by process"):
            async with open_client(tmp_path / "me"):
                pass


async def test_a_first_name_is_invented_and_a_given_one_is_kept(tmp_path: Path) -> None:
    async with open_client(tmp_path / "me") as client:
        assert client.name.startswith("guest-")
        fingerprint = client.fingerprint
    async with open_client(tmp_path / "me", name="alice") as client:
        assert client.name == "alice"
    async with open_client(tmp_path / "me") as client:
        assert (client.name, client.fingerprint) == ("alice", fingerprint)


@pytest.mark.parametrize("name", ["", "x" * 65, "bell\x07", " padded "])
async def test_names_that_cannot_be_shown_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="a name has"):
        async with open_client(tmp_path / "me", name=name):
            pass


async def test_what_is_no_link_or_address_is_a_usage_error(tmp_path: Path) -> None:
    async with open_client(tmp_path / "me") as client:
        with pytest.raises(UsageError, match="no link"):
            await client.join("SAMTALA:NONSENSE")
        with pytest.raises(UsageError, match="no server's address"):
            await client.create_room("lobby", nodes=["localhost"])
        with pytest.raises(UsageError, match="needs servers"):
            await client.create_room("lobby", nodes=[])
        with pytest.raises(UsageError, match="a room's name"):
            await client.create_room("", nodes=["x"])
        with pytest.raises(NotFoundError, match="in no room"):
            await client.room("lobby")
        with pytest.raises(NotFoundError):
            await client.leave("lobby")


async def test_errors_of_the_body_come_out_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_client(tmp_path / "me"):
            raise ZeroDivisionError


async def test_rooms_are_told_apart_by_their_ids(tmp_path: Path) -> None:
    async with community(tmp_path) as cluster, person(tmp_path, "alice") as alice:
        one = await lobby(cluster, alice)
        two = await lobby(cluster, alice)

        with pytest.raises(NotFoundError, match="several rooms"):
            await alice.room("lobby")

        assert await alice.room(one.room_id.hex()[:8]) is one
        assert await alice.room(two.link) is two


async def test_a_forged_history_is_shown_not_hidden(tmp_path: Path) -> None:
    """A member replays another's ciphertext through the servers, which cannot know: everybody sees that, once."""
    async with community(tmp_path) as cluster, person(tmp_path, "alice") as alice, person(tmp_path, "bob") as bob:
        ours = await lobby(cluster, alice)
        theirs = await bob.join(ours.link)
        await theirs.caught_up()
        blocks: list[bytes] = []
        connection = ours._driver.connection
        assert connection is not None
        append = connection.append
        connection.append = lambda block: (blocks.append(block), append(block))[1]  # type: ignore[method-assign]
        await ours.send("once")
        replay = theirs._driver.connection
        assert replay is not None
        await replay.append(blocks[0]).result()

        notices = await notices_until(theirs, "REFUSED")

        assert "replay" in notices[-1].text
        assert theirs.undecryptable == 1
        assert [message.text for message in await read_until(theirs, "once")] == ["once"]
        assert [notice.kind for notice in await notices_until(ours, "REFUSED")][-1] is ItemKind.REFUSED


async def test_a_new_link_closes_the_old_one_and_members_stay(tmp_path: Path) -> None:
    async with (
        community(tmp_path) as cluster,
        person(tmp_path, "alice") as alice,
        person(tmp_path, "bob") as bob,
        person(tmp_path, "carol") as carol,
        person(tmp_path, "mallory") as mallory,
    ):
        ours = await lobby(cluster, alice)
        theirs = await bob.join(ours.link)
        old = ours.link
        with pytest.raises(RefusedError, match="only the device that made"):
            await theirs.rotate_link()

        new = await ours.rotate_link()
        await ours.send("new link")
        await read_until(theirs, "new link")

        assert ours.link == theirs.link == new != old
        joined = await carol.join(new)
        await joined.send("hello")
        await read_until(ours, "hello")
        await read_until(theirs, "hello")
        with trio.move_on_after(1.5) as scope:
            await mallory.join(old)
        assert scope.cancelled_caught
        assert {member.name for member in await ours.members()} == {"alice", "bob", "carol"}


async def test_whoever_was_removed_cannot_come_back_by_the_link_they_know(tmp_path: Path) -> None:
    async with community(tmp_path) as cluster, person(tmp_path, "alice") as alice, person(tmp_path, "bob") as bob:
        ours = await lobby(cluster, alice)
        theirs = await bob.join(ours.link)
        await theirs.send("hello")
        await read_until(ours, "hello")
        [member] = [member for member in await ours.members() if member.name == "bob"]

        await ours.remove(member)

        await eventually(lambda: theirs.phase is Phase.REMOVED)
        with trio.move_on_after(1.5) as scope:
            await bob.join(theirs.link)
        assert scope.cancelled_caught
        assert [member.name for member in await ours.members()] == ["alice"]


async def test_a_rotated_link_survives_a_restart_of_servers_and_owner(tmp_path: Path) -> None:
    async with community(tmp_path) as cluster, person(tmp_path, "bob") as bob:
        async with person(tmp_path, "alice") as alice:
            ours = await lobby(cluster, alice)
            new = await ours.rotate_link()
        async with person(tmp_path, "alice") as alice:
            ours = await alice.room("lobby")
            assert ours.link == new
            theirs = await bob.join(new)
            await theirs.send("found it")
            await read_until(ours, "found it")


async def test_a_device_changes_its_keys_by_itself_when_it_is_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with community(tmp_path) as cluster, person(tmp_path, "bob") as bob:
        async with person(tmp_path, "alice") as alice:
            ours = await lobby(cluster, alice)
            theirs = await bob.join(ours.link)
            await ours.send("one")
            await read_until(theirs, "one")
            begun = theirs.epoch
        monkeypatch.setattr(limits, "RENEW_S", 0.5)
        monkeypatch.setattr(limits, "RENEW_SPREAD_S", 0.1)
        async with person(tmp_path, "alice") as alice:
            await alice.room("lobby")

            await eventually(lambda: theirs.epoch > begun)

            monkeypatch.setattr(limits, "RENEW_S", 1000.0)
            await theirs.send("still here")
            assert theirs.undecryptable == theirs.alarms == 0


async def test_a_founder_makes_a_commit_of_their_own_once_others_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "FIRST_COMMIT_S", 0.3)
    monkeypatch.setattr(limits, "FIRST_COMMIT_SPREAD_S", 0.0)
    async with community(tmp_path) as cluster, person(tmp_path, "alice") as alice, person(tmp_path, "bob") as bob:
        ours = await lobby(cluster, alice)
        theirs = await bob.join(ours.link)
        begun = theirs.epoch

        await eventually(lambda: theirs.epoch > begun)

        await ours.send("with a path of my own")
        await read_until(theirs, "with a path of my own")
        await trio.sleep(1.0)
        assert theirs.epoch == begun + 1
