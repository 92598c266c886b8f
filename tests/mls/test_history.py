"""Old epochs are read with the records of whoever kept them, and nobody has to be believed."""

from __future__ import annotations

import random

import msgspec
import pytest

from mls import (
    DecryptionFailed,
    EpochRecord,
    Group,
    InvalidSignature,
    PeerError,
    PublicGroup,
    Replayed,
    WrongEpoch,
    record_of,
)
from mls.proposals import Remove
from mls.ratchet_tree import RatchetTree
from mls.tree_validation import check_tree
from tests.mls.builders import NOW, bundle_of, group_of, key_of, seeded


def anybody(_old: object, _new: object) -> bool:
    return True


class Story:
    """A group that changes at random, with what one member keeps of each epoch and all that was sent in it."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.entropy = seeded(f"story {seed}")
        self.members = dict(zip("ab", group_of("a", "b"), strict=True))
        self.records: dict[int, EpochRecord] = {}
        self.public: dict[int, PublicGroup] = {}
        self.said: dict[int, list[tuple[str, bytes, bytes]]] = {}
        self.commits: dict[int, bytes] = {}
        self.keep()

    @property
    def one(self) -> Group:
        return next(iter(self.members.values()))

    def keep(self) -> None:
        record = record_of(self.one)
        assert record is not None
        self.records[self.one.epoch] = record
        self.public[self.one.epoch] = PublicGroup.decode(PublicGroup.of(self.one).encode())
        self.said[self.one.epoch] = []

    def speak(self) -> None:
        name = self.random.choice([*self.members])
        text = f"{name} {self.random.random()}".encode()
        sealed = self.members[name].protect(text, entropy=self.entropy)
        self.said[self.one.epoch].append((name, text, sealed))

    def change(self, turn: int) -> None:
        """A member adds, removes or renews; or somebody joins from outside."""
        act = self.random.choice(["add", "remove", "renew", "external"])
        name = self.random.choice([*self.members])
        group, epoch = self.members[name], self.one.epoch
        if act == "external":
            stranger = f"x{turn}"
            staged, commit = Group.join_external(
                group.group_info(), key_of(stranger), stranger.encode(), entropy=self.entropy, now=NOW
            )
            name, self.members = stranger, {**self.members, stranger: group}
        else:
            others = [other for other in self.members if other != name]
            removed = self.random.choice(others) if act == "remove" and len(others) > 1 else None
            bundle = bundle_of(f"n{turn}") if act == "add" else None
            staged = group.commit(
                add=[] if bundle is None else [bundle.key_package_bytes],
                remove=[] if removed is None else [self.members[removed].own_leaf_index],
                entropy=self.entropy,
                now=NOW,
            )
            commit = staged.commit
            if removed is not None:
                del self.members[removed]
            if bundle is not None:
                assert staged.welcome is not None
                self.members[f"n{turn}"] = Group.join(staged.welcome, bundle, key_of(f"n{turn}"), NOW)
        for other, theirs in list(self.members.items()):
            if other == name:
                self.members[other] = staged.merge()
            elif theirs.epoch == epoch:
                self.members[other] = theirs.process_commit(commit, NOW).merge()
        self.commits[epoch] = commit
        self.keep()

    def run(self, turns: int) -> Story:
        for turn in range(turns):
            for _ in range(self.random.randrange(3)):
                self.speak()
            self.change(turn)
        return self

    def replayed(self, first: int) -> dict[int, PublicGroup]:
        """Every epoch from the first on, from the public state of the first and the commits alone."""
        found = {first: PublicGroup.decode(self.public[first].encode())}
        for epoch in range(first, self.one.epoch):
            found[epoch + 1] = found[epoch].follow(self.commits[epoch], anybody)
        return found


@pytest.mark.parametrize("seed", range(12))
def test_all_of_an_old_history_is_read_with_its_records_and_leads_to_the_present_group(seed: int) -> None:
    story = Story(seed).run(12)
    first = story.random.randrange(story.one.epoch)

    epochs = story.replayed(first)

    assert epochs[story.one.epoch].context == PublicGroup.of(story.one).context
    for epoch, public in epochs.items():
        reader = public.reader(story.records[epoch])
        read = [reader.unprotect(sealed) for _, _, sealed in story.said[epoch]]
        assert [(message.sender.identity.decode(), message.plaintext) for message in read] == [
            (name, text) for name, text, _ in story.said[epoch]
        ]


def test_a_record_can_be_taken_only_before_the_first_message() -> None:
    alice, bob = group_of("alice", "bob")
    assert record_of(alice) == record_of(bob) is not None

    sealed = alice.protect(b"hej", entropy=seeded("message"))
    bob.unprotect(sealed)

    assert record_of(alice) is None
    assert record_of(bob) is None


def test_a_record_opens_no_other_epoch() -> None:
    story = Story(1).run(6)
    epoch = next(epoch for epoch, said in story.said.items() if said and epoch + 1 in story.public)
    sealed = story.said[epoch][0][2]

    with pytest.raises(DecryptionFailed):
        story.public[epoch].reader(story.records[epoch + 1]).unprotect(sealed)
    with pytest.raises(WrongEpoch):
        story.public[epoch + 1].reader(story.records[epoch]).unprotect(sealed)


def test_each_message_is_read_once() -> None:
    story = Story(2).run(6)
    epoch = next(epoch for epoch, said in story.said.items() if said)
    reader = story.public[epoch].reader(story.records[epoch])
    reader.unprotect(story.said[epoch][0][2])

    with pytest.raises(Replayed):
        reader.unprotect(story.said[epoch][0][2])


def test_who_holds_a_record_cannot_write_history_in_anothers_name() -> None:
    alice, bob = group_of("alice", "bob")
    public = PublicGroup.decode(PublicGroup.of(bob).encode())
    record = record_of(bob)
    assert record is not None
    # Mallory knows all secrets of the epoch, and not alice's signature key.
    mallory = Group.restore(alice.epoch_state(), alice.ratchet_state(), key_of("alice"))
    mallory._state.signature_key = key_of("mallory")
    forged = mallory.protect(b"never said", entropy=seeded("forged"))

    with pytest.raises(InvalidSignature):
        public.reader(record).unprotect(forged)


def with_another_key(public: PublicGroup, name: str, other: str) -> bytes:
    """A valid tree in which somebody else sits where `name` sat: what a liar would hand out."""
    state = public._state
    (leaf,) = [index for index, node in state.tree.leaves() if node.credential.content == name.encode()]
    tree: RatchetTree = state.tree.copy()
    bundle = bundle_of(other)
    tree.remove_leaves([leaf])
    assert tree.add_leaves([bundle.key_package.leaf_node]) == [leaf]
    check_tree(tree, state.context.group_id, state.context.extensions)
    context = msgspec.structs.replace(state.context, tree_hash=tree.tree_hash())
    changed = msgspec.structs.replace(state, tree=tree, context=context, context_bytes=context.encode())
    return PublicGroup(changed).encode()


def test_a_tree_with_another_person_in_it_does_not_lead_to_the_present_group() -> None:
    """Even when the one who was replaced is gone since: the next commit's signature covers the tree."""
    alice, bob, carol = group_of("alice", "bob", "carol", force_path=False)
    public = PublicGroup.of(alice)
    staged = alice.commit(remove=[bob.own_leaf_index], entropy=seeded("out"), now=NOW)
    after = PublicGroup.of(carol.process_commit(staged.commit, NOW).merge())
    assert public.follow(staged.commit, anybody).context == after.context

    false = PublicGroup.decode(with_another_key(public, "bob", "mallory"))

    with pytest.raises(InvalidSignature):
        false.follow(staged.commit, anybody)


def test_leaving_a_commit_out_does_not_lead_to_the_present_group() -> None:
    story = Story(3).run(5)
    first = min(story.public)

    with pytest.raises(PeerError):
        story.public[first].follow(story.commits[first + 1], anybody)


@pytest.mark.parametrize("seed", range(3))
def test_a_changed_commit_or_public_group_is_noticed(seed: int) -> None:
    story = Story(seed).run(4)
    first = min(story.public)
    last = PublicGroup.of(story.one)
    encoded = story.public[first].encode()
    for place in range(0, len(encoded), 7):
        changed = bytearray(encoded)
        changed[place] ^= 1 << seed
        try:
            group = PublicGroup.decode(bytes(changed))
            for epoch in range(first, story.one.epoch):
                group = group.follow(story.commits[epoch], anybody)
        except PeerError:
            continue
        assert group.context != last.context, place


def test_a_commit_that_names_proposals_which_nobody_showed_is_not_followed() -> None:
    """Rooms have none: their commits carry all that they do."""
    _, bob = group_of("alice", "bob")
    public = PublicGroup.decode(PublicGroup.of(bob).encode())
    reference = bob.process_proposal(bob.propose(Remove(0)))
    staged = bob.commit(references=[reference], entropy=seeded("named"), now=NOW)

    with pytest.raises(PeerError, match="unknown proposal"):
        public.follow(staged.commit, anybody)
