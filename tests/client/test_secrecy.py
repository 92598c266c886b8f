"""What an attacker of each kind holds, and that it opens nothing (e2ee.md 5; the table is in docs/security.md)."""

from __future__ import annotations

import pytest

import mls
from client.commits import judge_commit
from client.seals import epoch_secrets
from mls.key_schedule import PreSharedKeyID, PSKType
from mls.proposals import PreSharedKey
from tests.client.builders import KEYS, NOW_S, Device, entropy_of, found_room, join, settle
from wire.room import decode_commit, decode_entries


def pair() -> tuple[Device, Device]:
    alice = found_room()
    bob = join("bob", alice.log)
    settle(alice, bob)
    return alice, bob


def entries_of(device: Device) -> list[bytes]:
    """Ciphertexts in the log, as a server or a network keeps them."""
    blocks = [delivery.block for delivery in device.log.deliveries if delivery.block[0] == 1]
    return [entry for block in blocks for entry in decode_entries(block)]


def stolen(device: Device) -> mls.Group:
    """A copy of all that a device has on its disk, opened by a thief."""
    memory = device.disk.memory()
    return mls.Group.restore(memory.epoch_state, memory.ratchet_state, device.identity.signature_key)


def reads(group: mls.Group, entry: bytes) -> bool:
    try:
        group.unprotect(entry)
    except mls.PeerError:
        return False
    return True


def test_members_are_one_to_servers() -> None:
    """They prove the same keys: nothing that a server is shown tells one member from another."""
    alice, bob = pair()

    assert alice.core.secrets == bob.core.secrets
    assert alice.core.group.own_leaf_index != bob.core.group.own_leaf_index


def test_device_stolen_after_reading_opens_nothing_that_was_read() -> None:
    alice, bob = pair()
    alice.post("of this epoch, read")
    settle(alice, bob)
    [read] = entries_of(alice)
    alice.propose()
    settle(alice, bob)
    alice.post("of the next epoch, not read")
    alice.work()
    alice.transmit()

    thief = stolen(bob)

    assert not reads(thief, read)
    assert reads(thief, entries_of(alice)[-1])


def test_device_stolen_in_the_middle_of_an_epoch_does_not_open_what_it_read_in_it() -> None:
    alice, bob = pair()
    for text in ("one", "two"):
        alice.post(text)
        settle(alice, bob)

    thief = stolen(bob)

    assert [reads(thief, entry) for entry in entries_of(alice)] == [False, False]


def test_device_copied_before_a_change_of_keys_reads_nothing_after_it() -> None:
    alice, bob = pair()
    thief = stolen(bob)
    bob.propose()
    settle(alice, bob)
    alice.post("after")
    settle(alice, bob)
    commit = alice.log.deliveries[-2]

    [entry] = entries_of(alice)
    assert not reads(thief, entry)
    assert epoch_secrets(thief) != alice.core.secrets
    with pytest.raises(mls.OwnCommit):
        # The copy carries bob's leaf: what bob commits is sealed to everybody else.
        judge_commit(
            decode_commit(commit.block), thief, KEYS,
            env_key=epoch_secrets(thief).env_key, now_s=NOW_S,
        )  # fmt: skip


def test_removed_member_who_keeps_everything_opens_nothing() -> None:
    alice, bob = pair()
    thief = stolen(bob)
    alice.propose(bob)
    settle(alice)
    alice.post("without bob")
    settle(alice)
    commit, message = alice.log.deliveries[-2:]

    staged = judge_commit(decode_commit(commit.block), thief, KEYS, env_key=epoch_secrets(thief).env_key, now_s=NOW_S)

    assert staged.self_removed
    assert not reads(thief, decode_entries(message.block)[0])
    removed, present = epoch_secrets(thief), alice.core.secrets
    assert {removed.write_key, removed.read_key, removed.env_key}.isdisjoint(
        {present.write_key, present.read_key, present.env_key}
    )


def test_recorder_with_a_quantum_computer_needs_the_pre_shared_key_as_well() -> None:
    """The hook: every other secret of the commit is open to bob here, and it does not help him without the key."""
    alice, bob = pair()
    name, key = b"passed on by hand", b"p" * 32
    proposal = PreSharedKey(PreSharedKeyID(psk_type=PSKType.EXTERNAL, psk_id=name, psk_nonce=bytes(32)))
    staged = alice.core.group.commit(proposals=[proposal], psks={name: key}, entropy=entropy_of("psk"), now=NOW_S)

    with pytest.raises(mls.MissingPreSharedKey):
        bob.core.group.process_commit(staged.commit, NOW_S)
    with pytest.raises(mls.PeerError):
        bob.core.group.process_commit(staged.commit, NOW_S, psks={name: b"q" * 32})
    followed = bob.core.group.process_commit(staged.commit, NOW_S, psks={name: key}).merge()
    assert followed.epoch_authenticator == staged.merge().epoch_authenticator


def test_names_texts_and_keys_are_not_in_what_servers_store() -> None:
    device, bob = pair()
    bob.post("a text")
    settle(device, bob)
    stored = b"".join(delivery.block for delivery in device.log.deliveries) + device.log.service.snapshot()

    keys = [device.identity.user_key, device.identity.signature_key.public, device.core.secrets.env_key]
    for secret in (b"alice", b"bob", b"a text", *keys):
        assert secret not in stored
