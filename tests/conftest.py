"""Settings of all tests."""

from __future__ import annotations

import signal

from hypothesis import HealthCheck, settings

# A busy machine is not a fault of the code: nothing is judged by the clock.
settings.register_profile("samtala", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("samtala")

# A shell that starts the suite in the background has it ignore SIGINT, and every program that it starts inherits that; some
# tests end such a program by SIGINT, as a person would.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
