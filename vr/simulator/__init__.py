"""Deterministic simulation of a replica group: one seed, one history.

The production core and the production write-ahead log run here on a simulated network, disk, clock and process, with
faults drawn from one `random.Random(seed)` and integer virtual time; checkers look at every step. The same seed always
gives the same history, so a failure is one number:

    python -m vr.simulator --seed 4711      # replay it and print the story
    python -m vr.simulator --seeds 1000     # search for one
    python -m vr.simulator --mutants        # prove the checkers can see
"""
