"""The service as it is by default, without the short times of the tests."""

from __future__ import annotations

from settings import Settings
from tests.support.services.system import FAST

#: A test needs this on any machine; it is not a time.
_KEPT = {"SEEN_MIN_FREE_BYTES"}


def default(variable: str) -> float:
    """Return the default of a setting that is a number."""
    return float(Settings.model_fields[variable.removeprefix("SEEN_").lower()].default)


def defaults() -> dict[str, str]:
    """Return the defaults of the settings that `tests.support.services.system` shortens."""
    return {name: f"{default(name):g}" for name in FAST if name not in _KEPT}
