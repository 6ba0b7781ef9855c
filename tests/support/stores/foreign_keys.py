"""Wrong types and garbage at the keys of the service, as another program could write them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

#: Of a job that does not exist.
_JOB = "01a22a8f-4501-721b-b3c7-e81993fb7bf2"
#: Members and fields that no program of the service writes.
_MEMBERS = ("junk", b"\xff\x1b[31m", b"", "a" * 5_000, "../..", b"nul\x00", _JOB)
_NUMBERS = ("x", "", "-1", "nan", "inf", "9" * 40, "9" * 5_000, b"\xff")

Put = Callable[[Any], object]


def _strings(*keys: str) -> Put:
    return lambda client: client.mset(dict.fromkeys(keys, "x"))


def _hash(key: str, *more: tuple[Any, Any]) -> Put:
    fields = {f"field {place}": number for place, number in enumerate(_NUMBERS)}
    odd = dict.fromkeys(_MEMBERS, "1")
    return lambda client: client.hset(key, mapping={**fields, **odd, **dict(more)})


def _index(key: str) -> Put:
    scores = dict.fromkeys(_MEMBERS, 1.0) | {"last": float("inf"), "first": float("-inf")}
    return lambda client: client.zadd(key, scores)


#: Keys that all processes share, holding another type.
WRONG_TYPES: Mapping[str, Put] = {
    "seen:download:active": _strings("seen:download:active"),
    "seen:download:dirty": _strings("seen:download:dirty"),
    "seen:download:rate": _strings("seen:download:rate"),
    "seen:limits": _strings("seen:limits"),
    "seen:beat": _strings("seen:beat"),
    "seen:continuity": lambda client: client.lpush("seen:continuity", "x"),
}

#: Keys of the right type with what cannot be read in them.
GARBAGE: Mapping[str, Put] = {
    "beat": _hash("seen:beat", ("at", "x"), (b"standby:\xff", "9" * 400)),
    "beat without a name": _hash("seen:beat", ("at", "1")),
    "a claim of beat": _hash("seen:beat:sent:download.requeue_due"),
    "limits": _hash("seen:limits", ("total", "9" * 60), (b"host:\xff", "5"), ("job:", "100000")),
    "demands": lambda client: (
        client.hset("seen:limits", "total", 10**9),
        _hash("seen:demand:total", ("y", "9" * 400 + " 1 1 1 1"))(client),
    ),
    "bytes a second": _hash("seen:download:rate"),
    "slots": lambda client: (
        _hash("seen:slots:connections:127.0.0.1", ("y", "nan 1"))(client),
        _hash("seen:slots:downloads:127.0.0.1")(client),
    ),
    "running jobs": _index("seen:download:active"),
    "unsaved jobs": _index("seen:download:dirty"),
}

#: Progress hashes of a job that does not exist, by what is wrong with each.
PROGRESS: Mapping[str, Mapping[str, Any]] = {
    "a size that is no number": {"bytes_total": "x"},
    "a negative count": {"bytes_downloaded": "-1"},
    "a count that no database holds": {"bytes_downloaded": "9" * 40},
    "a fence that no database holds": {"fence": "9" * 40},
    "a fence whose version no database holds": {"fence": "9" * 12},
    "a fence that is not finite": {"fence": "inf"},
    "a speed that is no number": {"download_speed_mbps": "nan"},
    "a time that cannot be": {"updated_at": "9" * 30},
    "a state that there is not": {"status": "lost"},
    "text that is not UTF-8": {"reason": b"\xff"},
    "a control word": {"control": b"\xff:1:2:3"},
}


def put_progress(client: Any, job_id: str, fields: Mapping[str, Any]) -> None:
    """Write a progress hash of a running job, and list it as running and unsaved."""
    whole = {"status": "downloading", "fence": "1", "sequence": "1", "bytes_downloaded": "1"}
    client.hset(f"seen:download:job:{job_id}", mapping={**whole, **fields})
    client.zadd("seen:download:active", {job_id: 1})
    client.zadd("seen:download:dirty", {job_id: 1})
