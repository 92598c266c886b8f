"""Members, quorums, primaries."""

from __future__ import annotations

import msgspec
import pytest

from vr.configuration import Configuration, Member
from vr.errors import DecodeError
from vr.types import GroupId, ReplicaId, make_view


def make(size: int, group: bytes = b"g" * 16) -> Configuration:
    members = tuple(Member(ReplicaId(bytes([place]) * 16), b"key") for place in range(size))
    return Configuration(group=GroupId(group), members=members)


@pytest.mark.parametrize(
    ("size", "quorum", "nacks"), [(1, 1, 1), (2, 2, 1), (3, 2, 2), (4, 3, 2), (5, 3, 3), (7, 4, 4)]
)
def test_quorums_intersect(size: int, quorum: int, nacks: int) -> None:
    configuration = make(size)

    assert (configuration.quorum, configuration.nack_quorum) == (quorum, nacks)
    assert 2 * configuration.quorum > size
    assert configuration.quorum + configuration.nack_quorum > size


def test_the_primary_goes_round() -> None:
    """VRR 4: the primary is chosen round-robin."""
    configuration = make(3)

    assert [configuration.primary_index(make_view(0, number)) for number in range(4)] == [0, 1, 2, 0]


def test_first_primaries_spread_over_groups() -> None:
    firsts = {make(3, bytes([place]) * 16).initial_view() for place in range(30)}

    assert firsts == {0, 1, 2}


def test_encoding_round_trips_and_names_the_genesis() -> None:
    configuration = make(3)

    again = Configuration.from_bytes(configuration.to_bytes())

    assert again == configuration
    assert again.genesis_checksum() == configuration.genesis_checksum() != make(4).genesis_checksum()


def test_index_of_a_stranger_is_none() -> None:
    configuration = make(2)

    assert configuration.index_of(ReplicaId(bytes([1]) * 16)) == 1
    assert configuration.index_of(ReplicaId(b"?" * 16)) is None


def test_bad_configurations_are_refused() -> None:
    good = make(3)
    replace = msgspec.structs.replace
    bad = [
        replace(good, members=()),
        replace(good, members=good.members[:1] * 2),
        make(8),
        replace(good, members=(Member(ReplicaId(b"short"), b"key"),)),
        replace(good, pipeline_ops_max=0),
        replace(good, group=GroupId(b"short")),
    ]

    for configuration in bad:
        with pytest.raises(DecodeError):
            Configuration.from_bytes(configuration.to_bytes())
    with pytest.raises(DecodeError):
        Configuration.from_bytes(b"\xc1")
