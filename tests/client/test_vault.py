from __future__ import annotations

from pathlib import Path

import pytest

from client.errors import RefusedError, UnavailableError, UsageError
from client.portable import Luggage
from client.recovery import RecoveredRoom, Recovery, open_recovery, seal_recovery
from client.vault import fetch_recovery, keep_recovery, link_of
from tests.client.builders import entropy_of
from tests.client.communities import community, lobby, person, read_until
from wire.errors import DecodeError
from wire.link import Hint

CODE, _ = seal_recovery(Recovery(1, b"u" * 32, "alice", ()), entropy_of(1))


async def test_somebody_who_lost_everything_comes_back_with_the_code_alone(tmp_path: Path) -> None:
    async with community(tmp_path) as cluster:
        async with person(tmp_path, "alice") as alice, person(tmp_path, "bob") as bob:
            ours = await lobby(cluster, alice)
            theirs = await bob.join(ours.link)
            await ours.send("before the fire")
            await read_until(theirs, "before the fire")
            code, key = await keep_recovery(alice), alice.identity.user_key

        async with person(tmp_path, "ashes") as again, person(tmp_path, "bob") as bob:
            [came] = await again.recover(await fetch_recovery(code), code)

            assert (came.name, came.failure) == ("lobby", "")
            assert (again.name, again.identity.user_key) == ("alice", key)
            room, theirs = await again.room("lobby"), await bob.room("lobby")
            assert room.is_owner
            await room.send("here again")
            heard = await read_until(theirs, "here again")
            assert heard[-1].sender.key == key
            assert (await read_until(room, "here again"))[0].text == "here again"
            [lost] = [member for member in await room.members() if member.key == key and not member.is_me]
            await room.remove(lost)
            assert len(await room.members()) == 2


async def test_servers_keep_what_only_the_code_opens(tmp_path: Path) -> None:
    async with community(tmp_path) as cluster, person(tmp_path, "alice") as alice:
        await lobby(cluster, alice)
        code = await keep_recovery(alice)
        kept = await fetch_recovery(code)

        assert open_recovery(kept, code).user_seed == alice.identity.user_seed
        disk = b"".join(path.read_bytes() for path in (tmp_path / "servers").rglob("*") if path.is_file())
        assert link_of(code).room_id in disk
        for secret in (alice.identity.user_seed, b"alice", kept, kept[40:72]):
            assert secret not in disk


async def test_another_code_finds_nothing(tmp_path: Path) -> None:
    async with community(tmp_path) as cluster, person(tmp_path, "alice") as alice:
        await lobby(cluster, alice)
        _, _, places = (await keep_recovery(alice)).partition("@")

        with pytest.raises(UnavailableError, match="nobody could say"):
            await fetch_recovery(f"{CODE}@{places}")


async def test_too_many_rooms_are_told(tmp_path: Path) -> None:
    async with community(tmp_path) as cluster, person(tmp_path, "alice") as alice:
        await lobby(cluster, alice)
        portable = await alice.portable(Luggage(archive_bytes_max=0))
        many = Recovery(1, portable.user_seed, "alice", (RecoveredRoom("SAMTALA:" + "A" * 250),) * 3000)
        alice.make_recovery = lambda _: _sealed(many)  # type: ignore[method-assign]

        with pytest.raises(RefusedError, match="too many rooms"):
            await keep_recovery(alice)


async def _sealed(recovery: Recovery) -> tuple[str, bytes]:
    return seal_recovery(recovery, entropy_of(2))


def test_a_code_says_where_its_file_is() -> None:
    link = link_of(f"{CODE}@ 127.0.0.1:7610, [::1]:7611,room.example:7612")

    assert link.hints == (
        Hint(host="127.0.0.1", port=7610), Hint(host="::1", port=7611), Hint(host="room.example", port=7612),
    )  # fmt: skip
    assert link_of(CODE.lower()).room_id == link.room_id


@pytest.mark.parametrize("places", ["nowhere", "host:", ":7610", "host:123456"])
def test_what_is_no_address_is_told(places: str) -> None:
    with pytest.raises(DecodeError, match="no address"):
        link_of(f"{CODE}@{places}")


async def test_a_slip_is_told() -> None:
    with pytest.raises(UsageError, match="slip"):
        await fetch_recovery("A" + CODE[1:] if CODE[0] != "A" else "B" + CODE[1:])
