from __future__ import annotations

import pytest

from room_server.errors import ConnectionCutError
from tests.room_server.builders import ROOM_ID, app, commit, genesis
from tests.room_server.fakes import (
    CLIENT,
    CLIENT_NONCE,
    KEYS,
    NODE_KEY,
    SERVER_NONCE,
    Client,
    LocalBackend,
    append,
    proof,
    refusal,
)
from wire import limits as wire_limits
from wire.errors import RefusalCode
from wire.ids import ClientId, GroupEpoch, RoomEpoch, RoomId, Sequence
from wire.messages import (
    Append,
    Deliver,
    Done,
    GetJoinBundle,
    GetNodeInfo,
    GetRoomStatus,
    GetWelcome,
    Hello,
    JoinBundle,
    KnownServers,
    Message,
    NodeInfo,
    OpenSession,
    Ping,
    Pong,
    RoomCondition,
    RoomStatus,
    ServerHello,
    ServersChanged,
    StoredWelcomeReply,
    Subscribe,
    Subscribed,
    Unsubscribe,
)
from wire.room import Purpose, chain_start

NOWHERE = RoomId(b"?" * 16)


def test_hello_is_answered_with_key_and_nonce(backend: LocalBackend) -> None:
    hello = Client(backend, hello=False).one(Hello(1, CLIENT_NONCE), ServerHello)

    assert (hello.node_key, hello.nonce, hello.name) == (NODE_KEY, SERVER_NONCE, "a")


@pytest.mark.parametrize(
    ("messages", "cause"),
    [
        ([Ping(1)], "out_of_order"),
        ([Hello(1, CLIENT_NONCE), Hello(1, CLIENT_NONCE)], "out_of_order"),
        ([Hello(1, CLIENT_NONCE), Pong(1)], "out_of_order"),
        ([Hello(1, CLIENT_NONCE), ServerHello(1, b"", NODE_KEY, "", 0)], "out_of_order"),
        ([Hello(1, b"short")], "handshake"),
        ([Hello(2, CLIENT_NONCE)], "version"),
        ([Hello(1, CLIENT_NONCE), Append(ROOM_ID, CLIENT, 1, 1, ())], "protocol"),
        ([Hello(1, CLIENT_NONCE), Append(ROOM_ID, CLIENT, 1, 0, (b"x",))], "protocol"),
        ([Hello(1, CLIENT_NONCE), Append(ROOM_ID, CLIENT, -1, 1, (b"x",))], "protocol"),
        ([Hello(1, CLIENT_NONCE), Append(ROOM_ID, ClientId(b"c"), 1, 1, (b"x",))], "protocol"),
        ([Hello(1, CLIENT_NONCE), Append(ROOM_ID, CLIENT, 1, 1, (b"x",) * 33)], "protocol"),
    ],
)
def test_breaking_the_protocol_cuts_the_connection_with_a_cause(
    backend: LocalBackend, messages: list[Message], cause: str
) -> None:
    client = Client(backend, hello=False)

    with pytest.raises(ConnectionCutError) as caught:
        client.edge.handle(messages)

    assert caught.value.cause == cause
    assert backend.submits == 0


def test_other_version_is_told_which_one_this_is(backend: LocalBackend) -> None:
    client = Client(backend, hello=False)

    with pytest.raises(ConnectionCutError):
        client.edge.handle([Hello(9, CLIENT_NONCE)])

    assert refusal(client.hear()) is RefusalCode.VERSION


def test_ping_and_node_info_need_no_proof(backend: LocalBackend) -> None:
    client = Client(backend)

    assert client.one(Ping(3), Pong).id == 3
    assert client.one(GetNodeInfo(4), NodeInfo).id == 4
    assert client.one(GetRoomStatus(5, ROOM_ID), RoomStatus).next_sequence == 1


@pytest.mark.parametrize(
    "message",
    [
        GetRoomStatus(1, NOWHERE),
        proof(Purpose.READ, room_id=NOWHERE),
        Subscribe(1, NOWHERE, Sequence(0)),
        Unsubscribe(1, NOWHERE),
        OpenSession(1, NOWHERE, CLIENT),
        GetJoinBundle(1, NOWHERE),
        GetWelcome(1, NOWHERE, b"x"),
        Append(NOWHERE, CLIENT, 1, 1, (b"x",)),
    ],
)
def test_unknown_room_is_refused_and_the_connection_lives(backend: LocalBackend, message: Message) -> None:
    client = Client(backend)

    assert refusal(client.say(message)) is RefusalCode.UNKNOWN_ROOM
    client.one(Ping(1), Pong)


@pytest.mark.parametrize(
    "message",
    [
        Subscribe(1, ROOM_ID, Sequence(0)),
        OpenSession(1, ROOM_ID, CLIENT),
        GetJoinBundle(1, ROOM_ID),
        GetWelcome(1, ROOM_ID, b"x"),
        append(256, 1, app(0)),
    ],
)
def test_nothing_of_a_room_without_a_proof(backend: LocalBackend, message: Message) -> None:
    assert refusal(Client(backend).say(message)) is RefusalCode.NOT_PROVEN
    assert backend.submits == 0


def delivered(messages: list[Message]) -> list[int]:
    return [d.first_sequence for message in messages if isinstance(message, Deliver) for d in message.deliveries]


def test_subscriber_gets_the_past_and_then_the_present(backend: LocalBackend, member: Client) -> None:
    session = member.open_session()
    member.say(append(session, 1, app(0), app(0)))
    backend.commit()
    reader = Client(backend)
    reader.say(proof(Purpose.READ))

    [subscribed, *past] = reader.say(Subscribe(1, ROOM_ID, Sequence(1)))
    member.say(append(session, 3, app(0)))
    backend.commit()

    room = backend.rooms.get(ROOM_ID)
    assert room is not None
    assert isinstance(subscribed, Subscribed)
    assert (subscribed.next_sequence, subscribed.epoch) == (3, 0)
    assert subscribed.chain not in (room.service.chain, chain_start(ROOM_ID))
    assert delivered(past) == [2]
    assert delivered(reader.hear()) == [3]


def test_new_epoch_is_delivered_when_it_is_proven(backend: LocalBackend, member: Client) -> None:
    session = member.open_session()
    member.say(Subscribe(1, ROOM_ID, Sequence(0)))
    body = commit(0)
    room = backend.rooms.get(ROOM_ID)
    assert room is not None
    member.say(append(session, 1, app(0), body))
    backend.commit()

    assert delivered(member.hear()) == [1, 2]
    room.service._read_keys[RoomEpoch(1)] = bytes(KEYS[Purpose.READ].verify_key)
    room.service.write_key = bytes(KEYS[Purpose.WRITE].verify_key)
    other = Client(backend)
    other.say(proof(Purpose.WRITE, epoch=1))
    other.say(append(session, 3, app(1)))
    backend.commit()

    assert delivered(member.hear()) == []
    assert delivered(member.say(proof(Purpose.READ, epoch=1))) == [3]


def test_unsubscribed_and_closed_connections_get_nothing_more(backend: LocalBackend, member: Client) -> None:
    session = member.open_session()
    leaver, closer = Client(backend), Client(backend)
    for reader in (leaver, closer):
        reader.say(proof(Purpose.READ), Subscribe(1, ROOM_ID, Sequence(0)))

    assert leaver.one(Unsubscribe(2, ROOM_ID), Done).id == 2
    closer.edge.close()
    member.say(append(session, 1, app(0)))
    backend.commit()

    assert leaver.hear() == []
    assert closer.hear() == []


def test_clients_are_told_how_their_rooms_stand_when_that_changes(backend: LocalBackend, member: Client) -> None:
    stranger = Client(backend)

    def told(client: Client) -> list[int]:
        client.edge.tell_conditions({})
        return [message.spare_failures for message in client.hear() if isinstance(message, RoomCondition)]

    assert told(member) == [1]
    assert told(member) == []
    backend.margin = -1
    assert told(member) == [-1]
    assert told(stranger) == [], "nothing of a room without a proof"


def test_second_subscription_replaces_the_first(backend: LocalBackend, member: Client) -> None:
    session = member.open_session()
    member.say(append(session, 1, app(0), app(0)))
    backend.commit()
    member.hear()

    assert delivered(member.say(Subscribe(1, ROOM_ID, Sequence(0)))) == [1, 2]
    assert delivered(member.say(Subscribe(2, ROOM_ID, Sequence(1)))) == [2]
    member.say(append(session, 3, app(0)))
    backend.commit()
    assert delivered(member.hear()) == [3]


def test_negative_sequence_is_refused(member: Client) -> None:
    assert refusal(member.say(Subscribe(1, ROOM_ID, Sequence(-1)))) is RefusalCode.MALFORMED


def test_slow_reader_holds_a_bounded_queue_and_misses_nothing(
    backend: LocalBackend, member: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = member.open_session()
    reader = Client(backend)
    reader.say(proof(Purpose.READ), Subscribe(1, ROOM_ID, Sequence(0)))
    reader.edge.outbox.bytes_max = 300

    for number in range(1, 50):
        member.say(append(session, number, app(0)))
        backend.commit()
    assert reader.edge.outbox.bytes_now < 500

    assert delivered(reader.hear()) == list(range(1, 50))


def test_joiner_gets_the_bundle_of_the_present_epoch(backend: LocalBackend, member: Client) -> None:
    session = member.open_session()
    member.say(append(session, 1, app(0), commit(0, welcomes=[(b"ref", b"welcome")])))
    backend.commit()
    joiner = Client(backend)
    joiner.say(proof(Purpose.JOIN))

    bundle = joiner.one(GetJoinBundle(1, ROOM_ID), JoinBundle)
    welcome = joiner.one(GetWelcome(2, ROOM_ID, b"ref"), StoredWelcomeReply)

    room = backend.rooms.get(ROOM_ID)
    assert room is not None
    assert (bundle.epoch, bundle.group_info, bundle.sequence, bundle.chain) == (1, b"infoc", 2, room.service.chain)
    assert (welcome.welcome, welcome.sequence, welcome.chain) == (b"welcome", 2, room.service.chain)
    assert refusal(joiner.say(GetWelcome(3, ROOM_ID, b"other"))) is RefusalCode.NOT_FOUND


def test_bundle_of_a_new_room_is_that_of_its_genesis(member: Client) -> None:
    bundle = member.one(GetJoinBundle(1, ROOM_ID), JoinBundle)

    assert (bundle.group_info, bundle.sequence, bundle.chain) == (genesis().group_info, 0, chain_start(ROOM_ID))


def test_refusals_are_counted_by_reason(member: Client) -> None:
    member.say(GetRoomStatus(1, NOWHERE))

    assert b'samtala_requests_rejected_total{reason="unknown_room"} 1.0' in member.backend.metrics.render()


def test_client_is_told_of_servers_that_came_after_those_it_knows(backend: LocalBackend) -> None:
    client = Client(backend)
    room = backend.rooms.get(ROOM_ID)
    assert room is not None
    assert client.say(KnownServers(ROOM_ID, GroupEpoch(0))) == []

    room.book.certificates = [b"to 1", b"to 2"]

    assert client.say(KnownServers(ROOM_ID, GroupEpoch(0))) == [ServersChanged(ROOM_ID, (b"to 1", b"to 2"))]
    assert client.say(KnownServers(ROOM_ID, GroupEpoch(1))) == [ServersChanged(ROOM_ID, (b"to 2",))]
    assert client.say(KnownServers(ROOM_ID, GroupEpoch(2)), KnownServers(ROOM_ID, GroupEpoch(9))) == []
    assert client.say(KnownServers(ROOM_ID, GroupEpoch(-1))) == [ServersChanged(ROOM_ID, (b"to 1", b"to 2"))]
    assert refusal(client.say(KnownServers(NOWHERE, GroupEpoch(0)))) is RefusalCode.UNKNOWN_ROOM


def test_long_chain_of_servers_is_told_in_parts(backend: LocalBackend) -> None:
    room = backend.rooms.get(ROOM_ID)
    assert room is not None
    room.book.certificates = [b"%d" % number for number in range(wire_limits.CERTIFICATES_PER_FRAME_MAX + 1)]

    changed = Client(backend).one(KnownServers(ROOM_ID, GroupEpoch(0)), ServersChanged)

    assert changed.certificates == tuple(room.book.certificates[:-1])
