from __future__ import annotations

from tests.vr.storage.records import GROUP, OTHER_GROUP, entry, meta
from vr.storage.log_usage import LogUsage
from vr.storage.recovery import UNKNOWN_OP, GroupReplay, Settled, Slot


def usage(**groups: GroupReplay) -> LogUsage:
    return LogUsage(Settled(frames=[], groups={GROUP: groups["group"]} if groups else {}, report=[]))


def test_a_segment_is_needed_while_a_live_operation_lies_in_it() -> None:
    log = usage()
    log.note([entry(op) for op in range(1, 6)], 1)
    log.note([entry(6), entry(1, group=OTHER_GROUP)], 2)

    assert log.oldest_needed(3) == 1
    log.release(GROUP, 4)
    assert log.oldest_needed(3) == 1
    log.release(GROUP, 5)
    assert log.oldest_needed(3) == 2
    assert set(log.groups_in(2)) == {GROUP, OTHER_GROUP}
    log.release(GROUP, 99)
    log.release(OTHER_GROUP, 1)
    assert log.oldest_needed(3) == 3


def test_replaced_operations_need_no_segment() -> None:
    log = usage()
    log.note([entry(op) for op in range(1, 4)], 1)
    log.note([entry(4), entry(5)], 2)
    log.note([entry(2, view=1)], 3)

    assert log.groups_in(1) == [GROUP]
    log.release(GROUP, 1)
    assert log.oldest_needed(4) == 3


def test_the_newest_metas_move_along() -> None:
    log = usage()
    assert log.note([meta(view=1), meta(group=OTHER_GROUP)], 1)
    assert log.note([meta(view=2)], 2)
    assert not log.note([entry(1)], 2)

    assert log.metas_below(2) == [meta(group=OTHER_GROUP)]
    assert log.metas_below(3) == [meta(view=2), meta(group=OTHER_GROUP)]


def test_a_lost_meta_pins_its_damage_until_a_new_one() -> None:
    log = usage(group=GroupReplay(meta_lost=True))

    assert log.oldest_needed(5) == 1
    log.release(GROUP, 100)
    assert log.oldest_needed(5) == 1
    log.note([meta(view=9)], 5)
    assert log.oldest_needed(5) == 5


def test_an_uncertain_head_pins_its_damage_until_the_base_has_passed_it() -> None:
    log = usage(group=GroupReplay(known_from=UNKNOWN_OP, base_op=3))
    log.note([entry(8)], 5)

    log.release(GROUP, 6)
    assert log.oldest_needed(5) == 1
    log.release(GROUP, 7)
    assert log.oldest_needed(5) == 5


def test_rotten_operations_keep_their_segment() -> None:
    slot = Slot(op=4, view=0, checksum=None, location=None, is_rotten=True)

    assert usage(group=GroupReplay(slots=[slot])).oldest_needed(9) == 1
