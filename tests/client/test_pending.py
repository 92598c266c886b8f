from __future__ import annotations

import pytest

from client.errors import RefusedError, SamtalaError, UnavailableError
from client.pending import PendingChange, PendingMessage
from client.room_state import ChangeOutcome, Outcome, OutcomeKind
from wire.ids import Sequence


@pytest.mark.parametrize(
    ("kind", "error"), [(OutcomeKind.UNSENT, UnavailableError), (OutcomeKind.FAILED, RefusedError)]
)
async def test_fates_become_errors(kind: OutcomeKind, error: type[SamtalaError]) -> None:
    pending = PendingMessage(b"m" * 16)

    pending.settle(Outcome(b"m" * 16, kind, Sequence(0)))

    with pytest.raises(error):
        await pending.acknowledged()


async def test_a_known_fate_is_not_changed_by_closing() -> None:
    pending, change = PendingMessage(b"m" * 16), PendingChange()
    pending.settle(Outcome(b"m" * 16, OutcomeKind.ACKNOWLEDGED, Sequence(7)))
    change.settle(ChangeOutcome(None, "no"))

    pending.fail(UnavailableError("closed"))
    change.fail(UnavailableError("closed"))

    assert (await pending.acknowledged()).sequence == 7
    with pytest.raises(RefusedError, match="no"):
        await change.done()
