"""Groups mixed with independent implementations; `make interop N=1000` runs many more (see tests/mls/peers)."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from mls import Group
from mls.proposals import ReInit
from tests.mls.peers import PEERS
from tests.mls.peers.histories import History, capabilities_of
from tests.mls.peers.members import PSKS, Changes, OurMember, PeerMember, TsMember, WireMember, now
from tests.npm_peers.process import PeerMissingError, PeerProcess, PeerRefusalError, open_peer

STRANGERS: dict[str, type[TsMember | WireMember]] = {"ts_mls": TsMember, "core_crypto": WireMember}
NAMES = [f"{number:08x}-0000-4000-8000-000000000000:{number}@samtala.test" for number in range(1, 9)]
HISTORIES = 8
STEPS = 16


@pytest.fixture(scope="module", params=PEERS)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def peer(kind: str) -> Iterator[PeerProcess]:
    try:
        with capabilities_of(kind), open_peer(PEERS[kind]) as process:
            yield process
    except PeerMissingError as missing:
        pytest.skip(f"{kind}: {missing}")


def met(ours: OurMember, theirs: PeerMember) -> None:
    shared = ours.facts.keys() & theirs.facts.keys()
    assert {"epoch", "exported"} <= shared
    assert {name: ours.facts[name] for name in shared} == {name: theirs.facts[name] for name in shared}
    assert theirs.process(ours.send(b"from us")) == b"from us"
    assert ours.process(theirs.send(b"from them")) == b"from them"


def pair(kind: str, peer: PeerProcess) -> tuple[OurMember, TsMember | WireMember]:
    peer.call("forget")
    return OurMember(NAMES[0]), STRANGERS[kind](peer, NAMES[1])


def added_by_us(kind: str, peer: PeerProcess) -> tuple[OurMember, TsMember | WireMember]:
    ours, theirs = pair(kind, peer)
    ours.create(b"group")
    welcome = ours.commit(Changes(add=(theirs.key_package(),))).welcome
    assert welcome is not None
    ours.merge()
    theirs.join(welcome)
    return ours, theirs


def test_they_join_by_our_welcome(kind: str, peer: PeerProcess) -> None:
    ours, theirs = added_by_us(kind, peer)

    met(ours, theirs)


def test_we_join_by_their_welcome(kind: str, peer: PeerProcess) -> None:
    ours, theirs = pair(kind, peer)
    theirs.create(b"group")
    welcome = theirs.commit(Changes(add=(ours.key_package(),))).welcome
    assert welcome is not None
    theirs.merge()
    ours.join(welcome)

    met(ours, theirs)


def test_they_join_from_outside(kind: str, peer: PeerProcess) -> None:
    ours, theirs = pair(kind, peer)
    ours.create(b"group")
    commit = theirs.join_external(ours.group_info(), None)
    theirs.merge()
    ours.process(commit.message)

    met(ours, theirs)


def test_we_join_from_outside(kind: str, peer: PeerProcess) -> None:
    ours, theirs = pair(kind, peer)
    theirs.create(b"group")
    theirs.commit(Changes())
    theirs.merge()
    commit = ours.join_external(theirs.group_info(), None)
    theirs.process(commit.message)
    ours.merge()

    met(ours, theirs)


def test_both_renew_their_keys(kind: str, peer: PeerProcess) -> None:
    ours, theirs = added_by_us(kind, peer)
    theirs.process(ours.commit(Changes()).message)
    ours.merge()
    met(ours, theirs)

    ours.process(theirs.commit(Changes()).message)
    theirs.merge()
    met(ours, theirs)


def test_a_member_they_remove_is_out(kind: str, peer: PeerProcess) -> None:
    ours, theirs = added_by_us(kind, peer)
    ours.process(theirs.commit(Changes(remove=((0, ours.identity),))).message)

    assert ours.group is None


def test_a_member_we_remove_cannot_follow(kind: str, peer: PeerProcess) -> None:
    ours, theirs = added_by_us(kind, peer)
    theirs.process(ours.commit(Changes(remove=((1, theirs.identity),))).message)
    ours.merge()

    with pytest.raises(PeerRefusalError):
        theirs.process(ours.send(b"secret"))


def test_a_changed_message_of_ours_is_refused_by_them(kind: str, peer: PeerProcess) -> None:
    ours, theirs = added_by_us(kind, peer)
    message = ours.send(b"text")

    with pytest.raises(PeerRefusalError):
        theirs.process(message[:-1] + bytes([message[-1] ^ 1]))


@pytest.mark.parametrize("psk", sorted(PSKS))
def test_a_pre_shared_key_enters_both_ways(psk: bytes, kind: str, peer: PeerProcess) -> None:
    if kind != "ts_mls":
        pytest.skip("core-crypto offers no pre-shared keys")
    ours, theirs = added_by_us(kind, peer)
    theirs.process(ours.commit(Changes(psk=psk)).message)
    ours.merge()
    met(ours, theirs)

    ours.process(theirs.commit(Changes(psk=psk, is_public=False)).message)
    theirs.merge()
    met(ours, theirs)


@pytest.mark.parametrize("branch_id", [None, b"branch"], ids=["successor", "branch"])
def test_a_group_continues_in_another_both_ways(branch_id: bytes | None, kind: str, peer: PeerProcess) -> None:
    if kind != "ts_mls":
        pytest.skip("core-crypto continues no groups")
    ours, theirs = added_by_us(kind, peer)
    for founder in ("ours", "theirs"):
        group_id = f"founded by {founder}".encode()
        if branch_id is None:
            reinit = ReInit(group_id=group_id, version=1, cipher_suite=3, extensions=())
            closing = ours.here.commit(proposals=[reinit], entropy=secrets.token_bytes, now=now())
            theirs.process(closing.commit)
            ours.group = closing.merge()
        branch = None if branch_id is None else group_id
        if founder == "ours":
            founded = ours.here.succeed(
                [theirs.key_package()], branch_id=branch, entropy=secrets.token_bytes, now=now()
            )
            assert founded.welcome is not None
            theirs.call("join_successor", welcome=founded.welcome.hex())
            ours.group = founded.merge()
        else:
            package = ours.key_package()
            assert ours.bundle is not None
            answer = theirs.call("succeed", key_packages=[package.hex()], branch_id=branch and branch.hex())
            welcome, tree = bytes.fromhex(answer["welcome"]), bytes.fromhex(answer["tree"])
            ours.group = Group.join(welcome, ours.bundle, ours.key, now(), ratchet_tree=tree, parent=ours.group)
        assert ours.here.group_id == group_id
        met(ours, theirs)


@pytest.mark.parametrize("seed", range(HISTORIES))
def test_mixed_members_agree_through_random_histories(seed: int, kind: str, peer: PeerProcess) -> None:
    History(seed, peer, STRANGERS[kind]).run(STEPS)
