"""What insiders and the network may try with messages: replay, forgery, burning another's keys."""

from __future__ import annotations

import msgspec
import pytest

from mls import (
    DecodeError,
    GenerationTooFar,
    Group,
    InvalidArgument,
    InvalidSignature,
    OwnMessage,
    PeerError,
    Replayed,
    UnknownSender,
    WrongEpoch,
    WrongGroup,
)
from mls.crypto import SignatureKey
from mls.framing import AuthData, FramedContent, Sender, SenderType, WireFormat, envelope
from mls.protection import seal_private, sign_content
from mls.secret_tree import MessageKey, RatchetType, SecretTree
from tests.mls.builders import NOW, bundle_of, committed, group_of, key_of, seeded


def snapshot(group: Group) -> tuple[bytes, bytes]:
    return group.epoch_state(), group.ratchet_state()


def forged(group: Group, *, victim: int, generation: int, key: SignatureKey, text: bytes = b"forged") -> bytes:
    """What an insider with its own signature key can send in another's name: everything but the signature is right."""
    state = group._state
    content = FramedContent.of(
        state.context.group_id,
        state.context.epoch,
        sender=Sender(sender_type=SenderType.MEMBER, index=victim),
        content=text,
    )
    auth = AuthData(signature=sign_content(key, WireFormat.PRIVATE_MESSAGE, content, state.context_bytes))
    sealed = seal_private(
        content,
        auth,
        sender_data_secret=state.secrets.sender_data_secret,
        message_key=state.secret_tree.peek(victim, RatchetType.APPLICATION, generation),
        entropy=seeded(generation),
    )
    return envelope(WireFormat.PRIVATE_MESSAGE, sealed.encode())


def test_a_replay_is_refused() -> None:
    alice, bob = group_of("alice", "bob")
    message = alice.protect(b"once", entropy=seeded(1))
    bob.unprotect(message)
    before = snapshot(bob)

    with pytest.raises(Replayed):
        bob.unprotect(message)

    assert snapshot(bob) == before


def test_a_replay_is_refused_after_a_restart() -> None:
    alice, bob = group_of("alice", "bob")
    message = alice.protect(b"once", entropy=seeded(1))
    bob.unprotect(message)

    with pytest.raises(Replayed):
        Group.restore(*snapshot(bob), key_of("bob")).unprotect(message)


def test_messages_out_of_order_are_read_once_each() -> None:
    alice, bob = group_of("alice", "bob")
    messages = [alice.protect(b"%d" % number, entropy=seeded(number)) for number in range(5)]

    for number in (3, 0, 4, 2, 1):
        assert bob.unprotect(messages[number]).generation == number
    for message in messages:
        with pytest.raises(Replayed):
            bob.unprotect(message)


def test_an_insider_can_neither_pose_as_another_nor_burn_its_keys() -> None:
    alice, bob, carol = group_of("alice", "bob", "carol")
    forgeries = [forged(carol, victim=0, generation=number, key=key_of("carol")) for number in (0, 1, 2, 50)]
    before = msgspec.msgpack.decode(bob.ratchet_state())

    for message in forgeries:
        with pytest.raises(InvalidSignature):
            bob.unprotect(message)

    honest = [alice.protect(b"%d" % number, entropy=seeded(number)) for number in range(3)]
    assert [bob.unprotect(message).plaintext for message in honest] == [b"0", b"1", b"2"]
    assert before[1] == msgspec.msgpack.decode(bob.ratchet_state())[1]


def test_a_forged_jump_far_ahead_is_refused_cheaply() -> None:
    _, bob, carol = group_of("alice", "bob", "carol")
    state = carol._state
    content = FramedContent.of(b"group", 1, sender=Sender(sender_type=SenderType.MEMBER, index=0), content=b"x")
    for generation in (5_000, 2**32 - 1):
        sealed = seal_private(
            content,
            AuthData(signature=bytes(64)),
            sender_data_secret=state.secrets.sender_data_secret,
            message_key=MessageKey(generation, bytes(32), bytes(12)),
            entropy=seeded(1),
        )
        with pytest.raises(GenerationTooFar):
            bob.unprotect(envelope(WireFormat.PRIVATE_MESSAGE, sealed.encode()))


def test_a_forged_sender_outside_the_tree_is_refused() -> None:
    _, bob, carol = group_of("alice", "bob", "carol")
    state = carol._state
    for index in (3, 4, 2**31, 2**32 - 1):
        content = FramedContent.of(b"group", 1, sender=Sender(sender_type=SenderType.MEMBER, index=index), content=b"x")
        sealed = seal_private(
            content,
            AuthData(signature=bytes(64)),
            sender_data_secret=state.secrets.sender_data_secret,
            message_key=SecretTree(bytes(32), 1).next_key(0, RatchetType.APPLICATION),
            entropy=seeded(1),
        )
        with pytest.raises(UnknownSender):
            bob.unprotect(envelope(WireFormat.PRIVATE_MESSAGE, sealed.encode()))


def test_our_own_message_is_recognised() -> None:
    alice, _ = group_of("alice", "bob")

    with pytest.raises(OwnMessage):
        alice.unprotect(alice.protect(b"echo", entropy=seeded(1)))


def test_messages_of_other_groups_and_epochs_are_refused() -> None:
    alice, bob = group_of("alice", "bob")
    stranger = Group.create(b"elsewhere", key_of("eve"), b"eve", entropy=seeded(1), now=NOW)
    early = alice.protect(b"early", entropy=seeded(2))

    with pytest.raises(WrongGroup):
        bob.unprotect(stranger.protect(b"hello", entropy=seeded(3)))
    with pytest.raises(WrongGroup):
        bob.process_commit(stranger.commit(entropy=seeded(3), now=NOW).commit, NOW)
    alice, bob = committed(alice, [bob])
    with pytest.raises(WrongEpoch):
        bob.unprotect(early)


def test_only_application_messages_are_unprotected_and_only_commits_processed() -> None:
    alice, bob = group_of("alice", "bob")
    commit = alice.commit(entropy=seeded(1), now=NOW).commit
    message = alice.protect(b"text", entropy=seeded(2))

    for wrong in (commit, alice.group_info(), bundle_of("carol").key_package_bytes, b"", b"\x00\x01"):
        with pytest.raises(DecodeError):
            bob.unprotect(wrong)
    for wrong in (message, alice.group_info(), b"", b"garbage"):
        with pytest.raises(PeerError):
            bob.process_commit(wrong, NOW)


def test_every_key_is_used_once_and_generations_count_up() -> None:
    alice, bob = group_of("alice", "bob")

    received = [bob.unprotect(alice.protect(b"x", entropy=seeded(7))) for _ in range(20)]

    assert [message.generation for message in received] == list(range(20))


def test_long_messages_are_our_own_fault() -> None:
    with pytest.raises(InvalidArgument):
        group_of("alice")[0].protect(bytes(1 << 24), entropy=seeded(1))


def test_overhead_is_what_the_documentation_says() -> None:
    alice, bob = group_of("alice", "bob")

    assert len(alice.protect(bytes(300), entropy=seeded(1))) <= 300 + 146
    padded = alice.protect(b"short", entropy=seeded(1), padding_bytes=507)
    assert len(padded) == len(alice.protect(b"other", entropy=seeded(2))) + 507
    bob.unprotect(padded)
