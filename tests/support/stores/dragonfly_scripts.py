"""Lua scripts as Dragonfly runs them, on a Redis server.

Redis does not look at which keys a script touches, and its Lua is version 5.1. So each script is sent
to it with a first line (`_CHECKS`) that wraps `redis.call` and `redis.pcall`. Clients know a script by
the digest of its own text; the server knows it by the digest of the text that it was sent. Sources in
Dragonfly 1.40.1: `src/server/main_service.cc` (`CheckKeysDeclared`, `VerifyCommandState`,
`EvalInternal`), `src/server/script_mgr.cc`, `src/server/generic_family.cc` (`Time`).
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path

ALLOW_UNDECLARED = b"allow-undeclared-keys"
_FLAGS = {ALLOW_UNDECLARED, b"disable-atomicity", b"legacy-float", b"no-writes"}
_HEADER = re.compile(rb"\s*--!df flags=(\S+)\s")

#: Goes into the script's first line, so that errors name its own lines. `%s` is "true" for a script
#: that may touch undeclared keys.
_CHECKS = """
local redis, table, unpack = (function(server, tables, unpack)
  local undeclared_allowed, declared, time = %s, {}, nil
  for _, key in ipairs(KEYS) do declared[key] = true end
  local function set(names)
    local members = {}
    for name in string.gmatch(names, '%%S+') do members[name] = true end
    return members
  end
  local keyless = set('PING ECHO TIME PUBLISH SELECT INFO')
  local all = set('DEL UNLINK EXISTS TOUCH MGET SINTER SUNION SDIFF SINTERSTORE SUNIONSTORE SDIFFSTORE')
  local pairs_of = set('MSET MSETNX')
  local two = set('RENAME RENAMENX SMOVE LMOVE RPOPLPUSH COPY ZRANGESTORE')
  local shards = set('KEYS SCAN DBSIZE RANDOMKEY FLUSHALL FLUSHDB SCRIPT')
  local function last_key(name, count)
    if keyless[name] then return 0 end
    if all[name] or pairs_of[name] then return count end
    return two[name] and 2 or 1
  end
  local function refusal(name, arguments)
    if undeclared_allowed then return nil end
    if shards[name] then return 'This Redis command is not allowed from script' end
    for i = 1, last_key(name, #arguments), pairs_of[name] and 2 or 1 do
      local key = tostring(arguments[i])
      if not declared[key] then return 'script tried accessing undeclared key, key: ' .. key end
    end
  end
  local function now()
    if not time then
      local seconds, micros = unpack(server.call('TIME'))
      time = {tonumber(seconds), math.floor(tonumber(micros) / 1000) * 1000}
    end
    return {time[1], time[2]}
  end
  local function wrapped(run, refuse)
    return function(name, ...)
      local upper = string.upper(name)
      local refused = refusal(upper, {...})
      if refused then return refuse('-ERR ' .. refused) end
      if upper == 'TIME' then return now() end
      return run(name, ...)
    end
  end
  local calls = {
    call = wrapped(server.call, function(message) error(message, 0) end),
    pcall = wrapped(server.pcall, function(message) return {err = message} end),
  }
  return setmetatable(calls, {__index = server}), setmetatable({unpack = unpack}, {__index = tables})
end)(redis, table, unpack);
"""


def sha1(text: bytes) -> bytes:
    """Return the digest by which a server knows a script."""
    return hashlib.sha1(text, usedforsecurity=False).hexdigest().encode()


def checked(text: bytes, *, undeclared_allowed: bool) -> bytes:
    """Return what the server is sent for a script."""
    line = " ".join((_CHECKS % str(undeclared_allowed).lower()).split())
    return line.encode() + b" " + text


@dataclass
class _Entry:
    """What Dragonfly keeps of one script: `InternalScriptData`."""

    flags: set[bytes] = field(default_factory=set)
    text: bytes | None = None

    @property
    def sent(self) -> bytes:
        assert self.text is not None
        return checked(self.text, undeclared_allowed=ALLOW_UNDECLARED in self.flags)


class Scripts:
    """The scripts of one server, by the digests that clients know."""

    def __init__(self) -> None:
        self._entries: dict[bytes, _Entry] = {}
        self._clients_digest: dict[bytes, bytes] = {}

    def load(self, text: bytes) -> bytes:
        """Keep a script and return what the server is sent; flags set before apply from now on."""
        digest = sha1(text)
        entry = self._entries.get(digest)
        if entry is None:
            header = _HEADER.match(text)
            entry = self._entries[digest] = _Entry(_parse_flags(header[1]) if header else set())
        entry.text = text
        self._clients_digest[sha1(entry.sent)] = digest
        return entry.sent

    def flag(self, digest: bytes, flags: list[bytes]) -> bytes | None:
        """Set flags and return what the server is to be sent now; None when no such script is loaded.

        Raises ValueError for an unknown flag.
        """
        parsed = set[bytes]().union(*(_parse_flags(flag) for flag in flags))
        entry = self._entries.setdefault(digest, _Entry())
        entry.flags |= parsed
        return None if entry.text is None else self.load(entry.text)

    def is_fatal(self, digest: bytes) -> bool:
        """Say whether EVALSHA of this digest makes the server abort: it has flags and no script."""
        entry = self._entries.get(digest)
        return entry is not None and entry.text is None

    def servers_digest(self, digest: bytes) -> bytes:
        """Return the digest by which the server knows a client's script."""
        entry = self._entries.get(digest)
        return digest if entry is None or entry.text is None else sha1(entry.sent)

    def clients_digest(self, digest: bytes) -> bytes:
        """Return the digest by which clients know one of the server's scripts."""
        return self._clients_digest.get(digest, digest)

    def flush(self) -> None:
        """Forget scripts and flags."""
        self._entries.clear()

    def save(self, file: Path) -> None:
        """Write the scripts, without their flags, as a snapshot of Dragonfly has them."""
        texts = [entry.text.decode("latin-1") for entry in self._entries.values() if entry.text]
        file.write_text(json.dumps(texts))

    def restore(self, file: Path) -> list[bytes]:
        """Load what `save` wrote and return what the server is to be sent."""
        texts = json.loads(file.read_text()) if file.exists() else []
        return [self.load(text.encode("latin-1")) for text in texts]


def _parse_flags(words: bytes) -> set[bytes]:
    flags = {flag for flag in re.split(rb"[,; ]", words) if flag}
    for flag in flags - _FLAGS:
        raise ValueError(f"Invalid config format: Invalid flag: {flag.decode()}")
    return flags
