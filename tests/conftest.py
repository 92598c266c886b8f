"""Settings of all tests."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# A busy machine is not a fault of the code: nothing is judged by the clock.
settings.register_profile("samtala", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("samtala")
