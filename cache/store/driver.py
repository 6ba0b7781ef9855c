"""Loads redis-py without the SDK of OpenTelemetry, where this is a program of the project.

redis-py imports the SDK's metrics, which no process here uses, if they are installed: a tenth of a
second and more for each process. A program that uses the project as a library may want them.
"""

from __future__ import annotations

import sys

import seen_modules

_METRICS = "opentelemetry.sdk.metrics"


def load() -> None:
    """Import redis-py, if this is the first import of it."""
    if "redis" in sys.modules or _METRICS in sys.modules or not seen_modules.is_own_process():
        return
    sys.modules[_METRICS] = None  # type: ignore[assignment] # Python's way to have an ImportError
    try:
        import redis.asyncio  # noqa: F401
    finally:
        del sys.modules[_METRICS]
