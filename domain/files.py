"""Files: how they may be named, how large they may be, and the checksum they may be held against."""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType

from domain.errors import InvalidInputError

#: Longest name of a published file.
MAX_NAME_BYTES = 200
MAX_DIRECTORY_BYTES = 1000
#: Longest name of one folder, as file systems have it.
MAX_FOLDER_BYTES = 255
#: The largest signed number of 64 bits, as databases have them.
MAX_SIZE = 2**63 - 1
#: Names with this prefix belong to part files.
WORKING_PREFIX = ".seen-"


@dataclass(frozen=True, slots=True)
class Checksum:
    """An expected digest: `algorithm` as hashlib names it, `digest` in lower-case hexadecimal."""

    algorithm: str
    digest: str

    _HEX_LENGTHS = MappingProxyType(
        {"md5": 32, "sha1": 40, "sha256": 64, "sha512": 128, "blake2b": 128, "crc32c": 8}
    )

    @classmethod
    def parse(cls, text: str) -> Checksum:
        """Read ``sha256:<hex>``; raise InvalidInputError("checksum", …) for anything else."""
        algorithm, _, digest = text.strip().lower().partition(":")
        length = cls._HEX_LENGTHS.get(algorithm)
        if length is None:
            known = ", ".join(cls._HEX_LENGTHS)
            raise InvalidInputError(
                "checksum", text, f"Write it as ALGORITHM:HEX with one of {known}."
            )
        if not re.fullmatch(rf"[0-9a-f]{{{length}}}", digest):
            raise InvalidInputError(
                "checksum",
                text,
                f"{algorithm} has {length} hexadecimal digits, this {len(digest)}.",
            )
        return cls(algorithm, digest)

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.digest}"
