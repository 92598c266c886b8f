from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from dht.items import sign_item
from room_server.epoch_book import EpochBook
from room_server.errors import ConfigError, StartError
from room_server.forcing import ForcedRoom, attach_record, check_record, force_room, open_folder, rooms_in
from room_server.rooms import configuration_of
from tests.room_server.builders import genesis
from tests.vr.storage.records import entry, meta
from tests.wire.certificates import identity
from vr.host.opening import OpenStorage
from vr.log import make_entry
from vr.storage.history import StoredGroup
from vr.types import GroupId, OpNumber, ViewNumber
from wire.certificate import ForcedEpochError, follow_chain
from wire.room import Genesis, GenesisMember, encode_genesis


def made(storage: OpenStorage, *, is_readable: bool = True) -> Genesis:
    """A room of three servers in this folder, the first of which is this one."""
    own = storage.folder.replica_id
    members = tuple(
        GenesisMember(own if name == 1 else bytes([name]) * 16, identity(name).public, "127.0.0.1", 7600 + name)
        for name in (1, 2, 3)
    )
    record = genesis(members=members)
    group = GroupId(record.room_id)
    first = make_entry(
        view=ViewNumber(0), op=OpNumber(1), commit=OpNumber(0), timestamp_us=1, requests=[],
        parent=configuration_of(record).genesis_checksum(),
    )  # fmt: skip
    written = replace(entry(1, group=group), checksum=first.checksum, payload=first.data if is_readable else b"noise")
    storage.log.write([meta(group=group), written])
    storage.log.sync()
    storage.history.create_group(
        StoredGroup(group=group, configuration=configuration_of(record).to_bytes(), genesis=encode_genesis(record))
    )
    return record


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    storage = open_folder(str(tmp_path))
    made(storage)
    storage.close()
    return tmp_path


def only(storage: OpenStorage) -> ForcedRoom:
    (room,) = rooms_in(storage)
    return room


def record_of_epoch(epoch: int) -> bytes:
    signer = identity(9)
    return sign_item(signer.sign, public_key=signer.public, seq=epoch << 32 | 1, value=b"sealed").to_bytes()


def test_a_room_goes_on_here_alone_with_a_statement_that_says_so(folder: Path) -> None:
    storage = open_folder(str(folder))
    room = only(storage)
    assert room.survivor is not None
    first = EpochBook(room.genesis).servers

    force_room(storage, room, identity=identity(1), record=record_of_epoch(1))
    storage.close()

    storage = open_folder(str(folder))
    again = only(storage)
    storage.close()
    assert again.survivor is not None
    assert (again.survivor.configuration.epoch, again.survivor.configuration.size) == (1, 1)
    assert again.book.descriptor == record_of_epoch(1)
    with pytest.raises(ForcedEpochError):
        follow_chain(again.book.certificates, first, room_id=room.genesis.room_id)


def test_the_owners_word_may_come_later(folder: Path) -> None:
    storage = open_folder(str(folder))
    room = only(storage)
    assert not room.is_forced
    force_room(storage, room, identity=identity(1), record=b"")
    storage.close()

    storage = open_folder(str(folder))
    again = only(storage)
    assert again.is_forced
    with pytest.raises(ConfigError):
        attach_record(storage, again, record_of_epoch(2))
    attach_record(storage, again, record_of_epoch(1))
    storage.close()

    storage = open_folder(str(folder))
    assert only(storage).book.descriptor == record_of_epoch(1)
    storage.close()


def test_a_server_without_a_vote_cannot_go_on(folder: Path) -> None:
    storage = open_folder(str(folder))

    with pytest.raises(StartError, match="no vote"):
        force_room(storage, only(storage), identity=identity(8), record=b"")
    storage.close()


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"junk", "no room's record"),
        (record_of_epoch(0), "for epoch 0, not for epoch 1"),
        (record_of_epoch(1)[:-9], "no"),
    ],
)
def test_what_is_not_the_owners_word_for_this_epoch_is_refused(data: bytes, text: str) -> None:

    check_record(record_of_epoch(1), 1)
    with pytest.raises(ConfigError, match=text):
        check_record(data, 1)


def test_a_folder_in_use_is_refused(folder: Path) -> None:
    storage = open_folder(str(folder))

    with pytest.raises(StartError, match="stop the server first"):
        open_folder(str(folder))
    storage.close()


def test_a_room_that_cannot_go_on_says_why(tmp_path: Path) -> None:
    storage = open_folder(str(tmp_path))
    record = made(storage, is_readable=False)
    storage.close()

    storage = open_folder(str(tmp_path))
    room = only(storage)
    storage.close()

    assert room.survivor is None
    assert "no operation can be read" in room.damage
    assert room.genesis == record
