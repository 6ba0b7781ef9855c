"""Refusals: error replies of a server that runs and does not serve. One table for cache and broker.

A refusal does not depend on the command's arguments: the server would refuse other commands too, or
this user may not run this command. Other errors (a key of the wrong type, a failing script) are errors
of the caller.

redis-py removes the first word of the errors it knows and keeps it in `status_code`. Pipelines, scripts
and transactions put text of their own in front of the server's message:

    Redis 6.2      ERR Error running script (call to f_<sha>): @user_script:1: @user_script: 1: -OOM …
    Redis 7, 8     OOM command … script: <sha>, on @user_script:1.
    Dragonfly      ERR Error running script (call to <sha>): @user_script: 1: -ERR Out of memory
    transactions   EXECABORT Transaction discarded because of: OOM command …

`server_message` removes that text. A row must then match from the first word on, so that a caller's
text inside an error cannot be mistaken for a refusal. `tests/support/stores/refusal_texts.py` has the
messages of Redis 6.2, 7 and 8, Valkey 8 and Dragonfly 1.40, each with its row.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Refusal(NamedTuple):
    """One row of the table: a reason for which a server refuses.

    Attributes:
        name: the server's error code, where it has one.
        pattern: the beginning of the server's message, as a regular expression.
        remedy: what to do, as a sentence for the user.
    """

    name: str
    pattern: str
    remedy: str

    @property
    def denies_command(self) -> bool:
        """Whether the server refuses this command only, not all commands."""
        return self.name in ("NOPERM", "UNKNOWN")


_WAIT = "It recovers by itself."
_ONE_SERVER = "Use a server outside a cluster: queues and locks need one server for all keys."
_RIGHTS = "Grant it to the user of SEEN_CACHE_USERNAME: docs/cache-operations.md lists the rights."

REFUSALS = (
    # ── starting, stopping, busy ─────────────────────────────────────────────────────────────────
    Refusal("LOADING", r"LOADING\b", "It is loading its data from disk; wait until it has."),
    Refusal("SHUTDOWN", r"Can not execute during ", "It is shutting down; start it again."),
    Refusal(
        "BUSY",
        r"BUSY\b",
        "A script is running too long; `redis-cli SCRIPT KILL` stops one that has not written.",
    ),
    Refusal("KILLED", r"Script killed by user with ", _WAIT),
    # ── replicas and clusters ────────────────────────────────────────────────────────────────────
    Refusal("UNBLOCKED", r"UNBLOCKED\b", _WAIT),
    Refusal(
        "READONLY",
        r"READONLY\b",
        "It is a replica. A failover ends by itself; else set SEEN_CACHE_ADDR to the primary.",
    ),
    Refusal(
        "MASTERDOWN",
        r"MASTERDOWN\b|NOMASTERLINK\b",
        "It is a replica that has lost its primary. After a failover this ends by itself; otherwise "
        "set SEEN_CACHE_ADDR to the primary.",
    ),
    Refusal(
        "NOREPLICAS",
        r"NOREPLICAS\b",
        "Too few replicas follow it: start them, or lower its min-replicas-to-write.",
    ),
    Refusal(
        "CLUSTERDOWN",
        r"CLUSTERDOWN\b|Cluster is not yet configured"
        r"|Script attempted to execute a write command while the cluster is down",
        _ONE_SERVER,
    ),
    Refusal("TRYAGAIN", r"TRYAGAIN\b", _ONE_SERVER),
    Refusal("MOVED", r"(MOVED|ASK|REDIRECT)\b", _ONE_SERVER),
    Refusal(
        "CROSSSLOT",
        r"CROSSSLOT\b|Script attempted to access (a non local key|keys that do not hash)",
        _ONE_SERVER,
    ),
    # ── out of memory, disk or connections ───────────────────────────────────────────────────────
    Refusal(
        "OOM",
        r"OOM\b|Out of memory\b",
        "It is out of memory: raise its maxmemory. docs/cache-operations.md lists what uses it.",
    ),
    Refusal(
        "MISCONF",
        r"MISCONF\b",
        "It could not write its snapshot or append-only file: free disk space, and read its log.",
    ),
    Refusal(
        "MAXCLIENTS",
        r"max number of clients( \+ cluster connections)? reached",
        "Raise its maxclients, or run fewer workers.",
    ),
    Refusal(
        "DBINDEX",
        r"(invalid DB index|DB index is out of range|SELECT is not allowed in cluster mode)",
        "Set SEEN_CACHE_DB to a database that it has; broker and results use the two after it.",
    ),
    # ── authentication and rights ────────────────────────────────────────────────────────────────
    Refusal(
        "NOAUTH",
        r"NOAUTH\b|WRONGPASS\b|operation not permitted|invalid password"
        r"|invalid username-password pair|AUTH <password> called without any password"
        r"|Client sent AUTH, but no password is set",
        "Set SEEN_CACHE_USERNAME and SEEN_CACHE_PASSWORD to the server's.",
    ),
    Refusal(
        "DENIED",
        r"DENIED\b",
        "Set a password there (requirepass) and in SEEN_CACHE_PASSWORD.",
    ),
    Refusal(
        "NOPERM",
        r"NOPERM\b|The user executing the script can't run this command"
        r"|ACL failure in script: |Cannot execute restricted command",
        _RIGHTS,
    ),
    Refusal(
        "UNKNOWN",
        r"unknown (sub)?command\b|Unknown Redis command called from script",
        "The server has renamed the command, or is too old for it.",
    ),
    # ── an unknown script; the callers here then send it with its source ─────────────────────────
    Refusal("NOSCRIPT", r"NOSCRIPT\b", _WAIT),
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
#: The arguments of an unknown command, which a server repeats: keys and values.
_ARGUMENTS = re.compile(r",? with args beginning with: .*", re.DOTALL)


def find_refusal(error: BaseException) -> Refusal | None:
    """Return the row for an error of redis-py, or None if the error is not a refusal."""
    match = _TABLE.match(server_message(error))
    return None if match is None else _BY_NAME[str(match.lastgroup)]


def server_message(error: BaseException) -> str:
    """Return the server's own message: with its error code, without wrapping and arguments."""
    text = str(error).rpartition(_PIPELINE)[2]
    code = getattr(error, "status_code", None)
    if code and code != "ERR" and not text.startswith(code):
        text = f"{code} {text}"
    while wrapping := _WRAPPING.match(text):
        text = text[wrapping.end() :]
    return _ARGUMENTS.sub("", _SCRIPT_TAIL.sub("", text))
