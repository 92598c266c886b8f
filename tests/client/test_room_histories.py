"""Random histories: whatever crashes, races and lost answers come, nobody sees a message lost, doubled or reordered."""

from __future__ import annotations

import random

import pytest

import mls
from client.archive import FULL_HISTORY
from client.room_state import OutcomeKind, Phase, QuestState
from client.timeline import ItemKind
from tests.client.builders import Device, found_room, join, settle
from tests.client.knockers import knock, package_of, welcomed
from tests.client.lookers import answer, ask, history_of, look_back

ACTS = (
    "post",
    "work",
    "transmit",
    "answer",
    "read",
    "crash",
    "lose",
    "swallow",
    "propose",
    "remove",
    "join",
    "store_only",
    "knock",
    "let_in",
    "ask",
    "tell",
    "look_back",
)
WEIGHTS = (30, 40, 40, 30, 40, 4, 3, 2, 4, 1, 1, 4, 2, 4, 3, 3, 3)
NAMES = ("alice", "bob", "carol", "dave", "erin", "frank")


class History:
    """A few devices, one log, one random number generator."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        founder = found_room(NAMES[0], FULL_HISTORY)
        self.log = founder.log
        self.devices = [founder, join(NAMES[1], self.log), join(NAMES[2], self.log)]
        self.posts = 0
        self.names = list(NAMES[3:])
        self.waiting: dict[str, mls.KeyPackageBundle] = {}

    def act(self) -> None:
        device = self.random.choice(self.devices)
        (act,) = self.random.choices(ACTS, WEIGHTS)
        getattr(self, f"on_{act}")(device)

    def on_post(self, device: Device) -> None:
        if device.core.phase is Phase.LIVE:
            self.posts += 1
            device.post(f"{device.name} {self.posts}")

    def on_work(self, device: Device) -> None:
        device.work()

    def on_transmit(self, device: Device) -> None:
        device.transmit(self.random.randint(1, 3))

    def on_answer(self, device: Device) -> None:
        device.answer(self.random.randint(1, 3))

    def on_read(self, device: Device) -> None:
        device.read(self.random.randint(1, 4))
        if self.random.random() < 0.2 and not self.log.after(device.core.cursor.sequence):
            device.core.on_caught_up()

    def on_crash(self, device: Device) -> None:
        device.crash()

    def on_store_only(self, device: Device) -> None:
        """Crash between the transaction and the sending."""
        device.disk.store(device.core.take_effects(1_800_000_000))
        device.crash()

    def on_lose(self, device: Device) -> None:
        device.lose_session()

    def on_swallow(self, device: Device) -> None:
        """A block is lost on its way, and so is its session."""
        device.lose_session()
        device.outgoing.clear()

    def on_propose(self, device: Device) -> None:
        if device.core.phase is Phase.LIVE and not device.core.is_changing:
            device.propose()

    def on_remove(self, device: Device) -> None:
        others = [other for other in self.devices if other is not device and other.core.phase is Phase.LIVE]
        if device.core.phase is Phase.LIVE and not device.core.is_changing and len(others) > 1:
            device.propose(self.random.choice(others))

    def on_join(self, device: Device) -> None:
        del device
        if self.names:
            self.devices.append(join(self.names.pop(0), self.log))

    def on_knock(self, device: Device) -> None:
        del device
        if self.names:
            name = self.names.pop(0)
            self.waiting[name] = package_of(name)
        for package in self.waiting.values():
            knock(self.log, package)

    def on_let_in(self, device: Device) -> None:
        """A member opens, and those who were let in notice."""
        device.core.knocks.be_due()
        for name, package in list(self.waiting.items()):
            if self.log.service.welcome(package.reference) is not None:
                self.devices.append(welcomed(name, self.log, package))
                del self.waiting[name]

    def on_ask(self, device: Device) -> None:
        ask(device)

    def on_tell(self, device: Device) -> None:
        if device.core.phase is Phase.LIVE and not device.core.is_full:
            answer(device)

    def on_look_back(self, device: Device) -> None:
        quest = device.core.past.quest
        if device.core.phase is Phase.LIVE and quest is not None and quest.state is QuestState.GRANTED:
            look_back(device)


@pytest.mark.parametrize("seed", range(60))
def test_nobody_ever_sees_a_message_lost_doubled_reordered_or_undecryptable(seed: int) -> None:
    history = History(seed)
    for _ in range(250):
        history.act()
    settle(*history.devices)
    _everybody_looks_back(history)

    truth: dict[int, str] = {}
    acknowledged = {
        outcome.sequence: device.posted[message_id]
        for device in history.devices
        for message_id, outcome in device.outcomes.items()
        if outcome.kind is OutcomeKind.ACKNOWLEDGED and message_id in device.posted
    }
    for device in history.devices:
        assert device.core.undecryptable == 0, device.items(ItemKind.REFUSED)
        assert device.items(ItemKind.ALARM) == []
        assert device.core.phase in {Phase.LIVE, Phase.REMOVED}
        sequences = [sequence for sequence, _ in device.messages]
        assert sequences == sorted(set(sequences))
        assert len(set(device.texts)) == len(device.texts)
        for sequence, text in device.messages:
            assert truth.setdefault(sequence, text) == text
    founder = next(device for device in history.devices if device.core.phase is Phase.LIVE)
    for sequence, text in acknowledged.items():
        assert truth[sequence] == text
    _same_epoch(history, founder)
    _looks_back_right(history, truth)
    _every_wish_has_its_fate(history)


def _same_epoch(history: History, founder: Device) -> None:
    for device in history.devices:
        if device.core.phase is Phase.LIVE:
            assert device.core.group.epoch_authenticator == founder.core.group.epoch_authenticator
            assert device.core.cursor == founder.core.cursor


def _everybody_looks_back(history: History) -> None:
    for turn in range(3):
        for device in history.devices:
            ask(device, 1_900_000_000 + turn * 1_000_000)
        settle(*history.devices)
        for device in history.devices:
            history.on_tell(device)
            settle(*history.devices)
        for device in history.devices:
            history.on_look_back(device)
        settle(*history.devices)


def _looks_back_right(history: History, truth: dict[int, str]) -> None:
    """Whoever looked back knows what the others saw before, all of it, and nothing else."""
    for device in history.devices:
        quest = device.core.past.quest
        if quest is None or quest.state is not QuestState.READ:
            assert history_of(device) == []
            continue
        assert history_of(device) == sorted(
            (sequence, text) for sequence, text in truth.items() if sequence < quest.cursor.sequence
        )


def _every_wish_has_its_fate(history: History) -> None:
    """Everything that was posted and not lost in memory by a crash is in the log, or known not to be."""
    for device in history.devices:
        if device.core.phase is not Phase.LIVE:
            continue
        assert not device.core.is_in_flight
        assert not device.disk.in_flight
        mine = [item.message_id for item in device.items(ItemKind.MESSAGE) if item.is_mine]
        for life in range(device.restarts + 1):
            posted = [message_id for message_id, born in device.owed.items() if born == life]
            assert [message_id for message_id in mine if message_id in posted] == [
                message_id for message_id in posted if message_id in mine
            ]
        shown = set(mine)
        assert device.owed.keys() <= device.outcomes.keys()
        for message_id, outcome in device.outcomes.items():
            if message_id not in device.posted:
                continue  # Said by programs to programs.
            assert (outcome.kind is OutcomeKind.ACKNOWLEDGED) == (message_id in shown)
            assert (outcome.kind is OutcomeKind.UNSENT) == (message_id in device.disk.unsent)
