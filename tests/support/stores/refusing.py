"""Makes a real server refuse commands, in each way in which one can be made to.

Each way is a context manager on a `StoreServer`: inside it the server refuses, after it all is well. The
texts are the server's own, so they are those of the version that the tests run on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from types import MappingProxyType

import redis

from tests.support.stores.server import HOST, ONCE, StoreServer
from tests.support.wait import wait_until

Way = Callable[[StoreServer], AbstractContextManager[None]]

_ENDLESS = "while true do end"


@contextmanager
def _configured(store: StoreServer, **options: str) -> Iterator[None]:
    with store.client() as client:
        before = {name: client.config_get(name)[name] for name in map(_option, options)}
        for name, value in options.items():
            client.config_set(_option(name), value)
        try:
            yield
        finally:
            for name, value in before.items():
                client.config_set(name, value)


def _option(name: str) -> str:
    return name.replace("_", "-")


@contextmanager
def read_only(store: StoreServer) -> Iterator[None]:
    """READONLY, and UNBLOCKED for who waits: a failover, in which another server takes over and back."""
    with StoreServer() as other, other.client() as there, store.client() as here:
        _follow(there, store)
        there.replicaof("NO", "ONE")
        _follow(here, other)
        try:
            yield
        finally:
            here.replicaof("NO", "ONE")


@contextmanager
def cut_off(store: StoreServer) -> Iterator[None]:
    """MASTERDOWN: a replica that has lost its primary and may not serve old data."""
    with ExitStack() as stack:
        stack.enter_context(_configured(store, replica_serve_stale_data="no"))
        other = stack.enter_context(StoreServer())
        here = stack.enter_context(store.client())
        _follow(here, other)
        other.kill()
        try:
            yield
        finally:
            here.replicaof("NO", "ONE")


def _follow(client: redis.Redis, primary: StoreServer) -> None:
    client.config_set("masterauth", primary.password)
    client.replicaof(HOST, str(primary.port))

    def is_up() -> bool:
        return bool(client.info("replication")["master_link_status"] == "up")

    wait_until(is_up, deadline=20, what="the replica follows")


@contextmanager
def forbidden(store: StoreServer) -> Iterator[None]:
    """NOPERM: the user may not do what a worker does all the time."""
    with store.client() as client:
        client.execute_command("ACL", "SETUSER", "default", "-@list", "-@set", "-evalsha", "-eval")
        try:
            yield
        finally:
            client.execute_command("ACL", "SETUSER", "default", "+@all")


@contextmanager
def full(store: StoreServer) -> Iterator[None]:
    """OOM: nothing may be added."""
    with _configured(store, maxmemory="1"):
        yield


@contextmanager
def without_replicas(store: StoreServer) -> Iterator[None]:
    """NOREPLICAS: nothing may be written."""
    with _configured(store, min_replicas_to_write="1"):
        yield


@contextmanager
def without_disk(store: StoreServer) -> Iterator[None]:
    """MISCONF: the last snapshot failed."""
    with store.client() as client, _configured(store, save="3600 1"), ExitStack() as stack:
        store.break_snapshots()
        stack.callback(store.mend_snapshots)
        with suppress(redis.ResponseError):
            client.bgsave()

        def has_failed() -> bool:
            return bool(client.info("persistence")["rdb_last_bgsave_status"] == "err")

        wait_until(has_failed, what="the snapshot fails")
        yield


@contextmanager
def busy(store: StoreServer) -> Iterator[None]:
    """BUSY: a script that does not end."""
    with _configured(store, lua_time_limit="20"), store.client(retry=ONCE) as client:
        runner = threading.Thread(target=_run_endless_script, args=(store,))
        runner.start()
        try:
            wait_until(lambda: _is_busy(client), what="the server is busy")
            yield
        finally:
            client.script_kill()
            runner.join()


def _run_endless_script(store: StoreServer) -> None:
    with store.client(socket_timeout=None, retry=ONCE) as client, suppress(redis.RedisError):
        client.eval(_ENDLESS, 0)


def _is_busy(client: redis.Redis) -> bool:
    try:
        client.ping()
    except redis.ResponseError as error:
        return "BUSY" in str(error)
    return False


@contextmanager
def locked_out(store: StoreServer) -> Iterator[None]:
    """WRONGPASS: the password is another one, and all clients have to reconnect."""
    with store.client() as client:
        client.config_set("requirepass", "another")
        client.client_kill_filter(_type="normal", skipme=True)
        try:
            yield
        finally:
            client.config_set("requirepass", store.password)


@contextmanager
def crowded(store: StoreServer) -> Iterator[None]:
    """ "max number of clients reached": all clients have to reconnect, and one may."""
    with store.client() as client:
        before = client.config_get("maxclients")["maxclients"]
        client.config_set("maxclients", 1)
        client.client_kill_filter(_type="normal", skipme=True)
        try:
            yield
        finally:
            client.config_set("maxclients", before)


#: Every way, by the first word of what the server then says.
WAYS: Mapping[str, Way] = MappingProxyType(
    {
        "READONLY": read_only,
        "MASTERDOWN": cut_off,
        "NOPERM": forbidden,
        "OOM": full,
        "NOREPLICAS": without_replicas,
        "MISCONF": without_disk,
        "BUSY": busy,
        "WRONGPASS": locked_out,
        "MAXCLIENTS": crowded,
    }
)

#: What the stand-in for Dragonfly can be made to say to every command, by a name.
SAID: Mapping[str, str] = MappingProxyType(
    {
        "LOADING": "LOADING Dragonfly is loading the dataset in memory",
        "CLUSTERDOWN": "CLUSTERDOWN The cluster is down",
        "TRYAGAIN": "TRYAGAIN Multiple keys request during rehashing of slot",
        "MOVED": "MOVED 3999 127.0.0.1:6381",
        "SHUTDOWN": "ERR Can not execute during SHUTTING DOWN",
    }
)


def refuse_everything(store: StoreServer, text: str) -> None:
    """Have a stand-in answer every command with an error, until `accept`; every client reconnects.

    Without that, a client that waits for a message would not hear it.
    """
    with store.client() as client:
        client.ping()
        store.refuse(text, but=("CLIENT",))
        client.client_kill_filter(_type="normal", skipme=True)
    store.refuse(text)


@contextmanager
def saying(store: StoreServer, way: str) -> Iterator[None]:
    """One of `SAID`, by a stand-in."""
    refuse_everything(store, SAID[way])
    try:
        yield
    finally:
        store.accept()
