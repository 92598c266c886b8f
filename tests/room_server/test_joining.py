from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing

from room_server.joining import REASONS
from room_server.roster import RosterCode
from tests.room_server.cluster import TestNode, cluster_of
from tests.room_server.operators import do, invited, report, request, view
from tests.room_server.rosters import record
from tests.wire.certificates import identity
from wire.cluster import CLUSTER_ID_BYTES, JoinToken, NodeRecord, parse_token, sign_ask, token_hash
from wire.errors import PeerError
from wire.frames import FrameDecoder, encode_frame
from wire.messages import AskCluster, Asked, ClusterAnswer, Message, decode, encode
from wire.tls import TlsConnection, connect


class Asker:
    """A server that asks, by hand."""

    def __init__(self, tls: TlsConnection, token: JoinToken) -> None:
        self._tls = tls
        self._token = token
        self._decoder = FrameDecoder()

    def message(self, own: NodeRecord, *, number: int) -> AskCluster:
        asked = self._token.address.node_key
        signature = sign_ask(identity(number), own, token=token_hash(self._token.secret), asked=asked)
        return AskCluster(self._token.secret, msgspec.msgpack.encode(own), signature)

    async def ask(self, number: int, name: str | None = None) -> ClusterAnswer:
        return await self.say(self.message(record(number, name), number=number))

    async def say(self, message: Message) -> ClusterAnswer:
        await self._tls.send(encode_frame(encode(message)))
        while True:
            data = await self._tls.receive_some()
            if not data:
                raise PeerError("the connection ended")
            for frame in self._decoder.feed(data):
                answer = decode(frame)
                assert isinstance(answer, ClusterAnswer)
                return answer


@asynccontextmanager
async def asker(token: JoinToken) -> AsyncIterator[Asker]:
    tls = await connect(token.address)
    try:
        yield Asker(tls, token)
    finally:
        await tls.aclose()


@asynccontextmanager
async def founded(folder: Path) -> AsyncIterator[TestNode]:
    with trio.fail_after(30):
        async with cluster_of(folder, names=("a",), strangers=True) as cluster:
            [a] = cluster.nodes
            await do(a, "create", name="makers")
            yield a


def test_every_answer_that_ends_an_attempt_has_a_sentence() -> None:
    assert set(REASONS) | {Asked.WAITING, Asked.JOINED, Asked.LATER} == set(Asked)


async def test_who_asks_waits_for_an_operator_and_then_gets_the_roster(tmp_path: Path) -> None:
    async with founded(tmp_path) as a, asker(parse_token(await invited(a))) as joiner:
        assert (await joiner.ask(2)).asked is Asked.WAITING
        revision = (await report(a)).revision
        assert (await joiner.ask(2)).asked is Asked.WAITING
        assert (await report(a)).revision == revision, "asking again is no operation"

        await do(a, "approve", node="n2")
        answer = await joiner.ask(2)

        assert (answer.asked, answer.name) == (Asked.JOINED, "makers")
        assert answer.genesis
        assert answer.roster


async def test_who_is_turned_away_is_told(tmp_path: Path) -> None:
    async with founded(tmp_path) as a:
        token = parse_token(await invited(a))
        async with asker(token) as joiner:
            await joiner.ask(2)
            await do(a, "deny", node="n2")
            assert (await joiner.ask(2)).asked is Asked.DENIED
        other = parse_token(await invited(a))
        async with asker(other) as joiner:
            assert (await joiner.ask(2, "a")).asked is Asked.NAME_TAKEN
        async with asker(other) as joiner:
            assert (await joiner.ask(2)).asked is Asked.WAITING
        async with asker(other) as joiner:
            assert (await joiner.ask(3)).asked is Asked.USED
        unknown = JoinToken(token.address, bytes(16))
        async with asker(unknown) as joiner:
            answer = await joiner.ask(4)
        assert (answer.asked, answer.genesis, answer.roster) == (Asked.UNKNOWN, b"", b"")


async def test_nobody_asks_in_the_name_of_another_key(tmp_path: Path) -> None:
    async with founded(tmp_path) as a:
        token = parse_token(await invited(a))
        async with asker(token) as joiner:
            for wrong in (
                joiner.message(record(2), number=3),
                AskCluster(token.secret, b"\x93", b""),
                AskCluster(b"short", msgspec.msgpack.encode(record(2)), b""),
            ):
                async with asker(token) as other:
                    with pytest.raises(PeerError):
                        await other.say(wrong)
        assert (await report(a)).waiting == ()


async def test_a_server_without_a_cluster_knows_no_invitation(tmp_path: Path) -> None:
    with trio.fail_after(30):
        async with cluster_of(tmp_path, names=("a",), strangers=True) as cluster:
            [a] = cluster.nodes
            async with asker(JoinToken(a.address, bytes(16))) as joiner:
                answer = await joiner.ask(2)
            assert (answer.asked, answer.cluster_id) == (Asked.UNKNOWN, bytes(CLUSTER_ID_BYTES))


async def test_a_joiner_says_why_it_does_not_get_in(tmp_path: Path) -> None:
    with trio.fail_after(30):
        async with cluster_of(tmp_path, names=("a", "b"), strangers=True) as cluster:
            a, b = cluster.nodes
            await do(a, "create", name="makers")
            status, text = await request(b, "POST", "/cluster/join?token=sam1-join-nonsense")
            assert (status, b"token" in text) == (409, True)
            await do(b, "join", token=str(JoinToken(a.address, bytes(16))))

            while not (joining := (await view(b)).joining) or joining.is_under_way:
                await trio.testing.wait_all_tasks_blocked(0.01)

            assert joining.trouble == REASONS[Asked.UNKNOWN]
            await do(b, "join", token=await invited(a))
            while not (joining := (await view(b)).joining) or not joining.words:
                await trio.testing.wait_all_tasks_blocked(0.01)
            assert joining.cluster == "makers"


def test_every_refusal_of_a_roster_has_an_answer_for_a_joiner() -> None:
    others = {
        RosterCode.NOT_A_NODE, RosterCode.MALFORMED, RosterCode.NOBODY_ASKED, RosterCode.LAST_NODE, RosterCode.NOT_PLACED,
    }  # fmt: skip

    assert len(set(RosterCode) - others) == 9
