"""Random histories against a naive model of who may read what.

The model knows nothing of keys: an epoch is a set of names, and a message may be read once by everybody who was in its
epoch, except its sender. Devices here never forget: they keep the group of every epoch they were in, as a thief of all their
past states would, and the groups of commits that lost. Nothing but the model's answer may open.
"""

from __future__ import annotations

import hypothesis.strategies as st
import msgspec
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mls import ROOM_EXTENSION, Entropy, Extension, Group, PeerError, StagedCommit
from mls.key_schedule import PreSharedKeyID, PSKType
from mls.proposals import PreSharedKey, Remove
from tests.mls.builders import NOW, assert_agree, bundle_of, key_of, seeded

MEMBERS_MAX = 7
PSKS = {b"shared": b"secret"}
CHOICE = st.integers(min_value=0, max_value=10**6)


class Epoch(msgspec.Struct, frozen=True, kw_only=True):
    """The model's epoch: who is in it. `branch` tells epochs apart whose number is the same because a commit lost."""

    number: int
    branch: int
    members: frozenset[str]


class Message(msgspec.Struct, kw_only=True):
    """A message and, as the model sees it, who has read it."""

    epoch: Epoch
    sender: str
    text: bytes
    sealed: bytes
    readers: set[str]


class Room(RuleBasedStateMachine):
    """One group: `held` is every group that anybody ever was in, `now` the model's current epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.people = 1
        self.draws = 0
        self.now = Epoch(number=0, branch=0, members=frozenset({"p0"}))
        founder = Group.create(b"room", key_of("p0"), b"p0", entropy=self.entropy(), now=NOW)
        self.held: dict[tuple[str, Epoch], Group] = {("p0", self.now): founder}
        self.messages: list[Message] = []

    def entropy(self) -> Entropy:
        self.draws += 1
        return seeded(f"machine {self.draws}")

    def here(self, name: str) -> Group:
        return self.held[name, self.now]

    def pick(self, choice: int, *excluded: str) -> str:
        names = sorted(self.now.members - {*excluded})
        return names[choice % len(names)]

    def newcomer(self) -> str:
        self.people += 1
        return f"p{self.people - 1}"

    def enter(
        self, committer: str, staged: StagedCommit, members: frozenset[str], joining: tuple[str, ...] = ()
    ) -> None:
        """Everybody takes a commit; the model only counts heads."""
        before = self.now
        after = Epoch(number=before.number + 1, branch=0, members=members)
        assert staged.epoch == after.number
        self.held[committer, after] = staged.merge()
        for name in before.members - {committer}:
            if (name, after) in self.held:  # it came back from outside, in place of its old self
                continue
            followed = self.held[name, before].process_commit(staged.commit, NOW, psks=PSKS)
            assert followed.self_removed == (name not in members)
            if name in members:
                self.held[name, after] = followed.merge()
        for name in joining:
            assert staged.welcome is not None
            self.held[name, after] = Group.join(staged.welcome, bundle_of(name), key_of(name), NOW, psks=PSKS)
        self.now = after

    # What happens

    @precondition(lambda self: len(self.now.members) < MEMBERS_MAX)
    @rule(choice=CHOICE, count=st.integers(1, 2), force_path=st.booleans(), with_psk=st.booleans())
    def add(self, choice: int, count: int, force_path: bool, with_psk: bool) -> None:
        committer, joining = self.pick(choice), tuple(self.newcomer() for _ in range(count))
        psk = PreSharedKey(PreSharedKeyID(psk_type=PSKType.EXTERNAL, psk_id=b"shared", psk_nonce=self.entropy()(32)))
        staged = self.here(committer).commit(
            add=[bundle_of(name).key_package_bytes for name in joining],
            proposals=[psk] if with_psk else [],
            psks=PSKS,
            force_path=force_path,
            entropy=self.entropy(),
            now=NOW,
        )
        self.enter(committer, staged, self.now.members | {*joining}, joining)

    @precondition(lambda self: len(self.now.members) > 1)
    @rule(choice=CHOICE, victim=CHOICE, by_reference=st.booleans(), also_add=st.booleans())
    def remove(self, choice: int, victim: int, by_reference: bool, also_add: bool) -> None:
        committer = self.pick(choice)
        leaving = self.pick(victim, committer)
        leaf = self.here(leaving).own_leaf_index
        joining = (self.newcomer(),) if also_add else ()
        references = [self.propose_removal(leaving, leaf)] if by_reference else []
        staged = self.here(committer).commit(
            add=[bundle_of(name).key_package_bytes for name in joining],
            remove=[] if by_reference else [leaf],
            references=references,
            entropy=self.entropy(),
            now=NOW,
        )
        self.enter(committer, staged, self.now.members - {leaving} | {*joining}, joining)

    def propose_removal(self, leaving: str, leaf: int) -> bytes:
        """Who leaves says so, and everybody keeps the proposal."""
        message = self.here(leaving).propose(Remove(leaf))
        (reference,) = {self.here(name).process_proposal(message) for name in self.now.members}
        return reference

    @rule(choice=CHOICE, data=st.binary(max_size=8))
    def renew(self, choice: int, data: bytes) -> None:
        committer = self.pick(choice)
        extensions = (Extension(extension_type=ROOM_EXTENSION, data=data),) if data else None
        staged = self.here(committer).commit(extensions=extensions, entropy=self.entropy(), now=NOW)
        self.enter(committer, staged, self.now.members)

    @precondition(lambda self: len(self.now.members) > 1)
    @rule(winner=CHOICE, loser=CHOICE)
    def race(self, winner: int, loser: int) -> None:
        """Two commit; one loses, but keeps the group that its commit would have led to, and speaks there."""
        first = self.pick(winner)
        second = self.pick(loser, first)
        won = self.here(first).commit(entropy=self.entropy(), now=NOW)
        lost = self.here(second).commit(entropy=self.entropy(), now=NOW)
        branch = Epoch(number=self.now.number + 1, branch=self.draws, members=frozenset({second}))
        self.held[second, branch] = lost.merge()
        self.enter(first, won, self.now.members)
        self.say(second, branch, b"nobody follows me")

    @precondition(lambda self: len(self.now.members) < MEMBERS_MAX)
    @rule(choice=CHOICE, returning=st.booleans())
    def join_from_outside(self, choice: int, returning: bool) -> None:
        guide = self.pick(choice)
        back = self.pick(choice + 1, guide) if returning and len(self.now.members) > 1 else None
        name = back or self.newcomer()
        old_leaf = None if back is None else self.here(back).own_leaf_index
        staged, _ = Group.join_external(
            self.here(guide).group_info(),
            key_of(name),
            name.encode(),
            entropy=self.entropy(),
            now=NOW,
            remove_old_leaf=old_leaf,
        )
        after = Epoch(number=self.now.number + 1, branch=0, members=self.now.members | {name})
        self.held[name, after] = staged.merge()
        self.enter(name, staged, after.members)

    @rule(choice=CHOICE, text=st.binary(max_size=40))
    def speak(self, choice: int, text: bytes) -> None:
        self.say(self.pick(choice), self.now, text)

    def say(self, sender: str, epoch: Epoch, text: bytes) -> None:
        sealed = self.held[sender, epoch].protect(text, entropy=self.entropy())
        self.messages.append(Message(epoch=epoch, sender=sender, text=text, sealed=sealed, readers=set()))

    @precondition(lambda self: self.messages)
    @rule(choice=CHOICE, reader=CHOICE)
    def read(self, choice: int, reader: int) -> None:
        """Somebody tries a message, now or long ago, with every state it ever had."""
        message = self.messages[choice % len(self.messages)]
        people = sorted({name for name, _ in self.held})
        self.try_everything(people[reader % len(people)], message)

    def try_everything(self, name: str, message: Message) -> None:
        may = name in message.epoch.members and name != message.sender and name not in message.readers
        opened = []
        for (holder, epoch), group in self.held.items():
            if holder != name:
                continue
            try:
                opened.append((epoch, group.unprotect(message.sealed)))
            except PeerError:
                continue
        assert [epoch for epoch, _ in opened] == ([message.epoch] if may else [])
        for _, read in opened:
            assert (read.plaintext, read.sender.identity) == (message.text, message.sender.encode())
            message.readers.add(name)

    @rule(choice=CHOICE)
    def sleep(self, choice: int) -> None:
        """Somebody goes to disk and comes back."""
        name = self.pick(choice)
        group = self.here(name)
        self.held[name, self.now] = Group.restore(group.epoch_state(), group.ratchet_state(), key_of(name))

    @invariant()
    def members_agree_with_each_other_and_with_the_model(self) -> None:
        groups = [self.here(name) for name in sorted(self.now.members)]
        assert_agree(groups)
        assert groups[0].epoch == self.now.number
        assert {member.identity.decode() for member in groups[0].members()} == self.now.members

    def teardown(self) -> None:
        """In the end everybody tries everything."""
        for message in self.messages[:30]:
            for name in sorted({name for name, _ in self.held}):
                self.try_everything(name, message)


TestRoom = Room.TestCase
TestRoom.settings = settings(max_examples=30, stateful_step_count=20)
