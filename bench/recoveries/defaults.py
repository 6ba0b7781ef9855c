"""The service as it is by default, without the short times of the tests."""

from __future__ import annotations

from settings import Settings
from tests.support.services.system import FAST

#: What a test needs on any machine, and no time of the service's.
_KEPT = {"SEEN_MIN_FREE_BYTES"}


def default(variable: str) -> float:
    """Return the default of a setting that is a number."""
    return float(Settings.model_fields[variable.removeprefix("SEEN_").lower()].default)


def defaults() -> dict[str, str]:
    """Return what takes back the settings of `tests.support.services.system`."""
    return {name: f"{default(name):g}" for name in FAST if name not in _KEPT}
