"""Changed bits and noise: refused with this package's errors, and nothing changes."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from mls import ROOM_EXTENSION, Extension, Group, PeerError, new_key_package, propose_to_join
from mls.crypto import ZERO
from mls.epoch import next_epoch, provisional_context
from mls.framing import AuthData, AuthenticatedContent, FramedContent, Sender, SenderType, WireFormat, envelope
from mls.key_packages import open_key_package
from mls.key_schedule import PreSharedKeyID, PSKType
from mls.proposal_list import apply_proposals, sort_proposals
from mls.proposals import Add, Commit, GroupContextExtensions, PreSharedKey, Proposal, ReInit, Remove, Update
from mls.protection import seal_private, sign_content
from mls.secret_tree import RatchetType
from tests.mls.builders import NOW, bundle_of, group_of, key_of, seeded
from tests.mls.leaves import update_leaf
from tests.mls.test_receiving import member, private, public

PSK = PreSharedKey(PreSharedKeyID(psk_type=PSKType.EXTERNAL, psk_id=b"shared", psk_nonce=bytes(32)))
PSKS = {b"shared": b"secret"}
KINDS: dict[str, Proposal] = {
    "add": Add(open_key_package(bundle_of("dave").key_package_bytes)),
    "remove": Remove(2),
    "pre-shared key": PSK,
    "reinit": ReInit(group_id=b"next", version=1, cipher_suite=3, extensions=()),
    "extensions": GroupContextExtensions((Extension(extension_type=ROOM_EXTENSION, data=b"new"),)),
}


def mutants(message: bytes, seed: int) -> list[bytes]:
    """Copies of a message: one for every byte, with one bit of it flipped; and torn ones."""
    chance = random.Random(seed)
    found = []
    for at in range(len(message)):
        changed = bytearray(message)
        changed[at] ^= 1 << chance.randrange(8)
        found.append(bytes(changed))
    return [*found, b"", message[:-1], message + b"\x00", message[: len(message) // 2]]


def everything(group: Group) -> tuple[object, ...]:
    """All that a group knows."""
    return group.epoch_state(), group.ratchet_state(), group.epoch_authenticator, group.pending_proposals()


def assert_refused(use: Callable[[bytes], object], message: bytes, *groups: Group, seed: int = 0) -> None:
    """No mutant is accepted, none changes a group; the message itself is accepted afterwards."""
    before = [everything(group) for group in groups]
    for mutant in mutants(message, seed):
        with pytest.raises(PeerError):
            use(mutant)
    assert [everything(group) for group in groups] == before
    use(message)


def encrypted_commit(group: Group) -> bytes:
    """A commit that adds Dave, as a PrivateMessage: what this package only reads."""
    state, package = group._state, open_key_package(bundle_of("dave").key_package_bytes)
    commit = Commit(proposals=(Add(package),), path=None)
    found = sort_proposals([(Add(package), state.own_leaf)], committer=state.own_leaf, tree=state.tree)
    applied = apply_proposals(found, state.tree, group_id=b"group", extensions=())
    framed = FramedContent.of(
        b"group", group.epoch, sender=Sender(sender_type=SenderType.MEMBER, index=state.own_leaf), content=commit
    )
    signature = sign_content(state.signature_key, WireFormat.PRIVATE_MESSAGE, framed, state.context_bytes)
    unconfirmed = AuthenticatedContent(
        wire_format=WireFormat.PRIVATE_MESSAGE, content=framed, auth=AuthData(signature=signature)
    )
    epoch = next_epoch(
        provisional_context(state.context, applied.tree, ()),
        interim=state.interim_transcript_hash,
        confirmed_input=unconfirmed.confirmed_transcript_input(),
        init_secret=state.secrets.init_secret,
        commit_secret=ZERO,
        psks=ZERO,
    )
    sealed = seal_private(
        framed,
        AuthData(signature=signature, confirmation_tag=epoch.confirmation_tag),
        sender_data_secret=state.secrets.sender_data_secret,
        message_key=state.secret_tree.next_key(state.own_leaf, RatchetType.HANDSHAKE),
        entropy=seeded("seal"),
    )
    return envelope(WireFormat.PRIVATE_MESSAGE, sealed.encode())


def warmed(group: Group, receiver: Group) -> None:
    """Start the receiver's ratchets for a sender, so that looking for a key derives nothing any more."""
    receiver.process_proposal(private(group, Remove(2), key=key_of("alice")))
    receiver.unprotect(group.protect(b"first", entropy=seeded("first")))


def test_no_changed_commit_is_accepted() -> None:
    alice, bob, _ = group_of("alice", "bob", "carol")
    staged = alice.commit(
        add=[bundle_of("dave").key_package_bytes],
        remove=[2],
        proposals=[PSK],
        extensions=(Extension(extension_type=ROOM_EXTENSION, data=b"new"),),
        psks=PSKS,
        entropy=seeded(1),
        now=NOW,
    )

    assert_refused(lambda message: bob.process_commit(message, NOW, psks=PSKS), staged.commit, bob)


def test_no_changed_encrypted_commit_is_accepted() -> None:
    alice, bob, _ = group_of("alice", "bob", "carol")
    warmed(alice, bob)

    assert_refused(lambda message: bob.process_commit(message, NOW), encrypted_commit(alice), bob)


def test_no_changed_external_commit_is_accepted() -> None:
    alice, bob, _ = group_of("alice", "bob", "carol")
    _, commit = Group.join_external(
        alice.group_info(), key_of("carol"), b"carol", entropy=seeded(1), now=NOW, remove_old_leaf=2
    )

    assert_refused(lambda message: bob.process_commit(message, NOW), commit, bob)


@pytest.mark.parametrize("kind", KINDS)
def test_no_changed_proposal_is_accepted(kind: str) -> None:
    alice, bob, _ = group_of("alice", "bob", "carol")

    assert_refused(bob.process_proposal, alice.propose(KINDS[kind]), bob)


def test_no_changed_update_is_accepted() -> None:
    alice, bob, _ = group_of("alice", "bob", "carol")
    update = public(alice, Update(update_leaf("alice", 0)), sender=member(0), key=key_of("alice"))

    assert_refused(bob.process_proposal, update, bob)


def test_no_changed_encrypted_proposal_is_accepted() -> None:
    alice, bob, _ = group_of("alice", "bob", "carol")
    warmed(alice, bob)

    assert_refused(bob.process_proposal, private(alice, PSK, key=key_of("alice")), bob)


def test_no_changed_request_to_join_is_accepted() -> None:
    alice, _ = group_of("alice", "carol")
    message = propose_to_join(b"group", alice.epoch, bundle_of("bob"), key_of("bob"))

    assert_refused(alice.process_proposal, message, alice)


def test_no_changed_message_is_accepted() -> None:
    alice, bob, _ = group_of("alice", "bob", "carol")
    warmed(alice, bob)
    message = alice.protect(b"text" * 20, b"header", entropy=seeded(1), padding_bytes=30)

    assert_refused(bob.unprotect, message, bob)


def test_no_changed_welcome_is_accepted() -> None:
    alice, _ = group_of("alice", "carol")
    package = bundle_of("bob").key_package_bytes
    staged = alice.commit(add=[package], proposals=[PSK], psks=PSKS, entropy=seeded(1), now=NOW)
    assert staged.welcome is not None

    assert_refused(lambda message: Group.join(message, bundle_of("bob"), key_of("bob"), NOW, psks=PSKS), staged.welcome)


def test_no_changed_key_package_is_accepted() -> None:
    alice, _ = group_of("alice", "carol")

    assert_refused(
        lambda message: alice.commit(add=[message], entropy=seeded(1), now=NOW),
        bundle_of("bob").key_package_bytes,
        alice,
    )


def test_no_changed_group_info_is_accepted() -> None:
    alice, _ = group_of("alice", "carol")

    assert_refused(
        lambda message: Group.join_external(message, key_of("bob"), b"bob", entropy=seeded(1), now=NOW),
        alice.group_info(),
        alice,
    )


def test_no_changed_tree_is_accepted() -> None:
    alice, *_ = group_of("alice", "carol", "dave")
    info = alice.group_info(with_tree=False)

    assert_refused(
        lambda tree: Group.join_external(info, key_of("bob"), b"bob", entropy=seeded(1), now=NOW, ratchet_tree=tree),
        alice.ratchet_tree(),
        alice,
    )


def test_random_bytes_are_refused() -> None:
    chance = random.Random(8)
    _, bob = group_of("alice", "bob")
    for _ in range(300):
        noise = b"\x00\x01\x00" + bytes([chance.randrange(1, 6)]) + chance.randbytes(chance.randrange(200))
        for use in (
            bob.unprotect,
            bob.process_proposal,
            lambda message: bob.process_commit(message, NOW),
            lambda message: bob.commit(add=[message], entropy=seeded(1), now=NOW),
            lambda message: Group.join(message, bundle_of("carol"), key_of("carol"), NOW),
            lambda message: Group.join_external(message, key_of("carol"), b"carol", entropy=seeded(1), now=NOW),
        ):
            with pytest.raises(PeerError):
                use(noise)


def test_key_packages_of_one_person_differ() -> None:
    first, second = (new_key_package(key_of("bob"), b"bob", seeded(number), NOW) for number in range(2))

    assert first.reference != second.reference
    assert first.init_private_key != second.init_private_key
