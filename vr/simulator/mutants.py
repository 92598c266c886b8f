"""The mutants: each breaks one rule that safety or liveness rests on, in the core or in its log.

A rule is a small function; its mutant is that function, wrong. `seeds_max` is the stated budget, several times the seeds
it took when it was set. Names of rules that the core splits off (`durability.durable_state`) are patched where they are used.

Most die of a seed of the world as it is drawn, some in a world bent their way (`vr.simulator.worlds`), and what seeds hardly
ever meet dies of a scenario of tests/scenarios/vr, which shows it at once.
"""

from __future__ import annotations

from vr.simulator.client_mutants import CLIENT_MUTANTS
from vr.simulator.epoch_mutants import EPOCH_MUTANTS
from vr.simulator.mutation import Mutant
from vr.simulator.normal_mutants import NORMAL_MUTANTS
from vr.simulator.recovery_mutants import RECOVERY_MUTANTS
from vr.simulator.snapshot_mutants import SNAPSHOT_MUTANTS
from vr.simulator.view_change_mutants import VIEW_CHANGE_MUTANTS

MUTANTS: tuple[Mutant, ...] = (
    *NORMAL_MUTANTS,
    *VIEW_CHANGE_MUTANTS,
    *RECOVERY_MUTANTS,
    *CLIENT_MUTANTS,
    *SNAPSHOT_MUTANTS,
    *EPOCH_MUTANTS,
)
"""Each must die within its budget."""
