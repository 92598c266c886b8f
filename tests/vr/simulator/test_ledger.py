"""The model of the durable logs, and each violation it must see."""

import pytest

from vr.simulator.errors import Violation
from vr.simulator.ledger import Ledger, Mark, Write


def marks(*ops: int, fork: bytes = b"") -> tuple[Mark, ...]:
    return tuple(Mark(op, b"%d" % op + fork) for op in ops)


def ledger_with(*writes: Write, node: int = 0, node_count: int = 3) -> Ledger:
    ledger = Ledger(node_count)
    for write in writes:
        ledger.on_written(node, [write])
        ledger.on_synced(node)
    return ledger


def found(*ops: int, fork: bytes = b"") -> dict[int, bytes | None]:
    return {mark.op: mark.checksum for mark in marks(*ops, fork=fork)}


def test_written_is_not_durable_before_its_sync() -> None:
    ledger = Ledger(3)
    ledger.on_written(0, [Write(marks=marks(1, 2))])

    assert ledger.holders(2, b"2") == []
    ledger.on_synced(0)
    assert ledger.holders(2, b"2") == [0]
    assert ledger.holds_through(0, 2, b"2")
    assert not ledger.holds_through(0, 2, b"other")


def test_appending_below_the_head_truncates_first() -> None:
    ledger = ledger_with(Write(marks=marks(1, 2, 3)), Write(marks=marks(2, fork=b"'")))

    assert ledger.disks[0].checksums == {1: b"1", 2: b"2'"}
    assert ledger.disks[0].head == 2


def test_committed_on_too_few_disks_is_a_violation() -> None:
    ledger = ledger_with(Write(marks=marks(1)))

    with pytest.raises(Violation, match="committed_on_quorum"):
        ledger.on_committed(0, 1, b"1", {0, 1, 2})


def test_committed_on_a_quorum_is_fine_and_checkpoints_count() -> None:
    ledger = ledger_with(Write(marks=marks(1)))
    ledger.on_checkpoint_saved(1, 1)

    ledger.on_committed(0, 1, b"1", {0, 1, 2})


def test_dropping_a_committed_op_is_a_violation() -> None:
    ledger = ledger_with(Write(marks=marks(1, 2)))
    ledger.on_committed(0, 2, b"2", {0})
    ledger.on_written(0, [Write(truncate_above=1)])

    with pytest.raises(Violation, match="committed_op_kept"):
        ledger.on_synced(0)


def test_rewriting_a_committed_op_as_it_was_is_fine() -> None:
    ledger = ledger_with(Write(marks=marks(1, 2)))
    ledger.on_committed(0, 2, b"2", {0})
    ledger.on_written(0, [Write(marks=marks(1, 2))])

    ledger.on_synced(0)


def test_a_durable_view_going_back_is_a_violation() -> None:
    ledger = ledger_with(Write(view=5, log_view=4))
    ledger.on_written(0, [Write(view=4, log_view=4)])

    with pytest.raises(Violation, match="durable_view_monotone"):
        ledger.on_synced(0)


def test_recovery_may_find_any_prefix_of_what_was_under_way() -> None:
    for kept in (found(1, 2), found(1, 2, 3), found(1)):
        ledger = ledger_with(Write(view=1, log_view=1, marks=marks(1, 2)))
        ledger.on_written(0, [Write(marks=marks(3)), Write(truncate_above=1)])

        ledger.on_recovered(0, kept, base=0, certain=True, view=1, log_view=1)

        assert ledger.disks[0].head == max(kept)


@pytest.mark.parametrize(
    ("kept", "view"),
    [
        (found(1), 1),  # a synced entry lost
        (found(1, 2, 3, 4), 1),  # an entry nobody wrote
        ({**found(1), **found(2, fork=b"'")}, 1),  # another content
        ({**found(1), 2: None}, 1),  # faulty without rot
        (found(1, 2), 0),  # a durable view forgotten
    ],
)
def test_recovery_that_loses_or_invents_is_a_violation(kept: dict[int, bytes | None], view: int) -> None:
    ledger = ledger_with(Write(view=1, log_view=1, marks=marks(1, 2)))
    ledger.on_written(0, [Write(marks=marks(3))])

    with pytest.raises(Violation, match="recovery_keeps_durable"):
        ledger.on_recovered(0, kept, base=0, certain=True, view=view, log_view=view)


def test_rot_excuses_faulty_entries_and_uncertain_heads_but_no_silent_loss() -> None:
    for kept, certain, excused in (
        ({**found(1, 3), 2: None}, True, True),
        (found(1), False, True),
        (found(1, 2), True, False),
        ({**found(1, 2), **found(3, fork=b"'")}, True, False),
    ):
        ledger = ledger_with(Write(marks=marks(1, 2, 3)))
        ledger.rotted[0] = True
        if excused:
            ledger.on_recovered(0, kept, base=0, certain=certain, view=0, log_view=0)
        else:
            with pytest.raises(Violation, match="recovery_keeps_durable"):
                ledger.on_recovered(0, kept, base=0, certain=certain, view=0, log_view=0)


def test_entries_below_the_base_need_not_be_found() -> None:
    ledger = ledger_with(Write(marks=marks(1, 2, 3)))

    ledger.on_recovered(0, found(3), base=2, certain=True, view=0, log_view=0)

    assert ledger.holders(1, b"1") == [0]


def test_a_faulty_entry_is_not_held_until_it_is_rewritten() -> None:
    ledger = ledger_with(Write(marks=marks(1, 2, 3)))
    ledger.rotted[0] = True
    ledger.on_recovered(0, {**found(1, 3), 2: None}, base=0, certain=True, view=0, log_view=0)

    assert not ledger.holds_through(0, 3, b"3")
    ledger.on_written(0, [Write(marks=marks(2, 3))])
    ledger.on_synced(0)
    assert ledger.holds_through(0, 3, b"3")


def test_with_rot_the_readable_head_tells_which_writes_survived() -> None:
    ledger = ledger_with(Write(marks=marks(1, 2)))
    ledger.rotted[0] = True
    ledger.on_written(0, [Write(marks=marks(3))])

    ledger.on_recovered(0, {1: None, 2: b"2"}, base=0, certain=False, view=0, log_view=0)

    assert ledger.disks[0].head == 2


def test_a_disk_rots_again_only_when_its_durable_state_was_written_anew() -> None:
    ledger = ledger_with(Write(view=1, log_view=1, marks=marks(1)))
    ledger.on_rotted(0)
    ledger.on_recovered(0, found(1), base=0, certain=True, view=1, log_view=1)
    assert not ledger.rotted[0]
    assert not ledger.may_rot(0)

    ledger.on_written(0, [Write(marks=marks(2))])
    ledger.on_synced(0)
    assert not ledger.may_rot(0)
    ledger.on_written(0, [Write(view=2, log_view=1)])
    ledger.on_synced(0)
    assert ledger.may_rot(0)


def test_disks_of_those_who_stand_by_do_not_count() -> None:
    ledger = ledger_with(Write(marks=marks(1)))
    ledger.on_checkpoint_saved(1, 1)

    with pytest.raises(Violation, match="committed_on_quorum"):
        ledger.on_committed(0, 1, b"1", {0, 2})


def test_who_comes_late_into_a_view_before_the_one_that_committed_may_drop_it() -> None:
    ledger = ledger_with(Write(view=3, log_view=3, marks=marks(1, 2)))
    ledger.on_written(1, [Write(view=1, log_view=1, marks=marks(1, 2))])
    ledger.on_synced(1)
    ledger.on_committed(0, 2, b"2", {0})

    ledger.on_written(1, [Write(view=2, log_view=2, truncate_above=1)])
    ledger.on_synced(1)

    ledger.on_written(1, [Write(view=3, log_view=3, marks=marks(2))])
    ledger.on_synced(1)
    ledger.on_written(1, [Write(view=4, log_view=4, truncate_above=1)])
    with pytest.raises(Violation, match="committed_op_kept"):
        ledger.on_synced(1)
