"""One client connection as a state machine: messages in, frames out. Sans-IO.

    Hello ─▶ open ─▶ Prove, Subscribe, OpenSession, Append, … in any order        anything else: the connection is cut

`handle` takes the messages of one received chunk, so that all appends of a chunk go to replication in one call.
`take_output` gives the frames of one write; results that came in meanwhile leave as one Appended per session. The
shell (`room_server.clients`) moves bytes and runs what must wait: creating rooms and reading history.

Bounds: rooms and sessions per connection, bytes in the outbox (`Outbox`), wrong proofs, blocks of ended epochs. Every
call is answered at once or by replication, so a client that floods calls only fills its own outbox, and then is not
read any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from room_server import limits
from room_server.appends import Appends
from room_server.attachment import Attachment
from room_server.errors import ConnectionCutError, RefusedError
from room_server.feed import CatchUp, Subscription
from room_server.outbox import Outbox
from room_server.rooms import Backend, HostedRoom
from wire import limits as wire_limits
from wire.errors import HandshakeError, RefusalCode
from wire.frames import encode_frame
from wire.ids import RoomId, Sequence
from wire.messages import (
    NONCE_BYTES,
    Append,
    Done,
    GetJoinBundle,
    GetNodeInfo,
    GetRoomStatus,
    GetWelcome,
    Hello,
    JoinBundle,
    KnownServers,
    Letter,
    Message,
    OpenSession,
    Ping,
    Pong,
    Prove,
    Proved,
    PutLetter,
    Refused,
    RoomCondition,
    RoomTip,
    ServerHello,
    ServersChanged,
    StoredWelcomeReply,
    Subscribe,
    Subscribed,
    TakeLetter,
    Unsubscribe,
    encode,
)
from wire.versions import common_version


class ClientEdge:
    """The protocol of one client connection.

    Args:
        backend: the node.
        nonce: this connection's 32 random bytes, which proofs sign.
        on_output: called when `take_output` may have something new; must not block.
    """

    def __init__(self, backend: Backend, *, nonce: bytes, on_output: Callable[[], None]) -> None:
        assert len(nonce) == NONCE_BYTES
        self.outbox = Outbox()
        self.behind: dict[Subscription, Attachment] = {}
        """Subscriptions that the shell must bring up to date when the outbox has room."""
        self.tips_wanted: list[Attachment] = []
        """Whose clients the shell must tell where the log ends, when a majority has said so (`tell_tip`)."""
        self._backend = backend
        self._nonce = nonce
        self._on_output = on_output
        self._client_nonce: bytes | None = None
        self._attachments: dict[RoomId, Attachment] = {}
        self._by_subscription: dict[Subscription, Attachment] = {}
        self._appends = Appends(backend, nonce=nonce, reply=self.reply, on_output=on_output)
        self._bad_proofs = 0
        self._known_epochs: dict[RoomId, int] = {}
        """Of each room that the client asked about: the epoch whose servers it knows, as far as we have told it."""

    # --- input ---------------------------------------------------------------------------------------------------

    def handle(self, messages: Iterable[Message]) -> None:
        """Act on received messages, in order.

        Raises:
            ConnectionCutError: this client broke the protocol; what came before is done.
        """
        try:
            for message in messages:
                handler = self._HANDLERS.get(type(message))
                if handler is None or (self._client_nonce is None and not isinstance(message, Hello)):
                    raise ConnectionCutError("out_of_order", f"unexpected {type(message).__name__}")
                try:
                    handler(self, message)
                except RefusedError as error:
                    self.refuse(getattr(message, "id", 0), error)
        finally:
            self._appends.submit()

    def refuse_busy(self, message: Message, retry_after_s: float) -> None:
        """Do nothing of what a message asks, because its address has had its share for now."""
        if isinstance(message, Append):
            self._appends.refuse_busy(message, retry_after_s)
        else:
            busy = RefusedError(RefusalCode.BUSY, "too many requests from your address", retry_after_s=retry_after_s)
            self.refuse(getattr(message, "id", 0), busy)

    def refuse(self, call: int, error: RefusedError) -> None:
        """Answer a call with a refusal."""
        self._backend.metrics.rejected[error.code].inc()
        self.reply(Refused(call, error.code, error.text, error.retry_after_s))

    def reply(self, message: Message) -> None:
        """Queue one message."""
        self.outbox.put(encode_frame(encode(message)))
        self._on_output()

    def tell_conditions(self, margins: dict[HostedRoom, int]) -> None:
        """Tell how rooms stand where that has changed. `margins` is shared by all connections of one round."""
        for attachment in self._attachments.values():
            room = attachment.room
            margin = margins.get(room)
            if margin is None:
                margin = margins[room] = self._backend.room_margin(room)
            if margin != attachment.margin_told:
                attachment.margin_told = margin
                self.reply(RoomCondition(room.room_id, margin))

    def note_damage(self) -> None:
        """What is stored of a room cannot be read."""
        self._backend.metrics.checksum_errors["history"].inc()

    def drain(self) -> None:
        """Take no new work; tell the client so that it moves on."""
        self._appends.is_draining = True
        self.refuse(0, RefusedError(RefusalCode.DRAINING, "this node is going down"))

    @property
    def is_draining(self) -> bool:
        """No new work is taken."""
        return self._appends.is_draining

    @property
    def is_open(self) -> bool:
        """The hellos are exchanged."""
        return self._client_nonce is not None

    @property
    def has_unanswered(self) -> bool:
        """Appends of this connection are on their way through replication, or their answers not sent yet."""
        return self.outbox.bytes_now > 0 or self._appends.has_unanswered

    def close(self) -> None:
        """The connection is gone: leave every room."""
        for attachment in self._attachments.values():
            if attachment.subscription is not None:
                attachment.room.feed.remove(attachment.subscription)
        self._appends.close()
        self.behind.clear()

    def _on_hello(self, message: Hello) -> None:
        if self._client_nonce is not None:
            raise ConnectionCutError("out_of_order", "second Hello")
        try:
            version = common_version(message.version, message.oldest)
        except HandshakeError as error:
            self.refuse(0, RefusedError(RefusalCode.VERSION, str(error)))
            raise ConnectionCutError("version", "another protocol version") from error
        if len(message.nonce) != NONCE_BYTES:
            raise ConnectionCutError("handshake", "nonce of a wrong size")
        self._client_nonce = message.nonce
        backend = self._backend
        self.reply(ServerHello(version, self._nonce, backend.node_key, backend.name, backend.wall_us()))

    def _on_ping(self, message: Ping) -> None:
        self.reply(Pong(message.id))

    def _on_get_node_info(self, message: GetNodeInfo) -> None:
        self.reply(self._backend.node_info(message.id))

    def _on_get_room_status(self, message: GetRoomStatus) -> None:
        self.reply(self._backend.room_status(message.id, self._hosted(message.room_id)))

    def _on_known_servers(self, message: KnownServers) -> None:
        if self._backend.rooms.certificates(message.room_id) is None:
            raise RefusedError(RefusalCode.UNKNOWN_ROOM, "this node does not host that room")
        if (
            len(self._known_epochs) >= wire_limits.ROOMS_PER_CONNECTION_MAX
            and message.room_id not in self._known_epochs
        ):
            raise RefusedError(RefusalCode.LIMIT, "too many rooms on one connection")
        self._known_epochs[message.room_id] = max(message.epoch, 0)
        self.tell_servers(message.room_id)

    def tell_servers(self, room_id: RoomId) -> None:
        """Tell of servers that came after those which the client said it knows."""
        known = self._known_epochs.get(room_id)
        if known is None:
            return
        certificates = self._backend.rooms.certificates(room_id) or []
        later = tuple(certificates[known : known + wire_limits.CERTIFICATES_PER_FRAME_MAX])
        if later:
            self._known_epochs[room_id] = known + len(later)
            self.reply(ServersChanged(room_id, later))

    def _hosted(self, room_id: RoomId) -> HostedRoom:
        room = self._backend.rooms.get(room_id)
        if room is None:
            raise RefusedError(RefusalCode.UNKNOWN_ROOM, "this node does not host that room")
        return room

    def _attachment(self, room_id: RoomId) -> Attachment:
        attachment = self._attachments.get(room_id)
        if attachment is None:
            self._hosted(room_id)
            raise RefusedError(RefusalCode.NOT_PROVEN, "nothing is proven for that room")
        return attachment

    def _on_prove(self, message: Prove) -> None:
        assert self._client_nonce is not None, "handle admits nothing before Hello"
        attachment = self._attachments.get(message.room_id) or Attachment(self._hosted(message.room_id))
        if len(self._attachments) >= wire_limits.ROOMS_PER_CONNECTION_MAX and message.room_id not in self._attachments:
            raise RefusedError(
                RefusalCode.LIMIT, f"at most {wire_limits.ROOMS_PER_CONNECTION_MAX} rooms per connection"
            )
        try:
            attachment.check_proof(
                message,
                node_key=self._backend.node_key,
                server_nonce=self._nonce,
                client_nonce=self._client_nonce,
            )
        except RefusedError as error:
            self._count_bad_proof(message.id, error)
            raise
        self._attachments[message.room_id] = attachment
        if attachment.subscription is not None:
            self.fell_behind(attachment.subscription)
        self.reply(Proved(message.id, message.room_id, message.purpose, attachment.room.service.epoch))

    def _count_bad_proof(self, call: int, error: RefusedError) -> None:
        self._bad_proofs += error.code is RefusalCode.BAD_PROOF
        if self._bad_proofs >= limits.BAD_PROOFS_MAX:
            self.refuse(call, error)
            raise ConnectionCutError("bad_proof", "too many wrong proofs") from error

    # --- reading -------------------------------------------------------------------------------------------------

    def _on_subscribe(self, message: Subscribe) -> None:
        attachment = self._attachment(message.room_id)
        if not attachment.may_read:
            raise RefusedError(RefusalCode.NOT_PROVEN, "READ is not proven")
        if message.after < 0:
            raise RefusedError(RefusalCode.MALFORMED, "negative sequence")
        self._leave(attachment)
        service = attachment.room.service
        self.reply(Subscribed(message.id, message.room_id, service.next_sequence, service.epoch, service.chain))
        subscription = Subscription(self, after=message.after, read_epoch=attachment.read_epoch)
        attachment.subscription = subscription
        if attachment.subscribe_call is None:
            self.tips_wanted.append(attachment)
        attachment.subscribe_call = message.id
        self._by_subscription[subscription] = attachment
        self.fell_behind(subscription)

    def _on_unsubscribe(self, message: Unsubscribe) -> None:
        self._leave(self._attachment(message.room_id))
        self.reply(Done(message.id))

    def _leave(self, attachment: Attachment) -> None:
        subscription = attachment.subscription
        if subscription is not None:
            attachment.room.feed.remove(subscription)
            self.behind.pop(subscription, None)
            del self._by_subscription[subscription]
            attachment.subscription = None

    def tell_tip(self, attachment: Attachment, call: int, next_sequence: Sequence) -> None:
        """Tell the client of the subscription of `call` where the log ends, unless it has subscribed anew since."""
        if attachment.subscribe_call == call:
            attachment.subscribe_call = None
            if attachment.subscription is not None:
                self.reply(RoomTip(call, attachment.room.room_id, next_sequence))

    def offer(self, frame: bytes) -> bool:
        """Take a delivery into the outbox if there is room (`feed.Sink`)."""
        if self.outbox.offer(frame):
            self._on_output()
            return True
        return False

    def fell_behind(self, subscription: Subscription) -> None:
        """Remember to bring this subscription up to date (`feed.Sink`)."""
        self.behind[subscription] = self._by_subscription[subscription]
        self._on_output()

    def catch_up(self) -> Subscription | None:
        """Bring subscriptions up to date from memory; returns one that needs a page of history, if any."""
        for subscription, attachment in tuple(self.behind.items()):
            state = attachment.room.feed.catch_up(subscription)
            if state is CatchUp.HISTORY:
                return subscription
            if state is CatchUp.FULL:
                return None
            del self.behind[subscription]
        return None

    def room_of(self, subscription: Subscription) -> HostedRoom:
        """The room of a living subscription."""
        return self._by_subscription[subscription].room

    def is_subscribed(self, subscription: Subscription) -> bool:
        """Whether the subscription still stands."""
        return subscription in self._by_subscription

    # --- appending -----------------------------------------------------------------------------------------------

    def _on_open_session(self, message: OpenSession) -> None:
        self._appends.open_session(message, self._attachment(message.room_id))

    def _on_append(self, message: Append) -> None:
        self._appends.append(message, self._attachments.get(message.room_id))

    # --- joining -------------------------------------------------------------------------------------------------

    def _joinable(self, room_id: RoomId) -> HostedRoom:
        attachment = self._attachment(room_id)
        if not attachment.may_join:
            raise RefusedError(RefusalCode.NOT_PROVEN, "none of JOIN, READ and WRITE is proven")
        return attachment.room

    def _on_get_join_bundle(self, message: GetJoinBundle) -> None:
        service = self._joinable(message.room_id).service
        self.reply(
            JoinBundle(
                message.id,
                message.room_id,
                service.epoch,
                service.group_info,
                service.commit_sequence,
                service.commit_chain,
            )
        )

    def _on_get_welcome(self, message: GetWelcome) -> None:
        kept = self._joinable(message.room_id).service.welcome(message.reference)
        if kept is None:
            raise RefusedError(RefusalCode.NOT_FOUND, "no Welcome under that reference")
        self.reply(StoredWelcomeReply(message.id, message.room_id, kept.welcome, kept.sequence, kept.chain))

    # --- between devices -----------------------------------------------------------------------------------------

    def _on_put_letter(self, message: PutLetter) -> None:
        self._backend.letters.put(message.box, message.letter, self._backend.now())
        self.reply(Done(message.id))

    def _on_take_letter(self, message: TakeLetter) -> None:
        letter = self._backend.letters.take(message.box, self._backend.now())
        if letter is None:
            raise RefusedError(RefusalCode.NOT_FOUND, "no letter in that box")
        self.reply(Letter(message.id, letter))

    # --- output --------------------------------------------------------------------------------------------------

    def take_output(self) -> list[bytes]:
        """The frames of one write, oldest first; empty when there is nothing to send."""
        for appended in self._appends.take_answers():
            self.outbox.put(encode_frame(encode(appended)))
        return self.outbox.take(limits.SEND_BYTES_MAX)

    _HANDLERS: ClassVar[dict[type[Message], Callable[[ClientEdge, Any], None]]] = {
        Hello: _on_hello,
        Ping: _on_ping,
        GetNodeInfo: _on_get_node_info,
        GetRoomStatus: _on_get_room_status,
        KnownServers: _on_known_servers,
        Prove: _on_prove,
        Subscribe: _on_subscribe,
        Unsubscribe: _on_unsubscribe,
        OpenSession: _on_open_session,
        Append: _on_append,
        GetJoinBundle: _on_get_join_bundle,
        GetWelcome: _on_get_welcome,
        PutLetter: _on_put_letter,
        TakeLetter: _on_take_letter,
    }
