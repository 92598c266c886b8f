from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from room_server import limits
from room_server.errors import SnapshotError
from room_server.roster import (
    GENESIS_MARK,
    Approve,
    AskToJoin,
    Deny,
    Invite,
    Placement,
    PlaceRooms,
    Policy,
    Remove,
    Renew,
    RoomMakers,
    RoomsPlaced,
    RosterCode,
    RosterService,
    SetPolicy,
    cluster_id,
    decode_genesis,
    decode_state,
    encode_genesis,
    encode_operation,
    encode_state,
)
from tests.room_server.rosters import DAY_US, GENESIS, Told, key, record, token
from wire.errors import DecodeError
from wire.ids import RoomId

DONE = RosterCode.DONE


def room(number: int) -> RoomId:
    return RoomId(number.to_bytes(16, "big"))


def invited(count: int = 1) -> Told:
    told = Told()
    for number in range(count):
        assert told(Invite(key(1), token(number), 86400)) is DONE
    return told


def test_a_server_that_is_approved_is_a_node_and_its_token_is_gone() -> None:
    told = invited()

    assert told(AskToJoin(token(0), record(2))) is DONE
    assert told.service.waiting() == {token(0): record(2)}
    assert told(Approve(key(1), token(0))) is DONE

    assert list(told.service.nodes) == [key(1), key(2)]
    assert told(AskToJoin(token(0), record(3))) is RosterCode.UNKNOWN_TOKEN


def test_a_token_is_for_the_first_that_asks_with_it() -> None:
    told = invited()

    assert told(AskToJoin(token(0), record(2))) is DONE
    assert told(AskToJoin(token(0), record(3))) is RosterCode.TOKEN_USED
    assert told(AskToJoin(token(0), record(2, "other"))) is DONE, "who asked may correct what it said"


def test_a_token_expires_by_agreed_time() -> None:
    told = invited()

    told.now_us += DAY_US
    assert told(AskToJoin(token(0), record(2))) is RosterCode.TOKEN_EXPIRED
    assert told(Invite(key(1), token(1), 60)) is DONE
    assert told(AskToJoin(token(0), record(2))) is RosterCode.UNKNOWN_TOKEN, "forgotten when there is something new"


def test_who_asked_and_waited_too_long_is_not_approved() -> None:
    told = invited()
    told(AskToJoin(token(0), record(2)))

    told.now_us += DAY_US

    assert told(Approve(key(1), token(0))) is RosterCode.TOKEN_EXPIRED


def test_who_was_denied_learns_it_until_the_token_expires() -> None:
    told = invited()
    told(AskToJoin(token(0), record(2)))

    assert told(Deny(key(1), token(0))) is DONE

    assert told(AskToJoin(token(0), record(2))) is RosterCode.DENIED
    assert told(Approve(key(1), token(0))) is RosterCode.DENIED
    assert told.service.waiting() == {}


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (record(3, "n1"), RosterCode.NAME_TAKEN),
        (record(1, "x"), RosterCode.KEY_TAKEN),
        (record(2), RosterCode.KEY_TAKEN),
    ],
)
def test_names_and_keys_are_different_among_nodes_and_those_who_ask(asked: object, code: RosterCode) -> None:
    told = invited(2)
    told(AskToJoin(token(0), record(2)))

    assert isinstance(asked, type(record(1)))
    assert told(AskToJoin(token(1), asked)) is code


def test_only_nodes_change_the_roster() -> None:
    told = invited()
    told(AskToJoin(token(0), record(2)))

    for stranger in (
        Invite(key(9), token(5), 60),
        Approve(key(2), token(0)),
        Deny(key(2), token(0)),
        Remove(key(2), key(1)),
        SetPolicy(key(2), Policy()),
        Renew(record(2)),
    ):
        assert told(stranger) is RosterCode.NOT_A_NODE


def test_invitations_and_nodes_are_bounded() -> None:
    told = invited(limits.CLUSTER_INVITES_MAX)
    assert told(Invite(key(1), token(200), 60)) is RosterCode.FULL

    for number in range(limits.CLUSTER_NODES_MAX - 1):
        if number:
            assert told(Invite(key(1), token(100 + number), 60)) in {DONE, RosterCode.FULL}
        used = token(number)
        assert told(AskToJoin(used, record(number + 2))) is DONE
        assert told(Approve(key(1), used)) is DONE
    used = next(iter(told.service.invitations))
    told(AskToJoin(used, record(99)))
    assert told(Approve(key(1), used)) is RosterCode.FULL


def test_an_approval_needs_somebody_who_asked() -> None:
    told = invited()

    assert told(Approve(key(1), token(0))) is RosterCode.NOBODY_ASKED
    assert told(Approve(key(1), token(7))) is RosterCode.UNKNOWN_TOKEN
    assert told(Deny(key(1), token(7))) is RosterCode.UNKNOWN_TOKEN
    assert told(Invite(key(1), token(0), 60)) is RosterCode.TOKEN_USED


def test_the_last_node_stays() -> None:
    told = invited()
    told(AskToJoin(token(0), record(2)))
    told(Approve(key(1), token(0)))

    assert told(Remove(key(1), key(3))) is RosterCode.NOT_A_NODE
    assert told(Remove(key(1), key(1))) is DONE
    assert told(Remove(key(2), key(2))) is RosterCode.LAST_NODE


def test_a_node_says_what_has_changed_and_takes_no_other_name() -> None:
    told = invited()
    told(AskToJoin(token(0), record(2)))
    told(Approve(key(1), token(0)))

    assert told(Renew(record(2, "better"))) is DONE
    assert told(Renew(record(2, "n1"))) is RosterCode.NAME_TAKEN
    assert told.service.nodes[key(2)].name == "better"


def test_rooms_are_wanted_where_it_was_said_last_until_they_are_there() -> None:
    told = Told()

    assert told(PlaceRooms(key(1), (Placement(room(1), (key(1),)), Placement(room(2), (key(2),))))) is DONE
    assert told(PlaceRooms(key(1), (Placement(room(1), (key(3), key(4))),))) is DONE
    assert told.service.placements == {
        room(1): Placement(room(1), (key(3), key(4))),
        room(2): Placement(room(2), (key(2),)),
    }
    assert told(RoomsPlaced(key(1), (room(2), room(9)))) is DONE
    assert told(RoomsPlaced(key(1), (room(2),))) is RosterCode.NOT_PLACED
    assert list(told.service.placements) == [room(1)]
    again = RosterService(GENESIS)
    again.restore(told.service.snapshot())
    assert again.placements == told.service.placements


def test_so_many_rooms_are_on_their_way_and_no_more() -> None:
    told = Told()
    wishes = [Placement(room(number), (key(1),)) for number in range(limits.PLACEMENTS_MAX + 1)]
    for first in range(0, limits.PLACEMENTS_MAX, limits.PLACEMENTS_AT_ONCE_MAX):
        assert told(PlaceRooms(key(1), tuple(wishes[first : first + limits.PLACEMENTS_AT_ONCE_MAX]))) is DONE

    assert told(PlaceRooms(key(1), (wishes[-1],))) is RosterCode.FULL
    assert told(PlaceRooms(key(1), (wishes[0],))) is DONE, "it is one of them"


def test_no_room_is_wanted_on_a_server_that_is_no_node_any_more() -> None:
    told = invited()
    told(AskToJoin(token(0), record(2)))
    told(Approve(key(1), token(0)))
    told(PlaceRooms(key(1), (Placement(room(1), (key(1), key(2))), Placement(room(2), (key(1),)))))

    assert told(Remove(key(1), key(2))) is DONE

    assert list(told.service.placements) == [room(2)]
    assert told(PlaceRooms(key(2), (Placement(room(1), (key(1),)),))) is RosterCode.NOT_A_NODE


def test_an_operation_with_as_many_placements_as_may_be_fits() -> None:
    servers = tuple(key(number) for number in range(1, 8))
    placements = tuple(Placement(room(number), servers) for number in range(limits.PLACEMENTS_AT_ONCE_MAX))

    assert Told()(PlaceRooms(key(1), placements)) is DONE


def test_policy_is_kept() -> None:
    told = Told()

    assert told(SetPolicy(key(1), Policy(RoomMakers.NOBODY, 5))) is DONE
    assert told.service.policy == Policy(RoomMakers.NOBODY, 5)
    assert told.body(encode_operation(SetPolicy(key(1), Policy(RoomMakers.NOBODY, 9)))) is RosterCode.MALFORMED


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x01",
        b"\x02" + encode_operation(Deny(key(1), token(0)))[1:],
        encode_operation(Deny(key(1), token(0))) + b"\x00",
        encode_operation(Invite(key(1), token(0), limits.INVITE_S_MAX + 1)),
        encode_operation(AskToJoin(token(0), record(2, "a\nb"))),
        encode_operation(AskToJoin(token(0), record(2, "x" * 3000))),
        encode_operation(PlaceRooms(key(1), (Placement(room(1), (key(1), key(1))),))),
        encode_operation(PlaceRooms(key(1), (Placement(room(1), ()),))),
        encode_operation(PlaceRooms(key(1), ())),
        encode_operation(PlaceRooms(key(1), (Placement(room(1), (key(1),)),) * (limits.PLACEMENTS_AT_ONCE_MAX + 1))),
    ],
)
def test_what_is_no_operation_changes_nothing(body: bytes) -> None:
    told = Told()
    before = told.service.snapshot()

    assert told.body(body) is RosterCode.MALFORMED
    assert told.service.snapshot() == before


def test_genesis_reads_back_and_names_its_cluster() -> None:
    encoded = encode_genesis(GENESIS)

    assert decode_genesis(encoded) == GENESIS
    assert len(cluster_id(encoded)) == 16


@pytest.mark.parametrize("data", [b"", GENESIS_MARK, b"samtala cluster\x02" + encode_genesis(GENESIS)[16:], b"\x93abc"])
def test_what_is_no_genesis_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_genesis(data)


@pytest.mark.parametrize("data", [b"", b"\x93\x01\x02\x03", encode_state(Told().service.state())[:-1]])
def test_what_is_no_roster_is_refused(data: bytes) -> None:
    with pytest.raises(SnapshotError):
        RosterService(GENESIS).restore(data)


class RosterModel(RuleBasedStateMachine):
    """A second, simpler book: of each token what became of it, of each server whether it is a node."""

    numbers = st.integers(2, 7)
    tokens = st.integers(0, 9)

    def __init__(self) -> None:
        super().__init__()
        self.told = Told()
        self.nodes = {1}
        self.expires: dict[int, int] = {}
        self.asked: dict[int, int] = {}
        self.denied: set[int] = set()

    def _forget(self) -> None:
        for number in [number for number, at in self.expires.items() if at <= self.told.now_us]:
            self._drop(number)

    def _drop(self, number: int) -> None:
        del self.expires[number]
        self.asked.pop(number, None)
        self.denied.discard(number)

    def _holds(self, number: int) -> RosterCode:
        if number not in self.expires:
            return RosterCode.UNKNOWN_TOKEN
        if self.expires[number] <= self.told.now_us:
            return RosterCode.TOKEN_EXPIRED
        return RosterCode.DENIED if number in self.denied else DONE

    @rule(minutes=st.integers(1, 90))
    def time_passes(self, minutes: int) -> None:
        self.told.now_us += minutes * 60_000_000

    @rule(number=tokens, minutes=st.integers(1, 60))
    def invite(self, number: int, minutes: int) -> None:
        by = min(self.nodes)
        code = self.told(Invite(key(by), token(number), minutes * 60))
        self._forget()
        assert code is (RosterCode.TOKEN_USED if number in self.expires else DONE)
        self.expires.setdefault(number, self.told.now_us + minutes * 60_000_000)

    @rule(number=tokens, server=numbers)
    def ask(self, number: int, server: int) -> None:
        code = self.told(AskToJoin(token(number), record(server)))
        expected = self._holds(number)
        if expected is DONE and self.asked.get(number, server) != server:
            expected = RosterCode.TOKEN_USED
        elif expected is DONE:
            self._forget()
            others = {asked for other, asked in self.asked.items() if other != number and other not in self.denied}
            expected = RosterCode.KEY_TAKEN if server in self.nodes | others else DONE
        assert code is expected
        if code is DONE:
            self.asked[number] = server

    @rule(number=tokens)
    def approve(self, number: int) -> None:
        code = self.told(Approve(key(min(self.nodes)), token(number)))
        expected = self._holds(number)
        if expected is DONE and number not in self.asked:
            expected = RosterCode.NOBODY_ASKED
        elif expected is DONE and self.asked[number] in self.nodes:
            expected = RosterCode.KEY_TAKEN
        assert code is expected
        if code is DONE:
            self.nodes.add(self.asked[number])
            self._drop(number)

    @rule(number=tokens)
    def deny(self, number: int) -> None:
        code = self.told(Deny(key(min(self.nodes)), token(number)))
        assert code is (DONE if number in self.expires else RosterCode.UNKNOWN_TOKEN)
        if code is DONE:
            self.denied.add(number)

    @rule(server=numbers)
    def remove(self, server: int) -> None:
        code = self.told(Remove(key(min(self.nodes)), key(server)))
        assert code is (DONE if server in self.nodes else RosterCode.NOT_A_NODE)
        self.nodes.discard(server)

    @invariant()
    def nodes_are_those_of_the_model(self) -> None:
        assert set(self.told.service.nodes) == {key(number) for number in self.nodes}

    @invariant()
    def snapshot_is_all_there_is(self) -> None:
        snapshot = self.told.service.snapshot()
        again = RosterService(GENESIS)
        again.restore(snapshot)
        assert again.snapshot() == snapshot
        assert encode_state(decode_state(snapshot)) == snapshot


TestRosterModel = RosterModel.TestCase
