"""How two servers know each other: TLS proves the one that was dialled, a signature the one that dialled. Sans-IO.

    dialer                                     acceptor
      TLS: the acceptor's key is pinned ─────▶
      PeerHello(key, nonce, replica) ────────▶   is that key in the roster?
      ◀──────── PeerHello(key, nonce, replica)
      PeerProof(signature) ──────────────────▶   does it hold? only now anything else is heard

A roster names keys, not certificates, so TLS client certificates would have to be exchanged beforehand; and Python 3.11
cannot ask for one without refusing the clients, who have none. The signature cannot be relayed: it names the acceptor's
key, which the dialer has pinned by TLS, so a server in the middle only ever gets signatures that name itself. It cannot
be replayed: it covers the acceptor's fresh nonce. Which side dials is up to the caller; a proof says who dialled.
"""

from __future__ import annotations

from collections.abc import Collection

import nacl.exceptions
import nacl.signing

from wire.errors import HandshakeError
from wire.identity import NodeIdentity, key_text
from wire.ids import NODE_KEY_BYTES, NodeKey
from wire.messages import NONCE_BYTES, PeerHello, PeerProof, peer_proof_message
from wire.versions import PROTOCOL_OLDEST, PROTOCOL_VERSION, common_version

REPLICA_ID_BYTES_MAX = 64


class Dialer:
    """The side that connected. Send `hello`, then what `on_hello` returns.

    Args:
        identity: ours.
        hello: ours, with a fresh nonce (`make_hello`).
        acceptor_key: the key that TLS has checked.
    """

    def __init__(self, identity: NodeIdentity, hello: PeerHello, acceptor_key: NodeKey) -> None:
        assert hello.node_key == identity.public
        self.hello = hello
        self._identity = identity
        self._acceptor_key = acceptor_key

    def on_hello(self, hello: PeerHello) -> PeerProof:
        """Check the acceptor's hello; what it says is as true as its TLS key.

        Raises:
            HandshakeError: another version, or another key than TLS showed.
        """
        _check(hello)
        if hello.node_key != self._acceptor_key:
            raise HandshakeError("the peer's hello names another key than its certificate")
        return PeerProof(self._identity.sign(peer_proof_message(acceptor=hello, dialer=self.hello)))


class Acceptor:
    """The side that was dialled. Answer the dialer's hello with `hello`; it is proven when `on_proof` returns.

    Args:
        hello: ours, with a fresh nonce for this very connection.
        roster: keys of the servers that may connect.
    """

    def __init__(self, hello: PeerHello, roster: Collection[NodeKey]) -> None:
        self.hello = hello
        self._roster = roster
        self._dialer: PeerHello | None = None

    def on_hello(self, hello: PeerHello) -> PeerHello:
        """Take the dialer's hello, which proves nothing yet; returns ours.

        Raises:
            HandshakeError: another version, our own key, a stranger's, or a second hello.
        """
        _check(hello)
        if self._dialer is not None or hello.node_key == self.hello.node_key:
            raise HandshakeError("a second hello, or our own")
        if hello.node_key not in self._roster:
            raise HandshakeError(f"no peer of ours: {key_text(hello.node_key)}")
        self._dialer = hello
        return self.hello

    def on_proof(self, proof: PeerProof) -> PeerHello:
        """Check the dialer's proof; returns its hello, which is true now.

        Raises:
            HandshakeError: no hello came before, or the signature does not hold for this connection.
        """
        if self._dialer is None:
            raise HandshakeError("a proof before the hello")
        signed = peer_proof_message(acceptor=self.hello, dialer=self._dialer)
        try:
            nacl.signing.VerifyKey(self._dialer.node_key).verify(signed, proof.signature)
        except (nacl.exceptions.CryptoError, ValueError) as error:
            raise HandshakeError("the peer's proof does not hold") from error
        return self._dialer


def make_hello(identity: NodeIdentity, *, nonce: bytes, replica_id: bytes, name: str, software: str) -> PeerHello:
    """Our hello on one connection; `nonce` is 32 fresh random bytes."""
    assert len(nonce) == NONCE_BYTES
    return PeerHello(PROTOCOL_VERSION, replica_id, name, software, identity.public, nonce, PROTOCOL_OLDEST)


def _check(hello: PeerHello) -> None:
    common_version(hello.version, hello.oldest)
    if len(hello.node_key) != NODE_KEY_BYTES or len(hello.nonce) != NONCE_BYTES:
        raise HandshakeError("key or nonce of a wrong size")
    if not 0 < len(hello.replica_id) <= REPLICA_ID_BYTES_MAX:
        raise HandshakeError("replica id of a wrong size")
