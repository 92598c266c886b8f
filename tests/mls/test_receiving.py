from __future__ import annotations

import pytest

from mls import Extension, Group
from mls.codec import vector
from mls.crypto import SignatureKey
from mls.errors import (
    DecodeError,
    InvalidProposal,
    InvalidSignature,
    LimitExceeded,
    MLSError,
    OwnMessage,
    Replayed,
    UnknownSender,
    WrongEpoch,
    WrongGroup,
)
from mls.framing import (
    AuthData,
    Content,
    FramedContent,
    PublicMessage,
    Sender,
    SenderType,
    WireFormat,
    envelope,
)
from mls.key_packages import basic_credential
from mls.limits import PROPOSALS_CACHED_MAX
from mls.nodes import EXTERNAL_SENDERS_EXTENSION
from mls.proposals import Add, Commit, ExternalInit, GroupContextExtensions, Remove, Update
from mls.protection import membership_tag, seal_private, sign_content
from mls.secret_tree import RatchetType
from tests.mls.builders import NOW, assert_agree, bundle_of, committed, group_of, key_of, seeded
from tests.mls.leaves import update_leaf

BOT = key_of("retention bot")
SENDERS = Extension(
    extension_type=EXTERNAL_SENDERS_EXTENSION, data=vector(vector(BOT.public) + basic_credential(b"bot").encode())
)


def public(group: Group, content: Content, *, sender: Sender, key: SignatureKey, epoch: int | None = None) -> bytes:
    """Any content, signed by any key, with a right membership tag if the sender is a member."""
    state = group._state
    framed = FramedContent.of(b"group", group.epoch if epoch is None else epoch, sender=sender, content=content)
    tag = bytes(32) if isinstance(content, Commit) else None
    bound = sender.sender_type in {SenderType.MEMBER, SenderType.NEW_MEMBER_COMMIT}
    signature = sign_content(key, WireFormat.PUBLIC_MESSAGE, framed, state.context_bytes if bound else b"")
    auth = AuthData(signature=signature, confirmation_tag=tag)
    is_member = sender.sender_type is SenderType.MEMBER
    membership = membership_tag(state.secrets.membership_key, framed, auth, state.context_bytes) if is_member else None
    return envelope(
        WireFormat.PUBLIC_MESSAGE, PublicMessage(content=framed, auth=auth, membership_tag=membership).encode()
    )


def private(group: Group, content: Content, *, key: SignatureKey) -> bytes:
    """A handshake encrypted by `group`'s member, using up its next handshake key."""
    state = group._state
    sender = Sender(sender_type=SenderType.MEMBER, index=group.own_leaf_index)
    framed = FramedContent.of(b"group", group.epoch, sender=sender, content=content)
    signature = sign_content(key, WireFormat.PRIVATE_MESSAGE, framed, state.context_bytes)
    sealed = seal_private(
        framed,
        AuthData(signature=signature),
        sender_data_secret=state.secrets.sender_data_secret,
        message_key=state.secret_tree.next_key(group.own_leaf_index, RatchetType.HANDSHAKE),
        entropy=seeded(1),
    )
    return envelope(WireFormat.PRIVATE_MESSAGE, sealed.encode())


def member(index: int) -> Sender:
    return Sender(sender_type=SenderType.MEMBER, index=index)


def test_a_proposal_is_kept_once_under_its_reference() -> None:
    alice, bob = group_of("alice", "bob")
    message = alice.propose(Remove(1))

    reference = bob.process_proposal(message)

    assert bob.process_proposal(message) == reference
    assert bob.pending_proposals() == {reference: (Remove(1), 0)}


def test_proposals_are_forgotten_with_their_epoch() -> None:
    alice, bob = group_of("alice", "bob")
    message = alice.propose(Remove(1))
    reference = bob.process_proposal(message)

    alice, bob = committed(alice, [bob])

    assert bob.pending_proposals() == {}
    with pytest.raises(WrongEpoch):
        bob.process_proposal(message)
    with pytest.raises(InvalidProposal):
        bob.commit(references=[reference], entropy=seeded(1), now=NOW)


def test_encrypted_proposals_are_read_once() -> None:
    alice, bob = group_of("alice", "bob")
    message = private(alice, Remove(1), key=key_of("alice"))

    bob.process_proposal(message)

    assert [proposal for proposal, _ in bob.pending_proposals().values()] == [Remove(1)]
    with pytest.raises(Replayed):
        bob.process_proposal(message)
    with pytest.raises(OwnMessage):
        alice.process_proposal(message)


def test_a_forged_encrypted_proposal_burns_no_key() -> None:
    alice, bob = group_of("alice", "bob")
    twin = Group.restore(alice.epoch_state(), alice.ratchet_state(), key_of("alice"))

    with pytest.raises(InvalidSignature):
        bob.process_proposal(private(twin, Remove(1), key=key_of("mallory")))

    bob.process_proposal(private(alice, Remove(1), key=key_of("alice")))


def test_kept_proposals_are_bounded() -> None:
    alice, bob = group_of("alice", "bob")
    for number in range(PROPOSALS_CACHED_MAX):
        bob.process_proposal(alice.propose(Remove(number)))
    before = bob.ratchet_state()

    with pytest.raises(LimitExceeded):
        bob.process_proposal(alice.propose(Remove(99_999)))

    assert bob.ratchet_state() == before
    assert len(bob.pending_proposals()) == PROPOSALS_CACHED_MAX


def test_a_proposal_that_is_too_large_is_not_kept() -> None:
    alice, bob = group_of("alice", "bob")
    large = GroupContextExtensions((Extension(extension_type=0xF5A1, data=bytes(20_000)),))

    with pytest.raises(LimitExceeded):
        bob.process_proposal(alice.propose(large))


def test_kept_proposals_survive_a_restart() -> None:
    alice, bob = group_of("alice", "bob")
    reference = bob.process_proposal(alice.propose(Remove(1)))

    restored = Group.restore(bob.epoch_state(), bob.ratchet_state(), key_of("bob"))

    assert restored.pending_proposals() == {reference: (Remove(1), 0)}


def test_an_update_proposal_of_another_member_is_followed() -> None:
    alice, bob, carol = group_of("alice", "bob", "carol")
    update = public(bob, Update(update_leaf("bob", 1)), sender=member(1), key=key_of("bob"))

    references = [group.process_proposal(update) for group in (alice, carol)]
    staged = alice.commit(references=references[:1], entropy=seeded(1), now=NOW)

    at_carol = carol.process_commit(staged.commit, NOW)
    assert [found.identity for found in at_carol.updated] == [b"bob"]
    assert at_carol.updated == staged.updated
    assert_agree([staged.merge(), at_carol.merge()])
    bob.process_proposal(update)
    with pytest.raises(InvalidProposal):
        bob.process_commit(staged.commit, NOW)


def test_we_propose_no_updates() -> None:
    (alice,) = group_of("alice")

    with pytest.raises(MLSError):
        alice.propose(Update(update_leaf("alice", 0)))


def test_external_senders_may_propose_what_the_group_lets_them() -> None:
    alice, bob = group_of("alice", "bob")
    staged = alice.commit(extensions=(SENDERS,), entropy=seeded(1), now=NOW)
    alice, bob = staged.merge(), bob.process_commit(staged.commit, NOW).merge()
    bot = Sender(sender_type=SenderType.EXTERNAL, index=0)

    reference = bob.process_proposal(public(bob, Remove(1), sender=bot, key=BOT))

    assert bob.pending_proposals() == {reference: (Remove(1), None)}
    for content in (Update(update_leaf("bob", 1)), ExternalInit(bytes(32)), Commit(proposals=(), path=None)):
        with pytest.raises(InvalidProposal):
            bob.process_proposal(public(bob, content, sender=bot, key=BOT))
    with pytest.raises(InvalidSignature):
        bob.process_proposal(public(bob, Remove(1), sender=bot, key=key_of("mallory")))
    outsider = Sender(sender_type=SenderType.EXTERNAL, index=1)
    with pytest.raises(UnknownSender):
        bob.process_proposal(public(bob, Remove(1), sender=outsider, key=BOT))


def test_without_the_extension_there_are_no_external_senders() -> None:
    _, bob = group_of("alice", "bob")

    with pytest.raises(UnknownSender):
        bob.process_proposal(public(bob, Remove(1), sender=Sender(sender_type=SenderType.EXTERNAL, index=0), key=BOT))


def test_newcomers_propose_only_themselves_and_commit_only_with_a_path() -> None:
    _, bob = group_of("alice", "bob")
    newcomer = Sender(sender_type=SenderType.NEW_MEMBER_PROPOSAL)
    key = key_of("carol")

    bob.process_proposal(public(bob, Add(bundle_of("carol").key_package), sender=newcomer, key=key))
    with pytest.raises(InvalidProposal):
        bob.process_proposal(public(bob, Remove(1), sender=newcomer, key=key))
    with pytest.raises(InvalidSignature):
        bob.process_proposal(public(bob, Add(bundle_of("dave").key_package), sender=newcomer, key=key))
    committer = Sender(sender_type=SenderType.NEW_MEMBER_COMMIT)
    with pytest.raises(InvalidProposal):
        bob.process_commit(public(bob, Commit(proposals=(), path=None), sender=committer, key=key), NOW)


@pytest.mark.parametrize("index", [2, 3, 2**31, 2**32 - 1])
def test_senders_outside_the_tree_are_refused(index: int) -> None:
    _, bob = group_of("alice", "bob")

    with pytest.raises(UnknownSender):
        bob.process_proposal(public(bob, Remove(1), sender=member(index), key=key_of("bob")))


def test_a_member_cannot_sign_for_another() -> None:
    _, bob, carol = group_of("alice", "bob", "carol")

    for content in (Remove(1), Commit(proposals=(Remove(1),), path=None)):
        with pytest.raises(InvalidSignature):
            bob.process_commit(public(carol, content, sender=member(0), key=key_of("carol")), NOW)


def test_application_data_must_be_encrypted() -> None:
    alice, bob = group_of("alice", "bob")

    with pytest.raises(DecodeError):
        bob.process_commit(public(alice, b"text", sender=member(0), key=key_of("alice")), NOW)
    with pytest.raises(DecodeError):
        bob.unprotect(public(alice, b"text", sender=member(0), key=key_of("alice")))


def test_a_commit_without_the_path_it_needs_is_refused() -> None:
    alice, bob, _ = group_of("alice", "bob", "carol")

    for proposals in ((), (Remove(2),), (GroupContextExtensions(()),)):
        with pytest.raises(MLSError, match="without the path"):
            bob.process_commit(
                public(alice, Commit(proposals=proposals, path=None), sender=member(0), key=key_of("alice")), NOW
            )


def test_a_commit_with_a_wrong_confirmation_tag_is_refused() -> None:
    alice, bob = group_of("alice", "bob")
    addition = Commit(proposals=(Add(bundle_of("carol").key_package),), path=None)

    with pytest.raises(MLSError, match="confirmation tag"):
        bob.process_commit(public(alice, addition, sender=member(0), key=key_of("alice")), NOW)


def test_groups_and_epochs_are_compared_first() -> None:
    alice, bob = group_of("alice", "bob")
    other = Group.create(b"other", key_of("eve"), b"eve", entropy=seeded(1), now=NOW)

    with pytest.raises(WrongGroup):
        bob.process_proposal(other.propose(Remove(1)))
    for epoch in (0, 2, 2**64 - 1):
        with pytest.raises(WrongEpoch):
            bob.process_proposal(public(alice, Remove(1), sender=member(0), key=key_of("alice"), epoch=epoch))
