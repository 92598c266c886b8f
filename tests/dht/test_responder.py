from __future__ import annotations

import msgspec
import pytest

from dht import bencode
from dht.counters import Counters
from dht.egress import EGRESS_BURST_S
from dht.items import MutableItem, sign_item_with_seed
from dht.krpc import Answer, Arguments, Failure, Query, decode
from dht.limits import EGRESS_NETWORK_BYTES_PER_S, QUERY_BURST, REPLY_NODES_MAX
from dht.node_id import Address
from dht.responder import Responder
from dht.routing_table import Admission, RoutingTable
from dht.storage import SignedValue, Storage
from dht.tokens import Tokens

OWN = bytes(20)
ASKER = b"a" * 20
HERE = ("192.0.2.1", 7610)
LOCAL = ("127.0.0.1", 7610)
ITEM = sign_item_with_seed(bytes(32), seq=3, value=b"v" * 600, salt=b"s")


class Setting:
    """A responder with its surroundings, and questions to it."""

    def __init__(self, nodes: int = 30) -> None:
        admission = Admission()
        self.counters = Counters()
        self.storage = Storage(OWN)
        self.table = RoutingTable(OWN, admission=admission, now=0.0)
        for number in range(nodes):
            self.table.on_answered(bytes([number * 8 + 1]) * 20, (f"10.0.{number}.1", 7610), 0.0)
        self.responder = Responder(
            table=self.table,
            storage=self.storage,
            tokens=Tokens(b"s" * 16, 0.0),
            admission=admission,
            counters=self.counters,
        )

    def ask_raw(self, method: bytes, arguments: Arguments, address: Address = LOCAL, now: float = 0.0) -> bytes | None:
        query = Query(transaction=b"xy", method=method, sender=ASKER, arguments={b"id": ASKER, **arguments})
        return self.responder.answer(query, address, now)

    def ask(self, method: bytes, arguments: Arguments, address: Address = LOCAL, now: float = 0.0) -> Arguments:
        datagram = self.ask_raw(method, arguments, address, now)
        assert datagram is not None
        answer = decode(datagram)
        assert isinstance(answer, Answer), answer
        assert answer.sender == OWN
        assert answer.external == address
        return answer.values

    def code(self, method: bytes, arguments: Arguments, address: Address = LOCAL) -> int:
        datagram = self.ask_raw(method, arguments, address)
        assert datagram is not None
        failure = decode(datagram)
        assert isinstance(failure, Failure), failure
        return failure.code

    def put(self, item: MutableItem, **change: bencode.Value) -> Arguments:
        token = self.ask(b"get", {b"target": item.target})[b"token"]
        fields: Arguments = {
            b"k": item.public_key,
            b"salt": item.salt,
            b"seq": item.seq,
            b"sig": item.signature,
            b"token": token,
            b"v": item.value,
        }
        return fields | {key.encode(): value for key, value in change.items()}


def test_ping_gives_our_id() -> None:
    assert Setting().ask(b"ping", {}) == {b"id": OWN}


@pytest.mark.parametrize("method", [b"find_node", b"get_peers", b"announce_later", b"vote"])
@pytest.mark.parametrize("word", [b"target", b"info_hash"])
def test_nodes_near_the_target_are_given_to_whoever_names_one(method: bytes, word: bytes) -> None:
    values = Setting().ask(method, {word: b"\xff" * 20})

    nodes = values[b"nodes"]
    assert isinstance(nodes, bytes)
    assert len(nodes) == 26 * REPLY_NODES_MAX
    assert b"token" not in values, "no torrent is announced here"


@pytest.mark.parametrize(
    ("method", "arguments", "code"),
    [
        (b"find_node", {}, 203),
        (b"find_node", {b"target": b"short"}, 203),
        (b"get", {}, 203),
        (b"vote", {}, 204),
        (b"sample_infohashes", {b"target": bytes(20)}, 204),
        (b"put", {}, 203),
        (b"put", {b"v": b"x", b"token": b"12345678"}, 203),
    ],
)
def test_questions_that_get_an_error(method: bytes, arguments: Arguments, code: int) -> None:
    assert Setting().code(method, arguments) == code


def test_put_and_get_of_a_mutable_item() -> None:
    setting = Setting()

    assert setting.ask(b"put", setting.put(ITEM)) == {b"id": OWN}

    values = setting.ask(b"get", {b"target": ITEM.target})
    assert (values[b"k"], values[b"seq"], values[b"sig"], values[b"v"]) == (
        ITEM.public_key,
        ITEM.seq,
        ITEM.signature,
        ITEM.value,
    )
    assert b"nodes" in values
    assert setting.counters.answered == {"get": 2, "put": 1}


def test_a_reader_that_has_this_version_is_told_its_number_only() -> None:
    setting = Setting()
    setting.ask(b"put", setting.put(ITEM))

    values = setting.ask(b"get", {b"target": ITEM.target, b"seq": 3})

    assert values[b"seq"] == 3
    assert b"v" not in values
    assert b"v" in setting.ask(b"get", {b"target": ITEM.target, b"seq": 2})


def test_put_and_get_of_an_immutable_item() -> None:
    setting = Setting()
    value: bencode.Value = {b"any": [1, b"value"]}
    from dht.items import immutable_target

    target = immutable_target(bencode.encode(value))
    token = setting.ask(b"get", {b"target": target})[b"token"]

    setting.ask(b"put", {b"v": value, b"token": token})

    values = setting.ask(b"get", {b"target": target})
    assert values[b"v"] == value
    assert b"k" not in values


def test_refusals_have_the_codes_of_bep44() -> None:
    setting = Setting()
    fields = setting.put(ITEM)
    assert setting.code(b"put", fields | {b"token": b"badtoken"}) == 203
    assert setting.code(b"put", fields | {b"token": 5}) == 203
    assert setting.code(b"put", fields | {b"k": b"short"}) == 203
    assert setting.code(b"put", fields | {b"sig": b"short"}) == 203
    assert setting.code(b"put", fields | {b"salt": 5}) == 203
    assert setting.code(b"put", fields | {b"v": bytes(997)}) == 205
    assert setting.code(b"put", fields | {b"sig": bytes(64)}) == 206
    salty = msgspec.structs.replace(ITEM, salt=bytes(65))
    assert setting.code(b"put", setting.put(salty)) == 207
    setting.ask(b"put", fields)
    assert setting.code(b"put", fields | {b"cas": 2}) == 301
    assert setting.code(b"put", fields | {b"seq": 2}) == 302
    assert setting.counters.refused == {203: 5, 205: 1, 206: 1, 207: 1, 301: 1, 302: 1}


def test_a_flood_from_one_address_is_not_answered() -> None:
    setting = Setting()

    answers = [setting.ask_raw(b"ping", {}, HERE) for _ in range(200)]

    assert sum(answer is not None for answer in answers) == QUERY_BURST
    assert setting.counters.dropped == {"rate_limited": 150}
    assert setting.ask(b"ping", {}, ("192.0.2.2", 7610)) == {b"id": OWN}
    assert setting.ask(b"ping", {}, HERE, now=1.0) == {b"id": OWN}


def test_forged_sources_get_less_and_less() -> None:
    """No amplifier: without proof of its address, a /24 gets the item, then the item alone, then nothing."""
    setting = Setting()
    setting.storage.pin(SignedValue.of(ITEM))
    sizes = []
    for number in range(40):
        datagram = setting.ask_raw(b"get", {b"target": ITEM.target}, (f"192.0.2.{number}", 7610))
        sizes.append(0 if datagram is None else len(datagram))

    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 3
    assert sizes[-1] == 0
    assert sum(sizes) < 7 * 1024
    assert setting.counters.dropped["egress_limited"] == sizes.count(0)


def test_a_network_that_used_up_its_share_takes_nothing_from_the_others() -> None:
    setting = Setting()
    other = sign_item_with_seed(b"o" * 32, seq=1, value=b"o" * 600)
    setting.storage.put_signed(SignedValue.of(other), cas=None, network=None, now=0.0)
    for number in range(250):
        for _ in range(4):
            setting.ask_raw(b"get", {b"target": other.target}, (f"192.0.2.{number}", 7610))

    served = [setting.ask(b"get", {b"target": other.target}, (f"20.0.{number}.1", 7610)) for number in range(100)]

    assert all(b"v" in values for values in served)


@pytest.mark.parametrize("method", [b"find_node", b"get", b"ping", b"vote", b"put"])
def test_whatever_is_asked_an_unproven_network_gets_few_bytes(method: bytes) -> None:
    setting = Setting()
    target: Arguments = {} if method in (b"vote", b"put") else {b"target": bytes(20)}

    answers = [setting.ask_raw(method, target, (f"192.0.2.{n % 250}", 7610)) for n in range(1000)]

    assert sum(len(answer) for answer in answers if answer) <= EGRESS_BURST_S * EGRESS_NETWORK_BYTES_PER_S
    assert setting.counters.dropped["egress_limited"] > 0


def test_proven_sources_are_served() -> None:
    setting = Setting()
    setting.storage.pin(SignedValue.of(ITEM))
    setting.responder.egress.proofs.prove(HERE[0], 0.0)

    answers = [setting.ask_raw(b"get", {b"target": ITEM.target}, HERE) for _ in range(40)]

    assert None not in answers


def test_a_correct_token_proves_an_address() -> None:
    setting = Setting()
    token = setting.ask(b"get", {b"target": ITEM.target}, HERE)[b"token"]

    setting.ask(b"put", setting.put(ITEM) | {b"token": token}, HERE)

    assert setting.responder.egress.proofs.is_proven(HERE[0], 0.0)


def test_others_items_share_our_upload_but_pinned_ones_are_answered_always() -> None:
    setting = Setting()
    other = sign_item_with_seed(b"o" * 32, seq=1, value=b"o" * 600)
    setting.storage.pin(SignedValue.of(ITEM))
    setting.storage.put_signed(SignedValue.of(other), cas=None, network=None, now=0.0)

    def has_value(target: bytes, number: int) -> bool:
        return b"v" in setting.ask(b"get", {b"target": target}, (f"20.{number // 256}.{number % 256}.1", 7610))

    served = [has_value(other.target, number) for number in range(400)]
    assert 100 < served.count(True) < 200, "128 KiB at once"
    assert not served[-1]
    assert has_value(ITEM.target, 500)


def test_the_largest_answer_fits_a_datagram() -> None:
    setting = Setting()
    largest = sign_item_with_seed(bytes(32), seq=(1 << 63) - 1, value=bytes(996))
    setting.storage.pin(SignedValue.of(largest))

    datagram = setting.ask_raw(b"get", {b"target": largest.target})
    ours = setting.ask_raw(b"get", {b"target": ITEM.target})

    assert datagram is not None
    assert ours is not None
    assert len(datagram) <= 1_450
    assert len(ours) <= 1_232, "IPv6's smallest path"


def test_ipv6_askers_get_ipv6_nodes() -> None:
    setting = Setting(nodes=0)
    setting.table.on_answered(b"6" * 20, ("2001:db8::1", 7610), 0.0)

    values = setting.ask(b"find_node", {b"target": bytes(20)}, ("::1", 7610))

    assert len(values[b"nodes6"]) == 38  # type: ignore[arg-type]  # a failure either way


def both_families() -> Setting:
    setting = Setting(nodes=3)
    setting.responder.other = RoutingTable(b"m" * 20, admission=Admission(), now=0.0)
    setting.responder.other.on_answered(b"6" * 20, ("2001:db8::1", 7610), 0.0)
    return setting


@pytest.mark.parametrize(
    ("want", "fields"),
    [
        (None, {b"nodes"}),
        ([b"n4"], {b"nodes"}),
        ([b"n6"], {b"nodes6"}),
        ([b"n4", b"n6"], {b"nodes", b"nodes6"}),
        ([b"n9", 4], {b"nodes"}),
        (b"n6", {b"nodes"}),
    ],
)
def test_askers_get_nodes_of_the_families_they_want(want: bencode.Value | None, fields: set[bytes]) -> None:
    """BEP 32."""
    arguments: Arguments = {b"target": bytes(20)} | ({} if want is None else {b"want": want})
    for method in (b"find_node", b"get"):
        values = both_families().ask(method, arguments, HERE)
        assert {b"nodes", b"nodes6"} & values.keys() == fields


def test_who_has_one_table_names_what_it_has_whatever_is_wanted() -> None:
    values = Setting(nodes=3).ask(b"find_node", {b"target": bytes(20), b"want": [b"n6"]}, HERE)
    assert b"nodes6" not in values


def test_beside_an_item_only_nodes_of_the_askers_family_are_named() -> None:
    setting = both_families()
    setting.storage.pin(SignedValue.of(ITEM))

    values = setting.ask(b"get", {b"target": ITEM.target, b"want": [b"n4", b"n6"]}, HERE)

    assert b"v" in values
    assert b"nodes6" not in values
