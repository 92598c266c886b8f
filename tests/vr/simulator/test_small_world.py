"""The small world: in order unless surprised, values that share what did not change."""

from vr.simulator.small_world import Budget, Choice, SmallWorld, choices, first_world, perform


def quiet_world(budget: Budget) -> SmallWorld:
    """Three nodes whose birth is durable, nothing under way."""
    world = first_world(budget)
    while world.queue:
        world = run(world, "deliver")
    return world


def run(world: SmallWorld, *kinds: str) -> SmallWorld:
    """Take the first way on of each kind; nothing given: the ordinary way until nothing is left."""
    for kind in kinds:
        world = perform(world, next(choice for choice in choices(world) if choice.kind == kind))
    return world


def run_ordinary(world: SmallWorld) -> SmallWorld:
    while (choice := next((choice for choice in choices(world)), None)) is not None:
        world = perform(world, choice)
    return world


def test_without_surprises_both_operations_are_committed_everywhere() -> None:
    world = run_ordinary(first_world(Budget(surprises=0)))

    assert len(world.committed) == 2
    assert [node.replica.commit_number for node in world.nodes] == [2, 2, 2]
    assert world.budget.ticks == 0


def test_a_step_leaves_its_world_as_it_was() -> None:
    world = run(quiet_world(Budget()), "submit")
    before, told = world.key(), world.describe()

    run(world, "deliver")
    run(world, "suspect")
    run(world, "crash")

    assert (world.key(), world.describe()) == (before, told)


def test_a_step_shares_the_nodes_it_did_not_touch() -> None:
    world = quiet_world(Budget())
    (primary,) = (index for index, node in enumerate(world.nodes) if node.replica.is_primary)

    after = run(world, "submit")

    assert [after.nodes[index] is world.nodes[index] for index in range(3) if index != primary] == [True, True]
    assert after.nodes[primary] is not world.nodes[primary]


def test_what_is_held_arrives_at_any_later_moment_or_never() -> None:
    world = run(quiet_world(Budget()), "submit", "hold")

    assert len(world.held) == 1
    assert "late" in {choice.kind for choice in choices(world)}
    assert run(world, "late").held == ()


def test_a_cut_node_hears_nothing_until_it_is_healed() -> None:
    world = run(quiet_world(Budget(surprises=1)), "submit")
    (primary,) = (index for index, node in enumerate(world.nodes) if node.replica.is_primary)
    world = perform(world, Choice(f"cut {primary}", "cut", primary))
    while world.queue:
        world = run(world, "deliver")

    assert world.nodes[primary].replica.commit_number == 0
    assert len(run_ordinary(run(world, "heal")).committed) == 2


def test_a_power_loss_keeps_any_prefix_of_what_was_under_way() -> None:
    world = run(quiet_world(Budget()), "submit")
    (primary,) = (index for index, node in enumerate(world.nodes) if node.replica.is_primary)
    kept = {choice.kept for choice in choices(world) if choice.kind == "crash" and choice.argument == primary}

    assert kept >= {0, 1}
    lost = perform(world, Choice("crash", "crash", primary, kept=0))
    whole = perform(world, Choice("crash", "crash", primary, kept=max(kept)))
    assert lost.nodes[primary].disk == ()
    assert len(whole.nodes[primary].disk) == 1
