"""What every part of one simulated world shares: time, chance, the drawn faults, the checkers, the story."""

from __future__ import annotations

from collections import Counter
from random import Random

from vr.configuration import Configuration
from vr.simulator.checkers import Checkers
from vr.simulator.schedule import Schedule
from vr.simulator.story import Story, Telling
from vr.simulator.swarm import Swarm


class World:
    """The shared context. `counts` notes how often each kind of event happened: a fault that never strikes tests nothing."""

    def __init__(
        self,
        random: Random,
        swarm: Swarm,
        configuration: Configuration,
        *,
        telling: Telling,
        later: Random | None = None,
    ) -> None:
        self.random = random
        # What was added later draws here: the worlds of seeds that are pinned stay what they were.
        self.later = Random(0) if later is None else later
        self.swarm = swarm
        self.configuration = configuration
        """That of the first epoch: node n is its member n, and known by that replica id for ever."""
        self.node_of = {member.replica_id: node for node, member in enumerate(configuration.members)}
        self.schedule = Schedule()
        self.checkers = Checkers(configuration)
        self.story = Story(self.schedule, telling)
        self.counts: Counter[str] = Counter()
        self.storming = True  # faults strike only while it storms

    def tell(self, node: int, what: str) -> None:
        """Add a line about a node to the story."""
        if self.story.keep:
            self.story.tell(f"node {node}  {what}")
