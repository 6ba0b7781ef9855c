"""The fields of a job as people read them: units as everywhere, times in the local time zone."""

from __future__ import annotations

from datetime import datetime

from cli.output import formatting
from tasks.api.job_json import JobDict

_BYTES = frozenset({"bytes_downloaded", "bytes_durable", "bytes_total", "max_bytes"})


def fields(job: JobDict) -> list[tuple[str, str]]:
    """Return the names and values of the fields that have a value, in their order."""
    shown = ((_name(name), _text(name, value)) for name, value in job.items())
    return [(name, text) for name, text in shown if text]


def _name(name: str) -> str:
    return {
        "speed_mbps": "speed",
        "eta_seconds": "time_left",
        "progress_percent": "progress",
        "max_rate": "rate_limit",
    }.get(name, name)


def _text(name: str, value: object) -> str:
    if value in (None, "", False, []):
        return ""
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if name.endswith("_at"):
        return formatting.moment(datetime.fromisoformat(str(value)))
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _number(name, value)
    return str(value)


def _number(name: str, value: float) -> str:
    if name in _BYTES:
        exact = f" ({value:,} bytes)" if value >= 1000 else ""
        return f"{formatting.size(value)}{exact}"
    match name:
        case "speed_mbps":
            return formatting.rate(value * 1e6 / 8)
        case "max_rate":
            return formatting.rate(value)
        case "eta_seconds":
            return formatting.duration(value)
        case "progress_percent":
            return f"{value:.1f} %"
    return str(value)
