"""Messages between replicas: what goes in comes out, and nothing else comes in."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vr import limits
from vr.errors import DecodeError
from vr.log import NUMBERS_MAX, Request
from vr.messages import (
    Commit,
    DoViewChange,
    Entries,
    Forward,
    GetEntries,
    GetView,
    Message,
    Prepare,
    PrepareOk,
    Refuse,
    Rejected,
    RejectReason,
    StartView,
    StartViewChange,
    decode,
    encode,
)
from vr.types import Checksum, ClientId, OpNumber, ReplicaIndex, RequestNumber, SessionNumber, ViewNumber

VIEW, WHO = ViewNumber(5), ReplicaIndex(1)
SUM = Checksum(b"s" * 16)
CLIENT = ClientId(b"c" * 16)
OP = OpNumber(3)
REQUEST = Request(CLIENT, SessionNumber(256), RequestNumber(1), b"hej")
REFUSED = Rejected(client=CLIENT, session=SessionNumber(256), number=RequestNumber(1), reason=RejectReason.BUSY)

ALL: list[Message] = [
    Prepare(view=VIEW, replica=WHO, commit=OP, data=b"entry"),
    PrepareOk(view=VIEW, replica=WHO, op=OP, checksum=SUM, commit=OP),
    Commit(view=VIEW, replica=WHO, commit=OP, head_op=OP, want_answer=True),
    StartViewChange(view=VIEW, replica=WHO),
    DoViewChange(
        view=VIEW, replica=WHO, log_view=VIEW, head_op=OP, commit=OP, commit_checksum=SUM, headers=b"", nacks_above=OP
    ),
    StartView(view=VIEW, replica=WHO, head_op=OP, commit=OP, commit_checksum=SUM, headers=b"", nonce=9),
    GetView(view=VIEW, replica=WHO, nonce=2**63 - 1),
    GetEntries(view=VIEW, replica=WHO, wanted=((OP, SUM), (OP, Checksum(b"")))),
    Entries(view=VIEW, replica=WHO, data=(b"a", b"b")),
    Forward(view=VIEW, replica=WHO, requests=(REQUEST,)),
    Refuse(view=VIEW, replica=WHO, rejected=(REFUSED,)),
]


@pytest.mark.parametrize("message", ALL, ids=lambda message: type(message).__name__)
def test_a_message_round_trips(message: Message) -> None:
    assert decode(encode(message)) == message
    assert decode(memoryview(encode(message))) == message


BAD: list[Message] = [
    StartViewChange(view=ViewNumber(-1), replica=WHO),
    StartViewChange(view=ViewNumber(NUMBERS_MAX), replica=WHO),
    StartViewChange(view=VIEW, replica=ReplicaIndex(limits.REPLICAS_MAX)),
    StartViewChange(view=VIEW, replica=ReplicaIndex(-1)),
    PrepareOk(view=VIEW, replica=WHO, op=OpNumber(-1), checksum=SUM, commit=OP),
    PrepareOk(view=VIEW, replica=WHO, op=OP, checksum=Checksum(b"short"), commit=OP),
    Commit(view=VIEW, replica=WHO, commit=OpNumber(-2), head_op=OP),
    GetEntries(view=VIEW, replica=WHO, wanted=((OP, SUM),) * (limits.ENTRIES_PER_MESSAGE_MAX + 1)),
    Entries(view=VIEW, replica=WHO, data=(b"",) * (limits.ENTRIES_PER_MESSAGE_MAX + 1)),
    Forward(view=VIEW, replica=WHO, requests=(msgspec.structs.replace(REQUEST, client=ClientId(b"short")),)),
    Forward(view=VIEW, replica=WHO, requests=(msgspec.structs.replace(REQUEST, number=RequestNumber(-1)),)),
    Prepare(view=VIEW, replica=WHO, commit=OP, data=bytes(limits.ENTRY_BYTES_MAX + 1)),
    Entries(view=VIEW, replica=WHO, data=(bytes(limits.ENTRY_BYTES_MAX), bytes(limits.ENTRY_BYTES_MAX))),
]


@pytest.mark.parametrize("message", BAD, ids=lambda message: str(message)[:60])
def test_a_message_out_of_bounds_is_refused(message: Message) -> None:
    with pytest.raises(DecodeError):
        decode(encode(message))


@given(st.binary(max_size=200))
def test_noise_is_refused_or_a_message(data: bytes) -> None:
    try:
        message = decode(data)
    except DecodeError:
        return
    assert encode(message)


@given(st.sampled_from(ALL), st.data())
def test_a_damaged_message_never_escapes_the_typed_error(message: Message, data: st.DataObject) -> None:
    encoded = bytearray(encode(message))
    encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))

    try:
        decode(bytes(encoded))
    except DecodeError:
        return
