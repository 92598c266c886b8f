from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.vr.storage.records import GROUP, meta
from vr.log import Request, make_entry
from vr.ready import DurableState, Ready
from vr.storage.frame import RecordKind
from vr.storage.meta import birth_record, meta_effect, ready_records
from vr.storage.recovery import MetaEffect
from vr.types import Checksum, ClientId, OpNumber, RequestNumber, SessionNumber, ViewNumber


def test_a_ready_becomes_its_meta_and_then_its_entries() -> None:
    request = Request(ClientId(bytes(16)), SessionNumber(256), RequestNumber(1), b"body")
    entry = make_entry(
        view=ViewNumber(3),
        op=OpNumber(8),
        commit=OpNumber(7),
        parent=Checksum(bytes(16)),
        timestamp_us=5,
        requests=[request],
    )
    state = DurableState(
        view=ViewNumber(3),
        log_view=ViewNumber(2),
        commit=OpNumber(7),
        base_op=OpNumber(5),
        base_checksum=entry.checksum,
    )

    records = ready_records(GROUP, Ready(token=1, append=[entry], meta=state))

    assert [record.kind for record in records] == [RecordKind.META, RecordKind.ENTRY]
    assert DurableState.from_bytes(records[0].payload) == state
    assert records[1].payload is entry.data, "the bytes are encoded once"
    assert (records[1].op, records[1].view, records[1].checksum) == (8, 3, entry.checksum)
    assert ready_records(GROUP, Ready(token=None)) == []


def test_the_effect_of_a_meta_is_its_base_and_its_truncation() -> None:
    assert meta_effect(meta(base_op=4, truncate_above=9).payload) == MetaEffect(base_op=4, truncate_above=9)
    assert meta_effect(meta().payload) == MetaEffect(base_op=0, truncate_above=None)


@given(st.binary(max_size=60))
def test_a_meta_that_cannot_be_decoded_has_no_effect(noise: bytes) -> None:
    assert meta_effect(noise + b"\xc1") is None


def test_a_birth_promises_nothing() -> None:
    assert birth_record(GROUP).kind is RecordKind.BIRTH
    assert birth_record(GROUP).payload == b""
