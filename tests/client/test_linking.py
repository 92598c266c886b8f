from __future__ import annotations

import msgspec
import pytest
from nacl import bindings

from client import limits
from client.identity import Identity, certify, signing_key
from client.linking import (
    ANSWER,
    COMMITMENT,
    HANDED_OVER,
    REVEALED,
    Handover,
    LinkCode,
    Linking,
    NewDevice,
    commitment_to,
    parts_of,
    read_code,
    read_device,
    read_handover,
)
from client.recovery import RecoveredRoom, Recovery
from tests.client.builders import NOW_S, entropy_of
from wire.errors import DecodeError
from wire.identity import ServerAddress
from wire.ids import NodeKey

SECRET = b"s" * 16
CODE = LinkCode(server=ServerAddress("room.example", 7610, NodeKey(b"k" * 32)), secret=SECRET)


def device_of(side: Linking, seed: bytes = b"d" * 32) -> NewDevice:
    return NewDevice(side.ephemeral, signing_key(seed), "phone", b"n" * 16)


def both_agree() -> tuple[Linking, Linking, str, str]:
    old, new = Linking(SECRET, entropy_of(1)), Linking(SECRET, entropy_of(2))
    device = device_of(new)
    commitment = old.open(COMMITMENT, new.seal(COMMITMENT, commitment_to(device)))
    answer = new.open(ANSWER, old.seal(ANSWER, old.ephemeral))
    revealed = read_device(old.open(REVEALED, new.seal(REVEALED, msgspec.msgpack.encode(device))), commitment)
    return old, new, old.agree(revealed.ephemeral), new.agree(answer)


def handover_of(rooms: int) -> Handover:
    recovery = Recovery(1, b"u" * 32, "alice", tuple(RecoveredRoom(f"SAMTALA:{n}" * 20) for n in range(rooms)))
    return Handover(recovery, certify(b"u" * 32, signing_key(b"d" * 32), label="phone", now_s=NOW_S))


def test_a_code_comes_back_and_every_slip_is_noticed() -> None:
    text = CODE.to_text()

    assert read_code(f" {text[:40]}\n{text[40:]} ") == CODE
    for place in range(len(text)):
        slip = text[:place] + ("x" if text[place] != "x" else "y") + text[place + 1 :]
        if slip.upper() != text.upper():
            with pytest.raises(DecodeError):
                read_code(slip)


def test_both_sides_show_the_same_words_and_understand_each_other() -> None:
    old, new, mine, theirs = both_agree()

    assert mine == theirs
    assert len(mine.split()) == 3
    for place, part in enumerate(parts_of(handover_of(3))):
        assert new.open(HANDED_OVER + place, old.seal(HANDED_OVER + place, part)) == part


def test_words_tell_somebody_in_between_who_has_the_code() -> None:
    """Mallory answers both with keys of her own: she opens everything but what the words would have stopped."""
    old, new = Linking(SECRET, entropy_of(1)), Linking(SECRET, entropy_of(2))
    to_old, to_new = Linking(SECRET, entropy_of(3)), Linking(SECRET, entropy_of(4))
    ours, theirs = device_of(to_old), device_of(new)

    old.open(COMMITMENT, to_old.seal(COMMITMENT, commitment_to(ours)))
    to_new.open(COMMITMENT, new.seal(COMMITMENT, commitment_to(theirs)))
    new.open(ANSWER, to_new.seal(ANSWER, to_new.ephemeral))
    old.seal(ANSWER, old.ephemeral)
    old.open(REVEALED, to_old.seal(REVEALED, msgspec.msgpack.encode(ours)))
    new.seal(REVEALED, msgspec.msgpack.encode(theirs))

    assert old.agree(to_old.ephemeral) != new.agree(to_new.ephemeral)


def test_a_device_cannot_choose_its_keys_by_those_of_the_other() -> None:
    device = device_of(Linking(SECRET, entropy_of(2)))
    other = msgspec.structs.replace(device, ephemeral=b"e" * 32)

    assert read_device(msgspec.msgpack.encode(device), commitment_to(device)) == device
    with pytest.raises(DecodeError, match="stands between"):
        read_device(msgspec.msgpack.encode(other), commitment_to(device))


def test_the_code_alone_does_not_open_what_was_handed_over() -> None:
    old, _, _, _ = both_agree()
    letter = old.seal(HANDED_OVER, b"the user key")
    late = Linking(SECRET, entropy_of(9))
    late.agree(old.ephemeral)

    with pytest.raises(DecodeError):
        late.open(HANDED_OVER, letter)


def test_a_letter_opens_in_its_own_box_only() -> None:
    one, other = Linking(SECRET, entropy_of(1)), Linking(SECRET, entropy_of(2))
    letter = one.seal(COMMITMENT, b"said first")

    with pytest.raises(DecodeError):
        other.open(ANSWER, letter)
    with pytest.raises(DecodeError):
        Linking(b"t" * 16, entropy_of(3)).open(COMMITMENT, letter)
    assert len({one.box(number) for number in range(100)} | {Linking(b"t" * 16, entropy_of(3)).box(0)}) == 101
    with pytest.raises(DecodeError):
        other.open(COMMITMENT, letter[:20])


def test_a_key_that_is_none_is_refused() -> None:
    for key in (bytes(32), b"short"):
        with pytest.raises(DecodeError):
            Linking(SECRET, entropy_of(1)).agree(key)


def test_many_rooms_travel_in_parts() -> None:
    handover = handover_of(2000)
    parts = parts_of(handover)

    assert 1 < len(parts) <= limits.LINK_PARTS_MAX
    assert [part[0] for part in parts] == [0] * (len(parts) - 1) + [1]
    assert read_handover(b"".join(part[1:] for part in parts)) == handover
    with pytest.raises(DecodeError):
        read_handover(parts[0][1:])
    with pytest.raises(DecodeError):
        read_handover(msgspec.msgpack.encode(msgspec.structs.replace(handover, recovery=Recovery(2, b"", "", ()))))


def test_the_certificate_makes_the_new_device_one_of_the_person() -> None:
    handover = handover_of(0)
    identity = Identity(
        user_seed=handover.recovery.user_seed, device_seed=b"d" * 32, name="alice", certificate=handover.certificate
    )

    assert identity.is_certified
    assert not msgspec.structs.replace(identity, user_seed=b"v" * 32).is_certified
    assert bindings.crypto_sign_seed_keypair(b"d" * 32)[0] == identity.certificate.device_key
