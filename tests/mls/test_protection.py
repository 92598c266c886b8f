from __future__ import annotations

from typing import Any

import msgspec
import pytest

from mls.codec import Reader, decode
from mls.crypto import SignatureKey
from mls.errors import DecodeError, DecryptionFailed, InvalidSignature, UnknownSender
from mls.framing import (
    AuthData,
    AuthenticatedContent,
    Content,
    ContentType,
    FramedContent,
    PrivateMessage,
    PublicMessage,
    Sender,
    SenderType,
    WireFormat,
    encode_content,
    open_envelope,
    read_content,
)
from mls.key_schedule import GroupContext
from mls.protection import (
    check_membership_tag,
    membership_tag,
    open_private,
    ratchet_of,
    seal_private,
    sign_content,
    verify_content,
)
from mls.ratchet_tree import RatchetTree
from mls.secret_tree import RatchetType, SecretTree
from tests.mls.builders import bundle_of, seeded
from tests.mls.vectors import OUR_SUITE, hex_bytes, load

VECTORS = load("message-protection", OUR_SUITE)
TYPES = {"application": ContentType.APPLICATION, "proposal": ContentType.PROPOSAL, "commit": ContentType.COMMIT}


def two_members() -> RatchetTree:
    tree = RatchetTree()
    tree.add_leaves([bundle_of("alice").key_package.leaf_node, bundle_of("bob").key_package.leaf_node])
    return tree


def context_of(entry: dict[str, Any]) -> bytes:
    return GroupContext(
        cipher_suite=entry["cipher_suite"],
        group_id=hex_bytes(entry["group_id"]),
        epoch=entry["epoch"],
        tree_hash=hex_bytes(entry["tree_hash"]),
        confirmed_transcript_hash=hex_bytes(entry["confirmed_transcript_hash"]),
    ).encode()


def content_of(entry: dict[str, Any], name: str) -> Content:
    encoded = hex_bytes(entry[name])
    if name == "application":
        return encoded
    return decode(encoded, lambda reader: read_content(reader, TYPES[name]))


@pytest.mark.parametrize("entry", VECTORS)
@pytest.mark.parametrize("name", ["proposal", "commit"])
def test_official_vectors_of_public_messages(entry: dict[str, Any], name: str) -> None:
    wire_format, body = open_envelope(hex_bytes(entry[f"{name}_pub"]))
    public = decode(body, PublicMessage.read)
    message = AuthenticatedContent(wire_format=wire_format, content=public.content, auth=public.auth)

    check_membership_tag(hex_bytes(entry["membership_key"]), public, context_of(entry))
    verify_content(hex_bytes(entry["signature_pub"]), message, context_of(entry))
    assert public.content.content == content_of(entry, name)


@pytest.mark.parametrize("entry", VECTORS)
@pytest.mark.parametrize("name", TYPES)
def test_official_vectors_of_private_messages(entry: dict[str, Any], name: str) -> None:
    private = decode(open_envelope(hex_bytes(entry[f"{name}_priv"]))[1], PrivateMessage.read)

    opened, _ = open_private(
        private,
        sender_data_secret=hex_bytes(entry["sender_data_secret"]),
        secret_tree=SecretTree(hex_bytes(entry["encryption_secret"]), 2),
        tree=two_members(),
        own_leaf=0,
    )

    verify_content(hex_bytes(entry["signature_pub"]), opened, context_of(entry))
    assert opened.content.content == content_of(entry, name)
    assert opened.content.sender.index == 1


@pytest.mark.parametrize("entry", VECTORS)
@pytest.mark.parametrize("name", TYPES)
def test_official_vectors_protected_by_us_open_again(entry: dict[str, Any], name: str) -> None:
    key = SignatureKey.from_private(hex_bytes(entry["signature_priv"]))
    content = framed(content_of(entry, name), group_id=hex_bytes(entry["group_id"]), epoch=entry["epoch"])
    tag = bytes(32) if name == "commit" else None
    secret = hex_bytes(entry["encryption_secret"])
    signature = sign_content(key, WireFormat.PRIVATE_MESSAGE, content, context_of(entry))
    auth = AuthData(signature=signature, confirmation_tag=tag)

    sealed = seal_private(
        content,
        auth,
        sender_data_secret=hex_bytes(entry["sender_data_secret"]),
        message_key=SecretTree(secret, 2).next_key(1, ratchet_of(TYPES[name])),
        entropy=seeded(1),
    )
    opened, _ = open_private(
        decode(sealed.encode(), PrivateMessage.read),
        sender_data_secret=hex_bytes(entry["sender_data_secret"]),
        secret_tree=SecretTree(secret, 2),
        tree=two_members(),
        own_leaf=0,
    )

    assert opened == AuthenticatedContent(wire_format=WireFormat.PRIVATE_MESSAGE, content=content, auth=auth)
    verify_content(key.public, opened, context_of(entry))


def framed(content: Content, *, group_id: bytes = b"g", epoch: int = 1, index: int = 1) -> FramedContent:
    sender = Sender(sender_type=SenderType.MEMBER, index=index)
    return FramedContent.of(group_id, epoch, sender=sender, content=content)


def sealed_text(*, index: int = 1, padding_bytes: int = 0) -> PrivateMessage:
    return seal_private(
        framed(b"text", index=index),
        AuthData(signature=bytes(64)),
        sender_data_secret=bytes(32),
        message_key=SecretTree(bytes(32), 4).next_key(index, RatchetType.APPLICATION),
        entropy=seeded(1),
        padding_bytes=padding_bytes,
    )


def open_text(message: PrivateMessage) -> AuthenticatedContent:
    return open_private(
        message, sender_data_secret=bytes(32), secret_tree=SecretTree(bytes(32), 4), tree=two_members(), own_leaf=0
    )[0]


@pytest.mark.parametrize(
    "field", ["group_id", "epoch", "content_type", "authenticated_data", "encrypted_sender_data", "ciphertext"]
)
def test_every_field_of_a_private_message_is_authenticated(field: str) -> None:
    message = sealed_text()
    value = getattr(message, field)
    other = {
        "epoch": 2,
        "content_type": ContentType.COMMIT,
        "encrypted_sender_data": bytes(28),
        "ciphertext": bytes(len(message.ciphertext)),
    }.get(field, b"other")
    assert other != value

    assert open_text(message).content.content == b"text"
    with pytest.raises(DecryptionFailed):
        open_text(msgspec.structs.replace(message, **{field: other}))


def test_a_sender_whose_leaf_is_blank_is_refused() -> None:
    with pytest.raises(UnknownSender):
        open_text(sealed_text(index=3))


def test_padding_hides_the_size_and_must_be_zero() -> None:
    assert len(sealed_text(padding_bytes=100).ciphertext) == len(sealed_text().ciphertext) + 100
    assert open_text(sealed_text(padding_bytes=100)).content.content == b"text"

    smuggled = seal_private(
        framed(b"text"),
        AuthData(signature=bytes(64), confirmation_tag=b"covert"),
        sender_data_secret=bytes(32),
        message_key=SecretTree(bytes(32), 4).next_key(1, RatchetType.APPLICATION),
        entropy=seeded(1),
    )
    with pytest.raises(DecodeError, match="padding"):
        open_text(smuggled)


def test_a_signature_is_bound_to_wire_format_and_context() -> None:
    key = SignatureKey.generate(seeded(1))
    content = framed(b"text")
    auth = AuthData(signature=sign_content(key, WireFormat.PRIVATE_MESSAGE, content, b"context"))

    private = AuthenticatedContent(wire_format=WireFormat.PRIVATE_MESSAGE, content=content, auth=auth)
    verify_content(key.public, private, b"context")
    public = AuthenticatedContent(wire_format=WireFormat.PUBLIC_MESSAGE, content=content, auth=auth)
    for message, context in ((public, b"context"), (private, b"other")):
        with pytest.raises(InvalidSignature):
            verify_content(key.public, message, context)


def test_a_membership_tag_covers_content_and_signature() -> None:
    content, auth = framed(b"text"), AuthData(signature=bytes(64))
    tag = membership_tag(bytes(32), content, auth, b"context")

    check_membership_tag(bytes(32), PublicMessage(content=content, auth=auth, membership_tag=tag), b"context")
    for other_content, other_auth, context in (
        (framed(b"test"), auth, b"context"),
        (content, AuthData(signature=b"x" * 64), b"context"),
        (content, auth, b"other"),
    ):
        message = PublicMessage(content=other_content, auth=other_auth, membership_tag=tag)
        with pytest.raises(InvalidSignature):
            check_membership_tag(bytes(32), message, context)


def test_application_data_is_a_vector() -> None:
    assert encode_content(b"abc") == b"\x03abc"
    assert read_content(Reader(b"\x03abc"), ContentType.APPLICATION) == b"abc"
