"""A room without servers: an ordered log that behaves as the room service does, and members with stores that can crash."""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec

import mls
from client.archive import NO_HISTORY, HistoryPolicy
from client.commits import MemberChange, seal_group_info
from client.facts import RoomFacts, facts_extension
from client.identity import Identity
from client.joining import JoinAttempt, prepare_join
from client.payload import PayloadKind
from client.room_core import RoomCore
from client.room_state import (
    ArchiveRecord,
    Block,
    ChangeOutcome,
    Cursor,
    Effects,
    InFlight,
    Mark,
    Outcome,
    OutcomeKind,
    Outgoing,
    Phase,
    Quest,
    RoomKeys,
    RoomMemory,
)
from client.seals import EpochSecrets, bundle_key, epoch_secrets
from client.timeline import ItemKind, TimelineItem
from room_server.room import RoomService, deliveries
from vr.log import Request
from vr.types import ClientId as VrClientId
from vr.types import OpNumber, RequestNumber, SessionNumber
from wire.ids import NodeKey, RoomEpoch, RoomId, Sequence
from wire.messages import JoinBundle
from wire.room import BlockResult, Delivery, Genesis, GenesisMember, decode_result

ROOM_ID = RoomId(bytes(range(16)))
KEYS = RoomKeys(room_id=ROOM_ID, bundle_key=bundle_key(b"j" * 32))
NOW_S = 1_800_000_000


def entropy_of(seed: object) -> Callable[[int], bytes]:
    """A repeatable source of randomness."""
    return random.Random(repr(seed)).randbytes


def identity_of(name: str) -> Identity:
    """The same person for the same name."""
    return Identity.generate(name=name, label="laptop", entropy=entropy_of(name), now_s=NOW_S)


class Log:
    """The room as the servers keep it: one replica's room service, exactly-once by (session, number).

    Proofs are not checked here; that is the edge's affair.
    """

    def __init__(self, group_info: bytes, secrets: EpochSecrets) -> None:
        self.service = RoomService(genesis_of(group_info, secrets))
        self.now_s = NOW_S
        """Agreed time; one second passes with each block."""
        self.deliveries: list[Delivery] = []
        self._results: dict[tuple[int, int], BlockResult] = {}

    @property
    def epoch(self) -> RoomEpoch:
        """That of the room."""
        return self.service.epoch

    @property
    def chain(self) -> bytes:
        """The hash over all history."""
        return self.service.chain

    def append(self, session: int, number: int, data: bytes) -> BlockResult:
        """Order one block; a resend gets the first answer."""
        key = (session, number)
        if key not in self._results:
            self._results[key] = self._apply(session, number, data)
        return self._results[key]

    def _apply(self, session: int, number: int, data: bytes) -> BlockResult:
        self.now_s += 1
        request = Request(VrClientId(b"c" * 16), SessionNumber(session), RequestNumber(number), data)
        timestamp_us = self.now_s * 1_000_000
        results = self.service.apply(OpNumber(1), timestamp_us, [request])
        self.deliveries += deliveries(timestamp_us, [request], results)
        return decode_result(results[0])

    def after(self, sequence: int) -> list[Delivery]:
        """What a subscriber with this cursor has not seen."""
        return [delivery for delivery in self.deliveries if delivery.first_sequence > sequence]

    def bundle(self) -> JoinBundle:
        """What a joiner gets."""
        room = self.service
        return JoinBundle(1, ROOM_ID, room.epoch, room.group_info, room.commit_sequence, room.commit_chain)


class Disk:
    """What a store holds, without SQLite: applies changes whole."""

    def __init__(self, core: RoomCore) -> None:
        self.phase = core.phase
        self.cursor = core.cursor
        self.epoch_state = core.group.epoch_state()
        self.ratchet_state = core.group.ratchet_state()
        self.items: list[TimelineItem] = []
        self.marks: list[Mark] = []
        self.evidence: list[bytes] = []
        self.in_flight: dict[bytes, InFlight] = {}
        self.unsent: dict[bytes, Outgoing] = {}
        self.knocks = b""
        self.archive: dict[int, ArchiveRecord] = {}
        self.quest: Quest | None = None

    def store(self, effects: Effects) -> None:
        """One transaction."""
        change = effects.change
        self.phase = change.phase or self.phase
        self.cursor = change.cursor or self.cursor
        self.epoch_state = change.epoch_state or self.epoch_state
        self.ratchet_state = change.ratchet_state or self.ratchet_state
        self.items += change.items
        self.knocks = self.knocks if change.knocks is None else change.knocks
        for record in change.archived:
            self.archive[record.epoch] = record
        for epoch in change.forgotten:
            del self.archive[epoch]
        self.quest = change.quest or self.quest
        self.marks += change.marks
        self.evidence += change.evidence
        for sent in change.sent:
            self.in_flight[sent.digest] = sent
            for outgoing in sent.outgoing:
                self.unsent.pop(outgoing.message_id, None)
        for digest in change.settled:
            self.in_flight.pop(digest, None)
        self.unsent.update({outgoing.message_id: outgoing for outgoing in change.unsent})

    def memory(self) -> RoomMemory:
        """What a restarted core is given."""
        messages = [item for item in self.items if item.kind is ItemKind.MESSAGE]
        return RoomMemory(
            phase=self.phase,
            cursor=self.cursor,
            epoch_state=self.epoch_state,
            ratchet_state=self.ratchet_state,
            marks=tuple(self.marks[-1024:]),
            in_flight=tuple(self.in_flight.values()),
            message_ids=tuple((item.sender.key, item.message_id) for item in messages),
            undecryptable=sum(item.kind is ItemKind.REFUSED for item in self.items),
            alarms=sum(item.kind is ItemKind.ALARM for item in self.items),
            knocks=self.knocks,
            archive=tuple(self.archive.values()),
            quest=self.quest,
        )


class Device:
    """One member: a core, its disk, a session, blocks on the way to the log and answers on the way back."""

    def __init__(self, name: str, core: RoomCore, log: Log, *, session: int) -> None:
        self.name = name
        self.identity = core.identity
        self.core = core
        self.log = log
        self.disk = Disk(core)
        self.session = session
        self.number = 0
        self.outgoing: list[tuple[int, int, Block]] = []
        self.answers: list[tuple[bytes, BlockResult]] = []
        self.outcomes: dict[bytes, Outcome] = {}
        self.change_outcomes: list[ChangeOutcome] = []
        self.posted: dict[bytes, str] = {}
        self.owed: dict[bytes, int] = {}
        """Messages that must get an outcome, each with the life in which it was posted."""
        self.restarts = 0

    # Acts, each as small as a crash can be

    def post(self, text: str, *, kind: int = PayloadKind.TEXT) -> bytes:
        """Want to say something; returns the message id."""
        message_id = entropy_of((self.name, text, len(self.posted), self.restarts))(16)
        self.posted[message_id] = text
        self.owed[message_id] = self.restarts
        self.core.post(Outgoing(message_id, kind, text))
        return message_id

    def propose(self, *remove: Device) -> None:
        """Want another epoch."""
        keys = tuple(device.identity.signature_key.public for device in remove)
        self.core.propose(MemberChange(remove=keys))

    def work(self) -> Effects:
        """Do what the core wants done: store, then send, then tell."""
        effects = self.core.take_effects(NOW_S)
        self.disk.store(effects)
        self.perform(effects)
        return effects

    def perform(self, effects: Effects) -> None:
        """The part after the transaction."""
        for block in effects.appends:
            self.number += 1
            self.outgoing.append((self.session, self.number, block))
        for outcome in effects.outcomes:
            known = self.outcomes.get(outcome.message_id)
            assert known is None or known.kind is not OutcomeKind.ACKNOWLEDGED or known == outcome
            self.outcomes[outcome.message_id] = outcome
        if effects.change_outcome is not None:
            self.change_outcomes.append(effects.change_outcome)

    def transmit(self, count: int = 1) -> None:
        """Some blocks reach the log; their answers are on the way."""
        for session, number, block in self.outgoing[:count]:
            self.answers.append((block.digest, self.log.append(session, number, block.data)))
        del self.outgoing[:count]

    def answer(self, count: int = 1) -> None:
        """Some answers arrive."""
        for digest, result in self.answers[:count]:
            self.core.on_result(digest, result)
        del self.answers[:count]

    def read(self, count: int = 1000) -> None:
        """Some deliveries arrive."""
        self.core.on_deliveries(self.log.after(self.core.cursor.sequence)[:count])

    def lose_session(self) -> None:
        """The servers forget our session: answers are lost. What is on the way may still arrive."""
        for _, _, block in self.outgoing:
            self.core.on_unknown(block.digest)
        for digest, _ in self.answers:
            self.core.on_unknown(digest)
        self.answers.clear()
        self.session += 1000
        self.number = 0

    def crash(self) -> None:
        """Lose everything in memory, and restart from the disk. Blocks on the way stay on the way."""
        self.answers.clear()
        self.restarts += 1
        stored = {outgoing.message_id for sent in self.disk.in_flight.values() for outgoing in sent.outgoing}
        self.owed = {key: life for key, life in self.owed.items() if key in stored | self.outcomes.keys()}
        memory = self.disk.memory()
        group = mls.Group.restore(memory.epoch_state, memory.ratchet_state, self.identity.signature_key)
        entropy = entropy_of((self.name, self.restarts))
        self.core = RoomCore(KEYS, self.identity, group, memory=memory, entropy=entropy)
        self.session += 1000
        self.number = 0

    def settle(self) -> bool:
        """One round of everything; False when nothing is left to do."""
        before = (self.core.cursor, len(self.outgoing), len(self.answers), len(self.outcomes))
        self.answer(1000)
        self.read()
        self.core.on_caught_up()
        effects = self.work()
        self.transmit(1000)
        after = (self.core.cursor, len(self.outgoing), len(self.answers), len(self.outcomes))
        return not effects.is_empty or before != after

    # What can be said afterwards

    @property
    def messages(self) -> list[tuple[int, str]]:
        """(sequence, text) of everything shown."""
        return [(item.sequence, item.text) for item in self.disk.items if item.kind is ItemKind.MESSAGE]

    @property
    def texts(self) -> list[str]:
        """Texts shown, in order."""
        return [text for _, text in self.messages]

    def items(self, kind: ItemKind) -> list[TimelineItem]:
        """Items of one kind."""
        return [item for item in self.disk.items if item.kind is kind]


def genesis_of(group_info: bytes, secrets: EpochSecrets) -> Genesis:
    """The record that a room's service starts from."""
    member = GenesisMember(b"r" * 16, NodeKey(b"n" * 32), "127.0.0.1", 1)
    return Genesis(
        version=1, room_id=ROOM_ID, created_us=1, members=(member,), write_key=secrets.write_key,
        read_key=secrets.read_key, join_key=b"j" * 32, admin_key=b"a" * 32, group_info=group_info, descriptor=b"",
    )  # fmt: skip


def memory_of(group: mls.Group, cursor: Cursor, phase: Phase) -> RoomMemory:
    """What a new room remembers."""
    return RoomMemory(
        phase=phase, cursor=cursor, epoch_state=group.epoch_state(), ratchet_state=group.ratchet_state(),
        marks=(Mark(cursor.sequence, cursor.chain),), in_flight=(), message_ids=(), undecryptable=0, alarms=0,
    )  # fmt: skip


def found_room(name: str = "alice", history: HistoryPolicy = NO_HISTORY) -> Device:
    """A new log with its founder."""
    identity, entropy = identity_of(name), entropy_of(("founder", name))
    facts = facts_extension(RoomFacts(1, "lobby", identity.user_key, history_days=history.days))
    group = mls.Group.create(
        ROOM_ID, identity.signature_key, identity.credential(), entropy=entropy, now=NOW_S, extensions=(facts,)
    )
    log = Log(seal_group_info(group, epoch_secrets(group), KEYS, entropy), epoch_secrets(group))
    memory = memory_of(group, Cursor(Sequence(0), log.chain), Phase.LIVE)
    core = RoomCore(KEYS, identity, group, memory=memory, entropy=entropy)
    return Device(name, core, log, session=ord(name[0]))


def attempt_of(name: str, log: Log, *, old_group: mls.Group | None = None, turn: int = 0) -> JoinAttempt:
    """An external commit on the log's present epoch."""
    return prepare_join(
        log.bundle(),
        KEYS,
        identity_of(name),
        entropy=entropy_of(("join", name, turn)),
        now_s=NOW_S,
        old_group=old_group,
    )


def joiner(name: str, log: Log, attempt: JoinAttempt, *, turn: int = 0) -> Device:
    """A device that is about to send its external commit."""
    memory = memory_of(attempt.group, attempt.cursor, Phase.JOINING)
    memory = msgspec.structs.replace(memory, in_flight=(InFlight(attempt.block.digest, ()),))
    core = RoomCore(KEYS, identity_of(name), attempt.group, memory=memory, entropy=entropy_of(("joined", name)))
    device = Device(name, core, log, session=ord(name[0]) + 100_000 * turn)
    device.disk.in_flight = {attempt.block.digest: InFlight(attempt.block.digest, ())}
    device.number = 1
    device.outgoing.append((device.session, 1, attempt.block))
    return device


def join(name: str, log: Log, *, old_group: mls.Group | None = None, turn: int = 0) -> Device:
    """Join by link, without anybody in the way."""
    device = joiner(name, log, attempt_of(name, log, old_group=old_group, turn=turn), turn=turn)
    device.transmit()
    device.answer()
    device.read()
    device.work()
    return device


def settle(*devices: Device) -> None:
    """Let everybody finish everything."""
    for _ in range(200):
        progress = [device.settle() for device in devices]
        if not any(progress):
            return
    raise AssertionError("the room does not come to rest")
