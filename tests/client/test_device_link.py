from __future__ import annotations

import secrets
from pathlib import Path

import pytest
import trio

import mls
from client import limits
from client.archive import FULL_HISTORY, NO_HISTORY
from client.client import Client
from client.device_link import ask_to_be_linked, offer_device
from client.errors import RefusedError, UnavailableError, UsageError
from client.recovery import CameBack
from tests.client.communities import community, lobby, person, read_until
from wire.channel import ClientChannel, open_channel
from wire.errors import RefusalCode
from wire.identity import ServerAddress
from wire.ids import NodeKey, RoomEpoch, RoomId, Sequence
from wire.link import parse_link
from wire.messages import Deliver, Proved, Refused, Subscribe
from wire.room import Delivery, Purpose


async def link(old: Client, new: Client, *, is_same: bool = True) -> list[CameBack]:
    """Both sides of a linking, and the person who compares the words."""
    codes, codes_out = trio.open_memory_channel[str](1)[::-1]
    shown: dict[str, str] = {}
    came: list[CameBack] = []

    async def ask() -> None:
        async with ask_to_be_linked(new, await codes.receive()) as asking:
            shown["new"] = await asking.words()
            came.extend(await asking.accept())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        async with offer_device(old, await old.servers()) as offer:
            await codes_out.send(offer.code)
            shown["old"] = await offer.words()
            await (offer.hand_over() if is_same else offer.refuse())
    assert shown["old"] == shown["new"]
    return came


async def test_a_linked_device_is_the_same_person_in_every_room(tmp_path: Path) -> None:
    async with community(tmp_path) as cluster, person(tmp_path, "alice") as old, person(tmp_path, "phone") as new:
        ours = await lobby(cluster, old)

        came = await link(old, new)

        assert [room.name for room in came] == ["lobby"]
        assert (new.name, new.identity.user_key) == ("alice", old.identity.user_key)
        assert new.identity.certificate.device_key != old.identity.certificate.device_key
        theirs = await new.room("lobby")
        await theirs.send("from the phone")
        [heard] = await read_until(ours, "from the phone")
        assert heard.sender.key == old.identity.user_key
        assert {member.key for member in await ours.members()} == {old.identity.user_key}
        assert all(member.is_verified for member in await ours.members())


async def test_a_linked_device_has_what_was_said_in_rooms_of_every_kind(tmp_path: Path) -> None:
    async with community(tmp_path) as cluster, person(tmp_path, "alice") as old, person(tmp_path, "phone") as new:
        node = [str(cluster.nodes[0].address)]
        for name, policy in (("forgetful", NO_HISTORY), ("annals", FULL_HISTORY)):
            room = await old.create_room(name, nodes=node, history=policy)
            for number in range(3):
                await room.send(f"{name} {number}")

        came = await link(old, new)

        assert [(room.name, room.said) for room in came] == [("forgetful", 3), ("annals", 3)]
        for name in ("forgetful", "annals"):
            theirs = await new.room(name)
            await theirs.send("from the phone")
            heard = await read_until(theirs, "from the phone")
            assert [message.text for message in heard] == [
                *(f"{name} {number}" for number in range(3)),
                "from the phone",
            ]


async def test_nothing_changes_if_the_words_differ(tmp_path: Path) -> None:
    async with community(tmp_path) as cluster, person(tmp_path, "alice") as old, person(tmp_path, "phone") as new:
        ours = await lobby(cluster, old)
        before = new.identity

        with pytest.raises(ExceptionGroup) as refused:
            await link(old, new, is_same=False)

        assert refused.group_contains(RefusedError, match="words differ", depth=None)
        assert new.identity is before
        assert len(await ours.members()) == 1


async def test_a_code_serves_one_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LINK_ANSWER_S_MAX", 1.5)
    async with community(tmp_path) as cluster, person(tmp_path, "alice") as old, person(tmp_path, "thief") as thief:
        ours = await lobby(cluster, old)
        async with offer_device(old, await old.servers()) as offer:
            code = offer.code

            async def first() -> None:
                async with person(tmp_path, "phone") as new, ask_to_be_linked(new, code) as asking:
                    await asking.words()
                    await asking.accept()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(first)
                await offer.words()
                async with ask_to_be_linked(thief, code) as asking:
                    with pytest.raises(RefusedError, match="used or has expired"):
                        await asking.words()
                await offer.hand_over()
        assert len(await ours.members()) == 2


async def test_an_expired_code_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LINK_S_MAX", 0.5)
    async with community(tmp_path) as cluster, person(tmp_path, "alice") as old:
        await lobby(cluster, old)

        with pytest.raises(UnavailableError, match="expired"):
            async with offer_device(old, await old.servers()) as offer:
                await offer.words()


async def test_only_an_empty_profile_becomes_a_device_and_only_by_a_code(tmp_path: Path) -> None:
    nobody = ServerAddress("127.0.0.1", 9, NodeKey(b"k" * 32))
    async with community(tmp_path) as cluster, person(tmp_path, "alice") as old, person(tmp_path, "bob") as empty:
        with pytest.raises(UnavailableError, match="no room yet"):
            await empty.servers()
        with pytest.raises(UnavailableError, match="no server answers"):
            async with offer_device(empty, [nobody]):
                pass
        with pytest.raises(UsageError, match="no code"):
            async with ask_to_be_linked(empty, "SAMTALA:something"):
                pass
        await lobby(cluster, old)
        async with offer_device(old, await old.servers()) as offer:
            with pytest.raises(UsageError, match="rooms already"):
                async with ask_to_be_linked(old, offer.code):
                    pass


async def test_a_revoked_device_that_keeps_its_state_reads_and_writes_nothing_more(tmp_path: Path) -> None:
    """It goes on by itself, without the client that would stop: with every key that it had, at every server."""
    async with community(tmp_path) as cluster, person(tmp_path, "alice") as old, person(tmp_path, "phone") as new:
        ours = await lobby(cluster, old)
        await link(old, new)
        theirs = await new.room("lobby")
        await theirs.send("before")
        await read_until(ours, "before")
        kept, kept_link = theirs._driver.view, parse_link(theirs.link)
        [phone] = [member for member in await ours.members() if not member.is_me]

        removed_at = await ours.remove(phone)
        after = await ours.send("after")

        await read_until(ours, "after")
        assert ours._driver.view.secrets.env_key != kept.secrets.env_key
        now = ours._driver.view.epoch
        for node in cluster.nodes:
            async with open_channel(node.address) as channel:

                async def is_refused(purpose: Purpose, seed: bytes, epoch: int, *, at: ClientChannel = channel) -> bool:
                    prove = at.proof(purpose, seed, id=1, room_id=ours.room_id, epoch=RoomEpoch(epoch))
                    while True:
                        answer = await at.call(prove)
                        if not isinstance(answer, Refused) or answer.code is not RefusalCode.UNKNOWN_EPOCH:
                            return isinstance(answer, Refused) and answer.code is RefusalCode.BAD_PROOF
                        await trio.sleep(0.05)  # This server is a little behind.

                assert await is_refused(Purpose.WRITE, kept.secrets.write_seed, now)
                assert await is_refused(Purpose.READ, kept.secrets.read_seed, now)
                assert await is_refused(Purpose.JOIN, kept_link.join_secret, 0)
            seen = await _delivered(node.address, kept.secrets.read_seed, ours.room_id, kept.epoch)
            assert seen
            assert max(delivery.first_sequence for delivery in seen) <= removed_at < after.sequence
        with pytest.raises(mls.PeerError):
            kept.group.unprotect(ours._driver.view.group.protect(b"later", entropy=secrets.token_bytes))


async def _delivered(address: ServerAddress, read_seed: bytes, room_id: RoomId, epoch: RoomEpoch) -> list[Delivery]:
    """All that a server gives to whoever proves to be a reader of an ended epoch."""
    seen: list[Delivery] = []
    async with open_channel(address) as channel:
        proved = await channel.call(channel.proof(Purpose.READ, read_seed, id=1, room_id=room_id, epoch=epoch))
        assert isinstance(proved, Proved)
        await channel.send(Subscribe(2, room_id, Sequence(0)))
        with trio.move_on_after(1.0):
            while True:
                for message in await channel.receive():
                    if isinstance(message, Deliver):
                        seen += message.deliveries
    return seen
