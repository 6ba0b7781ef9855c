"""How a server says that it is there and will not serve: one table, for the cache and for the broker.

A refusal is an answer that says nothing about the command: any other one would be refused as well, or
this one is not allowed to us. Everything else (a key of the wrong type, a script that fails) is an error
of the caller.

redis-py takes the first word off the errors it knows and keeps it in `status_code`; a pipeline writes
its own words in front of the server's, and so does a script:

    Redis 6.2      ERR Error running script (call to f_<sha>): @user_script:1: @user_script: 1: -OOM …
    Redis 7, 8     OOM command … script: <sha>, on @user_script:1.
    Dragonfly      ERR Error running script (call to <sha>): @user_script: 1: -ERR Out of memory
    transactions   EXECABORT Transaction discarded because of: OOM command …

All of these are taken off before the table is read, and a row has to match from the first word on:
words of a caller inside an error cannot pose as a refusal. `tests/support/stores/refusal_texts.py` has
the exact texts of Redis 6.2, 7 and 8, Valkey 8 and Dragonfly 1.40, each with its row.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Refusal(NamedTuple):
    """One row: one reason for which a server refuses.

    Attributes:
        name: the server's own word for it, where it has one.
        pattern: how the server's text begins, as a regular expression.
        is_temporary: whether the server may serve again without anybody's help.
        remedy: what to do, as a sentence for people.
    """

    name: str
    pattern: str
    is_temporary: bool
    remedy: str

    @property
    def denies_command(self) -> bool:
        """Whether it is this command that is not to be had here, rather than the whole server."""
        return self.name in ("NOPERM", "UNKNOWN")


_WAIT = "It serves again by itself."
_ONE_SERVER = (
    "Name a server that is no member of a cluster: queues and locks need one server for all keys."
)
_RIGHTS = (
    "Grant it to the user of SEEN_CACHE_USERNAME; docs/cache-operations.md has the rights it needs."
)

REFUSALS = (
    # ── it comes, or comes back ─────────────────────────────────────────────────────────────────
    Refusal("LOADING", r"LOADING\b", True, "It reads its data from disk; it serves when it has."),
    Refusal(
        "SHUTDOWN", r"Can not execute during ", True, "It is ending; it serves when it runs again."
    ),
    Refusal(
        "BUSY",
        r"BUSY\b",
        True,
        "A script runs too long there; `redis-cli SCRIPT KILL` ends one that has written nothing.",
    ),
    Refusal("KILLED", r"Script killed by user with ", True, _WAIT),
    # ── it changes its part in a set of servers ─────────────────────────────────────────────────
    Refusal("UNBLOCKED", r"UNBLOCKED\b", True, _WAIT),
    Refusal(
        "READONLY",
        r"READONLY\b",
        True,
        "It is a replica. During a failover this passes; else name the primary in SEEN_CACHE_ADDR.",
    ),
    Refusal(
        "MASTERDOWN",
        r"MASTERDOWN\b|NOMASTERLINK\b",
        True,
        "It is a replica that has lost its primary. During a failover this passes; else name the "
        "primary in SEEN_CACHE_ADDR.",
    ),
    Refusal(
        "NOREPLICAS",
        r"NOREPLICAS\b",
        True,
        "Too few replicas follow it (min-replicas-to-write): start them, or ask for fewer.",
    ),
    Refusal(
        "CLUSTERDOWN",
        r"CLUSTERDOWN\b|Cluster is not yet configured"
        r"|Script attempted to execute a write command while the cluster is down",
        True,
        _ONE_SERVER,
    ),
    Refusal("TRYAGAIN", r"TRYAGAIN\b", True, _ONE_SERVER),
    Refusal("MOVED", r"(MOVED|ASK|REDIRECT)\b", False, _ONE_SERVER),
    Refusal(
        "CROSSSLOT",
        r"CROSSSLOT\b|Script attempted to access (a non local key|keys that do not hash)",
        False,
        _ONE_SERVER,
    ),
    # ── it has no room, no disk, no place ───────────────────────────────────────────────────────
    Refusal(
        "OOM",
        r"OOM\b|Out of memory\b",
        True,
        "It is full: raise its maxmemory. docs/cache-operations.md says what uses it.",
    ),
    Refusal(
        "MISCONF",
        r"MISCONF\b",
        True,
        "It could not write its snapshot or its log: make room on its disk, and see its log.",
    ),
    Refusal(
        "MAXCLIENTS",
        r"max number of clients( \+ cluster connections)? reached",
        True,
        "Raise its maxclients, or run fewer workers.",
    ),
    Refusal(
        "DBINDEX",
        r"(invalid DB index|DB index is out of range|SELECT is not allowed in cluster mode)",
        False,
        "Set SEEN_CACHE_DB to a database that it has; the broker and results take the two after it.",
    ),
    # ── it does not let us in ───────────────────────────────────────────────────────────────────
    Refusal(
        "NOAUTH",
        r"NOAUTH\b|WRONGPASS\b|operation not permitted|invalid password"
        r"|invalid username-password pair|AUTH <password> called without any password"
        r"|Client sent AUTH, but no password is set",
        False,
        "Set SEEN_CACHE_USERNAME and SEEN_CACHE_PASSWORD to what it asks for.",
    ),
    Refusal(
        "DENIED",
        r"DENIED\b",
        False,
        "Set a password there (requirepass) and in SEEN_CACHE_PASSWORD.",
    ),
    Refusal(
        "NOPERM",
        r"NOPERM\b|The user executing the script can't run this command"
        r"|ACL failure in script: |Cannot execute restricted command",
        False,
        _RIGHTS,
    ),
    Refusal(
        "UNKNOWN",
        r"unknown (sub)?command\b|Unknown Redis command called from script",
        False,
        "The command is renamed away there, or the server is too old for it.",
    ),
    # ── it has forgotten: who sends the script with its text is served, and our own callers do ──
    Refusal("NOSCRIPT", r"NOSCRIPT\b", True, _WAIT),
)

_BY_NAME = {row.name: row for row in REFUSALS}
_TABLE = re.compile("|".join(f"(?P<{row.name}>{row.pattern})" for row in REFUSALS))

_PIPELINE = "of pipeline caused error: "
_WRAPPING = re.compile(
    r"(EXECABORT )?Transaction discarded because of: "
    r"|-?ERR "
    r"|-"
    r"|Error running script \(call to (f_)?[0-9a-f]{40}\): "
    r"|@?user_script: ?\d+: "
)
_SCRIPT_TAIL = re.compile(r"\s*script: [0-9a-f]{40}, on @user_script:\d+\.$")
#: What a server repeats of a command it does not know: those are keys and values.
_ARGUMENTS = re.compile(r",? with args beginning with: .*", re.DOTALL)


def find_refusal(error: BaseException) -> Refusal | None:
    """Return the row that knows an error of redis-py, or None: then it is no refusal."""
    match = _TABLE.match(server_message(error))
    return None if match is None else _BY_NAME[str(match.lastgroup)]


def server_message(error: BaseException) -> str:
    """Return what the server itself said, with its first word and without wrapping and arguments."""
    text = str(error).rpartition(_PIPELINE)[2]
    code = getattr(error, "status_code", None)
    if code and code != "ERR" and not text.startswith(code):
        text = f"{code} {text}"
    while wrapping := _WRAPPING.match(text):
        text = text[wrapping.end() :]
    return _ARGUMENTS.sub("", _SCRIPT_TAIL.sub("", text))
