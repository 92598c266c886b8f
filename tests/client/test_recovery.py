from __future__ import annotations

from pathlib import Path

import pytest

from client.archive import FULL_HISTORY
from client.errors import UsageError
from client.recovery import RecoveredRoom, Recovery, open_recovery, seal_recovery
from client.room_state import Phase
from client.vault import fetch_recovery, keep_recovery
from tests.client.builders import entropy_of
from tests.client.communities import community, lobby, notices_until, person, read_until
from wire.errors import DecodeError

RECOVERY = Recovery(1, b"u" * 32, "alice", (RecoveredRoom("SAMTALA:ONE"), RecoveredRoom("SAMTALA:TWO", b"r" * 32, 7)))
CODE, FILE = seal_recovery(RECOVERY, entropy_of("recovery"))


def test_code_and_file_together_bring_everything_back() -> None:
    assert open_recovery(FILE, CODE) == RECOVERY
    assert open_recovery(FILE, CODE.lower().replace("-", " ")) == RECOVERY
    assert open_recovery(FILE, CODE.replace("O", "0").replace("I", "1").replace("B", "8")) == RECOVERY


def test_neither_says_anything_alone() -> None:
    for secret in (b"alice", b"SAMTALA", b"u" * 8):
        assert secret not in FILE
    other_code, _ = seal_recovery(RECOVERY, entropy_of("another"))
    with pytest.raises(DecodeError, match="do not belong together"):
        open_recovery(FILE, other_code)


@pytest.mark.parametrize("place", [place for place in range(0, len(CODE), 3) if CODE[place] != "-"])
def test_a_slip_in_the_code_is_told_as_such(place: int) -> None:
    letter = "A" if CODE[place] != "A" else "C"

    with pytest.raises(DecodeError, match="slip"):
        open_recovery(FILE, CODE[:place] + letter + CODE[place + 1 :])


@pytest.mark.parametrize("code", ["", "hello!", CODE[:-1], CODE + "AAAA"])
def test_what_is_no_code_is_refused(code: str) -> None:
    with pytest.raises(DecodeError):
        open_recovery(FILE, code)


def test_every_changed_byte_of_the_file_is_noticed() -> None:
    for place in range(0, len(FILE), 7):
        with pytest.raises(DecodeError):
            open_recovery(FILE[:place] + bytes([FILE[place] ^ 1]) + FILE[place + 1 :], CODE)
    with pytest.raises(DecodeError):
        open_recovery(FILE[:30], CODE)


async def test_in_a_room_with_history_what_was_read_comes_back_though_nobody_else_is_there(tmp_path: Path) -> None:
    async with community(tmp_path) as cluster:
        async with person(tmp_path, "alice") as alice:
            node = [str(cluster.nodes[0].address)]
            room = await alice.create_room("annals", nodes=node, history=FULL_HISTORY)
            for text in ("one", "two"):
                await room.send(text)
                await room.update_keys()
            code = await keep_recovery(alice)
            await room.send("after the code was made, in the same epoch")
        async with person(tmp_path, "alice-again") as again:
            [came] = await again.recover(await fetch_recovery(code), code)
            assert came.failure == ""
            theirs = await again.room("annals")
            await notices_until(theirs, "HISTORY_READ")

            seen = [message.text for message in await read_until(theirs, "after the code was made, in the same epoch")]

            assert seen == ["one", "two", "after the code was made, in the same epoch"]
            assert theirs.alarms == 0


async def test_who_lost_everything_comes_back_as_the_same_person_with_their_rooms(tmp_path: Path) -> None:
    async with community(tmp_path) as cluster, person(tmp_path, "bob") as bob:
        async with person(tmp_path, "alice") as alice:
            key = alice.identity.user_key
            ours = await lobby(cluster, alice)
            theirs = await bob.join(ours.link)
            await theirs.send("before")
            await read_until(ours, "before")
            code, file = await alice.make_recovery()

        async with person(tmp_path, "alice-again") as again:
            [came] = await again.recover(file, code)

            assert came.failure == ""
            assert (again.identity.user_key, again.name) == (key, "alice")
            room = await again.room("lobby")
            await room.send("I am back")
            seen = await read_until(theirs, "I am back")
            assert seen[-1].sender.key == key
            assert room.undecryptable == theirs.undecryptable == 0
            assert room.is_owner
            assert (await room.rotate_link()) == room.link

        async with person(tmp_path, "alice-again") as again:
            assert [summary.phase for summary in await again.rooms()] == [Phase.LIVE]
            with pytest.raises(UsageError, match="rooms already"):
                await again.recover(file, code)
