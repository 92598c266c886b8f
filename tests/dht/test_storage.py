from __future__ import annotations

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.errors import QuotaExceeded
from dht.items import sign_item_with_seed
from dht.krpc import ErrorCode
from dht.limits import ITEM_LIFE_S, ITEMS_MAX, ITEMS_PER_NETWORK_MAX, PINNED_MAX
from dht.node_id import distance
from dht.storage import PlainValue, SignedValue, Storage, StoreRefusal

OWN = bytes(20)


def signed(seq: int = 1, value: bytes = b"hej", salt: bytes = b"", seed: int = 0) -> SignedValue:
    return SignedValue.of(sign_item_with_seed(bytes([seed]) * 32, seq=seq, value=value, salt=salt))


def put(
    storage: Storage, item: SignedValue, now: float = 0.0, *, cas: int | None = None, network: bytes = b"n"
) -> bool:
    return storage.put_signed(item, cas=cas, network=network, now=now)


def code_of(storage: Storage, item: SignedValue, *, cas: int | None = None, network: bytes = b"n") -> ErrorCode:
    with pytest.raises(StoreRefusal) as caught:
        put(storage, item, cas=cas, network=network)
    return caught.value.code


def plain(number: int) -> PlainValue:
    return PlainValue(encoded_value=b"i%de" % number)


def test_keeps_what_is_signed_and_gives_it_back() -> None:
    storage = Storage(OWN)

    assert put(storage, signed())

    assert storage.get(signed().target, 0.0) == signed()
    assert len(storage) == 1


def test_a_higher_sequence_number_wins_and_a_lower_one_is_refused() -> None:
    storage = Storage(OWN)
    put(storage, signed(5))

    assert code_of(storage, signed(4)) is ErrorCode.SEQUENCE_LESS
    assert put(storage, signed(6, b"new"))
    assert storage.get(signed().target, 0.0) == signed(6, b"new")


def test_the_same_version_again_only_refreshes() -> None:
    storage = Storage(OWN)
    put(storage, signed(5))

    assert not put(storage, signed(5), now=ITEM_LIFE_S - 1)

    assert storage.get(signed().target, ITEM_LIFE_S + 10) == signed(5)


def test_another_value_under_the_same_number_is_refused() -> None:
    storage = Storage(OWN)
    put(storage, signed(5))

    assert code_of(storage, signed(5, b"two-faced")) is ErrorCode.SEQUENCE_LESS


def test_compare_and_swap() -> None:
    storage = Storage(OWN)
    assert put(storage, signed(5), cas=4), "nothing to compare with (BEP 44)"

    assert code_of(storage, signed(6), cas=4) is ErrorCode.CAS_MISMATCH
    assert put(storage, signed(6), cas=5)


def test_forged_and_oversized_items_are_refused_with_the_codes_of_bep44() -> None:
    storage = Storage(OWN)
    forged = msgspec.structs.replace(signed(), seq=9)
    big = msgspec.structs.replace(signed(), encoded_value=b"998:" + bytes(998))
    salty = msgspec.structs.replace(signed(), salt=bytes(65))
    negative = msgspec.structs.replace(signed(), seq=-1)

    assert code_of(storage, forged) is ErrorCode.INVALID_SIGNATURE
    assert code_of(storage, big) is ErrorCode.VALUE_TOO_BIG
    assert code_of(storage, salty) is ErrorCode.SALT_TOO_BIG
    assert code_of(storage, negative) is ErrorCode.PROTOCOL
    assert len(storage) == 0


def test_items_expire_two_hours_after_the_last_announcement() -> None:
    storage = Storage(OWN)
    put(storage, signed(seed=0), now=0.0)
    put(storage, signed(seed=1), now=0.0)
    put(storage, signed(seed=0), now=100.0)

    assert storage.get(signed(seed=1).target, ITEM_LIFE_S) is None, "expired before it was swept"
    assert storage.expire(ITEM_LIFE_S) == 1
    assert storage.get(signed(seed=0).target, ITEM_LIFE_S) is not None
    assert storage.expire(ITEM_LIFE_S + 100) == 1
    assert len(storage) == 0


def test_pinned_items_never_expire() -> None:
    storage = Storage(OWN)
    storage.pin(signed())

    assert storage.expire(1e9) == 0
    assert storage.get(signed().target, 1e9) == signed()


def test_a_pinned_item_becomes_the_newer_version_that_its_owner_signed() -> None:
    storage = Storage(OWN)
    storage.pin(signed(1))

    assert code_of(storage, signed(0)) is ErrorCode.SEQUENCE_LESS
    assert code_of(storage, msgspec.structs.replace(signed(1), seq=9)) is ErrorCode.INVALID_SIGNATURE
    assert put(storage, signed(2))

    assert storage.pinned() == [signed(2)]
    storage.pin(signed(1))
    assert storage.pinned() == [signed(2)], "sequence numbers never go back"
    assert storage.get(signed().target, 1e9) == signed(2)


def test_pinning_takes_over_what_was_kept() -> None:
    storage = Storage(OWN)
    put(storage, signed(7))

    storage.pin(signed(6))

    assert storage.pinned() == [signed(7)]
    assert len(storage) == 1
    storage.unpin(signed().target, 100.0)
    assert storage.pinned() == []
    assert storage.get(signed().target, 100.0) == signed(7)
    assert storage.expire(100 + ITEM_LIFE_S) == 1


def test_unpinning_a_stranger_does_nothing() -> None:
    Storage(OWN).unpin(bytes(20), 0.0)


def test_pins_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dht.storage.PINNED_MAX", 1)
    storage = Storage(OWN)
    storage.pin(signed(seed=0))

    with pytest.raises(QuotaExceeded):
        storage.pin(signed(seed=1))
    storage.pin(signed(2, seed=0))
    assert PINNED_MAX >= 10_000


def test_one_network_fills_only_its_share() -> None:
    storage = Storage(OWN)
    for number in range(ITEMS_PER_NETWORK_MAX):
        storage.put_plain(plain(number), network=b"a", now=0.0)

    with pytest.raises(StoreRefusal):
        storage.put_plain(plain(1_000), network=b"a", now=0.0)
    storage.put_plain(plain(0), network=b"a", now=1.0)
    storage.put_plain(plain(1_000), network=b"b", now=0.0)
    storage.put_plain(plain(1_001), network=None, now=0.0)
    storage.expire(ITEM_LIFE_S)
    storage.put_plain(plain(1_002), network=b"a", now=ITEM_LIFE_S)


def test_when_full_the_farthest_leaves() -> None:
    storage = Storage(OWN)
    values = [plain(number) for number in range(ITEMS_MAX + 200)]
    refused = 0
    for number, value in enumerate(values):
        try:
            storage.put_plain(value, network=number.to_bytes(3, "big"), now=0.0)
        except StoreRefusal:
            refused += 1

    nearest = sorted(values, key=lambda value: distance(value.target, OWN))
    assert len(storage) == ITEMS_MAX
    assert 0 < refused <= 200
    assert all(storage.get(value.target, 0.0) for value in nearest[:ITEMS_MAX])


def test_distance_is_from_our_present_id() -> None:
    storage = Storage(OWN)
    for number in range(50):
        storage.put_plain(plain(number), network=None, now=0.0)

    storage.move_to(b"\xff" * 20)

    assert storage.expire(ITEM_LIFE_S) == 50


def test_values_that_are_too_big_are_refused_without_signature_too() -> None:
    with pytest.raises(StoreRefusal) as caught:
        Storage(OWN).put_plain(PlainValue(encoded_value=b"998:" + bytes(998)), network=None, now=0.0)

    assert caught.value.code is ErrorCode.VALUE_TOO_BIG


def test_items_that_are_no_strings_are_kept_but_are_not_ours() -> None:
    assert msgspec.structs.replace(signed(), encoded_value=b"i5e").to_item() is None
    item = signed().to_item()
    assert item is not None
    item.verify()


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.sampled_from("puxe")), max_size=60))
def test_sequence_numbers_never_decrease(steps: list[tuple[int, int, str]]) -> None:
    storage, now = Storage(OWN), 0.0
    highest: dict[int, int] = {}
    for seed, seq, action in steps:
        now += 1.0
        item = ITEMS[seed, seq]
        match action:
            case "p":
                storage.pin(item)
            case "u":
                storage.unpin(item.target, now)
            case "e":
                storage.expire(now)
            case _:
                with contextlib.suppress(StoreRefusal):
                    put(storage, item, now)
        stored = storage.get(item.target, now)
        if isinstance(stored, SignedValue):
            assert stored.seq >= highest.get(seed, 0)
            highest[seed] = stored.seq


ITEMS = {(seed, seq): signed(seq, seed=seed) for seed in range(4) for seq in range(6)}
