"""Settings of the whole suite: generated tests draw the same examples on every machine and every run.

A failure is reported as it was drawn, at once; `pytest --hypothesis-profile=shrink` looks for the smallest one.
"""

import signal

from hypothesis import HealthCheck, Phase, settings

COMMON = {
    "derandomize": True,
    "deadline": None,
    "max_examples": 50,
    "database": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}
settings.register_profile("scrub", **COMMON, phases=[Phase.explicit, Phase.generate])
settings.register_profile("shrink", **COMMON, phases=[Phase.explicit, Phase.generate, Phase.shrink])
settings.load_profile("scrub")


def pytest_configure() -> None:
    """Interrupts arrive also where the suite runs in the background of a shell, which has them ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
