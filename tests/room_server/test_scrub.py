from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing
from prometheus_client import CollectorRegistry

from room_server.metrics import NodeMetrics
from room_server.scrub import STATE_NAME, Scrub, ScrubState, due_s
from tests.room_server.cluster import appended, cluster_of, member_of, open_session
from tests.vr.storage.test_verification import flip_in_log, path
from wire.ids import ClientId, RoomEpoch, RoomId
from wire.messages import Append
from wire.room import encode_app_block

__all__ = ["path"]
DAY_US = 86_400_000_000
ROOM = RoomId(b"room to be read.")
CLIENT = ClientId(b"c" * 16)


@pytest.mark.parametrize(
    ("finished_days", "now_days", "random01", "due_days"),
    [(0, 100, 0.0, 0.0), (0, 100, 0.5, 0.5), (100, 100, 0.0, 7.0), (100, 103, 0.5, 4.35), (100, 200, 0.5, 0.0)],
)
def test_servers_scrub_within_a_day_and_then_at_different_times_of_a_week(
    finished_days: int, now_days: int, random01: float, due_days: float
) -> None:
    state = ScrubState(finished_us=finished_days * DAY_US)

    assert due_s(state, now_days * DAY_US, days=7, random01=random01) == pytest.approx(due_days * 86_400)


def forget(path: str) -> None:
    Path(path, STATE_NAME).unlink()


def remembered(path: str) -> ScrubState:
    return msgspec.json.decode(Path(path, STATE_NAME).read_bytes(), type=ScrubState)


class Scrubbed:
    """A scrub of a folder, and what it told."""

    def __init__(self, data: str, *, days: int = 7) -> None:
        self.metrics = NodeMetrics(version="0", peers=[], registry=CollectorRegistry())
        self.scrub = Scrub(data, days=days, metrics=self.metrics, wall_us=lambda: 100 * DAY_US, random01=lambda: 0.0)

    @property
    def findings(self) -> float | None:
        return self.metrics.registry.get_sample_value("samtala_scrub_findings")

    @property
    def completed_s(self) -> float | None:
        return self.metrics.registry.get_sample_value("samtala_scrub_last_completed_timestamp_seconds")

    async def run_until_done(self) -> None:
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.scrub.run)
                while not self.completed_s:
                    await trio.testing.wait_all_tasks_blocked(0.01)
                await trio.testing.wait_all_tasks_blocked(0.05)
                nursery.cancel_scope.cancel()


async def test_damage_is_counted_told_and_remembered_and_ends_with_a_clean_scrub(
    path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = Scrubbed(path)
    await whole.run_until_done()
    assert (whole.findings, whole.completed_s) == (0, 100 * 86_400)
    forget(path)

    flip_in_log(path)
    damaged = Scrubbed(path)
    await damaged.run_until_done()

    assert damaged.findings == 2, "a frame, and what it meant for the group"
    assert "scrub_found" in capsys.readouterr().out
    assert remembered(path).findings == 2
    restarted = Scrubbed(path)
    await restarted.run_until_done()
    assert restarted.findings == 2, "remembered, not read again"
    assert "scrub_found" not in capsys.readouterr().out


async def test_a_folder_that_is_being_written_has_no_findings(tmp_path: Path) -> None:
    async with cluster_of(tmp_path, names=("a",)) as cluster:
        [a] = cluster.nodes
        await cluster.create_room(ROOM)
        scrubbed = Scrubbed(a.config.data)

        async def write() -> None:
            async with member_of(a, ROOM) as client:
                session = await open_session(client, ROOM, CLIENT)
                number = 0
                while True:
                    number += 1
                    blocks = (encode_app_block(RoomEpoch(0), [b"x" * 2000]),)
                    await appended(client, Append(ROOM, CLIENT, session, number, blocks))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            with trio.fail_after(30):
                nursery.start_soon(scrubbed.scrub.run)
                while not scrubbed.completed_s:  # noqa: ASYNC110 - nobody rests here: there is always something to write
                    await trio.sleep(0.01)
            nursery.cancel_scope.cancel()

        assert scrubbed.findings == 0


async def test_never_is_never(path: str) -> None:
    never = Scrubbed(path, days=0)
    with trio.fail_after(5):
        await never.scrub.run()

    assert never.completed_s == 0


async def test_a_folder_that_cannot_be_read_is_no_clean_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nowhere = Scrubbed(str(tmp_path / "nowhere"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(nowhere.scrub.run)
        with trio.fail_after(20):
            while "scrub_" not in capsys.readouterr().out:
                await trio.testing.wait_all_tasks_blocked(0.01)
        nursery.cancel_scope.cancel()
