"""Whether others reach this server where it says it is: it has fellow servers dial it back, now and then.

    peers ─▶ fellows_to_ask ─▶ ask_fellow ─ DialBack ─▶ Sighting, … ─▶ judge ─▶ Verdict: UNKNOWN, YES or NO and why
                  ▲                                                                 │
                  └────────────── wait_s: often while it is not YES ◀───────────────┘

A server cannot know from inside its own network. One fellow that gets through outweighs those that do not: their network may
be at fault. So fellows are asked one after another, another one first each time, until one gets through or three have not. A
fellow that does not answer says nothing. `samtala doctor` asks and judges with the same functions, all fellows at once.

What is dialled is the address that the question came from. A sighting at an address that cannot be the announced one tells
nothing, neither way: in another family of addresses, on a home network that we share, or at the fellow's own relay.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence

import msgspec
import structlog
import trio

from room_server import limits
from room_server.addresses import household
from room_server.config import Endpoint
from room_server.metrics import NodeMetrics
from room_server.peers import Peer
from room_server.report import Reachability, ReachReport
from wire.channel import open_channel
from wire.errors import PeerError
from wire.identity import ServerAddress
from wire.ids import NodeKey
from wire.messages import DialBack, DialledBack, Reach

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class Sighting(msgspec.Struct, frozen=True, kw_only=True):
    """What one fellow says: how it reached us, and the numeric address at which it tried. `fellow_hosts`: where we asked it."""

    fellow: str
    reach: Reach
    host: str
    fellow_hosts: tuple[str, ...] = ()


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What sightings come to. `why`: one line; `sighting`: what decided, None while nothing is known."""

    state: Reachability
    why: str
    sighting: Sighting | None = None


def judge(advertised: Endpoint, announced: Sequence[str], sightings: Sequence[Sighting]) -> Verdict:
    """Whether others reach a server. Pure.

    Args:
        advertised: what the configuration announces.
        announced: the numeric addresses of that; empty where its name is unknown.
        sightings: what fellows say.
    """
    heard = [one for one in sightings if _tells(one, announced)]
    reached = [one for one in heard if one.reach is Reach.REACHED]
    if reached:
        return _reached(advertised, announced, reached[0])
    if heard:
        return Verdict(state=Reachability.NO, why=_failure(advertised.port, heard[0]), sighting=heard[0])
    return Verdict(state=Reachability.UNKNOWN, why="no other server could tell")


def _tells(sighting: Sighting, announced: Sequence[str]) -> bool:
    if not announced:
        return True
    if any(map(_is_public, announced)) and not _is_public(sighting.host):
        return False  # It shares a home network with us, and knows nothing of the outside.
    same_family = _same_family(sighting.host, announced)
    if sighting.host in same_family or any(map(_is_wildcard, same_family)):
        return True
    if sighting.host in sighting.fellow_hosts:
        return False  # A relay carried our question: it is the relay that was dialled.
    if not same_family:
        return False
    # Of one machine's IPv6 addresses, the one that asks changes daily, and a firewall lets nothing in there.
    return sighting.reach is Reach.REACHED or not _is_neighbour(sighting.host, same_family)


def _reached(advertised: Endpoint, announced: Sequence[str], sighting: Sighting) -> Verdict:
    same_family = _same_family(sighting.host, announced)
    if not same_family or _is_neighbour(sighting.host, same_family) or any(map(_is_wildcard, same_family)):
        return Verdict(state=Reachability.YES, why=f"{sighting.fellow} gets through", sighting=sighting)
    now = Endpoint(sighting.host, advertised.port)
    why = f"the address has changed: {sighting.fellow} reaches this server at {now}, it announces {advertised}"
    return Verdict(state=Reachability.NO, why=why, sighting=sighting)


def _failure(port: int, sighting: Sighting) -> str:
    where = f"{sighting.fellow} tried {Endpoint(sighting.host, port)}"
    match sighting.reach:
        case Reach.CLOSED:
            return f"wrong port: {where}, and nobody listens there"
        case Reach.STRANGER:
            return f"wrong port: {where}, and something else answers"
        case _:
            return f"not reachable from outside: {where}, and nothing answers"


def _same_family(host: str, announced: Sequence[str]) -> list[str]:
    return [other for other in announced if (":" in other) == (":" in host)]


def _is_neighbour(host: str, others: Sequence[str]) -> bool:
    return household(host) in map(household, others)


def _is_public(host: str) -> bool:
    return ipaddress.ip_address(host.partition("%")[0]).is_global


def _is_wildcard(host: str) -> bool:
    return ipaddress.ip_address(host.partition("%")[0]).is_unspecified


def _is_numeric(host: str) -> bool:
    """A fellow's word: it is shown to people and logged."""
    if len(host) > limits.REACH_HOST_CHARS_MAX or not host.isprintable():
        return False
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def fellows_to_ask(peers: Sequence[Peer], own_place: Endpoint, turn: int) -> list[Peer]:
    """Whom to ask in this turn, in order; REACH_FELLOWS_MAX at most, another one first each time. Pure.

    Whoever has our own place is carried by us: the question would come from ourselves.
    """
    others = [peer for peer in peers if (peer.host, peer.port) != (own_place.host, own_place.port)]
    if not others:
        return []
    first = turn % len(others)
    return (others[first:] + others[:first])[: limits.REACH_FELLOWS_MAX]


def wait_s(state: Reachability, random01: float) -> float:
    """Seconds until the next turn. Pure; `random01` spreads servers that started together."""
    base_s = limits.REACH_EVERY_S if state is Reachability.YES else limits.REACH_RETRY_S
    return base_s * (1 + limits.REACH_SPREAD * (2 * random01 - 1))


async def ask_fellow(name: str, address: ServerAddress, question: DialBack, *, agent: str) -> Sighting | None:
    """Have one server dial us; None if it does not answer or does not want to. Bounded by REACH_ASK_S_MAX."""
    with trio.move_on_after(limits.REACH_ASK_S_MAX):
        try:
            async with open_channel(address, agent=agent) as channel:
                answer = await channel.call(question)
        except PeerError:
            return None
        if not isinstance(answer, DialledBack) or not _is_numeric(answer.host):
            return None
        hosts = await numeric_hosts(Endpoint(address.host, address.port))
        return Sighting(fellow=name, reach=answer.reach, host=answer.host, fellow_hosts=tuple(hosts))
    return None


async def numeric_hosts(endpoint: Endpoint) -> list[str]:
    """The numeric addresses of a place; none if its name is unknown or takes longer than RESOLVE_S_MAX."""
    with trio.move_on_after(limits.RESOLVE_S_MAX):
        try:
            found = await trio.socket.getaddrinfo(endpoint.host, endpoint.port, type=trio.socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            return []
        return [str(address[0]) for *_, address in found]
    return []


class ReachWatch:
    """Keeps a running server informed whether it is reached.

    Args:
        advertised: where it says it is.
        node_key: its own.
        peers: its fellows, as they are when it asks.
        metrics: to tell the result.
        random01: entropy for jitter.
    """

    def __init__(
        self,
        advertised: Endpoint,
        *,
        node_key: NodeKey,
        peers: Mapping[NodeKey, Peer],
        metrics: NodeMetrics,
        random01: Callable[[], float],
    ) -> None:
        self._advertised = advertised
        self._node_key = node_key
        self._peers = peers
        self._metrics = metrics
        self._random01 = random01
        self._turn = 0
        self._verdict = Verdict(state=Reachability.UNKNOWN, why="not asked yet")
        self._looked_at: float | None = None

    async def run(self) -> None:
        """Ask now and then, until cancelled; the first time when links had time to come up."""
        await trio.sleep(limits.REACH_FIRST_S * (1 + limits.REACH_SPREAD * self._random01()))
        while True:
            await self.look()
            await trio.sleep(wait_s(self._verdict.state, self._random01()))

    async def look(self) -> None:
        """Ask fellows until one gets through, and keep what comes of it."""
        fellows = fellows_to_ask(tuple(self._peers.values()), self._advertised, self._turn)
        self._turn += 1
        if not fellows:
            self._keep(Verdict(state=Reachability.UNKNOWN, why="there is no other server to ask"))
            return
        question = DialBack(1, self._node_key, self._advertised.port)
        announced = await numeric_hosts(self._advertised)
        sightings: list[Sighting] = []
        verdict = judge(self._advertised, announced, sightings)
        for peer in fellows:
            address = ServerAddress(peer.host, peer.port, peer.node_key)
            sighting = await ask_fellow(peer.name, address, question, agent="samtala-node")
            sightings += [] if sighting is None else [sighting]
            verdict = judge(self._advertised, announced, sightings)
            if verdict.state is Reachability.YES:
                break
        self._keep(verdict)

    def _keep(self, verdict: Verdict) -> None:
        if verdict.state is not self._verdict.state:
            tell = log.warning if verdict.state is Reachability.NO else log.info
            tell("reachability", state=str(verdict.state), reason=verdict.why)
        self._verdict, self._looked_at = verdict, trio.current_time()
        self._metrics.set_reachable(verdict.state)

    def report(self) -> ReachReport:
        """What is known."""
        age_s = None if self._looked_at is None else trio.current_time() - self._looked_at
        return ReachReport(state=self._verdict.state, why=self._verdict.why, age_s=age_s)
