"""The exact texts of refusals, each with the row of `cache.store.refusals` that knows it.

From running Redis 6.2.14 and 7.0.15 (`tests.support.stores.refusing` brings them about), and from the
sources of Redis 7.2 and 8, Valkey 8 and Dragonfly 1.40.
"""

from __future__ import annotations

from typing import NamedTuple

SHA = "32c1c320503641a699eba3c8f1f16cacb98c3393"
_R6 = f"ERR Error running script (call to f_{SHA}): @user_script:1: @user_script: 1: "
_R7 = f" script: {SHA}, on @user_script:1."
_DF = f"ERR Error running script (call to {SHA}): @user_script: 1: "

_OOM = "OOM command not allowed when used memory > 'maxmemory'."
_READONLY = "READONLY You can't write against a read only replica."
_NOREPLICAS = "NOREPLICAS Not enough good replicas to write."
_MASTERDOWN = "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'."
_MISCONF_6 = (
    "MISCONF Redis is configured to save RDB snapshots, but it is currently not able to persist on "
    "disk. Commands that may modify the data set are disabled, because this instance is configured to "
    "report errors during writes if RDB snapshotting fails (stop-writes-on-bgsave-error option). Please "
    "check the Redis logs for details about the RDB error."
)
_MISCONF_7 = (
    "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. "
    "Commands that may modify the data set are disabled, because this instance is configured to report "
    "errors during writes if RDB snapshotting fails (stop-writes-on-bgsave-error option). Please check "
    "the Redis logs for details about the RDB error."
)
_BUSY = "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."


class Text(NamedTuple):
    """One text.

    Attributes:
        server: whose it is.
        said: as it goes over the wire, without the leading minus.
        row: the name of the row.
    """

    server: str
    said: str
    row: str


TEXTS = (
    # ── alike in Redis 6.2, 7 and 8 and in Valkey ───────────────────────────────────────────────
    Text("redis", "LOADING Redis is loading the dataset in memory", "LOADING"),
    Text("redis", _BUSY, "BUSY"),
    Text("redis", "BUSY Redis is busy running a module command.", "BUSY"),
    Text("redis", f"EXECABORT Transaction discarded because of: {_BUSY}", "BUSY"),
    Text(
        "redis",
        "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
        "UNBLOCKED",
    ),
    Text("redis", "UNBLOCKED client unblocked via CLIENT UNBLOCK", "UNBLOCKED"),
    Text("redis", _READONLY, "READONLY"),
    Text("redis", _MASTERDOWN, "MASTERDOWN"),
    Text("redis", "NOMASTERLINK Can't SYNC while not connected with my master", "MASTERDOWN"),
    Text("redis", _NOREPLICAS, "NOREPLICAS"),
    Text("redis", _OOM, "OOM"),
    Text("redis", f"EXECABORT Transaction discarded because of: {_OOM}", "OOM"),
    Text("redis", "MISCONF Errors writing to the AOF file: No space left on device", "MISCONF"),
    Text("redis", "CLUSTERDOWN Hash slot not served", "CLUSTERDOWN"),
    Text("redis", "CLUSTERDOWN The cluster is down", "CLUSTERDOWN"),
    Text("redis", "CLUSTERDOWN The cluster is down and only accepts read commands", "CLUSTERDOWN"),
    Text("redis", "TRYAGAIN Multiple keys request during rehashing of slot", "TRYAGAIN"),
    Text("redis", "MOVED 3999 127.0.0.1:6381", "MOVED"),
    Text("redis", "ASK 3999 127.0.0.1:6381", "MOVED"),
    Text("redis", "CROSSSLOT Keys in request don't hash to the same slot", "CROSSSLOT"),
    Text("redis", "ERR max number of clients reached", "MAXCLIENTS"),
    Text("redis", "ERR max number of clients + cluster connections reached", "MAXCLIENTS"),
    Text("redis", "ERR DB index is out of range", "DBINDEX"),
    Text("redis", "ERR invalid DB index", "DBINDEX"),
    Text("redis", "ERR SELECT is not allowed in cluster mode", "DBINDEX"),
    Text("redis", "NOAUTH Authentication required.", "NOAUTH"),
    Text(
        "redis",
        "EXECABORT Transaction discarded because of: NOAUTH Authentication required.",
        "NOAUTH",
    ),
    Text(
        "redis",
        "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO "
        "<proto> AUTH <user> <pass> option can be used to authenticate the client and select the "
        "RESP protocol version at the same time",
        "NOAUTH",
    ),
    Text("redis", "WRONGPASS invalid username-password pair or user is disabled.", "NOAUTH"),
    Text(
        "redis",
        "ERR AUTH <password> called without any password configured for the default user. Are you "
        "sure your configuration is correct?",
        "NOAUTH",
    ),
    Text("redis 5", "ERR operation not permitted", "NOAUTH"),
    Text("redis 5", "ERR invalid password", "NOAUTH"),
    Text("redis 5", "ERR Client sent AUTH, but no password is set", "NOAUTH"),
    Text(
        "redis",
        "DENIED Redis is running in protected mode because protected mode is enabled",
        "DENIED",
    ),
    Text("redis", "NOSCRIPT No matching script. Please use EVAL.", "NOSCRIPT"),
    # ── Redis 6.2 ───────────────────────────────────────────────────────────────────────────────
    Text("redis 6.2", _MISCONF_6, "MISCONF"),
    Text(
        "redis 6.2",
        "NOPERM this user has no permissions to run the 'info' command or its subcommand",
        "NOPERM",
    ),
    Text(
        "redis 6.2",
        "NOPERM this user has no permissions to access one of the keys used as arguments",
        "NOPERM",
    ),
    Text(
        "redis 6.2",
        "NOPERM this user has no permissions to access one of the channels used as arguments",
        "NOPERM",
    ),
    Text(
        "redis 6.2", "ERR unknown command `INFO`, with args beginning with: `server`, ", "UNKNOWN"
    ),
    Text("redis 6.2 script", f"{_R6}-{_OOM}", "OOM"),
    Text("redis 6.2 script", f"{_R6}-{_READONLY}", "READONLY"),
    Text("redis 6.2 script", f"{_R6}-{_NOREPLICAS}", "NOREPLICAS"),
    Text("redis 6.2 script", f"{_R6}-{_MISCONF_6}", "MISCONF"),
    Text(
        "redis 6.2 script",
        f"{_R6}The user executing the script can't run this command or subcommand",
        "NOPERM",
    ),
    Text("redis 6.2 script", f"{_R6}Unknown Redis command called from script", "UNKNOWN"),
    Text(
        "redis 6.2 script",
        f"ERR Error running script (call to f_{SHA}): @user_script:1: Script killed by user with "
        "SCRIPT KILL...",
        "KILLED",
    ),
    # ── Redis 7 and 8 ───────────────────────────────────────────────────────────────────────────
    Text("redis 7", _MISCONF_7, "MISCONF"),
    Text(
        "redis 7", "NOPERM this user has no permissions to run the 'config|get' command", "NOPERM"
    ),
    Text("redis 8", "NOPERM User worker has no permissions to run the 'info' command", "NOPERM"),
    Text("redis 8", "NOPERM No permissions to access a key", "NOPERM"),
    Text("redis 8", "NOPERM No permissions to access a channel", "NOPERM"),
    Text(
        "redis 7", "ERR unknown command 'CLIENT', with args beginning with: 'SETINFO' ", "UNKNOWN"
    ),
    Text("redis 7", "ERR unknown subcommand 'SETINFO'. Try CLIENT HELP.", "UNKNOWN"),
    Text(
        "redis 7",
        "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.",
        "BUSY",
    ),
    Text("redis 7 script", f"{_OOM}{_R7}", "OOM"),
    Text("redis 7 script", f"{_READONLY}{_R7}", "READONLY"),
    Text("redis 7 script", f"{_NOREPLICAS}{_R7}", "NOREPLICAS"),
    Text("redis 7 script", f"{_MISCONF_7}{_R7}", "MISCONF"),
    Text(
        "redis 7 script",
        f"ERR The user executing the script can't run this command or subcommand{_R7}",
        "NOPERM",
    ),
    Text(
        "redis 8 script",
        "ERR ACL failure in script: User worker has no permissions to run the 'set' command" + _R7,
        "NOPERM",
    ),
    Text("redis 7 script", f"ERR Script killed by user with SCRIPT KILL...{_R7}", "KILLED"),
    Text(
        "redis 7 script",
        "READONLY Can not run script with write flag on readonly replica",
        "READONLY",
    ),
    Text(
        "redis 7 script",
        "OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'",
        "OOM",
    ),
    Text(
        "redis 7 script",
        "ERR Script attempted to execute a write command while the cluster is down and readonly"
        + _R7,
        "CLUSTERDOWN",
    ),
    Text(
        "redis 7 script",
        f"ERR Script attempted to access a non local key in a cluster node{_R7}",
        "CROSSSLOT",
    ),
    # ── Valkey ──────────────────────────────────────────────────────────────────────────────────
    Text("valkey", "LOADING Valkey is loading the dataset in memory", "LOADING"),
    Text(
        "valkey",
        "BUSY Valkey is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
        "BUSY",
    ),
    Text(
        "valkey",
        _MISCONF_7.replace("Redis is", "Valkey is").replace("Redis logs", "Valkey logs"),
        "MISCONF",
    ),
    Text("valkey", "REDIRECT 127.0.0.1:6380", "MOVED"),
    Text("valkey", "DENIED Running in protected mode because protected mode is enabled", "DENIED"),
    Text("valkey", "NOSCRIPT No matching script.", "NOSCRIPT"),
    Text("valkey script", f"{_OOM}{_R7}", "OOM"),
    Text(
        "valkey script",
        f"ERR ACL failure in script: User w has no permissions to run the 'set' command{_R7}",
        "NOPERM",
    ),
    # ── Dragonfly ───────────────────────────────────────────────────────────────────────────────
    Text("dragonfly", "ERR Out of memory", "OOM"),
    Text("dragonfly", "ERR Out of memory, or used memory is too high", "OOM"),
    Text("dragonfly", _READONLY, "READONLY"),
    Text("dragonfly", "LOADING Dragonfly is loading the dataset in memory", "LOADING"),
    Text("dragonfly", "ERR Can not execute during SHUTTING DOWN", "SHUTDOWN"),
    Text("dragonfly", "ERR Can not execute during TAKEN OVER", "SHUTDOWN"),
    Text("dragonfly", "NOPERM worker has no ACL permissions", "NOPERM"),
    Text("dragonfly", "ERR Cannot execute restricted command (admin only)", "NOPERM"),
    Text("dragonfly", "ERR Cluster is not yet configured", "CLUSTERDOWN"),
    Text("dragonfly", "ERR max number of clients reached", "MAXCLIENTS"),
    Text("dragonfly", "ERR unknown command `INFO`", "UNKNOWN"),
    Text("dragonfly script", f"{_DF}-ERR Out of memory", "OOM"),
    Text("dragonfly script", f"{_DF}Out of memory", "OOM"),
    Text("dragonfly script", f"{_DF}-{_READONLY}", "READONLY"),
    Text("dragonfly script", f"{_DF}-NOPERM worker has no ACL permissions", "NOPERM"),
)

#: Errors of a caller: they say that a command was wrong, and stay what they are.
NO_REFUSALS = (
    "WRONGTYPE Operation against a key holding the wrong kind of value",
    f"ERR Error running script (call to f_{SHA}): @user_script:2: @user_script: 2: "
    "-WRONGTYPE Operation against a key holding the wrong kind of value",
    f"WRONGTYPE Operation against a key holding the wrong kind of value{_R7}",
    "ERR value is not an integer or out of range",
    "ERR syntax error",
    "ERR wrong number of arguments for 'get' command",
    "ERR no such key",
    "BUSYKEY Target key name already exists.",
    "BUSYGROUP Consumer Group name already exists",
    "EXECABORT Transaction discarded because of previous errors.",
    f"ERR Error running script (call to {SHA}): script tried accessing undeclared key, key: READONLY",
    f"ERR Error running script (call to f_{SHA}): @user_script:1: user_script:1: attempt to compare "
    "nil with number: -READONLY You can't write",
    "ERR bad value: OOM command not allowed",
)
