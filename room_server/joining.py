"""How a server joins a cluster: what it asks, and what it is answered.

    joiner                                         server that the token names
      TLS: its key is pinned by the token ───────▶
      AskCluster(secret, record, signature) ─────▶ known invitation? proof of the key holds? ─▶ AskToJoin, replicated
      ◀──────── ClusterAnswer(WAITING, cluster id) both show the words now; somebody approves on any server
      AskCluster, every second ──────────────────▶
      ◀──── ClusterAnswer(JOINED, genesis, roster) links to all servers; the rest is `room_server.cluster`

Nothing that a stranger says reaches the log: only who shows the secret of an open invitation does. The joiner may go away and
ask again, with the same token, until that expires.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
import structlog
import trio

from room_server import limits
from room_server.cluster import Cluster
from room_server.errors import ClusterError, SnapshotError
from room_server.handshake import Conversation
from room_server.roster import AskToJoin, Invitation, RosterCode, RosterState, encode_state
from wire import limits as wire_limits
from wire.cluster import (
    CLUSTER_ID_BYTES,
    SECRET_BYTES,
    ClusterId,
    JoinToken,
    NodeRecord,
    TokenHash,
    check_record,
    comparison_words,
    sign_ask,
    token_hash,
    verify_ask,
)
from wire.errors import DecodeError, HandshakeError, PeerError
from wire.identity import NodeIdentity
from wire.ids import NodeKey
from wire.messages import AskCluster, Asked, ClusterAnswer
from wire.tls import connect

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

_ANSWERS: Final = {
    RosterCode.DONE: Asked.WAITING,
    RosterCode.UNKNOWN_TOKEN: Asked.UNKNOWN,
    RosterCode.TOKEN_EXPIRED: Asked.EXPIRED,
    RosterCode.TOKEN_USED: Asked.USED,
    RosterCode.DENIED: Asked.DENIED,
    RosterCode.NAME_TAKEN: Asked.NAME_TAKEN,
    RosterCode.KEY_TAKEN: Asked.KEY_TAKEN,
    RosterCode.FULL: Asked.FULL,
    RosterCode.TOO_OLD: Asked.TOO_OLD,
}
REASONS: Final = {
    Asked.DENIED: "the cluster's operator said no",
    Asked.UNKNOWN: "the cluster knows no such invitation: ask for a new token",
    Asked.EXPIRED: "the invitation has expired: ask for a new token",
    Asked.USED: "another server has used this token: ask for a new one, and tell who invited you",
    Asked.NAME_TAKEN: "a server of that cluster has this one's name: change `name` in node.toml",
    Asked.KEY_TAKEN: "a server of that cluster has this one's key or data folder: is this a copy of its folder?",
    Asked.FULL: "the cluster has as many servers as it may have",
    Asked.TOO_OLD: "this server's version does not know what the cluster's servers write: upgrade it first",
}


async def answer_joiner(conversation: Conversation, first: AskCluster, cluster: Cluster, own: NodeKey) -> None:
    """Answer a server that asks to join, for as long as it stays.

    Raises:
        PeerError: its proof does not hold, it says something else, or it went away.
    """
    message = first
    for _ in range(limits.ASKS_PER_CONNECTION_MAX):
        answer = await _answer(message, cluster, own)
        await conversation.say(answer)
        if answer.asked not in {Asked.WAITING, Asked.LATER}:
            return
        heard = None
        with trio.move_on_after(wire_limits.IDLE_S_MAX):
            heard = await conversation.hear()
        if not isinstance(heard, AskCluster):
            raise HandshakeError("a joiner that says something else, or nothing any more")
        message = heard


async def _answer(message: AskCluster, cluster: Cluster, own: NodeKey) -> ClusterAnswer:
    roster = cluster.roster
    if roster is None:
        return ClusterAnswer(Asked.UNKNOWN, bytes(CLUSTER_ID_BYTES), "")
    record = _proven(message, own)
    token = token_hash(message.secret)
    asked = _known(record, token, roster)
    if asked is Asked.JOINED:
        return ClusterAnswer(asked, cluster.id, roster.name, cluster.genesis, encode_state(roster))
    if asked is None:
        try:
            asked = _ANSWERS.get(await cluster.perform(AskToJoin(token, record)), Asked.LATER)
        except ClusterError as error:
            log.warning("cluster_ask_failed", reason=str(error))
            asked = Asked.LATER
        if asked is Asked.WAITING:
            log.info("cluster_asked", name=record.name)
    return ClusterAnswer(asked, cluster.id, roster.name)


def _proven(message: AskCluster, own: NodeKey) -> NodeRecord:
    try:
        record = msgspec.msgpack.decode(message.record, type=NodeRecord)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DecodeError("a joiner's record does not decode") from error
    check_record(record)
    if len(message.secret) != SECRET_BYTES:
        raise DecodeError("a secret of a wrong size")
    verify_ask(record, message.signature, token=token_hash(message.secret), asked=own)
    return record


def _known(record: NodeRecord, token: TokenHash, roster: RosterState) -> Asked | None:
    """What is known already; None: the roster has to decide."""
    if any(node.node_key == record.node_key and node.replica_id == record.replica_id for node in roster.nodes):
        return Asked.JOINED
    invitation: Invitation | None = dict(roster.invitations).get(token)
    if invitation is None:
        return Asked.UNKNOWN
    if invitation.is_denied:
        return Asked.DENIED
    return Asked.WAITING if invitation.asked == record else None


class Joining:
    """One server's way into a cluster; readable at any time.

    Args:
        identity: ours.
        own: what we say of ourselves.
        cluster: which we enter in the end.
    """

    def __init__(self, identity: NodeIdentity, *, own: Callable[[], NodeRecord], cluster: Cluster) -> None:
        self._identity = identity
        self._own = own
        self._cluster = cluster
        self._token: JoinToken | None = None
        self._woken = trio.Event()
        self.words = ""
        """To compare; empty until the cluster has answered."""
        self.name = ""
        self.trouble = ""
        """Why it does not go on, or why it ended."""

    @property
    def is_under_way(self) -> bool:
        """A cluster is being asked."""
        return self._token is not None

    def begin(self, token: JoinToken) -> None:
        """Ask the cluster of this token until it says yes or no; one that is being asked is forgotten.

        Raises:
            ClusterError: this server belongs to one already.
        """
        if self._cluster.roster is not None:
            raise ClusterError("this server belongs to a cluster already; `samtala cluster status` shows it")
        self._token = token
        self.words = self.name = self.trouble = ""
        self._woken.set()

    async def run(self) -> None:
        """Ask when there is something to ask, until cancelled."""
        while True:
            token = self._token
            if token is None:
                self._woken = trio.Event()
                await self._woken.wait()
                continue
            try:
                await self._ask(token)
            except (PeerError, SnapshotError, ClusterError) as error:
                self.trouble = str(error)
            await trio.sleep(limits.ASK_S)

    async def _ask(self, token: JoinToken) -> None:
        """One connection."""
        tls = None
        with trio.move_on_after(limits.PEER_DIAL_S_MAX):
            tls = await connect(token.address)
        if tls is None:
            raise HandshakeError(f"nobody answers at {token.address.host}:{token.address.port}")
        try:
            conversation = Conversation(tls)
            while self._token is token:
                await conversation.say(self._message(token))
                answer = await conversation.hear()
                if not isinstance(answer, ClusterAnswer) or len(answer.cluster_id) != CLUSTER_ID_BYTES:
                    raise HandshakeError("what listens there is no server that knows of clusters")
                await self._take(answer, token)
                await trio.sleep(limits.ASK_S)
        finally:
            await tls.aclose()

    def _message(self, token: JoinToken) -> AskCluster:
        record = self._own()
        signature = sign_ask(
            self._identity, record, token=token_hash(token.secret), asked=NodeKey(token.address.node_key)
        )
        return AskCluster(token.secret, msgspec.msgpack.encode(record), signature)

    async def _take(self, answer: ClusterAnswer, token: JoinToken) -> None:
        if self._token is not token:
            return
        self.name = "".join(filter(str.isprintable, answer.name))[: wire_limits.NAME_CHARACTERS_MAX]
        match answer.asked:
            case Asked.JOINED:
                await self._cluster.enter(answer.genesis, answer.roster)
                self._token, self.trouble = None, ""
            case Asked.WAITING:
                self.trouble = ""
                self.words = comparison_words(
                    ClusterId(answer.cluster_id), self._identity.public, token_hash(token.secret)
                )
            case Asked.LATER:
                self.trouble = "the cluster's servers cannot decide now: no majority answers"
            case _:
                self._token, self.trouble = None, REASONS[answer.asked]
