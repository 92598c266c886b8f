"""Members of a mixed group, ours and theirs, behind one face.

A commit is made first and merged later. core-crypto cannot wait: it merges as soon as its commit is out.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from typing import Any, Final, Protocol

import msgspec

from mls import (
    ROOM_EXTENSION,
    Extension,
    Group,
    KeyPackageBundle,
    SignatureKey,
    StagedCommit,
    new_key_package,
    propose_to_join,
)
from mls.codec import decode
from mls.framing import ContentType, PrivateMessage, PublicMessage, WireFormat, content_type_of, open_envelope
from mls.key_packages import open_key_package
from mls.key_schedule import GroupContext, PreSharedKeyID, PSKType
from mls.proposals import Add, PreSharedKey, Proposal, Remove
from mls.welcome import GroupInfo
from tests.npm_peers.process import PeerProcess

__all__ = ["Changes", "Commit", "Facts", "OurMember", "PeerMember", "TsMember", "WireMember"]

PSKS: Final[Mapping[bytes, bytes]] = {b"key one": b"\x01" * 32, b"key two": b"\x02" * 20}
"""External pre-shared keys that everybody holds."""

Facts = dict[str, Any]
"""What a member says about its epoch; all that two members both say must be equal."""


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What a commit is to change; nothing renews the committer's keys."""

    add: tuple[bytes, ...] = ()
    remove: tuple[tuple[int, str], ...] = ()
    """Leaf and identity of each member to remove."""
    psk: bytes | None = None
    extension: bytes | None = None
    is_public: bool = True
    """Whether the handshake travels in the clear; not everybody gives a choice."""
    force_path: bool = True


class Commit(msgspec.Struct, frozen=True, kw_only=True):
    """A commit that was made, and the Welcome for those it adds."""

    message: bytes
    welcome: bytes | None = None


class Member(Protocol):
    """One device."""

    identity: str
    facts: Facts

    def key_package(self) -> bytes: ...
    def create(self, group_id: bytes) -> None: ...
    def join(self, welcome: bytes) -> None: ...
    def group_info(self) -> bytes: ...
    def join_external(self, group_info: bytes, old_leaf: int | None) -> Commit: ...
    def propose(self, changes: Changes) -> bytes: ...
    def commit(self, changes: Changes) -> Commit: ...
    def merge(self) -> None: ...
    def process(self, message: bytes) -> bytes | None: ...
    def send(self, data: bytes) -> bytes: ...


def now() -> int:
    """Peers look at the clock when they check lifetimes."""
    return int(time.time())


class OurMember:
    """A device of ours."""

    def __init__(self, identity: str) -> None:
        self.identity = identity
        self.key = SignatureKey.generate(secrets.token_bytes)
        self.bundle: KeyPackageBundle | None = None
        self.group: Group | None = None
        self.staged: StagedCommit | None = None

    @property
    def here(self) -> Group:
        assert self.group is not None
        return self.group

    @property
    def facts(self) -> Facts:
        group = self.here
        return {
            "epoch": group.epoch,
            "epoch_authenticator": group.epoch_authenticator.hex(),
            "tree_hash": group.tree_hash.hex(),
            "exported": group.export("exporter", b"", 32).hex(),
            "members": len(group.members()),
        }

    def leaf_of(self, identity: str) -> int:
        """Where a member sits."""
        (leaf,) = (member.leaf_index for member in self.here.members() if member.identity == identity.encode())
        return leaf

    def key_package(self) -> bytes:
        self.bundle = new_key_package(self.key, self.identity.encode(), secrets.token_bytes, now())
        return self.bundle.key_package_bytes

    def create(self, group_id: bytes) -> None:
        self.group = Group.create(group_id, self.key, self.identity.encode(), entropy=secrets.token_bytes, now=now())

    def join(self, welcome: bytes) -> None:
        assert self.bundle is not None
        self.group = Group.join(welcome, self.bundle, self.key, now(), psks=PSKS)

    def group_info(self) -> bytes:
        return self.here.group_info()

    def join_external(self, group_info: bytes, old_leaf: int | None) -> Commit:
        self.staged, commit = Group.join_external(
            group_info,
            self.key,
            self.identity.encode(),
            entropy=secrets.token_bytes,
            now=now(),
            remove_old_leaf=old_leaf,
        )
        return Commit(message=commit)

    def ask_to_join(self, group_info: bytes) -> bytes:
        self.key_package()
        assert self.bundle is not None
        context = context_of(group_info)
        return propose_to_join(context.group_id, context.epoch, self.bundle, self.key)

    def propose(self, changes: Changes) -> bytes:
        proposal: Proposal
        if changes.add:
            proposal = Add(open_key_package(changes.add[0]))
        elif changes.remove:
            proposal = Remove(changes.remove[0][0])
        else:
            assert changes.psk is not None
            proposal = psk_proposal(changes.psk)
        message = self.here.propose(proposal)
        self.here.process_proposal(message)
        return message

    def commit(self, changes: Changes) -> Commit:
        extensions = None
        if changes.extension is not None:
            extensions = (Extension(extension_type=ROOM_EXTENSION, data=changes.extension),)
        self.staged = self.here.commit(
            add=changes.add,
            remove=[leaf for leaf, _ in changes.remove],
            references=list(self.here.pending_proposals()),
            proposals=[] if changes.psk is None else [psk_proposal(changes.psk)],
            extensions=extensions,
            force_path=changes.force_path,
            psks=PSKS,
            entropy=secrets.token_bytes,
            now=now(),
        )
        return Commit(message=self.staged.commit, welcome=self.staged.welcome)

    def merge(self) -> None:
        assert self.staged is not None
        self.group, self.staged = self.staged.merge(), None

    def process(self, message: bytes) -> bytes | None:
        """Any message, through the disk every time."""
        group = Group.restore(self.here.epoch_state(), self.here.ratchet_state(), self.key)
        self.group = group
        match kind_of(message):
            case ContentType.APPLICATION:
                return group.unprotect(message).plaintext
            case ContentType.PROPOSAL:
                group.process_proposal(message)
            case _:
                staged = group.process_commit(message, now(), psks=PSKS)
                self.group = None if staged.self_removed else staged.merge()
        return None

    def send(self, data: bytes) -> bytes:
        return self.here.protect(data, entropy=secrets.token_bytes, padding_bytes=len(data) % 64)


def context_of(group_info: bytes) -> GroupContext:
    """The epoch that a GroupInfo describes."""
    return decode(open_envelope(group_info)[1], GroupInfo.read).context


def described(group_info: bytes) -> tuple[GroupContext, bytes]:
    """The epoch that a GroupInfo describes, and the tag that proves its whole history."""
    info = decode(open_envelope(group_info)[1], GroupInfo.read)
    return info.context, info.confirmation_tag


def psk_proposal(psk_id: bytes) -> PreSharedKey:
    """A proposal to mix an external key in."""
    return PreSharedKey(PreSharedKeyID(psk_type=PSKType.EXTERNAL, psk_id=psk_id, psk_nonce=secrets.token_bytes(32)))


def kind_of(message: bytes) -> ContentType:
    """What a message carries, as its header says."""
    wire_format, body = open_envelope(message)
    if wire_format is WireFormat.PRIVATE_MESSAGE:
        return decode(body, PrivateMessage.read).content_type
    return content_type_of(decode(body, PublicMessage.read).content.content)


class PeerMember:
    """What devices in the other process have in common."""

    def __init__(self, peer: PeerProcess, identity: str) -> None:
        self.identity = identity
        self.peer = peer
        self.facts: Facts = {}
        self.call("device", identity=identity)

    def call(self, op: str, **request: Any) -> dict[str, Any]:
        """One operation on this device; facts in the answer are kept."""
        answer = self.peer.call(op, device=self.identity, **request)
        if "epoch" in answer:
            known = ("epoch", "epoch_authenticator", "tree_hash", "exported", "members")
            self.facts = {name: answer[name] for name in known if name in answer}
        return answer

    def key_package(self) -> bytes:
        return bytes.fromhex(self.call("keypackage")["key_package"])

    def create(self, group_id: bytes) -> None:
        self.call("create", group_id=group_id.hex())

    def join(self, welcome: bytes) -> None:
        self.call("join", welcome=welcome.hex())

    def process(self, message: bytes) -> bytes | None:
        data = self.call("process", message=message.hex())["data"]
        return None if data is None else bytes.fromhex(data)

    def send(self, data: bytes) -> bytes:
        return bytes.fromhex(self.call("send", data=data.hex())["message"])


def _commit_in(answer: dict[str, Any]) -> Commit:
    welcome = answer.get("welcome")
    return Commit(message=bytes.fromhex(answer["commit"]), welcome=welcome and bytes.fromhex(welcome))


class TsMember(PeerMember):
    """A device of ts-mls. Its handshakes are encrypted or not, as it happens."""

    def __init__(self, peer: PeerProcess, identity: str) -> None:
        super().__init__(peer, identity)
        for psk_id, secret in PSKS.items():
            self.call("psk", psk=psk_id.hex(), secret=secret.hex())

    def group_info(self) -> bytes:
        return bytes.fromhex(self.call("group_info")["group_info"])

    def join_external(self, group_info: bytes, old_leaf: int | None) -> Commit:
        return _commit_in(self.call("external_join", group_info=group_info.hex(), resync=old_leaf is not None))

    def ask_to_join(self, group_info: bytes) -> bytes:
        return bytes.fromhex(self.call("external_add", group_info=group_info.hex())["proposal"])

    def propose(self, changes: Changes) -> bytes:
        (proposal,) = _ts_proposals(changes)
        return bytes.fromhex(self.call("propose", public=changes.is_public, **proposal)["proposal"])

    def commit(self, changes: Changes) -> Commit:
        return _commit_in(self.call("commit", proposals=_ts_proposals(changes), public=changes.is_public))

    def merge(self) -> None:
        self.call("merge")


def _ts_proposals(changes: Changes) -> list[dict[str, Any]]:
    proposals: list[dict[str, Any]] = [{"kind": "add", "key_package": message.hex()} for message in changes.add]
    proposals += [{"kind": "remove", "leaf": leaf} for leaf, _ in changes.remove]
    if changes.psk is not None:
        proposals.append({"kind": "psk", "psk": changes.psk.hex()})
    if changes.extension is not None:
        proposals.append({"kind": "extensions", "data": changes.extension.hex()})
    return proposals


class WireMember(PeerMember):
    """A device of core-crypto. It adds, removes or updates, one kind at a time; all its handshakes are public."""

    last_group_info = b""
    """Only its own commits come with one."""

    def group_info(self) -> bytes:
        return self.last_group_info

    def _sent(self, op: str, **request: Any) -> Commit:
        answer = self.call(op, **request)
        self.last_group_info = bytes.fromhex(answer["group_info"])
        return _commit_in(answer)

    def join_external(self, group_info: bytes, old_leaf: int | None) -> Commit:
        assert old_leaf is None
        return self._sent("external_join", group_info=group_info.hex())

    def propose(self, changes: Changes) -> bytes:
        raise NotImplementedError("core-crypto only commits")

    def commit(self, changes: Changes) -> Commit:
        if changes.add:
            return self._sent("add", key_packages=[message.hex() for message in changes.add])
        if changes.remove:
            return self._sent("remove", identities=[identity for _, identity in changes.remove])
        return self._sent("update")

    def commit_pending(self) -> Commit:
        return self._sent("commit_pending")

    def merge(self) -> None:
        """It has merged already."""
