from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mls.codec import Reader, decode, vector
from mls.errors import DecodeError, MLSError, Unsupported
from mls.framing import (
    AuthData,
    AuthenticatedContent,
    ContentType,
    FramedContent,
    PrivateMessage,
    PublicMessage,
    Sender,
    SenderType,
    WireFormat,
    content_type_of,
    encode_content,
    envelope,
    open_envelope,
    read_content,
)
from mls.proposals import Commit, KeyPackage, Remove
from mls.ratchet_tree import RatchetTree
from mls.welcome import GroupInfo, GroupSecrets, Welcome
from tests.mls.vectors import hex_bytes, load

MESSAGES = load("messages")
BODIES: dict[str, tuple[WireFormat, Callable[[Reader], Any]]] = {
    "mls_welcome": (WireFormat.WELCOME, Welcome.read),
    "mls_group_info": (WireFormat.GROUP_INFO, GroupInfo.read),
    "public_message_application": (WireFormat.PUBLIC_MESSAGE, PublicMessage.read),
    "public_message_proposal": (WireFormat.PUBLIC_MESSAGE, PublicMessage.read),
    "public_message_commit": (WireFormat.PUBLIC_MESSAGE, PublicMessage.read),
    "private_message": (WireFormat.PRIVATE_MESSAGE, PrivateMessage.read),
}
BARE: dict[str, Callable[[Reader], Any]] = {"ratchet_tree": RatchetTree.read, "group_secrets": GroupSecrets.read}


@pytest.mark.parametrize("entry", MESSAGES)
def test_official_vectors_of_messages_decode_and_encode(entry: dict[str, Any]) -> None:
    for name, (expected, read) in BODIES.items():
        encoded = hex_bytes(entry[name])
        wire_format, body = open_envelope(encoded)

        assert wire_format is expected
        assert envelope(wire_format, decode(body, read).encode()) == encoded


@pytest.mark.parametrize("entry", MESSAGES)
def test_official_vectors_of_bare_objects_decode_and_encode(entry: dict[str, Any]) -> None:
    for name, read in BARE.items():
        assert decode(hex_bytes(entry[name]), read).encode() == hex_bytes(entry[name])


@pytest.mark.parametrize("name", [*BODIES, "mls_key_package"])
def test_torn_messages_are_refused(name: str) -> None:
    encoded = hex_bytes(MESSAGES[0][name])
    read = BODIES[name][1] if name in BODIES else KeyPackage.read
    for size in range(len(encoded)):
        with pytest.raises(MLSError):
            decode(open_envelope(encoded[:size])[1], read)


def test_framed_content_keeps_the_bytes_it_came_with() -> None:
    sender = Sender(sender_type=SenderType.MEMBER, index=3)
    content = FramedContent.of(b"g", 7, sender=sender, content=Remove(2), authenticated_data=b"seen")

    assert decode(content.encoded, FramedContent.read) == content


@pytest.mark.parametrize("sender_type", SenderType)
def test_only_members_and_external_senders_have_an_index(sender_type: SenderType) -> None:
    sender = Sender(sender_type=sender_type, index=5)
    has_index = sender_type in {SenderType.MEMBER, SenderType.EXTERNAL}

    assert len(sender.encode()) == (5 if has_index else 1)
    assert decode(sender.encode(), Sender.read).index == (5 if has_index else 0)


@pytest.mark.parametrize("content", [b"text", Remove(1), Commit(proposals=(), path=None)])
def test_content_comes_back_by_its_type(content: bytes | Remove | Commit) -> None:
    assert decode(encode_content(content), lambda reader: read_content(reader, content_type_of(content))) == content


def test_authenticated_content_comes_back() -> None:
    sender = Sender(sender_type=SenderType.MEMBER, index=0)
    message = AuthenticatedContent(
        wire_format=WireFormat.PRIVATE_MESSAGE,
        content=FramedContent.of(b"g", 1, sender=sender, content=Commit(proposals=(), path=None)),
        auth=AuthData(signature=b"s", confirmation_tag=b"t"),
    )

    assert decode(message.encode(), AuthenticatedContent.read) == message
    assert message.encode() == message.confirmed_transcript_input() + vector(b"t")


@pytest.mark.parametrize(
    ("encoded", "error"),
    [
        ("00020001", Unsupported),
        ("00010000", DecodeError),
        ("00010006", DecodeError),
        ("0001", DecodeError),
        ("", DecodeError),
    ],
)
def test_unknown_envelopes_are_refused(encoded: str, error: type[MLSError]) -> None:
    with pytest.raises(error):
        open_envelope(bytes.fromhex(encoded))


@pytest.mark.parametrize("encoded", ["00", "05", "ff"])
def test_unknown_senders_and_contents_are_refused(encoded: str) -> None:
    with pytest.raises(DecodeError):
        Sender.read(Reader(bytes.fromhex(encoded)))
    with pytest.raises(DecodeError):
        AuthenticatedContent.read(Reader(b"\x00\x03" + bytes(20)))
    with pytest.raises(ValueError, match="ContentType"):
        ContentType(int(encoded, 16) + 4)
