"""Random histories of one group: whatever happens, all members agree."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from mls import (
    Group,
)
from tests.mls.builders import NOW, assert_agree, bundle_of, key_of, seeded


def snapshot(group: Group) -> tuple[bytes, bytes]:
    return group.epoch_state(), group.ratchet_state()


class History:
    """A random history of one group, with every member's view."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.seed = seed
        self.step = 0
        self.people = 1
        self.groups: dict[str, Group] = {
            "m0": Group.create(b"history", key_of("m0"), b"m0", entropy=seeded(seed), now=NOW)
        }

    def newcomer(self) -> str:
        self.people += 1
        return f"m{self.people - 1}"

    def entropy(self) -> Callable[[int], bytes]:
        return seeded(f"{self.seed}/{self.step}")

    def commit(self) -> None:
        """Somebody adds some, removes some, or only renews its keys."""
        committer = self.chance.choice(sorted(self.groups))
        group = self.groups[committer]
        others = [name for name in self.groups if name != committer]
        leaving = self.chance.sample(others, self.chance.choice([0, 0, 0, 1, min(len(others), 3)]) if others else 0)
        coming = [self.newcomer() for _ in range(self.chance.choice([0, 0, 1, 2, 4]))]
        bundles = {name: bundle_of(name) for name in coming}
        staged = group.commit(
            add=[bundles[name].key_package_bytes for name in coming],
            remove=[self.groups[name].own_leaf_index for name in leaving],
            force_path=self.chance.random() < 0.5,
            entropy=self.entropy(),
            now=NOW,
        )
        for name in others:
            followed = self.groups[name].process_commit(staged.commit, NOW)
            assert followed.self_removed == (name in leaving)
            if name in leaving:
                del self.groups[name]
            else:
                self.groups[name] = followed.merge()
        self.groups[committer] = staged.merge()
        for name, bundle in bundles.items():
            assert staged.welcome is not None
            self.groups[name] = Group.join(staged.welcome, bundle, key_of(name), NOW)

    def join(self) -> None:
        """Somebody comes in from outside, or back."""
        guide = self.chance.choice(sorted(self.groups))
        returning = self.chance.random() < 0.3 and len(self.groups) > 1
        name = self.chance.choice([other for other in self.groups if other != guide]) if returning else self.newcomer()
        old_leaf = self.groups[name].own_leaf_index if returning else None
        info = self.groups[guide].group_info()
        staged, commit = Group.join_external(
            info, key_of(name), name.encode(), entropy=self.entropy(), now=NOW, remove_old_leaf=old_leaf
        )
        if returning:
            del self.groups[name]
        self.groups = {other: group.process_commit(commit, NOW).merge() for other, group in self.groups.items()}
        self.groups[name] = staged.merge()

    def talk(self) -> None:
        """Somebody speaks and everybody hears."""
        speaker = self.chance.choice(sorted(self.groups))
        message = self.groups[speaker].protect(b"%d" % self.step, entropy=self.entropy())
        for name, group in self.groups.items():
            if name != speaker:
                assert group.unprotect(message).plaintext == b"%d" % self.step

    def sleep(self) -> None:
        """Somebody goes to disk and comes back."""
        name = self.chance.choice(sorted(self.groups))
        before = snapshot(self.groups[name])
        self.groups[name] = Group.restore(*before, key_of(name))
        assert snapshot(self.groups[name]) == before

    def run(self, steps: int) -> None:
        for self.step in range(steps):
            size = len(self.groups)
            weights = [4, 2 if size < 24 else 0, 2, 1]
            self.chance.choices([self.commit, self.join, self.talk, self.sleep], weights)[0]()
            assert_agree(list(self.groups.values()))


@pytest.mark.parametrize("seed", range(12))
def test_members_agree_through_random_histories(seed: int) -> None:
    History(seed).run(40)
