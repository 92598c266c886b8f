"""The shared context."""

from random import Random

from vr.configuration import Configuration, Member
from vr.simulator.story import Telling
from vr.simulator.swarm import Swarm
from vr.simulator.world import World
from vr.types import GroupId, ReplicaId


def test_a_world_begins_in_the_storm_with_an_empty_story() -> None:
    member = Member(replica_id=ReplicaId(bytes(16)), node_key=b"k")
    configuration = Configuration(group=GroupId(bytes(16)), members=(member,))
    world = World(Random(1), Swarm(node_count=1), configuration, telling=Telling.EVENTS)

    assert world.storming
    assert world.schedule.now_us == 0
    assert world.checkers.ledger.initial_view == configuration.initial_view()
    world.tell(0, "was here")
    assert world.story.lines == ["  0.000000  node 0  was here"]
