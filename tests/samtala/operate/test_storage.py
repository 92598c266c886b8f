"""Each fault of a data folder is planted and found, and nothing is found in a good one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from room_server.config import NodeConfig, load_config
from room_server.setup import init_node
from samtala.operate.storage import (
    examine_storage,
    examine_sync,
    file_system_findings,
    space_findings,
    sync_findings,
)

GB = 1_000_000_000


@pytest.fixture
def config(tmp_path: Path) -> NodeConfig:
    path = tmp_path / "node.toml"
    init_node(path, name="a", data=tmp_path / "data", listen="127.0.0.1:7610", advertise="127.0.0.1:7610")
    return load_config(path)


def names(config: NodeConfig) -> list[str]:
    """Findings but those about the machine that runs the tests."""
    machine = {"disk-full-soon", "storage-full", "forgetful-disk", "remote-disk"}
    return [finding.name for finding in examine_storage(config) if finding.name not in machine]


def test_fresh_folder_is_sound(config: NodeConfig) -> None:
    assert names(config) == []
    assert examine_sync(Path(config.data)) == []
    assert sorted(path.name for path in Path(config.data).iterdir()) == ["identity.key", "lock", "replica_id"]


def open_key(data: Path) -> None:
    (data / "identity.key").chmod(0o644)


def rotten_key(data: Path) -> None:
    (data / "identity.key").write_text("no key")


def lost_key(data: Path) -> None:
    (data / "identity.key").unlink()


def other_format(data: Path) -> None:
    path = data / "replica_id"
    path.write_text(path.read_text().splitlines()[0] + "\nformat 999\n")


def unreadable_identity(data: Path) -> None:
    (data / "replica_id").write_text("zzz")


def other_node(data: Path) -> None:
    path = data / "replica_id"
    path.write_text("00" * 16 + "\n" + path.read_text().splitlines()[1] + "\n")


def emptied(data: Path) -> None:
    (data / "replica_id").unlink()


def open_folder(data: Path) -> None:
    data.chmod(0o755)


@pytest.mark.parametrize(
    ("plant", "name"),
    [
        (open_key, "key-unusable"),
        (rotten_key, "key-unusable"),
        (lost_key, "key-unusable"),
        (other_format, "folder-unusable"),
        (unreadable_identity, "folder-unusable"),
        (other_node, "folder-foreign"),
        (emptied, "folder-empty"),
        (open_folder, "data-open"),
    ],
)
def test_planted_fault_is_found_alone(config: NodeConfig, plant: Callable[[Path], None], name: str) -> None:
    plant(Path(config.data))

    assert names(config) == [name]


def test_missing_folder_is_found(config: NodeConfig, tmp_path: Path) -> None:
    Path(config.data).rename(tmp_path / "elsewhere")

    assert names(config) == ["data-missing"]


@pytest.mark.parametrize(
    ("free", "inodes", "found"),
    [
        (50 * GB, 10**6, []),
        (50 * GB, None, []),
        (9 * GB, 10**6, ["disk-full-soon"]),
        (GB // 10, 10**6, ["storage-full"]),
        (50 * GB, 3, ["no-inodes"]),
    ],
)
def test_space_is_judged(free: int, inodes: int | None, found: list[str]) -> None:
    findings = space_findings(Path("/srv/a"), free=free, total=100 * GB, inodes=inodes)

    assert [finding.name for finding in findings] == found


@pytest.mark.parametrize(
    ("mount", "found"),
    [
        ("/dev/sda1 /srv ext4 rw,noatime 0 0", []),
        ("/dev/sda1 /srv ext4 rw,errors=remount-ro 0 0", []),
        ("/dev/sda1 /srv ext4 ro,noatime 0 0", ["read-only"]),
        ("tmpfs /srv tmpfs rw 0 0", ["forgetful-disk"]),
        ("overlay /srv overlay rw 0 0", ["forgetful-disk"]),
        ("nas:/x /srv nfs4 rw 0 0", ["remote-disk"]),
        ("tmpfs /srv/a/b tmpfs rw 0 0", []),
        ("tmpfs /srvx tmpfs rw 0 0", []),
    ],
)
def test_file_system_that_holds_the_folder_is_judged(mount: str, found: list[str]) -> None:
    mounts = f"/dev/root / ext4 rw 0 0\n{mount}\n"

    assert [finding.name for finding in file_system_findings(Path("/srv/a"), mounts)] == found


@pytest.mark.parametrize(
    ("times_s", "severities"),
    [([0.002] * 5, []), ([0.002, 3.0, 0.002], []), ([0.1] * 5, ["WARNING"]), ([0.7] * 5, ["CRITICAL"])],
)
def test_slow_syncs_are_found_and_one_slow_one_is_not(times_s: list[float], severities: list[str]) -> None:
    assert [finding.severity.name for finding in sync_findings(times_s)] == severities


def test_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    [finding] = examine_sync(tmp_path / "missing")

    assert finding.name == "data-not-writable"
