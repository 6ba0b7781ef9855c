"""Shows after a crash that a file was published: in an attribute of the file, or in a file beside it.

An attribute costs little: ext4 keeps one of this size in the inode. A file is created and soon removed
for each download, and ext4 looks long for an inode that was not removed just now. A file is needed
where the file system has no attributes, and where the part file loses its name: then the record has to
say which name was given.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, fields

from pydantic import ConfigDict, TypeAdapter

from domain.files import MAX_FOLDER_BYTES, WORKING_PREFIX, Checksum
from seen_local.own_files import UNSUPPORTED_ERRNOS
from worker.storage.filenames import numbered

_NUMBER = re.compile(r" \((\d{1,5})\)")

#: With a value of 57 bytes it fits into an ext4 inode of the usual size.
_ATTRIBUTE = "user.seen"
#: Version, size, inode, hash of the name, SHA-256 of the bytes.
_LAYOUT = struct.Struct("<BQQ8s32s")
_VERSION = 1
#: What reading it fails with if there is none, if it is longer than any record, or where none can be.
_NO_RECORD = UNSUPPORTED_ERRNOS | {errno.ENODATA, errno.ERANGE, errno.E2BIG}


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicationRecord:
    """Describes a file before it gets its final name; stored as JSON beside the part file."""

    __pydantic_config__ = ConfigDict(strict=True)

    name: str
    size: int
    inode: int
    digests: tuple[str, ...] = ()
    """Verified digests (SHA-256, the caller's, the origin's), as ``algorithm:hex``."""
    claims: bool = False
    """The file has exactly `name`, which a placeholder reserves; else a number may have been added."""

    def to_json(self) -> str:
        """Return the record as its file contains it."""
        # Not `asdict`, which copies every value.
        return json.dumps({one.name: getattr(self, one.name) for one in fields(self)})

    def is_name(self, name: str) -> bool:
        """Return whether the file may have been published under `name`."""
        return any(base == self.name for base in _without_number(name))


@dataclass(frozen=True, slots=True)
class AttributeRecord:
    """Describes a file before it gets its final name; stored in an attribute of the part file."""

    size: int
    inode: int
    name_hash: bytes
    digests: tuple[str, ...]
    """Its SHA-256. It stands for all verified digests, since it was computed from the same bytes."""

    def is_name(self, name: str) -> bool:
        """Return whether the file may have been published under `name`."""
        return any(_hash(base) == self.name_hash for base in _without_number(name))


_RECORD = TypeAdapter(PublicationRecord)


def read_record(text: bytes) -> PublicationRecord:
    """Parse a record; raise ValueError or InvalidInputError if the service would not write it."""
    record = _RECORD.validate_json(text)
    name = os.fsencode(record.name)
    is_path = name in {b"", b".", b".."} or b"/" in name or b"\0" in name
    if is_path or len(name) > MAX_FOLDER_BYTES or record.name.startswith(WORKING_PREFIX):
        raise ValueError("Its name is not a file name.")
    for digest in record.digests:
        Checksum.parse(digest)
    return record


def write_attribute(fd: int, record: PublicationRecord) -> AttributeRecord | None:
    """Store a record in an attribute of the open file; return None where it cannot be stored."""
    sha256 = next((one[7:] for one in record.digests if one.startswith("sha256:")), None)
    if sha256 is None or not hasattr(os, "setxattr"):
        return None
    name_hash = _hash(record.name)
    value = _LAYOUT.pack(_VERSION, record.size, record.inode, name_hash, bytes.fromhex(sha256))
    try:
        os.setxattr(fd, _ATTRIBUTE, value)
    except OSError:  # not supported, or no space for it: a file says whether the disk can be used
        return None
    return AttributeRecord(record.size, record.inode, name_hash, (f"sha256:{sha256}",))


def read_attribute(fd: int) -> AttributeRecord | None:
    """Return the record in an attribute of the open file; None if there is none of this service.

    Raises:
        OSError: the disk does not show whether there is one.
    """
    try:
        version, size, inode, name_hash, sha256 = _LAYOUT.unpack(os.getxattr(fd, _ATTRIBUTE))
    except (AttributeError, struct.error):
        return None
    except OSError as error:
        if error.errno not in _NO_RECORD:
            raise
        return None
    if version != _VERSION:
        return None
    return AttributeRecord(size, inode, name_hash, (f"sha256:{sha256.hex()}",))


def remove_attribute(fd: int) -> None:
    """Remove the attribute of the open file, if it has one."""
    with suppress(OSError, AttributeError):
        os.removexattr(fd, _ATTRIBUTE)


def _hash(name: str) -> bytes:
    return hashlib.blake2b(os.fsencode(name), digest_size=8).digest()


def _without_number(name: str) -> Iterator[str]:
    """Yield the name, and the names from which a number may have made it."""
    yield name
    for match in _NUMBER.finditer(name):
        base = name[: match.start()] + name[match.end() :]
        if numbered(base, int(match[1])) == name:
            yield base
