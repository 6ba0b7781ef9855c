"""The rules of Dragonfly that a client of Redis can break, as a table: see `RULES`.

`tests.support.stores.dragonfly_stand_in` is the program that puts them before a Redis server. File
names in the table are those of Dragonfly 1.40.1, the version that `docker-compose.yml` names; "seen on
1.40.1" means that the suite was run against that server. What the table does not say,
Redis answers: the stand-in accepts some commands that Dragonfly does not have.
"""

from __future__ import annotations

import re
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.support.stores import resp
from tests.support.stores.dragonfly_scripts import Scripts, sha1
from tests.support.stores.resp import Arguments

VERSION = "df-v1.40.1"


class AbortedError(Exception):
    """The server aborts here, with this message."""


@dataclass
class Connection:
    """What the server knows of one client."""

    number: int
    address: str
    since: float = field(default_factory=time.time)
    name: str = ""
    db: int = 0
    resp3: bool = False
    in_transaction: bool = False

    def describe(self) -> str:
        """Return its line of CLIENT LIST."""
        age = int(time.time() - self.since)
        return f"id={self.number} addr={self.address} name={self.name} age={age} db={self.db}"


@dataclass
class Server:
    """What the rules need to know of the server."""

    cache_mode: bool = False
    scripts: Scripts = field(default_factory=Scripts)
    connections: dict[int, Connection] = field(default_factory=dict)
    replid: str = field(default_factory=lambda: secrets.token_hex(20))


@dataclass(frozen=True)
class Ask:
    """Send this command to Redis; `answer` makes the client's reply of the one that comes."""

    command: Arguments
    answer: Callable[[bytes], bytes] = lambda frame: frame


#: Either a reply, or what to ask Redis instead.
Verdict = bytes | Ask


@dataclass(frozen=True)
class Rule:
    """What Dragonfly makes of one command."""

    command: str
    """Its name, with the first argument where that distinguishes commands: "SCRIPT FLAGS"."""
    apply: Callable[[Server, Connection, Arguments], Verdict]
    differs: str
    source: str


# ── scripts ──────────────────────────────────────────────────────────────────────────────────────


def _script_load(server: Server, _: Connection, request: Arguments) -> Verdict:
    sent = server.scripts.load(request[2])
    return Ask((*request[:2], sent), lambda frame: _with_clients_digest(server, frame))


def _with_clients_digest(server: Server, frame: bytes) -> bytes:
    digest = resp.body(frame)
    return frame if digest is None else resp.bulk(server.scripts.clients_digest(digest))


def _script_flags(server: Server, _: Connection, request: Arguments) -> Verdict:
    digest, *flags = request[2:]
    if len(digest) != 40 or not flags:
        return resp.error(b"ERR syntax error")
    try:
        sent = server.scripts.flag(digest, flags)
    except ValueError as error:
        return resp.error(f"ERR {error}".encode())
    return resp.OK if sent is None else Ask((b"SCRIPT", b"LOAD", sent), lambda _: resp.OK)


def _script_exists(server: Server, _: Connection, request: Arguments) -> Verdict:
    return Ask((*request[:2], *(server.scripts.servers_digest(d) for d in request[2:])))


def _script_flush(server: Server, _: Connection, request: Arguments) -> Verdict:
    server.scripts.flush()
    return Ask(request)


def _eval(server: Server, _: Connection, request: Arguments) -> Verdict:
    digest = sha1(request[1])
    sent = (request[0], server.scripts.load(request[1]), *request[2:])
    return Ask(sent, lambda frame: script_error(frame, digest))


def _evalsha(server: Server, _: Connection, request: Arguments) -> Verdict:
    digest = request[1].lower()
    if server.scripts.is_fatal(digest):
        raise AbortedError("Check failed: result == Interpreter::RUN_OK")
    sent = (request[0], server.scripts.servers_digest(digest), *request[2:])
    return Ask(sent, lambda frame: script_error(frame, digest))


# ── the server's own account ─────────────────────────────────────────────────────────────────────


def _info(server: Server, _: Connection, request: Arguments) -> Verdict:
    return Ask(request, lambda frame: _dragonfly_info(server, frame))


def _dragonfly_info(server: Server, frame: bytes) -> bytes:
    text = resp.body(frame)
    if text is None:
        return frame
    lines = text.decode().split("\r\n")
    is_replica = "role:slave" in lines
    changed = (_info_line(server, line, is_replica=is_replica) for line in lines)
    return resp.bulk("\r\n".join(line for line in changed if line is not None).encode())


def _info_line(server: Server, line: str, *, is_replica: bool) -> str | None:
    name = line.partition(":")[0]
    if name == "redis_version":
        return f"redis_version:7.4.0\r\ndragonfly_version:{VERSION}"
    if name == "multiplexing_api":
        return "thread_count:2\r\nmultiplexing_api:epoll"
    if name == "maxmemory_policy":
        mode = ("cache", "eviction") if server.cache_mode else ("store", "noeviction")
        return "cache_mode:{}\r\nmaxmemory_policy:{}".format(*mode)
    if name == "master_replid" and not is_replica:
        return f"master_replid:{server.replid}"
    return None if name in _REDIS_ONLY else line


#: Fields of INFO that Dragonfly does not have: `ServerFamily::FormatInfoMetrics`.
_REDIS_ONLY = {
    *("run_id", "redis_git_sha1", "redis_git_dirty", "redis_build_id", "gcc_version"),
    *("server_time_usec", "configured_hz", "lru_clock", "atomicvar_api", "io_threads_active"),
    *(
        "master_replid2",
        "master_repl_offset",
        "second_repl_offset",
        "valkey_version",
        "server_name",
    ),
    *(
        "rdb_last_bgsave_time_sec",
        "aof_enabled",
        "aof_last_write_status",
        "mem_fragmentation_ratio",
    ),
}


def _config_get(_: Server, connection: Connection, request: Arguments) -> Verdict:
    if request[2:] == (b"databases",):
        return Ask(request)
    return b"%0\r\n" if connection.resp3 else resp.EMPTY


def _config_set(_: Server, __: Connection, request: Arguments) -> Verdict:
    if len(request) == 4 and request[2].lower() in (b"maxmemory", b"requirepass", b"masterauth"):
        return Ask(request)
    return resp.error(b"ERR Unknown option or number of arguments for CONFIG SET")


def _time(_: Server, __: Connection, request: Arguments) -> Verdict:
    def as_numbers(frame: bytes) -> bytes:
        times = [resp.body(element) for element in resp.elements(frame)]
        return resp.array([b":%b\r\n" % text for text in times if text]) if times else frame

    return Ask(request, as_numbers)


# ── clients and replication ──────────────────────────────────────────────────────────────────────


def _client_list(server: Server, _: Connection, request: Arguments) -> Verdict:
    def ours(frame: bytes) -> bytes:
        lines = [other.describe() for other in server.connections.values()]
        return frame if resp.body(frame) is None else resp.bulk("\n".join([*lines, ""]).encode())

    return Ask(request, ours)


def _client_tracking(_: Server, connection: Connection, request: Arguments) -> Verdict:
    if not connection.resp3:
        return resp.error(
            b"ERR Client tracking is currently not supported for RESP2. Please use RESP3."
        )
    words = {word.upper() for word in request[2:]}
    return Ask(request) if words <= _TRACKING else resp.error(b"ERR syntax error")


_TRACKING = {b"ON", b"OFF", b"OPTIN", b"OPTOUT", b"NOLOOP"}


def _replicaof(_: Server, __: Connection, request: Arguments) -> Verdict:
    host, port = (argument.decode() for argument in request[1:3])
    if (host.upper(), port.upper()) == ("NO", "ONE"):
        return Ask(request)
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError as error:
        return resp.error(f"ERR could not connect to master: {error.strerror}".encode())
    return Ask(request)


# ── the table ────────────────────────────────────────────────────────────────────────────────────

_SCRIPTS = "script_mgr.cc, main_service.cc (EvalInternal); seen on 1.40.1"

RULES = (
    Rule(
        "SCRIPT LOAD", _script_load, "the script obeys the rules of `dragonfly_scripts`", _SCRIPTS
    ),
    Rule("SCRIPT FLAGS", _script_flags, "sets flags of a script, loaded or not", _SCRIPTS),
    Rule("SCRIPT EXISTS", _script_exists, "by the digests that clients know", _SCRIPTS),
    Rule("SCRIPT FLUSH", _script_flush, "forgets flags as well", _SCRIPTS),
    Rule("EVAL", _eval, "flags set before the script was loaded apply", _SCRIPTS),
    Rule(
        "EVALSHA",
        _evalsha,
        "of a script with flags that is not loaded: the server aborts",
        _SCRIPTS,
    ),
    Rule(
        "INFO",
        _info,
        "no run_id; a new master_replid at each start; cache_mode and maxmemory_policy in `memory`",
        "server_family.cc (FormatInfoMetrics); seen on 1.40.1",
    ),
    Rule(
        "CONFIG GET",
        _config_get,
        "empty for every option of Redis but `databases`",
        "server_family.cc (Config); seen on 1.40.1",
    ),
    Rule(
        "CONFIG SET",
        _config_set,
        "no save, dir, dbfilename, maxmemory-policy",
        "main_service.cc (RegisterMutable)",
    ),
    Rule("TIME", _time, "integers, not strings", "generic_family.cc (Time)"),
    Rule(
        "CLIENT LIST",
        _client_list,
        "lines without flags",
        "dragonfly_connection.cc (FormatClientInfo); seen on 1.40.1",
    ),
    Rule(
        "CLIENT TRACKING",
        _client_tracking,
        "RESP3 only; no BCAST, PREFIX, REDIRECT",
        "server_family.cc (ClientTracking)",
    ),
    Rule(
        "REPLICAOF",
        _replicaof,
        "refused when nothing listens there",
        "replica.cc (kConnErr); seen on 1.40.1",
    ),
)

_BY_NAME: Mapping[bytes, Rule] = {rule.command.encode(): rule for rule in RULES}


def rule_for(request: Arguments) -> Rule | None:
    """Return the rule for a command, by its first two words or its first."""
    words = tuple(word.upper() for word in request[:2])
    return _BY_NAME.get(b" ".join(words)) or _BY_NAME.get(words[0])


def judge(server: Server, connection: Connection, request: Arguments) -> Verdict:
    """Return what becomes of a command. Raises `AbortedError` where Dragonfly aborts."""
    rule = rule_for(request)
    try:
        return Ask(request) if rule is None else rule.apply(server, connection, request)
    except (IndexError, ValueError):
        return Ask(request)  # wrong arguments: Redis has the right error


# ── errors ───────────────────────────────────────────────────────────────────────────────────────

#: A full Redis or Valkey, by itself or at the end of a script's error.
_FULL = re.compile(rb"-?OOM command not allowed when used memory > 'maxmemory'\.?")
#: An error within a script, as Redis 6.2 puts it.
_CALL = re.compile(rb"call to f_([0-9a-f]{40})")
#: The same as Redis 7 and, without the digest, Valkey 9 put it.
_NOTED = re.compile(
    rb"-(?P<text>[^\r\n]*?) script:(?: [0-9a-f]{40},)? on (?P<place>@user_script: ?\d+)\.?\r\n"
)
_UNKNOWN = b"0" * 40


def dragonfly_error(server: Server, frame: bytes) -> bytes:
    """Return an error of Redis as Dragonfly puts it; `frame` may be any reply.

    A full server answers "ERR Out of memory" (`facade/error.h`, kOutOfMemory), within a script after
    the script's own error; seen on 1.40.1.
    """
    if frame.startswith(b"*") and any(p.search(frame) for p in (_FULL, _CALL, _NOTED)):
        return resp.array([dragonfly_error(server, part) for part in resp.elements(frame)])
    if not frame.startswith(b"-"):
        return frame
    frame = _CALL.sub(lambda call: b"call to " + server.scripts.clients_digest(call[1]), frame)
    return _FULL.sub(b"-ERR Out of memory", script_error(frame))


def script_error(frame: bytes, digest: bytes = _UNKNOWN) -> bytes:
    """Return an error within a script as Dragonfly puts it; clients know the script by `digest`."""
    noted = _NOTED.fullmatch(frame)
    if noted is None:
        return frame
    return _running_script(digest, noted["place"] + b": -" + noted["text"])


def _running_script(digest: bytes, message: bytes) -> bytes:
    return resp.error(b"ERR Error running script (call to %b): %b" % (digest, message))


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Refusal:
    """An error that a test wants for some commands: see `StoreServer.refuse`."""

    message: bytes
    commands: frozenset[bytes]
    """Upper-case names; empty for all."""
    exceptions: frozenset[bytes]
    in_scripts: bool

    @classmethod
    def read(cls, request: Arguments) -> Refusal:
        """Read a refusal from the command that sets it: message, commands, exceptions, in scripts."""
        _, message, commands, exceptions, in_scripts = request
        return cls(message, _names(commands), _names(exceptions), in_scripts == b"1")

    def reply_to(self, request: Arguments) -> bytes | None:
        """Return the error for a command, or None when it is none of those."""
        name = request[0].upper()
        is_meant = name in self.commands if self.commands else name not in self.exceptions
        if not is_meant:
            return None
        if self.in_scripts and name in (b"EVAL", b"EVALSHA"):
            return _running_script(_UNKNOWN, b"@user_script: 1: -" + self.message)
        return resp.error(self.message)


def _names(words: bytes) -> frozenset[bytes]:
    return frozenset(words.upper().split())
