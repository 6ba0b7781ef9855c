"""The files of a run: how the origin serves each, and how its job has to end."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from tests.support.origins.origin import Origin
from tests.support.origins.resource import ServedFile

#: Bytes.
SIZES = (200_000, 2_500_000)
#: Bytes a second of one download, so that it lives for some seconds.
RATES = (200_000, 600_000)
#: Few names: files of different jobs get in each other's way, and are numbered.
NAMES = ("film.mkv", "song.flac", "data.bin")
FOLDERS = ("", "a", "a/b")


@dataclass(frozen=True, slots=True)
class _Sort:
    """A kind of file: how often there is one, how the origin serves it, how its job fails if it does."""

    weight: int
    behaviour: Mapping[str, Any]
    error_code: str | None = None
    continues: bool = False
    """A broken download can be continued."""


_SORTS: Mapping[str, _Sort] = MappingProxyType(
    {
        "ranges and a tag": _Sort(10, {}, continues=True),
        "ranges and a date": _Sort(
            3, {"etag": None, "last_modified": "Mon, 06 Jan 2020 10:00:00 GMT"}
        ),
        "no validator": _Sort(2, {"etag": None}),
        "no ranges": _Sort(2, {"ranges": False}),
        "no length": _Sort(2, {"chunked": True}),
        "two 503 first": _Sort(2, {"statuses": [503, 503]}, continues=True),
        "breaks off once": _Sort(2, {"truncate_after": 100_000, "faults": 1}, continues=True),
        "not there": _Sort(1, {"status": 404}, error_code="http_404"),
        "another checksum": _Sort(1, {}, error_code="checksum_mismatch"),
    }
)


#: Bytes of a file of a group.
SMALL = (1, 8192)
#: The sorts of a group's files: those that fail have neighbours that must not.
_SMALL_SORTS = ("ranges and a tag",) * 12 + ("no length", "not there", "another checksum")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSpec:
    """One file at the origin, and the request for it."""

    sort: str
    file: ServedFile
    rate: int
    """Bytes a second."""
    fields: Mapping[str, object]
    """Of the `DownloadRequest`, besides the URL."""
    is_small: bool = False
    """It arrives at once, with one request for each claim."""

    @property
    def error_code(self) -> str | None:
        """How its job has to fail; None when it has to be completed."""
        return _SORTS[self.sort].error_code

    @property
    def continues(self) -> bool:
        """Whether a download that broke can go on from its last checkpoint."""
        return _SORTS[self.sort].continues


def serve(origin: Origin, chance: random.Random, number: int) -> FileSpec:
    """Put the file of job `number` on the origin, at a path of its own."""
    sort = chance.choices(list(_SORTS), [sort.weight for sort in _SORTS.values()])[0]
    rate = chance.randint(*RATES)
    file = origin.serve(
        f"/{number}",
        size=chance.randint(*SIZES),
        bytes_per_second=rate,
        **_SORTS[sort].behaviour,
    )
    fields: dict[str, object] = {
        "name": chance.choice(NAMES),
        "directory": chance.choice(FOLDERS),
        "user_id": chance.choice(("ada", "grace", None)),
    }
    if chance.random() < 0.3:
        fields["checksum"] = f"sha256:{file.sha256}"
    if sort == "another checksum":
        fields["checksum"] = f"sha256:{'0' * 64}"
    return FileSpec(sort=sort, file=file, rate=rate, fields=fields)


def serve_small(origin: Origin, chance: random.Random, number: int) -> FileSpec:
    """Put a small file of a group on the origin, at a path of its own."""
    sort = chance.choice(_SMALL_SORTS)
    file = origin.serve(f"/{number}", size=chance.randint(*SMALL), **_SORTS[sort].behaviour)
    checksum = "0" * 64 if sort == "another checksum" else file.sha256
    fields = {"directory": "small", "checksum": f"sha256:{checksum}"}
    return FileSpec(sort=sort, file=file, rate=RATES[1], fields=fields, is_small=True)
