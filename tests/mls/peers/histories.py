"""Random histories of one group whose members run different implementations; after every step all must agree.

Known faults of the peers bound what happens (each was seen in groups of that peer alone, or read in its code):

| peer | fault | consequence here |
|---|---|---|
| ts-mls 1.6.4 | fails on commits with both Add and Remove | never mixed |
| ts-mls 1.6.4 | refuses valid trees: wants equal `unmerged_leaves` on all of a leaf's path | its newcomer stays out, and goes |
| ts-mls 1.6.4 | `external_pub` without its inner length | corrected in `ts_mls/peer.mjs` |
| ts-mls 1.6.4 | `processMessage` forgets pre-shared keys for encrypted commits | called by its halves |
| ts-mls 1.6.4 | derives once too often if the root is not on the filtered path | the left half is never emptied |
| ts-mls 1.6.4 | omits the path that GroupContextExtensions need | only we change extensions |
| core-crypto 10.3.0 | KeyPackage and GroupInfo without the MLSMessage header | corrected in `core_crypto/peer.mjs` |
| core-crypto 10.3.0 | wants X.509 in everybody's capabilities | our leaves claim it, see `capabilities_of` |
| core-crypto 10.3.0 | keeps keys for the two generations before the newest | messages overtake by one |
| core-crypto 10.3.0 | refuses an external commit whose Remove shrinks the tree | not done; ts-mls takes it |
| core-crypto 10.3.0 | handshakes must be PublicMessages | ours always are |
"""

from __future__ import annotations

import contextlib
import random
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Final
from unittest import mock

import msgspec

from mls import nodes, tree_math
from mls.codec import decode
from mls.ratchet_tree import RatchetTree
from tests.mls.peers.members import PSKS, Changes, Commit, OurMember, TsMember, WireMember, context_of, described
from tests.npm_peers.process import PeerProcess, PeerRefusalError

__all__ = ["History", "capabilities_of"]

MEMBERS_MAX: Final = 8
X509: Final = 2
TREE_FAULT: Final = "must list leaf node in its unmerged_leaves"

ORDERS: Final = ((0, 1, 2), (1, 0, 2), (0, 2, 1))
"""In which three messages of one sender arrive."""

AnyMember = OurMember | TsMember | WireMember


@contextlib.contextmanager
def capabilities_of(kind: str) -> Iterator[None]:
    """Our leaf nodes as a peer wants them: core-crypto refuses who does not claim to know X.509 credentials."""
    if kind != "core_crypto":
        yield
        return
    wanted = msgspec.structs.replace(nodes.OUR_CAPABILITIES, credentials=(nodes.BASIC_CREDENTIAL, X509))
    with mock.patch.object(nodes, "OUR_CAPABILITIES", wanted):
        yield


def ts_refuses(tree: RatchetTree) -> bool:
    """Tell whether ts-mls wrongly refuses this valid tree."""
    for leaf_index, _ in tree.leaves():
        path = tree_math.direct_path(2 * leaf_index, tree.leaf_count)
        lists = [parent.unmerged_leaves for node in path if (parent := tree.parent_node(node)) is not None]
        if any(leaf_index in unmerged for unmerged in lists) and len({*lists}) > 1:
            return True
    return False


def leaf_count_without(tree: RatchetTree, leaf_index: int) -> tuple[list[int], int]:
    """Leaves in use, and the size of the tree, once a leaf is removed."""
    stay = [index for index, _ in tree.leaves() if index != leaf_index]
    return stay, 1 << max(stay).bit_length()


def left_half_stays(tree: RatchetTree, leaf_index: int) -> bool:
    """Tell whether a removal leaves somebody in the left half of the tree, so that the root is on every path."""
    stay, leaf_count = leaf_count_without(tree, leaf_index)
    return min(stay) < max(1, leaf_count // 2)


class History:
    """One group in which half of the newcomers are ours, and the other half `stranger`s."""

    def __init__(self, seed: int, peer: PeerProcess, stranger: type[TsMember | WireMember]) -> None:
        self.chance = random.Random(seed)
        self.peer = peer
        self.stranger = stranger
        self.members: list[AnyMember] = []
        self.absent: list[str] = []
        """Identities in the tree that nobody plays, because ts-mls refused to join: to be removed."""
        self.done: Counter[str] = Counter()
        peer.call("forget")

    def run(self, steps: int) -> None:
        """Live through a number of steps, comparing everybody's view after each."""
        self.begin()
        for _ in range(steps):
            act = self.chance.choice(self.possible())
            act()
            self.done[act.__name__] += 1
            self.compare()

    def compare(self) -> None:
        """What any two members say of the epoch is the same."""
        for one in self.members:
            for two in self.members:
                shared = one.facts.keys() & two.facts.keys()
                assert {name: one.facts[name] for name in shared} == {name: two.facts[name] for name in shared}
        group = self.ours()[0].here
        for member in self.members:
            if isinstance(member, WireMember) and self.describes_now(member):
                assert described(member.group_info()) == described(group.group_info())

    # Who

    def newcomer(self, kind: type[AnyMember] | None = None) -> AnyMember:
        """A new device, of either kind."""
        number = self.chance.getrandbits(128)
        identity = f"{uuid.UUID(int=number, version=4)}:{number & 0xFFFF:x}@samtala.test"
        chosen = kind or self.chance.choice((OurMember, self.stranger))
        return OurMember(identity) if chosen is OurMember else self.stranger(self.peer, identity)

    def anybody(self, *excluded: AnyMember) -> AnyMember:
        """A random member."""
        return self.chance.choice([member for member in self.members if member not in excluded])

    def ours(self) -> list[OurMember]:
        """Our own members; there is always one."""
        return [member for member in self.members if isinstance(member, OurMember)]

    def patient(self) -> list[OurMember | TsMember]:
        """Members that can wait before they merge, that propose, and that describe any epoch."""
        return [member for member in self.members if not isinstance(member, WireMember)]

    def tree(self) -> RatchetTree:
        """The group's tree, as one of us sees it."""
        return decode(self.ours()[0].here.ratchet_tree(), RatchetTree.read)

    def removable(self, committer: AnyMember) -> list[AnyMember]:
        """Who may go so that one of us stays, and that the peer does not stumble."""
        last = self.ours() if len(self.ours()) == 1 else []
        others = [member for member in self.members if member is not committer and member not in last]
        if self.stranger is TsMember:
            return [member for member in others if left_half_stays(self.tree(), self.leaf_of(member))]
        return others

    def leaf_of(self, member: AnyMember) -> int:
        """Where a member sits."""
        return self.ours()[0].leaf_of(member.identity)

    # Steps

    def begin(self) -> None:
        """Somebody creates the group and adds one of each kind."""
        founder = self.newcomer()
        founder.create(self.chance.randbytes(8))
        self.members = [founder]
        joining = [self.newcomer(OurMember), self.newcomer(self.stranger)]
        self.commit(founder, self.changes(add=tuple(member.key_package() for member in joining)), joining)
        self.compare()

    def possible(self) -> list[Callable[[], None]]:
        """What may happen next, as often as it is likely."""
        if self.absent:
            return [self.remove_absent]
        acts: list[Callable[[], None]] = [self.update, self.update, self.talk, self.talk]
        if len(self.members) > 1:
            acts += [self.lose_a_race, self.propose]
        if len(self.members) < MEMBERS_MAX:
            acts += [self.add, self.add, self.join_from_outside, self.join_from_outside]
            acts += [self.ask_to_join] if self.stranger is TsMember else []
        if len(self.members) > 2:
            acts += [self.remove, self.remove, self.rejoin]
        if self.stranger is TsMember:
            acts += [self.mix_in_a_key, self.extend]
        else:
            acts.append(self.replace_a_member)
        return acts

    def changes(
        self, *, add: tuple[bytes, ...] = (), remove: tuple[str, ...] = (), psk: bytes | None = None
    ) -> Changes:
        """A change list with the leaves looked up, carried as it happens."""
        is_public = self.stranger is WireMember or self.chance.random() < 0.5
        return Changes(
            add=add,
            remove=tuple((self.ours()[0].leaf_of(identity), identity) for identity in remove),
            psk=psk,
            is_public=is_public,
            force_path=self.chance.random() < 0.5,
        )

    def commit(self, committer: AnyMember, changes: Changes, joining: Sequence[AnyMember] = ()) -> None:
        """Commit, and everybody takes it; newcomers join."""
        self.spread(committer, committer.commit(changes), joining)

    def spread(self, committer: AnyMember, commit: Commit, joining: Sequence[AnyMember] = ()) -> None:
        """Everybody takes a commit, and newcomers join."""
        for member in self.members:
            if member is not committer:
                member.process(commit.message)
        committer.merge()
        self.members = [member for member in self.members if not isinstance(member, OurMember) or member.group]
        for newcomer in joining:
            assert commit.welcome is not None
            try:
                newcomer.join(commit.welcome)
            except PeerRefusalError as error:
                if TREE_FAULT not in str(error) or not ts_refuses(self.tree()):
                    raise
                self.done["newcomers ts-mls kept out"] += 1
                self.absent.append(newcomer.identity)
            else:
                self.members.append(newcomer)

    def add(self) -> None:
        joining = [self.newcomer() for _ in range(self.chance.choice((1, 1, 2)))]
        self.commit(self.anybody(), self.changes(add=tuple(member.key_package() for member in joining)), joining)

    def remove(self) -> None:
        committer = self.anybody()
        if not (removable := self.removable(committer)):
            return
        leaving = self.chance.choice(removable)
        self.commit(committer, self.changes(remove=(leaving.identity,)))
        self.drop(leaving)

    def drop(self, leaving: AnyMember) -> None:
        self.members = [member for member in self.members if member is not leaving]

    def remove_absent(self) -> None:
        self.commit(self.anybody(), self.changes(remove=(self.absent.pop(),)))

    def replace_a_member(self) -> None:
        """One of us removes and adds in one commit."""
        committer = self.chance.choice(self.ours())
        leaving, joining = self.removable(committer)[:1], [self.newcomer()]
        packages = tuple(member.key_package() for member in joining)
        self.commit(committer, self.changes(add=packages, remove=tuple(member.identity for member in leaving)), joining)
        for member in leaving:
            self.drop(member)

    def update(self) -> None:
        self.commit(self.anybody(), self.changes())

    def lose_a_race(self) -> None:
        """Somebody prepares a commit, but the log shows another one."""
        loser = self.chance.choice(self.patient())
        loser.commit(self.changes())
        self.commit(self.anybody(loser), self.changes())

    def talk(self) -> None:
        speaker = self.anybody()
        said = [self.chance.randbytes(self.chance.randrange(1, 400)) for _ in range(3)]
        messages = [speaker.send(data) for data in said]
        order = self.chance.choice(ORDERS)
        for member in self.members:
            if member is not speaker:
                assert [member.process(messages[place]) for place in order] == [said[place] for place in order]

    def join_from_outside(self) -> None:
        guide = self.chance.choice([member for member in self.members if self.describes_now(member)])
        joining = self.newcomer()
        if isinstance(joining, TsMember) and ts_refuses(self.tree()):
            joining = self.newcomer(OurMember)
        self.spread(joining, joining.join_external(guide.group_info(), None))
        self.members.append(joining)

    def describes_now(self, member: AnyMember) -> bool:
        """Tell whether a member's GroupInfo is of this epoch; core-crypto has only those of its own commits."""
        if not isinstance(member, WireMember):
            return True
        return bool(member.last_group_info) and context_of(member.last_group_info).epoch == member.facts["epoch"]

    def rejoin(self) -> None:
        """Somebody lost its state and comes back from outside, in place of its old self."""
        guides = self.patient()
        returning = self.chance.choice(guides)
        tree = self.tree()
        if len(guides) == 1 or (returning in self.ours() and len(self.ours()) == 1):
            return
        if isinstance(returning, TsMember) and ts_refuses(tree):
            return
        old_leaf = self.leaf_of(returning)
        if self.stranger is WireMember and leaf_count_without(tree, old_leaf)[1] < tree.leaf_count:
            return
        info = self.chance.choice([member for member in guides if member is not returning]).group_info()
        self.drop(returning)
        self.spread(returning, returning.join_external(info, old_leaf))
        self.members.append(returning)

    def propose(self) -> None:
        """One proposes, another commits by reference."""
        proposer = self.chance.choice(self.patient())
        committer = self.anybody(proposer)
        removable, joining, leaving = self.removable(committer), [self.newcomer()], None
        if removable and (self.chance.random() < 0.5 or len(self.members) == MEMBERS_MAX):
            leaving, joining = self.chance.choice(removable), []
        changes = self.changes(
            add=tuple(member.key_package() for member in joining),
            remove=(leaving.identity,) if leaving is not None else (),
        )
        self.commit_proposal(proposer.propose(changes), committer, joining, proposer)
        if leaving is not None:
            self.drop(leaving)

    def commit_proposal(
        self, proposal: bytes, committer: AnyMember, joining: Sequence[AnyMember], *knowing: AnyMember
    ) -> None:
        for member in self.members:
            if member not in knowing:
                member.process(proposal)
        pending = committer.commit_pending() if isinstance(committer, WireMember) else committer.commit(self.changes())
        self.spread(committer, pending, joining)

    def ask_to_join(self) -> None:
        """A newcomer proposes itself."""
        joining = self.newcomer()
        assert not isinstance(joining, WireMember)
        proposal = joining.ask_to_join(self.chance.choice(self.patient()).group_info())
        self.commit_proposal(proposal, self.anybody(), [joining])

    def mix_in_a_key(self) -> None:
        self.commit(self.anybody(), self.changes(psk=self.chance.choice(sorted(PSKS))))

    def extend(self) -> None:
        """One of us changes what the group agrees on (ts-mls would omit the path that this needs)."""
        changes = msgspec.structs.replace(self.changes(), extension=self.chance.randbytes(5))
        self.commit(self.chance.choice(self.ours()), changes)
