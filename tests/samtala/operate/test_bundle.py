from __future__ import annotations

import stat
import tarfile
from pathlib import Path

import pytest

from room_server.config import DhtConfig, NodeConfig, PeerConfig
from samtala.operate.bundle import Redactor, machine_facts, write_bundle
from wire.identity import NodeIdentity, ServerAddress, key_text

PEER = NodeIdentity.generate()
CONFIG = NodeConfig(
    name="a",
    data="/home/gudrun/samtala",
    listen="203.0.113.7:7610",
    advertise="chat.gudrun.example:7610",
    replica_id="ab" * 16,
    peers=(PeerConfig(name="b", address=str(ServerAddress("b.gudrun.example", 7610, PEER.public))),),
    dht=DhtConfig(bootstrap=("[2001:db8::7]:7610",)),
)
SECRETS = (
    "gudrun",
    "203.0.113.7",
    "198.51.100.23",
    "2001:db8::7",
    "2001:db8:0:1::9",
    "ab" * 16,
    key_text(PEER.public),
    "SAMTALA:AG4YT2CMATVPLB4ZIFMALUNEXM43",
    "https://chat.example/j/7QK3-9XWD#secret",
)
TEXT = "\n".join(
    (
        f"dialled b.gudrun.example:7610#{key_text(PEER.public)} from 203.0.113.7, [2001:db8::7]:7610, 2001:db8:0:1::9.",
        f"198.51.100.23 said no; replica {'ab' * 16}; data in /home/gudrun/samtala/wal at 12:34:56 version 0.1.0",
        "SAMTALA:AG4YT2CMATVPLB4ZIFMALUNEXM43 https://chat.example/j/7QK3-9XWD#secret",
        "chat.gudrun.example:7610 127.0.0.1:7612 room 74a0df41",
    )
)


def test_nothing_private_stays_and_what_helps_does() -> None:
    redacted = Redactor(CONFIG)(TEXT)

    for secret in SECRETS:
        assert secret not in redacted, redacted
    for useful in ("127.0.0.1:7612", "room 74a0df41", "12:34:56", "version 0.1.0", "DATA/wal", "host-"):
        assert useful in redacted, redacted


def test_same_host_has_the_same_word_everywhere() -> None:
    redact = Redactor(CONFIG)

    assert redact("203.0.113.7") == redact("at 203.0.113.7,").removeprefix("at ").removesuffix(",")
    assert redact("198.51.100.23") != redact("198.51.100.24")


def test_bundle_is_for_its_owner_alone_and_overwrites_nothing(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "identity.key").write_text("private")
    path = tmp_path / "bundle.tar.gz"
    write_bundle(path, {"note.txt": TEXT, "machine.json": machine_facts(data)}, Redactor(CONFIG))

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with tarfile.open(path) as bundle:
        texts = {}
        for member in bundle.getmembers():
            file = bundle.extractfile(member)
            assert file is not None
            texts[member.name] = file.read().decode()
    assert set(texts) == {"samtala-bundle/note.txt", "samtala-bundle/machine.json"}
    assert "identity.key" in texts["samtala-bundle/machine.json"]
    for secret in (*SECRETS, "private"):
        assert all(secret not in text for text in texts.values())
    with pytest.raises(FileExistsError):
        write_bundle(path, {}, Redactor(CONFIG))


def test_folder_that_is_missing_is_said(tmp_path: Path) -> None:
    assert machine_facts(tmp_path / "missing")["files"] == []
