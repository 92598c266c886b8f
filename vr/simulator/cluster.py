"""A whole simulated world: nodes, network, clients, nemesis; first a storm, then the demand to recover.

```
  storm: faults strike, checkers look at every step
    ▼ calm: a random majority is healed and restarted, the others freeze for ever
  convergence: every request is answered, the majority agrees on one log, one state; within CONVERGE_US of virtual time
```

Safety is judged at every step, liveness only at the end: a storm may rightly stop everything.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from random import Random

import msgspec

from vr.configuration import Configuration, Member
from vr.errors import DecodeError
from vr.log import Request
from vr.messages import decode
from vr.ready import Rejected, Reply
from vr.replica import Status
from vr.simulator.client import Client
from vr.simulator.errors import Violation
from vr.simulator.histories import AskedRead, SessionKey
from vr.simulator.nemesis import Nemesis
from vr.simulator.network import Network
from vr.simulator.process import HEARTBEAT, Process, Surroundings
from vr.simulator.schedule import SECOND_US
from vr.simulator.service import JournalService
from vr.simulator.story import Telling
from vr.simulator.swarm import Swarm, draw_epochs, draw_later, draw_swarm, later_random
from vr.simulator.world import World
from vr.types import GroupId, ReplicaId

# What a bug in the code under test raises; anything else (a typed error of ours that nobody handles) ends the run.
BUGS = (AssertionError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
CONVERGE_US = 120 * SECOND_US  # virtual time; view-change attempts back off up to 30 s
EVENTS_MAX = 150_000  # of one seed; the usual is below 10,000
CLIENT_LINK_US_MEAN = 300


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What one seed came to."""

    seed: int
    events: int
    trace: int
    violation: Violation | None
    counts: dict[str, int]
    story: list[str]


class Cluster:
    """One seed's world."""

    def __init__(self, seed: int, *, swarm: Swarm | None = None, telling: Telling = Telling.NOTHING) -> None:
        random = Random(seed)
        later = later_random(seed)
        drawn = draw_epochs(seed, draw_later(later, draw_swarm(random)))
        self.seed = seed
        self.swarm = swarm or drawn
        self.world = World(random, self.swarm, _configuration(random, self.swarm), telling=telling, later=later)
        count = self.swarm.node_count
        surroundings = Surroundings(
            send=self._send,
            on_reply=self._on_reply,
            on_rejected=self._on_rejected,
            on_read=self._on_read,
            on_died=self._on_died,
            on_started=self._on_started,
        )
        self.network = Network(
            self.world.schedule,
            random,
            faults=self.swarm.network,
            node_count=count,
            deliver=self._deliver,
            corrupt=self._on_corrupt,
        )
        self.processes = [Process(self.world, node, surroundings) for node in range(count)]
        self.clients = [self._make_client(index) for index in range(self.swarm.load.clients)]
        self.nemesis = Nemesis(self.world, self.network, self.processes)
        self._clients_by_id = {client.client_id: client for client in self.clients}
        self._client_link_free_us: dict[tuple[int, int], int] = {}
        self._core: list[Process] = self.processes

    def _make_client(self, index: int) -> Client:
        return Client(
            index,
            self.world.schedule,
            self.world.random,
            load=self.swarm.load,
            node_count=self.swarm.node_count,
            checker=self.world.checkers.sessions,
            submit=self._submit,
            forget=self._forget,
            read=self._read,
        )

    # --- running ---

    def run(self) -> Outcome:
        """Live through storm and recovery; a violation ends the world and is part of the outcome."""
        violation = None
        try:
            self._storm()
            self._calm()
            self._converge()
            self.world.counts["order_given_up"] += self.world.checkers.sessions.histories.check()
        except Violation as found:
            violation = found
        except BUGS as bug:
            violation = Violation("crashed", _where(bug))
        if violation is not None:
            self.world.story.tell(f"VIOLATION {violation}")
        return self._outcome(violation)

    def _outcome(self, violation: Violation | None) -> Outcome:
        self.world.counts.update(self.network.counts())
        self.world.counts["view"] = len(self.world.checkers.progress.primaries)
        self.world.counts["op"] = len(self.world.checkers.logs.committed) - 1
        return Outcome(
            seed=self.seed,
            events=self.world.schedule.events,
            trace=self.world.story.trace,
            violation=violation,
            counts=dict(self.world.counts),
            story=self.world.story.lines,
        )

    def _storm(self) -> None:
        self.world.story.tell(f"world    {self.swarm}")
        for process in self.processes:
            process.start()
        for client in self.clients:
            client.start()
        self.nemesis.start()
        if not self.world.schedule.run(self.swarm.storm_us, events_max=EVENTS_MAX):
            raise Violation("livelock", f"{EVENTS_MAX} events in {self.world.schedule.now_us} us")

    def _calm(self) -> None:
        """Heal a majority, freeze the rest; what had rot to repair needs the whole group."""
        world = self.world
        count = self.swarm.node_count
        size = world.random.randint(world.configuration.quorum, count)
        members = set(world.random.sample(range(count), size))
        if world.counts["rot"] or self.swarm.epoch_interval_us:
            # Of which epoch a majority has to live, nobody can say while one ends.
            members = set(range(count))
        world.storming = False
        world.story.tell(f"world    calm: nodes {sorted(members)} must recover")
        self.network.calm()
        for process in self.processes:
            if process.node not in members:
                process.freeze()
        self._core = [process for process in self.processes if process.node in members]
        for process in self._core:
            process.calm()
        self.nemesis.reconnect()
        for client in self.clients:
            client.calm(sorted(members))

    def _converge(self) -> None:
        schedule = self.world.schedule
        schedule.run(schedule.now_us + CONVERGE_US, stop=self._is_converged, events_max=EVENTS_MAX)
        if self._is_converged():
            return
        if self._is_undecidable():
            self.world.counts["undecidable"] += 1
            return
        raise Violation("converges", self._why_not_converged())

    def _is_undecidable(self) -> bool:
        """Has rot at so many disks at once destroyed the knowledge of what was committed that to go on were to guess?

        The group must say so itself, and be right: fewer than a nack quorum of its members know their own heads.
        """
        replicas = [process.replica for process in self.processes if process.replica is not None]
        certain = sum(replica.status not in (Status.RECOVERING_HEAD, Status.RETIRED) for replica in replicas)
        admits = any(replica.undecided is not None and replica.undecided.is_final for replica in replicas)
        needed = max(self.processes, key=lambda process: process.configuration.epoch).configuration.nack_quorum
        return admits and self.world.counts["rot"] > 0 and certain < needed

    def _is_converged(self) -> bool:
        if not all(client.is_done for client in self.clients):
            return False
        core = self._core
        if self.swarm.leave:
            nodes = max(self.processes, key=lambda process: process.configuration.epoch).group_nodes
            gone = [process.replica for process in core if process.node not in nodes]
            if any(replica is None or replica.status is not Status.RETIRED for replica in gone):
                return False  # Who was not told goes on asking, and holds what others need not keep.
            core = [process for process in core if process.node in nodes]
        first = core[0].replica
        if first is None:
            return False
        return all(
            process.replica is not None
            and process.replica.commit_number == first.commit_number == process.replica.head_op
            and process.replica.applied_op == first.applied_op == first.commit_number
            and process.replica.view == first.view
            and process.service.digest == core[0].service.digest
            for process in core
        )

    def _why_not_converged(self) -> str:
        clients = [
            f"client {client.index} {client.state.name} session {client.session:#x} home {client.home} "
            f"outstanding {sorted(client.outstanding)}"
            for client in self.clients
            if not client.is_done
        ]
        return "; ".join([process.summary() for process in self._core] + clients)

    # --- between the parts ---

    def _send(self, source: int, target: int, data: bytes) -> None:
        self.network.send(source, target, data)

    def _deliver(self, source: int, target: int, data: bytes) -> None:
        self.world.story.fold(data, source << 8 | target)
        self.processes[target].receive(source, data)

    def _on_corrupt(self, data: bytes) -> None:
        try:
            decode(data)
        except DecodeError:
            self.world.counts["corrupt_refused"] += 1

    def _on_died(self, node: int) -> None:
        draw = self.world.random.random
        for process in self.processes:
            if process.node != node and draw() < self.swarm.process.reset_seen:
                process.disconnect_soon(node)
        for client in self.clients:
            if draw() < self.swarm.process.reset_seen:
                self.world.schedule.after(self._client_delay_us(), client.on_disconnected, node)

    def _on_started(self, node: int) -> None:
        for process in self.processes:
            if process.node != node and not self.network.is_blocked(process.node, node):
                process.connect_soon(node)
                self.processes[node].connect_soon(process.node)

    def _client_delay_us(self) -> int:
        return 50 + int(self.world.random.expovariate(1.0) * CLIENT_LINK_US_MEAN)

    def _submit(self, client: Client, node: int, requests: Sequence[Request]) -> None:
        # One ordered connection per client and node: a request never overtakes another.
        now_us = self.world.schedule.now_us
        key = (client.index, node)
        arrives_us = max(now_us + self._client_delay_us(), self._client_link_free_us.get(key, 0))
        self._client_link_free_us[key] = arrives_us
        self.world.schedule.after(arrives_us - now_us, self.processes[node].submit, list(requests))

    def _forget(self, client: Client, node: int) -> None:
        self.processes[node].forget(client.client_id, client.session)

    def _on_reply(self, node: int, reply: Reply) -> None:
        client = self._clients_by_id[reply.client]
        self.world.schedule.after(self._client_delay_us(), client.on_reply, reply)

    def _read(self, client: Client, node: int, floor_op: int) -> None:
        sessions = [(other.client_id, other.session) for other in self.clients if other.session]
        asked = AskedRead(sessions=sessions, called_us=self.world.schedule.now_us, floor_op=floor_op)
        self.world.schedule.after(self._client_delay_us(), self.processes[node].read, client.index, asked)

    def _on_read(self, service: JournalService, asked: AskedRead) -> None:
        self.world.counts["read"] += 1
        shown = {key: service.last_number(*key) for key in asked.sessions}
        self.world.schedule.after(self._client_delay_us(), self._on_read_returned, service.last_op, shown, asked)

    def _on_read_returned(self, op: int, shown: Mapping[SessionKey, int], asked: AskedRead) -> None:
        checker = self.world.checkers.sessions
        checker.on_read(op, floor_op=asked.floor_op)
        checker.histories.on_read(asked, shown, self.world.schedule.now_us)

    def _on_rejected(self, node: int, rejected: Rejected) -> None:
        client = self._clients_by_id[rejected.client]
        self.world.counts[f"rejected_{rejected.reason.name.lower()}"] += 1
        self.world.schedule.after(self._client_delay_us(), client.on_rejected, rejected)


def _where(bug: Exception) -> str:
    """The innermost lines of a traceback, one line of text."""
    frames = traceback.extract_tb(bug.__traceback__)[-3:]
    place = " < ".join(f"{frame.name} ({frame.filename.rpartition('/')[2]}:{frame.lineno})" for frame in frames[::-1])
    return f"{type(bug).__name__}: {bug} in {place}"


def _configuration(random: Random, swarm: Swarm) -> Configuration:
    members = tuple(
        Member(replica_id=ReplicaId(random.randbytes(16)), node_key=random.randbytes(32))
        for _ in range(swarm.node_count)
    )
    return Configuration(
        group=GroupId(random.randbytes(16)),
        members=members,
        pipeline_ops_max=swarm.pipeline_ops_max,
        sessions_max=swarm.sessions_max,
        session_ttl_s=swarm.session_ttl_s,
        lease_ms=swarm.lease_ms,
    )


def run_seed(seed: int, *, swarm: Swarm | None = None, telling: Telling = Telling.NOTHING) -> Outcome:
    """Run one seed to its end, in the world it draws or in `swarm`."""
    return Cluster(seed, swarm=swarm, telling=telling).run()


__all__ = ["HEARTBEAT", "Cluster", "Outcome", "run_seed"]
