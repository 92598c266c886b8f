from __future__ import annotations

import pytest

from client import connection_limits as limits


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses are real here, so they are short."""
    monkeypatch.setattr(limits, "BACKOFF_S_MIN", 0.001)
    monkeypatch.setattr(limits, "BACKOFF_S_MAX", 0.01)
    monkeypatch.setattr(limits, "PROOF_RETRY_S", 0.002)
    monkeypatch.setattr(limits, "RESEND_S_MIN", 0.001)
